//! Whole Experiments in a world of plain objects: plans are carried out, pods follow, the test decides about analyses.

use super::*;
use crate::plan::Requeue;
use std::collections::BTreeMap;

type Objects = BTreeMap<(String, String), Value>;

struct World {
    objects: Objects,
    now: Timestamp,
    version: u64,
    /// Pods become available as soon as they are asked for.
    pods_start: bool,
    events: Vec<String>,
}

fn template(name: &str, image: &str) -> Value {
    json!({"name": name, "replicas": 2, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [{"name": "web", "image": image, "ports": [{"containerPort": 8080}]}]}}})
}

fn analysis(name: &str, required: bool) -> Value {
    json!({"name": name, "templateName": "check", "requiredForCompletion": required,
        "args": [{"name": "hash", "value": "{{templates.canary.podTemplateHash}}"},
            {"name": "token", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            {"name": "team", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['team']"}}}]})
}

fn spec(duration: &str, analyses: Value) -> Value {
    json!({"duration": duration, "analyses": analyses, "templates": [template("stable", "web:v1"), template("canary", "web:v1")]})
}

impl World {
    fn of(spec: Value) -> Self {
        let mut world = Self {
            objects: BTreeMap::new(),
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            version: 0,
            pods_start: true,
            events: Vec::new(),
        };
        world.put(json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Experiment",
            "metadata": {"name": "trial", "labels": {"team": "a"}}, "spec": spec}));
        world.put(json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate", "metadata": {"name": "check"},
            "spec": {"args": [{"name": "hash"}, {"name": "token"}, {"name": "team"}],
                "metrics": [{"name": "errors", "interval": "10s", "provider": {"prometheus": {"query": "up{h='{{args.hash}}'}"}}}]}}));
        world
    }

    fn put(&mut self, mut object: Value) {
        self.version += 1;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let (kind, name) = (text(&object["kind"]), text(&object["metadata"]["name"]));
        object["metadata"]["namespace"] = json!("shop");
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = json!(format!("{kind}-{name}"));
        }
        self.objects.insert((kind, name), object);
    }

    fn get(&self, kind: &str, name: &str) -> Option<&Value> {
        self.objects.get(&(kind.to_owned(), name.to_owned()))
    }

    fn set(&self, template: &str) -> &Value {
        self.get("ReplicaSet", &format!("trial-{template}")).unwrap()
    }

    fn status(&self) -> &Value {
        &self.get("Experiment", "trial").unwrap()["status"]
    }

    fn phase(&self) -> &str {
        self.status()["phase"].as_str().unwrap_or_default()
    }

    fn patch(&mut self, kind: &str, name: &str, patch: &Value) {
        let mut object = self
            .get(kind, name)
            .unwrap_or_else(|| panic!("no {kind} {name}"))
            .clone();
        json_patch::merge(&mut object, patch);
        self.put(object);
    }

    fn all<T: serde::de::DeserializeOwned>(&self, kind: &str) -> Vec<T> {
        let of_kind = self.objects.iter().filter(|((of, _), _)| of == kind);
        of_kind
            .map(|(_, object)| serde_json::from_value(object.clone()).unwrap())
            .collect()
    }

    fn plan_by<T>(&self, decide: impl Fn(&Snapshot<'_>) -> T) -> T {
        let experiments: Vec<Experiment> = self.all("Experiment");
        let (sets, services, runs) = (self.all("ReplicaSet"), self.all("Service"), self.all("AnalysisRun"));
        let templates: Vec<AnalysisTemplate> = self.all("AnalysisTemplate");
        decide(&Snapshot {
            experiment: &experiments[0],
            replica_sets: sets.iter().collect(),
            services: services.iter().collect(),
            analysis_runs: runs.iter().collect(),
            analysis_templates: templates.iter().collect(),
            cluster_analysis_templates: vec![],
            now: self.now,
        })
    }

    /// One pass, cut off after `limit` writes.
    fn pass_with(&mut self, limit: usize) -> Plan {
        let plan = self.plan_by(super::plan);
        self.carry_out(&plan, limit);
        plan
    }

    fn carry_out(&mut self, plan: &Plan, limit: usize) {
        let actions: Vec<&Action> = plan.stages.iter().flat_map(|stage| &stage.0).collect();
        for action in actions.iter().take(limit) {
            let target = action.target();
            match action {
                Action::Create { object } => {
                    if self.get(&target.kind, &target.name).is_none() {
                        self.put((*object).clone());
                    }
                }
                Action::Merge { patch, .. } => self.patch(&target.kind, &target.name, patch),
                Action::Delete { .. } => {
                    self.objects.remove(&(target.kind, target.name));
                }
                Action::Apply { .. } => panic!("nothing is applied"),
            }
        }
        if actions.len() < limit {
            if let StatusChange::Merge { target, patch, .. } = &plan.status {
                self.patch(&target.kind, &target.name, patch);
            }
            let told = plan
                .events
                .iter()
                .map(|event| format!("{} {}", event.reason, event.message));
            self.events.extend(told);
        }
        self.pods_follow();
    }

    fn pods_follow(&mut self) {
        let sets: Vec<Value> = self
            .objects
            .values()
            .filter(|object| object["kind"] == "ReplicaSet")
            .cloned()
            .collect();
        if !self.pods_start {
            return;
        }
        for set in sets {
            let wanted = &set["spec"]["replicas"];
            if set["status"]["availableReplicas"] != *wanted {
                let status = json!({"replicas": wanted, "readyReplicas": wanted, "availableReplicas": wanted});
                self.patch(
                    "ReplicaSet",
                    set["metadata"]["name"].as_str().unwrap(),
                    &json!({"status": status}),
                );
            }
        }
    }

    /// Passes until nothing is written and nothing changes by itself at this moment.
    fn settle(&mut self) {
        for _ in 0..30 {
            let (version, plan) = (self.version, self.pass_with(usize::MAX));
            let wakes_now = plan.requeue == Requeue::At(self.now);
            if plan.writes_nothing() && version == self.version && !wakes_now {
                return;
            }
        }
        panic!("it does not come to rest: {:#}", self.status());
    }

    fn after(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
        self.settle();
    }

    fn end(&mut self, run: &str, phase: &str, message: &str) {
        let good = i32::from(phase == "Successful");
        let results = json!([{"name": "errors", "phase": phase, "count": 1, "successful": good}]);
        let status = json!({"phase": phase, "message": message, "completedAt": "2026-01-01T00:00:00Z", "metricResults": results});
        self.patch("AnalysisRun", run, &json!({ "status": status }));
        self.settle();
    }
}

#[test]
fn an_experiment_runs_its_duration_and_goes_after_a_delay() {
    let mut world = World::of(spec("5m", json!([analysis("errors", false)])));
    world.settle();
    assert_eq!(world.phase(), "Running", "{:#}", world.status());
    let (stable, canary) = (world.set("stable").clone(), world.set("canary").clone());
    assert_eq!(
        (&stable["spec"]["replicas"], &canary["spec"]["replicas"]),
        (&json!(2), &json!(2))
    );
    let hash = |set: &Value| set["metadata"]["labels"][well_known::POD_TEMPLATE_HASH].clone();
    assert_ne!(hash(&stable), hash(&canary), "two templates with the same pods");
    assert_eq!(
        canary["spec"]["selector"]["matchLabels"][well_known::POD_TEMPLATE_HASH],
        hash(&canary)
    );
    assert_eq!(
        canary["metadata"]["annotations"][well_known::EXPERIMENT_TEMPLATE_NAME],
        "canary"
    );
    assert_eq!(canary["metadata"]["ownerReferences"][0]["uid"], "Experiment-trial");
    assert_eq!(world.status()["availableAt"], "2026-01-01T00:00:00Z");
    world.after(299);
    assert_eq!(world.phase(), "Running");
    world.after(1);
    assert_eq!(
        world.get("AnalysisRun", "trial-errors").unwrap()["spec"]["terminate"],
        true
    );
    world.end("trial-errors", "Successful", "Run Terminated");
    assert_eq!(world.phase(), "Successful", "{:#}", world.status());
    assert_eq!(world.set("canary")["spec"]["replicas"], 2, "before the delay is over");
    assert_eq!(
        world.set("canary")["metadata"]["annotations"]["scale-down-deadline"],
        "2026-01-01T00:05:30Z"
    );
    world.after(30);
    assert_eq!(
        (
            &world.set("stable")["spec"]["replicas"],
            &world.set("canary")["spec"]["replicas"]
        ),
        (&json!(0), &json!(0))
    );
    for told in [
        "TemplateRunning Template 'canary' transitioned from Progressing -> Running",
        "AnalysisRunTerminating Terminating trial-errors (the duration is over)",
        "ExperimentSuccessful Experiment transitioned from Running -> Successful",
    ] {
        assert!(
            world.events.iter().any(|event| event == told),
            "{told} is missing in {:#?}",
            world.events
        );
    }
    let condition = &world.status()["conditions"][0];
    assert_eq!(
        (&condition["reason"], &condition["status"]),
        (&json!("ExperimentCompleted"), &json!("False"))
    );
}

#[test]
fn arguments_keep_secrets_and_learn_of_templates_and_fields() {
    let mut world = World::of(spec("", json!([analysis("errors", true)])));
    world.settle();
    let run = world.get("AnalysisRun", "trial-errors").unwrap();
    let hash = world.set("canary")["metadata"]["labels"][well_known::POD_TEMPLATE_HASH].clone();
    let args = json!([{"name": "hash", "value": hash}, {"name": "token", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        {"name": "team", "value": "a"}]);
    assert_eq!(run["spec"]["args"], args);
}

#[test]
fn required_analyses_complete_it_early() {
    let mut world = World::of(spec("1h", json!([analysis("one", true), analysis("other", false)])));
    world.settle();
    world.end("trial-one", "Successful", "");
    assert_eq!(
        (world.phase(), &world.status()["message"]),
        ("Successful", &json!("Required AnalysisRuns completed"))
    );
    assert_eq!(
        world.get("AnalysisRun", "trial-other").unwrap()["spec"]["terminate"],
        true
    );
}

#[test]
fn an_analysis_that_is_not_successful_ends_it_for_good() {
    for (phase, wanted) in [
        ("Failed", "Failed"),
        ("Error", "Error"),
        ("Inconclusive", "Inconclusive"),
    ] {
        let mut world = World::of(spec("1h", json!([analysis("one", false), analysis("other", false)])));
        world.settle();
        world.end("trial-one", phase, "why");
        assert_eq!((world.phase(), &world.status()["message"]), (wanted, &json!("why")));
        world.after(30);
        assert_eq!(world.set("canary")["spec"]["replicas"], 0);
        world.end("trial-other", "Successful", "");
        assert_eq!(world.phase(), wanted, "an end is for good");
    }
}

#[test]
fn success_without_evidence_is_inconclusive() {
    let mut world = World::of(spec("1h", json!([analysis("one", true)])));
    world.settle();
    // A user ended the run, long before the duration was over.
    world.end("trial-one", "Successful", "Run Terminated");
    assert_eq!(world.phase(), "Inconclusive", "{:#}", world.status());
    // Nothing was measured before the duration was over.
    let mut world = World::of(spec("1m", json!([analysis("one", false)])));
    world.settle();
    world.after(60);
    let ended = json!({"status": {"phase": "Successful", "message": "Run Terminated"}});
    world.patch("AnalysisRun", "trial-one", &ended);
    world.settle();
    assert_eq!(world.phase(), "Inconclusive", "{:#}", world.status());
}

#[test]
fn pods_that_do_not_come_fail_their_template() {
    let mut world = World::of(spec("1h", json!([])));
    world.pods_start = false;
    world.settle();
    assert_eq!(world.phase(), "Pending");
    world.after(599);
    assert_eq!(world.phase(), "Pending");
    world.after(1);
    let message = json!("Template 'stable' exceeded its progressDeadlineSeconds (600)");
    assert_eq!((world.phase(), &world.status()["message"]), ("Failed", &message));
    world.after(30);
    assert_eq!(world.set("stable")["spec"]["replicas"], 0);
}

#[test]
fn a_terminated_experiment_proves_nothing() {
    let mut world = World::of(spec("1h", json!([analysis("one", true)])));
    world.settle();
    world.patch("Experiment", "trial", &json!({"spec": {"terminate": true}}));
    world.settle();
    assert_eq!(
        (world.phase(), &world.status()["message"]),
        ("Successful", &json!(EXPERIMENT_TERMINATED))
    );
    assert!(!world.plan_by(|snapshot| is_evidence(snapshot.experiment)));
    assert_eq!(
        world.get("AnalysisRun", "trial-one").unwrap()["spec"]["terminate"],
        true
    );
}

#[test]
fn a_retry_starts_again_with_the_same_sets_and_a_new_run() {
    let mut world = World::of(spec("1h", json!([analysis("one", true)])));
    world.settle();
    world.end("trial-one", "Failed", "");
    world.patch("Experiment", "trial", &json!({"status": null}));
    world.after(10);
    assert_eq!(world.phase(), "Running", "{:#}", world.status());
    let annotations = &world.set("canary")["metadata"]["annotations"];
    assert_eq!(
        (
            &world.set("canary")["spec"]["replicas"],
            &annotations["scale-down-deadline"]
        ),
        (&json!(2), &Value::Null)
    );
    assert_eq!(world.status()["analysisRuns"][0]["analysisRun"], "trial-one.1");
    world.after(60);
    assert_eq!(world.set("canary")["spec"]["replicas"], 2);
}

#[test]
fn a_service_comes_with_its_template_and_goes_after_its_pods() {
    let mut wanted = spec("1m", json!([]));
    wanted["templates"][1]["service"] = json!({});
    let mut world = World::of(wanted);
    world.settle();
    let service = world.get("Service", "trial-canary").unwrap();
    let hash = &world.set("canary")["metadata"]["labels"][well_known::POD_TEMPLATE_HASH];
    assert_eq!(&service["spec"]["selector"][well_known::POD_TEMPLATE_HASH], hash);
    assert_eq!(service["spec"]["ports"][0]["port"], 8080);
    world.after(60);
    assert_eq!(world.phase(), "Successful");
    assert!(world.get("Service", "trial-canary").is_some(), "pods are still there");
    world.after(30);
    assert!(world.get("Service", "trial-canary").is_none());
}

#[test]
fn what_belongs_to_somebody_else_is_left_alone() {
    let mut wanted = spec("1h", json!([analysis("one", true)]));
    wanted["templates"][0]["service"] = json!({"name": "web"});
    let mut world = World::of(wanted.clone());
    world.put(json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}}}));
    world.settle();
    assert_eq!(world.phase(), "Error", "{:#}", world.status());
    assert!(world.get("Service", "web").is_some());
    wanted["templates"][0].as_object_mut().unwrap().remove("service");
    let mut world = World::of(wanted);
    world.put(json!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": {"name": "trial-canary"}, "spec": {"replicas": 1}}));
    world.put(json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisRun", "metadata": {"name": "trial-one"}, "spec": {"metrics": []}}));
    world.settle();
    assert_eq!(world.phase(), "Running", "{:#}", world.status());
    assert_eq!(world.set("canary")["spec"]["replicas"], 1);
    assert_eq!(world.set("canary-1")["spec"]["replicas"], 2);
    assert_eq!(world.status()["analysisRuns"][0]["analysisRun"], "trial-one.1");
    assert_eq!(
        world.get("AnalysisRun", "trial-one").unwrap()["spec"]["terminate"],
        Value::Null
    );
}

#[test]
fn a_set_deleted_by_hand_comes_back_and_the_clock_goes_on() {
    let mut world = World::of(spec("10m", json!([])));
    world.settle();
    world.after(300);
    world
        .objects
        .remove(&("ReplicaSet".to_owned(), "trial-canary".to_owned()));
    world.settle();
    assert_eq!(
        (world.set("canary")["spec"]["replicas"].clone(), world.phase()),
        (json!(2), "Running")
    );
    world.after(300);
    assert_eq!(world.phase(), "Successful");
}

/// C4: whatever part of its passes is carried out, it ends in the same state, with one run for each analysis.
#[test]
fn an_experiment_cut_between_any_two_writes_ends_the_same() {
    let story = |cut: usize| {
        let mut wanted = spec("1m", json!([analysis("one", true)]));
        wanted["templates"][0]["service"] = json!({});
        let mut world = World::of(wanted);
        for _ in 0..6 {
            world.pass_with(cut);
        }
        world.settle();
        world.end("trial-one", "Successful", "");
        world.after(120);
        world.after(120);
        let runs = world.all::<AnalysisRun>("AnalysisRun").len();
        (
            world.phase().to_owned(),
            runs,
            world.set("canary")["spec"].clone(),
            world.all::<Service>("Service").len(),
        )
    };
    let whole = story(usize::MAX);
    assert_eq!((whole.0.as_str(), whole.1, whole.3), ("Successful", 1, 0));
    for cut in 0..4 {
        assert_eq!(story(cut), whole, "cut after {cut}");
    }
}

#[test]
fn a_wrong_specification_is_told_at_once_and_heals() {
    let mut wanted = spec("soon", json!([analysis("a", true), analysis("a", true)]));
    wanted["templates"][0].as_object_mut().unwrap().remove("selector");
    wanted["templates"][1]["name"] = json!("stable");
    let mut world = World::of(wanted);
    world.settle();
    let message = world.status()["message"].as_str().unwrap().to_owned();
    for part in [
        "The Experiment \"trial\" is invalid: spec.templates[0].selector: Required value: Rollout has missing field '.Spec.Templates[0].Selector'",
        "spec.templates[1].name: Invalid value: \"stable\": Experiment trial has repeated template name 'stable' in templates",
        "spec.duration: Invalid value: \"soon\"",
        "spec.analyses[1].name: Invalid value: \"a\": two analyses have the same name 'a'",
    ] {
        assert!(message.contains(part), "{part} is missing in {message}");
    }
    assert_eq!(
        (world.phase(), world.status()["conditions"][0]["type"].as_str()),
        ("Error", Some("InvalidSpec"))
    );
    assert!(world.get("ReplicaSet", "trial-canary").is_none());
    let right = spec("1m", json!([]));
    world.patch("Experiment", "trial", &json!({ "spec": right }));
    world.settle();
    assert_eq!(world.phase(), "Running", "{:#}", world.status());
    assert_eq!(world.status()["conditions"][0]["type"], "Progressing");
}

#[test]
fn a_refusal_and_a_missing_template_are_errors_that_name_it() {
    let mut world = World::of(spec("1m", json!([analysis("one", true)])));
    let target = ObjectRef::namespaced("apps/v1", "ReplicaSet", "shop", "trial-canary");
    let plan = world.plan_by(|snapshot| plan_after_refusal(snapshot, &target, "too many pods"));
    world.carry_out(&plan, usize::MAX);
    world.settle();
    let message = json!("Failed to create ReplicaSet for template 'canary': too many pods");
    assert_eq!((world.phase(), &world.status()["message"]), ("Error", &message));

    let mut world = World::of(spec("1m", json!([analysis("one", true)])));
    world
        .objects
        .remove(&("AnalysisTemplate".to_owned(), "check".to_owned()));
    world.settle();
    let message = json!("AnalysisTemplate verification failed for analysis 'one': AnalysisTemplate 'check' not found");
    assert_eq!((world.phase(), &world.status()["message"]), ("Error", &message));
}
