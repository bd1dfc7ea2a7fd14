//! Reads HTTPRoutes of Gateway API. Pure.
//!
//! Served are routes whose parent is a Gateway named [`GATEWAY`]. Of a rule are read: its first match's path (exact or prefix), one header of a match, and at most
//! two `backendRefs` with their weights. A `backendRef` without ready endpoints gets its share all the same, which then fails, as the API asks.

use kube::{ResourceExt as _, core::DynamicObject};
use serde_json::{Value, json};

use super::{
    canary::{CanaryRule, HeaderMatch, HeaderRule},
    routing::{Backend, Match},
};

/// The Gateway that this data plane is.
pub(super) const GATEWAY: &str = "nginx";

/// Who says so in a route's status.
const CONTROLLER: &str = "tidegate.dev/test-gateway";

/// What a rule asks for at a host and path.
pub(super) struct Wish {
    pub(super) host: String,
    pub(super) path: Match,
    pub(super) main: Backend,
    /// A second backend with its share, or the only backend of requests with a header.
    pub(super) other: Option<(Backend, CanaryRule)>,
    /// Whether it is only about requests with a header.
    pub(super) by_header: bool,
}

/// Whether a route is ours to serve.
pub(super) fn is_served(route: &DynamicObject) -> bool {
    let parents = route.data.pointer("/spec/parentRefs").and_then(Value::as_array);
    parents
        .into_iter()
        .flatten()
        .any(|parent| text_of(parent, "name") == Some(GATEWAY))
}

/// The status to write, when the present one is about another generation.
pub(super) fn status(route: &DynamicObject) -> Option<Value> {
    let generation = route.metadata.generation;
    let parents = route.data.pointer("/status/parents").and_then(Value::as_array);
    let ours = parents
        .into_iter()
        .flatten()
        .find(|parent| text_of(parent, "controllerName") == Some(CONTROLLER));
    let observed = ours.and_then(|parent| {
        parent
            .pointer("/conditions/0/observedGeneration")
            .and_then(Value::as_i64)
    });
    if observed == generation {
        return None;
    }
    let condition = |name: &str| {
        json!({"type": name, "status": "True", "reason": name, "message": "", "observedGeneration": generation,
            "lastTransitionTime": route.creation_timestamp()})
    };
    Some(
        json!({"status": {"parents": [{"controllerName": CONTROLLER, "parentRef": {"name": GATEWAY},
        "conditions": [condition("Accepted"), condition("ResolvedRefs")]}]}}),
    )
}

/// What the rules of a route ask for, those about headers last.
pub(super) fn wishes(route: &DynamicObject) -> Vec<Wish> {
    let namespace = route.namespace().unwrap_or_default();
    let list = |pointer: &str| {
        route
            .data
            .pointer(pointer)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let mut hosts: Vec<String> = list("/spec/hostnames")
        .iter()
        .filter_map(|host| Some(host.as_str()?.to_owned()))
        .collect();
    if hosts.is_empty() {
        hosts.push(String::new());
    }
    let mut all = Vec::new();
    for rule in list("/spec/rules") {
        for matched in list_of(&rule, "matches") {
            for host in &hosts {
                all.extend(wish(&namespace, host, &rule, matched));
            }
        }
    }
    all.sort_by_key(|wish| wish.by_header);
    all
}

fn wish(namespace: &str, host: &str, rule: &Value, matched: &Value) -> Option<Wish> {
    let backends: Vec<(Backend, u64)> = list_of(rule, "backendRefs")
        .iter()
        .filter_map(|backend| {
            let service = text_of(backend, "name")?.to_owned();
            let port = Err(i32::try_from(backend.get("port")?.as_i64()?).ok()?);
            let weight = backend.get("weight").and_then(Value::as_u64).unwrap_or(1);
            let namespace = namespace.to_owned();
            Some((
                Backend {
                    namespace,
                    service,
                    port,
                },
                weight,
            ))
        })
        .collect();
    let header = header(matched);
    let (main, first) = backends.first()?.clone();
    let other = match (backends.get(1), &header) {
        (Some((other, second)), None) => {
            let share = second.saturating_mul(10_000).checked_div(first + second).unwrap_or(0);
            Some((other.clone(), rule_of(None, share)))
        }
        (None, Some(header)) => Some((main.clone(), rule_of(Some(header.clone()), 0))),
        _ => None,
    };
    Some(Wish {
        host: host.to_owned(),
        path: path(matched)?,
        main,
        other,
        by_header: header.is_some(),
    })
}

fn list_of<'a>(object: &'a Value, field: &str) -> &'a [Value] {
    object.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn text_of<'a>(object: &'a Value, field: &str) -> Option<&'a str> {
    object.get(field).and_then(Value::as_str)
}

fn rule_of(header: Option<HeaderRule>, weight: u64) -> CanaryRule {
    CanaryRule {
        header,
        cookie: None,
        weight,
    }
}

fn path(matched: &Value) -> Option<Match> {
    let field = |name: &str| {
        matched
            .get("path")
            .and_then(|path| path.get(name))
            .and_then(Value::as_str)
    };
    let text = field("value").unwrap_or("/");
    match field("type").unwrap_or("PathPrefix") {
        "Exact" => Some(Match::Exact(text.to_owned())),
        "PathPrefix" => Some(Match::Prefix(text.trim_end_matches('/').to_owned())),
        _ => None,
    }
}

fn header(matched: &Value) -> Option<HeaderRule> {
    let header = list_of(matched, "headers").first()?;
    let text = text_of(header, "value")?.to_owned();
    Some(HeaderRule {
        name: text_of(header, "name")?.to_owned(),
        value: match text_of(header, "type") {
            Some("RegularExpression") => HeaderMatch::Pattern(text),
            _ => HeaderMatch::Exact(text),
        },
    })
}
