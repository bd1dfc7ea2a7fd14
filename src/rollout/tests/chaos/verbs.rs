//! What users, pods and analyses do, and how the story tells it.

use super::{
    super::{
        fixtures::{image, ingress, service},
        world::World,
    },
    dice::{self, Dice, Family},
    facts::{self, sets, text, weight},
    patched,
};
use crate::{api::well_known, plan::Action};
use serde_json::{Value, json};

/// One random act of a user. Returns its description.
pub(super) fn act(world: &mut World, family: Family, dice: &mut Dice) -> String {
    let status = world.status().clone();
    match dice.below(20) {
        0..4 => {
            let image_name = format!("demo:v{}", 1 + dice.below(4));
            image(world, &image_name);
            format!("image {image_name}")
        }
        4 | 5 => status_verb(world, json!({"abort": true}), "abort"),
        6 | 7 => status_verb(world, json!({"abort": false}), "retry"),
        8..11 => promote(world, family, &status),
        11 => {
            if status["currentPodHash"] == status["stableRS"] {
                return "nothing".to_owned();
            }
            status_verb(world, json!({"promoteFull": true}), "promote --full")
        }
        12 | 13 => {
            let replicas = dice.below(7);
            world.patch("Rollout", "web", &json!({"spec": {"replicas": replicas}}));
            format!("scale to {replicas}")
        }
        14 => {
            let paused = world.get("Rollout", "web")["spec"]["paused"] != true;
            world.patch("Rollout", "web", &json!({"spec": {"paused": paused}}));
            format!("paused: {paused}")
        }
        15 if family != Family::BlueGreen => {
            let steps = dice::steps(family, dice);
            world.patch(
                "Rollout",
                "web",
                &json!({"spec": {"strategy": {"canary": {"steps": steps}}}}),
            );
            format!("steps {steps}")
        }
        16 => delete_set(world, dice),
        17 => toggle(world, dice),
        18 => edit_selector(world, family, dice),
        _ => "nothing".to_owned(),
    }
}

fn status_verb(world: &mut World, patch: Value, name: &str) -> String {
    world.patch("Rollout", "web", &patched(patch));
    name.to_owned()
}

/// As the command line does it: resume what is paused, else skip the step.
fn promote(world: &mut World, family: Family, status: &Value) -> String {
    world.patch("Rollout", "web", &json!({"spec": {"paused": false}}));
    let pauses = status["pauseConditions"].as_array().cloned().unwrap_or_default();
    let inconclusive = pauses.iter().any(|pause| pause["reason"] == "InconclusiveAnalysisRun");
    let index = status["currentStepIndex"].as_i64().unwrap_or(0) + 1;
    if inconclusive && family != Family::BlueGreen {
        let patch = json!({"pauseConditions": null, "controllerPause": false, "currentStepIndex": index});
        return status_verb(world, patch, "promote (inconclusive)");
    }
    if !pauses.is_empty() {
        return status_verb(world, json!({"pauseConditions": null}), "promote (resume)");
    }
    if family == Family::BlueGreen || status["currentStepIndex"].is_null() {
        return "nothing".to_owned();
    }
    status_verb(world, json!({"currentStepIndex": index}), "promote (next step)")
}

fn delete_set(world: &mut World, dice: &mut Dice) -> String {
    let sets = sets(&world.objects);
    if sets.is_empty() {
        return "nothing".to_owned();
    }
    let set = dice.pick(&sets);
    world.remove("ReplicaSet", &set.name);
    format!("deletes ReplicaSet {}", set.name)
}

/// Deletes an object, or brings it back.
fn toggle(world: &mut World, dice: &mut Dice) -> String {
    let (kind, name) = dice.pick(&[
        ("Ingress", "web-web-canary"),
        ("Ingress", "web"),
        ("Service", "web-canary"),
        ("Service", "web-stable"),
    ]);
    if world.objects.contains_key(&(kind.to_owned(), name.to_owned())) {
        world.remove(kind, name);
        return format!("deletes {kind} {name}");
    }
    match (kind, name) {
        (_, "web-web-canary") => return "nothing".to_owned(),
        ("Service", name) => world.put(service(name)),
        _ => world.put(ingress()),
    }
    format!("brings back {kind} {name}")
}

fn edit_selector(world: &mut World, family: Family, dice: &mut Dice) -> String {
    let name = dice.pick(&["web-canary", "web-stable"]);
    if !world.objects.contains_key(&("Service".to_owned(), name.to_owned())) {
        return "nothing".to_owned();
    }
    let hash = dice.pick(&[Value::Null, json!("nobody")]);
    let hash = if family == Family::BlueGreen { Value::Null } else { hash };
    let patch = json!({"spec": {"selector": {well_known::POD_TEMPLATE_HASH: hash}}});
    world.patch("Service", name, &patch);
    format!("selector of {name}: {hash}")
}

/// Pods come and go a few at a time.
pub(super) fn pods(world: &mut World, dice: &mut Dice) {
    move_pods(world, |spec, replicas, available| {
        let replicas = if dice.chance(80) { spec } else { replicas };
        let mut available = available.min(replicas);
        if dice.chance(60) {
            available = (available + i64::try_from(dice.below(4)).unwrap()).min(replicas);
        }
        if dice.chance(8) {
            available -= available.min(i64::try_from(1 + dice.below(6)).unwrap());
        }
        (replicas, available)
    });
}

/// All pods are there. Returns whether any came.
pub(super) fn all_pods(world: &mut World) -> bool {
    move_pods(world, |spec, _, _| (spec, spec))
}

fn move_pods(world: &mut World, mut next: impl FnMut(i64, i64, i64) -> (i64, i64)) -> bool {
    let mut moved = false;
    for set in sets(&world.objects) {
        let mut object = world.get("ReplicaSet", &set.name).clone();
        let count = |field: &str| object["status"][field].as_i64().unwrap_or(0);
        let (replicas, available) = next(set.spec, count("replicas"), count("availableReplicas"));
        let status = json!({"replicas": replicas, "readyReplicas": available, "availableReplicas": available});
        if object["status"] != status {
            object["status"] = status;
            world.put(object);
            moved = true;
        }
    }
    moved
}

const EVIDENCE: &str = r#"[{"name": "errors", "phase": "Successful", "count": 3, "successful": 3}]"#;

/// Analyses begin, end by themselves in every way, or end because they were asked to.
pub(super) fn analyses(world: &mut World, dice: &mut Dice) {
    let now = world.now.to_string();
    end_runs(world, |terminated| {
        let evidence: Value = serde_json::from_str(EVIDENCE).unwrap();
        Some(match dice.below(12) {
            0..4 => return None,
            4 | 5 => json!({"phase": "Running"}),
            _ if terminated => json!({"phase": "Successful", "message": "Run Terminated"}),
            6..9 => json!({"phase": "Successful", "completedAt": now, "metricResults": evidence}),
            9 => json!({"phase": "Successful", "completedAt": now}),
            10 => json!({"phase": dice.pick(&["Failed", "Error"]), "message": "m", "completedAt": now}),
            _ => json!({"phase": "Inconclusive", "completedAt": now}),
        })
    });
}

/// Every analysis succeeds. Returns whether any was running.
pub(super) fn succeed(world: &mut World) -> bool {
    let now = world.now.to_string();
    end_runs(world, |terminated| {
        let evidence: Value = serde_json::from_str(EVIDENCE).unwrap();
        Some(if terminated {
            json!({"phase": "Successful", "message": "Run Terminated"})
        } else {
            json!({"phase": "Successful", "completedAt": now, "metricResults": evidence})
        })
    })
}

fn end_runs(world: &mut World, mut end: impl FnMut(bool) -> Option<Value>) -> bool {
    let mut ended = false;
    let names: Vec<String> = (world.objects.keys().filter(|(kind, _)| kind == "AnalysisRun"))
        .map(|(_, name)| name.clone())
        .collect();
    for name in names {
        let run = world.get("AnalysisRun", &name);
        let open = matches!(text(&run["status"], "phase"), "" | "Pending" | "Running");
        let terminated = run["spec"]["terminate"] == true;
        if let Some(status) = open.then(|| end(terminated)).flatten() {
            world.patch("AnalysisRun", &name, &patched(status));
            ended = true;
        }
    }
    ended
}

/// A write in a few words.
pub(super) fn describe(action: &Action) -> String {
    let target = action.target();
    match action {
        Action::Create { object } => format!("create {target} {};", object["spec"]["replicas"]),
        Action::Delete { .. } => format!("delete {target};"),
        Action::Apply { fields, .. } | Action::Merge { patch: fields, .. } => match target.kind.as_str() {
            "Ingress" => format!("weight {};", facts::weight_of(fields)),
            "Service" => format!(
                "{} selects {};",
                target.name,
                fields["spec"]["selector"][well_known::POD_TEMPLATE_HASH]
            ),
            "ReplicaSet" => {
                let deadline = &fields["metadata"]["annotations"][well_known::SCALE_DOWN_DEADLINE];
                format!(
                    "{} size {} deadline {deadline};",
                    target.name, fields["spec"]["replicas"]
                )
            }
            _ => format!("{target} {fields};"),
        },
    }
}

/// The world in one line.
pub(super) fn summary(world: &World) -> String {
    let status = world.status();
    let sets: Vec<String> = sets(&world.objects)
        .iter()
        .map(|set| format!("{}={}/{}", set.hash, set.available, set.spec))
        .collect();
    format!(
        "{} {:?} step {} weight {} now {} stable {} [{}] stable→{:?} canary→{:?} waits {}",
        text(status, "phase"),
        text(status, "message"),
        status["currentStepIndex"],
        weight(&world.objects),
        text(status, "currentPodHash"),
        text(status, "stableRS"),
        sets.join(" "),
        facts::selected(&world.objects, "web-stable"),
        facts::selected(&world.objects, "web-canary"),
        text(&status["waitingFor"], "reason"),
    )
}
