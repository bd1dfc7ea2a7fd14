//! A bench for routers: objects as text, a Rollout with its routing, and hands that carry out edits.

use super::{
    Objects, Router, Routing, Seen, Wanted, Weights,
    foreign::{Foreign, ForeignKind},
    release,
    routes::routes_at,
};
use crate::{
    api::rollout::Rollout,
    plan::{Action, ObjectRef, Precondition},
};
use k8s_openapi::api::networking::v1::Ingress;
use kube::core::DynamicObject;
use serde_json::{Value, json};

/// What is asked of a router.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ask {
    /// The canary's weight of 100.
    pub(super) canary: i32,
    /// The step whose header and mirror routes are wanted; absent: those that are there stay.
    pub(super) index: Option<usize>,
    /// Hashes of the canary and the stable version.
    pub(super) hashes: Option<(&'static str, &'static str)>,
    /// Whether the data plane follows.
    pub(super) quiet: bool,
}

pub(super) struct Bench {
    rollout: Rollout,
    objects: Vec<Value>,
}

pub(super) fn weight(canary: i32) -> Ask {
    Ask {
        canary,
        ..Ask::default()
    }
}

impl Bench {
    /// The Rollout `shop/web` with two Services, `canary` and `stable`.
    pub(super) fn of(routing: Value, steps: Value, objects: &[Value]) -> Self {
        let mut routing = routing;
        routing["managedRoutes"] = json!([{"name": "by-header"}, {"name": "copy"}]);
        let rollout = json!({
            "metadata": {"name": "web", "namespace": "shop", "uid": "r"},
            "spec": {"strategy": {"canary": {
                "canaryService": "canary", "stableService": "stable", "trafficRouting": routing, "steps": steps,
            }}},
        });
        let mut bench = Self {
            rollout: serde_json::from_value(rollout).unwrap(),
            objects: Vec::new(),
        };
        objects.iter().for_each(|object| bench.put(object.clone()));
        bench
    }

    pub(super) fn put(&mut self, mut object: Value) {
        let wanted = ObjectRef::of(&object);
        object["metadata"]["namespace"] = json!("shop");
        let before = self.position(&wanted.kind, &wanted.name);
        let version = before.map_or(0, |at| self.version(at)) + 1;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        object["metadata"]["uid"] = json!(format!("{}-{}", wanted.kind, wanted.name));
        match before {
            Some(at) => self.objects[at] = object,
            None => self.objects.push(object),
        }
    }

    fn position(&self, kind: &str, name: &str) -> Option<usize> {
        let mut objects = self.objects.iter();
        objects.position(|object| object["kind"] == kind && object["metadata"]["name"] == name)
    }

    fn version(&self, at: usize) -> i32 {
        let version = self.objects[at]["metadata"]["resourceVersion"].as_str().unwrap();
        version.parse().unwrap()
    }

    pub(super) fn find(&self, kind: &str, name: &str) -> Option<&Value> {
        self.position(kind, name).map(|at| &self.objects[at])
    }

    /// An object without the metadata that the server keeps.
    pub(super) fn get(&self, kind: &str, name: &str) -> Value {
        let mut object = self
            .find(kind, name)
            .unwrap_or_else(|| panic!("no {kind} {name}"))
            .clone();
        let metadata = object["metadata"].as_object_mut().unwrap();
        for field in ["resourceVersion", "uid", "namespace"] {
            metadata.remove(field);
        }
        object
    }

    /// Changes an object as somebody else would.
    pub(super) fn patch(&mut self, kind: &str, name: &str, patch: Value) {
        let mut object = self.find(kind, name).unwrap().clone();
        json_patch::merge(&mut object, &patch);
        self.put(object);
    }

    pub(super) fn remove(&mut self, kind: &str, name: &str) {
        let at = self.position(kind, name).unwrap();
        self.objects.remove(at);
    }

    fn with<T>(&self, ask: Ask, done: impl FnOnce(&Router<'_>, &Wanted<'_>, Objects<'_>) -> T) -> T {
        let canary = self.rollout.spec.strategy.canary.as_ref().unwrap();
        let router = Router::all(canary.traffic_routing.as_ref().unwrap()).remove(0);
        let routes = ask.index.map(|index| routes_at(canary, index));
        let ingresses: Vec<Ingress> = (self.objects.iter().filter(|object| object["kind"] == "Ingress"))
            .map(|object| serde_json::from_value(object.clone()).unwrap())
            .collect();
        let kind = |object: &Value| {
            let group = object["apiVersion"].as_str()?.split('/').next()?;
            ForeignKind::of(group, object["kind"].as_str()?)
        };
        let foreign: Vec<(ForeignKind, DynamicObject)> = (self.objects.iter())
            .filter_map(|object| Some((kind(object)?, serde_json::from_value(object.clone()).unwrap())))
            .collect();
        // What it refers to is all that it sees.
        let references = router.references(&self.rollout);
        let is_referred = |kind: ForeignKind, object: &DynamicObject| {
            let mut references = references.iter();
            references.any(|(of, namespace, name)| {
                *of == kind
                    && object.metadata.namespace.as_ref() == Some(namespace)
                    && (name.is_empty() || object.metadata.name.as_ref() == Some(name))
            })
        };
        let foreign: Vec<Foreign<'_>> = (foreign.iter())
            .filter(|(kind, object)| is_referred(*kind, object))
            .map(|(kind, object)| Foreign { kind: *kind, object })
            .collect();
        let wanted = Wanted {
            rollout: &self.rollout,
            stable_service: &canary.stable_service,
            canary_service: &canary.canary_service,
            weights: Weights {
                canary: ask.canary,
                total: 100,
            },
            routes: routes.as_deref(),
            stable_hash: ask.hashes.map(|(_, stable)| stable),
            canary_hash: ask.hashes.map(|(canary, _)| canary),
            quiet: ask.quiet,
        };
        let objects = Objects {
            ingresses: &ingresses.iter().collect::<Vec<_>>(),
            foreign: &foreign,
            served: &[],
        };
        done(&router, &wanted, objects)
    }

    pub(super) fn seen(&self) -> Seen {
        self.with(Ask::default(), |router, wanted, objects| router.seen(wanted, objects))
    }

    pub(super) fn routed(&self, ask: Ask) -> Routing {
        self.with(ask, |router, wanted, objects| router.route(wanted, objects))
    }

    /// The edits once the Rollout is gone.
    pub(super) fn released(&self) -> Vec<Action> {
        self.with(Ask::default(), |_, _, objects| {
            release::releases("web", objects.ingresses, objects.foreign)
        })
    }

    pub(super) fn problems(&self, ask: Ask) -> Vec<String> {
        self.routed(ask).problems
    }

    /// Carries out what is asked for. Afterwards nothing is left to do.
    #[track_caller]
    pub(super) fn make(&mut self, ask: Ask) -> Routing {
        let routing = self.routed(ask);
        assert_eq!(routing.problems, Vec::<String>::new());
        self.carry_out(&routing.edits);
        let again = self.routed(ask);
        assert_eq!(again.edits, [], "an edit that was carried out leaves nothing to do");
        assert!(again.written && !again.reweighted);
        assert_eq!(again.observed, ask.canary, "what was written is what is seen");
        assert!(self.seen().everywhere);
        routing
    }

    #[track_caller]
    pub(super) fn carry_out(&mut self, edits: &[Action]) {
        for edit in edits {
            let target = edit.target();
            assert_eq!(target.namespace.as_deref(), Some("shop"));
            match edit {
                Action::Create { object } => {
                    assert!(self.find(&target.kind, &target.name).is_none(), "{target} is there");
                    self.put(object.clone());
                }
                Action::Merge {
                    patch, precondition, ..
                } => {
                    self.check_version(&target, precondition.as_ref().unwrap());
                    self.patch(&target.kind, &target.name, patch.clone());
                }
                Action::Delete { precondition, .. } => {
                    self.check_version(&target, precondition);
                    self.remove(&target.kind, &target.name);
                }
                Action::Apply { .. } => panic!("lists are atomic to the server: {edit:?}"),
            }
        }
    }

    #[track_caller]
    fn check_version(&self, target: &ObjectRef, precondition: &Precondition) {
        let live = &self.find(&target.kind, &target.name).unwrap()["metadata"];
        assert_eq!(
            live["resourceVersion"].as_str(),
            precondition.resource_version.as_deref()
        );
        assert_eq!(live["uid"].as_str(), precondition.uid.as_deref());
    }
}

/// Steps with a header route, an end of it, and a mirror.
pub(super) fn steps() -> Value {
    json!([
        {"setHeaderRoute": {"name": "by-header", "match": [{"headerName": "x-canary", "headerValue": {"exact": "yes"}}]}},
        {"setHeaderRoute": {"name": "by-header"}},
        {"setMirrorRoute": {"name": "copy", "percentage": 35, "match": [
            {"method": {"exact": "GET"}, "path": {"prefix": "/"}}]}},
    ])
}
