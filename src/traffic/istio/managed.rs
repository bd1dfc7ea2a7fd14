//! HTTP routes of our own: header routes and mirrors, named after `managedRoutes`, before all others.
//!
//! Each is made of a route that is split, with narrower matches; so it keeps that route's rewrites, timeouts and retries,
//! and takes no request from a route that leads elsewhere.

use super::{
    Ask,
    split::{Side, entries, side, with_weights},
};
use crate::{
    api::{
        rollout::Rollout,
        traffic::{HeaderRoutingMatch, IstioVirtualService, RouteMatch},
    },
    json::At as _,
    traffic::{
        edits,
        routes::{Match, Route, RouteKind},
    },
};
use serde_json::{Map, Value, json};

/// Whether an HTTP route is one that we made, by its name: that of a managed route, or it with a number for further
/// ones. One that the specification names as the user's own is not.
pub(super) fn is_ours(route: &Value, service: &IstioVirtualService, rollout: &Rollout) -> bool {
    let Some(name) = route.get("name").and_then(Value::as_str) else {
        return false;
    };
    if service.routes.iter().any(|users| users == name) {
        return false;
    }
    edits::managed_names(rollout).any(|managed| {
        name.strip_prefix(managed).is_some_and(|rest| {
            let number = rest.strip_prefix('-').map(str::parse::<usize>);
            rest.is_empty() || matches!(number, Some(Ok(_)))
        })
    })
}

/// The HTTP routes as they should be: ours first, then the user's in their order. `weighted` are all of them with the
/// weights in place, `split` says which of these are split.
pub(super) fn with_routes(
    service: &IstioVirtualService,
    ask: &Ask<'_>,
    weighted: &[Value],
    split: &[usize],
) -> Result<Vec<Value>, String> {
    let rollout = ask.wanted.rollout;
    let (ours, users): (Vec<&Value>, Vec<&Value>) = weighted.iter().partition(|route| is_ours(route, service, rollout));
    let mut all = match ask.wanted.routes {
        Some(routes) => {
            let models: Vec<&Value> = split.iter().filter_map(|at| weighted.get(*at)).collect();
            made(ask, routes, &models)?
        }
        // A mirror leads to both versions, a header route to one.
        None => ours
            .into_iter()
            .map(|route| with_weights(route, ask).unwrap_or_else(|_| route.clone()))
            .collect(),
    };
    all.extend(users.into_iter().cloned());
    Ok(all)
}

fn made(ask: &Ask<'_>, routes: &[Route<'_>], models: &[&Value]) -> Result<Vec<Value>, String> {
    let mut all = Vec::new();
    for route in routes {
        let mut count = 0;
        for model in models {
            let Some(mut made) = route_of(route, ask, model)? else {
                continue;
            };
            count += 1;
            let name = match count {
                1 => route.name.to_owned(),
                count => format!("{}-{count}", route.name),
            };
            made.insert("name".to_owned(), Value::from(name));
            all.push(Value::Object(made));
        }
        if count == 0 {
            return Err(format!(
                "no request that it splits can match the route \"{}\"",
                route.name
            ));
        }
    }
    Ok(all)
}

/// The narrower copy of a route; `None` when no request that the route takes can match.
fn route_of(route: &Route<'_>, ask: &Ask<'_>, model: &Value) -> Result<Option<Map<String, Value>>, String> {
    let matches = match route.kind {
        RouteKind::Header(headers) => with_headers(model, headers)?,
        RouteKind::Mirror(wanted, _) => with_matches(model, wanted)?,
    };
    let canary = entries(model).iter().find(|entry| side(entry, ask) == Side::Canary);
    let destination = canary.and_then(|canary| canary.get("destination"));
    let (Some(destination), Some(model)) = (destination, model.as_object()) else {
        return Ok(None);
    };
    if matches.is_empty() {
        return Ok(None);
    }
    let mut made = model.clone();
    made.insert("match".to_owned(), Value::Array(matches));
    match route.kind {
        RouteKind::Header(_) => {
            let canary = json!([{ "destination": destination, "weight": 100 }]);
            made.insert("route".to_owned(), canary);
        }
        RouteKind::Mirror(_, percentage) => {
            made.insert("mirror".to_owned(), destination.clone());
            made.insert("mirrorPercentage".to_owned(), json!({ "value": percentage }));
        }
    }
    Ok(Some(made))
}

fn own_matches(model: &Value) -> Vec<Map<String, Value>> {
    let listed = model.get("match").and_then(Value::as_array);
    match listed.filter(|matches| !matches.is_empty()) {
        Some(listed) => listed.iter().filter_map(Value::as_object).cloned().collect(),
        None => vec![Map::new()],
    }
}

fn with_headers(model: &Value, headers: &[HeaderRoutingMatch]) -> Result<Vec<Value>, String> {
    let mut wanted = Vec::new();
    for header in headers {
        let value = header.header_value.as_ref().and_then(Match::of);
        wanted.push((header.header_name.as_str(), known(&header.header_name, value)?));
    }
    let matches = own_matches(model).into_iter();
    Ok(matches
        .filter_map(|own| with_all(own, &wanted))
        .map(Value::Object)
        .collect())
}

fn known<'a>(name: &str, value: Option<Match<'a>>) -> Result<Match<'a>, String> {
    value.ok_or_else(|| format!("cannot take the header {name} without a value"))
}

/// A match with further headers; `None` when no request has them all.
fn with_all(mut own: Map<String, Value>, headers: &[(&str, Match<'_>)]) -> Option<Map<String, Value>> {
    for (name, value) in headers {
        let before = own.get("headers").and_then(|headers| headers.get(*name));
        let narrower = narrower(before, *value)?;
        let listed = own.entry("headers").or_insert_with(|| json!({}));
        listed.as_object_mut()?.insert((*name).to_owned(), narrower);
    }
    Some(own)
}

/// Each of the route's own matches together with each of the wanted ones.
fn with_matches(model: &Value, matches: &[RouteMatch]) -> Result<Vec<Value>, String> {
    let mut found = Vec::new();
    for own in own_matches(model) {
        for wanted in matches {
            let mut headers = Vec::new();
            for (name, value) in &wanted.headers {
                headers.push((name.as_str(), known(name, Match::of(value))?));
            }
            found.extend(together(own.clone(), wanted, &headers).map(Value::Object));
        }
    }
    Ok(found)
}

fn together(
    mut own: Map<String, Value>,
    wanted: &RouteMatch,
    headers: &[(&str, Match<'_>)],
) -> Option<Map<String, Value>> {
    for (field, value) in [("method", &wanted.method), ("uri", &wanted.path)] {
        if let Some(value) = value.as_ref().and_then(Match::of) {
            let narrower = narrower(own.get(field), value)?;
            own.insert(field.to_owned(), narrower);
        }
    }
    with_all(own, headers)
}

/// The text match that asks for both; `None` when no text is both, or when it cannot be told.
fn narrower(own: Option<&Value>, wanted: Match<'_>) -> Option<Value> {
    let text = |field: &str| own.and_then(|own| own.at(&format!("/{field}"))).and_then(Value::as_str);
    let (exact, prefix, regex) = (text("exact"), text("prefix"), text("regex"));
    let open = exact.is_none() && regex.is_none() && prefix.is_none_or(|prefix| prefix.is_empty() || prefix == "/");
    match (wanted, exact, prefix) {
        (Match::Exact(wanted), None, None) if regex.is_none() => Some(json!({ "exact": wanted })),
        (Match::Prefix(wanted), None, None) if regex.is_none() => Some(json!({ "prefix": wanted })),
        (Match::Regex(wanted), ..) if open => Some(json!({ "regex": wanted })),
        (Match::Exact(wanted), Some(own), _) if own == wanted => Some(json!({ "exact": own })),
        (Match::Prefix(wanted), Some(own), _) if own.starts_with(wanted) => Some(json!({ "exact": own })),
        (Match::Exact(wanted), _, Some(own)) if wanted.starts_with(own) => Some(json!({ "exact": wanted })),
        (Match::Prefix(wanted), _, Some(own)) if wanted.starts_with(own) => Some(json!({ "prefix": wanted })),
        (Match::Prefix(wanted), _, Some(own)) if own.starts_with(wanted) => Some(json!({ "prefix": own })),
        (Match::Regex(wanted), ..) if regex == Some(wanted) => Some(json!({ "regex": wanted })),
        _ => None,
    }
}
