//! One random life of an Application. A plain value: equal seeds give equal cases.

use super::{
    content::{Content, DESTINATION, FOLDER},
    deeds::{self, Event},
};
use crate::faults::{Fault, Flaw};
use serde_json::{Value, json};
use tidegate::{
    api,
    sim::{
        api::kinds::{Key, Kind},
        dice::Dice,
        replica::NAMESPACE,
    },
};

/// Name of the Application and its project.
pub const NAME: &str = "shop";
/// Address of its repository.
pub const REPOSITORY: &str = "https://git.example.com/shop.git";

/// A random life.
#[derive(Clone, Debug)]
pub struct SyncCase {
    /// Fixes what is left to chance within it.
    pub seed: u64,
    /// `spec.syncPolicy`.
    pub policy: Value,
    /// What the source is at first.
    pub content: Content,
    /// Replicas of the controllers; more than one of them elect a leader.
    pub controllers: usize,
    /// Time from the death of a replica to its start. In milliseconds.
    pub restart_millis: u64,
    /// What goes wrong with requests and watches.
    pub faults: Vec<Fault>,
    /// What people and the surroundings do.
    pub events: Vec<Event>,
}

impl SyncCase {
    /// The case of a seed.
    pub fn of(seed: u64) -> Self {
        let dice = Dice::new(seed).fork("sync");
        let mut shape = dice.fork("shape");
        let mut policy = deeds::policy(&mut shape);
        policy["retry"] =
            json!({"limit": shape.below(4), "backoff": {"duration": "5s", "factor": 2, "maxDuration": "20s"}});
        let content = Content::first(&mut shape);
        if shape.chance(20) {
            policy["retry"]["refresh"] = json!(true);
        }
        let options = [
            "ApplyOutOfSyncOnly=true",
            "PruneLast=true",
            "RespectIgnoreDifferences=true",
        ];
        if shape.chance(30) {
            policy["syncOptions"] = json!([shape.pick(&options)]);
        }
        let mut faults = dice.fork("faults");
        let controllers = if faults.chance(15) { 2 } else { 1 };
        let mut flaws = Flaw::some(controllers, &mut faults);
        for fault in &mut flaws {
            // The kinds that matter here.
            if let Flaw::Lag(kind, _) = &mut fault.flaw {
                let kinds = [
                    Kind::Application,
                    Kind::ConfigMap,
                    Kind::Deployment,
                    Kind::Rollout,
                    Kind::Service,
                ];
                *kind = faults.pick(&kinds).copied().unwrap_or(Kind::Application);
            }
        }
        Self {
            seed,
            policy,
            content,
            controllers,
            restart_millis: 500 + faults.below(6_000),
            faults: flaws,
            events: deeds::some(controllers, &mut dice.fork("deeds")),
        }
    }

    /// Key of the Application.
    pub fn key() -> Key {
        Key::new(Kind::Application, NAMESPACE, NAME)
    }

    /// The Application.
    pub fn application(&self) -> Value {
        let mut policy = self.policy.clone();
        if policy["automated"].is_null()
            && let Some(fields) = policy.as_object_mut()
        {
            fields.remove("automated");
        }
        json!({
            "apiVersion": api::API_VERSION, "kind": "Application",
            "metadata": {"name": NAME, "namespace": NAMESPACE},
            "spec": {
                "project": NAME,
                "source": {"repoURL": REPOSITORY, "path": FOLDER, "targetRevision": "main"},
                "destination": {"server": "https://kubernetes.default.svc", "namespace": DESTINATION},
                "syncPolicy": policy,
            },
        })
    }

    /// Key of its project.
    pub fn project_key() -> Key {
        Key::new(Kind::AppProject, NAMESPACE, NAME)
    }

    /// Its project.
    pub fn project() -> Value {
        json!({
            "apiVersion": api::API_VERSION, "kind": "AppProject",
            "metadata": {"name": NAME, "namespace": NAMESPACE},
            "spec": {
                "sourceRepos": ["*"],
                "destinations": [{"server": "*", "namespace": DESTINATION}],
                "namespaceResourceBlacklist": [],
            },
        })
    }

    /// How much there is in it, for those who make it smaller.
    pub fn size(&self) -> usize {
        self.faults.len() + self.events.len() + self.content.objects.len() + self.controllers
    }

    /// The case in a few lines.
    pub fn page(&self) -> String {
        use std::fmt::Write as _;
        let mut text = String::new();
        let _ = writeln!(
            text,
            "Application, {} controller(s), seed {}, policy {}",
            self.controllers, self.seed, self.policy
        );
        let names: Vec<&str> = self.content.objects.keys().map(String::as_str).collect();
        let _ = writeln!(text, "source at first: {}", names.join(" "));
        for fault in &self.faults {
            let (from, to) = (fault.from as f64 / 1000.0, fault.to as f64 / 1000.0);
            let _ = writeln!(text, "  from {from:.1}s to {to:.1}s: {}", fault.flaw);
        }
        for event in &self.events {
            let lasts = event.lasts as f64 / 1000.0;
            let _ = writeln!(
                text,
                "  at {:.3}s ({lasts:.1}s): {}",
                event.at as f64 / 1000.0,
                event.deed
            );
        }
        text
    }
}
