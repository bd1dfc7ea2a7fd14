use super::*;
use crate::cli::style::Style;
use serde_json::json;

const NOW: &str = "2026-01-01T01:00:00Z";

fn object(kind: &str, name: &str, owner: &str, created: &str, rest: &Value) -> Value {
    let mut object = json!({"metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}"),
        "creationTimestamp": created, "ownerReferences": [{"apiVersion": "v1", "kind": kind, "name": owner, "uid": format!("uid-{owner}")}]}});
    for (key, value) in rest.as_object().unwrap() {
        if key == "metadata" {
            for (key, value) in value.as_object().unwrap() {
                object["metadata"][key] = value.clone();
            }
        } else {
            object[key] = value.clone();
        }
    }
    object
}

fn replica_set(hash: &str, revision: i64, replicas: i32, available: i32, image: &str) -> ReplicaSet {
    let rest = json!({
        "metadata": {"labels": {"rollouts-pod-template-hash": hash}, "annotations": {"rollout.argoproj.io/revision": revision.to_string()}},
        "spec": {"replicas": replicas, "selector": {}, "template": {"spec": {"containers": [{"name": "web", "image": image}]}}},
        "status": {"replicas": replicas, "readyReplicas": available, "availableReplicas": available},
    });
    serde_json::from_value(object(
        "Rollout",
        &format!("web-{hash}"),
        "web",
        "2026-01-01T00:50:00Z",
        &rest,
    ))
    .unwrap()
}

fn pod(name: &str, owner: &str, waiting: Option<&str>) -> Pod {
    let state = waiting.map_or_else(
        || json!({"running": {}}),
        |reason| json!({"waiting": {"reason": reason}}),
    );
    let rest = json!({
        "spec": {"containers": [{"name": "web"}]},
        "status": {"phase": if waiting.is_some() { "Pending" } else { "Running" }, "containerStatuses": [{"name": "web",
            "ready": waiting.is_none(), "restartCount": if waiting.is_some() { 2 } else { 0 }, "image": "", "imageID": "", "state": state}]},
    });
    serde_json::from_value(object("ReplicaSet", name, owner, "2026-01-01T00:59:00Z", &rest)).unwrap()
}

fn family() -> (Rollout, Relatives) {
    let rollout = json!({
        "metadata": {"name": "web", "namespace": "shop", "uid": "uid-web", "generation": 3, "creationTimestamp": "2025-12-25T01:00:00Z"},
        "spec": {"replicas": 3, "strategy": {"canary": {"steps": [{"setWeight": 40}, {"pause": {}}],
            "trafficRouting": {"nginx": {"stableIngress": "web"}}}}},
        "status": {"observedGeneration": "3", "phase": "Paused", "message": "CanaryPauseStep\u{1b}[31m", "currentStepIndex": 1, "currentPodHash": "b",
            "stableRS": "a", "replicas": 4, "updatedReplicas": 1, "readyReplicas": 3, "availableReplicas": 3,
            "canary": {"weights": {"canary": {"weight": 40}, "stable": {"weight": 60}}}},
    });
    let run = json!({
        "metadata": {"annotations": {"rollout.argoproj.io/revision": "2"}}, "spec": {"metrics": []},
        "status": {"phase": "Running", "metricResults": [
            {"name": "success", "phase": "Running", "successful": 3, "failed": 1, "measurements": [
                {"phase": "Successful", "startedAt": "2026-01-01T00:58:00Z", "metadata": {"job-name": "check-1"}}]},
            {"name": "trial", "phase": "Running", "failed": 5, "dryRun": true}]},
    });
    let mut old = replica_set("0", 0, 1, 1, "demo:v0");
    old.metadata
        .annotations
        .get_or_insert_default()
        .insert("scale-down-deadline".to_owned(), "2026-01-01T01:00:29Z".to_owned());
    let mut foreign = replica_set("z", 9, 1, 1, "demo:z");
    foreign.metadata.owner_references = None;
    let relatives = Relatives {
        replica_sets: vec![
            replica_set("a", 1, 2, 2, "demo:v1"),
            replica_set("b", 2, 1, 0, "demo:v2"),
            old,
            foreign,
        ],
        pods: vec![
            pod("web-b-1", "web-b", Some("ImagePullBackOff")),
            pod("web-a-1", "web-a", None),
            pod("web-a-2", "web-a", None),
        ],
        analysis_runs: vec![
            serde_json::from_value(object("Rollout", "web-b-2-1", "web", "2026-01-01T00:57:00Z", &run)).unwrap(),
        ],
        experiments: Vec::new(),
    };
    (serde_json::from_value(rollout).unwrap(), relatives)
}

fn render((rollout, relatives): &(Rollout, Relatives), now: Timestamp, style: Style) -> String {
    super::rollout(rollout, relatives, now, false).text(now, style)
}

#[test]
fn the_tree_is_drawn_icon_for_icon() {
    let expect = "\
Name:            web
Namespace:       shop
Status:          ॥ Paused
Message:         CanaryPauseStep
Strategy:        Canary
  Step:          1/2
  SetWeight:     40
  ActualWeight:  40
Images:          demo:v2 (canary)
                 demo:v1 (stable)
                 demo:v0
Replicas:        
  Desired:       3
  Current:       4
  Updated:       1
  Ready:         3
  Available:     3

NAME                KIND         STATUS              AGE  INFO
⟳ web               Rollout      ॥ Paused            7d   
├──# revision:2                                           
│  ├──⧉ web-b       ReplicaSet   ◌ Progressing       10m  canary
│  │  └──□ web-b-1  Pod          ⚠ ImagePullBackOff  60s  ready:0/1,restarts:2
│  └──α web-b-2-1   AnalysisRun  ◌ Running           3m   ✔ 3,✖ 1
│     └──⊞ check-1  Job          ✔ Successful        2m   
├──# revision:1                                           
│  └──⧉ web-a       ReplicaSet   ✔ Healthy           10m  stable
│     ├──□ web-a-1  Pod          ✔ Running           60s  ready:1/1
│     └──□ web-a-2  Pod          ✔ Running           60s  ready:1/1
└──# revision:0                                           
   └──⧉ web-0       ReplicaSet   ✔ Healthy           10m  delay:29s
";
    let found = render(&family(), NOW.parse().unwrap(), Style::default());
    assert_eq!(found, expect, "\n{found}");
}

#[test]
fn ascii_is_ascii_and_colour_is_only_added() {
    let now = NOW.parse().unwrap();
    let ascii = render(
        &family(),
        now,
        Style {
            color: false,
            ascii: true,
        },
    );
    assert!(ascii.is_ascii(), "{ascii}");
    assert!(ascii.contains("|  |  `--o web-b-1"), "{ascii}");
    let plain = render(&family(), now, Style::default());
    let colored = render(
        &family(),
        now,
        Style {
            color: true,
            ascii: false,
        },
    );
    let stripped: Vec<String> = colored.lines().map(clean).collect();
    assert_ne!(plain, colored);
    assert_eq!(stripped, plain.lines().collect::<Vec<_>>());
}

#[test]
fn blue_green_names_its_roles() {
    let mut family = family();
    family.0.spec.strategy =
        serde_json::from_value(json!({"blueGreen": {"activeService": "web", "previewService": "preview"}})).unwrap();
    let status = family.0.status.get_or_insert_default();
    status.blue_green = serde_json::from_value(json!({"activeSelector": "a", "previewSelector": "b"})).unwrap();
    let text = render(&family, NOW.parse().unwrap(), Style::default());
    assert!(
        text.contains("stable,active\n") && text.contains("10m  preview\n"),
        "{text}"
    );
    assert!(
        text.contains("Strategy:        BlueGreen\nImages:          demo:v2 (preview)\n"),
        "{text}"
    );
}

#[test]
fn an_experiment_of_a_revision_brings_its_replica_sets() {
    let (rollout, mut relatives) = family();
    let at =
        json!({"metadata": {"annotations": {"rollout.argoproj.io/revision": "2"}}, "status": {"phase": "Running"}});
    let experiment = object("Rollout", "web-b-2-0", "web", "2026-01-01T00:58:00Z", &at);
    relatives.experiments = vec![serde_json::from_value(experiment).unwrap()];
    let rest = json!({"spec": {"replicas": 1, "selector": {}, "template": {}}, "status": {"availableReplicas": 1}});
    let set = object(
        "Experiment",
        "web-b-2-0-canary",
        "web-b-2-0",
        "2026-01-01T00:58:00Z",
        &rest,
    );
    relatives.replica_sets.push(serde_json::from_value(set).unwrap());
    let text = render(&(rollout, relatives), NOW.parse().unwrap(), Style::default());
    let expect = "\
│  ├──Σ web-b-2-0            Experiment   ◌ Running           2m   
│  │  └──⧉ web-b-2-0-canary  ReplicaSet   ✔ Healthy           2m   
";
    assert!(text.contains(expect), "{text}");
}

#[test]
fn ping_and_pong_are_named() {
    let (mut rollout, relatives) = family();
    let canary = rollout.spec.strategy.canary.as_mut().unwrap();
    canary.ping_pong = serde_json::from_value(json!({"pingService": "a", "pongService": "b"})).unwrap();
    let status = rollout.status.as_mut().unwrap();
    status.canary.as_mut().unwrap().stable_ping_pong = "ping".to_owned();
    let text = render(&(rollout, relatives), NOW.parse().unwrap(), Style::default());
    assert!(
        text.contains("canary,pong\n") && text.contains("stable,ping\n"),
        "{text}"
    );
}

#[test]
fn programs_get_the_same_facts() {
    let (rollout, relatives) = family();
    let facts = super::rollout(&rollout, &relatives, NOW.parse().unwrap(), true).json();
    assert_eq!(
        (&facts["setWeight"], &facts["step"], &facts["replicas"]["desired"]),
        (&json!(40), &json!("1/2"), &json!(3))
    );
    assert_eq!(facts["images"][0], json!({"image": "demo:v2", "roles": ["canary"]}));
    let newest = &facts["tree"]["children"][0];
    assert_eq!(
        (&newest["kind"], &newest["name"]),
        (&json!("Revision"), &json!("revision:2"))
    );
    assert_eq!(newest["children"][1]["info"], json!(["successful 3", "failed 1"]));
    assert_eq!(newest["children"][1]["children"][0]["kind"], "Job");
}
