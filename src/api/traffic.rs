//! Traffic routing of a canary (reference, rollouts 1.5).

use super::{scalar, wire, wire_required};
use serde_json::Value;
use std::collections::BTreeMap;

wire! {
    /// `spec.strategy.canary.trafficRouting`. Several routers may be set at once.
    pub struct RolloutTrafficRouting {
        /// Weight that means "all"; absent means 100. nginx and plugins only.
        pub max_traffic_weight: Option<i32>,
        /// Routes the controller creates, in order of precedence.
        pub managed_routes: Vec<ManagedRoute>,
        /// Canary annotations of ingress-nginx.
        pub nginx: Option<NginxTrafficRouting>,
        /// AWS load balancer controller.
        pub alb: Option<AlbTrafficRouting>,
        /// Istio.
        pub istio: Option<IstioTrafficRouting>,
        /// Service Mesh Interface.
        pub smi: Option<SmiTrafficRouting>,
        /// Ambassador.
        pub ambassador: Option<AmbassadorTrafficRouting>,
        /// AWS App Mesh.
        pub app_mesh: Option<AppMeshTrafficRouting>,
        /// Traefik.
        pub traefik: Option<TraefikTrafficRouting>,
        /// Apache APISIX.
        pub apisix: Option<ApisixTrafficRouting>,
        /// Plugins, each `namespace/name` with its own configuration.
        #[schemars(schema_with = "scalar::any_object")]
        pub plugins: BTreeMap<String, Value>,
    }

    /// A route the controller may create.
    pub struct ManagedRoute {
        /// Its name.
        pub name: String,
    }

    /// Exactly one of `stableIngress` and `stableIngresses`.
    pub struct NginxTrafficRouting {
        /// Prefix of the canary annotations; absent means `nginx.ingress.kubernetes.io`.
        pub annotation_prefix: String,
        /// The Ingress that sends requests to the stable Service.
        pub stable_ingress: String,
        /// Several of them.
        pub stable_ingresses: Vec<String>,
        /// Annotations of the canary Ingress; the prefix is added to each key.
        pub additional_ingress_annotations: BTreeMap<String, String>,
        /// Annotations of the canary Ingress, keys as written.
        pub canary_ingress_annotations: BTreeMap<String, String>,
    }

    /// Exactly one of `ingress` and `ingresses`.
    pub struct AlbTrafficRouting {
        /// The Ingress.
        pub ingress: String,
        /// Several of them.
        pub ingresses: Vec<String>,
        /// Port of the Services.
        pub service_port: i32,
        /// Service the Ingress names; absent means the stable Service.
        pub root_service: String,
        /// Prefix of the annotations.
        pub annotation_prefix: String,
        /// Target group stickiness.
        pub stickiness_config: Option<StickinessConfig>,
    }

    /// Either one or several VirtualServices.
    pub struct IstioTrafficRouting {
        /// One VirtualService.
        pub virtual_service: Option<IstioVirtualService>,
        /// Several of them.
        pub virtual_services: Vec<IstioVirtualService>,
        /// Subsets to label with pod hashes.
        pub destination_rule: Option<IstioDestinationRule>,
    }

    /// A VirtualService and the routes in it.
    pub struct IstioVirtualService {
        /// `name` or `name.namespace`.
        pub name: String,
        /// HTTP routes by name.
        pub routes: Vec<String>,
        /// TLS routes by port or SNI.
        pub tls_routes: Vec<TlsRoute>,
        /// TCP routes by port.
        pub tcp_routes: Vec<TcpRoute>,
    }

    /// A TLS route.
    pub struct TlsRoute {
        /// Port.
        pub port: i64,
        /// SNI hosts.
        pub sni_hosts: Vec<String>,
    }

    /// A TCP route.
    pub struct TcpRoute {
        /// Port.
        pub port: i64,
    }

    /// A DestinationRule and its subsets.
    pub struct IstioDestinationRule {
        /// Its name.
        pub name: String,
        /// Subset of the canary.
        pub canary_subset_name: String,
        /// Subset of the stable version.
        pub stable_subset_name: String,
        /// Subsets to leave alone.
        pub additional_subset_names: Vec<String>,
    }

    /// SMI TrafficSplit.
    pub struct SmiTrafficRouting {
        /// Absent means the stable Service.
        pub root_service: String,
        /// Absent means the Rollout's name.
        pub traffic_split_name: String,
    }

    /// Ambassador mappings.
    pub struct AmbassadorTrafficRouting {
        /// Names of the Mappings.
        pub mappings: Vec<String>,
    }

    /// AWS App Mesh.
    pub struct AppMeshTrafficRouting {
        /// The VirtualService.
        pub virtual_service: Option<AppMeshVirtualService>,
        /// The two virtual nodes.
        pub virtual_node_group: Option<AppMeshVirtualNodeGroup>,
    }

    /// App Mesh VirtualService.
    pub struct AppMeshVirtualService {
        /// Its name.
        pub name: String,
        /// Routes in its router.
        pub routes: Vec<String>,
    }

    /// App Mesh virtual nodes.
    pub struct AppMeshVirtualNodeGroup {
        /// Node of the canary.
        pub canary_virtual_node_ref: Option<AppMeshVirtualNodeRef>,
        /// Node of the stable version.
        pub stable_virtual_node_ref: Option<AppMeshVirtualNodeRef>,
    }

    /// Names a virtual node.
    pub struct AppMeshVirtualNodeRef {
        /// Its name.
        pub name: String,
    }

    /// Traefik.
    pub struct TraefikTrafficRouting {
        /// The weighted TraefikService.
        pub weighted_traefik_service_name: String,
    }

    /// Apache APISIX.
    pub struct ApisixTrafficRouting {
        /// The ApisixRoute.
        pub route: Option<ApisixRoute>,
    }

    /// An ApisixRoute and its rules.
    pub struct ApisixRoute {
        /// Its name.
        pub name: String,
        /// Rules by name; absent means all.
        pub rules: Vec<String>,
    }

    /// A header that must match.
    pub struct HeaderRoutingMatch {
        /// Name of the header.
        pub header_name: String,
        /// Its value.
        pub header_value: Option<StringMatch>,
    }

    /// Exactly one member.
    pub struct StringMatch {
        /// The whole value.
        pub exact: String,
        /// Its beginning.
        pub prefix: String,
        /// A regular expression.
        pub regex: String,
    }

    /// A request that must match.
    pub struct RouteMatch {
        /// HTTP method.
        pub method: Option<StringMatch>,
        /// Path.
        pub path: Option<StringMatch>,
        /// Headers.
        pub headers: BTreeMap<String, StringMatch>,
    }
}

wire_required! {
    /// `alb.stickinessConfig`.
    pub struct StickinessConfig {
        /// Whether it is on.
        pub enabled: bool,
        /// Seconds.
        pub duration_seconds: i64,
    }
}
