//! Kinds of other projects that routers read and edit. Not every cluster serves them, and not in the same version.

use kube::core::DynamicObject;
use serde_json::Value;
use std::fmt;

macro_rules! foreign_kinds {
    ($( $(#[$doc:meta])* $variant:ident = $group:literal, $kind:literal; )*) => {
        /// A kind of another project.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum ForeignKind {
            $( $(#[$doc])* $variant, )*
        }

        impl ForeignKind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$( Self::$variant, )*];

            /// The API group.
            pub fn group(self) -> &'static str {
                match self { $( Self::$variant => $group, )* }
            }

            /// The kind, in the singular and capitalised.
            pub fn kind(self) -> &'static str {
                match self { $( Self::$variant => $kind, )* }
            }
        }
    };
}

foreign_kinds! {
    /// Gateway API: HTTP requests.
    HttpRoute = "gateway.networking.k8s.io", "HTTPRoute";
    /// Gateway API: gRPC calls.
    GrpcRoute = "gateway.networking.k8s.io", "GRPCRoute";
    /// Gateway API: TCP connections.
    TcpRoute = "gateway.networking.k8s.io", "TCPRoute";
    /// Gateway API: TLS connections, not terminated.
    TlsRoute = "gateway.networking.k8s.io", "TLSRoute";
    /// Istio: routes to hosts and subsets.
    VirtualService = "networking.istio.io", "VirtualService";
    /// Istio: subsets of a host.
    DestinationRule = "networking.istio.io", "DestinationRule";
    /// Service Mesh Interface.
    TrafficSplit = "split.smi-spec.io", "TrafficSplit";
    /// Traefik.
    TraefikService = "traefik.io", "TraefikService";
    /// Apache APISIX.
    ApisixRoute = "apisix.apache.org", "ApisixRoute";
    /// Ambassador.
    Mapping = "getambassador.io", "Mapping";
    /// AWS App Mesh: names a virtual router.
    AppMeshVirtualService = "appmesh.k8s.aws", "VirtualService";
    /// AWS App Mesh: weighted targets.
    AppMeshVirtualRouter = "appmesh.k8s.aws", "VirtualRouter";
    /// AWS App Mesh: the pods of one version.
    AppMeshVirtualNode = "appmesh.k8s.aws", "VirtualNode";
}

impl ForeignKind {
    /// The kind of a group, the present one or a former one, and a kind's name.
    pub fn of(group: &str, kind: &str) -> Option<Self> {
        let mut all = Self::ALL.iter().copied();
        all.find(|known| known.kind() == kind && (known.group() == group || known.former_group() == Some(group)))
    }

    /// The API group in which older releases of the project serve it.
    pub fn former_group(self) -> Option<&'static str> {
        match self {
            Self::TraefikService => Some("traefik.containo.us"),
            _ => None,
        }
    }
}

impl fmt::Display for ForeignKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())
    }
}

/// An object of such a kind, whole.
pub type ForeignObject = DynamicObject;

/// One object of such a kind, as read.
#[derive(Clone, Copy, Debug)]
pub struct Foreign<'a> {
    /// Its kind.
    pub kind: ForeignKind,
    /// The object, whole.
    pub object: &'a ForeignObject,
}

impl<'a> Foreign<'a> {
    /// `metadata.name`.
    pub fn name(&self) -> &'a str {
        self.object.metadata.name.as_deref().unwrap_or_default()
    }

    /// `metadata.namespace`.
    pub fn namespace(&self) -> &'a str {
        self.object.metadata.namespace.as_deref().unwrap_or_default()
    }

    /// `apiVersion` under which it was read, and is to be written.
    pub fn api_version(&self) -> &'a str {
        self.object
            .types
            .as_ref()
            .map_or("", |types| types.api_version.as_str())
    }

    /// `spec`.
    pub fn spec(&self) -> Option<&'a Value> {
        self.object.data.get("spec")
    }
}

/// A kind that a specification names and the cluster does not serve, or not to us.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Unserved {
    /// The kind.
    pub kind: ForeignKind,
    /// Why, for people.
    pub message: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_found_by_its_name() {
        for kind in ForeignKind::ALL {
            assert_eq!(ForeignKind::of(kind.group(), kind.kind()), Some(*kind));
        }
        assert_eq!(ForeignKind::of("gateway.networking.k8s.io", "UDPRoute"), None);
        let former = ForeignKind::of("traefik.containo.us", "TraefikService");
        assert_eq!(former, Some(ForeignKind::TraefikService));
    }
}
