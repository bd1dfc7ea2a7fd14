//! Lists, pages and discovery.

use super::probe::{Probe, config_map, refused, rollout, same, version};
use anyhow::{Result, ensure};
use kube::discovery::{Discovery, Scope};
use serde_json::{Value, json};

fn names(list: &Value) -> Vec<&str> {
    let items = list["items"].as_array().into_iter().flatten();
    items.filter_map(|item| item["metadata"]["name"].as_str()).collect()
}

pub(super) async fn selected(probe: &Probe) -> Result<()> {
    for (name, labels) in [
        ("a", json!({"app": "web", "tier": "front"})),
        ("b", json!({"app": "api"})),
        ("c", json!({"other": "x"})),
    ] {
        let mut object = config_map(name);
        object["metadata"]["labels"] = labels;
        probe.create("configmaps", &object).await?;
    }
    for (query, expected) in [
        ("labelSelector=app%3Dweb", &["a"][..]),
        ("labelSelector=app%20in%20(web,api)", &["a", "b"]),
        ("labelSelector=app%20notin%20(web),other", &["c"]),
        ("labelSelector=app,!tier", &["b"]),
        ("labelSelector=app!%3Dweb,app", &["b"]),
        ("fieldSelector=metadata.name%3Dc", &["c"]),
        ("labelSelector=app&fieldSelector=metadata.name!%3Da", &["b"]),
    ] {
        let list = probe.get(&format!("configmaps?{query}")).await?;
        same(query, json!(names(&list)), json!(expected))?;
    }
    refused(
        probe.try_get("configmaps?fieldSelector=data.color%3Dblue").await?,
        400,
        "BadRequest",
    )?;
    refused(
        probe.try_get("configmaps?labelSelector=a%20b").await?,
        400,
        "BadRequest",
    )?;
    let list = probe.get("configmaps?labelSelector=app").await?;
    same("kind", list["kind"].clone(), "ConfigMapList")?;
    same(
        "items of a built-in kind",
        list["items"][0]["kind"].clone(),
        Value::Null,
    )?;
    probe.create("rollouts", &rollout("a")).await?;
    let list = probe.get("rollouts").await?;
    same("kind", list["kind"].clone(), "RolloutList")?;
    same("items of a custom kind", list["items"][0]["kind"].clone(), "Rollout")?;
    same(
        "any version will do",
        json!(names(&probe.get("rollouts?resourceVersion=0").await?)),
        json!(["a"]),
    )
}

pub(super) async fn pages(probe: &Probe) -> Result<()> {
    for name in ["a", "b", "d", "e", "f"] {
        probe.create("rollouts", &rollout(name)).await?;
    }
    let first = probe.get("rollouts?limit=2").await?;
    same("first page", json!(names(&first)), json!(["a", "b"]))?;
    same("remaining", first["metadata"]["remainingItemCount"].clone(), 3)?;
    // What happens meanwhile is not in the pages that follow.
    probe.create("rollouts", &rollout("c")).await?;
    probe.delete("rollouts/d", &json!({})).await?;
    let token = first["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
    let second = probe.get(&format!("rollouts?limit=2&continue={token}")).await?;
    same("second page", json!(names(&second)), json!(["d", "e"]))?;
    same("version", version(&second).clone(), version(&first).clone())?;
    let token = second["metadata"]["continue"].as_str().unwrap_or_default().to_owned();
    let third = probe.get(&format!("rollouts?limit=2&continue={token}")).await?;
    same("third page", json!(names(&third)), json!(["f"]))?;
    same("the end", third["metadata"]["continue"].clone(), "")?;
    same(
        "now",
        json!(names(&probe.get("rollouts?limit=10").await?)),
        json!(["a", "b", "c", "e", "f"]),
    )?;
    refused(
        probe.try_get("rollouts?limit=2&continue=nonsense").await?,
        400,
        "BadRequest",
    )?;
    let then = version(&first).as_str().unwrap_or_default();
    let exact = probe
        .get(&format!(
            "rollouts?resourceVersion={then}&resourceVersionMatch=Exact&limit=9"
        ))
        .await?;
    same("then", json!(names(&exact)), json!(["a", "b", "d", "e", "f"]))
}

pub(super) async fn discovery(probe: &Probe) -> Result<()> {
    for aggregated in [true, false] {
        let discovery = Discovery::new(probe.client.clone());
        let found = match aggregated {
            true => discovery.run_aggregated().await?,
            false => discovery.run().await?,
        };
        for (group, kind, plural, scope) in [
            ("argoproj.io", "Rollout", "rollouts", Scope::Namespaced),
            ("", "ConfigMap", "configmaps", Scope::Namespaced),
            ("", "Namespace", "namespaces", Scope::Cluster),
            ("apps", "ReplicaSet", "replicasets", Scope::Namespaced),
        ] {
            let resources = found
                .groups()
                .filter(|found| found.name() == group)
                .flat_map(|group| group.recommended_resources());
            let resource = resources.into_iter().find(|(resource, _)| resource.kind == kind);
            let Some((resource, capabilities)) = resource else {
                anyhow::bail!("{kind} was not found (aggregated: {aggregated})");
            };
            same("plural", resource.plural, plural)?;
            ensure!(capabilities.scope == scope, "{kind}: {:?}", capabilities.scope);
            ensure!(capabilities.supports_operation("watch"), "{kind} cannot be watched");
        }
    }
    Ok(())
}
