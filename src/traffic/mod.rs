//! Routers: each turns wanted weights into edits of its own objects, as a pure function of those objects as read.

pub mod alb;
pub mod ambassador;
pub mod apisix;
pub mod app_mesh;
mod edits;
pub mod foreign;
pub mod gateway_api;
pub mod istio;
pub mod nginx;
pub mod release;
pub mod routes;
pub mod smi;
#[cfg(test)]
mod testing;
pub mod traefik;

use crate::{
    api::{
        rollout::Rollout,
        traffic::{
            AlbTrafficRouting, AmbassadorTrafficRouting, ApisixTrafficRouting, AppMeshTrafficRouting,
            IstioTrafficRouting, NginxTrafficRouting, RolloutTrafficRouting, SmiTrafficRouting, TraefikTrafficRouting,
        },
    },
    plan::Action,
};
use foreign::{Foreign, ForeignKind};
use gateway_api::config::{self, GatewayApi};
use k8s_openapi::api::networking::v1::Ingress;
use routes::Route;

/// What a router was asked to make true.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Weights {
    /// Share of requests for the canary.
    pub canary: i32,
    /// What "all" is; 100 unless `maxTrafficWeight` says otherwise.
    pub total: i32,
}

/// What routers are asked to make true, and what they look at.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// For whom.
    pub rollout: &'a Rollout,
    /// `stableService`.
    pub stable_service: &'a str,
    /// `canaryService`.
    pub canary_service: &'a str,
    /// Who gets how much.
    pub weights: Weights,
    /// Header and mirror routes, in the order of `managedRoutes`; absent: those that are there stay.
    pub routes: Option<&'a [Route<'a>]>,
    /// Pods that the stable side leads to where a router chooses them; absent: it stays as it is.
    pub stable_hash: Option<&'a str>,
    /// Pods that the canary's side leads to where a router chooses them; absent: it stays as it is.
    pub canary_hash: Option<&'a str>,
    /// Whether the data plane is taken to follow what the objects say; what is then of no use may go.
    pub quiet: bool,
}

impl<'a> Wanted<'a> {
    /// Role, Service and weight of the two sides, the canary's first.
    pub fn shares(&self) -> [(&'static str, &'a str, i32); 2] {
        let Weights { canary, total } = self.weights;
        [
            ("canary", self.canary_service, canary),
            ("stable", self.stable_service, total - canary),
        ]
    }
}

/// The objects that routers read and edit.
#[derive(Clone, Copy, Debug)]
pub struct Objects<'a> {
    /// Ingresses.
    pub ingresses: &'a [&'a Ingress],
    /// Objects of other projects.
    pub foreign: &'a [Foreign<'a>],
    /// The `apiVersion` under which the cluster serves each kind of other projects that is looked at.
    pub served: &'a [(ForeignKind, String)],
}

/// What the objects of a router say.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Seen {
    /// The canary's weight, the highest of several objects; 0 when they do not exist yet.
    pub weight: i32,
    /// Whether every object carries that weight.
    pub everywhere: bool,
    /// Whether requests reach the canary beside the weight, by a header route or a mirror.
    pub routed_apart: bool,
    /// Why the data plane is known not to follow yet what the objects say; absent where it follows, or cannot be asked.
    pub lag: Option<String>,
    /// Hashes of the pods that its own objects lead the canary's side to, beside the Services; empty texts for every
    /// version.
    pub canary_leads: Vec<String>,
    /// The same for the stable side.
    pub stable_leads: Vec<String>,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            weight: 0,
            everywhere: true,
            routed_apart: false,
            lag: None,
            canary_leads: Vec::new(),
            stable_leads: Vec::new(),
        }
    }
}

/// What a router has to do, and what its objects say now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Routing {
    /// Edits of objects and entries it owns; empty when nothing differs.
    pub edits: Vec<Action>,
    /// Events to record: reason and message.
    pub events: Vec<(&'static str, String)>,
    /// The canary's weight in its objects as read, the highest of several; 0 when they do not exist yet.
    pub observed: i32,
    /// Whether the edits change what share of requests goes where.
    pub reweighted: bool,
    /// Whether every object carries exactly the wanted weight.
    pub written: bool,
    /// What is wrong, one sentence for each object that is missing, foreign, or does not fit. An object that is wrong
    /// keeps no other from being edited.
    pub problems: Vec<String>,
}

/// A router of a specification. Several may be set at once; each is asked for itself, and none holds up another.
#[derive(Clone, Debug)]
pub enum Router<'a> {
    /// `trafficRouting.istio`.
    Istio(&'a IstioTrafficRouting),
    /// `trafficRouting.nginx`.
    Nginx(&'a NginxTrafficRouting),
    /// `trafficRouting.alb`.
    Alb(&'a AlbTrafficRouting),
    /// `trafficRouting.smi`.
    Smi(&'a SmiTrafficRouting),
    /// `trafficRouting.ambassador`.
    Ambassador(&'a AmbassadorTrafficRouting),
    /// `trafficRouting.appMesh`.
    AppMesh(&'a AppMeshTrafficRouting),
    /// `trafficRouting.traefik`.
    Traefik(&'a TraefikTrafficRouting),
    /// `trafficRouting.apisix`.
    Apisix(&'a ApisixTrafficRouting),
    /// `trafficRouting.plugins["argoproj-labs/gatewayAPI"]`.
    GatewayApi(GatewayApi),
}

impl<'a> Router<'a> {
    /// The routers a specification names and we know, in the original's order. What is wrong with the others is
    /// validation's to tell.
    pub fn all(routing: &'a RolloutTrafficRouting) -> Vec<Self> {
        let plugin = routing.plugins.get(config::PLUGIN);
        let gateway = plugin.and_then(|config| GatewayApi::parse(config).ok());
        [
            routing.istio.as_ref().map(Self::Istio),
            routing.nginx.as_ref().map(Self::Nginx),
            routing.alb.as_ref().map(Self::Alb),
            routing.smi.as_ref().map(Self::Smi),
            routing.ambassador.as_ref().map(Self::Ambassador),
            routing.app_mesh.as_ref().map(Self::AppMesh),
            routing.traefik.as_ref().map(Self::Traefik),
            routing.apisix.as_ref().map(Self::Apisix),
            gateway.map(Self::GatewayApi),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// The field of its configuration below `trafficRouting`.
    pub fn field(&self) -> String {
        let field = match self {
            Self::Istio(_) => "istio",
            Self::Nginx(_) => "nginx",
            Self::Alb(_) => "alb",
            Self::Smi(_) => "smi",
            Self::Ambassador(_) => "ambassador",
            Self::AppMesh(_) => "appMesh",
            Self::Traefik(_) => "traefik",
            Self::Apisix(_) => "apisix",
            Self::GatewayApi(_) => return format!("plugins[{}]", config::PLUGIN),
        };
        field.to_owned()
    }

    /// The names of the objects it looks at, for people.
    pub fn names(&self) -> String {
        match self {
            Self::Istio(istio) => istio::names(istio),
            Self::Nginx(nginx) => nginx::stable_ingresses(nginx).join(","),
            Self::Alb(alb) => alb::ingresses(alb).join(","),
            Self::Smi(smi) => smi.traffic_split_name.clone(),
            Self::Ambassador(ambassador) => ambassador.mappings.join(","),
            Self::AppMesh(mesh) => app_mesh::service_name(mesh).to_owned(),
            Self::Traefik(traefik) => traefik.weighted_traefik_service_name.clone(),
            Self::Apisix(apisix) => apisix::route_name(apisix).to_owned(),
            Self::GatewayApi(gateway) => gateway.names(),
        }
    }

    /// Objects of other projects that it looks at: kind, namespace and name; the empty name for all of a namespace.
    pub fn references(&self, rollout: &Rollout) -> Vec<(ForeignKind, String, String)> {
        let one = |kind, name: &str| {
            let namespace = edits::namespace(rollout).to_owned();
            vec![(kind, namespace, name.to_owned())]
        };
        match self {
            Self::Istio(istio) => istio::references(istio, rollout),
            Self::Nginx(_) | Self::Alb(_) => Vec::new(),
            Self::Smi(smi) => one(ForeignKind::TrafficSplit, smi::split_name(smi, rollout)),
            Self::Ambassador(ambassador) => ambassador::references(ambassador, rollout),
            Self::AppMesh(mesh) => app_mesh::references(mesh, rollout),
            Self::Traefik(traefik) => one(ForeignKind::TraefikService, &traefik.weighted_traefik_service_name),
            Self::Apisix(apisix) => apisix::references(apisix, rollout),
            Self::GatewayApi(gateway) => gateway.references(edits::namespace(rollout)),
        }
    }

    /// What its objects say.
    pub fn seen(&self, wanted: &Wanted<'_>, objects: Objects<'_>) -> Seen {
        match self {
            Self::Istio(istio) => istio::seen(istio, wanted, objects.foreign),
            Self::Nginx(nginx) => {
                let weight = nginx::observed(wanted.rollout, nginx, objects.ingresses);
                Seen {
                    weight,
                    everywhere: nginx::everywhere(wanted.rollout, nginx, objects.ingresses, weight),
                    ..Seen::default()
                }
            }
            Self::Alb(alb) => alb::seen(alb, wanted, objects.ingresses),
            Self::Smi(smi) => smi::seen(smi, wanted, objects.foreign),
            Self::Ambassador(ambassador) => ambassador::seen(ambassador, wanted, objects.foreign),
            Self::AppMesh(mesh) => app_mesh::seen(mesh, wanted, objects.foreign),
            Self::Traefik(traefik) => traefik::seen(traefik, wanted, objects.foreign),
            Self::Apisix(apisix) => apisix::seen(apisix, wanted, objects.foreign),
            Self::GatewayApi(gateway) => gateway.seen(wanted, objects.foreign),
        }
    }

    /// Edits that make true what is wanted.
    pub fn route(&self, wanted: &Wanted<'_>, objects: Objects<'_>) -> Routing {
        match self {
            Self::Istio(istio) => istio::route(istio, wanted, objects.foreign),
            Self::Nginx(nginx) => {
                let services = (wanted.stable_service, wanted.canary_service);
                nginx::route(wanted.rollout, nginx, services, objects.ingresses, wanted.weights)
            }
            Self::Alb(alb) => alb::route(alb, wanted, objects.ingresses),
            Self::Smi(smi) => smi::route(smi, wanted, objects),
            Self::Ambassador(ambassador) => ambassador::route(ambassador, wanted, objects.foreign),
            Self::AppMesh(mesh) => app_mesh::route(mesh, wanted, objects.foreign),
            Self::Traefik(traefik) => traefik::route(traefik, wanted, objects.foreign),
            Self::Apisix(apisix) => apisix::route(apisix, wanted, objects.foreign),
            Self::GatewayApi(gateway) => gateway.route(wanted, objects.foreign),
        }
    }

    /// Whether it can send requests by header.
    pub fn can_route_headers(&self) -> bool {
        match self {
            Self::Istio(_) | Self::Alb(_) | Self::Apisix(_) => true,
            Self::Nginx(_) | Self::Smi(_) | Self::Ambassador(_) | Self::AppMesh(_) | Self::Traefik(_) => false,
            Self::GatewayApi(gateway) => gateway.knows_requests(),
        }
    }

    /// Whether it can mirror requests.
    pub fn can_mirror(&self) -> bool {
        match self {
            Self::Istio(_) => true,
            Self::Nginx(_)
            | Self::Alb(_)
            | Self::Smi(_)
            | Self::Ambassador(_)
            | Self::AppMesh(_)
            | Self::Traefik(_)
            | Self::Apisix(_) => false,
            Self::GatewayApi(gateway) => gateway.knows_requests(),
        }
    }

    /// Whether "all" may be another weight than 100.
    pub fn takes_total(&self) -> bool {
        matches!(self, Self::Nginx(_) | Self::GatewayApi(_))
    }

    /// Whether it tells the two versions apart without Services.
    pub fn needs_no_services(&self) -> bool {
        matches!(self, Self::Istio(istio) if istio::has_subsets(istio))
    }
}

/// What several routers' objects say together.
pub fn seen(routers: &[Router<'_>], wanted: &Wanted<'_>, objects: Objects<'_>) -> Seen {
    let each: Vec<Seen> = routers.iter().map(|router| router.seen(wanted, objects)).collect();
    let weight = each.iter().map(|seen| seen.weight).max().unwrap_or(0);
    Seen {
        weight,
        everywhere: each.iter().all(|seen| seen.everywhere && seen.weight == weight),
        routed_apart: each.iter().any(|seen| seen.routed_apart),
        canary_leads: each.iter().flat_map(|seen| seen.canary_leads.clone()).collect(),
        stable_leads: each.iter().flat_map(|seen| seen.stable_leads.clone()).collect(),
        lag: each.into_iter().find_map(|seen| seen.lag),
    }
}
