//! Which numbers of pods stand for a weight when pods are the weights (reference, rollouts 4.3).

use super::{
    super::{
        fixtures::{deployed, image, phase},
        world::World,
    },
    taken,
};
use crate::rollout::replicas::approximate;
use serde_json::{Value, json};

/// The specification: of all pairs those that are permitted, of these the nearest, of these the first.
pub(super) fn pair(replicas: i64, weight: i64, may_surge: bool) -> (i64, i64) {
    let exact = replicas * weight;
    let mut best: Option<((i64, i64), (i64, i64))> = None;
    // A tie is won by fewer pods, then by the larger canary.
    for total in replicas..=replicas + 1 {
        for canary in (0..=total).rev() {
            let stable = total - canary;
            let surges = total > replicas;
            let next_to_exact = canary * 100 - exact < 100 && exact - canary * 100 < 100;
            let mixed = weight > 0 && weight < 100 && (replicas != 1 || may_surge);
            let permitted = (!surges || (may_surge && mixed))
                && next_to_exact
                && (!mixed || (canary > 0 && stable > 0))
                && (weight > 0 || canary == 0)
                && (weight < 100 || stable == 0);
            // |canary/total − weight/100| as a fraction.
            let distance = ((canary * 100 - weight * total).abs(), total);
            if permitted && best.is_none_or(|(_, least)| distance.0 * least.1 < least.0 * distance.1) {
                best = Some(((canary, stable), distance));
            }
        }
    }
    best.expect("a pair for every weight").0
}

#[test]
fn every_weight_of_every_size_is_the_nearest_pair() {
    for replicas in 1..=12 {
        for weight in 0..=100 {
            for may_surge in [false, true] {
                let (canary, stable) = approximate(replicas, weight, 100, may_surge);
                assert_eq!(
                    (i64::from(canary), i64::from(stable)),
                    pair(replicas.into(), weight.into(), may_surge),
                    "{replicas} replicas at {weight} %, surge {may_surge}"
                );
            }
        }
    }
}

/// The whole planner walks to that pair, from below and from above, within its budget all the way.
#[test]
fn updates_come_to_rest_at_the_pair_of_their_weight() {
    let mut case = 0;
    for replicas in 1..=12 {
        for weight in 0..=100 {
            for (surge, unavailable) in [(1, 0), (0, 1), (2, 2), (3, 0), (0, 12)] {
                for from in [0, 90] {
                    case += 1;
                    if taken(case, 97) {
                        comes_to_rest(replicas, weight, (surge, unavailable), from);
                    }
                }
            }
        }
    }
}

fn comes_to_rest(replicas: i64, weight: i64, (surge, unavailable): (i64, i64), from: i64) {
    let steps = if from == 0 {
        json!([{"setWeight": weight}, {"pause": {}}])
    } else {
        json!([{"setWeight": from}, {"setWeight": weight}, {"pause": {}}])
    };
    let strategy = json!({"canary": {"maxSurge": surge, "maxUnavailable": unavailable, "steps": steps}});
    let mut world = deployed(strategy);
    world.patch("Rollout", "web", &json!({"spec": {"replicas": replicas}}));
    world.settle();
    let stable = world.status()["stableRS"].as_str().unwrap().to_owned();
    image(&mut world, "demo:v2");
    world.run_until("paused", |world, _| {
        within_budget(world, replicas, surge, unavailable);
        phase(world, "Paused")
    });
    let new = world.status()["currentPodHash"].as_str().unwrap();
    let found = (world.set_replicas(new), world.set_replicas(&stable));
    assert_eq!(
        found,
        pair(replicas, weight, surge > 0),
        "{replicas} replicas from {from} to {weight} %, surge {surge}, unavailable {unavailable}"
    );
}

/// Guarantee T6.
fn within_budget(world: &World, replicas: i64, surge: i64, unavailable: i64) {
    let sum = |field: [&str; 2]| -> i64 {
        let sets = world.objects.iter().filter(|((kind, _), _)| kind == "ReplicaSet");
        sets.map(|(_, set)| Value::as_i64(&set[field[0]][field[1]]).unwrap_or(0))
            .sum()
    };
    let (pods, available) = (sum(["spec", "replicas"]), sum(["status", "availableReplicas"]));
    assert!(
        pods <= replicas + surge,
        "T6: {pods} pods for {replicas} replicas and surge {surge}"
    );
    assert!(
        available >= replicas - unavailable,
        "T6: {available} available of {replicas} replicas, {unavailable} may be missing"
    );
}
