//! What is wrong with an Application's specification, in words.

use super::{diff::ignore, options::AppOptions, project::Project, retry, status::Finding};
use crate::api::{
    application::{Application, ApplicationDestination, ApplicationSpec},
    well_known::{IN_CLUSTER_NAME, IN_CLUSTER_SERVER},
};

/// The application's own sync options.
pub fn sync_options(spec: &ApplicationSpec) -> &[String] {
    spec.sync_policy
        .as_ref()
        .map_or(&[], |policy| policy.sync_options.as_slice())
}

/// Problems that leave nothing to compare (condition `InvalidSpecError`).
pub fn problems(app: &Application, project: Project<'_>, control_plane_namespace: &str) -> Vec<String> {
    let spec = &app.spec;
    let mut found = Vec::new();
    if spec.source_hydrator.is_some() {
        found.push("spec.sourceHydrator is not supported yet".to_owned());
    }
    if spec.effective_sources().is_empty() {
        found.push("spec.source or spec.sources is required".to_owned());
    }
    for (index, source) in spec.effective_sources().into_iter().enumerate() {
        let at = if spec.sources.is_empty() {
            "spec.source".to_owned()
        } else {
            format!("spec.sources[{index}]")
        };
        if source.repo_url.is_empty() {
            found.push(format!("{at}.repoURL is required"));
        }
        if source.path.is_empty() && source.chart.is_empty() && source.r#ref.is_empty() {
            found.push(format!(
                "{at}.path or {at}.chart is required (\".\" is the root of the repository)"
            ));
        }
    }
    found.extend(destination_problem(&spec.destination));
    if found.is_empty() {
        let namespace = app.metadata.namespace.as_deref().unwrap_or_default();
        found.extend(project.problems(spec, namespace, control_plane_namespace));
    }
    found
}

/// Whether the destination is the cluster we run in; another one is never touched.
pub fn is_in_cluster(destination: &ApplicationDestination) -> bool {
    destination_problem(destination).is_none()
}

fn destination_problem(destination: &ApplicationDestination) -> Option<String> {
    let ApplicationDestination {
        server,
        name,
        namespace: _,
    } = destination;
    match (server.as_str(), name.as_str()) {
        ("", "") => Some("spec.destination: one of server and name is required".to_owned()),
        (server, "") if server.trim_end_matches('/') == IN_CLUSTER_SERVER => None,
        ("", IN_CLUSTER_NAME) => None,
        (server, "") => Some(format!(
            "spec.destination.server: {server:?} is not supported yet, only {IN_CLUSTER_SERVER:?}"
        )),
        ("", name) => Some(format!(
            "spec.destination.name: {name:?} is not supported yet, only {IN_CLUSTER_NAME:?}"
        )),
        (server, name) => Some(format!(
            "spec.destination can't have both name and server defined: {name} {server}"
        )),
    }
}

/// Parts that mean nothing or are not understood; the rest of the specification is followed all the same.
pub fn warnings(spec: &ApplicationSpec) -> Vec<Finding> {
    let mut found = Vec::new();
    for (option, nearest) in AppOptions::parse(sync_options(spec)).unknown {
        let meant = nearest
            .map(|nearest| format!(", did you mean {nearest:?}?"))
            .unwrap_or_default();
        found.push((
            "UnknownOptionWarning",
            format!("spec.syncPolicy.syncOptions has the unknown option {option:?}{meant}"),
        ));
    }
    if let Some(retry) = spec.sync_policy.as_ref().and_then(|policy| policy.retry.as_ref()) {
        found.extend(
            retry::problems(retry, "spec.syncPolicy.retry")
                .into_iter()
                .map(|problem| ("InvalidSpecError", problem)),
        );
    }
    found.extend(
        ignore::problems(&spec.ignore_differences)
            .into_iter()
            .map(|problem| ("InvalidSpecError", problem)),
    );
    found
}
