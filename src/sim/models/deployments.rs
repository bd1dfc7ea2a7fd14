//! The Deployment controller, without ReplicaSets and pods: its status follows the specification after a while, and says
//! truthfully which generation it is about.

use super::{Model, accepted, behaviour::Behaviour, is_going, later, number, sooner, stamp, text};
use crate::json::At as _;
use crate::sim::{
    api::{
        Change, SimApi,
        kinds::{Key, Kind},
    },
    dice::{Dice, Range},
};
use jiff::Timestamp;
use serde_json::{Value, json};
use std::{collections::BTreeMap, sync::Arc, time::Duration};

/// From a change of the specification until the status says that it was seen; meanwhile it is about the one before.
const OBSERVED: Range = Range::millis(50, 2_500);
/// From then on until all pods of a new template are available; what the image takes is added.
const AVAILABLE: Range = Range::millis(500, 6_000);
/// After this a template whose pods never become ready is given up.
const DEADLINE: Duration = Duration::from_secs(25);

/// The model.
#[derive(Debug)]
pub struct Deployments {
    dice: Dice,
    /// By uid.
    known: BTreeMap<String, Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    generation: i64,
    /// When the present generation is noticed.
    observed_at: Option<Timestamp>,
    /// When its pods are available, or given up.
    ends_at: Option<Timestamp>,
    /// The last pod template that became available.
    template: Value,
}

impl Deployments {
    /// A controller with a stream of chance of its own.
    pub fn new(dice: &Dice) -> Self {
        Self {
            dice: dice.fork("deployment-times"),
            known: BTreeMap::new(),
        }
    }

    fn look(&mut self, api: &SimApi, deployment: &Value, now: Timestamp) -> Option<Timestamp> {
        let generation = number(deployment, "/metadata/generation").unwrap_or(0);
        let progress = self
            .known
            .entry(text(deployment, "/metadata/uid").to_owned())
            .or_default();
        if progress.generation != generation {
            progress.generation = generation;
            progress.observed_at = Some(later(now, self.dice.within(OBSERVED)));
            progress.ends_at = None;
        }
        let template = deployment.at("/spec/template").unwrap_or(&Value::Null);
        let image = text(deployment, "/spec/template/spec/containers/0/image");
        let behaviour = Behaviour::of_image(image);
        let is_new = progress.template != *template;
        if let Some(at) = progress.observed_at {
            if now < at {
                return Some(at);
            }
            progress.observed_at = None;
            if is_new {
                let takes = self.dice.within(AVAILABLE) + behaviour.ready_after;
                progress.ends_at = Some(later(now, if behaviour.crashes { DEADLINE } else { takes }));
            }
            write(
                api,
                deployment,
                if is_new { Stage::Updating } else { Stage::Available },
                now,
            );
        }
        let at = progress.ends_at?;
        if now < at {
            return Some(at);
        }
        progress.ends_at = None;
        if behaviour.crashes {
            write(api, deployment, Stage::GivenUp, now);
        } else {
            progress.template = template.clone();
            write(api, deployment, Stage::Available, now);
        }
        None
    }
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Stage {
    Updating,
    Available,
    GivenUp,
}

fn write(api: &SimApi, deployment: &Value, stage: Stage, now: Timestamp) {
    let replicas = number(deployment, "/spec/replicas").unwrap_or(1);
    let available = if stage == Stage::Available { replicas } else { 0 };
    let (status, reason) = match stage {
        Stage::Updating => ("True", "ReplicaSetUpdated"),
        Stage::Available => ("True", "NewReplicaSetAvailable"),
        Stage::GivenUp => ("False", "ProgressDeadlineExceeded"),
    };
    let progressing =
        json!({"type": "Progressing", "status": status, "reason": reason, "lastTransitionTime": stamp(now)});
    let status = json!({"status": {
        "observedGeneration": number(deployment, "/metadata/generation"),
        "replicas": replicas, "updatedReplicas": replicas, "availableReplicas": available,
        "conditions": [progressing],
    }});
    let key = Key::new(
        Kind::Deployment,
        text(deployment, "/metadata/namespace"),
        text(deployment, "/metadata/name"),
    );
    accepted(api.patch_status("deployment-controller", &key, &Change::Merge(status)));
}

impl Model for Deployments {
    fn name(&self) -> &'static str {
        "deployment-controller"
    }

    fn concerns(&self) -> &'static [Kind] {
        &[Kind::Deployment]
    }

    fn act(&mut self, api: &SimApi, now: Timestamp) -> Option<Timestamp> {
        let all: Vec<Arc<Value>> = {
            let state = api.state();
            let all = state.list(Kind::Deployment, None).into_iter();
            all.filter(|deployment| !is_going(deployment)).cloned().collect()
        };
        let mut next = None;
        for deployment in all {
            next = sooner(next, self.look(api, &deployment, now));
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::Bench, *};

    fn deployment(image: &str) -> Value {
        json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}},
                "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "web", "image": image}]}}}})
    }

    fn settle(bench: &Bench, model: &mut Deployments) {
        while model.act(&bench.api, bench.now()).is_some() {
            bench.wait(1);
        }
    }

    #[test]
    fn the_status_lags_and_then_tells_the_truth() {
        let bench = Bench::new();
        let mut model = Deployments::new(&Dice::new(1));
        let key = bench.put(deployment("web:v1"));
        settle(&bench, &mut model);
        assert_eq!(bench.get(&key)["status"]["availableReplicas"], 2);
        assert_eq!(bench.get(&key)["status"]["observedGeneration"], 1);
        bench.patch(
            &key,
            json!({"spec": {"template": {"metadata": {"annotations": {"a": "b"}}}}}),
        );
        model.act(&bench.api, bench.now());
        let behind = bench.get(&key);
        assert_eq!(
            (
                &behind["status"]["observedGeneration"],
                &behind["metadata"]["generation"]
            ),
            (&json!(1), &json!(2))
        );
        settle(&bench, &mut model);
        assert_eq!(bench.get(&key)["status"]["observedGeneration"], 2);
    }

    #[test]
    fn a_template_that_crashes_is_given_up() {
        let bench = Bench::new();
        let mut model = Deployments::new(&Dice::new(1));
        let key = bench.put(deployment("web:v1-crash"));
        settle(&bench, &mut model);
        let condition = &bench.get(&key)["status"]["conditions"][0];
        assert_eq!(condition["reason"], "ProgressDeadlineExceeded");
    }
}
