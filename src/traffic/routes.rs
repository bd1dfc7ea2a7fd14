//! Header routes and mirrors of the steps `setHeaderRoute` and `setMirrorRoute` (reference, rollouts 1.4): derived from
//! the steps and the step index, never from memory (guarantee D4).

use crate::api::{
    strategy::{CanaryStep, CanaryStrategy, SetHeaderRoute, SetMirrorRoute},
    traffic::{HeaderRoutingMatch, RouteMatch, StringMatch},
};

/// A route that the controller makes and removes, by its name in `managedRoutes`.
#[derive(Clone, Debug, PartialEq)]
pub struct Route<'a> {
    /// Its name.
    pub name: &'a str,
    /// What it does.
    pub kind: RouteKind<'a>,
}

/// What a managed route does.
#[derive(Clone, Debug, PartialEq)]
pub enum RouteKind<'a> {
    /// Requests with all of these headers go to the canary.
    Header(&'a [HeaderRoutingMatch]),
    /// Requests that match any of these are copied to the canary, this many percent of them.
    Mirror(&'a [RouteMatch], i32),
}

/// How a text is compared, with the text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Match<'a> {
    /// The whole value.
    Exact(&'a str),
    /// Its beginning.
    Prefix(&'a str),
    /// A regular expression.
    Regex(&'a str),
}

impl<'a> Match<'a> {
    /// Reads the wire's "exactly one member" form; `None` when none or several are set.
    pub fn of(wire: &'a StringMatch) -> Option<Self> {
        match (wire.exact.as_str(), wire.prefix.as_str(), wire.regex.as_str()) {
            (exact, "", "") if !exact.is_empty() => Some(Self::Exact(exact)),
            ("", prefix, "") if !prefix.is_empty() => Some(Self::Prefix(prefix)),
            ("", "", regex) if !regex.is_empty() => Some(Self::Regex(regex)),
            _ => None,
        }
    }

    /// The value as a regular expression of the whole text.
    pub fn pattern(self) -> String {
        match self {
            Self::Exact(text) => format!("^{}$", regex::escape(text)),
            Self::Prefix(text) => format!("^{}.*", regex::escape(text)),
            Self::Regex(pattern) => pattern.to_owned(),
        }
    }
}

/// The routes in force at a step, that of the step included, in the order of `managedRoutes`; none past the last step.
pub fn routes_at(canary: &CanaryStrategy, index: usize) -> Vec<Route<'_>> {
    if index >= canary.steps.len() {
        return Vec::new();
    }
    let managed = canary
        .traffic_routing
        .iter()
        .flat_map(|routing| &routing.managed_routes);
    let latest = |name: &str| {
        let steps = canary.steps.iter().take(index + 1).rev();
        steps.filter_map(route_of).find(|route| route.name == name)
    };
    managed
        .filter_map(|managed| latest(&managed.name))
        .filter(|route| !route.is_removal())
        .collect()
}

fn route_of(step: &CanaryStep) -> Option<Route<'_>> {
    if let Some(SetHeaderRoute { name, r#match }) = &step.set_header_route {
        return Some(Route {
            name,
            kind: RouteKind::Header(r#match),
        });
    }
    let SetMirrorRoute {
        name,
        r#match,
        percentage,
    } = step.set_mirror_route.as_ref()?;
    Some(Route {
        name,
        kind: RouteKind::Mirror(r#match, percentage.unwrap_or(100)),
    })
}

impl Route<'_> {
    /// A step without a match takes the route away.
    fn is_removal(&self) -> bool {
        match self.kind {
            RouteKind::Header(matches) => matches.is_empty(),
            RouteKind::Mirror(matches, _) => matches.is_empty(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_route_lasts_from_its_step_until_one_without_a_match() {
        let canary: CanaryStrategy = serde_json::from_value(json!({
            "trafficRouting": {"managedRoutes": [{"name": "second"}, {"name": "first"}]},
            "steps": [
                {"setWeight": 5},
                {"setHeaderRoute": {"name": "first", "match": [{"headerName": "x", "headerValue": {"exact": "1"}}]}},
                {"setMirrorRoute": {"name": "second", "match": [{"path": {"prefix": "/"}}], "percentage": 35}},
                {"setHeaderRoute": {"name": "first"}},
                {"setWeight": 50},
            ],
        }))
        .unwrap();
        let names = |index| -> Vec<&str> { routes_at(&canary, index).iter().map(|route| route.name).collect() };
        assert!(names(0).is_empty());
        assert_eq!(names(1), ["first"]);
        assert_eq!(names(2), ["second", "first"], "in the order of managedRoutes");
        assert_eq!(names(3), ["second"]);
        assert_eq!(names(4), ["second"]);
        assert!(names(5).is_empty(), "past the last step");
        assert!(matches!(routes_at(&canary, 2)[0].kind, RouteKind::Mirror(_, 35)));
    }

    #[test]
    fn a_match_is_exactly_one_member() {
        let wire = |value| serde_json::from_value::<StringMatch>(value).unwrap();
        assert_eq!(Match::of(&wire(json!({"exact": "a"}))), Some(Match::Exact("a")));
        assert_eq!(Match::of(&wire(json!({"exact": "a", "regex": "b"}))), None);
        assert_eq!(Match::of(&wire(json!({}))), None);
        assert_eq!(Match::Prefix("a.b").pattern(), r"^a\.b.*");
    }
}
