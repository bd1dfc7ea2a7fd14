//! Objects that somebody else deletes or edits in the middle of a step come back.

use super::harness::{CANARY_INGRESS, World, nginx_canary};
use anyhow::{Context, Result};
use k8s_openapi::api::{core::v1::Service, networking::v1::Ingress};
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tidegate::api::{replica_set::ReplicaSet, well_known};

const STEPS: &str = "[{setWeight: 40}, {pause: {}}]";

/// In the hold at weight 40.
async fn held(name: &str) -> Result<World> {
    let world = World::new(name).await?;
    world.apply(&nginx_canary(2, "demo:v1", STEPS)).await?;
    world.healthy("web").await?;
    world.set_image("web", "demo:v2").await?;
    world.paused_at("web", 1).await?;
    Ok(world)
}

async fn ends_well(world: World) -> Result<()> {
    world.paused_at("web", 1).await?;
    world.at_rest().await?;
    world.promote("web").await?;
    world.healthy("web").await?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_canary_ingress_comes_back_with_its_weight() -> Result<()> {
    let world = held("ingress").await?;
    world.delete::<Ingress>(CANARY_INGRESS).await?;
    world
        .until("the canary Ingress is back", async || {
            Ok(world.weight(CANARY_INGRESS).await? == 40)
        })
        .await?;
    ends_well(world).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_replica_sets_come_back_with_their_pods() -> Result<()> {
    let world = held("sets").await?;
    for image in ["demo:v2", "demo:v1"] {
        let sets = world.replica_sets().await?;
        let set = sets
            .iter()
            .find(|set| super::harness::image_of(set) == image)
            .context("no ReplicaSet")?;
        let name = set.metadata.name.clone().context("no name")?;
        let uid = set.metadata.uid.clone();
        world.delete::<ReplicaSet>(&name).await?;
        world
            .until("the ReplicaSet is back", async || {
                let set = world.api::<ReplicaSet>().get_opt(&name).await?;
                Ok(set.is_some_and(|set| set.metadata.uid != uid && set.status.available_replicas > 0))
            })
            .await?;
    }
    world
        .until("both versions have their pods", async || {
            Ok((world.available("demo:v1").await?, world.available("demo:v2").await?) == (2, 1))
        })
        .await?;
    world.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edited_service_selector_is_put_right() -> Result<()> {
    let world = held("selector").await?;
    let services = world.api::<Service>();
    for service in ["web-canary", "web-stable"] {
        let hash = world.selected(service).await?;
        for edit in [json!("somebody-elses"), json!(null)] {
            let patch = Patch::Merge(json!({"spec": {"selector": {well_known::POD_TEMPLATE_HASH: edit}}}));
            services.patch(service, &PatchParams::default(), &patch).await?;
            world
                .until("the selector is right again", async || {
                    Ok(world.selected(service).await? == hash)
                })
                .await?;
        }
    }
    ends_well(world).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edited_weight_and_an_edited_size_are_put_right() -> Result<()> {
    let world = held("edits").await?;
    let patch =
        Patch::Merge(json!({"metadata": {"annotations": {"nginx.ingress.kubernetes.io/canary-weight": "100"}}}));
    world
        .api::<Ingress>()
        .patch(CANARY_INGRESS, &PatchParams::default(), &patch)
        .await?;
    world
        .until("the weight is right again", async || {
            Ok(world.weight(CANARY_INGRESS).await? == 40)
        })
        .await?;
    for set in world.replica_sets().await? {
        let name = set.metadata.name.clone().context("no name")?;
        let patch = Patch::Merge(json!({"spec": {"replicas": 0}}));
        world
            .api::<ReplicaSet>()
            .patch(&name, &PatchParams::default(), &patch)
            .await?;
    }
    world
        .until("both versions have their pods", async || {
            Ok((world.available("demo:v1").await?, world.available("demo:v2").await?) == (2, 1))
        })
        .await?;
    // Without a ready pod the canary gets no traffic; with one it gets its share back.
    world
        .until("the weight is back", async || {
            Ok(world.weight(CANARY_INGRESS).await? == 40)
        })
        .await?;
    world.end().await
}
