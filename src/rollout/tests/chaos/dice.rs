//! Random strategies and moments, from a seed.

use serde_json::{Value, json};

/// A small deterministic generator (splitmix64).
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % end
    }

    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(super) fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        let index = self.below(from.len() as u64);
        from[usize::try_from(index).unwrap()].clone()
    }
}

/// Which kind of rollout a run is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Family {
    Nginx,
    Basic,
    BlueGreen,
}

const ANALYSIS: &str = "check";

pub(super) fn steps(family: Family, dice: &mut Dice) -> Value {
    let steps = (0..dice.below(6)).map(|_| step(family, dice));
    Value::Array(steps.collect())
}

fn step(family: Family, dice: &mut Dice) -> Value {
    let kinds = if family == Family::Nginx { 7 } else { 6 };
    match dice.below(kinds) {
        0..3 => json!({"setWeight": dice.pick(&[0, 10, 20, 50, 75, 100])}),
        3 => json!({"pause": {}}),
        4 => json!({"pause": {"duration": dice.pick(&[json!(0), json!(3), json!("20s")])}}),
        5 => json!({"analysis": {"templates": [{"templateName": ANALYSIS}]}}),
        _ => {
            json!({"setCanaryScale": dice.pick(&[json!({"replicas": 1}), json!({"replicas": 4}), json!({"weight": 50}),
                json!({"matchTrafficWeight": true})])})
        }
    }
}

pub(super) fn strategy(family: Family, dice: &mut Dice) -> Value {
    match family {
        Family::Nginx => nginx(dice),
        Family::Basic => basic(dice),
        Family::BlueGreen => blue_green(dice),
    }
}

fn set(target: &mut Value, field: &str, percent: u64, values: &[Value], dice: &mut Dice) {
    if dice.chance(percent) {
        target[field] = dice.pick(values);
    }
}

fn nginx(dice: &mut Dice) -> Value {
    let mut canary = json!({"canaryService": "web-canary", "stableService": "web-stable", "steps": steps(Family::Nginx, dice),
        "trafficRouting": {"nginx": {"stableIngress": "web"}}});
    if dice.chance(20) {
        canary["dynamicStableScale"] = json!(true);
    } else {
        set(&mut canary, "scaleDownDelaySeconds", 50, &[json!(0), json!(10)], dice);
    }
    let delays = [json!(0), json!(5), json!(1000)];
    set(&mut canary, "abortScaleDownDelaySeconds", 40, &delays, dice);
    set(&mut canary, "minPodsPerReplicaSet", 15, &[json!(2)], dice);
    let thresholds = [
        json!({"type": "Percent", "value": 50}),
        json!({"type": "Pods", "value": 1}),
    ];
    set(&mut canary, "replicaProgressThreshold", 15, &thresholds, dice);
    background(&mut canary, dice);
    json!({ "canary": canary })
}

fn background(canary: &mut Value, dice: &mut Dice) {
    if dice.chance(30) {
        canary["analysis"] = json!({"templates": [{"templateName": ANALYSIS}], "startingStep": dice.below(3)});
    }
}

fn basic(dice: &mut Dice) -> Value {
    let mut canary = json!({ "steps": steps(Family::Basic, dice) });
    set(
        &mut canary,
        "maxSurge",
        80,
        &[json!(0), json!(1), json!(2), json!("25%"), json!("100%")],
        dice,
    );
    let least = u64::from(canary["maxSurge"] == 0);
    let unavailable = least + dice.below(3);
    if dice.chance(80) || least == 1 {
        canary["maxUnavailable"] = json!(unavailable);
    }
    if dice.chance(50) {
        canary["stableService"] = json!("web-stable");
        canary["canaryService"] = json!("web-canary");
    }
    background(&mut canary, dice);
    json!({ "canary": canary })
}

fn blue_green(dice: &mut Dice) -> Value {
    let mut strategy = json!({"activeService": "web-stable"});
    set(&mut strategy, "previewService", 70, &[json!("web-canary")], dice);
    set(&mut strategy, "autoPromotionEnabled", 50, &[json!(false)], dice);
    set(&mut strategy, "autoPromotionSeconds", 40, &[json!(5), json!(40)], dice);
    set(&mut strategy, "previewReplicaCount", 30, &[json!(1), json!(2)], dice);
    set(&mut strategy, "scaleDownDelaySeconds", 40, &[json!(0), json!(10)], dice);
    set(
        &mut strategy,
        "abortScaleDownDelaySeconds",
        40,
        &[json!(0), json!(5)],
        dice,
    );
    let analysis = json!({"templates": [{"templateName": ANALYSIS}]});
    set(
        &mut strategy,
        "prePromotionAnalysis",
        40,
        std::slice::from_ref(&analysis),
        dice,
    );
    set(&mut strategy, "postPromotionAnalysis", 40, &[analysis], dice);
    json!({ "blueGreen": strategy })
}
