//! The configuration of the Gateway API router, as users of the plugin `argoproj-labs/gatewayAPI` wrote it.

use crate::{api::unknown_fields::closest, traffic::foreign::ForeignKind};
use serde_json::Value;
use std::fmt;

/// Key of the configuration in `trafficRouting.plugins`.
pub const PLUGIN: &str = "argoproj-labs/gatewayAPI";

/// Fields of the plugin that change nothing here: bookkeeping of its own.
const INERT: [&str; 4] = [
    "configMap",
    "disableInProgressLabel",
    "inProgressLabelKey",
    "inProgressLabelValue",
];

/// Fields that name one route, and several of them, of each kind.
const NAMED: [(&str, &str, ForeignKind); 4] = [
    ("httpRoute", "httpRoutes", ForeignKind::HttpRoute),
    ("grpcRoute", "grpcRoutes", ForeignKind::GrpcRoute),
    ("tcpRoute", "tcpRoutes", ForeignKind::TcpRoute),
    ("tlsRoute", "tlsRoutes", ForeignKind::TlsRoute),
];

/// The routes that carry a Rollout's weights.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct GatewayApi {
    /// Namespace of the routes; absent means the Rollout's.
    pub namespace: Option<String>,
    /// The routes, each once.
    pub routes: Vec<RouteRef>,
}

/// Names a route.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RouteRef {
    /// Its kind.
    pub kind: ForeignKind,
    /// Its name.
    pub name: String,
    /// Whether header routes and mirrors are made in it; only kinds that know requests can.
    pub takes_routes: bool,
}

impl fmt::Display for RouteRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.name)
    }
}

/// What is wrong with a configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigProblem {
    /// Path below the configuration; empty for the whole.
    pub path: String,
    /// What was found there.
    pub found: Value,
    /// What was expected.
    pub message: String,
}

impl GatewayApi {
    /// Reads a configuration.
    ///
    /// # Errors
    /// Everything that is wrong with it, each at its path.
    pub fn parse(config: &Value) -> Result<Self, Vec<ConfigProblem>> {
        let Some(fields) = config.as_object() else {
            return Err(vec![problem("", config, "expected an object that names routes")]);
        };
        let mut problems = Vec::new();
        let mut parsed = Self::default();
        for (key, value) in fields {
            let single = NAMED.iter().find(|(one, ..)| one == key);
            let several = NAMED.iter().find(|(_, several, _)| several == key);
            if let Some((.., kind)) = single {
                match value.as_str() {
                    Some("") => {}
                    Some(name) => parsed.add(*kind, name, true),
                    None => problems.push(problem(key, value, "expected the name of a route")),
                }
            } else if let Some((.., kind)) = several {
                parsed.add_list(*kind, key, value, &mut problems);
            } else if key == "namespace" {
                match value.as_str() {
                    Some(name) => parsed.namespace = Some(name.to_owned()).filter(|name| !name.is_empty()),
                    None => problems.push(problem(key, value, "expected the name of a namespace")),
                }
            } else if !INERT.contains(&key.as_str()) {
                problems.push(problem(key, value, &unknown_field(key)));
            }
        }
        if parsed.routes.is_empty() && problems.is_empty() {
            problems.push(problem(
                "",
                config,
                "expected at least one of httpRoutes, grpcRoutes, tcpRoutes, tlsRoutes",
            ));
        }
        if problems.is_empty() { Ok(parsed) } else { Err(problems) }
    }

    fn add_list(&mut self, kind: ForeignKind, key: &str, value: &Value, problems: &mut Vec<ConfigProblem>) {
        let Some(list) = value.as_array() else {
            problems.push(problem(key, value, "expected a list of routes, each with a name"));
            return;
        };
        for (index, entry) in list.iter().enumerate() {
            let name = entry
                .get("name")
                .and_then(Value::as_str)
                .filter(|name| !name.is_empty());
            let Some(name) = name else {
                problems.push(problem(
                    &format!("{key}[{index}].name"),
                    entry,
                    "expected the name of a route",
                ));
                continue;
            };
            let takes_routes = entry.get("useHeaderRoutes").and_then(Value::as_bool).unwrap_or(true);
            self.add(kind, name, takes_routes);
        }
    }

    fn add(&mut self, kind: ForeignKind, name: &str, takes_routes: bool) {
        if self.routes.iter().any(|known| known.kind == kind && known.name == name) {
            return;
        }
        let knows_requests = matches!(kind, ForeignKind::HttpRoute | ForeignKind::GrpcRoute);
        self.routes.push(RouteRef {
            kind,
            name: name.to_owned(),
            takes_routes: takes_routes && knows_requests,
        });
    }
}

fn unknown_field(key: &str) -> String {
    let known = NAMED
        .iter()
        .flat_map(|(one, several, _)| [*one, *several])
        .chain(["namespace"]);
    match closest(key, known) {
        Some(near) => format!("this field is not known; did you mean {near}?"),
        None => "this field is not known".to_owned(),
    }
}

fn problem(path: &str, found: &Value, message: &str) -> ConfigProblem {
    ConfigProblem {
        path: path.to_owned(),
        found: found.clone(),
        message: message.to_owned(),
    }
}
