//! Which routes of a VirtualService are split, and the weights of their destinations.

use super::{Ask, managed};
use crate::{
    api::{
        rollout::Rollout,
        traffic::{IstioVirtualService, TlsRoute},
    },
    json::At as _,
    traffic::{edits, foreign::Foreign},
};
use serde_json::Value;

/// A list of routes in a VirtualService.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Protocol {
    Http,
    Tls,
    Tcp,
}

impl Protocol {
    pub(super) const ALL: [Self; 3] = [Self::Http, Self::Tls, Self::Tcp];

    /// Its field in `spec`.
    pub(super) fn field(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Tls => "tls",
            Self::Tcp => "tcp",
        }
    }

    /// A problem with its routes, in the original's words.
    pub(super) fn invalid(self, what: &str) -> String {
        let name = self.field().to_uppercase();
        format!("Istio VirtualService has invalid {name} routes. Error: {what}")
    }
}

/// The routes of one protocol.
pub(super) fn routes<'a>(live: &Foreign<'a>, protocol: Protocol) -> &'a [Value] {
    let routes = live.spec().and_then(|spec| spec.get(protocol.field()));
    routes.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A route's name, for people.
pub(super) fn called(protocol: Protocol, route: &Value, at: usize) -> String {
    match name_of(route) {
        Some(name) => format!("route \"{name}\""),
        None => format!("spec.{}[{at}]", protocol.field()),
    }
}

fn name_of(route: &Value) -> Option<&str> {
    route
        .get("name")
        .and_then(Value::as_str)
        .filter(|name| !name.is_empty())
}

/// The routes to split.
#[derive(Debug, Default)]
pub(super) struct Picked {
    /// Where they are.
    pub(super) places: Vec<(Protocol, usize)>,
    /// What was asked for and is not there.
    pub(super) problems: Vec<String>,
}

/// The routes that a specification names. Where it names none, the only one there is.
pub(super) fn picked(service: &IstioVirtualService, rollout: &Rollout, live: &Foreign<'_>) -> Picked {
    let users = |protocol: Protocol| {
        let routes = routes(live, protocol).iter().enumerate();
        routes.filter(move |(_, route)| protocol != Protocol::Http || !managed::is_ours(route, service, rollout))
    };
    let mut picked = Picked::default();
    let about = |what: String| format!("VirtualService \"{}\" {what}", live.name());
    if service.routes.is_empty() && service.tls_routes.is_empty() && service.tcp_routes.is_empty() {
        let listed = Protocol::ALL
            .into_iter()
            .find(|protocol| users(*protocol).next().is_some());
        let Some(protocol) = listed else {
            let what = about("has no routes".to_owned());
            picked.problems.push(Protocol::Http.invalid(&what));
            return picked;
        };
        let places: Vec<usize> = users(protocol).map(|(at, _)| at).collect();
        match places.as_slice() {
            [only] => picked.places.push((protocol, *only)),
            several => {
                let count = several.len();
                let field = protocol.field();
                let what = about(format!(
                    "has {count} routes in spec.{field}, expected the names of those to split"
                ));
                picked.problems.push(protocol.invalid(&what));
            }
        }
        return picked;
    }
    let mut pick = |protocol: Protocol, asked: String, fits: &dyn Fn(&Value) -> bool| {
        let places: Vec<usize> = users(protocol)
            .filter(|(_, route)| fits(route))
            .map(|(at, _)| at)
            .collect();
        if places.is_empty() {
            picked
                .problems
                .push(protocol.invalid(&about(format!("has no route {asked}"))));
        }
        for at in places {
            if !picked.places.contains(&(protocol, at)) {
                picked.places.push((protocol, at));
            }
        }
    };
    for name in &service.routes {
        pick(Protocol::Http, format!("\"{name}\""), &|route| {
            name_of(route) == Some(name)
        });
    }
    for tls in &service.tls_routes {
        let hosts = tls.sni_hosts.join(",");
        pick(
            Protocol::Tls,
            format!("of port {} and hosts [{hosts}]", tls.port),
            &|route| is_tls(route, tls),
        );
    }
    for tcp in &service.tcp_routes {
        let fits = |route: &Value| matches(route).any(|matched| port_of(matched) == Some(tcp.port));
        // Without a port it is the only one.
        let only = tcp.port == 0 && routes(live, Protocol::Tcp).len() == 1;
        pick(Protocol::Tcp, format!("of port {}", tcp.port), &|route| {
            only || fits(route)
        });
    }
    picked
}

fn matches(route: &Value) -> impl Iterator<Item = &Value> {
    route.get("match").and_then(Value::as_array).into_iter().flatten()
}

fn port_of(matched: &Value) -> Option<i64> {
    matched.get("port").and_then(Value::as_i64)
}

/// Whether a TLS route is the one of a port, of SNI hosts, or of both.
fn is_tls(route: &Value, asked: &TlsRoute) -> bool {
    if asked.port == 0 && asked.sni_hosts.is_empty() {
        return false;
    }
    matches(route).any(|matched| {
        let hosts: Vec<&str> = (matched.get("sniHosts").and_then(Value::as_array).into_iter().flatten())
            .filter_map(Value::as_str)
            .collect();
        let same_hosts =
            hosts.len() == asked.sni_hosts.len() && asked.sni_hosts.iter().all(|host| hosts.contains(&host.as_str()));
        (asked.port == 0 || port_of(matched) == Some(asked.port)) && (asked.sni_hosts.is_empty() || same_hosts)
    })
}

/// Whose a destination is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Side {
    Canary,
    Stable,
    Other,
}

/// Whose a destination is: by its subset, or by its host.
pub(super) fn side(entry: &Value, ask: &Ask<'_>) -> Side {
    let subset = entry
        .at("/destination/subset")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if let Some(rule) = ask.rule.filter(|_| !subset.is_empty()) {
        if subset == rule.canary_subset_name {
            return Side::Canary;
        }
        if subset == rule.stable_subset_name {
            return Side::Stable;
        }
        if rule.additional_subset_names.iter().any(|name| name == subset) {
            return Side::Other;
        }
    }
    let host = entry
        .at("/destination/host")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let mut labels = host.split('.');
    let name = labels.next().unwrap_or_default();
    // A Service of the same name in another namespace is another one.
    let elsewhere = labels
        .next()
        .is_some_and(|namespace| namespace != edits::namespace(ask.wanted.rollout));
    if name.is_empty() || elsewhere {
        Side::Other
    } else if name == ask.wanted.canary_service {
        Side::Canary
    } else if name == ask.wanted.stable_service {
        Side::Stable
    } else {
        Side::Other
    }
}

/// The destinations of a route.
pub(super) fn entries(route: &Value) -> &[Value] {
    let entries = route.get("route").and_then(Value::as_array);
    entries.map_or(&[], Vec::as_slice)
}

/// The weights of one side; `None` when it has no destination.
fn weight_on(route: &Value, asked: Side, ask: &Ask<'_>) -> Option<i64> {
    let mut on = entries(route)
        .iter()
        .filter(|entry| side(entry, ask) == asked)
        .peekable();
    on.peek()?;
    // A destination alone takes everything; one of several without a weight takes nothing.
    let absent = if entries(route).len() == 1 { 100 } else { 0 };
    let weights = on.map(|entry| entry.get("weight").and_then(Value::as_i64).unwrap_or(absent));
    Some(weights.map(|weight| weight.clamp(0, 1_000_000)).sum())
}

/// The canary's share of what the two versions get, out of the total; `None` when the route does not lead to both.
pub(super) fn weight_of(route: &Value, ask: &Ask<'_>) -> Option<i32> {
    let total = ask.wanted.weights.total;
    let (canary, stable) = (
        weight_on(route, Side::Canary, ask)?,
        weight_on(route, Side::Stable, ask)?,
    );
    let others = weight_on(route, Side::Other, ask).unwrap_or(0);
    if canary > 0 && stable == 0 {
        return Some(total);
    }
    if canary + stable + others == i64::from(total) {
        return i32::try_from(canary).ok();
    }
    Some(edits::share(canary, stable, total))
}

/// A route that does not fit, without requests for the canary: the stable version gets them. `None` where they have
/// nowhere to go, or there are none.
pub(super) fn without_canary(route: &Value, ask: &Ask<'_>) -> Option<Value> {
    let mut freed = weight_on(route, Side::Canary, ask).filter(|weight| *weight > 0)?;
    weight_on(route, Side::Stable, ask)?;
    let mut route = route.clone();
    for entry in route.get_mut("route")?.as_array_mut()? {
        let weight = match side(entry, ask) {
            Side::Canary => 0,
            Side::Stable => entry.get("weight").and_then(Value::as_i64).unwrap_or(0) + std::mem::take(&mut freed),
            Side::Other => continue,
        };
        entry.as_object_mut()?.insert("weight".to_owned(), Value::from(weight));
    }
    Some(route)
}

/// A route with the weights in place. Other destinations keep theirs, out of the stable version's share (guarantee T1).
pub(super) fn with_weights(route: &Value, ask: &Ask<'_>) -> Result<Value, String> {
    for (asked, role, service) in [
        (Side::Stable, "stable", ask.wanted.stable_service),
        (Side::Canary, "canary", ask.wanted.canary_service),
    ] {
        let count = entries(route).iter().filter(|entry| side(entry, ask) == asked).count();
        if count != 1 {
            return Err(format!(
                "has {count} destinations of the {role} version (Service \"{service}\", or its subset), expected 1"
            ));
        }
    }
    let weights = ask.wanted.weights;
    let others = weight_on(route, Side::Other, ask).unwrap_or(0);
    let left = i32::try_from(i64::from(weights.total) - others).unwrap_or(0);
    let canary = if weights.canary >= weights.total {
        left.max(0)
    } else if weights.canary > 0 && weights.canary >= left {
        return Err(format!(
            "has {others} of {} at other destinations, which leaves no room for weight {}",
            weights.total, weights.canary
        ));
    } else {
        weights.canary
    };
    let stable = (left - canary).max(0);
    let mut route = route.clone();
    let entries = route.get_mut("route").and_then(Value::as_array_mut);
    for entry in entries.into_iter().flatten() {
        let weight = match side(entry, ask) {
            Side::Canary => canary,
            Side::Stable => stable,
            Side::Other => continue,
        };
        if let Some(entry) = entry.as_object_mut() {
            entry.insert("weight".to_owned(), Value::from(weight));
        }
    }
    Ok(route)
}
