//! Whole applications against a cluster of a few lines: what [`plan`] wants is done, and planned again, until it rests.

use super::{
    kinds::KindFacts,
    work::{Deed, Report, Work},
    *,
};
use serde_json::json;

struct World {
    app: Application,
    desired: Result<Desired, Failure>,
    pinned: Option<Result<Desired, Failure>>,
    live: LiveObjects,
    kinds: Kinds,
    ancestry: Ancestry,
    now: Timestamp,
    /// Names of objects the cluster refuses, with its words.
    refused: Vec<(&'static str, &'static str)>,
    /// `+name` and `-name`, in the order done; `|` between steps.
    done: Vec<String>,
    writes: usize,
    events: Vec<String>,
    version: u64,
    /// The status as the API server has it.
    saved: Option<ApplicationStatus>,
    /// Works until the process dies: before doing the next one, or after it but before recording it.
    crash: Option<(usize, Crash)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Crash {
    BeforeWork,
    AfterWork,
}

fn kinds() -> Kinds {
    let mut kinds = Kinds::default();
    for (group, kind, is_namespaced) in [
        ("", "ConfigMap", true),
        ("", "Namespace", false),
        ("batch", "Job", true),
        ("apps", "Deployment", true),
        ("argoproj.io", "Rollout", true),
        ("argoproj.io", "AnalysisTemplate", true),
    ] {
        let version = if group == "argoproj.io" { "v1alpha1" } else { "v1" };
        kinds.insert(
            group,
            kind,
            KindFacts {
                is_namespaced,
                versions: vec![version.into()],
            },
        );
    }
    kinds
}

fn config(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": value}})
}

fn annotated(mut object: Value, key: &str, value: &str) -> Value {
    object["metadata"]["annotations"][format!("argocd.argoproj.io/{key}")] = json!(value);
    object
}

fn in_wave(object: Value, wave: &str) -> Value {
    annotated(object, "sync-wave", wave)
}

fn deployment(name: &str, image: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
           "spec": {"replicas": 1, "template": {"spec": {"containers": [{"name": "c", "image": image}]}}}})
}

fn commit(revision: &str, objects: Vec<Value>) -> Desired {
    Desired {
        revisions: Revisions {
            single: revision.into(),
            several: vec![],
        },
        parts: vec![Arc::new(objects)],
        source_types: vec!["Directory".into()],
        notes: vec![],
    }
}

impl World {
    fn new(policy: Value, objects: Vec<Value>) -> Self {
        let app = json!({"metadata": {"name": "app", "namespace": "argocd", "uid": "u"}, "spec": {
            "source": {"repoURL": "https://git/r", "path": "a"},
            "destination": {"server": "https://kubernetes.default.svc", "namespace": "ns"},
            "syncPolicy": policy}});
        Self {
            app: serde_json::from_value(app).unwrap(),
            desired: Ok(commit("c1", objects)),
            pinned: None,
            live: LiveObjects::new(),
            kinds: kinds(),
            ancestry: Ancestry::Forward,
            now: Timestamp::from_second(1_000_000).unwrap(),
            refused: vec![],
            done: vec![],
            writes: 0,
            events: vec![],
            version: 0,
            saved: None,
            crash: None,
        }
    }

    fn automated(objects: Vec<Value>) -> Self {
        Self::new(json!({"automated": {"prune": true, "selfHeal": true}}), objects)
    }

    /// Plans and does what is wanted until nothing is left to do now; returns when to look again.
    fn settle(&mut self) -> Requeue {
        for _ in 0..50 {
            let decision = self.look();
            let is_changed = self
                .saved
                .as_ref()
                .is_none_or(|saved| status::differs(saved, &decision.status));
            if is_changed || decision.takes_operation {
                self.writes += 1;
                self.saved = Some(decision.status.clone());
                self.app.status = Some(decision.status);
                self.events
                    .extend(decision.events.iter().map(|event| event.message.clone()));
            }
            if decision.takes_operation {
                self.app.operation = None;
            }
            if decision.work.is_empty() {
                return decision.requeue;
            }
            let dies = match &mut self.crash {
                Some((0, crash)) => Some(*crash),
                Some((left, _)) => {
                    *left -= 1;
                    None
                }
                None => None,
            };
            if dies == Some(Crash::BeforeWork) {
                self.restart();
                continue;
            }
            let reports = self.perform(decision.work);
            if dies == Some(Crash::AfterWork) {
                self.restart();
                continue;
            }
            let status = self.app.status.as_mut().unwrap();
            status.operation_state = status
                .operation_state
                .as_ref()
                .map(|state| operation::record::record(state, &reports));
        }
        panic!("it never rests: {:?}", self.done);
    }

    /// The process dies and starts again; what is not written is forgotten.
    fn restart(&mut self) {
        self.crash = None;
        self.app.status.clone_from(&self.saved);
    }

    fn look(&self) -> Decision {
        let mut dry_runs = DryRuns::new();
        for _ in 0..3 {
            let snapshot = Snapshot {
                app: &self.app,
                control_plane_namespace: "argocd",
                desired: self.desired.as_ref(),
                pinned: self.pinned.as_ref().map(Result::as_ref),
                live: &self.live,
                kinds: &self.kinds,
                project: Project::Everything,
                dry_runs: &dry_runs,
                ancestry: self.ancestry,
                now: self.now,
            };
            match plan(&snapshot) {
                Outcome::Decision(decision) => return *decision,
                Outcome::DryRuns(probes) => {
                    for (key, body) in probes {
                        dry_runs.insert(key, Ok(Arc::new(body)));
                    }
                }
            }
        }
        panic!("dry runs settle nothing");
    }

    fn perform(&mut self, batches: Batches) -> Vec<Report> {
        let mut reports: Vec<Report> = Vec::new();
        for batch in batches {
            for work in batch {
                let outcome = self.perform_one(&work);
                reports.push(Report { work, outcome });
            }
            if reports.iter().any(|report| report.outcome.is_err()) {
                break;
            }
        }
        self.done.push("|".into());
        reports
    }

    fn perform_one(&mut self, work: &Work) -> Result<String, String> {
        if let Some((_, why)) = self.refused.iter().find(|(name, _)| *name == work.key.name) {
            return Err((*why).to_owned());
        }
        match &work.deed {
            Deed::Note { message, .. } => Ok(message.clone()),
            Deed::Delete { .. } => {
                self.done.push(format!("-{}", work.key.name));
                self.live.remove(&work.key);
                Ok("pruned".into())
            }
            Deed::Apply(apply) => {
                self.done.push(format!("+{}", work.key.name));
                if !apply.dry_run {
                    self.put(apply.body.clone());
                }
                Ok(format!("{} configured", operation::tasks::kubectl_name(&work.key)))
            }
        }
    }

    /// Server-side apply in a nutshell.
    fn put(&mut self, mut object: Value) {
        self.version += 1;
        let key = ResourceKey::of(&object);
        let before = self.live.get(&key).cloned();
        let generation = before
            .as_ref()
            .and_then(|before| resource::number(before, "/metadata/generation"))
            .unwrap_or(0)
            + 1;
        object["metadata"]["generation"] = json!(generation);
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        object["metadata"]["uid"] = json!(format!("uid-{}", key.name));
        object["metadata"]["creationTimestamp"] = json!(self.now.to_string());
        object["metadata"]["managedFields"] =
            json!([{"manager": "argocd-controller", "operation": "Apply", "fieldsV1": fields(&object)}]);
        if let Some(status) = before.as_ref().and_then(|before| before.get("status")) {
            object["status"] = status.clone();
        }
        self.live.insert(key, Arc::new(object));
    }

    fn edit(&mut self, name: &str, change: impl FnOnce(&mut Value)) {
        let key = self
            .live
            .keys()
            .find(|key| key.name == name)
            .unwrap_or_else(|| panic!("no {name}"))
            .clone();
        let mut object = self.live[&key].as_ref().clone();
        change(&mut object);
        self.live.insert(key, Arc::new(object));
    }

    fn status(&mut self, name: &str, status: Value) {
        self.edit(name, |object| object["status"] = status);
    }

    fn healthy(&mut self, name: &str) {
        self.edit(name, |object| {
            let generation = object["metadata"]["generation"].clone();
            object["status"] =
                json!({"observedGeneration": generation, "updatedReplicas": 1, "replicas": 1, "availableReplicas": 1});
        });
    }

    fn later(&mut self, seconds: i64) {
        self.now = self.now.saturating_add(SignedDuration::from_secs(seconds)).unwrap();
    }

    fn ask(&mut self, operation: Value) {
        self.app.operation = Some(serde_json::from_value(operation).unwrap());
    }

    fn state(&self) -> &ApplicationStatus {
        self.app.status.as_ref().unwrap()
    }

    fn operation(&self) -> &OperationState {
        self.state().operation_state.as_ref().expect("an operation")
    }

    #[track_caller]
    fn check(&self, sync: &str, health: &str, phase: &str, message: &str) {
        let state = self.state();
        let operation = state.operation_state.as_ref();
        assert_eq!(
            (
                state.sync.status.as_str(),
                state.health.status.as_str(),
                operation.map_or("", |state| state.phase.as_str()),
                operation.map_or("", |state| state.message.as_str())
            ),
            (sync, health, phase, message),
            "{}",
            serde_json::to_string_pretty(state).unwrap()
        );
    }

    #[track_caller]
    fn did(&mut self, expected: &str) {
        let done = std::mem::take(&mut self.done).join(" ");
        assert_eq!(done.strip_suffix(" |").unwrap_or(&done), expected);
    }

    fn conditions(&self) -> Vec<String> {
        self.state()
            .conditions
            .iter()
            .map(|condition| format!("{}: {}", condition.r#type, condition.message))
            .collect()
    }
}

fn fields(object: &Value) -> Value {
    match object {
        Value::Object(map) => map
            .iter()
            .filter(|(key, _)| {
                !matches!(
                    key.as_str(),
                    "generation"
                        | "resourceVersion"
                        | "uid"
                        | "creationTimestamp"
                        | "apiVersion"
                        | "kind"
                        | "name"
                        | "namespace"
                )
            })
            .map(|(key, value)| (format!("f:{key}"), fields(value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        _ => json!({}),
    }
}

const DONE: &str = "successfully synced (all tasks run)";

#[test]
fn a_plain_application_is_synced_and_rests() {
    let mut world = World::automated(vec![config("b", "1"), config("a", "1")]);
    world.settle();
    world.did("+a +b");
    world.check("Synced", "Healthy", "Succeeded", DONE);
    assert_eq!(world.state().history.len(), 1);
    assert_eq!(world.state().sync.revision, "c1");
    assert!(world.conditions().is_empty());
    let writes = world.writes;
    world.later(1000);
    world.settle();
    assert_eq!(world.writes, writes, "at rest nothing is written");
    world.did("");
}

#[test]
fn drift_is_healed_and_undone_work_is_left_out() {
    let mut world = World::automated(vec![config("a", "1"), config("b", "1")]);
    world.settle();
    world.did("+a +b");
    world.edit("a", |object| object["data"]["a"] = json!("edited"));
    world.settle();
    world.did("+a");
    world.check("Synced", "Healthy", "Succeeded", DONE);
    assert_eq!(world.state().history.len(), 1, "healing makes no history");
    world.edit("b", |object| object["data"]["foreign"] = json!("x"));
    world.settle();
    world.did("");
}

#[test]
fn a_new_commit_is_applied_and_prunes_backwards() {
    let mut world = World::automated(vec![
        in_wave(config("a", "1"), "0"),
        in_wave(config("b", "1"), "1"),
        config("c", "1"),
    ]);
    world.settle();
    world.did("+a +c | +b");
    world.desired = Ok(commit("c2", vec![config("c", "2")]));
    world.settle();
    // b has the higher wave, so it goes in the first step, with c; a follows.
    world.did("-b +c | -a");
    world.check("Synced", "Healthy", "Succeeded", DONE);
    assert_eq!(world.state().history.last().unwrap().revision, "c2");
}

#[test]
fn kinds_are_pruned_in_the_opposite_order() {
    let template = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "AnalysisTemplate", "metadata": {"name": "z"}});
    let rollout = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "a"}});
    let mut world = World::automated(vec![config("c", "1"), rollout, template, config("kept", "1")]);
    world.settle();
    world.did("+c +kept +z +a");
    world.desired = Ok(commit("c2", vec![config("kept", "1")]));
    world.settle();
    world.did("-a -z -c");
}

#[test]
fn waves_wait_for_health_at_the_new_generation() {
    let objects = |image: &str| vec![in_wave(deployment("first", image), "-1"), config("second", image)];
    let mut world = World::automated(objects("v1"));
    world.settle();
    world.did("+first");
    world.check(
        "OutOfSync",
        "Progressing",
        "Running",
        "waiting for healthy state of apps/Deployment/first",
    );
    world.healthy("first");
    world.settle();
    world.did("+second");
    world.check("Synced", "Healthy", "Succeeded", DONE);
    // The status of generation 1 says healthy, and counts for nothing at generation 2.
    world.desired = Ok(commit("c2", objects("v2")));
    world.settle();
    world.did("+first");
    world.check(
        "OutOfSync",
        "Progressing",
        "Running",
        "waiting for healthy state of apps/Deployment/first",
    );
    world.healthy("first");
    world.settle();
    world.did("+second");
}

#[test]
fn a_degraded_wave_fails_the_operation_and_is_retried() {
    let mut world = World::automated(vec![in_wave(deployment("first", "v1"), "-1"), config("second", "1")]);
    world.settle();
    world.status(
        "first",
        json!({"observedGeneration": 1, "conditions": [{"type": "Progressing", "reason": "ProgressDeadlineExceeded"}]}),
    );
    let requeue = world.settle();
    let message = "one or more synchronization tasks completed unsuccessfully, reason: Deployment \"first\" exceeded its progress deadline";
    world.check(
        "OutOfSync",
        "Degraded",
        "Running",
        &format!("{message}. Retrying attempt #1 at 1:46PM."),
    );
    assert_eq!(
        requeue,
        Requeue::At(world.now.saturating_add(SignedDuration::from_secs(5)).unwrap())
    );
    world.did("+first");
}

#[test]
fn refused_objects_fail_the_operation_and_retries_end() {
    let mut world = World::automated(vec![config("a", "1")]);
    world.app.spec.sync_policy.as_mut().unwrap().retry = Some(crate::api::application::RetryStrategy {
        limit: 2,
        ..Default::default()
    });
    world.refused = vec![("a", "admission webhook says no")];
    let message = "one or more objects failed to apply, reason: admission webhook says no";
    world.settle();
    world.check(
        "OutOfSync",
        "Missing",
        "Running",
        &format!("{message}. Retrying attempt #1 at 1:46PM."),
    );
    assert_eq!(
        world.operation().sync_result.as_ref().unwrap().resources[0].status,
        "SyncFailed"
    );
    world.later(5);
    world.settle();
    assert_eq!(world.operation().retry_count, 2);
    world.later(10);
    world.settle();
    world.check(
        "OutOfSync",
        "Missing",
        "Failed",
        &format!("{message} (retried 2 times)."),
    );
    world.settle();
    assert_eq!(
        world.conditions(),
        [format!(
            "SyncError: Failed last sync attempt to c1: {message} (retried 2 times)."
        )]
    );
    // What was wrong in the cluster is mended: it heals by itself, without a new commit.
    world.refused.clear();
    world.later(300);
    world.settle();
    world.check("Synced", "Healthy", "Succeeded", DONE);
    assert!(world.conditions().is_empty());
}

#[test]
fn a_new_commit_pre_empts_a_failing_retry() {
    let mut world = World::automated(vec![config("a", "1")]);
    world.refused = vec![("a", "no")];
    world.settle();
    assert_eq!(world.operation().phase, "Running");
    world.desired = Ok(commit("c2", vec![config("b", "1")]));
    world.pinned = Some(Ok(commit("c1", vec![config("a", "1")])));
    world.settle();
    assert!(
        world
            .operation()
            .message
            .starts_with("superseded by commit c2: one or more objects failed"),
        "{}",
        world.operation().message
    );
    world.pinned = None;
    world.settle();
    world.did("| +b");
    world.check("Synced", "Healthy", "Succeeded", DONE);
}

#[test]
fn an_older_commit_is_not_synced_by_itself() {
    let mut world = World::automated(vec![config("a", "2")]);
    world.settle();
    world.desired = Ok(commit("c0", vec![config("a", "1")]));
    world.ancestry = Ancestry::Backward;
    world.did("+a");
    world.settle();
    world.did("");
    assert!(
        world.conditions()[0].contains("older than the commit deployed last"),
        "{:?}",
        world.conditions()
    );
}

#[test]
fn a_requested_sync_takes_the_options_of_the_application_and_names_them() {
    let mut world = World::new(
        json!({"syncOptions": ["CreateNamespace=true"], "managedNamespaceMetadata": {"labels": {"team": "x"}}}),
        vec![config("a", "1")],
    );
    world.settle();
    world.check("OutOfSync", "Missing", "", "");
    world.ask(json!({"sync": {}, "initiatedBy": {"username": "ann"}}));
    world.settle();
    world.did("+ns | +a");
    world.check("Synced", "Healthy", "Succeeded", DONE);
    assert_eq!(
        world.operation().operation.sync.as_ref().unwrap().sync_options,
        ["CreateNamespace=true"]
    );
    assert!(world.app.operation.is_none());
    assert!(
        world.events.contains(&"ann initiated sync to 'c1'".to_owned()),
        "{:?}",
        world.events
    );
    let namespace = world.live.iter().find(|(key, _)| key.kind == "Namespace").unwrap().1;
    assert_eq!(namespace.pointer("/metadata/labels/team"), Some(&json!("x")));
    assert_eq!(resource::annotation(namespace, "argocd.argoproj.io/tracking-id"), None);
    assert_eq!(
        world.state().resources.len(),
        1,
        "the namespace is not one of the application's objects"
    );
}

#[test]
fn a_requested_sync_without_prune_leaves_extras() {
    let mut world = World::new(json!({}), vec![config("a", "1"), config("b", "1")]);
    world.ask(json!({"sync": {}}));
    world.settle();
    world.did("+a +b");
    world.desired = Ok(commit("c2", vec![config("a", "1")]));
    world.ask(json!({"sync": {}}));
    world.settle();
    world.did("+a");
    world.check("OutOfSync", "Healthy", "Succeeded", DONE);
    let result = &world.operation().sync_result.as_ref().unwrap().resources;
    let skipped = result.iter().find(|entry| entry.name == "b").unwrap();
    assert_eq!(
        (skipped.status.as_str(), skipped.message.as_str()),
        ("PruneSkipped", "ignored (requires pruning)")
    );
    world.ask(json!({"sync": {"prune": true}}));
    world.settle();
    world.did("-b +a");
    world.check("Synced", "Healthy", "Succeeded", DONE);
}

#[test]
fn an_empty_source_prunes_nothing() {
    let mut world = World::automated(vec![config("a", "1")]);
    world.settle();
    world.did("+a");
    world.desired = Ok(commit("c2", vec![]));
    world.settle();
    world.did("");
    assert!(
        world.conditions()[0].contains("auto-sync will wipe out all resources"),
        "{:?}",
        world.conditions()
    );
    world.ask(json!({"sync": {"prune": true}}));
    world.settle();
    world.did("|");
    assert_eq!(world.operation().phase, "Succeeded");
    assert_eq!(
        world.operation().sync_result.as_ref().unwrap().resources[0].status,
        "PruneSkipped"
    );
}

#[test]
fn a_selective_sync_touches_only_what_it_names() {
    let mut world = World::new(
        json!({}),
        vec![
            config("a", "1"),
            config("b", "1"),
            annotated(config("hook", "1"), "hook", "PreSync"),
        ],
    );
    world.ask(json!({"sync": {"resources": [{"kind": "ConfigMap", "name": "b"}]}}));
    world.settle();
    world.did("+b");
    assert!(world.state().history.is_empty());
}

#[test]
fn a_dry_run_changes_nothing() {
    let mut world = World::new(json!({}), vec![config("a", "1")]);
    world.ask(json!({"sync": {"dryRun": true}}));
    world.settle();
    world.check("OutOfSync", "Missing", "Succeeded", DONE);
    assert!(world.live.is_empty() && world.state().history.is_empty());
}

fn job(name: &str, phase: &str) -> Value {
    let object = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {}});
    annotated(object, "hook", phase)
}

#[test]
fn hooks_run_in_their_phases_and_are_waited_for() {
    let objects = vec![
        job("before", "PreSync"),
        config("a", "1"),
        job("after", "PostSync"),
        job("sorry", "SyncFail"),
    ];
    let mut world = World::automated(objects);
    world.settle();
    world.did("+before");
    world.check(
        "OutOfSync",
        "Missing",
        "Running",
        "waiting for completion of hook batch/Job/before",
    );
    world.status(
        "before",
        json!({"conditions": [{"type": "Complete", "status": "True"}]}),
    );
    world.settle();
    world.did("+a | +after");
    world.status("after", json!({"conditions": [{"type": "Complete", "status": "True"}]}));
    world.settle();
    world.did("");
    world.check("Synced", "Healthy", "Succeeded", DONE);
    // At the next commit the old hooks make way for new ones.
    world.desired = Ok(commit("c2", vec![job("before", "PreSync"), config("a", "2")]));
    world.later(60);
    world.settle();
    world.did("-before | +before");
}

#[test]
fn a_failed_hook_fails_the_operation_and_runs_the_apology() {
    let mut world = World::new(
        json!({}),
        vec![job("before", "PreSync"), config("a", "1"), job("sorry", "SyncFail")],
    );
    world.ask(json!({"sync": {}}));
    world.settle();
    world.status(
        "before",
        json!({"conditions": [{"type": "Failed", "status": "True", "message": "boom"}]}),
    );
    world.settle();
    world.did("+before | +sorry");
    world.status("sorry", json!({"conditions": [{"type": "Complete", "status": "True"}]}));
    world.settle();
    world.check(
        "OutOfSync",
        "Missing",
        "Failed",
        "one or more synchronization tasks completed unsuccessfully, reason: boom",
    );
}

#[test]
fn a_crash_after_creating_a_hook_does_not_run_it_twice() {
    let mut world = World::automated(vec![job("before", "PreSync"), config("a", "1")]);
    let decision = world.look();
    world.app.status = Some(decision.status);
    // The process dies between creating the hook and recording it.
    drop(world.perform(decision.work));
    world.done.clear();
    world.later(3);
    world.settle();
    world.did("+before");
    assert!(!world.done.iter().any(|done| done == "-before"));
}

#[test]
fn a_crash_at_any_point_ends_in_the_same_state_and_repeats_no_hook() {
    let run = |crash: Option<(usize, Crash)>| {
        let objects = vec![
            job("before", "PreSync"),
            in_wave(deployment("web", "v1"), "0"),
            in_wave(config("last", "1"), "1"),
            job("after", "PostSync"),
        ];
        let mut world = World::automated(objects);
        world.crash = crash;
        for round in 0..6 {
            world.later(1);
            world.settle();
            for (name, done) in [("before", round >= 1), ("after", round >= 4)] {
                if done && world.live.keys().any(|key| key.name == name) {
                    world.status(name, json!({"conditions": [{"type": "Complete", "status": "True"}]}));
                }
            }
            if round >= 2 && world.live.keys().any(|key| key.name == "web") {
                world.healthy("web");
            }
        }
        world
    };
    let calm = run(None);
    calm.check("Synced", "Healthy", "Succeeded", DONE);
    for at in 0..5 {
        for crash in [Crash::BeforeWork, Crash::AfterWork] {
            let world = run(Some((at, crash)));
            world.check("Synced", "Healthy", "Succeeded", DONE);
            assert_eq!(world.state().history.len(), 1, "{at} {crash:?}");
            assert!(
                !world.done.iter().any(|done| done.starts_with('-')),
                "{at} {crash:?}: {:?}",
                world.done
            );
        }
    }
}

#[test]
fn terminating_ends_running_hooks() {
    let mut world = World::automated(vec![job("before", "PreSync"), config("a", "1")]);
    world.settle();
    world
        .app
        .status
        .as_mut()
        .unwrap()
        .operation_state
        .as_mut()
        .unwrap()
        .phase = "Terminating".into();
    world.settle();
    world.did("+before | -before");
    assert_eq!(
        (world.operation().phase.as_str(), world.operation().message.as_str()),
        ("Failed", "Operation terminated")
    );
}

#[test]
fn an_unreachable_source_keeps_the_last_status_for_a_while() {
    let mut world = World::automated(vec![deployment("web", "v1")]);
    world.settle();
    world.healthy("web");
    world.settle();
    world.check("Synced", "Healthy", "Succeeded", DONE);
    world.desired = Err(Failure {
        message: "failed to reach `https://git/r`: refused".into(),
        is_transient: true,
    });
    world.settle();
    world.check("Synced", "Healthy", "Succeeded", DONE);
    assert_eq!(
        world.conditions(),
        ["ComparisonError: failed to reach `https://git/r`: refused"]
    );
    world.edit("web", |object| {
        object["status"] = json!({"observedGeneration": 1, "updatedReplicas": 0})
    });
    world.settle();
    world.check("Synced", "Progressing", "Succeeded", DONE);
    world.later(SOURCE_ERROR_GRACE.as_secs());
    world.settle();
    world.check("Unknown", "Progressing", "Succeeded", DONE);
    assert_eq!(world.state().sync.revision, "c1");
    world.desired = Ok(commit("c1", vec![deployment("web", "v1")]));
    world.healthy("web");
    world.settle();
    world.check("Synced", "Healthy", "Succeeded", DONE);
    assert!(world.conditions().is_empty());
}

#[test]
fn a_source_that_cannot_be_read_prunes_and_applies_nothing() {
    let mut world = World::automated(vec![config("a", "1")]);
    world.settle();
    world.did("+a");
    world.desired = Err(Failure {
        message: "apps/x.yaml:3: bad".into(),
        is_transient: false,
    });
    world.settle();
    world.did("");
    assert_eq!(world.state().sync.status, "Unknown");
    assert_eq!(world.conditions(), ["ComparisonError: apps/x.yaml:3: bad"]);
}

#[test]
fn invalid_specifications_name_what_is_wrong_and_heal() {
    let mut world = World::automated(vec![config("a", "1")]);
    world.app.spec.destination.server = "https://elsewhere".into();
    world.settle();
    world.did("");
    assert_eq!(
        world.conditions(),
        [
            "InvalidSpecError: spec.destination.server: \"https://elsewhere\" is not supported yet, only \"https://kubernetes.default.svc\""
        ]
    );
    assert_eq!(
        (world.state().sync.status.as_str(), world.state().health.status.as_str()),
        ("Unknown", "Unknown")
    );
    world.app.spec.destination.server = "https://kubernetes.default.svc".into();
    world.settle();
    world.check("Synced", "Healthy", "Succeeded", DONE);
    assert!(world.conditions().is_empty());
}

#[test]
fn an_unknown_kind_is_no_valid_task() {
    let planet = json!({"apiVersion": "example.com/v1", "kind": "Planet", "metadata": {"name": "mars"}});
    let mut world = World::new(json!({}), vec![planet, config("a", "1")]);
    world.ask(json!({"sync": {}}));
    world.settle();
    world.did("");
    let message = &world.operation().message;
    assert!(message.starts_with("one or more synchronization tasks are not valid: The Kubernetes API could not find version \"v1\" of example.com/Planet"), "{message}");
}

#[test]
fn an_aborted_rollout_holds_its_commit_until_a_newer_one() {
    let rollout = |image: &str| {
        json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "metadata": {"name": "web"},
               "spec": {"template": {"spec": {"containers": [{"name": "c", "image": image}]}}}})
    };
    let phase = |world: &mut World, phase: &str, aborted: bool| {
        world.edit("web", |object| {
            let conditions = if aborted {
                json!([{"type": "Progressing", "reason": "RolloutAborted", "message": "metric failed"}])
            } else {
                json!([])
            };
            let generation = object["metadata"]["generation"].to_string();
            object["status"] = json!({"observedGeneration": generation, "phase": phase, "conditions": conditions});
        });
    };
    let mut world = World::automated(vec![rollout("v1")]);
    world.settle();
    phase(&mut world, "Healthy", false);
    world.settle();
    world.desired = Ok(commit("c2", vec![rollout("v3-bad")]));
    world.settle();
    phase(&mut world, "Degraded", true);
    world.settle();
    world.check("Synced", "Degraded", "Succeeded", DONE);
    let hold = world.state().hold.clone().unwrap();
    assert_eq!(
        (hold.revision.as_str(), hold.by.as_str(), hold.reason.as_str()),
        ("c2", "rollout ns/web", "metric failed")
    );
    assert_eq!(
        world.conditions(),
        [format!("SyncHoldWarning: {}", hold::message(&hold))]
    );
    world.did("+web | +web");
    // A person undoes the rollout; self-healing must not bring the bad version back.
    world.edit("web", |object| {
        object["spec"]["template"]["spec"]["containers"][0]["image"] = json!("v1")
    });
    phase(&mut world, "Healthy", false);
    world.later(3600);
    world.settle();
    world.did("");
    assert_eq!(world.state().sync.status, "OutOfSync");
    assert_eq!(world.state().hold.as_ref(), Some(&hold));
    // The revert is a newer commit.
    world.desired = Ok(commit("c3", vec![rollout("v1")]));
    world.settle();
    phase(&mut world, "Healthy", false);
    world.settle();
    assert_eq!(
        (world.state().hold.as_ref(), world.state().sync.status.as_str()),
        (None, "Synced")
    );
    assert!(
        world
            .events
            .iter()
            .any(|event| event == "Automation no longer holds back commit c2"),
        "{:?}",
        world.events
    );
}

#[test]
fn a_rollback_by_a_person_holds_the_newest_commit() {
    let mut world = World::automated(vec![config("a", "2")]);
    world.settle();
    world.did("+a");
    world.pinned = Some(Ok(commit("c0", vec![config("a", "1")])));
    world.ask(json!({"sync": {"revision": "c0"}, "initiatedBy": {"username": "ann"}}));
    world.settle();
    world.pinned = None;
    world.settle();
    world.did("+a");
    world.check("OutOfSync", "Healthy", "Succeeded", DONE);
    assert_eq!(world.state().hold.as_ref().unwrap().by, "user ann");
    assert_eq!(world.state().history.last().unwrap().revision, "c0");
}

#[test]
fn unknown_options_are_reported_and_change_nothing() {
    let mut world = World::new(
        json!({"automated": {}, "syncOptions": ["CreateNamspace=true"]}),
        vec![annotated(config("a", "1"), "sync-options", "Prun=false")],
    );
    world.settle();
    world.did("+a");
    assert_eq!(
        world.conditions(),
        [
            "UnknownOptionWarning: spec.syncPolicy.syncOptions has the unknown option \"CreateNamspace=true\", did you mean \"CreateNamespace=true\"?",
            "UnknownOptionWarning: /ConfigMap/ns/a: annotation argocd.argoproj.io/sync-options has the unknown option \"Prun=false\", did you mean \"Prune=false\"?",
        ]
    );
}

#[test]
fn the_status_of_a_synced_application() {
    let mut world = World::automated(vec![config("a", "1"), deployment("web", "nginx:1")]);
    world.settle();
    world.healthy("web");
    world.later(5);
    world.settle();
    insta::assert_yaml_snapshot!(world.state());
}
