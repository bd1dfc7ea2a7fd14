//! Sizes of the ReplicaSets of a canary.

use super::Canary;
use crate::{
    api::{replica_set::ReplicaSet, strategy::CanaryStrategy},
    rollout::{
        decision::{Deadline, Decision, Sizing},
        replicas::{self, Pods, approximate, basic_move, budget, enough, share},
        retire::{self, ABORT_SCALE_DOWN_DELAY_SECONDS_DEFAULT, SCALE_DOWN_DELAY_SECONDS_DEFAULT, retire},
        step::{scale_at, weight_at},
    },
    traffic::routes::routes_at,
};

impl<'a> Canary<'a> {
    /// Pods the canary should have at a step, and with pods as weights those of the stable side.
    pub(super) fn targets(&self, index: usize) -> (i32, i32) {
        let replicas = self.view.replicas;
        if self.stands_alone() {
            return (replicas, if self.routed { replicas } else { 0 });
        }
        let weight = weight_at(self.strategy, index, self.total);
        if !self.routed {
            let pair = approximate(replicas, weight, self.total, self.budget().surge > 0);
            // Guarantee T3: the stable Service keeps a pod until promotion leads it to the new ones.
            let room = self.room_beside_one();
            if pair.1 == 0 && room > 0 && self.keeps_stable() {
                return (room, 1);
            }
            return pair;
        }
        // One that names neither is none.
        let explicit = scale_at(self.strategy, index).filter(|scale| (scale.replicas, scale.weight) != (None, None));
        let canary = match explicit {
            Some(scale) => scale
                .replicas
                .unwrap_or_else(|| share(replicas, scale.weight.unwrap_or(0), self.total)),
            None => share(replicas, weight, self.total),
        };
        let floor = self.strategy.min_pods_per_replica_set.unwrap_or(0).min(replicas);
        let canary = if canary > 0 && explicit.is_none() {
            canary.max(floor)
        } else {
            canary
        };
        // A header route or a mirror needs somebody who answers, whatever the weight (guarantee T2).
        let answers = if routes_at(self.strategy, index).is_empty() {
            0
        } else {
            replicas.min(1)
        };
        let canary = canary.max(answers);
        (canary, self.stable_target(weight, floor, canary))
    }

    /// Pods that the new ReplicaSet may have while one of another stays, where pods are the weights.
    pub(super) fn room_beside_one(&self) -> i32 {
        let replicas = self.view.replicas;
        (replicas + self.budget().surge - 1).min(replicas)
    }

    /// Whether requests reach the stable ReplicaSet through a Service of its own although no router splits them.
    fn keeps_stable(&self) -> bool {
        let view = self.view;
        !self.routed && !self.sides.stable.is_empty() && !view.is_initial() && !view.is_promoted()
    }

    fn stable_target(&self, weight: i32, floor: i32, canary: i32) -> i32 {
        let replicas = self.view.replicas;
        if !self.strategy.dynamic_stable_scale {
            return replicas;
        }
        // Stable pods go only after the weight that relieves them was written and followed.
        let serves = self.quiet && self.carried_hash == self.view.revisions.hash && self.view.new_available() > 0;
        let relieved = if serves { weight.min(self.observed) } else { 0 };
        let needed = share(replicas, self.total - relieved, self.total);
        // Its Service keeps an endpoint until promotion leads it to the new pods: ingress-nginx answers 503 for a
        // stable Service without one, even when all requests are the canary's.
        // A `setCanaryScale` below the weight's share leaves the missing pods to this side (guarantee T6).
        let missing = replicas - self.budget().unavailable - canary;
        needed.max(missing).max(floor).max(1).min(replicas)
    }

    /// Whether the pods that a step asks for are there.
    pub(super) fn has_capacity(&self, index: usize) -> bool {
        let (canary, stable) = self.targets(index);
        let Some(new) = self.view.revisions.new else {
            return false;
        };
        let ready = new.replicas() == canary
            && enough(
                new.available(),
                canary,
                self.strategy.replica_progress_threshold.as_ref(),
            );
        if self.routed {
            return ready;
        }
        let stable_there = self.view.revisions.stable.is_none_or(|set| {
            // An update may be the cure of stable pods that fail: they need not be available.
            set.replicas() == stable && set.status.replicas == stable
        });
        ready && stable_there && self.view.revisions.older.iter().all(|set| set.replicas() == 0)
    }

    /// Sizes while going forward, at a step.
    pub(super) fn resize(&self, index: usize, decision: &mut Decision<'a>) {
        let (canary, stable) = self.targets(index);
        decision.create_with = self.creation_size(canary);
        if !self.routed {
            self.move_pods(canary, stable, decision);
            return;
        }
        let view = self.view;
        if let Some(new) = view.revisions.new {
            let wanted = if view.is_promoted() || view.is_initial() {
                view.replicas
            } else {
                canary
            };
            let kept = self.kept(new, index);
            let needed = self.needed(new, self.stable_available());
            decision.sizes.push(Sizing::in_use(new, wanted.max(kept).max(needed)));
        }
        if let Some(set) = self.stable_apart() {
            let needed = self.needed(set, view.new_available());
            let size = stable.max(self.relief(set, stable)).max(needed);
            decision.sizes.push(Sizing::in_use(set, size));
        }
        self.retire_older(decision);
    }

    /// Where both sides share the pods, those of one that stay until the other side has enough (guarantee T6).
    fn needed(&self, set: &ReplicaSet, others_available: i32) -> i32 {
        if !self.strategy.dynamic_stable_scale {
            return 0;
        }
        let least = self.view.replicas - self.budget().unavailable;
        (least - others_available).clamp(0, set.replicas())
    }

    /// Pods of the new ReplicaSet that stay until a lower weight, or the end of its routes, was written and followed
    /// (guarantee T3).
    fn kept(&self, new: &ReplicaSet, index: usize) -> i32 {
        let apart = self.apart && routes_at(self.strategy, index).is_empty();
        if self.quiet && !apart && self.observed <= self.weight_for_pods(index) {
            return 0;
        }
        if self.quiet && !apart && self.view.is_scaling_event() {
            // The user made the whole rollout smaller: the share of requests is one of fewer pods.
            return share(self.view.replicas, self.observed, self.total).min(new.replicas());
        }
        new.replicas()
    }

    /// While the weight is on its way, the stable side of a dynamic scale keeps what it has.
    fn relief(&self, set: &ReplicaSet, stable: i32) -> i32 {
        if self.strategy.dynamic_stable_scale && !self.quiet {
            set.replicas().min(self.view.replicas).max(stable)
        } else {
            stable
        }
    }

    /// Sizes after an abort.
    pub(super) fn resize_aborted(&self, decision: &mut Decision<'a>) {
        if !self.routed {
            self.move_pods(0, self.view.replicas, decision);
            return;
        }
        let view = self.view;
        if let Some(set) = self.stable_apart() {
            decision.sizes.push(Sizing::in_use(set, view.replicas));
        }
        if let Some(new) = view.revisions.new {
            let delay = self
                .strategy
                .abort_scale_down_delay_seconds
                .unwrap_or(ABORT_SCALE_DOWN_DELAY_SECONDS_DEFAULT);
            let reached = self.observed > 0 || self.apart || !self.quiet || self.is_selected(new);
            let needed = reached || view.stable_available() < view.replicas;
            let (sizing, until) = retire(view, new, i64::from(delay), needed || delay == 0);
            decision.sizes.push(sizing);
            decision.wakes.extend(until);
        }
        self.retire_older(decision);
    }

    fn stable_apart(&self) -> Option<&'a ReplicaSet> {
        let hash = self.view.revisions.new.map(ReplicaSet::name);
        self.view.revisions.stable.filter(|stable| Some(stable.name()) != hash)
    }

    /// Whether one of the Rollout's Services selects this ReplicaSet.
    fn is_selected(&self, set: &ReplicaSet) -> bool {
        let CanaryStrategy {
            stable_service: stable,
            canary_service: canary,
            ..
        } = self.strategy;
        let services = [self.sides.stable, self.sides.canary, stable.as_str(), canary.as_str()];
        let selects = |service: &str| {
            self.view.selected_hash(service) == Some(set.pod_hash()) && !self.is_idle_lead(set, service)
        };
        let (canary, stable) = &self.leads;
        services.into_iter().any(selects) || canary.iter().chain(stable).any(|lead| lead == set.pod_hash())
    }

    fn retire_older(&self, decision: &mut Decision<'a>) {
        let promoted = self.view.is_promoted();
        let delay = match self.strategy.scale_down_delay_seconds {
            Some(seconds) if promoted => seconds,
            None if promoted => SCALE_DOWN_DELAY_SECONDS_DEFAULT,
            // A revision that was overtaken serves nobody; only the data plane is waited for.
            _ => 0,
        };
        let limit = self.strategy.scale_down_delay_revision_limit;
        let in_use = |set: &ReplicaSet| {
            let weighted = (self.observed > 0 || self.apart) && self.carried_hash == set.pod_hash();
            weighted || self.is_selected(set)
        };
        retire::retire_older(self.view, i64::from(delay), limit, in_use, decision);
    }

    /// One safe move of a canary whose weights are pods.
    fn move_pods(&self, canary: i32, stable: i32, decision: &mut Decision<'a>) {
        let view = self.view;
        let (new, stable_set) = (view.revisions.new, self.stable_apart());
        let pods = |set: Option<&ReplicaSet>, target: i32| match set {
            Some(set) => Pods {
                spec: set.replicas(),
                available: set.available(),
                target,
            },
            // One that is yet to be created shares the budget with those that grow.
            None => Pods {
                target,
                ..Pods::default()
            },
        };
        let canary_target = if view.is_promoted() || stable_set.is_none() {
            view.replicas
        } else {
            canary
        };
        let leaving: Vec<(Sizing<'a>, i32)> = view
            .revisions
            .older
            .iter()
            .map(|set| self.leave(set, decision))
            .collect();
        let older: Vec<Pods> = (leaving.iter())
            .map(|(sizing, least)| pods(Some(sizing.set), *least))
            .collect();
        let allowed = self.budget();
        let sizes = basic_move(
            pods(new, canary_target),
            pods(stable_set, if stable_set.is_some() { stable } else { 0 }),
            &older,
            view.replicas,
            allowed,
        );
        let (canary_size, stable_size, older_sizes) = sizes;
        if new.is_none() {
            decision.create_with = canary_size;
        }
        decision.sizes.extend(new.map(|set| Sizing::in_use(set, canary_size)));
        decision
            .sizes
            .extend(stable_set.map(|set| Sizing::in_use(set, stable_size)));
        for ((sizing, _), replicas) in leaving.into_iter().zip(older_sizes) {
            decision.sizes.push(Sizing { replicas, ..sizing });
        }
    }

    /// How an older ReplicaSet goes when pods are the weights: at once, but for a last pod that the stable Service
    /// leads to, or just led to, where there is room for one beside it.
    fn leave(&self, set: &'a ReplicaSet, decision: &mut Decision<'a>) -> (Sizing<'a>, i32) {
        if self.sides.stable.is_empty() || self.room_beside_one() <= 0 {
            let replicas = set.replicas();
            return (
                Sizing {
                    set,
                    replicas,
                    deadline: Deadline::Keep,
                },
                0,
            );
        }
        // One whose pods answer nobody makes room for others.
        let selected = set.available() > 0 && self.view.selected_hash(self.sides.stable) == Some(set.pod_hash());
        let (sizing, until) = retire(self.view, set, 0, selected);
        decision.wakes.extend(until);
        (sizing, sizing.replicas.min(1))
    }

    fn budget(&self) -> replicas::Budget {
        budget(
            self.strategy.max_surge.as_ref(),
            self.strategy.max_unavailable.as_ref(),
            self.view.replicas,
        )
    }

    /// How many pods a ReplicaSet may be created with: what it should have, within the surge.
    fn creation_size(&self, canary: i32) -> i32 {
        let view = self.view;
        let wanted = if view.is_initial() || view.is_promoted() {
            view.replicas
        } else {
            canary
        };
        if self.routed && !view.is_initial() {
            return wanted;
        }
        let standing: i32 = view.revisions.all().iter().map(|set| set.replicas()).sum();
        wanted.min((view.replicas + self.budget().surge - standing).max(0))
    }
}
