//! What a project permits: sources, destinations and kinds (reference, applications 6.1; guarantee S7).

use super::{kinds::Kinds, resource::ResourceKey, status::Finding, windows};
use crate::{
    api::{
        app_project::{AppProjectSpec, ClusterResourceRestrictionItem, GroupKind, ProjectDestination},
        application::ApplicationSpec,
        well_known::{IN_CLUSTER_NAME, IN_CLUSTER_SERVER},
    },
    lang::glob::Glob,
};

/// The project of an application, as far as it was found.
#[derive(Clone, Copy, Debug)]
pub enum Project<'a> {
    /// The default project does not exist: everything is permitted.
    Everything,
    /// It exists.
    Limited {
        /// Its name.
        name: &'a str,
        /// Its rules.
        spec: &'a AppProjectSpec,
    },
    /// It does not exist.
    Missing {
        /// The name that was asked for.
        name: &'a str,
    },
}

/// The name of the project an application belongs to.
pub fn name_of(spec: &ApplicationSpec) -> &str {
    if spec.project.is_empty() {
        "default"
    } else {
        &spec.project
    }
}

impl<'a> Project<'a> {
    /// The project of this name, by what was found under it.
    pub fn found(name: &'a str, spec: Option<&'a AppProjectSpec>) -> Self {
        match spec {
            Some(spec) => Self::Limited { name, spec },
            None if name == "default" => Self::Everything,
            None => Self::Missing { name },
        }
    }

    /// What is wrong with an application's sources and destination, in words.
    pub fn problems(self, spec: &ApplicationSpec, namespace: &str, control_plane_namespace: &str) -> Vec<String> {
        let (name, rules) = match self {
            Self::Everything => return Vec::new(),
            Self::Missing { name } => {
                return vec![format!("Application referencing project {name} which does not exist")];
            }
            Self::Limited { name, spec } => (name, spec),
        };
        let mut found = Vec::new();
        let sources = spec.effective_sources().into_iter();
        found.extend(sources.filter_map(|source| self.refuses_source(&source.repo_url)));
        if !permits_destination(rules, &spec.destination.namespace) {
            found.push(format!(
                "application destination server '{IN_CLUSTER_SERVER}' and namespace '{}' do not match any of the allowed destinations in project '{name}'",
                spec.destination.namespace
            ));
        }
        if namespace != control_plane_namespace && !listed(&rules.source_namespaces, namespace, false) {
            found.push(format!(
                "application namespace {namespace} is not permitted in project '{name}'"
            ));
        }
        found
    }

    /// Why a repository may not be a source; `None` when it may.
    pub fn refuses_source(self, repo_url: &str) -> Option<String> {
        match self {
            Self::Everything => None,
            Self::Missing { name } => Some(format!("Application referencing project {name} which does not exist")),
            Self::Limited { name, spec } => (!listed(&spec.source_repos, repo_url, true))
                .then(|| format!("application repo {repo_url} is not permitted in project '{name}'")),
        }
    }

    /// What is wrong with the project itself, for its applications to tell.
    pub fn warnings(self) -> Vec<Finding> {
        let Self::Limited { name, spec } = self else {
            return Vec::new();
        };
        let problems = windows::problems(&spec.sync_windows).into_iter();
        problems
            .map(|problem| ("SyncWindowWarning", format!("project {name:?}: {problem}")))
            .collect()
    }

    /// Why an object may not be written or pruned; `None` when it may. Of a kind that nobody knows yet, the scope is not
    /// known either, so it must be permitted both ways.
    pub fn refuses(self, key: &ResourceKey, kinds: &Kinds) -> Option<String> {
        let (name, rules) = match self {
            Self::Everything => return None,
            Self::Missing { name } => return Some(format!("project {name} does not exist")),
            Self::Limited { name, spec } => (name, spec),
        };
        let (group, kind) = key.group_kind();
        let scopes: &[bool] = match kinds.get(group, kind) {
            Some(facts) if facts.is_namespaced => &[true],
            Some(_) => &[false],
            None => &[true, false],
        };
        for is_namespaced in scopes {
            let permitted = if *is_namespaced {
                permits_namespaced(rules, group, kind)
            } else {
                permits_cluster_scoped(rules, key)
            };
            if !permitted {
                return Some(format!("resource {group}:{kind} is not permitted in project {name}"));
            }
            if *is_namespaced && !permits_destination(rules, &key.namespace) {
                return Some(format!(
                    "namespace {} is not permitted in project '{name}'",
                    key.namespace
                ));
            }
        }
        None
    }
}

fn permits_cluster_scoped(rules: &AppProjectSpec, key: &ResourceKey) -> bool {
    let (group, kind) = key.group_kind();
    let lists = |items: &Option<Vec<ClusterResourceRestrictionItem>>| {
        items.iter().flatten().any(|item| {
            matches(&item.group, group)
                && matches(&item.kind, kind)
                && (item.name.is_empty() || matches(&item.name, &key.name))
        })
    };
    lists(&rules.cluster_resource_whitelist) && !lists(&rules.cluster_resource_blacklist)
}

fn permits_namespaced(rules: &AppProjectSpec, group: &str, kind: &str) -> bool {
    let lists = |items: &[GroupKind]| {
        items
            .iter()
            .any(|item| matches(&item.group, group) && matches(&item.kind, kind))
    };
    let is_denied = rules
        .namespace_resource_blacklist
        .as_ref()
        .is_some_and(|items| lists(items));
    rules
        .namespace_resource_whitelist
        .as_ref()
        .is_none_or(|items| lists(items))
        && !is_denied
}

fn permits_destination(rules: &AppProjectSpec, namespace: &str) -> bool {
    let (denied, allowed): (Vec<&ProjectDestination>, Vec<&ProjectDestination>) =
        rules.destinations.iter().partition(|destination| {
            [&destination.server, &destination.name, &destination.namespace]
                .iter()
                .any(|pattern| pattern.starts_with('!'))
        });
    let fits = |pattern: &str, text: &str| matches(pattern.strip_prefix('!').unwrap_or(pattern), text);
    let cluster = |destination: &ProjectDestination| {
        (!destination.server.is_empty() && fits(&destination.server, IN_CLUSTER_SERVER))
            || (!destination.name.is_empty() && fits(&destination.name, IN_CLUSTER_NAME))
    };
    let is_allowed = allowed
        .iter()
        .any(|destination| cluster(destination) && fits(&destination.namespace, namespace));
    let is_denied = denied
        .iter()
        .any(|destination| cluster(destination) && fits(&destination.namespace, namespace));
    is_allowed && !is_denied
}

/// Whether a list of globs, in which a leading `!` denies, permits a text.
fn listed(patterns: &[String], text: &str, is_path: bool) -> bool {
    let fits = |pattern: &str| {
        pattern == "*" || pattern == text || {
            let glob = if is_path {
                Glob::parse_path(pattern)
            } else {
                Glob::parse(pattern)
            };
            glob.is_ok_and(|glob| glob.matches(text))
        }
    };
    let allowed = patterns
        .iter()
        .any(|pattern| !pattern.starts_with('!') && fits(pattern));
    let denied = patterns
        .iter()
        .filter_map(|pattern| pattern.strip_prefix('!'))
        .any(fits);
    allowed && !denied
}

fn matches(pattern: &str, text: &str) -> bool {
    pattern == "*" || pattern == text || Glob::parse(pattern).is_ok_and(|glob| glob.matches(text))
}

#[cfg(test)]
mod tests;
