//! An update through nginx, from the first deploy to every way it can end.

use super::harness::{CANARY_INGRESS, World, image_of, nginx_canary, same};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use tidegate::api::{replica_set::ReplicaSet, rollout::Rollout};

/// Weight 20, then 60, each held until a person goes on.
const TWO_HOLDS: &str = "[{setWeight: 20}, {pause: {}}, {setWeight: 60}, {pause: {}}]";

async fn deployed(name: &str, replicas: u32, steps: &str) -> Result<World> {
    let world = World::new(name).await?;
    world.apply(&nginx_canary(replicas, "demo:v1", steps)).await?;
    world.healthy("web").await?;
    Ok(world)
}

fn hash(rollout: &Rollout) -> String {
    rollout
        .status
        .as_ref()
        .map(|status| status.current_pod_hash.clone())
        .unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_deploy_goes_straight_to_healthy_and_rests() -> Result<()> {
    let world = deployed("first", 2, TWO_HOLDS).await?;
    let rollout = world.rollout("web").await?;
    let status = rollout.status.clone().context("no status")?;
    same(status.available_replicas, 2, "available pods")?;
    same(
        status.stable_rs,
        status.current_pod_hash.clone(),
        "the first version is the stable one",
    )?;
    same(
        world.selected("web-stable").await?,
        status.current_pod_hash.clone(),
        "hash of the stable Service",
    )?;
    same(world.weight(CANARY_INGRESS).await?, 0, "canary weight")?;
    world.at_rest().await?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_walks_its_steps_and_becomes_stable() -> Result<()> {
    let world = deployed(
        "walk",
        3,
        "[{setWeight: 20}, {pause: {}}, {setWeight: 60}, {pause: {duration: 1}}]",
    )
    .await?;
    let before = hash(&world.rollout("web").await?);
    world.set_image("web", "demo:v2").await?;
    let paused = world.paused_at("web", 1).await?;
    let after = hash(&paused);
    ensure!(before != after, "a new template has a new hash");
    same(world.weight(CANARY_INGRESS).await?, 20, "weight at the first hold")?;
    same(
        world.selected("web-canary").await?,
        after.clone(),
        "hash of the canary Service",
    )?;
    same(
        world.selected("web-stable").await?,
        before,
        "hash of the stable Service",
    )?;
    same(
        world.available("demo:v1").await?,
        3,
        "stable pods while the canary takes 20 %",
    )?;
    world.at_rest().await?;
    world.promote("web").await?;
    world.paused_at("web", 3).await?;
    same(world.weight(CANARY_INGRESS).await?, 60, "weight at the second hold")?;
    let rollout = world.healthy("web").await?;
    same(
        rollout.status.context("no status")?.stable_rs,
        after.clone(),
        "the new version is stable",
    )?;
    world
        .until("the stable Service selects the new version", async || {
            Ok(world.selected("web-stable").await? == after)
        })
        .await?;
    world
        .until("no weight is left", async || {
            Ok(world.weight(CANARY_INGRESS).await? == 0)
        })
        .await?;
    world
        .until("the old version is gone", async || {
            Ok(world.available("demo:v1").await? == 0)
        })
        .await?;
    let reasons = world.event_reasons("web").await?;
    let expected = [
        "RolloutUpdated",
        "NewReplicaSetCreated",
        "RolloutNotCompleted",
        "RolloutStepCompleted",
        "RolloutPaused",
        "RolloutResumed",
        "RolloutCompleted",
    ];
    for reason in expected {
        ensure!(
            reasons.iter().any(|found| found == reason),
            "no event {reason} in {reasons:?}"
        );
    }
    world.at_rest().await?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abort_in_each_step_brings_all_traffic_back_and_a_retry_starts_over() -> Result<()> {
    let world = deployed("abort", 2, TWO_HOLDS).await?;
    let stable = hash(&world.rollout("web").await?);
    world.set_image("web", "demo:v2").await?;
    for held in [1, 3] {
        world.paused_at("web", 1).await?;
        if held == 3 {
            world.promote("web").await?;
            world.paused_at("web", 3).await?;
        }
        world.abort("web").await?;
        world
            .wait("web", "is Degraded", |status| {
                status.phase == "Degraded" && status.abort
            })
            .await?;
        world
            .until("no traffic goes to the canary", async || {
                Ok(world.weight(CANARY_INGRESS).await? == 0)
            })
            .await?;
        same(
            world.selected("web-stable").await?,
            stable.clone(),
            "hash of the stable Service",
        )?;
        same(world.available("demo:v1").await?, 2, "stable pods after an abort")?;
        world
            .until("the canary is scaled down", async || {
                Ok(world.available("demo:v2").await? == 0)
            })
            .await?;
        world.at_rest().await?;
        world.retry("web").await?;
    }
    world.paused_at("web", 1).await?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_in_the_middle_of_an_update_starts_over_with_the_newest() -> Result<()> {
    let world = deployed("twice", 2, TWO_HOLDS).await?;
    let stable = hash(&world.rollout("web").await?);
    world.set_image("web", "demo:v2").await?;
    let second = hash(&world.paused_at("web", 1).await?);
    world.promote("web").await?;
    world.paused_at("web", 3).await?;
    world.set_image("web", "demo:v3").await?;
    let third = world.wait("web", "pauses with the third version", |status| {
        status.phase == "Paused" && status.current_step_index == Some(1) && status.current_pod_hash != second
    });
    let third = hash(&third.await?);
    ensure!(third != second && third != stable);
    same(world.weight(CANARY_INGRESS).await?, 20, "weight of the third version")?;
    same(
        world.selected("web-canary").await?,
        third.clone(),
        "hash of the canary Service",
    )?;
    same(
        world.selected("web-stable").await?,
        stable,
        "hash of the stable Service",
    )?;
    world
        .until("the second version is gone", async || {
            Ok(world.available("demo:v2").await? == 0)
        })
        .await?;
    world.promote_full("web").await?;
    let rollout = world.healthy("web").await?;
    same(
        rollout.status.context("no status")?.stable_rs,
        third,
        "the third version is stable",
    )?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scaling_in_the_middle_of_a_step_scales_and_stays_in_the_step() -> Result<()> {
    let world = deployed("scale", 2, "[{setWeight: 50}, {pause: {}}]").await?;
    world.set_image("web", "demo:v2").await?;
    world.paused_at("web", 1).await?;
    world.patch("web", json!({"spec": {"replicas": 4}})).await?;
    world
        .until("both versions have grown", async || {
            Ok(world.available("demo:v1").await? == 4 && world.available("demo:v2").await? == 2)
        })
        .await?;
    world
        .wait("web", "counts six pods", |status| status.available_replicas == 6)
        .await?;
    world.paused_at("web", 1).await?;
    same(world.weight(CANARY_INGRESS).await?, 50, "weight")?;
    world.patch("web", json!({"spec": {"replicas": 2}})).await?;
    world
        .until("both versions have shrunk", async || {
            Ok(world.available("demo:v1").await? == 2 && world.available("demo:v2").await? == 1)
        })
        .await?;
    world.paused_at("web", 1).await?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_paused_rollout_moves_only_after_it_is_resumed() -> Result<()> {
    let world = deployed("pause", 2, "[{setWeight: 50}, {pause: {duration: 1}}]").await?;
    world.patch("web", json!({"spec": {"paused": true}})).await?;
    world.set_image("web", "demo:v2").await?;
    world
        .wait("web", "is Paused", |status| status.phase == "Paused")
        .await?;
    world.at_rest().await?;
    same(world.available("demo:v2").await?, 0, "pods of the new version")?;
    same(world.weight(CANARY_INGRESS).await?, 0, "weight")?;
    world.patch("web", json!({"spec": {"paused": false}})).await?;
    world.healthy("web").await?;
    same(world.available("demo:v2").await?, 2, "pods of the new version")?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn going_back_to_the_stable_version_skips_the_steps() -> Result<()> {
    let world = deployed("back", 2, TWO_HOLDS).await?;
    let stable = hash(&world.rollout("web").await?);
    world.set_image("web", "demo:v2").await?;
    world.paused_at("web", 1).await?;
    world.set_image("web", "demo:v1").await?;
    let rollout = world.healthy("web").await?;
    let status = rollout.status.context("no status")?;
    same(
        (status.current_pod_hash, status.stable_rs),
        (stable.clone(), stable.clone()),
        "hashes",
    )?;
    same(world.weight(CANARY_INGRESS).await?, 0, "weight")?;
    same(
        world.selected("web-stable").await?,
        stable,
        "hash of the stable Service",
    )?;
    let sets: Vec<ReplicaSet> = world.replica_sets().await?;
    same(
        sets.iter().filter(|set| image_of(set) == "demo:v1").count(),
        1,
        "ReplicaSets of the stable version",
    )?;
    world
        .until("the canary is scaled down", async || {
            Ok(world.available("demo:v2").await? == 0)
        })
        .await?;
    world.at_rest().await?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promoting_in_full_skips_pauses_and_waits_for_pods() -> Result<()> {
    let world = deployed("full", 2, TWO_HOLDS).await?;
    world.set_image("web", "demo:v2-ready2").await?;
    world.paused_at("web", 1).await?;
    world.promote_full("web").await?;
    let rollout = world.healthy("web").await?;
    same(
        rollout.status.context("no status")?.available_replicas >= 2,
        true,
        "available pods",
    )?;
    same(world.available("demo:v2-ready2").await?, 2, "pods of the new version")?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_router_the_share_is_made_of_pods() -> Result<()> {
    let world = World::new("pods").await?;
    world
        .apply(
            r"
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {name: web}
spec:
  replicas: 5
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: web, image: 'demo:v1'}]}
  strategy: {canary: {maxSurge: 1, maxUnavailable: 0, steps: [{setWeight: 40}, {pause: {}}]}}
",
        )
        .await?;
    world.healthy("web").await?;
    world.set_image("web", "demo:v2").await?;
    world.paused_at("web", 1).await?;
    world
        .until("three pods are old and two are new", async || {
            Ok((world.available("demo:v1").await?, world.available("demo:v2").await?) == (3, 2))
        })
        .await?;
    world.promote("web").await?;
    world.healthy("web").await?;
    same(
        (world.available("demo:v1").await?, world.available("demo:v2").await?),
        (0, 5),
        "old and new pods",
    )?;
    world.end().await
}
