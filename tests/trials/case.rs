//! One random life of a Rollout: its specification, what goes wrong around it, and what people do. A plain value: equal
//! seeds give equal cases, and a case can be made smaller piece by piece.

use crate::{
    faults::{
        Fault, Flaw,
        deeds::{self, Event},
    },
    features::{self, Feature},
    oracle::{
        roles,
        scene::{MANAGED_ROUTE, Subject},
    },
};
use serde_json::{Value, json};
use tidegate::{
    api::{self, well_known},
    json::At as _,
    sim::{api::kinds::Kind, dice::Dice},
};

/// Namespace of everything.
pub const NAMESPACE: &str = "shop";
/// Name of the Rollout and of the stable Ingress.
pub const NAME: &str = "web";
/// The template of analyses that gate.
pub const GATE: &str = "check";
/// Length of the part in which things go wrong. In milliseconds.
pub const TROUBLE_MILLIS: u64 = 150_000;

/// Which kind of rollout a case is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Family {
    /// A canary whose weights are pods.
    Basic,
    /// A canary behind ingress-nginx.
    Nginx,
    /// A canary behind a Gateway of Gateway API.
    Gateway,
    /// Blue-green.
    BlueGreen,
}

impl Family {
    /// Whether a router splits the requests.
    pub fn is_routed(self) -> bool {
        matches!(self, Self::Nginx | Self::Gateway)
    }
}

/// A random life.
#[derive(Clone, Debug)]
pub struct Case {
    /// Fixes what is left to chance within it.
    pub seed: u64,
    /// Which kind of rollout.
    pub family: Family,
    /// The Rollout.
    pub rollout: Value,
    /// Replicas of the controllers; more than one of them elect a leader.
    pub controllers: usize,
    /// Time from the death of a replica to its start. In milliseconds.
    pub restart_millis: u64,
    /// What goes wrong with requests and watches.
    pub faults: Vec<Fault>,
    /// What people and the surroundings do.
    pub events: Vec<Event>,
    /// The Deployment that it takes its pod template from.
    pub workload: Option<Value>,
    /// What it has that only some have.
    pub features: Vec<Feature>,
}

impl Case {
    /// The case of a seed.
    pub fn of(seed: u64) -> Self {
        let dice = Dice::new(seed);
        let mut shape = dice.fork("shape");
        let family = match shape.below(20) {
            0..5 => Family::Basic,
            5..12 => Family::Nginx,
            12..14 => Family::Gateway,
            _ => Family::BlueGreen,
        };
        let mut rollout = rollout(family, &mut shape);
        of_roles(&mut rollout, &mut dice.fork("roles"));
        let mut faults = dice.fork("faults");
        let controllers = if faults.chance(20) { 2 } else { 1 };
        let mut case = Self {
            seed,
            family,
            rollout,
            controllers,
            restart_millis: 500 + faults.below(6000),
            faults: Flaw::some(controllers, &mut faults),
            events: deeds::some(family, controllers, &mut dice.fork("deeds")),
            workload: None,
            features: Vec::new(),
        };
        features::draw(&mut case, &dice);
        case
    }

    /// Who is judged.
    pub fn subject(&self) -> Subject {
        Subject {
            namespace: NAMESPACE.to_owned(),
            name: NAME.to_owned(),
            stable_service: "web-stable".to_owned(),
            canary_service: "web-canary".to_owned(),
            ingress: NAME.to_owned(),
            route: NAME.to_owned(),
        }
    }

    /// How much there is in it, for those who make it smaller.
    pub fn size(&self) -> usize {
        let steps = self
            .rollout
            .at("/spec/strategy/canary/steps")
            .and_then(Value::as_array)
            .map_or(0, Vec::len);
        self.faults.len() + self.events.len() + steps + self.controllers
    }

    /// The objects beside the Rollout.
    pub fn surroundings(&self) -> Vec<Value> {
        let way_in = match self.family {
            Family::Gateway => http_route(),
            _ => ingress(),
        };
        let mut all = vec![
            service("web-root"),
            service("web-stable"),
            service("web-canary"),
            way_in,
            template(),
        ];
        all.extend(self.workload.clone());
        all
    }

    /// An object of the surroundings as it was at first.
    pub fn original(&self, kind: Kind, name: &str) -> Option<Value> {
        let all = self.surroundings();
        all.into_iter()
            .find(|object| object["kind"] == kind.facts().kind && object["metadata"]["name"] == name)
    }
}

fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {"name": name, "namespace": NAMESPACE, "annotations": {"team.example.com/owner": "shop"}},
        "spec": {"selector": {"app": NAME}, "ports": [{"port": 80, "targetPort": 8080}]},
    })
}

fn ingress() -> Value {
    let backend = json!({"service": {"name": "web-stable", "port": {"number": 80}}});
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress",
        "metadata": {"name": NAME, "namespace": NAMESPACE, "annotations": {"team.example.com/owner": "shop"}},
        "spec": {"ingressClassName": "nginx", "rules": [{"host": "shop.example.com",
            "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}]},
    })
}

fn http_route() -> Value {
    let backends = json!([{"name": "web-stable", "port": 80}, {"name": "web-canary", "port": 80, "weight": 0}]);
    let help = json!({"matches": [{"path": {"type": "PathPrefix", "value": "/help"}, "headers": [{"name": "X-Help", "value": "1"}]}],
        "backendRefs": [{"name": "web-root", "port": 80}]});
    json!({
        "apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute",
        "metadata": {"name": NAME, "namespace": NAMESPACE, "annotations": {"team.example.com/owner": "shop"}},
        "spec": {"parentRefs": [{"name": "gateway"}], "hostnames": ["shop.example.com"],
            "rules": [help, {"backendRefs": backends}]},
    })
}

fn template() -> Value {
    let query = r#"sum(rate(http_requests_total{service="{{args.service}}",code!~"5.."}[20s])) / sum(rate(http_requests_total{service="{{args.service}}"}[20s]))"#;
    json!({
        "apiVersion": api::API_VERSION, "kind": "AnalysisTemplate",
        "metadata": {"name": GATE, "namespace": NAMESPACE},
        "spec": {
            "args": [{"name": "service", "value": "web"}],
            "metrics": [{
                "name": "success-rate", "interval": "5s", "count": 2, "failureLimit": 1, "consecutiveErrorLimit": 2,
                "successCondition": "result[0] >= 0.95", "failureCondition": "result[0] < 0.9",
                "provider": {"prometheus": {"address": "http://prometheus.monitoring:9090", "query": query, "timeout": 5}},
            }],
        },
    })
}

fn rollout(family: Family, dice: &mut Dice) -> Value {
    let mut spec = json!({
        "replicas": 1 + dice.below(6),
        "selector": {"matchLabels": {"app": NAME}},
        "template": {
            "metadata": {"labels": {"app": NAME}},
            "spec": {"containers": [{"name": "web", "image": "shop:v1"}]},
        },
        "strategy": match family {
            Family::Basic => json!({"canary": basic(dice)}),
            Family::Nginx => json!({"canary": nginx(dice)}),
            Family::Gateway => json!({"canary": gateway(dice)}),
            Family::BlueGreen => json!({"blueGreen": blue_green(dice)}),
        },
    });
    if dice.chance(20) {
        set(&mut spec, "progressDeadlineSeconds", json!(40));
        let abort = dice.chance(60);
        set(&mut spec, "progressDeadlineAbort", json!(abort));
    }
    if dice.chance(10) {
        // Not smaller than the limit of ReplicaSets that wait to be scaled down, where there is one.
        let least = spec.at("/strategy/blueGreen/scaleDownDelayRevisionLimit");
        let least = least.and_then(Value::as_u64).unwrap_or(0);
        set(&mut spec, "revisionHistoryLimit", json!(dice.below(2).max(least)));
    }
    json!({
        "apiVersion": api::API_VERSION, "kind": "Rollout",
        "metadata": {"name": NAME, "namespace": NAMESPACE, "annotations": {"team.example.com/owner": "shop"}},
        "spec": spec,
    })
}

/// Metadata that pods have because of the role of their version, in some lives.
fn of_roles(rollout: &mut Value, dice: &mut Dice) {
    let sides = [
        ("/spec/strategy/canary", "canaryMetadata", "stableMetadata"),
        ("/spec/strategy/blueGreen", "previewMetadata", "activeMetadata"),
    ];
    for (pointer, passing, lasting) in sides {
        let Some(strategy) = rollout.pointer_mut(pointer) else {
            continue;
        };
        for (field, role) in [(passing, "passing"), (lasting, roles::LASTING)] {
            if dice.chance(15) {
                let metadata = json!({"labels": {roles::LABEL: role}, "annotations": {roles::ANNOTATION: role}});
                set(strategy, field, metadata);
            }
        }
    }
}

fn set(target: &mut Value, field: &str, value: Value) {
    if let Value::Object(fields) = target {
        fields.insert(field.to_owned(), value);
    }
}

/// In `percent` of a hundred cases one of these.
fn maybe(target: &mut Value, field: &str, percent: u64, values: &[Value], dice: &mut Dice) {
    if dice.chance(percent)
        && let Some(value) = dice.pick(values).cloned()
    {
        set(target, field, value);
    }
}

/// Random steps.
pub fn steps(family: Family, dice: &mut Dice) -> Value {
    let count = dice.below(6);
    Value::Array((0..count).map(|_| step(family, dice)).collect())
}

fn step(family: Family, dice: &mut Dice) -> Value {
    let kinds = match family {
        Family::Nginx => 10,
        Family::Gateway => 12,
        Family::Basic | Family::BlueGreen => 9,
    };
    let one = |values: &[Value], dice: &mut Dice| dice.pick(values).cloned().unwrap_or_default();
    match dice.below(kinds) {
        0..4 => json!({"setWeight": one(&[json!(0), json!(10), json!(20), json!(50), json!(75), json!(100)], dice)}),
        4 => json!({"pause": {}}),
        5 => json!({"pause": {"duration": one(&[json!(0), json!(3), json!("20s")], dice)}}),
        6..9 => json!({"analysis": analysis(dice)}),
        9 => {
            let scales = [
                json!({"replicas": 1}),
                json!({"replicas": 4}),
                json!({"weight": 50}),
                json!({"matchTrafficWeight": true}),
            ];
            json!({"setCanaryScale": one(&scales, dice)})
        }
        _ => {
            let matches = json!([{"headerName": "X-Tester", "headerValue": {"exact": "1"}}]);
            let matches = if dice.chance(70) { matches } else { json!([]) };
            json!({"setHeaderRoute": {"name": MANAGED_ROUTE, "match": matches}})
        }
    }
}

fn analysis(dice: &mut Dice) -> Value {
    let of = if dice.chance(60) { "web-canary" } else { "web-root" };
    json!({"templates": [{"templateName": GATE}], "args": [{"name": "service", "value": of}]})
}

fn nginx(dice: &mut Dice) -> Value {
    routed(
        json!({"nginx": {"stableIngress": NAME}}),
        steps(Family::Nginx, dice),
        dice,
    )
}

fn gateway(dice: &mut Dice) -> Value {
    let routing = json!({
        "managedRoutes": [{"name": MANAGED_ROUTE}],
        "plugins": {"argoproj-labs/gatewayAPI": {"httpRoute": NAME, "namespace": NAMESPACE}},
    });
    routed(routing, steps(Family::Gateway, dice), dice)
}

fn routed(routing: Value, steps: Value, dice: &mut Dice) -> Value {
    let mut canary = json!({
        "canaryService": "web-canary", "stableService": "web-stable", "steps": steps, "trafficRouting": routing,
    });
    if dice.chance(25) {
        set(&mut canary, "dynamicStableScale", json!(true));
    } else {
        maybe(&mut canary, "scaleDownDelaySeconds", 50, &[json!(0), json!(10)], dice);
    }
    maybe(
        &mut canary,
        "abortScaleDownDelaySeconds",
        40,
        &[json!(0), json!(5), json!(60)],
        dice,
    );
    maybe(&mut canary, "minPodsPerReplicaSet", 15, &[json!(2)], dice);
    let thresholds = [
        json!({"type": "Percent", "value": 50}),
        json!({"type": "Pods", "value": 1}),
    ];
    maybe(&mut canary, "replicaProgressThreshold", 12, &thresholds, dice);
    background(&mut canary, dice);
    canary
}

fn background(canary: &mut Value, dice: &mut Dice) {
    if dice.chance(25) {
        let mut analysis = analysis(dice);
        let starting = dice.below(3);
        set(&mut analysis, "startingStep", json!(starting));
        set(canary, "analysis", analysis);
    }
}

fn basic(dice: &mut Dice) -> Value {
    let mut canary = json!({"steps": steps(Family::Basic, dice)});
    let surges = [json!(0), json!(1), json!(2), json!("25%"), json!("100%")];
    maybe(&mut canary, "maxSurge", 80, &surges, dice);
    let least = u64::from(canary.get("maxSurge") == Some(&json!(0)));
    let unavailable = least + dice.below(3);
    if dice.chance(80) || least == 1 {
        set(&mut canary, "maxUnavailable", json!(unavailable));
    }
    if dice.chance(50) {
        set(&mut canary, "stableService", json!("web-stable"));
        set(&mut canary, "canaryService", json!("web-canary"));
    }
    background(&mut canary, dice);
    canary
}

fn blue_green(dice: &mut Dice) -> Value {
    let mut strategy = json!({"activeService": "web-stable"});
    maybe(&mut strategy, "previewService", 70, &[json!("web-canary")], dice);
    maybe(&mut strategy, "autoPromotionEnabled", 40, &[json!(false)], dice);
    maybe(&mut strategy, "autoPromotionSeconds", 40, &[json!(5), json!(30)], dice);
    maybe(&mut strategy, "previewReplicaCount", 30, &[json!(1), json!(2)], dice);
    maybe(&mut strategy, "scaleDownDelaySeconds", 50, &[json!(0), json!(10)], dice);
    maybe(
        &mut strategy,
        "abortScaleDownDelaySeconds",
        40,
        &[json!(0), json!(5), json!(60)],
        dice,
    );
    maybe(&mut strategy, "scaleDownDelayRevisionLimit", 15, &[json!(1)], dice);
    if dice.chance(35) {
        set(&mut strategy, "prePromotionAnalysis", preview_analysis());
    }
    if dice.chance(35) {
        set(&mut strategy, "postPromotionAnalysis", preview_analysis());
    }
    strategy
}

/// A preview gets no requests to be judged by: the metric is about all requests.
fn preview_analysis() -> Value {
    json!({"templates": [{"templateName": GATE}], "args": [{"name": "service", "value": "web-root"}]})
}

/// The label by which pods of a version are known.
pub const HASH: &str = well_known::POD_TEMPLATE_HASH;
