//! Which kinds are served, as clients ask for it: group by group, or aggregated.

use super::kinds::{Facts, Kind};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Groups and the kinds of each, by group version; the core group has no name.
fn groups() -> BTreeMap<&'static str, BTreeMap<&'static str, Vec<&'static Facts>>> {
    let mut groups: BTreeMap<_, BTreeMap<_, Vec<_>>> = BTreeMap::new();
    for facts in Kind::ALL.iter().map(|kind| kind.facts()) {
        let versions = groups.entry(facts.group()).or_default();
        versions.entry(facts.version()).or_default().push(facts);
    }
    groups
}

const VERBS: [&str; 8] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];
const SUBRESOURCE_VERBS: [&str; 3] = ["get", "patch", "update"];

/// The answer for a discovery path, taken apart at its slashes; `None` when nothing is there.
pub(super) fn answer(path: &[&str], is_aggregated: bool) -> Option<Value> {
    match path {
        ["version"] => Some(
            json!({"major": "1", "minor": "36", "gitVersion": "v1.36.0", "gitCommit": "", "gitTreeState": "clean",
            "buildDate": "2026-01-01T00:00:00Z", "goVersion": "go1.25", "compiler": "gc", "platform": "simulated"}),
        ),
        ["api"] if is_aggregated => Some(aggregated(true)),
        ["apis"] if is_aggregated => Some(aggregated(false)),
        ["api"] => Some(json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})),
        ["apis"] => {
            let named: Vec<Value> = groups()
                .keys()
                .filter(|group| !group.is_empty())
                .map(|group| api_group(group))
                .collect();
            Some(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": named}))
        }
        ["apis", group] => groups().contains_key(group).then(|| api_group(group)),
        ["api", version] => resources("", version),
        ["apis", group, version] => resources(group, version),
        _ => None,
    }
}

fn api_group(group: &str) -> Value {
    let versions: Vec<Value> = groups()
        .get(group)
        .into_iter()
        .flatten()
        .map(|(version, _)| json!({"groupVersion": format!("{group}/{version}"), "version": version}))
        .collect();
    json!({"kind": "APIGroup", "apiVersion": "v1", "name": group, "versions": versions, "preferredVersion": versions.first()})
}

fn resources(group: &str, version: &str) -> Option<Value> {
    let groups = groups();
    let kinds = groups.get(group)?.get(version)?;
    let mut resources = Vec::new();
    for facts in kinds {
        let (kind, plural, namespaced) = (facts.kind, facts.plural, facts.namespaced);
        let singular = kind.to_lowercase();
        resources.push(
            json!({"name": plural, "singularName": singular, "namespaced": namespaced, "kind": kind, "verbs": VERBS}),
        );
        for subresource in subresources(facts) {
            resources.push(
                json!({"name": format!("{plural}/{subresource}"), "singularName": "", "namespaced": namespaced,
                "kind": if subresource == "scale" { "Scale" } else { kind }, "verbs": SUBRESOURCE_VERBS}),
            );
        }
    }
    let group_version = match group {
        "" => version.to_owned(),
        group => format!("{group}/{version}"),
    };
    Some(json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources}))
}

fn subresources(facts: &Facts) -> impl Iterator<Item = &'static str> {
    let status = facts.has_status.then_some("status");
    let scale = facts.scale.map(|_| "scale");
    status.into_iter().chain(scale)
}

fn aggregated(core: bool) -> Value {
    let items: Vec<Value> = groups()
        .into_iter()
        .filter(|(group, _)| group.is_empty() == core)
        .map(|(group, versions)| {
            let versions: Vec<Value> = versions
                .into_iter()
                .map(|(version, kinds)| {
                    let resources: Vec<Value> = kinds.into_iter().map(aggregated_resource).collect();
                    json!({"version": version, "freshness": "Current", "resources": resources})
                })
                .collect();
            json!({"metadata": {"name": group}, "versions": versions})
        })
        .collect();
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items})
}

fn aggregated_resource(facts: &Facts) -> Value {
    let kind_of = |kind: &str| json!({"group": facts.group(), "version": facts.version(), "kind": kind});
    let subresources: Vec<Value> = subresources(facts)
        .map(|name| {
            let kind = match name {
                "scale" => json!({"group": "autoscaling", "version": "v1", "kind": "Scale"}),
                _ => kind_of(facts.kind),
            };
            json!({"subresource": name, "responseKind": kind, "verbs": SUBRESOURCE_VERBS})
        })
        .collect();
    json!({"resource": facts.plural, "responseKind": kind_of(facts.kind), "singularResource": facts.kind.to_lowercase(),
        "scope": if facts.namespaced { "Namespaced" } else { "Cluster" }, "verbs": VERBS, "subresources": subresources})
}
