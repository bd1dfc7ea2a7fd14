//! What pods have by the role of their version: metadata and anti-affinity; and going back within the rollback window.

use super::{
    fixtures::{deployed, hash, image, nginx, paused, phase, resume, steps},
    world::World,
};
use crate::plan::{Action, StatusChange};
use serde_json::{Value, json};

const RECORD: &str = "rollout.argoproj.io/ephemeral-metadata";

fn with(mut strategy: Value, field: &str, value: &Value) -> Value {
    let kind = strategy.as_object().unwrap().keys().next().unwrap().clone();
    strategy[kind][field] = value.clone();
    strategy
}

fn canary() -> Value {
    let passing = json!({"labels": {"role": "canary"}, "annotations": {"note": "new"}});
    let lasting = json!({"labels": {"role": "stable"}});
    with(
        with(nginx(steps()), "canaryMetadata", &passing),
        "stableMetadata",
        &lasting,
    )
}

fn set_of(world: &World, hash: &str) -> Value {
    world.get("ReplicaSet", &format!("web-{hash}")).clone()
}

fn role(world: &World, hash: &str) -> Value {
    set_of(world, hash)["spec"]["template"]["metadata"]["labels"]["role"].clone()
}

fn sets(world: &World) -> usize {
    world.objects.keys().filter(|(kind, _)| kind == "ReplicaSet").count()
}

fn terms(world: &World, hash: &str, list: &str) -> Value {
    set_of(world, hash)["spec"]["template"]["spec"]["affinity"]["podAntiAffinity"][list].clone()
}

#[test]
fn templates_have_the_metadata_of_their_role_and_no_revision_comes_of_it() {
    let mut world = deployed(canary());
    let first = hash(&world, "stableRS");
    assert_eq!(role(&world, &first), "stable");
    image(&mut world, "demo:v2");
    paused(&mut world);
    let second = hash(&world, "currentPodHash");
    assert_eq!(
        (role(&world, &first), role(&world, &second)),
        (json!("stable"), json!("canary"))
    );
    resume(&mut world);
    world.settle();
    assert_eq!(
        (phase(&world, "Healthy"), hash(&world, "stableRS")),
        (true, second.clone())
    );
    let promoted = set_of(&world, &second);
    assert_eq!(promoted["spec"]["template"]["metadata"]["labels"]["role"], "stable");
    assert!(promoted["spec"]["template"]["metadata"].get("annotations").is_none());
    assert_eq!(role(&world, &first), Value::Null, "an old version has no role");
    assert_eq!((sets(&world), &world.status()["currentPodHash"]), (2, &json!(second)));
    let pass = world.pass();
    assert!(pass.writes_nothing(), "{pass:#?}");
}

#[test]
fn metadata_changed_in_the_specification_changes_templates_in_place() {
    let mut world = deployed(canary());
    let first = hash(&world, "stableRS");
    let metadata =
        json!({"spec": {"strategy": {"canary": {"stableMetadata": {"labels": {"role": null, "tier": "a"}}}}}});
    world.patch("Rollout", "web", &metadata);
    world.settle();
    assert_eq!((hash(&world, "currentPodHash"), sets(&world)), (first.clone(), 1));
    let labels = set_of(&world, &first)["spec"]["template"]["metadata"]["labels"].clone();
    assert_eq!((&labels["tier"], labels.get("role")), (&json!("a"), None));
    // Whatever somebody wrote into the template under such a key is set right.
    let edit = json!({"spec": {"template": {"metadata": {"labels": {"tier": "b"}}}}});
    world.patch("ReplicaSet", &format!("web-{first}"), &edit);
    world.settle();
    let labels = set_of(&world, &first)["spec"]["template"]["metadata"]["labels"].clone();
    assert_eq!((&labels["tier"], sets(&world)), (&json!("a"), 1));
}

#[test]
fn a_label_that_metadata_covers_comes_back() {
    let mut world = deployed(nginx(steps()));
    let labels = json!({"spec": {"template": {"metadata": {"labels": {"role": "mine"}}},
        "strategy": {"canary": {"canaryMetadata": {"labels": {"role": "canary"}}}}}});
    world.patch("Rollout", "web", &labels);
    paused(&mut world);
    let second = hash(&world, "currentPodHash");
    assert_eq!(role(&world, &second), "canary");
    resume(&mut world);
    world.settle();
    assert_eq!(
        (hash(&world, "stableRS"), role(&world, &second)),
        (second, json!("mine"))
    );
    assert_eq!(sets(&world), 2);
}

/// The original's `undo` writes what it finds in the ReplicaSet into the specification.
#[test]
fn hazard_16_what_an_undo_of_the_original_leaks_makes_no_revision() {
    let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": {}});
    let mut world = deployed(with(canary(), "antiAffinity", &required));
    image(&mut world, "demo:v2");
    paused(&mut world);
    let second = hash(&world, "currentPodHash");
    let mut leaked = set_of(&world, &second)["spec"]["template"].clone();
    assert!(leaked["spec"]["affinity"].is_object());
    leaked["metadata"]["labels"]
        .as_object_mut()
        .unwrap()
        .remove("rollouts-pod-template-hash");
    world.patch("Rollout", "web", &json!({"spec": {"template": leaked}}));
    world.pass();
    assert_eq!((hash(&world, "currentPodHash"), sets(&world)), (second, 2));
}

#[test]
fn pods_are_asked_for_only_while_some_may_differ() {
    let mut world = deployed(canary());
    let first = hash(&world, "stableRS");
    assert_eq!(
        set_of(&world, &first)["metadata"]["annotations"][RECORD],
        r#"{"labels":{"role":"stable"}}"#
    );
    image(&mut world, "demo:v2");
    paused(&mut world);
    let second = hash(&world, "currentPodHash");
    resume(&mut world);
    world.settle();
    // Nobody listed pods here, so the record keeps what they may still have.
    let record: Value = serde_json::from_str(
        set_of(&world, &second)["metadata"]["annotations"][RECORD]
            .as_str()
            .unwrap(),
    )
    .unwrap();
    assert_eq!(record["pending"], json!({"labels": ["role"], "annotations": ["note"]}));
    // The old version has no pods that could differ.
    assert_eq!(set_of(&world, &first)["metadata"]["annotations"].get(RECORD), None);
}

#[test]
fn anti_affinity_lasts_as_long_as_the_update() {
    let required = "requiredDuringSchedulingIgnoredDuringExecution";
    let mut world = deployed(with(nginx(steps()), "antiAffinity", &json!({ required: {} })));
    let first = hash(&world, "stableRS");
    assert_eq!(terms(&world, &first, required), Value::Null);
    image(&mut world, "demo:v2");
    paused(&mut world);
    let second = hash(&world, "currentPodHash");
    let expected = |stable: &str| {
        json!([{"labelSelector": {"matchExpressions": [
                {"key": "rollouts-pod-template-hash", "operator": "In", "values": [stable]}]},
            "namespaces": ["shop"], "topologyKey": "kubernetes.io/hostname"}])
    };
    assert_eq!(terms(&world, &second, required), expected(&first));
    resume(&mut world);
    world.settle();
    assert_eq!((hash(&world, "stableRS"), sets(&world)), (second.clone(), 2));
    // Back to the first version: its ReplicaSet is used again, and the stable one is free of its old term.
    image(&mut world, "demo:v1");
    paused(&mut world);
    assert_eq!((hash(&world, "currentPodHash"), sets(&world)), (first.clone(), 2));
    assert_eq!(terms(&world, &first, required), expected(&second));
    assert_eq!(terms(&world, &second, required), Value::Null);
}

#[test]
fn anti_affinity_stands_beside_the_users_own() {
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    let mut world = deployed(with(
        nginx(steps()),
        "antiAffinity",
        &json!({ preferred: {"weight": 7} }),
    ));
    let own = json!([{"weight": 1, "podAffinityTerm": {"topologyKey": "zone"}}]);
    let affinity = json!({"spec": {"template": {"spec": {"affinity": {"podAntiAffinity": { preferred: own }}}}}});
    world.patch("Rollout", "web", &affinity);
    paused(&mut world);
    let second = hash(&world, "currentPodHash");
    let found = terms(&world, &second, preferred);
    assert_eq!(
        (&found[0], &found[1]["weight"], found.as_array().unwrap().len()),
        (&own[0], &json!(7), 2)
    );
    resume(&mut world);
    world.settle();
    assert_eq!((hash(&world, "stableRS"), sets(&world)), (second, 2));
}

#[test]
fn wrong_metadata_and_anti_affinity_are_named_at_their_fields() {
    let mut world = deployed(nginx(steps()));
    world.patch(
        "Rollout",
        "web",
        &json!({"spec": {"rollbackWindow": {"revisions": -1}, "strategy": {"canary": {
            "canaryMetadata": {"labels": {"app": "other", "a b": "x", "role": "not a label"}},
            "antiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": {"weight": 0},
                "requiredDuringSchedulingIgnoredDuringExecution": {}}}}}}),
    );
    world.pass();
    let message = world.status()["message"].as_str().unwrap().to_owned();
    for field in [
        "spec.rollbackWindow.revisions: Invalid value: -1",
        "spec.strategy.canary.canaryMetadata.labels[app]",
        "spec.strategy.canary.canaryMetadata.labels[a b]",
        "spec.strategy.canary.canaryMetadata.labels[role]",
        "AntiAffinity must have exactly one strategy listed",
        "antiAffinity.preferredDuringSchedulingIgnoredDuringExecution.weight: Invalid value: 0: AntiAffinity weight must be between 1-100",
    ] {
        assert!(message.contains(field), "{field} in {message}");
    }
}

#[test]
fn blue_green_pods_have_the_metadata_of_preview_and_active() {
    let preferred = json!({"preferredDuringSchedulingIgnoredDuringExecution": {"weight": 50}});
    let strategy = json!({"blueGreen": {"activeService": "web-stable", "previewService": "web-canary",
        "autoPromotionEnabled": false, "antiAffinity": preferred, "activeMetadata": {"labels": {"role": "active"}},
        "previewMetadata": {"labels": {"role": "preview"}}}});
    let mut world = deployed(strategy);
    let first = hash(&world, "stableRS");
    image(&mut world, "demo:v2");
    paused(&mut world);
    let second = hash(&world, "currentPodHash");
    assert_eq!(
        (role(&world, &first), role(&world, &second)),
        (json!("active"), json!("preview"))
    );
    let term = &terms(&world, &second, "preferredDuringSchedulingIgnoredDuringExecution")[0];
    assert_eq!(term["weight"], 50);
    resume(&mut world);
    world.settle();
    assert_eq!(
        (role(&world, &first), role(&world, &second)),
        (Value::Null, json!("active"))
    );
    assert_eq!((sets(&world), hash(&world, "stableRS")), (2, second));
}

// --- The rollback window.

fn windowed(strategy: Value, revisions: i64) -> World {
    let mut world = deployed(strategy);
    world.patch(
        "Rollout",
        "web",
        &json!({"spec": {"rollbackWindow": {"revisions": revisions}}}),
    );
    world.settle();
    world
}

fn promoted(world: &mut World, to: &str) -> String {
    image(world, to);
    let wanted = world.plan_hash();
    world.run_until("promoted", |world, _| hash(world, "stableRS") == wanted);
    world.settle();
    world.events.clear();
    wanted
}

fn completion(world: &World) -> String {
    let completed = world.events.iter().rfind(|(reason, _)| reason == "RolloutCompleted");
    completed.map_or_else(String::new, |(_, text)| text.clone())
}

fn quick() -> Value {
    json!([{"setWeight": 20}, {"pause": {"duration": 30}}])
}

#[test]
fn a_rollback_within_the_window_skips_the_steps() {
    let mut world = windowed(nginx(quick()), 1);
    let first = hash(&world, "stableRS");
    promoted(&mut world, "demo:v2");
    image(&mut world, "demo:v1");
    world.pass();
    assert_eq!(
        (&world.status()["currentStepIndex"], world.plan_hash()),
        (&json!(2), first.clone())
    );
    world.settle();
    assert_eq!((phase(&world, "Healthy"), hash(&world, "stableRS")), (true, first));
    assert!(world.reasons().contains(&"SkipSteps") && !world.reasons().contains(&"RolloutPaused"));
    assert!(
        completion(&world).ends_with("Rollback within window"),
        "{}",
        completion(&world)
    );
    assert_eq!(world.status()["duration"]["completionStatus"], "FastRolledBack");
}

#[test]
fn a_rollback_beyond_the_window_goes_step_by_step() {
    let mut world = windowed(nginx(quick()), 1);
    promoted(&mut world, "demo:v2");
    promoted(&mut world, "demo:v3");
    // Between the first and the third version lies one revision, and one is too many.
    image(&mut world, "demo:v1");
    world.pass();
    assert_eq!(world.status()["currentStepIndex"], 0);
    world.patch("Rollout", "web", &json!({"spec": {"rollbackWindow": {"revisions": 2}}}));
    world.settle();
    assert!(
        world.reasons().contains(&"RolloutPaused"),
        "an update that is under way is not cut short"
    );
}

/// The original orders by the creation of ReplicaSets: there, version 1 is always older than version 3.
#[test]
fn hazard_12_versions_are_ordered_by_revision_numbers() {
    let mut world = windowed(nginx(quick()), 1);
    let first = hash(&world, "stableRS");
    promoted(&mut world, "demo:v2");
    let third = promoted(&mut world, "demo:v3");
    promoted(&mut world, "demo:v1");
    // Stable is revision 4 on the oldest ReplicaSet; version 3 is the revision before it.
    image(&mut world, "demo:v3");
    world.pass();
    assert_eq!(
        (&world.status()["currentStepIndex"], hash(&world, "stableRS")),
        (&json!(2), first)
    );
    world.settle();
    assert_eq!(hash(&world, "stableRS"), third);
    // Version 2 is two revisions back by now.
    image(&mut world, "demo:v2");
    world.pass();
    assert_eq!(world.status()["currentStepIndex"], 0);
}

/// D1: a version that was never stable has passed no gate, wherever its number lies.
#[test]
fn a_version_that_was_never_stable_is_no_rollback() {
    for gated in [false, true] {
        let mut strategy = nginx(quick());
        if gated {
            strategy["canary"]["steps"][1] = json!({"analysis": {"templates": [{"templateName": "check"}]}});
        }
        let mut world = windowed(strategy, 5);
        image(&mut world, "demo:v2");
        world.run_until("on its way", |world, _| world.weight() == 20);
        image(&mut world, "demo:v1");
        world.settle();
        // Version 1 has the higher number now.
        image(&mut world, "demo:v2");
        world.pass();
        assert_eq!(world.status()["currentStepIndex"], 0, "gated: {gated}");
    }
}

/// Also where no analysis is a gate: a person gave that version up.
#[test]
fn a_version_that_a_person_aborted_is_no_rollback() {
    let mut world = windowed(nginx(quick()), 2);
    image(&mut world, "demo:v2");
    paused(&mut world);
    world.patch("Rollout", "web", &json!({"status": {"abort": true}}));
    world.settle();
    promoted(&mut world, "demo:v3");
    image(&mut world, "demo:v2");
    world.pass();
    assert_eq!(world.status()["currentStepIndex"], 0, "{:#}", world.status());
}

#[test]
fn blue_green_goes_back_within_the_window_without_its_gates() {
    let strategy = json!({"blueGreen": {"activeService": "web-stable", "previewService": "web-canary",
        "autoPromotionEnabled": false}});
    let mut world = windowed(strategy, 1);
    let first = hash(&world, "stableRS");
    image(&mut world, "demo:v2");
    paused(&mut world);
    resume(&mut world);
    world.settle();
    let second = hash(&world, "stableRS");
    assert_ne!(first, second);
    world.events.clear();
    image(&mut world, "demo:v1");
    world.settle();
    assert_eq!((phase(&world, "Healthy"), hash(&world, "stableRS")), (true, first));
    assert!(
        completion(&world).ends_with("Rollback within window"),
        "{}",
        completion(&world)
    );
    // A new version waits for a person as ever.
    image(&mut world, "demo:v3");
    paused(&mut world);
}

/// C4: the record of having been stable is written before it is needed, and a lost status changes nothing.
#[test]
fn a_rollback_is_recognised_again_after_a_crash_in_its_first_pass() {
    let mut world = windowed(nginx(quick()), 1);
    let first = hash(&world, "stableRS");
    promoted(&mut world, "demo:v2");
    image(&mut world, "demo:v1");
    let plan = world.plan();
    let writes = plan.stages.iter().map(|stage| stage.0.len()).sum::<usize>();
    assert!(writes > 1 && matches!(plan.status, StatusChange::Merge { .. }));
    let renumbers = |action: &Action| matches!(action, Action::Merge { target, .. } if target.kind == "ReplicaSet");
    assert!(plan.stages[0].0.iter().any(renumbers));
    world.pass_with(writes);
    assert_ne!(hash(&world, "currentPodHash"), first);
    world.pass();
    assert_eq!(world.status()["currentStepIndex"], 2);
    world.settle();
    assert_eq!(hash(&world, "stableRS"), first);
}
