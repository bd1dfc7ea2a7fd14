//! Server-side apply.

use super::probe::{Probe, refused, rollout, same, version};
use anyhow::{Result, ensure};
use serde_json::{Value, json};

fn part(spec: Value) -> Value {
    json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "a"}, "spec": spec})
}

fn with(mut config: Value, metadata: &Value) -> Value {
    for (field, value) in metadata.as_object().into_iter().flatten() {
        config["metadata"][field] = value.clone();
    }
    config
}

pub(super) async fn conflicts(probe: &Probe) -> Result<()> {
    let mut whole = rollout("a");
    whole["metadata"]["labels"] = json!({"team": "shop"});
    probe.apply("a", "rollouts/a", &whole).await?;
    let theirs = part(json!({"replicas": 5}));
    let refusal = refused(probe.try_apply("b", "rollouts/a", &theirs).await?, 409, "Conflict")?;
    same(
        "message",
        refusal.message,
        "Apply failed with 1 conflict: conflict with \"a\": .spec.replicas",
    )?;
    same(
        "causes",
        json!(refusal.causes),
        json!([["conflict with \"a\"", ".spec.replicas"]]),
    )?;
    let theirs = with(
        part(json!({"replicas": 5, "strategy": {"canary": {"steps": []}}})),
        &json!({"labels": {"team": "other"}}),
    );
    let refusal = refused(probe.try_apply("b", "rollouts/a", &theirs).await?, 409, "Conflict")?;
    let wanted = "Apply failed with 3 conflicts: conflicts with \"a\":\n- .metadata.labels.team\n- .spec.replicas\n- .spec.strategy.canary.steps";
    same("message", refusal.message, wanted)?;
    let forced = probe
        .apply("b&force=true", "rollouts/a", &part(json!({"replicas": 5})))
        .await?;
    same("replicas", forced["spec"]["replicas"].clone(), 5)?;
    same(
        "the rest",
        forced["spec"]["strategy"].clone(),
        whole["spec"]["strategy"].clone(),
    )?;
    let refusal = refused(probe.try_apply("a", "rollouts/a", &whole).await?, 409, "Conflict")?;
    same(
        "message",
        refusal.message,
        "Apply failed with 1 conflict: conflict with \"b\": .spec.replicas",
    )?;
    // The same value is no conflict.
    whole["spec"]["replicas"] = json!(5);
    probe.apply("a", "rollouts/a", &whole).await?;
    let foreign =
        json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "z"}, "spec": {}});
    refused(probe.try_apply("a", "rollouts/a", &foreign).await?, 400, "BadRequest")?;
    Ok(())
}

pub(super) async fn removal(probe: &Probe) -> Result<()> {
    probe.create("rollouts", &rollout("a")).await?;
    let config = with(
        part(
            json!({"revisionHistoryLimit": 3, "strategy": {"canary": {"maxSurge": 1}}, "analysis": {"successfulRunHistoryLimit": 2}}),
        ),
        &json!({"labels": {"a": "1", "b": "2"}, "annotations": {"c": "3"}, "finalizers": ["example.com/x"]}),
    );
    let applied = probe.apply("a", "rollouts/a", &config).await?;
    same("surge", applied["spec"]["strategy"]["canary"]["maxSurge"].clone(), 1)?;
    let less = with(part(json!({"revisionHistoryLimit": 3})), &json!({"labels": {"b": "2"}}));
    let less = probe.apply("a", "rollouts/a", &less).await?;
    same("labels", less["metadata"]["labels"].clone(), json!({"b": "2"}))?;
    same("annotations", less["metadata"]["annotations"].clone(), Value::Null)?;
    same("finalizers", less["metadata"]["finalizers"].clone(), Value::Null)?;
    same(
        "canary",
        less["spec"]["strategy"]["canary"].clone(),
        rollout("a")["spec"]["strategy"]["canary"].clone(),
    )?;
    let none = probe
        .apply(
            "a",
            "rollouts/a",
            &json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "a"}}),
        )
        .await?;
    same("labels at last", none["metadata"]["labels"].clone(), Value::Null)?;
    same(
        "limit at last",
        none["spec"]["revisionHistoryLimit"].clone(),
        Value::Null,
    )?;
    same("what others wrote", none["spec"]["replicas"].clone(), 2)
}

/// What becomes of a map that only the manager had, once its last field is applied no longer.
pub(super) async fn shared(probe: &Probe) -> Result<()> {
    probe.create("rollouts", &rollout("a")).await?;
    let config = part(json!({"revisionHistoryLimit": 3}));
    probe.apply("a", "rollouts/a", &config).await?;
    probe.apply("b", "rollouts/a", &config).await?;
    let kept = probe.apply("a", "rollouts/a", &part(json!({}))).await?;
    same("still owned by b", kept["spec"]["revisionHistoryLimit"].clone(), 3)?;
    let other = part(json!({"revisionHistoryLimit": 4}));
    let changed = probe.apply("b", "rollouts/a", &other).await?;
    same(
        "changed by its only owner",
        changed["spec"]["revisionHistoryLimit"].clone(),
        4,
    )?;
    let gone = probe.apply("b", "rollouts/a", &part(json!({}))).await?;
    same("nobody's", gone["spec"]["revisionHistoryLimit"].clone(), Value::Null)?;
    // A whole list is one field.
    let steps = part(json!({"strategy": {"canary": {"steps": [{"setWeight": 50}]}}}));
    let refusal = refused(probe.try_apply("b", "rollouts/a", &steps).await?, 409, "Conflict")?;
    ensure!(
        refusal.message.ends_with(": .spec.strategy.canary.steps"),
        "{}",
        refusal.message
    );
    let forced = probe.apply("b&force=true", "rollouts/a", &steps).await?;
    same(
        "steps",
        forced["spec"]["strategy"]["canary"]["steps"].clone(),
        json!([{"setWeight": 50}]),
    )?;
    // An empty map is owned as such.
    probe
        .apply("c", "rollouts/a", &part(json!({"workloadRef": {}})))
        .await?;
    let gone = probe.apply("c", "rollouts/a", &part(json!({}))).await?;
    same("an empty map", gone["spec"]["workloadRef"].clone(), Value::Null)
}

pub(super) async fn keyed_lists(probe: &Probe) -> Result<()> {
    let set = |containers: Value| {
        json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "a"},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": "a"}}, "template": {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": containers}}}})
    };
    let web = json!({"name": "web", "image": "demo:v1", "env": [{"name": "A", "value": "1"}], "ports": [{"containerPort": 80}]});
    probe.apply("a", "replicasets/a", &set(json!([web]))).await?;
    let part = |containers: Value| json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "a"}, "spec": {"template": {"spec": {"containers": containers}}}});
    let second = json!([{"name": "sidecar", "image": "proxy:v1"}, {"name": "web", "env": [{"name": "B", "value": "2"}], "ports": [{"containerPort": 80, "protocol": "UDP"}]}]);
    let both = probe.apply("b", "replicasets/a", &part(second)).await?;
    let containers = &both["spec"]["template"]["spec"]["containers"];
    let names: Vec<&Value> = containers
        .as_array()
        .into_iter()
        .flatten()
        .map(|container| &container["name"])
        .collect();
    same("containers", json!(names), json!(["sidecar", "web"]))?;
    same(
        "environment",
        containers[1]["env"].clone(),
        json!([{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]),
    )?;
    same(
        "ports",
        containers[1]["ports"].clone(),
        json!([{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 80, "protocol": "UDP"}]),
    )?;
    let clash = part(json!([{"name": "web", "image": "demo:v2"}]));
    let refusal = refused(probe.try_apply("b", "replicasets/a", &clash).await?, 409, "Conflict")?;
    let wanted =
        "Apply failed with 1 conflict: conflict with \"a\": .spec.template.spec.containers[name=\"web\"].image";
    same("message", refusal.message, wanted)?;
    let less = probe
        .apply(
            "b",
            "replicasets/a",
            &part(json!([{"name": "sidecar", "image": "proxy:v1"}])),
        )
        .await?;
    let containers = less["spec"]["template"]["spec"]["containers"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let web = containers
        .iter()
        .find(|container| container["name"] == "web")
        .cloned()
        .unwrap_or_default();
    same(
        "environment again",
        web["env"].clone(),
        json!([{"name": "A", "value": "1"}]),
    )?;
    same(
        "ports again",
        web["ports"].clone(),
        json!([{"containerPort": 80, "protocol": "TCP"}]),
    )?;
    let last = json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "a"}});
    let last = probe.apply("b", "replicasets/a", &last).await?;
    let containers = last["spec"]["template"]["spec"]["containers"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    same("containers at last", containers.len(), 1)
}

pub(super) async fn updates(probe: &Probe) -> Result<()> {
    probe.apply("a", "rollouts/a", &rollout("a")).await?;
    probe
        .patch("rollouts/a?fieldManager=edit", &json!({"spec": {"replicas": 4}}))
        .await?;
    let refusal = refused(
        probe.try_apply("a", "rollouts/a", &rollout("a")).await?,
        409,
        "Conflict",
    )?;
    let wanted = "Apply failed with 1 conflict: conflict with \"edit\" using argoproj.io/v1alpha1: .spec.replicas";
    same("message", refusal.message, wanted)?;
    // Who applies nothing about a field leaves it to the others.
    let mut without = rollout("a");
    if let Some(spec) = without["spec"].as_object_mut() {
        spec.remove("replicas");
    }
    let kept = probe.apply("a", "rollouts/a", &without).await?;
    same("replicas", kept["spec"]["replicas"].clone(), 4)?;
    let status = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "a"}, "status": {"phase": "Healthy"}, "spec": {"replicas": 9}});
    let status = probe.apply("s", "rollouts/a/status", &status).await?;
    same("status", status["status"].clone(), json!({"phase": "Healthy"}))?;
    same("replicas by the status endpoint", status["spec"]["replicas"].clone(), 4)?;
    let entries = status["metadata"]["managedFields"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let owner = entries
        .iter()
        .find(|entry| entry["manager"] == "s")
        .cloned()
        .unwrap_or_default();
    same("subresource", owner["subresource"].clone(), "status")?;
    same("owned", owner["fieldsV1"].clone(), json!({"f:status": {"f:phase": {}}}))
}

pub(super) async fn preconditions(probe: &Probe) -> Result<()> {
    let unknown = "11111111-1111-4111-8111-111111111111";
    let new = with(rollout("a"), &json!({"uid": unknown}));
    refused(
        probe.try_apply("a&force=true", "rollouts/a", &new).await?,
        409,
        "Conflict",
    )?;
    ensure!(!probe.exists("rollouts/a").await?, "it was created all the same");
    // A version does not keep an object from being made anew.
    let new = with(rollout("a"), &json!({"resourceVersion": "1"}));
    probe.apply("a&force=true", "rollouts/a", &new).await?;
    probe.delete("rollouts/a", &json!({})).await?;
    refused(
        probe.try_apply("a", "rollouts/a/status", &rollout("a")).await?,
        404,
        "NotFound",
    )?;
    let made = probe.apply("a", "rollouts/a", &rollout("a")).await?;
    same("generation", made["metadata"]["generation"].clone(), 1)?;
    let touched = probe
        .patch("rollouts/a", &json!({"metadata": {"labels": {"a": "b"}}}))
        .await?;
    let stale = with(
        part(json!({"replicas": 3})),
        &json!({"resourceVersion": version(&made)}),
    );
    refused(
        probe.try_apply("a&force=true", "rollouts/a", &stale).await?,
        409,
        "Conflict",
    )?;
    let foreign = with(part(json!({"replicas": 3})), &json!({"uid": unknown}));
    refused(
        probe.try_apply("a&force=true", "rollouts/a", &foreign).await?,
        422,
        "Invalid",
    )?;
    let metadata = json!({"resourceVersion": version(&touched), "uid": touched["metadata"]["uid"]});
    let current = with(part(json!({"replicas": 3})), &metadata);
    let current = probe.apply("b&force=true", "rollouts/a", &current).await?;
    same("replicas", current["spec"]["replicas"].clone(), 3)
}

pub(super) async fn managed_fields(probe: &Probe) -> Result<()> {
    let mut whole = rollout("a");
    whole["metadata"]["labels"] = json!({"team": "shop"});
    probe.create("rollouts?fieldManager=maker", &whole).await?;
    probe
        .apply(
            "a",
            "rollouts/a",
            &with(
                part(json!({"revisionHistoryLimit": 3})),
                &json!({"finalizers": ["example.com/x"]}),
            ),
        )
        .await?;
    let object = probe
        .patch(
            "rollouts/a?fieldManager=edit",
            &json!({"spec": {"replicas": 4, "paused": true}}),
        )
        .await?;
    let entries = object["metadata"]["managedFields"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let owned = |manager: &str| {
        let entry = entries.iter().find(|entry| entry["manager"] == manager);
        entry.map(|entry| entry["fieldsV1"].clone()).unwrap_or_default()
    };
    same(
        "by the maker",
        owned("maker"),
        json!({"f:metadata": {"f:labels": {".": {}, "f:team": {}}},
        "f:spec": {".": {}, "f:selector": {".": {}, "f:matchLabels": {".": {}, "f:app": {}}}, "f:strategy": {".": {}, "f:canary": {".": {}, "f:steps": {}}},
            "f:template": {".": {}, "f:metadata": {".": {}, "f:labels": {".": {}, "f:app": {}}}, "f:spec": {".": {}, "f:containers": {}}}}}),
    )?;
    same(
        "by apply",
        owned("a"),
        json!({"f:metadata": {"f:finalizers": {"v:\"example.com/x\"": {}}}, "f:spec": {"f:revisionHistoryLimit": {}}}),
    )?;
    same(
        "by an edit",
        owned("edit"),
        json!({"f:spec": {"f:paused": {}, "f:replicas": {}}}),
    )?;
    let operations: Vec<&Value> = entries.iter().map(|entry| &entry["operation"]).collect();
    same("operations", json!(operations), json!(["Apply", "Update", "Update"]))?;
    // Ownership can be given up.
    let cleared = probe
        .patch("rollouts/a", &json!({"metadata": {"managedFields": [{}]}}))
        .await?;
    same("cleared", cleared["metadata"]["managedFields"].clone(), Value::Null)?;
    let taken = part(json!({"replicas": 8}));
    let refusal = refused(probe.try_apply("b", "rollouts/a", &taken).await?, 409, "Conflict")?;
    let wanted =
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using argoproj.io/v1alpha1: .spec.replicas";
    same("message", refusal.message, wanted)
}
