//! Deletions, and what becomes of dependents.

use super::probe::{MERGE, Probe, config_map, refused, rollout, same, version};
use anyhow::{Result, ensure};
use serde_json::{Value, json};

fn with(mut object: Value, metadata: &Value) -> Value {
    for (field, value) in metadata.as_object().into_iter().flatten() {
        object["metadata"][field] = value.clone();
    }
    object
}

pub(super) async fn finalizers(probe: &Probe) -> Result<()> {
    let held = with(rollout("a"), &json!({"finalizers": ["example.com/x", "example.com/y"]}));
    probe.create("rollouts", &held).await?;
    let marked = probe.delete("rollouts/a", &json!({})).await?;
    same("kind of the answer", marked["kind"].clone(), "Rollout")?;
    ensure!(
        marked["metadata"]["deletionTimestamp"].is_string(),
        "no deletion timestamp"
    );
    same("grace", marked["metadata"]["deletionGracePeriodSeconds"].clone(), 0)?;
    same("generation", marked["metadata"]["generation"].clone(), 2)?;
    let again = probe.delete("rollouts/a", &json!({})).await?;
    same(
        "version of a second deletion",
        version(&again).clone(),
        version(&marked).clone(),
    )?;
    let more = json!({"metadata": {"finalizers": ["example.com/x", "example.com/y", "example.com/z"]}});
    refused(probe.try_patch(MERGE, "rollouts/a", &more).await?, 422, "Invalid")?;
    // Everything else may still be written.
    let changed = probe.patch("rollouts/a", &json!({"spec": {"replicas": 0}})).await?;
    same("generation later", changed["metadata"]["generation"].clone(), 3)?;
    let less = probe
        .patch("rollouts/a", &json!({"metadata": {"finalizers": ["example.com/y"]}}))
        .await?;
    same(
        "finalizers",
        less["metadata"]["finalizers"].clone(),
        json!(["example.com/y"]),
    )?;
    let from = version(&less).as_str().unwrap_or_default().to_owned();
    let mut watch = probe
        .watch(&format!("rollouts?watch=true&resourceVersion={from}"))
        .await?;
    let last = probe
        .patch("rollouts/a", &json!({"metadata": {"finalizers": null}}))
        .await?;
    same("the answer", last["metadata"]["finalizers"].clone(), Value::Null)?;
    ensure!(!probe.exists("rollouts/a").await?, "it is still there");
    watch.expect("DELETED", "a").await?;
    let gone = probe.create("rollouts", &rollout("b")).await?;
    let answer = probe.delete("rollouts/b", &json!({})).await?;
    same("kind of the answer", answer["kind"].clone(), "Status")?;
    same(
        "details",
        answer["details"].clone(),
        json!({"name": "b", "group": "argoproj.io", "kind": "rollouts", "uid": gone["metadata"]["uid"]}),
    )?;
    refused(probe.try_delete("rollouts/b", &json!({})).await?, 404, "NotFound")?;
    Ok(())
}

pub(super) async fn preconditions(probe: &Probe) -> Result<()> {
    let made = probe.create("rollouts", &rollout("a")).await?;
    let touched = probe.patch("rollouts/a", &json!({"spec": {"replicas": 3}})).await?;
    let unknown = "11111111-1111-4111-8111-111111111111";
    for preconditions in [json!({"uid": unknown}), json!({"resourceVersion": version(&made)})] {
        let options = json!({"preconditions": preconditions});
        refused(probe.try_delete("rollouts/a", &options).await?, 409, "Conflict")?;
    }
    let options = json!({"preconditions": {"uid": made["metadata"]["uid"], "resourceVersion": version(&touched)}});
    probe.delete("rollouts/a", &options).await?;
    ensure!(!probe.exists("rollouts/a").await?, "it is still there");
    Ok(())
}

async fn owner(probe: &Probe) -> Result<Value> {
    let owner = probe.create("rollouts", &rollout("owner")).await?;
    Ok(
        json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "owner", "uid": owner["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true}),
    )
}

pub(super) async fn background(probe: &Probe) -> Result<()> {
    let reference = owner(probe).await?;
    let child = with(config_map("child"), &json!({"ownerReferences": [reference]}));
    let child = probe.create("configmaps", &child).await?;
    let mut deeper = reference.clone();
    for (field, value) in [
        ("apiVersion", json!("v1")),
        ("kind", json!("ConfigMap")),
        ("name", json!("child")),
        ("uid", child["metadata"]["uid"].clone()),
    ] {
        deeper[field] = value;
    }
    probe
        .create(
            "configmaps",
            &with(config_map("grandchild"), &json!({"ownerReferences": [deeper]})),
        )
        .await?;
    probe.create("configmaps", &config_map("stranger")).await?;
    probe
        .delete("rollouts/owner", &json!({"propagationPolicy": "Background"}))
        .await?;
    ensure!(!probe.exists("rollouts/owner").await?, "the owner is still there");
    probe
        .until("the grandchild is gone", async || {
            Ok(!probe.exists("configmaps/grandchild").await?)
        })
        .await?;
    ensure!(!probe.exists("configmaps/child").await?, "the child is still there");
    ensure!(probe.exists("configmaps/stranger").await?, "the stranger is gone");
    Ok(())
}

pub(super) async fn foreground(probe: &Probe) -> Result<()> {
    let reference = owner(probe).await?;
    let held = json!({"ownerReferences": [reference.clone()], "finalizers": ["example.com/x"]});
    probe.create("configmaps", &with(config_map("child"), &held)).await?;
    seen_by_the_collector(probe, &reference).await?;
    let marked = probe
        .delete("rollouts/owner", &json!({"propagationPolicy": "Foreground"}))
        .await?;
    same(
        "finalizers",
        marked["metadata"]["finalizers"].clone(),
        json!(["foregroundDeletion"]),
    )?;
    probe
        .until("the child is being deleted", async || {
            Ok(probe.get("configmaps/child").await?["metadata"]["deletionTimestamp"].is_string())
        })
        .await?;
    ensure!(probe.exists("rollouts/owner").await?, "the owner went first");
    probe
        .patch("configmaps/child", &json!({"metadata": {"finalizers": null}}))
        .await?;
    probe
        .until("the owner is gone", async || {
            Ok(!probe.exists("rollouts/owner").await?)
        })
        .await
}

/// Waits until the garbage collector has seen the ConfigMaps made so far. A real one follows by a watch, in order, and
/// lets an owner go without the dependents it has not seen.
async fn seen_by_the_collector(probe: &Probe, reference: &Value) -> Result<()> {
    let mut nobody = reference.clone();
    nobody["name"] = json!("nobody");
    nobody["uid"] = json!("00000000-0000-4000-8000-000000000000");
    let orphan = with(config_map("sentinel"), &json!({"ownerReferences": [nobody]}));
    probe.create("configmaps", &orphan).await?;
    probe
        .until("the collector has seen what was made before", async || {
            Ok(!probe.exists("configmaps/sentinel").await?)
        })
        .await
}

pub(super) async fn orphan(probe: &Probe) -> Result<()> {
    let reference = owner(probe).await?;
    probe
        .create(
            "configmaps",
            &with(config_map("child"), &json!({"ownerReferences": [reference.clone()]})),
        )
        .await?;
    seen_by_the_collector(probe, &reference).await?;
    let marked = probe
        .delete("rollouts/owner", &json!({"propagationPolicy": "Orphan"}))
        .await?;
    same(
        "finalizers",
        marked["metadata"]["finalizers"].clone(),
        json!(["orphan"]),
    )?;
    probe
        .until("the owner is gone", async || {
            Ok(!probe.exists("rollouts/owner").await?)
        })
        .await?;
    let child = probe.get("configmaps/child").await?;
    same("owners", child["metadata"]["ownerReferences"].clone(), Value::Null)
}

pub(super) async fn collection(probe: &Probe) -> Result<()> {
    for name in ["a", "b", "c"] {
        let labels = json!({"labels": {"doomed": if name == "b" { "no" } else { "yes" }}});
        probe.create("rollouts", &with(rollout(name), &labels)).await?;
    }
    probe.delete("rollouts?labelSelector=doomed%3Dyes", &json!({})).await?;
    let left = probe.get("rollouts").await?;
    let names: Vec<&Value> = left["items"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|item| &item["metadata"]["name"])
        .collect();
    same("left", json!(names), json!(["b"]))
}
