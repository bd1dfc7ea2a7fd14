//! Replica arithmetic: how many pods each ReplicaSet may and must have (reference, rollouts 4.3; guarantee T6).
//!
//! All functions are total and work on plain numbers, so that they can be compared with a brute-force specification.

use crate::api::{scalar::IntOrString, strategy::ReplicaProgressThreshold};

/// Default of `maxSurge` and `maxUnavailable`, in percent of `replicas`.
const DEFAULT_PERCENT: i64 = 25;

/// What a rollout may exceed and miss during an update, in pods.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Budget {
    /// Pods above `replicas`.
    pub(crate) surge: i32,
    /// Pods that may be unavailable.
    pub(crate) unavailable: i32,
}

/// Resolves `maxSurge` and `maxUnavailable`. When both come out as 0, one pod may be unavailable: else nothing could
/// ever move.
pub(crate) fn budget(surge: Option<&IntOrString>, unavailable: Option<&IntOrString>, replicas: i32) -> Budget {
    let surge = resolve(surge, replicas, true);
    let unavailable = resolve(unavailable, replicas, false);
    if surge == 0 && unavailable == 0 {
        Budget { surge, unavailable: 1 }
    } else {
        Budget { surge, unavailable }
    }
}

/// A string is always a percentage, with or without `%`; an integer is a number of pods.
fn resolve(value: Option<&IntOrString>, replicas: i32, up: bool) -> i32 {
    let percent = match value {
        Some(IntOrString::Int(pods)) => return to_i32(*pods),
        Some(IntOrString::String(text)) => parse_percent(text).unwrap_or(DEFAULT_PERCENT),
        None => DEFAULT_PERCENT,
    };
    let hundredths = percent.max(0) * i64::from(replicas);
    to_i32(if up {
        hundredths.div_euclid(100) + i64::from(hundredths % 100 != 0)
    } else {
        hundredths / 100
    })
}

/// Reads `25` or `25%`.
pub(crate) fn parse_percent(text: &str) -> Option<i64> {
    text.trim().trim_end_matches('%').parse().ok()
}

/// `replicas × weight ÷ max`, rounded up.
pub(crate) fn share(replicas: i32, weight: i32, max: i32) -> i32 {
    let product = i64::from(replicas.max(0)) * i64::from(weight.max(0));
    let max = i64::from(max.max(1));
    to_i32((product + max - 1) / max)
}

fn to_i32(number: i64) -> i32 {
    i32::try_from(number).unwrap_or(if number < 0 { i32::MIN } else { i32::MAX })
}

/// The pair (canary, stable) whose ratio of pods comes nearest to the weight; at most one pod above `replicas`, and
/// only when a surge is allowed.
pub(crate) fn approximate(replicas: i32, weight: i32, max: i32, may_surge: bool) -> (i32, i32) {
    if weight <= 0 || replicas <= 0 {
        return (0, replicas.max(0));
    }
    if weight >= max {
        return (replicas, 0);
    }
    let up = share(replicas, weight, max);
    let down = to_i32(i64::from(replicas) * i64::from(weight) / i64::from(max));
    let both_needed = replicas > 1 || may_surge;
    let totals = [Some(replicas), may_surge.then_some(replicas + 1)];
    let candidates = totals
        .into_iter()
        .flatten()
        .flat_map(|total| [(up, total - up), (down, total - down)]);
    let error = |(canary, stable): (i32, i32)| {
        // |canary/total − weight/max| as an exact fraction over total × max; comparing two of them cross-multiplies.
        let total = i64::from(canary) + i64::from(stable);
        (
            (i64::from(canary) * i64::from(max) - i64::from(weight) * total).abs(),
            total,
        )
    };
    let mut best: Option<(i32, i32)> = None;
    for pair in candidates.filter(|&(canary, stable)| !both_needed || (canary > 0 && stable > 0)) {
        let better = best.is_none_or(|best| {
            let ((left, left_total), (right, right_total)) = (error(pair), error(best));
            left * right_total < right * left_total
        });
        if better {
            best = Some(pair);
        }
    }
    best.unwrap_or((up, replicas - up))
}

/// One ReplicaSet in the arithmetic.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Pods {
    /// Pods wanted now.
    pub(crate) spec: i32,
    /// Pods available now.
    pub(crate) available: i32,
    /// Pods wanted in the end.
    pub(crate) target: i32,
}

/// One safe move of a basic canary towards its targets: grows within the surge, shrinks within what may be
/// unavailable. Order of `older`: newest first. Returns (canary, stable, older) sizes.
pub(crate) fn basic_move(
    canary: Pods,
    stable: Pods,
    older: &[Pods],
    replicas: i32,
    budget: Budget,
) -> (i32, i32, Vec<i32>) {
    let all = || [canary, stable].into_iter().chain(older.iter().copied());
    let mut room = (replicas + budget.surge - all().map(|pods| pods.spec).sum::<i32>()).max(0);
    // What may become unavailable now. Pods that are not available anyway cost nothing.
    let available = all().map(|pods| pods.available).sum::<i32>();
    let mut spare = (available - (replicas - budget.unavailable)).max(0);
    // Stable pods that are not available may be again in a moment; as long as pods are missing, these stay (as in a
    // Deployment). Those of a version that leaves need not be waited for.
    let missing = (replicas - budget.unavailable - available).max(0);

    let mut grow = |pods: Pods| {
        let step = (pods.target - pods.spec).clamp(0, room);
        room -= step;
        pods.spec + step
    };
    let stable_grown = grow(stable);
    let canary_grown = grow(canary);

    let mut shrink = |pods: Pods, grown: i32, missing: i32| {
        let surplus = (grown - pods.target).max(0);
        let idle = (pods.spec - pods.available - missing).clamp(0, surplus);
        let useful = (surplus - idle).min(spare);
        spare -= useful;
        grown - idle - useful
    };
    let older_sizes: Vec<i32> = older.iter().map(|pods| shrink(*pods, pods.spec, 0)).collect();
    let older_left = older_sizes.iter().any(|size| *size > 0);
    if older_left {
        return (canary_grown, stable_grown, older_sizes);
    }
    let stable_size = shrink(stable, stable_grown, missing);
    let canary_size = shrink(canary, canary_grown, 0);
    (canary_size, stable_size, older_sizes)
}

/// Whether enough of `desired` pods are available to proceed. Without a threshold all of them must be; a threshold of
/// more pods than are desired asks for those desired, because more never come.
pub(crate) fn enough(available: i32, desired: i32, threshold: Option<&ReplicaProgressThreshold>) -> bool {
    match threshold {
        Some(threshold) if threshold.value >= 0 && threshold.r#type == "Percent" => {
            desired == 0 || i64::from(available) * 100 >= i64::from(threshold.value) * i64::from(desired)
        }
        Some(threshold) if threshold.value >= 0 && threshold.r#type == "Pods" => {
            available >= threshold.value.min(desired)
        }
        _ => available >= desired,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_percentages_and_integers_are_pods() {
        let (five_percent, five) = (IntOrString::from("5"), IntOrString::from(5));
        assert_eq!(
            budget(Some(&five_percent), Some(&five), 10),
            Budget {
                surge: 1,
                unavailable: 5
            }
        );
        assert_eq!(
            budget(None, None, 10),
            Budget {
                surge: 3,
                unavailable: 2
            }
        );
        assert_eq!(
            budget(Some(&IntOrString::from(0)), Some(&IntOrString::from("0%")), 10).unavailable,
            1
        );
    }

    #[test]
    fn the_pair_nearest_to_the_weight_wins() {
        assert_eq!(approximate(10, 10, 100, true), (1, 9));
        assert_eq!(approximate(5, 20, 100, true), (1, 4));
        // As the original was seen to do: 8 pods at 20 % are 2 and 7.
        assert_eq!(approximate(8, 20, 100, true), (2, 7));
        assert_eq!(approximate(1, 5, 100, true), (1, 1));
        assert_eq!(approximate(1, 50, 100, false), (1, 0));
        assert_eq!(approximate(10, 0, 100, true), (0, 10));
        assert_eq!(approximate(10, 100, 100, true), (10, 0));
    }

    #[test]
    fn a_move_stays_within_surge_and_availability() {
        let budget = Budget {
            surge: 1,
            unavailable: 1,
        };
        let full = Pods {
            spec: 10,
            available: 10,
            target: 9,
        };
        let none = Pods {
            spec: 0,
            available: 0,
            target: 1,
        };
        assert_eq!(basic_move(none, full, &[], 10, budget), (1, 9, vec![]));
        // Surge 0, unavailable 5: the stable side makes room first.
        let budget = Budget {
            surge: 0,
            unavailable: 5,
        };
        let stable = Pods {
            spec: 10,
            available: 10,
            target: 7,
        };
        let canary = Pods {
            spec: 0,
            available: 0,
            target: 3,
        };
        assert_eq!(basic_move(canary, stable, &[], 10, budget), (0, 7, vec![]));
    }

    #[test]
    fn older_sets_go_before_stable_and_canary_shrink() {
        let budget = Budget {
            surge: 1,
            unavailable: 0,
        };
        let canary = Pods {
            spec: 1,
            available: 1,
            target: 2,
        };
        let stable = Pods {
            spec: 9,
            available: 9,
            target: 8,
        };
        let older = Pods {
            spec: 1,
            available: 1,
            target: 0,
        };
        assert_eq!(basic_move(canary, stable, &[older], 10, budget), (1, 9, vec![0]));
    }

    proptest::proptest! {
        /// T6: whatever the state, a move never adds pods beyond the surge and never takes availability below the floor
        /// by itself.
        #[test]
        fn moves_respect_the_budget(
            replicas in 0..12i32, surge in 0..4i32, unavailable in 0..4i32,
            numbers in proptest::collection::vec((0..12i32, 0..12i32, 0..12i32), 2..4),
        ) {
            let budget = budget(Some(&IntOrString::Int(surge.into())), Some(&IntOrString::Int(unavailable.into())), replicas);
            let pods: Vec<Pods> = numbers.iter()
                .map(|&(spec, available, target)| Pods { spec, available: available.min(spec), target: target.min(replicas) })
                .collect();
            let older: Vec<Pods> = pods[2..].iter().map(|pods| Pods { target: 0, ..*pods }).collect();
            let (canary, stable, others) = basic_move(pods[0], pods[1], &older, replicas, budget);
            let before: i32 = pods.iter().map(|pods| pods.spec).sum();
            let after: i32 = canary + stable + others.iter().sum::<i32>();
            proptest::prop_assert!(after <= before.max(replicas + budget.surge));
            let kept = |pods: Pods, size: i32| pods.available.min(size);
            let available_before: i32 = pods.iter().map(|pods| pods.available).sum();
            let available_after = kept(pods[0], canary) + kept(pods[1], stable)
                + older.iter().zip(&others).map(|(pods, size)| kept(*pods, *size)).sum::<i32>();
            proptest::prop_assert!(available_after >= available_before.min(replicas - budget.unavailable));
        }
    }
}
