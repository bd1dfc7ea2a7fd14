//! Routers: each turns wanted weights into edits of its own objects, as a pure function of those objects as read.

pub mod foreign;
pub mod gateway_api;
pub mod nginx;
pub mod routes;

use crate::{
    api::{
        rollout::Rollout,
        traffic::{NginxTrafficRouting, RolloutTrafficRouting},
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
}

/// The objects that routers read and edit.
#[derive(Clone, Copy, Debug)]
pub struct Objects<'a> {
    /// Ingresses.
    pub ingresses: &'a [&'a Ingress],
    /// Objects of other projects.
    pub foreign: &'a [Foreign<'a>],
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
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            weight: 0,
            everywhere: true,
            routed_apart: false,
            lag: None,
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
    /// `trafficRouting.nginx`.
    Nginx(&'a NginxTrafficRouting),
    /// `trafficRouting.plugins["argoproj-labs/gatewayAPI"]`.
    GatewayApi(GatewayApi),
}

impl<'a> Router<'a> {
    /// The routers a specification names and we know. What is wrong with the others is validation's to tell.
    pub fn all(routing: &'a RolloutTrafficRouting) -> Vec<Self> {
        let nginx = routing.nginx.as_ref().map(Self::Nginx);
        let plugin = routing.plugins.get(config::PLUGIN);
        let gateway = plugin
            .and_then(|config| GatewayApi::parse(config).ok())
            .map(Self::GatewayApi);
        nginx.into_iter().chain(gateway).collect()
    }

    /// The field of its configuration below `trafficRouting`.
    pub fn field(&self) -> String {
        match self {
            Self::Nginx(_) => "nginx".to_owned(),
            Self::GatewayApi(_) => format!("plugins[{}]", config::PLUGIN),
        }
    }

    /// The names of the objects it looks at, for people.
    pub fn names(&self) -> String {
        match self {
            Self::Nginx(nginx) => nginx::stable_ingresses(nginx).join(","),
            Self::GatewayApi(gateway) => gateway.names(),
        }
    }

    /// Objects of other projects that it looks at: kind, namespace and name.
    pub fn references(&self, namespace: &str) -> Vec<(ForeignKind, String, String)> {
        match self {
            Self::Nginx(_) => Vec::new(),
            Self::GatewayApi(gateway) => gateway.references(namespace),
        }
    }

    /// What its objects say.
    pub fn seen(&self, wanted: &Wanted<'_>, objects: Objects<'_>) -> Seen {
        match self {
            Self::Nginx(nginx) => {
                let weight = nginx::observed(wanted.rollout, nginx, objects.ingresses);
                Seen {
                    weight,
                    everywhere: nginx::everywhere(wanted.rollout, nginx, objects.ingresses, weight),
                    ..Seen::default()
                }
            }
            Self::GatewayApi(gateway) => gateway.seen(wanted, objects.foreign),
        }
    }

    /// Edits that make true what is wanted.
    pub fn route(&self, wanted: &Wanted<'_>, objects: Objects<'_>) -> Routing {
        match self {
            Self::Nginx(nginx) => {
                let services = (wanted.stable_service, wanted.canary_service);
                nginx::route(wanted.rollout, nginx, services, objects.ingresses, wanted.weights)
            }
            Self::GatewayApi(gateway) => gateway.route(wanted, objects.foreign),
        }
    }

    /// Whether it can send requests by header.
    pub fn can_route_headers(&self) -> bool {
        match self {
            Self::Nginx(_) => false,
            Self::GatewayApi(gateway) => gateway.knows_requests(),
        }
    }

    /// Whether it can mirror requests.
    pub fn can_mirror(&self) -> bool {
        match self {
            Self::Nginx(_) => false,
            Self::GatewayApi(gateway) => gateway.knows_requests(),
        }
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
        lag: each.into_iter().find_map(|seen| seen.lag),
    }
}
