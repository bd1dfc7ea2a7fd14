//! Clusters as Argo Rollouts left them: taking over moves nothing, and the next verb goes on from there.

#![expect(clippy::indexing_slicing, reason = "reading JSON: what is missing is null")]

use super::harness::{CANARY_INGRESS, World, same};
use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use k8s_openapi::api::{core::v1::Service, networking::v1::Ingress};
use kube::{
    Api, Resource,
    api::{ListParams, PostParams},
    core::{ApiResource, DynamicObject, GroupVersionKind, NamespaceResourceScope},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::{fmt::Debug, fs, path::Path};
use tidegate::{
    api::{replica_set::ReplicaSet, rollout::Rollout},
    lang::yaml,
};

/// How the original's controller writes, and how people do.
const CONTROLLER: &str = "rollouts-controller";
const PERSON: &str = "kubectl-client-side-apply";

/// What somebody does first after the change of controllers.
#[derive(Clone, Copy, Debug)]
enum Verb {
    Promote,
    PromoteFull,
    Abort,
    Retry,
    Image(&'static str),
}

/// Where that leads.
#[derive(Clone, Copy, Debug)]
enum End {
    /// Pauses at this step with this weight (percent), or with this many pods of the newest version.
    Step(i32, i32),
    /// Pauses before the switch with the newest version behind the preview Service.
    Preview,
    /// Healthy with this image.
    Healthy(&'static str),
    /// Aborted: all requests go to `demo:v1`.
    Aborted,
}

/// Objects of a namespace, without what changes while nothing moves (status, versions).
#[derive(Debug, PartialEq)]
struct Still(Vec<(String, Value)>);

impl Still {
    async fn of(world: &World) -> Result<Self> {
        let mut seen = Vec::new();
        seen.extend(read::<Rollout>(world).await?);
        seen.extend(read::<ReplicaSet>(world).await?);
        seen.extend(read::<Service>(world).await?);
        seen.extend(read::<Ingress>(world).await?);
        Ok(Self(seen))
    }
}

async fn read<K>(world: &World) -> Result<Vec<(String, Value)>>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug + serde::Serialize,
{
    let items = world.api::<K>().list(&ListParams::default()).await?.items;
    items
        .into_iter()
        .map(|item| {
            let object = serde_json::to_value(item)?;
            let name = format!("{} {}", K::kind(&()), object["metadata"]["name"]);
            let meta = ["uid", "labels", "annotations", "generation"].map(|field| object["metadata"][field].clone());
            Ok((name, json!([meta, object["spec"]])))
        })
        .collect()
}

/// A namespace in which everything is as recorded, and no controller runs.
async fn recorded(file: &str, name: &str) -> Result<(World, Value)> {
    let world = World::without_controller(name).await?;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/takeover/rollouts/{file}.yaml"));
    let list = yaml::to_json(&fs::read_to_string(path)?)?;
    let items = list["items"].as_array().context("no items")?;
    let recorded = items.iter().find(|item| item["kind"] == "Rollout");
    let recorded = recorded.context("no Rollout")?;
    let uid = create_rollout(&world, recorded).await?;
    for item in items.iter().filter(|item| item["kind"] != "Rollout") {
        create(&world, item, &uid).await?;
    }
    world
        .until("the pods are there as recorded", async || {
            for item in items.iter().filter(|item| item["kind"] == "ReplicaSet") {
                let name = item["metadata"]["name"].as_str().context("no name")?;
                let set = world.api::<ReplicaSet>().get(name).await?;
                let wanted = item["status"]["availableReplicas"].as_i64().unwrap_or_default();
                if i64::from(set.status.available_replicas) != wanted {
                    return Ok(false);
                }
            }
            Ok(true)
        })
        .await?;
    world.patch_status("web", recorded["status"].clone()).await?;
    Ok((world, recorded["status"].clone()))
}

/// Creates the Rollout and brings its generation to the recorded one, which its status names.
async fn create_rollout(world: &World, recorded: &Value) -> Result<String> {
    let generation = recorded["metadata"]["generation"].as_i64().context("no generation")?;
    let mut object = recorded.clone();
    if generation > 1 {
        object["spec"]["revisionHistoryLimit"] = json!(100);
    }
    let uid = create(world, &object, "").await?;
    for count in 2..=generation {
        let limit = if count == generation {
            json!(null)
        } else {
            json!(100 + count)
        };
        world
            .patch("web", json!({"spec": {"revisionHistoryLimit": limit}}))
            .await?;
    }
    let now = world.rollout("web").await?.metadata.generation;
    ensure!(now == Some(generation), "generation {now:?} instead of {generation}");
    Ok(uid)
}

/// Creates an object as recorded, in the world's namespace, with `owner` for its owner's uid; answers its uid.
async fn create(world: &World, recorded: &Value, owner: &str) -> Result<String> {
    let kind = recorded["kind"].as_str().context("no kind")?;
    let (group, version) = match recorded["apiVersion"]
        .as_str()
        .context("no apiVersion")?
        .split_once('/')
    {
        Some((group, version)) => (group, version),
        None => ("", "v1"),
    };
    let plural = match kind {
        "Ingress" => "ingresses".to_owned(),
        _ => format!("{}s", kind.to_lowercase()),
    };
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(group, version, kind), &plural);
    let mut object = recorded.clone();
    let meta = object["metadata"].as_object_mut().context("no metadata")?;
    for field in [
        "uid",
        "resourceVersion",
        "creationTimestamp",
        "generation",
        "namespace",
        "managedFields",
    ] {
        meta.remove(field);
    }
    let is_owned = meta.contains_key("ownerReferences");
    if is_owned {
        object["metadata"]["ownerReferences"][0]["uid"] = json!(owner);
    }
    if let Some(deadline) = object["metadata"]["annotations"].get_mut("scale-down-deadline") {
        // The recorded one is long over; in the minute after it was recorded it was not.
        *deadline = json!(
            (jiff::Timestamp::now() + jiff::SignedDuration::from_mins(5))
                .strftime("%FT%TZ")
                .to_string()
        );
    }
    if kind == "Service" {
        let spec = object["spec"].as_object_mut().context("no spec")?;
        spec.remove("clusterIP");
        spec.remove("clusterIPs");
    }
    let api: Api<DynamicObject> = Api::namespaced_with(world.client.clone(), &world.namespace, &resource);
    let params = PostParams {
        field_manager: Some(if is_owned { CONTROLLER } else { PERSON }.to_owned()),
        ..PostParams::default()
    };
    let made = api.create(&params, &serde_json::from_value(object)?).await?;
    made.metadata.uid.context("no uid")
}

/// Takes `file` over, sees that nothing moves, then does each verb in a namespace of its own.
async fn take_over(file: &str, verbs: &[(Verb, End)]) -> Result<()> {
    let runs = verbs.iter().enumerate().map(|(index, (verb, end))| async move {
        let done = one(file, &format!("{file}-{index}"), *verb, *end).await;
        done.with_context(|| format!("{file}, then {verb:?}"))
    });
    try_join_all(runs).await.map(drop)
}

async fn one(file: &str, name: &str, verb: Verb, end: End) -> Result<()> {
    let (mut world, status) = recorded(file, name).await?;
    let before = Still::of(&world).await?;
    world.start_task().await?;
    world.at_rest().await?;
    same(Still::of(&world).await?, before, "taken over")?;
    let now = serde_json::to_value(world.rollout("web").await?.status)?;
    for field in [
        "phase",
        "message",
        "stableRS",
        "currentPodHash",
        "currentStepIndex",
        "pauseConditions",
        "conditions",
    ] {
        same(&now[field], &status[field], &format!("status.{field}"))?;
    }
    let sets = world.replica_sets().await?.len();
    match verb {
        Verb::Promote => world.promote("web").await?,
        Verb::PromoteFull => world.promote_full("web").await?,
        Verb::Abort => world.abort("web").await?,
        Verb::Retry => world.retry("web").await?,
        Verb::Image(image) => world.set_image("web", image).await?,
    }
    arrive(&world, end).await?;
    let is_new = matches!(verb, Verb::Image(image) if image == "demo:v3" || file.starts_with("healthy"));
    let made = world.replica_sets().await?.len() - sets;
    same(made, usize::from(is_new), "new ReplicaSets")?;
    // From wherever that led, the way to the end is open.
    if !matches!(end, End::Healthy(_)) {
        if matches!(end, End::Aborted) {
            world.retry("web").await?;
        }
        world.promote_full("web").await?;
        world.healthy("web").await?;
    }
    world.end().await
}

async fn arrive(world: &World, end: End) -> Result<()> {
    match end {
        End::Step(step, share) => {
            let rollout = world.paused_at("web", step).await?;
            let status = rollout.status.context("no status")?;
            let has_router = status.canary.as_ref().is_some_and(|canary| canary.weights.is_some());
            if has_router {
                same(world.weight(CANARY_INGRESS).await?, share, "weight")?;
                same(
                    world.selected("web-canary").await?,
                    status.current_pod_hash,
                    "canary Service",
                )?;
                same(world.selected("web-stable").await?, status.stable_rs, "stable Service")
            } else {
                same(status.updated_replicas, share, "pods of the newest version")
            }
        }
        End::Preview => {
            let wanted = |phase: &str, paused: bool| phase == "Paused" && paused;
            let rollout = world
                .wait("web", "pauses before the switch", |status| {
                    wanted(&status.phase, !status.pause_conditions.is_empty())
                })
                .await?;
            let status = rollout.status.context("no status")?;
            same(world.selected("web-stable").await?, status.stable_rs, "active Service")?;
            same(
                world.selected("web-canary").await?,
                status.current_pod_hash,
                "preview Service",
            )
        }
        End::Healthy(image) => {
            let is_there = |status: &tidegate::api::rollout_status::RolloutStatus| {
                status.phase == "Healthy" && status.stable_rs == status.current_pod_hash
            };
            world.wait("web", "is Healthy", is_there).await?;
            world
                .until("the pods are those of the version", async || {
                    Ok(world.available(image).await? >= 5)
                })
                .await?;
            same(world.weight(CANARY_INGRESS).await?, 0, "weight")
        }
        End::Aborted => {
            let rollout = world
                .wait("web", "is aborted", |status| status.phase == "Degraded")
                .await?;
            world
                .until("no request goes to the canary", async || {
                    Ok(world.weight(CANARY_INGRESS).await? == 0)
                })
                .await?;
            let has_stable = world.available("demo:v1").await? >= 4;
            ensure!(has_stable, "the stable version lost pods: {:?}", rollout.status);
            Ok(())
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn take_over_of_a_healthy_canary() -> Result<()> {
    take_over("healthy-nginx", &[(Verb::Image("demo:v2"), End::Step(1, 20))]).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn take_over_of_a_paused_canary() -> Result<()> {
    let verbs = [
        (Verb::Promote, End::Step(3, 60)),
        (Verb::PromoteFull, End::Healthy("demo:v2")),
        (Verb::Abort, End::Aborted),
        (Verb::Image("demo:v3"), End::Step(1, 20)),
        (Verb::Image("demo:v1"), End::Healthy("demo:v1")),
    ];
    take_over("paused-nginx", &verbs).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn take_over_of_a_retried_canary() -> Result<()> {
    let verbs = [(Verb::Promote, End::Step(3, 60)), (Verb::Abort, End::Aborted)];
    take_over("retried-nginx", &verbs).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn take_over_of_an_aborted_canary() -> Result<()> {
    let verbs = [
        (Verb::Retry, End::Step(1, 20)),
        (Verb::Image("demo:v3"), End::Step(1, 20)),
        (Verb::Image("demo:v1"), End::Healthy("demo:v1")),
    ];
    take_over("aborted-nginx", &verbs).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn take_over_of_a_paused_basic_canary() -> Result<()> {
    let verbs = [
        (Verb::Promote, End::Step(3, 3)),
        (Verb::Abort, End::Aborted),
        (Verb::Image("demo:v3"), End::Step(1, 1)),
    ];
    take_over("paused-basic", &verbs).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn take_over_of_a_canary_scaled_while_paused() -> Result<()> {
    let verbs = [
        (Verb::Promote, End::Step(3, 5)),
        (Verb::Abort, End::Aborted),
        (Verb::Image("demo:v3"), End::Step(1, 2)),
    ];
    take_over("scaled-while-paused-basic", &verbs).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn take_over_of_a_paused_blue_green() -> Result<()> {
    let verbs = [
        (Verb::Promote, End::Healthy("demo:v2")),
        (Verb::Abort, End::Aborted),
        (Verb::Image("demo:v3"), End::Preview),
        (Verb::Image("demo:v1"), End::Healthy("demo:v1")),
    ];
    take_over("paused-bluegreen", &verbs).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn take_over_of_an_aborted_blue_green() -> Result<()> {
    let verbs = [
        (Verb::Retry, End::Preview),
        (Verb::Image("demo:v3"), End::Preview),
        (Verb::Image("demo:v1"), End::Healthy("demo:v1")),
    ];
    take_over("aborted-bluegreen", &verbs).await
}
