//! Watches.

use super::probe::{Probe, config_map, same, version};
use anyhow::{Result, ensure};
use serde_json::{Value, json};

async fn list_version(probe: &Probe, resource: &str) -> Result<String> {
    let list = probe.get(resource).await?;
    Ok(version(&list).as_str().unwrap_or_default().to_owned())
}

fn number(object: &Value) -> u64 {
    version(object)
        .as_str()
        .and_then(|version| version.parse().ok())
        .unwrap_or_default()
}

pub(super) async fn resumed(probe: &Probe) -> Result<()> {
    probe.create("configmaps", &config_map("before")).await?;
    let from = list_version(probe, "configmaps").await?;
    let mut watch = probe
        .watch(&format!("configmaps?watch=true&resourceVersion={from}"))
        .await?;
    let made = probe.create("configmaps", &config_map("a")).await?;
    let changed = probe.patch("configmaps/a", &json!({"data": {"color": "red"}})).await?;
    probe.patch("configmaps/a", &json!({"data": {"color": "red"}})).await?;
    probe.delete("configmaps/a", &json!({})).await?;
    same("added", watch.expect("ADDED", "a").await?, made.clone())?;
    same("modified", watch.expect("MODIFIED", "a").await?, changed.clone())?;
    let deleted = watch.expect("DELETED", "a").await?;
    same("deleted", deleted["data"].clone(), changed["data"].clone())?;
    ensure!(
        number(&deleted) > number(&changed),
        "a deletion has a version of its own"
    );
    // From the middle.
    let resumed = format!("configmaps?watch=true&resourceVersion={}", number(&made));
    let mut resumed = probe.watch(&resumed).await?;
    resumed.expect("MODIFIED", "a").await?;
    resumed.expect("DELETED", "a").await?;
    // From any version: what is there comes first.
    let mut fresh = probe
        .watch("configmaps?watch=true&fieldSelector=metadata.name%3Dbefore")
        .await?;
    fresh.expect("ADDED", "before").await?;
    probe
        .patch("configmaps/before", &json!({"data": {"color": "red"}}))
        .await?;
    fresh.expect("MODIFIED", "before").await?;
    Ok(())
}

pub(super) async fn selectors(probe: &Probe) -> Result<()> {
    let from = list_version(probe, "configmaps").await?;
    let mut watch = probe
        .watch(&format!(
            "configmaps?watch=true&resourceVersion={from}&labelSelector=color%3Dred"
        ))
        .await?;
    let mut named = probe
        .watch(&format!(
            "configmaps?watch=true&resourceVersion={from}&fieldSelector=metadata.name%3Db"
        ))
        .await?;
    probe.create("configmaps", &config_map("a")).await?;
    probe.create("configmaps", &config_map("b")).await?;
    probe
        .patch("configmaps/a", &json!({"metadata": {"labels": {"color": "red"}}}))
        .await?;
    let left = probe
        .patch("configmaps/a", &json!({"metadata": {"labels": {"color": "blue"}}}))
        .await?;
    probe.patch("configmaps/a", &json!({"data": {"unseen": "yes"}})).await?;
    probe
        .patch("configmaps/a", &json!({"metadata": {"labels": {"color": "red"}}}))
        .await?;
    let entered = watch.expect("ADDED", "a").await?;
    same("labels", entered["metadata"]["labels"].clone(), json!({"color": "red"}))?;
    let gone = watch.expect("DELETED", "a").await?;
    same(
        "labels of what left",
        gone["metadata"]["labels"].clone(),
        json!({"color": "red"}),
    )?;
    same("version of what left", version(&gone).clone(), version(&left).clone())?;
    watch.expect("ADDED", "a").await?;
    named.expect("ADDED", "b").await?;
    Ok(())
}

pub(super) async fn expired(probe: &Probe) -> Result<()> {
    if !probe.forgets {
        return Ok(());
    }
    let made = probe.create("configmaps", &config_map("a")).await?;
    ensure!(number(&made) > 1, "the first version is taken");
    let mut watch = probe.watch("configmaps?watch=true&resourceVersion=1").await?;
    let (happening, status) = watch.next().await?;
    same("event", happening, "ERROR")?;
    same("status", status, json!({"code": 410, "reason": "Expired"}))
}

pub(super) async fn streaming_list(probe: &Probe) -> Result<()> {
    probe.create("configmaps", &config_map("a")).await?;
    probe.create("configmaps", &config_map("b")).await?;
    let query = "watch=true&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan&fieldSelector=metadata.name%21%3Dkube-root-ca.crt";
    let mut watch = probe.watch(&format!("configmaps?{query}")).await?;
    let mut names = vec![
        watch.next().await?.1["metadata"]["name"].clone(),
        watch.next().await?.1["metadata"]["name"].clone(),
    ];
    names.sort_by_key(Value::to_string);
    same("initial events", json!(names), json!(["a", "b"]))?;
    let (happening, bookmark) = watch.next().await?;
    same("after them", happening, "BOOKMARK")?;
    same(
        "annotations",
        bookmark["metadata"]["annotations"].clone(),
        json!({"k8s.io/initial-events-end": "true"}),
    )?;
    let changed = probe.patch("configmaps/a", &json!({"data": {"color": "red"}})).await?;
    ensure!(
        number(&bookmark) < number(&changed),
        "the bookmark is older than what follows"
    );
    watch.expect("MODIFIED", "a").await?;
    Ok(())
}

pub(super) async fn metadata_only(probe: &Probe) -> Result<()> {
    let from = list_version(probe, "configmaps").await?;
    let accept = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
    let mut watch = probe
        .watch_as(&format!("configmaps?watch=true&resourceVersion={from}"), accept)
        .await?;
    let made = probe.create("configmaps", &config_map("a")).await?;
    let seen = watch.expect("ADDED", "a").await?;
    same("kind", seen["kind"].clone(), "PartialObjectMetadata")?;
    same("apiVersion", seen["apiVersion"].clone(), "meta.k8s.io/v1")?;
    same("data", seen["data"].clone(), Value::Null)?;
    same("metadata", seen["metadata"].clone(), made["metadata"].clone())
}
