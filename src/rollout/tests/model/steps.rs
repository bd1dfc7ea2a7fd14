//! The order of steps and weights: every short list of steps, walked by the planner and by a reader of the list.

use super::{
    super::fixtures::{deployed, image, nginx, phase},
    taken,
};
use crate::plan::Requeue;
use serde_json::{Value, json};

/// The specification: what a person reads off a list of steps. Weights in the order they are to be written, from the
/// first pod of the new version to its promotion, and the steps that stop for a person.
fn read(steps: &[Value]) -> (Vec<i64>, Vec<i64>) {
    let (mut weights, mut stops) = (vec![0], vec![]);
    for (index, step) in steps.iter().enumerate() {
        match step["setWeight"].as_i64() {
            Some(weight) => weights.push(weight),
            None => stops.push(i64::try_from(index).unwrap()),
        }
    }
    // All traffic goes over before promotion; then the new version is stable, and the canary carries nothing.
    weights.extend([100, 0]);
    weights.dedup();
    (weights.split_off(1), stops)
}

#[test]
fn every_list_of_steps_is_walked_in_order() {
    let alphabet = [
        json!({"setWeight": 0}),
        json!({"setWeight": 30}),
        json!({"setWeight": 70}),
        json!({"setWeight": 100}),
        json!({"pause": {}}),
    ];
    let mut lists: Vec<Vec<Value>> = vec![vec![]];
    let mut first = 0;
    for _ in 0..3 {
        let longest = lists.len();
        for index in first..longest {
            for step in &alphabet {
                let mut list = lists[index].clone();
                list.push(step.clone());
                lists.push(list);
            }
        }
        first = longest;
    }
    assert_eq!(lists.len(), 1 + 5 + 25 + 125);
    for (case, list) in lists.iter().enumerate() {
        if list.is_empty() || !taken(case, 7) {
            continue;
        }
        assert_eq!(walk(list), read(list), "{list:?}");
    }
}

fn walk(steps: &[Value]) -> (Vec<i64>, Vec<i64>) {
    let mut world = deployed(nginx(json!(steps)));
    image(&mut world, "demo:v2");
    let mut stops = vec![];
    loop {
        world.run_until("paused or promoted", |world, plan| {
            phase(world, "Paused") || (plan.writes_nothing() && plan.requeue == Requeue::AwaitChange)
        });
        if phase(&world, "Healthy") {
            return (world.weights.clone(), stops);
        }
        stops.push(world.status()["currentStepIndex"].as_i64().unwrap());
        assert!(stops.len() <= steps.len(), "{steps:?} stops at {stops:?} and on");
        world.patch("Rollout", "web", &json!({"status": {"pauseConditions": null}}));
    }
}
