//! The table of kinds the simulated server serves. A new kind is one line in [`Kind`] and one in [`Kind::facts`].

use std::fmt;

/// What the server knows about a kind.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    /// `apiVersion` of its objects, for instance `apps/v1`.
    pub api_version: &'static str,
    /// `kind` of its objects.
    pub kind: &'static str,
    /// Name in paths.
    pub plural: &'static str,
    /// Whether its objects live in namespaces.
    pub namespaced: bool,
    /// Whether status is written through a subresource of its own; `spec` is ignored there, and `status` elsewhere.
    pub has_status: bool,
    /// Where the scale subresource reads and writes, if there is one.
    pub scale: Option<Scale>,
    /// Whether `metadata.generation` is kept.
    pub has_generation: bool,
    /// Whether the kind comes from a CustomResourceDefinition: no strategic merge, every list atomic.
    pub is_custom: bool,
}

/// JSON pointers of the scale subresource.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Desired replicas.
    pub spec_replicas: &'static str,
    /// Observed replicas.
    pub status_replicas: &'static str,
    /// The selector: a text, or a `LabelSelector` that is turned into one.
    pub selector: &'static str,
}

const SCALE: Scale = Scale {
    spec_replicas: "/spec/replicas",
    status_replicas: "/status/replicas",
    selector: "/spec/selector",
};

const SCALE_ROLLOUT: Scale = Scale {
    spec_replicas: "/spec/replicas",
    status_replicas: "/status/HPAReplicas",
    selector: "/status/selector",
};

impl Facts {
    const fn built_in(api_version: &'static str, kind: &'static str, plural: &'static str) -> Self {
        Self {
            api_version,
            kind,
            plural,
            namespaced: true,
            has_status: false,
            scale: None,
            has_generation: false,
            is_custom: false,
        }
    }

    /// Custom resources always have a generation.
    const fn custom(api_version: &'static str, kind: &'static str, plural: &'static str) -> Self {
        let mut facts = Self::built_in(api_version, kind, plural).generation();
        facts.is_custom = true;
        facts
    }

    const fn cluster_scoped(mut self) -> Self {
        self.namespaced = false;
        self
    }

    const fn status(mut self) -> Self {
        self.has_status = true;
        self
    }

    const fn generation(mut self) -> Self {
        self.has_generation = true;
        self
    }

    const fn scale(mut self, scale: Scale) -> Self {
        self.scale = Some(scale);
        self
    }

    /// Group of the kind; empty for the core group.
    pub fn group(&self) -> &'static str {
        self.api_version.split_once('/').map_or("", |(group, _)| group)
    }

    /// Version within the group.
    pub fn version(&self) -> &'static str {
        self.api_version
            .split_once('/')
            .map_or(self.api_version, |(_, version)| version)
    }

    /// `plural.group`, as messages name it.
    pub fn resource(&self) -> String {
        match self.group() {
            "" => self.plural.to_owned(),
            group => format!("{}.{group}", self.plural),
        }
    }
}

macro_rules! kinds {
    ($($name:ident $(: $doc:literal)? => $facts:expr;)*) => {
        /// A kind the server serves.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum Kind {
            $(
                #[doc = concat!("`", stringify!($name), "`")]
                $name,
            )*
        }

        impl Kind {
            /// Every kind, in the order of the table.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// What the server knows about it.
            pub const fn facts(self) -> &'static Facts {
                match self {
                    $(Self::$name => {
                        const FACTS: Facts = $facts;
                        &FACTS
                    })*
                }
            }
        }
    };
}

const ARGO: &str = crate::api::API_VERSION;

kinds! {
    Rollout => Facts::custom(ARGO, "Rollout", "rollouts").status().scale(SCALE_ROLLOUT);
    AnalysisRun => Facts::custom(ARGO, "AnalysisRun", "analysisruns");
    AnalysisTemplate => Facts::custom(ARGO, "AnalysisTemplate", "analysistemplates");
    ClusterAnalysisTemplate => Facts::custom(ARGO, "ClusterAnalysisTemplate", "clusteranalysistemplates").cluster_scoped();
    Experiment => Facts::custom(ARGO, "Experiment", "experiments");
    Application => Facts::custom(ARGO, "Application", "applications");
    ApplicationSet => Facts::custom(ARGO, "ApplicationSet", "applicationsets").status();
    AppProject => Facts::custom(ARGO, "AppProject", "appprojects");
    ReplicaSet => Facts::built_in("apps/v1", "ReplicaSet", "replicasets").status().generation().scale(SCALE);
    Deployment => Facts::built_in("apps/v1", "Deployment", "deployments").status().generation().scale(SCALE);
    Pod => Facts::built_in("v1", "Pod", "pods").status().generation();
    Service => Facts::built_in("v1", "Service", "services").status();
    ConfigMap => Facts::built_in("v1", "ConfigMap", "configmaps");
    Secret => Facts::built_in("v1", "Secret", "secrets");
    Event => Facts::built_in("v1", "Event", "events");
    Namespace => Facts::built_in("v1", "Namespace", "namespaces").cluster_scoped().status();
    Endpoints => Facts::built_in("v1", "Endpoints", "endpoints");
    EventsEvent => Facts::built_in("events.k8s.io/v1", "Event", "events");
    EndpointSlice => Facts::built_in("discovery.k8s.io/v1", "EndpointSlice", "endpointslices").generation();
    Ingress => Facts::built_in("networking.k8s.io/v1", "Ingress", "ingresses").status().generation();
    Job => Facts::built_in("batch/v1", "Job", "jobs").status().generation();
    HorizontalPodAutoscaler => Facts::built_in("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers").status();
    PodDisruptionBudget => Facts::built_in("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets").status().generation();
    Lease => Facts::built_in("coordination.k8s.io/v1", "Lease", "leases");
    HTTPRoute => Facts::custom("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes").status();
    GRPCRoute => Facts::custom("gateway.networking.k8s.io/v1", "GRPCRoute", "grpcroutes").status();
    PodTemplate => Facts::built_in("v1", "PodTemplate", "podtemplates").generation();
    CustomResourceDefinition => Facts::built_in("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions").cluster_scoped().status().generation();
}

impl Kind {
    /// The kind of objects with this `apiVersion` and `kind`.
    pub fn named(api_version: &str, kind: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|known| known.facts().kind == kind && known.facts().api_version == api_version)
    }

    /// The kind served under this `apiVersion` and plural.
    pub fn served(api_version: &str, plural: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|known| known.facts().plural == plural && known.facts().api_version == api_version)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.facts().kind)
    }
}

/// Kind, namespace and name; the namespace of a cluster-scoped object is empty.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Key {
    /// The kind.
    pub kind: Kind,
    /// `metadata.namespace`, or empty.
    pub namespace: String,
    /// `metadata.name`.
    pub name: String,
}

impl Key {
    /// A key from its parts.
    pub fn new(kind: Kind, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            kind,
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.namespace.as_str() {
            "" => write!(f, "{} {}", self.kind, self.name),
            namespace => write!(f, "{} {namespace}/{}", self.kind, self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_kind_is_found_by_its_names_and_no_path_leads_to_two() {
        let mut paths = BTreeSet::new();
        for kind in Kind::ALL {
            let facts = kind.facts();
            assert_eq!(Kind::named(facts.api_version, facts.kind), Some(*kind));
            assert_eq!(Kind::served(facts.api_version, facts.plural), Some(*kind));
            assert!(paths.insert((facts.api_version, facts.plural)), "{kind} twice");
        }
        assert_eq!(Kind::named("apps/v1", "Pod"), None);
    }
}
