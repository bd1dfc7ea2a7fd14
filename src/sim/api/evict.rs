//! The eviction subresource of Pods: a deletion that a PodDisruptionBudget may refuse.

use super::{
    commit::{By, Inner},
    faults::Verb,
    kinds::{Key, Kind},
    refusal::{Refused, refused},
    route,
    selector::Labels,
    state::meta,
};
use crate::{json::At as _, sim::models};
use serde_json::{Value, json};

impl Inner {
    /// Evicts a Pod, as `POST …/eviction` does. Answers 404, 409 (another uid) or 429 (a budget).
    pub(super) fn evict(&mut self, by: &By, key: &Key, eviction: &Value) -> Result<Value, Refused> {
        let pod = self.existing(key)?;
        let options = eviction.get("deleteOptions").cloned().unwrap_or_default();
        if let Some(budget) = self.exhausted_budget(key, &pod.value) {
            let mut refusal = refused(
                429,
                "TooManyRequests",
                "Cannot evict pod as it would violate the pod's disruption budget.",
            );
            refusal.details = Some(kube::core::response::StatusDetails {
                name: key.name.clone(),
                group: String::new(),
                kind: "pods".to_owned(),
                uid: String::new(),
                causes: vec![kube::core::response::StatusCause {
                    reason: "DisruptionBudget".to_owned(),
                    message: format!("The disruption budget {budget} needs more healthy pods"),
                    field: String::new(),
                }],
                retry_after_seconds: 0,
            });
            return Err(refusal);
        }
        let by = By {
            verb: Verb::Delete,
            ..by.clone()
        };
        self.delete(&by, key, &route::deletion(&route::Query::default(), &options))?;
        Ok(json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}))
    }

    /// The name of a budget that this Pod falls under and that can spare none. A Pod that is not ready, or going, costs
    /// nothing.
    fn exhausted_budget(&self, key: &Key, pod: &Value) -> Option<String> {
        if !models::is_ready(pod) || models::is_going(pod) {
            return None;
        }
        let budgets = self.state.list(Kind::PodDisruptionBudget, Some(&key.namespace));
        let exhausted = budgets.into_iter().find(|budget| {
            let selector = budget.at("/spec/selector").map(super::scale::selector_text);
            let Ok(selector) = Labels::parse(&selector.unwrap_or_default()) else {
                return false;
            };
            if selector.is_empty() || !selector.matches(pod) {
                return false;
            }
            let pods = self.state.list(Kind::Pod, Some(&key.namespace));
            let selected: Vec<&Value> = pods
                .into_iter()
                .map(|pod| &**pod)
                .filter(|pod| selector.matches(pod))
                .collect();
            let healthy = selected
                .iter()
                .filter(|pod| models::is_ready(pod) && !models::is_going(pod))
                .count();
            healthy <= needed(budget, selected.len())
        });
        exhausted.map(|budget| meta(budget, "name").to_owned())
    }
}

/// Healthy pods a budget needs among this many.
fn needed(budget: &Value, pods: usize) -> usize {
    let amount = |pointer: &str| {
        let value = budget.at(pointer)?;
        let percent = value
            .as_str()
            .and_then(|text| text.strip_suffix('%')?.parse::<usize>().ok());
        let number = value.as_u64().and_then(|number| usize::try_from(number).ok());
        number.or_else(|| percent.map(|percent| (pods * percent).div_ceil(100)))
    };
    match (amount("/spec/minAvailable"), amount("/spec/maxUnavailable")) {
        (Some(least), _) => least,
        (None, Some(most)) => pods.saturating_sub(most),
        (None, None) => 0,
    }
}
