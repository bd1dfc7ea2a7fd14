//! Experiments as steps: made once, waited for, ended with the update. What happens inside is another controller's, so
//! here the test says how they end.

use super::{
    fixtures::{deployed, hash, image, nginx, paused, phase, resume},
    world::World,
};
use crate::api::well_known;
use serde_json::{Value, json};

fn step() -> Value {
    json!({"experiment": {"duration": "5m",
        "templates": [
            {"name": "baseline", "specRef": "stable"},
            {"name": "trial", "specRef": "canary", "replicas": 2, "metadata": {"labels": {"role": "trial"}, "annotations": {"note": "x"}}}],
        "analyses": [{"name": "errors", "templateName": "check", "requiredForCompletion": true, "args": [
            {"name": "new", "valueFrom": {"podTemplateHashValue": "Latest"}},
            {"name": "name", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "trial", "value": "{{templates.trial.podTemplateHash}}"}]}]}})
}

fn steps() -> Value {
    json!([step(), {"setWeight": 50}, {"pause": {}}])
}

/// The name of the Experiment of the present update at a step.
fn name(world: &World, index: usize) -> String {
    format!("web-{}-2-{index}", hash(world, "currentPodHash"))
}

fn experiments(world: &World) -> Vec<String> {
    let kinds = world.objects.keys().filter(|(kind, _)| kind == "Experiment");
    kinds.map(|(_, name)| name.clone()).collect()
}

fn updated(strategy: Value) -> World {
    let mut world = deployed(strategy);
    image(&mut world, "demo:v2");
    world.run_until("the experiment", |world, _| !experiments(world).is_empty());
    world
}

fn end(world: &mut World, name: &str, phase: &str, message: &str) {
    let status = json!({"phase": phase, "message": message});
    world.patch("Experiment", name, &json!({ "status": status }));
}

#[test]
fn an_experiment_step_is_made_from_both_versions_and_waited_for() {
    let mut world = updated(nginx(steps()));
    world.settle();
    let name = name(&world, 0);
    assert_eq!(
        (
            experiments(&world),
            world.status()["canary"]["currentExperiment"].clone()
        ),
        (vec![name.clone()], json!(name))
    );
    assert_eq!(
        (world.status()["currentStepIndex"].clone(), world.weight()),
        (json!(0), 0)
    );
    assert_eq!(world.status()["waitingFor"]["message"], format!("Experiment {name}"));
    let made = world.get("Experiment", &name).clone();
    assert_eq!(made["metadata"]["ownerReferences"][0]["kind"], "Rollout");
    assert_eq!(
        made["metadata"]["labels"][well_known::POD_TEMPLATE_HASH],
        hash(&world, "currentPodHash")
    );
    assert_eq!(made["metadata"]["annotations"][well_known::REVISION], "2");
    let [baseline, trial] = [0, 1].map(|index| made["spec"]["templates"][index].clone());
    let image = |template: &Value| template["template"]["spec"]["containers"][0]["image"].clone();
    assert_eq!((image(&baseline), image(&trial)), (json!("demo:v1"), json!("demo:v2")));
    assert_eq!(
        trial["template"]["metadata"],
        json!({"labels": {"app": "web", "role": "trial"}, "annotations": {"note": "x"}})
    );
    assert_eq!(trial["selector"]["matchLabels"], json!({"app": "web", "role": "trial"}));
    assert_eq!(baseline["template"]["metadata"]["labels"], json!({"app": "web"}));
    let args = made["spec"]["analyses"][0]["args"].clone();
    assert_eq!(args[0]["value"], hash(&world, "currentPodHash"));
    assert_eq!(
        (&args[1]["value"], &args[2]["value"]),
        (&json!("web"), &json!("{{templates.trial.podTemplateHash}}"))
    );
    end(&mut world, &name, "Successful", "");
    paused(&mut world);
    assert_eq!(
        (world.status()["currentStepIndex"].clone(), world.weight()),
        (json!(2), 50)
    );
    assert_eq!(world.status()["canary"]["currentExperiment"], Value::Null);
    let told = |reason: &str| world.events.iter().filter(|(known, _)| known == reason).count();
    assert_eq!((told("ExperimentCreated"), told("RolloutStepCompleted")), (1, 2));
    resume(&mut world);
    world.settle();
    assert!(phase(&world, "Healthy"), "{:#}", world.status());
}

#[test]
fn an_experiment_that_fails_aborts_and_a_retry_makes_a_new_one() {
    for word in ["Failed", "Error"] {
        let mut world = updated(nginx(steps()));
        let first = name(&world, 0);
        end(&mut world, &first, word, "too slow");
        world.run_until("aborted", |world, _| phase(world, "Degraded"));
        let message =
            "RolloutAborted: Rollout aborted update to revision 2: Experiment analysis phase is error/failed: too slow";
        assert_eq!(world.status()["message"], message);
        world.settle();
        world.patch("Rollout", "web", &json!({"status": {"abort": false}}));
        world.settle();
        assert_eq!(experiments(&world), [first.clone(), format!("{first}-1")]);
        assert_eq!(world.status()["canary"]["currentExperiment"], format!("{first}-1"));
    }
}

/// D1: neither an experiment that proved nothing nor one that was terminated lets an update go on.
#[test]
fn an_experiment_that_proves_nothing_waits_for_a_person() {
    for (word, message) in [
        ("Inconclusive", ""),
        ("Successful", crate::experiment::EXPERIMENT_TERMINATED),
    ] {
        let mut world = updated(nginx(steps()));
        let first = name(&world, 0);
        end(&mut world, &first, word, message);
        paused(&mut world);
        assert_eq!(world.status()["message"], "InconclusiveExperiment");
        world.settle();
        assert_eq!(
            (world.status()["currentStepIndex"].clone(), world.weight()),
            (json!(0), 0)
        );
        let mut judged = World::of(&world.objects.values().cloned().collect::<Vec<_>>());
        judged.now = world.now;
        // Resumed: once more. Judged by a person: on to the next step.
        resume(&mut world);
        world.settle();
        assert_eq!(world.status()["canary"]["currentExperiment"], format!("{first}-1"));
        let promoted = json!({"status": {"pauseConditions": null, "controllerPause": false, "currentStepIndex": 1}});
        judged.patch("Rollout", "web", &promoted);
        judged.run_until("the weight", |world, _| world.weight() == 50);
    }
}

#[test]
fn an_abort_ends_the_experiment_and_so_does_a_newer_version() {
    for newer in [false, true] {
        let mut world = updated(nginx(steps()));
        let first = name(&world, 0);
        if newer {
            image(&mut world, "demo:v3");
        } else {
            world.patch("Rollout", "web", &json!({"status": {"abort": true}}));
        }
        world.pass();
        assert_eq!(world.get("Experiment", &first)["spec"]["terminate"], true);
        assert!(
            world.get("Experiment", &first)["status"].is_null(),
            "what it says is its own controller's"
        );
        world.settle();
        assert_eq!(experiments(&world).len(), if newer { 2 } else { 1 });
    }
}

/// D2, C4: whatever is cut off, there is one Experiment for each step.
#[test]
fn an_experiment_is_named_before_it_is_made() {
    for cut in 0..4 {
        let mut world = deployed(nginx(steps()));
        image(&mut world, "demo:v2");
        for _ in 0..8 {
            world.pass_with(cut);
        }
        world.settle();
        let recorded = world.status()["canary"]["currentExperiment"].clone();
        assert_eq!(
            (experiments(&world), recorded),
            (vec![name(&world, 0)], json!(name(&world, 0))),
            "cut {cut}"
        );
    }
    let mut world = deployed(nginx(steps()));
    image(&mut world, "demo:v2");
    world.run_until("the name", |world, _| {
        world.status()["canary"]["currentExperiment"].is_string()
    });
    assert!(experiments(&world).is_empty());
}

/// A ReplicaSet of an Experiment that lost its owner matches the Rollout's selector, and is no revision of it.
#[test]
fn sets_of_an_experiment_are_no_revisions() {
    let mut world = updated(nginx(steps()));
    let made = world.get("Experiment", &name(&world, 0)).clone();
    let template = made["spec"]["templates"][1]["template"].clone();
    world.put(
        json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "orphan",
            "labels": {"app": "web", "role": "trial", "rollouts-pod-template-hash": "x"},
            "annotations": {"experiment.argoproj.io/name": "gone", "rollout.argoproj.io/revision": "9"}},
        "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}, "template": template}}),
    );
    world.settle();
    assert_eq!(world.get("ReplicaSet", "orphan")["spec"]["replicas"], 3);
    assert!(world.get("ReplicaSet", "orphan")["metadata"]["ownerReferences"].is_null());
    assert_eq!(
        world.get("Rollout", "web")["metadata"]["annotations"][well_known::REVISION],
        "2"
    );
}

#[test]
fn finished_experiments_beyond_the_history_limits_are_deleted() {
    let mut world = updated(nginx(steps()));
    let limits = json!({"spec": {"analysis": {"successfulRunHistoryLimit": 1, "unsuccessfulRunHistoryLimit": 1}}});
    world.patch("Rollout", "web", &limits);
    let mut failed = Vec::new();
    for _ in 0..3 {
        let current = world.status()["canary"]["currentExperiment"]
            .as_str()
            .unwrap()
            .to_owned();
        end(&mut world, &current, "Failed", "");
        world.settle();
        world.now += jiff::SignedDuration::from_secs(60);
        world.patch("Rollout", "web", &json!({"status": {"abort": false}}));
        world.settle();
        failed.push(current);
    }
    let current = world.status()["canary"]["currentExperiment"]
        .as_str()
        .unwrap()
        .to_owned();
    let left = experiments(&world);
    assert_eq!(left.len(), 2, "{left:?}");
    assert!(
        left.contains(&current) && left.contains(failed.last().unwrap()),
        "{left:?}"
    );
}

#[test]
fn what_is_wrong_with_an_experiment_step_is_named_at_its_field() {
    let mut wrong = step();
    wrong["experiment"]["duration"] = json!("soon");
    wrong["experiment"]["templates"][0]["specRef"] = json!("other");
    wrong["experiment"]["templates"][1]["name"] = json!("baseline");
    wrong["experiment"]["templates"][1]["weight"] = json!(5);
    wrong["experiment"]["scaleDownDelaySeconds"] = json!(-1);
    let mut missing = step();
    missing["experiment"]["analyses"][0]["templateName"] = json!("gone");
    let field = "spec.strategy.canary.steps[0].experiment";
    for (step, parts) in [
        (
            wrong,
            vec![
                format!("{field}.templates[0].specRef: Invalid value: \"other\": expected canary or stable"),
                format!(
                    "{field}.templates[1].weight: Invalid value: 5: Experiment template weight is only available for TrafficRouting with SMI, ALB, Istio and Plugins at this time"
                ),
                format!(
                    "{field}.templates[1].name: Invalid value: \"baseline\": Experiment web has repeated template name 'baseline' in templates"
                ),
                format!("{field}.duration: Invalid value: \"soon\""),
                format!("{field}.scaleDownDelaySeconds: Invalid value: -1"),
            ],
        ),
        (
            missing,
            vec![format!(
                "{field}.analyses[0].templateName: Invalid value: \"gone\": AnalysisTemplate 'gone' not found"
            )],
        ),
    ] {
        let mut world = deployed(nginx(steps()));
        world.patch(
            "Rollout",
            "web",
            &json!({"spec": {"strategy": {"canary": {"steps": [step]}}}}),
        );
        world.settle();
        let message = world.status()["message"].as_str().unwrap().to_owned();
        for part in parts {
            assert!(message.contains(&part), "{part} is missing in {message}");
        }
    }
}
