//! Wrong input gives a condition that names it, blocks nothing else, and heals when it is mended.

use super::harness::{CANARY_INGRESS, World, nginx_canary, same};
use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Service;
use serde_json::json;

const STEPS: &str = "[{setWeight: 40}, {pause: {duration: 1}}]";

/// Message of the `InvalidSpec` condition, once it is there.
async fn complaint(world: &World) -> Result<String> {
    let invalid = |status: &tidegate::api::rollout_status::RolloutStatus| {
        status.condition("InvalidSpec").is_some_and(|c| c.status == "True")
    };
    let rollout = world.wait("web", "is told to be invalid", invalid).await?;
    let status = rollout.status.context("no status")?;
    same(status.phase.as_str(), "Degraded", "phase")?;
    Ok(status.condition("InvalidSpec").context("no condition")?.message.clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_service_is_named_and_nothing_else_is_needed_when_it_arrives() -> Result<()> {
    let world = World::new("missing").await?;
    let all = nginx_canary(2, "demo:v1", STEPS);
    let (canary, rest): (Vec<&str>, Vec<&str>) = all
        .split("---")
        .partition(|object| object.contains("name: web-canary}"));
    world.apply(&rest.join("---")).await?;
    let message = complaint(&world).await?;
    ensure!(
        message.contains("web-canary") && message.contains("canaryService"),
        "{message}"
    );
    world.apply(&canary.join("---")).await?;
    world.healthy("web").await?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_deleted_in_mid_update_holds_it_until_it_is_back() -> Result<()> {
    let world = World::new("gone").await?;
    let all = nginx_canary(2, "demo:v1", "[{setWeight: 40}, {pause: {}}]");
    world.apply(&all).await?;
    world.healthy("web").await?;
    world.set_image("web", "demo:v2").await?;
    world.paused_at("web", 1).await?;
    world.delete::<Service>("web-canary").await?;
    let message = complaint(&world).await?;
    ensure!(message.contains("web-canary"), "{message}");
    same(world.available("demo:v1").await?, 2, "stable pods")?;
    // Only the Service: applying the whole again would take the image back.
    let service = all
        .split("---")
        .find(|object| object.contains("name: web-canary}"))
        .context("no Service")?;
    world.apply(service).await?;
    world.paused_at("web", 1).await?;
    world
        .until("the weight is back", async || {
            Ok(world.weight(CANARY_INGRESS).await? == 40)
        })
        .await?;
    world.promote("web").await?;
    world.healthy("web").await?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_step_is_named_and_others_are_not_held_up() -> Result<()> {
    let world = World::new("step").await?;
    world.apply(&nginx_canary(2, "demo:v1", "[{setWeight: 140}]")).await?;
    let message = complaint(&world).await?;
    ensure!(message.contains("setWeight"), "{message}");
    let other = nginx_canary(1, "demo:v1", STEPS).replace("web", "other");
    world.apply(&other).await?;
    world.healthy("other").await?;
    world
        .patch(
            "web",
            json!({"spec": {"strategy": {"canary": {"steps": [{"setWeight": 40}]}}}}),
        )
        .await?;
    world.healthy("web").await?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_template_the_server_refuses_is_told_and_heals() -> Result<()> {
    let world = World::new("refused").await?;
    world.apply(&nginx_canary(2, "demo:v1", STEPS)).await?;
    world.healthy("web").await?;
    let named = |name: &str| {
        let containers = json!([{"name": name, "image": "demo:v2"}]);
        json!({"spec": {"template": {"spec": {"containers": containers}}}})
    };
    world.patch("web", named("Not A Name")).await?;
    let told = |status: &tidegate::api::rollout_status::RolloutStatus| {
        status
            .condition("Progressing")
            .is_some_and(|condition| condition.reason == "ReplicaSetCreateError")
    };
    world.wait("web", "tells of the refusal", told).await?;
    same(world.available("demo:v1").await?, 2, "stable pods")?;
    world.patch("web", named("web")).await?;
    world.healthy("web").await?;
    same(world.available("demo:v2").await?, 2, "new pods")?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_never_becomes_ready_gets_no_traffic_and_is_told() -> Result<()> {
    let world = World::new("crash").await?;
    world.apply(&nginx_canary(2, "demo:v1", STEPS)).await?;
    world.healthy("web").await?;
    world
        .patch("web", json!({"spec": {"progressDeadlineSeconds": 3}}))
        .await?;
    world.set_image("web", "demo:v2-crash").await?;
    let late = |status: &tidegate::api::rollout_status::RolloutStatus| {
        status
            .condition("Progressing")
            .is_some_and(|condition| condition.reason == "ProgressDeadlineExceeded")
    };
    world.wait("web", "is past its deadline", late).await?;
    same(
        world.weight(CANARY_INGRESS).await?,
        0,
        "weight of a canary without a ready pod",
    )?;
    same(world.available("demo:v1").await?, 2, "stable pods")?;
    world.set_image("web", "demo:v3").await?;
    world.healthy("web").await?;
    world.end().await
}
