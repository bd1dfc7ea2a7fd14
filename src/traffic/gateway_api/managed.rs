//! Rules of our own: header routes and mirrors, named after `managedRoutes`.
//!
//! Each is made of a rule of the user's that carries weights, with narrower matches; so it keeps that rule's filters,
//! timeouts and ports.

use super::{is_service, weight_of};
use crate::{
    api::traffic::{HeaderRoutingMatch, RouteMatch},
    traffic::{
        Wanted, edits,
        foreign::ForeignKind,
        routes::{Match, Route, RouteKind},
    },
};
use serde_json::{Map, Value, json};

/// Whether a rule is one that we made, by its name: that of a managed route, or it with a number for further rules.
pub(super) fn is_ours(rule: &Value, wanted: &Wanted<'_>) -> bool {
    let Some(name) = rule.get("name").and_then(Value::as_str) else {
        return false;
    };
    edits::managed_names(wanted.rollout).any(|managed| {
        name.strip_prefix(managed).is_some_and(|rest| {
            let number = rest.strip_prefix('-').map(str::parse::<usize>);
            rest.is_empty() || matches!(number, Some(Ok(_)))
        })
    })
}

/// The rules for the wanted routes. `users` are the user's rules with the weights in place.
pub(super) fn rules(
    kind: ForeignKind,
    wanted: &Wanted<'_>,
    routes: &[Route<'_>],
    users: &[Value],
) -> Result<Vec<Value>, String> {
    let mut made = Vec::new();
    for route in routes {
        let weighted = users.iter().filter(|rule| weight_of(rule, wanted).is_some());
        let mut count = 0;
        for user in weighted {
            let Some(rule) = rule_of(kind, route, wanted, user)? else {
                continue;
            };
            count += 1;
            made.push(named(rule, route.name, count));
        }
    }
    Ok(made)
}

fn named(mut rule: Value, name: &str, count: usize) -> Value {
    let name = if count == 1 {
        name.to_owned()
    } else {
        format!("{name}-{count}")
    };
    if let Some(rule) = rule.as_object_mut() {
        rule.insert("name".to_owned(), Value::from(name));
    }
    rule
}

/// The narrower copy of a rule; `None` when no request that the rule takes can match.
fn rule_of(kind: ForeignKind, route: &Route<'_>, wanted: &Wanted<'_>, user: &Value) -> Result<Option<Value>, String> {
    let (matches, mirrored) = match route.kind {
        RouteKind::Header(headers) => (with_headers(kind, user, headers)?, None),
        RouteKind::Mirror(matches, percentage) => (with_matches(kind, user, matches)?, Some(percentage)),
    };
    if matches.is_empty() {
        return Ok(None);
    }
    let mut rule = user.as_object().cloned().unwrap_or_default();
    rule.insert("matches".to_owned(), Value::Array(matches));
    let backends = rule.get("backendRefs").and_then(Value::as_array);
    let canary = backends
        .into_iter()
        .flatten()
        .find(|backend| is_service(backend, wanted.canary_service));
    let Some(canary) = canary.and_then(Value::as_object).cloned() else {
        return Ok(None);
    };
    match mirrored {
        None => {
            let mut canary = canary;
            canary.insert("weight".to_owned(), Value::from(1));
            rule.insert("backendRefs".to_owned(), json!([canary]));
        }
        Some(percentage) => {
            let filters = rule.entry("filters").or_insert_with(|| json!([]));
            if let Some(filters) = filters.as_array_mut() {
                filters.push(mirror(&canary, percentage));
            }
        }
    }
    Ok(Some(Value::Object(rule)))
}

/// A copy of each request to the canary. A full share is not written: older versions of the API do not know shares.
fn mirror(canary: &Map<String, Value>, percentage: i32) -> Value {
    let fields = ["group", "kind", "name", "namespace", "port"];
    let copied = fields
        .iter()
        .filter_map(|field| Some(((*field).to_owned(), canary.get(*field)?.clone())));
    let mut backend: Map<String, Value> = copied.collect();
    // What the API server fills in; without it the rule would differ from what is stored, for ever (guarantee C1).
    backend.entry("group").or_insert_with(|| Value::from(""));
    backend.entry("kind").or_insert_with(|| Value::from("Service"));
    let mut request_mirror = Map::from_iter([("backendRef".to_owned(), Value::Object(backend))]);
    if percentage < 100 {
        request_mirror.insert("percent".to_owned(), Value::from(percentage));
    }
    json!({ "type": "RequestMirror", "requestMirror": request_mirror })
}

/// The rule's own matches, one that takes everything when there are none.
fn own_matches(kind: ForeignKind, user: &Value) -> Vec<Map<String, Value>> {
    let listed = user
        .get("matches")
        .and_then(Value::as_array)
        .filter(|matches| !matches.is_empty());
    let mut matches: Vec<Map<String, Value>> = match listed {
        Some(listed) => listed.iter().filter_map(Value::as_object).cloned().collect(),
        None => vec![Map::new()],
    };
    if kind == ForeignKind::HttpRoute {
        for own in &mut matches {
            own.entry("path")
                .or_insert_with(|| json!({ "type": "PathPrefix", "value": "/" }));
        }
    }
    matches
}

fn with_headers(kind: ForeignKind, user: &Value, headers: &[HeaderRoutingMatch]) -> Result<Vec<Value>, String> {
    let mut wanted = Vec::new();
    for header in headers {
        let value = header.header_value.as_ref().and_then(Match::of);
        let value = value.ok_or_else(|| format!("cannot take the header {} without a value", header.header_name))?;
        wanted.push(header_match(&header.header_name, value));
    }
    let matches = own_matches(kind, user).into_iter();
    Ok(matches
        .map(|mut own| {
            add_headers(&mut own, wanted.clone());
            Value::Object(own)
        })
        .collect())
}

fn add_headers(own: &mut Map<String, Value>, headers: Vec<Value>) {
    if headers.is_empty() {
        return;
    }
    let listed = own.entry("headers").or_insert_with(|| json!([]));
    if let Some(listed) = listed.as_array_mut() {
        listed.extend(headers);
    }
}

fn header_match(name: &str, value: Match<'_>) -> Value {
    match value {
        Match::Exact(text) => json!({ "name": name, "type": "Exact", "value": text }),
        Match::Prefix(_) | Match::Regex(_) => {
            json!({ "name": name, "type": "RegularExpression", "value": value.pattern() })
        }
    }
}

/// Each of the rule's matches together with each of the wanted ones.
fn with_matches(kind: ForeignKind, user: &Value, matches: &[RouteMatch]) -> Result<Vec<Value>, String> {
    let mut found = Vec::new();
    for own in own_matches(kind, user) {
        for wanted in matches {
            found.extend(together(kind, own.clone(), wanted)?.map(Value::Object));
        }
    }
    Ok(found)
}

fn together(
    kind: ForeignKind,
    mut own: Map<String, Value>,
    wanted: &RouteMatch,
) -> Result<Option<Map<String, Value>>, String> {
    let method = wanted.method.as_ref().and_then(Match::of);
    let path = wanted.path.as_ref().and_then(Match::of);
    if kind != ForeignKind::HttpRoute && (method.is_some() || path.is_some()) {
        return Err("cannot mirror by method or path: gRPC calls have headers only".to_owned());
    }
    match method {
        None => {}
        Some(Match::Exact(method)) => {
            let method = Value::from(method.to_uppercase());
            if own.get("method").is_some_and(|own| *own != method) {
                return Ok(None);
            }
            own.insert("method".to_owned(), method);
        }
        Some(Match::Prefix(_) | Match::Regex(_)) => {
            return Err("cannot mirror by a method that is not exact".to_owned());
        }
    }
    if let Some(path) = path {
        let Some(narrower) = narrower(own.get("path"), path) else {
            return Ok(None);
        };
        own.insert("path".to_owned(), narrower);
    }
    let mut headers = Vec::new();
    for (name, value) in &wanted.headers {
        let value = Match::of(value).ok_or_else(|| format!("cannot take the header {name} without a value"))?;
        headers.push(header_match(name, value));
    }
    add_headers(&mut own, headers);
    Ok(Some(own))
}

/// The path that both ask for; `None` when there is none that the rule's own match takes, or when it cannot be told.
fn narrower(own: Option<&Value>, wanted: Match<'_>) -> Option<Value> {
    let text = |field: &str| own.and_then(|own| own.get(field)).and_then(Value::as_str);
    let (kind, own_path) = (text("type").unwrap_or("PathPrefix"), text("value").unwrap_or("/"));
    let is_below = |path: &str, prefix: &str| {
        let prefix = prefix.trim_end_matches('/');
        path.strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let path = |kind: &str, value: &str| Some(json!({ "type": kind, "value": value }));
    match (kind, wanted) {
        ("PathPrefix", Match::Exact(wanted)) if is_below(wanted, own_path) => path("Exact", wanted),
        ("PathPrefix", Match::Prefix(wanted)) if is_below(wanted, own_path) => path("PathPrefix", wanted),
        ("PathPrefix", Match::Prefix(wanted)) if is_below(own_path, wanted) => path("PathPrefix", own_path),
        ("PathPrefix", Match::Regex(wanted)) if own_path == "/" => path("RegularExpression", wanted),
        ("Exact", Match::Exact(wanted)) if wanted == own_path => path("Exact", own_path),
        ("Exact", Match::Prefix(wanted)) if is_below(own_path, wanted) => path("Exact", own_path),
        _ => None,
    }
}
