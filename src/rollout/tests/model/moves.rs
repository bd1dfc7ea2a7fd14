//! One move of a canary whose weights are pods: every reachable state of small Rollouts against every permitted move.

use super::{pairs::pair, taken};
use crate::rollout::replicas::{Budget, Pods, basic_move};

/// Sizes after a move: canary, stable, one older ReplicaSet.
type Sizes = [i32; 3];

/// The specification: of all moves towards the targets those that keep guarantee T6, of these the greediest, with the
/// stable pods first, then those of the canary; what leaves goes before what shrinks.
fn best(states: [Pods; 3], replicas: i32, budget: Budget) -> Sizes {
    let sum = |values: [i32; 3]| values.iter().sum::<i32>();
    let specs = states.map(|pods| pods.spec);
    let available = sum(states.map(|pods| pods.available));
    let between = |pods: Pods| pods.spec.min(pods.target)..=pods.spec.max(pods.target);
    let mut found: Option<([i32; 5], Sizes)> = None;
    for canary in between(states[0]) {
        for stable in between(states[1]) {
            for older in between(states[2]) {
                let sizes = [canary, stable, older];
                let grown = |index: usize| (sizes[index] - specs[index]).max(0);
                let shrunk = |index: usize| (specs[index] - sizes[index]).max(0);
                let growth = grown(0) + grown(1);
                // Pods that leave are still there when those that come are made.
                let crowded = growth > 0 && sum(specs) + growth > replicas + budget.surge;
                // The ReplicaSet controller deletes pods that are not ready first.
                let lost: i32 = (0..3)
                    .map(|index| (states[index].available - sizes[index]).max(0))
                    .sum();
                let starved = lost > 0 && available - lost < replicas - budget.unavailable;
                // Stable pods that remain, available or not, and all others that are must be enough.
                let kept = sizes[1] - states[1].available.min(sizes[1]);
                let hasty = shrunk(1) > 0 && available - lost + kept < replicas - budget.unavailable;
                let too_early = older > 0 && (shrunk(0) > 0 || shrunk(1) > 0);
                if crowded || starved || hasty || too_early {
                    continue;
                }
                let merit = [grown(1), grown(0), shrunk(2), shrunk(1), shrunk(0)];
                if found.is_none_or(|(most, _)| merit > most) {
                    found = Some((merit, sizes));
                }
            }
        }
    }
    found.expect("staying is always permitted").1
}

#[test]
fn every_move_is_the_greediest_that_keeps_the_budget() {
    let mut case = 0;
    for replicas in 1..=4 {
        for weight in [0, 20, 25, 34, 50, 75, 99, 100] {
            for surge in 0..=2 {
                for unavailable in 0..=2 {
                    if surge == 0 && unavailable == 0 {
                        continue; // Nothing could move; `budget` never gives this.
                    }
                    let (canary, stable) = pair(replicas.into(), weight, surge > 0);
                    let targets = [i32::try_from(canary).unwrap(), i32::try_from(stable).unwrap(), 0];
                    let budget = Budget { surge, unavailable };
                    every_state(replicas + surge, targets, &mut |states| {
                        case += 1;
                        if taken(case, 13) {
                            let (canary, stable, older) =
                                basic_move(states[0], states[1], &states[2..], replicas, budget);
                            assert_eq!(
                                [canary, stable, older[0]],
                                best(states, replicas, budget),
                                "{states:?} of {replicas} replicas, {budget:?}"
                            );
                        }
                    });
                }
            }
        }
    }
    assert!(case > 100_000, "only {case} states");
}

/// Every state with at most `most` pods wanted in each ReplicaSet, any number of them available.
fn every_state(most: i32, targets: [i32; 3], visit: &mut impl FnMut([Pods; 3])) {
    let of = |target: i32, most: i32| -> Vec<Pods> {
        (0..=most)
            .flat_map(|spec| {
                (0..=spec).map(move |available| Pods {
                    spec,
                    available,
                    target,
                })
            })
            .collect()
    };
    let (canaries, stables, olders) = (of(targets[0], most), of(targets[1], most), of(targets[2], most.min(2)));
    for canary in &canaries {
        for stable in &stables {
            for older in &olders {
                visit([*canary, *stable, *older]);
            }
        }
    }
}
