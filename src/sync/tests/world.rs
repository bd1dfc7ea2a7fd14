//! Whole applications against a cluster of a few lines: what [`plan`] wants is done, and planned again, until it rests.

pub(super) use crate::sync::*;
use crate::sync::{
    kinds::KindFacts,
    resource::is_deleting,
    work::{Deed, Report, Work},
};
pub(super) use serde_json::json;

pub(super) struct World {
    pub(super) app: Application,
    pub(super) desired: Result<Desired, Failure>,
    pub(super) pinned: Option<Result<Desired, Failure>>,
    pub(super) live: LiveObjects,
    pub(super) kinds: Kinds,
    pub(super) ancestry: Ancestry,
    pub(super) limits: WaitLimits,
    /// Rules of the application's project; everything is permitted without.
    pub(super) project: Option<crate::api::app_project::AppProjectSpec>,
    pub(super) now: Timestamp,
    /// Names of objects the cluster refuses, with its words.
    pub(super) refused: Vec<(&'static str, &'static str)>,
    /// `+name` and `-name`, in the order done; `|` between steps.
    pub(super) done: Vec<String>,
    /// Names of objects that a finalizer keeps.
    pub(super) sticky: Vec<&'static str>,
    /// Hooks that were let go.
    pub(super) released: Vec<String>,
    pub(super) writes: usize,
    pub(super) events: Vec<String>,
    pub(super) version: u64,
    /// The status as the API server has it.
    pub(super) saved: Option<ApplicationStatus>,
    /// Works until the process dies: before doing the next one, or after it but before recording it.
    pub(super) crash: Option<(usize, Crash)>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Crash {
    BeforeWork,
    AfterWork,
}

pub(super) fn kinds() -> Kinds {
    let mut kinds = Kinds::default();
    for (group, kind, is_namespaced) in [
        ("", "ConfigMap", true),
        ("", "Namespace", false),
        ("", "Service", true),
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

pub(super) fn config(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": value}})
}

pub(super) fn annotated(mut object: Value, key: &str, value: &str) -> Value {
    object["metadata"]["annotations"][format!("argocd.argoproj.io/{key}")] = json!(value);
    object
}

pub(super) fn in_wave(object: Value, wave: &str) -> Value {
    annotated(object, "sync-wave", wave)
}

pub(super) fn deployment(name: &str, image: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
           "spec": {"replicas": 1, "template": {"spec": {"containers": [{"name": "c", "image": image}]}}}})
}

pub(super) fn commit(revision: &str, objects: Vec<Value>) -> Desired {
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
    pub(super) fn new(policy: Value, objects: Vec<Value>) -> Self {
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
            limits: WaitLimits::default(),
            project: None,
            now: Timestamp::from_second(1_000_000).unwrap(),
            refused: vec![],
            done: vec![],
            sticky: vec![],
            released: vec![],
            writes: 0,
            events: vec![],
            version: 0,
            saved: None,
            crash: None,
        }
    }

    pub(super) fn automated(objects: Vec<Value>) -> Self {
        Self::new(json!({"automated": {"prune": true, "selfHeal": true}}), objects)
    }

    /// Plans and does what is wanted until nothing is left to do now; returns when to look again.
    pub(super) fn settle(&mut self) -> Requeue {
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
    pub(super) fn restart(&mut self) {
        self.crash = None;
        self.app.status.clone_from(&self.saved);
    }

    pub(super) fn look(&self) -> Decision {
        let mut dry_runs = DryRuns::new();
        for _ in 0..3 {
            let snapshot = Snapshot {
                app: &self.app,
                control_plane_namespace: "argocd",
                desired: self.desired.as_ref(),
                pinned: self.pinned.as_ref().map(Result::as_ref),
                live: &self.live,
                kinds: &self.kinds,
                project: match &self.project {
                    Some(spec) => Project::Limited { name: "team", spec },
                    None => Project::Everything,
                },
                dry_runs: &dry_runs,
                ancestry: self.ancestry,
                since_hold: self.ancestry,
                limits: self.limits,
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

    pub(super) fn perform(&mut self, batches: Batches) -> Vec<Report> {
        let mut reports: Vec<Report> = Vec::new();
        let only_releases = batches.iter().flatten().all(|work| work.deed == Deed::Release);
        for batch in batches {
            for work in batch {
                let outcome = self.perform_one(&work);
                reports.push(Report { work, outcome });
            }
            if reports.iter().any(|report| report.outcome.is_err()) {
                break;
            }
        }
        if !only_releases {
            self.done.push("|".into());
        }
        reports
    }

    pub(super) fn perform_one(&mut self, work: &Work) -> Result<String, String> {
        if let Some((_, why)) = self.refused.iter().find(|(name, _)| *name == work.key.name) {
            return Err((*why).to_owned());
        }
        match &work.deed {
            Deed::Note { message, .. } => Ok(message.clone()),
            Deed::Try { .. } => Ok("tried".into()),
            Deed::Release => {
                self.edit(&work.key.name, |object| object["metadata"]["finalizers"] = json!([]));
                self.live.retain(|key, object| *key != work.key || !is_deleting(object));
                self.released.push(work.key.name.clone());
                Ok("released".into())
            }
            Deed::Delete { .. } => {
                self.done.push(format!("-{}", work.key.name));
                if self.sticky.contains(&work.key.name.as_str()) {
                    self.edit(&work.key.name, |object| {
                        object["metadata"]["deletionTimestamp"] = json!("1970-01-12T13:46:40Z");
                        object["metadata"]["finalizers"] = json!(["example.com/keep"]);
                    });
                } else {
                    self.live.remove(&work.key);
                }
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
    pub(super) fn put(&mut self, mut object: Value) {
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

    pub(super) fn edit(&mut self, name: &str, change: impl FnOnce(&mut Value)) {
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

    pub(super) fn status(&mut self, name: &str, status: Value) {
        self.edit(name, |object| object["status"] = status);
    }

    pub(super) fn healthy(&mut self, name: &str) {
        self.edit(name, |object| {
            let generation = object["metadata"]["generation"].clone();
            object["status"] =
                json!({"observedGeneration": generation, "updatedReplicas": 1, "replicas": 1, "availableReplicas": 1});
        });
    }

    pub(super) fn later(&mut self, seconds: i64) {
        self.now = self.now.saturating_add(SignedDuration::from_secs(seconds)).unwrap();
    }

    pub(super) fn ask(&mut self, operation: Value) {
        self.app.operation = Some(serde_json::from_value(operation).unwrap());
    }

    pub(super) fn state(&self) -> &ApplicationStatus {
        self.app.status.as_ref().unwrap()
    }

    pub(super) fn operation(&self) -> &OperationState {
        self.state().operation_state.as_ref().expect("an operation")
    }

    #[track_caller]
    pub(super) fn check(&self, sync: &str, health: &str, phase: &str, message: &str) {
        let state = self.state();
        let operation = state.operation_state.as_ref();
        assert_eq!(
            (
                state.sync.status.as_str(),
                state.health.status.as_str(),
                operation.map_or("", |state| state.phase.as_str()),
                operation.map_or("", |state| {
                    state.message.split(" (since").next().unwrap_or_default()
                })
            ),
            (sync, health, phase, message),
            "{}",
            serde_json::to_string_pretty(state).unwrap()
        );
    }

    #[track_caller]
    pub(super) fn did(&mut self, expected: &str) {
        let done = std::mem::take(&mut self.done).join(" ");
        assert_eq!(done.strip_suffix(" |").unwrap_or(&done), expected);
    }

    pub(super) fn conditions(&self) -> Vec<String> {
        self.state()
            .conditions
            .iter()
            .map(|condition| format!("{}: {}", condition.r#type, condition.message))
            .collect()
    }
}

pub(super) fn fields(object: &Value) -> Value {
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

pub(super) fn job(name: &str, phase: &str) -> Value {
    let object = json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {}});
    annotated(object, "hook", phase)
}

pub(super) const DONE: &str = "successfully synced (all tasks run)";
