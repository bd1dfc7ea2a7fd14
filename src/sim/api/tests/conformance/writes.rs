//! Creations, updates, patches, subresources.

use super::probe::{JSON, MERGE, Probe, STRATEGIC, config_map, refused, replica_set, rollout, same, version};
use anyhow::{Result, ensure};
use serde_json::{Value, json};

pub(super) async fn created_once(probe: &Probe) -> Result<()> {
    let made = probe.create("configmaps", &config_map("a")).await?;
    let metadata = &made["metadata"];
    same("namespace", metadata["namespace"].clone(), probe.namespace.as_str())?;
    for field in ["uid", "creationTimestamp", "resourceVersion"] {
        ensure!(metadata[field].is_string(), "{field} is missing in {metadata}");
    }
    let refusal = refused(
        probe.try_create("configmaps", &config_map("a")).await?,
        409,
        "AlreadyExists",
    )?;
    same("message", refusal.message, "configmaps \"a\" already exists")?;
    let refusal = refused(probe.try_get("rollouts/b").await?, 404, "NotFound")?;
    same("message", refusal.message, "rollouts.argoproj.io \"b\" not found")?;
    let mut named = config_map("");
    named["metadata"] = json!({"generateName": "a-"});
    let first = probe.create("configmaps", &named).await?;
    let second = probe.create("configmaps", &named).await?;
    let name = first["metadata"]["name"].as_str().unwrap_or_default();
    ensure!(name.starts_with("a-") && name.len() == 7, "generated {name}");
    ensure!(
        first["metadata"]["name"] != second["metadata"]["name"],
        "the same name twice"
    );
    named["metadata"] = json!({});
    refused(probe.try_create("configmaps", &named).await?, 422, "Invalid")?;
    refused(
        probe.try_create("configmaps", &config_map("Upper")).await?,
        422,
        "Invalid",
    )?;
    let mut elsewhere = config_map("c");
    elsewhere["metadata"]["namespace"] = json!("elsewhere");
    refused(probe.try_create("configmaps", &elsewhere).await?, 400, "BadRequest")?;
    refused(probe.try_create("configmaps", &rollout("c")).await?, 400, "BadRequest")?;
    Ok(())
}

pub(super) async fn updated(probe: &Probe) -> Result<()> {
    let first = probe.create("configmaps", &config_map("a")).await?;
    let second = probe.patch("configmaps/a", &json!({"data": {"color": "red"}})).await?;
    ensure!(version(&first) != version(&second), "the version did not change");
    let refusal = refused(probe.try_update("configmaps/a", &first).await?, 409, "Conflict")?;
    let wanted = "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again";
    same("message", refusal.message, wanted)?;
    // Built-in kinds may be replaced without a version, custom ones may not.
    let replaced = probe.update("configmaps/a", &config_map("a")).await?;
    same("data", replaced["data"].clone(), json!({"color": "blue"}))?;
    same(
        "uid",
        replaced["metadata"]["uid"].clone(),
        first["metadata"]["uid"].clone(),
    )?;
    probe.create("rollouts", &rollout("a")).await?;
    refused(probe.try_update("rollouts/a", &rollout("a")).await?, 422, "Invalid")?;
    let other = "11111111-1111-4111-8111-111111111111";
    for resource in ["configmaps/a", "rollouts/a"] {
        let stale = json!({"metadata": {"resourceVersion": "1", "labels": {"a": "b"}}});
        refused(probe.try_patch(MERGE, resource, &stale).await?, 409, "Conflict")?;
        let foreign = json!({"metadata": {"uid": other, "labels": {"a": "b"}}});
        refused(probe.try_patch(MERGE, resource, &foreign).await?, 422, "Invalid")?;
        let mut foreign = probe.get(resource).await?;
        foreign["metadata"]["uid"] = json!(other);
        refused(probe.try_update(resource, &foreign).await?, 409, "Conflict")?;
    }
    refused(
        probe.try_patch(MERGE, "configmaps/b", &json!({"data": {}})).await?,
        404,
        "NotFound",
    )?;
    refused(
        probe
            .try_patch(MERGE, "configmaps/a", &json!({"metadata": {"name": "b"}}))
            .await?,
        400,
        "BadRequest",
    )?;
    // What clients may not set is left as it is.
    let touched =
        json!({"metadata": {"creationTimestamp": "2001-01-01T00:00:00Z", "generation": 7, "annotations": {"a": "b"}}});
    let touched = probe.patch("configmaps/a", &touched).await?;
    let (before, after) = (
        &first["metadata"]["creationTimestamp"],
        &touched["metadata"]["creationTimestamp"],
    );
    same("creationTimestamp", after.clone(), before.clone())
}

pub(super) async fn without_effect(probe: &Probe) -> Result<()> {
    let first = probe.create("rollouts", &rollout("a")).await?;
    let patched = probe.patch("rollouts/a", &json!({"spec": {"replicas": 2}})).await?;
    same(
        "version after a patch",
        version(&patched).clone(),
        version(&first).clone(),
    )?;
    let updated = probe.update("rollouts/a", &first).await?;
    same(
        "version after an update",
        version(&updated).clone(),
        version(&first).clone(),
    )?;
    let applied = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "a"}, "spec": {"replicas": 2}});
    let applied_once = probe.apply("me", "rollouts/a", &applied).await?;
    ensure!(version(&applied_once) != version(&first), "a new owner is a change");
    let applied_twice = probe.apply("me", "rollouts/a", &applied).await?;
    same(
        "version after a second apply",
        version(&applied_twice).clone(),
        version(&applied_once).clone(),
    )?;
    let status = probe
        .patch("rollouts/a/status", &json!({"status": {"phase": "Healthy"}}))
        .await?;
    let again = probe
        .patch("rollouts/a/status", &json!({"status": {"phase": "Healthy"}}))
        .await?;
    same(
        "version after a status patch",
        version(&again).clone(),
        version(&status).clone(),
    )
}

pub(super) async fn status(probe: &Probe) -> Result<()> {
    let mut object = rollout("a");
    object["status"] = json!({"phase": "Healthy"});
    let made = probe.create("rollouts", &object).await?;
    same("status at first", made["status"].clone(), Value::Null)?;
    let ignored = probe
        .patch("rollouts/a", &json!({"status": {"phase": "Healthy"}}))
        .await?;
    same("status by the main endpoint", ignored["status"].clone(), Value::Null)?;
    let patch = json!({"metadata": {"labels": {"a": "b"}, "annotations": {"c": "d"}}, "spec": {"replicas": 7}, "status": {"phase": "Paused"}});
    let patched = probe.patch("rollouts/a/status", &patch).await?;
    same("status", patched["status"].clone(), json!({"phase": "Paused"}))?;
    same("spec by the status endpoint", patched["spec"]["replicas"].clone(), 2)?;
    same(
        "labels by the status endpoint",
        patched["metadata"]["labels"].clone(),
        Value::Null,
    )?;
    same(
        "annotations by the status endpoint",
        patched["metadata"]["annotations"].clone(),
        Value::Null,
    )?;
    let mut replaced = patched.clone();
    replaced["status"] = json!({"phase": "Degraded"});
    replaced["spec"]["replicas"] = json!(9);
    let replaced = probe.update("rollouts/a/status", &replaced).await?;
    same("status", replaced["status"].clone(), json!({"phase": "Degraded"}))?;
    same("spec", replaced["spec"]["replicas"].clone(), 2)?;
    let kept = probe
        .patch("rollouts/a", &json!({"spec": {"replicas": 3}, "status": null}))
        .await?;
    same(
        "status after a patch of the spec",
        kept["status"].clone(),
        json!({"phase": "Degraded"}),
    )?;
    same(
        "the template",
        kept["spec"]["template"]["spec"]["containers"][0]["unknownField"].clone(),
        1,
    )?;
    // A kind without the subresource takes its status like any other field.
    let run = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisRun", "metadata": {"name": "a"}, "spec": {"metrics": []}, "status": {"phase": "Running"}});
    let run = probe.create("analysisruns", &run).await?;
    same("status of a run", run["status"]["phase"].clone(), "Running")?;
    refused(
        probe
            .try_patch(MERGE, "analysisruns/a/status", &json!({"status": {}}))
            .await?,
        404,
        "NotFound",
    )?;
    Ok(())
}

pub(super) async fn generations(probe: &Probe) -> Result<()> {
    let generation = |object: &Value| object["metadata"]["generation"].clone();
    same(
        "at first",
        generation(&probe.create("rollouts", &rollout("a")).await?),
        1,
    )?;
    let labelled = json!({"metadata": {"labels": {"a": "b"}}});
    same(
        "after a label",
        generation(&probe.patch("rollouts/a", &labelled).await?),
        1,
    )?;
    let status = json!({"status": {"phase": "Healthy"}});
    same(
        "after a status",
        generation(&probe.patch("rollouts/a/status", &status).await?),
        1,
    )?;
    let spec = json!({"spec": {"replicas": 5}});
    same(
        "after a change of the spec",
        generation(&probe.patch("rollouts/a", &spec).await?),
        2,
    )?;
    same(
        "after no change",
        generation(&probe.patch("rollouts/a", &spec).await?),
        2,
    )?;
    let run = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisRun", "metadata": {"name": "a"}, "spec": {"metrics": []}});
    same("of a run", generation(&probe.create("analysisruns", &run).await?), 1)?;
    let status = json!({"status": {"phase": "Running"}});
    same(
        "of a run after its status",
        generation(&probe.patch("analysisruns/a", &status).await?),
        2,
    )?;
    same(
        "of a run after a label",
        generation(&probe.patch("analysisruns/a", &labelled).await?),
        2,
    )?;
    same(
        "of a ConfigMap",
        generation(&probe.create("configmaps", &config_map("a")).await?),
        Value::Null,
    )?;
    same(
        "of a ReplicaSet",
        generation(&probe.create("replicasets", &replica_set("a")).await?),
        1,
    )?;
    let replicas = json!({"spec": {"minReadySeconds": 5}});
    same(
        "of a ReplicaSet, later",
        generation(&probe.patch("replicasets/a", &replicas).await?),
        2,
    )?;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"selector": {"app": "a"}, "ports": [{"port": 80}]}});
    same(
        "of a Service",
        generation(&probe.create("services", &service).await?),
        Value::Null,
    )
}

pub(super) async fn patches(probe: &Probe) -> Result<()> {
    probe.create("rollouts", &rollout("a")).await?;
    let image = json!([{"op": "test", "path": "/spec/replicas", "value": 2}, {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "demo:v2"}]);
    let patched = super::probe::Probe::try_patch(probe, JSON, "rollouts/a", &image).await?;
    let patched = patched.map_err(|refusal| anyhow::anyhow!("{refusal:?}"))?;
    same(
        "image",
        patched["spec"]["template"]["spec"]["containers"][0]["image"].clone(),
        "demo:v2",
    )?;
    let failing = json!([{"op": "test", "path": "/spec/replicas", "value": 77}]);
    refused(probe.try_patch(JSON, "rollouts/a", &failing).await?, 422, "Invalid")?;
    let refusal = probe
        .try_patch(STRATEGIC, "rollouts/a", &json!({"spec": {"replicas": 3}}))
        .await?;
    refused(refusal, 415, "UnsupportedMediaType")?;
    let merged = probe
        .patch(
            "rollouts/a",
            &json!({"spec": {"strategy": {"canary": {"steps": [{"setWeight": 20}], "maxSurge": null}}}}),
        )
        .await?;
    same(
        "steps",
        merged["spec"]["strategy"]["canary"].clone(),
        json!({"steps": [{"setWeight": 20}]}),
    )?;
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"selector": {"app": "a"}, "ports": [{"name": "http", "port": 80}, {"name": "metrics", "port": 81}]}});
    let made = probe.create("services", &service).await?;
    ensure!(made["spec"]["clusterIP"].is_string(), "a Service gets an address");
    same("target port", made["spec"]["ports"][0]["targetPort"].clone(), 80)?;
    let strategic = json!({"spec": {"selector": {"hash": "1"}, "ports": [{"port": 81, "targetPort": 8081}]}});
    let patched = probe.try_patch(STRATEGIC, "services/a", &strategic).await?;
    let patched = patched.map_err(|refusal| anyhow::anyhow!("{refusal:?}"))?;
    same(
        "selector",
        patched["spec"]["selector"].clone(),
        json!({"app": "a", "hash": "1"}),
    )?;
    let targets: Vec<Value> = patched["spec"]["ports"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|port| port["targetPort"].clone())
        .collect();
    ensure!(
        targets.len() == 2 && targets.contains(&json!(80)) && targets.contains(&json!(8081)),
        "ports {targets:?}"
    );
    Ok(())
}

pub(super) async fn scale(probe: &Probe) -> Result<()> {
    probe.create("rollouts", &rollout("a")).await?;
    probe
        .patch(
            "rollouts/a/status",
            &json!({"status": {"HPAReplicas": 1, "selector": "app=a"}}),
        )
        .await?;
    let scale = probe.get("rollouts/a/scale").await?;
    same("kind", scale["kind"].clone(), "Scale")?;
    same("spec", scale["spec"].clone(), json!({"replicas": 2}))?;
    same(
        "status",
        scale["status"].clone(),
        json!({"replicas": 1, "selector": "app=a"}),
    )?;
    let mut raised = scale.clone();
    raised["spec"]["replicas"] = json!(4);
    let raised = probe
        .update("rollouts/a/scale?fieldManager=autoscaler", &raised)
        .await?;
    same("scaled", raised["spec"]["replicas"].clone(), 4)?;
    refused(probe.try_update("rollouts/a/scale", &scale).await?, 409, "Conflict")?;
    let object = probe.get("rollouts/a").await?;
    same("replicas", object["spec"]["replicas"].clone(), 4)?;
    same("generation", object["metadata"]["generation"].clone(), 2)?;
    let entries = object["metadata"]["managedFields"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let by_scale = entries.iter().find(|entry| entry["subresource"] == "scale");
    same(
        "owner",
        by_scale.map(|entry| entry["manager"].clone()).unwrap_or_default(),
        "autoscaler",
    )?;
    same(
        "owned",
        by_scale.map(|entry| entry["fieldsV1"].clone()).unwrap_or_default(),
        json!({"f:spec": {"f:replicas": {}}}),
    )?;
    probe
        .patch("rollouts/a/scale", &json!({"spec": {"replicas": 6}}))
        .await?;
    same(
        "replicas",
        probe.get("rollouts/a").await?["spec"]["replicas"].clone(),
        6,
    )?;
    probe.create("replicasets", &replica_set("a")).await?;
    same(
        "selector",
        probe.get("replicasets/a/scale").await?["status"]["selector"].clone(),
        "app=a",
    )?;
    refused(probe.try_get("configmaps/a/scale").await?, 404, "NotFound")?;
    Ok(())
}

pub(super) async fn dry_run(probe: &Probe) -> Result<()> {
    let tried = probe.create("rollouts?dryRun=All", &rollout("a")).await?;
    same("name", tried["metadata"]["name"].clone(), "a")?;
    ensure!(!probe.exists("rollouts/a").await?, "a dry run created");
    let made = probe.create("rollouts", &rollout("a")).await?;
    let tried = probe
        .patch("rollouts/a?dryRun=All", &json!({"spec": {"replicas": 9}}))
        .await?;
    same("replicas tried", tried["spec"]["replicas"].clone(), 9)?;
    probe.delete("rollouts/a", &json!({"dryRun": ["All"]})).await?;
    same(
        "version",
        version(&probe.get("rollouts/a").await?).clone(),
        version(&made).clone(),
    )
}

pub(super) async fn replica_sets(probe: &Probe) -> Result<()> {
    let made = probe.create("replicasets", &replica_set("a")).await?;
    let template = &made["spec"]["template"]["spec"];
    same("restart policy", template["restartPolicy"].clone(), "Always")?;
    same(
        "pull policy",
        template["containers"][0]["imagePullPolicy"].clone(),
        "IfNotPresent",
    )?;
    same("grace", template["terminationGracePeriodSeconds"].clone(), 30)?;
    same(
        "containers",
        template["containers"][0].clone(),
        json!({"name": "web", "image": "demo:v1", "imagePullPolicy": "IfNotPresent", "resources": {},
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}),
    )?;
    let fields: Vec<&String> = template
        .as_object()
        .into_iter()
        .flat_map(|template| template.keys())
        .collect();
    same(
        "pod defaults",
        json!(fields),
        json!([
            "containers",
            "dnsPolicy",
            "restartPolicy",
            "schedulerName",
            "securityContext",
            "terminationGracePeriodSeconds"
        ]),
    )?;
    let selector = json!({"spec": {"selector": {"matchLabels": {"app": "b"}}, "template": {"metadata": {"labels": {"app": "b"}}}}});
    refused(
        probe.try_patch(MERGE, "replicasets/a", &selector).await?,
        422,
        "Invalid",
    )?;
    let mut unselected = replica_set("b");
    unselected["spec"]["template"]["metadata"]["labels"] = json!({"app": "other"});
    refused(probe.try_create("replicasets", &unselected).await?, 422, "Invalid")?;
    Ok(())
}
