//! A small model of a cluster around one Rollout, and the guarantees checked after every pass.

use crate::{
    api::{
        analysis::{AnalysisRun, AnalysisTemplate},
        experiment::Experiment,
        replica_set::ReplicaSet,
        rollout::Rollout,
        well_known,
        workload::{Workload, WorkloadKind},
    },
    plan::{Action, ObjectRef, Plan, Requeue, StatusChange},
    rollout::{
        snapshot::{Pods, Settings, Snapshot},
        workload::{Referred, resolve, scaled_down_by},
    },
    traffic::foreign::{Foreign, ForeignKind},
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::{core::v1::Service, networking::v1::Ingress};
use kube::core::DynamicObject;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Objects by kind and name.
pub(super) type Objects = BTreeMap<(String, String), Value>;

/// Reads every object of a kind.
fn all<T: serde::de::DeserializeOwned>(objects: &Objects, kind: &str) -> Vec<T> {
    let of_kind = objects.iter().filter(|((of, _), _)| of == kind);
    of_kind
        .map(|(_, object)| serde_json::from_value(object.clone()).unwrap())
        .collect()
}

/// Reads every object of another project's kind.
fn foreign(objects: &Objects) -> Vec<(ForeignKind, DynamicObject)> {
    let known = |value: &Value| {
        let group = value["apiVersion"].as_str()?.split('/').next()?;
        ForeignKind::of(group, value["kind"].as_str()?)
    };
    let objects = objects.values();
    objects
        .filter_map(|object| Some((known(object)?, serde_json::from_value(object.clone()).unwrap())))
        .collect()
}

/// The canary's weight in a canary Ingress, an HTTPRoute, a VirtualService or a canary Mapping, or in a patch of one.
fn weight_in(object: &Value) -> Option<i64> {
    let annotation = &object["metadata"]["annotations"]["nginx.ingress.kubernetes.io/canary-weight"];
    if let Some(text) = annotation.as_str() {
        return Some(text.parse().unwrap());
    }
    if let Some(weight) = object["spec"]["weight"].as_i64() {
        return Some(weight);
    }
    if let Some(routes) = object["spec"]["http"].as_array() {
        let mut entries = routes.iter().flat_map(|route| route["route"].as_array().unwrap());
        return entries.find(|entry| entry["destination"]["subset"] == "canary")?["weight"].as_i64();
    }
    let rules = object["spec"]["rules"].as_array()?;
    rules.iter().find_map(|rule| {
        let backends = rule["backendRefs"].as_array()?;
        let weight = |name: &str| backends.iter().find(|backend| backend["name"] == name)?["weight"].as_i64();
        weight("web-stable")?;
        weight("web-canary")
    })
}

/// Whether a rule of an HTTPRoute leads to the canary alone.
pub(super) fn leads_apart(object: &Value) -> bool {
    let rules = object["spec"]["rules"].as_array();
    rules.into_iter().flatten().any(|rule| {
        let backends = rule["backendRefs"].as_array();
        backends.is_some_and(|backends| backends.iter().all(|backend| backend["name"] == "web-canary"))
    })
}

pub(super) struct World {
    pub(super) objects: Objects,
    pub(super) now: Timestamp,
    pub(super) settings: Settings,
    /// Hashes whose pods never become available.
    pub(super) broken: Vec<String>,
    /// How many pods of a ReplicaSet become available at most.
    pub(super) ready_at_most: Option<i64>,
    /// Objects of other kinds than Deployments that a Rollout may refer to.
    pub(super) workloads: Vec<Value>,
    pub(super) events: Vec<(String, String)>,
    /// Weights written to the canary Ingress, in order.
    pub(super) weights: Vec<i64>,
    pub(super) passes: usize,
    version: u64,
    /// How long a write is under way after it was decided.
    pub(super) latency: SignedDuration,
    /// When the last weight was written, what it was before, and the hash it led to, for guarantee T3.
    last_weight_change: Option<(Timestamp, i64, Value)>,
}

impl World {
    pub(super) fn of(objects: &[Value]) -> Self {
        let mut world = Self {
            objects: BTreeMap::new(),
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            settings: Settings::default(),
            broken: vec![],
            ready_at_most: None,
            workloads: vec![],
            events: vec![],
            weights: vec![],
            passes: 0,
            version: 0,
            latency: SignedDuration::ZERO,
            last_weight_change: None,
        };
        for object in objects {
            world.put(object.clone());
        }
        world
    }

    pub(super) fn put(&mut self, mut object: Value) {
        self.version += 1;
        let kind = object["kind"].as_str().unwrap().to_owned();
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        object["metadata"]["namespace"] = json!("shop");
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = json!(format!("{kind}-{name}"));
        }
        if object["metadata"]["creationTimestamp"].is_null() {
            object["metadata"]["creationTimestamp"] = json!(self.now.to_string());
        }
        if kind == "Rollout" && object["metadata"]["generation"].is_null() {
            object["metadata"]["generation"] = json!(1);
        }
        self.objects.insert((kind, name), object);
    }

    pub(super) fn get(&self, kind: &str, name: &str) -> &Value {
        self.objects
            .get(&(kind.to_owned(), name.to_owned()))
            .unwrap_or_else(|| panic!("no {kind} {name}"))
    }

    /// Changes an object as a user would, by a merge patch.
    pub(super) fn patch(&mut self, kind: &str, name: &str, patch: &Value) {
        let mut object = self.get(kind, name).clone();
        json_patch::merge(&mut object, patch);
        if patch.get("spec").is_some() {
            let generation = object["metadata"]["generation"].as_i64().unwrap_or(1);
            object["metadata"]["generation"] = json!(generation + 1);
        }
        self.put(object);
    }

    pub(super) fn remove(&mut self, kind: &str, name: &str) {
        self.objects
            .remove(&(kind.to_owned(), name.to_owned()))
            .expect("the object to remove");
    }

    pub(super) fn plan(&self) -> Plan {
        self.plan_on(&self.objects)
    }

    /// A plan on a view that may lag behind the objects as they are.
    pub(super) fn plan_on(&self, view: &Objects) -> Plan {
        let rollout: Rollout = all(view, "Rollout").remove(0);
        let (sets, services, ingresses) = (
            all::<ReplicaSet>(view, "ReplicaSet"),
            all::<Service>(view, "Service"),
            all::<Ingress>(view, "Ingress"),
        );
        let foreign = foreign(view);
        let deployments = all::<Workload>(view, "Deployment");
        let others: Vec<Workload> = (self.workloads.iter())
            .map(|object| serde_json::from_value(object.clone()).unwrap())
            .collect();
        let named = rollout.spec.workload_ref.clone();
        let found = named.as_ref().and_then(|named| {
            let mut all = deployments.iter().chain(&others);
            all.find(|found| found.name() == named.name)
        });
        let referred = named.as_ref().and_then(|named| {
            Some(Referred {
                kind: WorkloadKind::of(&named.api_version, &named.kind)?,
                found,
                refusal: None,
                has_own_template: rollout.spec.template.is_some(),
            })
        });
        let rollout = match &named {
            Some(_) => resolve(&rollout, found, &sets),
            None => rollout,
        };
        let own = |workload: &&Workload| scaled_down_by(workload).as_ref() == rollout.metadata.name.as_ref();
        let experiments = all::<Experiment>(view, "Experiment");
        let (runs, templates) = (
            all::<AnalysisRun>(view, "AnalysisRun"),
            all::<AnalysisTemplate>(view, "AnalysisTemplate"),
        );
        crate::rollout::plan(&Snapshot {
            rollout: &rollout,
            referred,
            scaled_down: deployments.iter().filter(own).collect(),
            replica_sets: sets.iter().collect(),
            services: services.iter().collect(),
            ingresses: ingresses.iter().collect(),
            foreign: foreign
                .iter()
                .map(|(kind, object)| Foreign { kind: *kind, object })
                .collect(),
            unserved: &[],
            served: &[],
            analysis_runs: runs.iter().collect(),
            experiments: experiments.iter().collect(),
            analysis_templates: templates.iter().collect(),
            cluster_analysis_templates: vec![],
            pods: Pods::Unlisted,
            settings: &self.settings,
            now: self.now,
        })
    }

    /// One pass: plan, carry out at most `limit` writes, let pods follow. Returns the plan.
    pub(super) fn pass_with(&mut self, limit: usize) -> Plan {
        self.passes += 1;
        let plan = self.plan();
        let mut left = limit;
        for action in plan.stages.iter().flat_map(|stage| &stage.0) {
            if left == 0 {
                break;
            }
            left -= 1;
            self.now += self.latency;
            self.check_before(action);
            self.carry_out(action);
        }
        if left > 0 {
            if let StatusChange::Merge { target, patch, .. } = &plan.status {
                let mut object = self.get(&target.kind, &target.name).clone();
                json_patch::merge(&mut object, patch);
                self.put(object);
            }
            self.events.extend(
                plan.events
                    .iter()
                    .map(|event| (event.reason.clone(), event.message.clone())),
            );
        }
        self.pods_follow();
        self.check_after();
        plan
    }

    pub(super) fn pass(&mut self) -> Plan {
        self.pass_with(usize::MAX)
    }

    /// Whether the API server would refuse a write for the version it was decided on.
    pub(super) fn refuses(&self, action: &Action) -> bool {
        let target = action.target();
        let live = self.objects.get(&(target.kind, target.name));
        let wanted = match action {
            Action::Create { .. } => return false,
            Action::Apply { precondition, .. } | Action::Merge { precondition, .. } => precondition.clone(),
            Action::Delete { precondition, .. } => Some(precondition.clone()),
        };
        let (Some(live), Some(wanted)) = (live, &wanted) else {
            return live.is_none() && wanted.is_some() && !matches!(action, Action::Delete { .. });
        };
        let differs = |field: &str, wanted: &Option<String>| {
            wanted
                .as_ref()
                .is_some_and(|wanted| live["metadata"][field] != json!(wanted))
        };
        differs("uid", &wanted.uid) || differs("resourceVersion", &wanted.resource_version)
    }

    pub(super) fn carry_out(&mut self, action: &Action) {
        match action {
            Action::Create { object } => {
                let target = ObjectRef::of(object);
                if !self.objects.contains_key(&(target.kind, target.name)) {
                    if let Some(weight) = weight_in(object).filter(|weight| *weight != 0) {
                        self.weights.push(weight);
                        self.last_weight_change = Some((self.now, 0, self.selected("web-canary")));
                    }
                    self.put(object.clone());
                }
            }
            Action::Apply { target, fields, .. }
            | Action::Merge {
                target, patch: fields, ..
            } => {
                let key = (target.kind.clone(), target.name.clone());
                let mut object = self.objects.get(&key).cloned().unwrap_or_else(|| {
                    json!({"apiVersion": target.api_version, "kind": target.kind, "metadata": {"name": target.name}})
                });
                let before = weight_in(&object).unwrap_or(0);
                json_patch::merge(&mut object, fields);
                if target.kind == "Deployment" && fields.get("spec").is_some() {
                    let generation = object["metadata"]["generation"].as_i64().unwrap_or(0);
                    object["metadata"]["generation"] = json!(generation + 1);
                }
                if let Some(weight) = weight_in(&object).filter(|weight| *weight != before) {
                    self.weights.push(weight);
                    self.last_weight_change = Some((self.now, before, self.selected("web-canary")));
                }
                self.put(object);
            }
            Action::Delete { target, .. } => {
                self.objects.remove(&(target.kind.clone(), target.name.clone()));
            }
        }
    }

    /// The ReplicaSet and Deployment controllers and kubelet: every wanted pod is there and, unless broken, available.
    fn pods_follow(&mut self) {
        let names: Vec<String> = self
            .objects
            .keys()
            .filter(|(kind, _)| kind == "ReplicaSet")
            .map(|(_, name)| name.clone())
            .collect();
        for name in names {
            let mut set = self.get("ReplicaSet", &name).clone();
            let replicas = set["spec"]["replicas"].as_i64().unwrap_or(1);
            let hash = set["metadata"]["labels"][well_known::POD_TEMPLATE_HASH]
                .as_str()
                .unwrap_or_default();
            let available = if self.broken.iter().any(|broken| broken == hash) {
                0
            } else {
                replicas.min(self.ready_at_most.unwrap_or(replicas))
            };
            let status = json!({"replicas": replicas, "readyReplicas": available, "availableReplicas": available});
            if set["status"] != status {
                set["status"] = status;
                self.put(set);
            }
        }
        if let Some(deployment) = self.objects.get(&("Deployment".to_owned(), "web".to_owned())) {
            let mut deployment = deployment.clone();
            let status = json!({"availableReplicas": deployment["spec"]["replicas"],
                "observedGeneration": deployment["metadata"]["generation"]});
            if deployment["status"] != status {
                deployment["status"] = status;
                self.put(deployment);
            }
        }
    }

    pub(super) fn set_replicas(&self, hash: &str) -> i64 {
        let sets = self
            .objects
            .iter()
            .filter(|((kind, _), _)| kind == "ReplicaSet")
            .map(|(_, set)| set);
        let with = sets.filter(|set| set["metadata"]["labels"][well_known::POD_TEMPLATE_HASH] == hash);
        with.map(|set| set["spec"]["replicas"].as_i64().unwrap()).sum()
    }

    pub(super) fn weight(&self) -> i64 {
        let routers = [
            ("Ingress", "web-web-canary"),
            ("HTTPRoute", "web"),
            ("VirtualService", "web"),
            ("Mapping", "web-canary"),
        ];
        let objects = routers.map(|(kind, name)| self.objects.get(&(kind.to_owned(), name.to_owned())));
        let weights = objects.into_iter().flatten().filter_map(weight_in);
        weights.max().unwrap_or(0)
    }

    /// When a canary Ingress was last given another weight.
    pub(super) fn reweighted_at(&self) -> Timestamp {
        self.last_weight_change.as_ref().unwrap().0
    }

    /// The hash that a Service leads to, or the subset of a DestinationRule in its place.
    pub(super) fn selected(&self, name: &str) -> Value {
        let service = self.objects.get(&("Service".to_owned(), name.to_owned()));
        if let Some(service) = service {
            return service["spec"]["selector"][well_known::POD_TEMPLATE_HASH].clone();
        }
        let rule = self.objects.get(&("DestinationRule".to_owned(), "web".to_owned()));
        let subsets = rule
            .and_then(|rule| rule["spec"]["subsets"].as_array())
            .into_iter()
            .flatten();
        let mut named = subsets.filter(|subset| Some(subset["name"].as_str().unwrap()) == name.strip_prefix("web-"));
        named.next().map_or(Value::Null, |subset| {
            subset["labels"][well_known::POD_TEMPLATE_HASH].clone()
        })
    }

    pub(super) fn status(&self) -> &Value {
        let (_, rollout) = self.objects.iter().find(|((kind, _), _)| kind == "Rollout").unwrap();
        &rollout["status"]
    }

    /// T2 and T3, judged on the state before each write.
    fn check_before(&self, action: &Action) {
        let (Action::Apply { target, fields, .. }
        | Action::Merge {
            target, patch: fields, ..
        }) = action
        else {
            return;
        };
        if matches!(
            target.kind.as_str(),
            "Ingress" | "HTTPRoute" | "VirtualService" | "Mapping"
        ) {
            // Ping-pong Services are judged by their own stories.
            let weight = weight_in(fields).unwrap_or(0);
            if weight > self.weight() || leads_apart(fields) {
                let selected = self.selected("web-canary");
                let sets = self
                    .objects
                    .iter()
                    .filter(|((kind, _), _)| kind == "ReplicaSet")
                    .map(|(_, set)| set);
                let available: i64 = sets
                    .filter(|set| set["metadata"]["labels"][well_known::POD_TEMPLATE_HASH] == selected)
                    .map(|set| set["status"]["availableReplicas"].as_i64().unwrap_or(0))
                    .sum();
                assert!(
                    available > 0,
                    "T2: weight {weight} for {selected} without an available pod"
                );
            }
        }
        let spec = &self.objects.iter().find(|((kind, _), _)| kind == "Rollout").unwrap().1["spec"];
        // A single pod without a surge is replaced with a gap.
        let canary = &spec["strategy"]["canary"];
        let has_gap = spec["replicas"] == 1 && canary["maxSurge"] == 0 && canary["trafficRouting"].is_null();
        let wants_pods = spec["replicas"] != 0 && !has_gap;
        let is_routed = ["Ingress", "HTTPRoute", "VirtualService", "Mapping"]
            .iter()
            .any(|kind| self.objects.contains_key(&((*kind).into(), "web".into())));
        if target.kind == "ReplicaSet" && wants_pods && is_routed {
            let set = self.get("ReplicaSet", &target.name);
            let hash = &set["metadata"]["labels"][well_known::POD_TEMPLATE_HASH];
            let before = set["spec"]["replicas"].as_i64().unwrap_or(0);
            let after = fields["spec"]["replicas"].as_i64().unwrap_or(before);
            let answers = set["status"]["availableReplicas"].as_i64().unwrap_or(0) > 0;
            if before > 0 && after == 0 && answers {
                // A preview may lead to nobody.
                let previews = !spec["strategy"]["blueGreen"].is_null();
                for service in if previews {
                    vec!["web-stable"]
                } else {
                    vec!["web-stable", "web-canary"]
                } {
                    let steps = spec["strategy"]["canary"]["steps"].to_string();
                    let wants_none = steps.contains(r#""setWeight":0"#) || steps.contains(r#"{"replicas":0}"#);
                    if service == "web-canary" && wants_none {
                        // A user's `setWeight: 0` means no pods; the check below sees to the drain.
                        continue;
                    }
                    assert_ne!(
                        self.selected(service),
                        *hash,
                        "T3: {} goes to zero while {service} selects it",
                        target.name
                    );
                }
                let left = self.last_weight_change.as_ref();
                if let Some((changed, ..)) = left.filter(|(_, before, to)| *before > 0 && to == hash) {
                    let waited = self.now.duration_since(*changed).as_secs();
                    let drain = i64::from(self.settings.drain_seconds);
                    assert!(
                        waited >= drain,
                        "T3: {} goes to zero {waited} s after a weight change",
                        target.name
                    );
                }
            }
        }
    }

    fn check_after(&self) {
        let status = self.status();
        if let Some(weights) = status["canary"].get("weights") {
            let sum = weights["canary"]["weight"].as_i64().unwrap() + weights["stable"]["weight"].as_i64().unwrap();
            assert_eq!(sum, 100, "T1: weights add up");
        }
        if status["phase"] == "Progressing" {
            assert!(
                !status["message"].as_str().unwrap_or_default().is_empty(),
                "D6: a message"
            );
        }
    }

    /// Passes until nothing is written and no time is waited for, jumping to each wake-up; bounded.
    pub(super) fn settle(&mut self) {
        self.run_until("nothing more to do", |_, plan| {
            plan.writes_nothing() && plan.requeue == Requeue::AwaitChange
        });
    }

    /// Passes until `done`, jumping to wake-ups when nothing else happens.
    pub(super) fn run_until(&mut self, what: &str, done: impl Fn(&Self, &Plan) -> bool) {
        let mut seen = Vec::new();
        for _ in 0..200 {
            let plan = self.pass();
            seen.push(plan.clone());
            if done(self, &plan) {
                return;
            }
            if plan.writes_nothing() {
                match plan.requeue {
                    Requeue::At(at) => self.now = at.max(self.now + SignedDuration::from_millis(100)),
                    Requeue::AwaitChange => panic!("stuck before {what}: {:#}\n{plan:#?}", self.status()),
                }
            }
        }
        panic!("never {what}: {:#}\nlast {:#?}", self.status(), seen.last());
    }

    pub(super) fn wait(&mut self, seconds: i64) {
        self.now += SignedDuration::from_secs(seconds);
    }

    pub(super) fn reasons(&self) -> Vec<&str> {
        self.events.iter().map(|(reason, _)| reason.as_str()).collect()
    }
}
