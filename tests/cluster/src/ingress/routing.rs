//! Decides from Ingresses, Services and EndpointSlices which request goes where. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddrV4,
    sync::Arc,
};

use k8s_openapi::{
    api::{
        core::v1::Service,
        discovery::v1::EndpointSlice,
        networking::v1::{HTTPIngressPath, Ingress, IngressBackend},
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use kube::{ResourceExt, core::DynamicObject};

use super::{
    canary::{self, CanaryRule},
    http_route::{self, Wish},
};
use crate::workload::loopback_twin;

/// The class this controller serves.
const CLASS: &str = "nginx";

/// The annotation that named the class before `spec.ingressClassName`.
const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";

/// The label that says to which Service an EndpointSlice belongs.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// The objects a routing is made of.
#[derive(Clone, Debug, Default)]
pub(super) struct Objects {
    pub(super) ingresses: Vec<Arc<Ingress>>,
    pub(super) services: Vec<Arc<Service>>,
    pub(super) slices: Vec<Arc<EndpointSlice>>,
    /// HTTPRoutes of Gateway API.
    pub(super) routes: Vec<Arc<DynamicObject>>,
}

/// Which request goes where. Ordered, so that equal objects give an equal text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Routing {
    /// Locations by host; the empty host is the one of all requests no other host takes.
    pub(super) hosts: BTreeMap<String, BTreeMap<Match, Location>>,
    /// Endpoints of each upstream in use, by its name.
    pub(super) upstreams: BTreeMap<String, BTreeSet<SocketAddrV4>>,
}

/// Which paths a location takes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Match {
    Exact(String),
    /// The path itself and everything below it, by whole elements; without a slash at its end (`/` is empty).
    Prefix(String),
}

impl Match {
    fn path(&self) -> &str {
        match self {
            Self::Exact(path) | Self::Prefix(path) => path,
        }
    }
}

/// Where the requests of a location go: names of upstreams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Location {
    /// `None`: no endpoint is ready, the answer is 503.
    pub(super) stable: Option<String>,
    pub(super) canary: Option<Canary>,
}

/// A canary with ready endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Canary {
    pub(super) upstream: String,
    pub(super) rule: CanaryRule,
}

/// Whether an Ingress is ours to serve.
pub(super) fn is_served(ingress: &Ingress) -> bool {
    let class = ingress
        .spec
        .as_ref()
        .and_then(|spec| spec.ingress_class_name.as_deref());
    let class = class.or_else(|| ingress.annotations().get(CLASS_ANNOTATION).map(String::as_str));
    class == Some(CLASS)
}

/// The routing the objects ask for.
pub(super) fn routing(objects: &Objects) -> Routing {
    let mut ingresses: Vec<_> = objects.ingresses.iter().filter(|ingress| is_served(ingress)).collect();
    // The oldest wins a host and path that several claim.
    ingresses.sort_by_key(|ingress| {
        let created = ingress.creation_timestamp().map(|time| time.0);
        (created, ingress.namespace(), ingress.name_any())
    });
    let (canaries, mains): (Vec<_>, Vec<_>) = ingresses
        .into_iter()
        .partition(|ingress| canary::is_canary(ingress.annotations()));
    let endpoints = Endpoints::of(objects);
    let mut claims = Claims::default();
    for ingress in mains {
        claims.add_main(ingress);
    }
    for ingress in canaries {
        claims.add_canary(ingress);
    }
    for route in objects.routes.iter().filter(|route| http_route::is_served(route)) {
        for wish in http_route::wishes(route) {
            claims.add_wish(wish);
        }
    }
    claims.resolve(&endpoints)
}

/// A backend as an Ingress names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Backend {
    pub(super) namespace: String,
    pub(super) service: String,
    /// Name or number.
    pub(super) port: Result<String, i32>,
}

impl Backend {
    fn of(namespace: &str, backend: &IngressBackend) -> Option<Self> {
        let service = backend.service.as_ref()?;
        let port = service.port.as_ref()?;
        let port = match (&port.name, port.number) {
            (Some(name), _) if !name.is_empty() => Ok(name.clone()),
            (_, number) => Err(number?),
        };
        Some(Self {
            namespace: namespace.to_owned(),
            service: service.name.clone(),
            port,
        })
    }

    /// A name no other backend has: neither part can hold an underscore.
    fn upstream_name(&self) -> String {
        let port = self.port.as_ref().map_or_else(ToString::to_string, Clone::clone);
        format!("{}_{}_{port}", self.namespace, self.service)
    }
}

/// What the Ingresses claim, before anybody looks at endpoints.
#[derive(Debug, Default)]
struct Claims(BTreeMap<String, BTreeMap<Match, Claim>>);

#[derive(Debug)]
struct Claim {
    main: Backend,
    /// One canary per rule: the first.
    canary: Option<(Backend, CanaryRule)>,
    /// Whether a backend without endpoints gets its share all the same, as Gateway API asks.
    strict: bool,
}

impl Claims {
    fn add_main(&mut self, ingress: &Ingress) {
        for (host, path, backend) in rules(ingress) {
            self.0.entry(host).or_default().entry(path).or_insert(Claim {
                main: backend,
                canary: None,
                strict: false,
            });
        }
        let namespace = ingress.namespace().unwrap_or_default();
        let default_backend = ingress.spec.as_ref().and_then(|spec| spec.default_backend.as_ref());
        if let Some(backend) = default_backend.and_then(|backend| Backend::of(&namespace, backend)) {
            let all = Match::Prefix(String::new());
            self.0.entry(String::new()).or_default().entry(all).or_insert(Claim {
                main: backend,
                canary: None,
                strict: false,
            });
        }
    }

    /// Requests with a header go where their own rule says; their rule comes after the one for all requests.
    fn add_wish(&mut self, wish: Wish) {
        let claims = self.0.entry(wish.host).or_default();
        if !wish.by_header {
            claims.entry(wish.path).or_insert(Claim {
                main: wish.main,
                canary: wish.other,
                strict: true,
            });
        } else if let (Some(claim), Some((backend, rule))) = (claims.get_mut(&wish.path), wish.other) {
            match &mut claim.canary {
                Some((canary, present)) if *canary == backend => present.header = rule.header,
                Some(_) => {}
                None => claim.canary = Some((backend, rule)),
            }
        }
    }

    /// A canary without a main Ingress of the same host and path is ignored.
    fn add_canary(&mut self, ingress: &Ingress) {
        let rule = canary::rule(ingress.annotations());
        for (host, path, backend) in rules(ingress) {
            let claims = self.0.get_mut(&host).into_iter().flatten();
            for (_, claim) in claims.filter(|(claimed, _)| claimed.path() == path.path()) {
                if claim.canary.is_none() && claim.main != backend {
                    claim.canary = Some((backend.clone(), rule.clone()));
                }
            }
        }
    }

    fn resolve(self, endpoints: &Endpoints<'_>) -> Routing {
        let mut routing = Routing::default();
        let mut upstream = |backend: &Backend, strict: bool| {
            let addresses = endpoints.ready(backend);
            let name = backend.upstream_name();
            (strict || !addresses.is_empty()).then(|| {
                routing.upstreams.insert(name.clone(), addresses);
                name
            })
        };
        let mut hosts = BTreeMap::new();
        for (host, claims) in self.0 {
            let locations = claims.into_iter().map(|(path, claim)| {
                let strict = claim.strict;
                let stable = upstream(&claim.main, strict);
                // Without a stable endpoint there is nothing a canary could be an alternative to.
                let canary = claim.canary.filter(|_| stable.is_some());
                let canary = canary.and_then(|(backend, rule)| {
                    Some(Canary {
                        upstream: upstream(&backend, strict)?,
                        rule,
                    })
                });
                (path, Location { stable, canary })
            });
            hosts.insert(host, locations.collect());
        }
        routing.hosts = hosts;
        routing
    }
}

/// Every host, path and backend an Ingress names.
fn rules(ingress: &Ingress) -> Vec<(String, Match, Backend)> {
    let namespace = ingress.namespace().unwrap_or_default();
    let rules = ingress.spec.iter().flat_map(|spec| spec.rules.iter().flatten());
    let mut all = Vec::new();
    for rule in rules {
        let host = rule.host.clone().unwrap_or_default();
        for path in rule.http.iter().flat_map(|http| &http.paths) {
            let Some(backend) = Backend::of(&namespace, &path.backend) else {
                continue;
            };
            let Some(path) = path_match(path) else { continue };
            all.push((host.clone(), path, backend));
        }
    }
    all
}

/// `ImplementationSpecific` is a prefix, as it is to ingress-nginx without `use-regex`. `None`: a path nginx cannot be told.
fn path_match(path: &HTTPIngressPath) -> Option<Match> {
    let text = path.path.as_deref().unwrap_or("/");
    let sayable = text.starts_with('/') && text.chars().all(|character| character.is_ascii_graphic());
    if !sayable {
        return None;
    }
    Some(match path.path_type.as_str() {
        "Exact" => Match::Exact(text.to_owned()),
        _ => Match::Prefix(text.trim_end_matches('/').to_owned()),
    })
}

/// Services and their slices, by namespace and name.
struct Endpoints<'a> {
    services: BTreeMap<(String, String), &'a Service>,
    slices: BTreeMap<(String, String), Vec<&'a EndpointSlice>>,
}

impl<'a> Endpoints<'a> {
    fn of(objects: &'a Objects) -> Self {
        let key = |namespace: Option<String>, name: String| (namespace.unwrap_or_default(), name);
        let services = objects.services.iter().map(|service| {
            let service: &Service = service;
            (key(service.namespace(), service.name_any()), service)
        });
        let mut slices = BTreeMap::<_, Vec<_>>::new();
        for slice in &objects.slices {
            let slice: &EndpointSlice = slice;
            if let Some(service) = slice.labels().get(SERVICE_LABEL) {
                slices
                    .entry(key(slice.namespace(), service.clone()))
                    .or_default()
                    .push(slice);
            }
        }
        Self {
            services: services.collect(),
            slices,
        }
    }

    /// Where the ready pods of a backend answer.
    fn ready(&self, backend: &Backend) -> BTreeSet<SocketAddrV4> {
        let key = (backend.namespace.clone(), backend.service.clone());
        let Some(service) = self.services.get(&key) else {
            return BTreeSet::new();
        };
        let Some(port_name) = service_port_name(service, &backend.port) else {
            return BTreeSet::new();
        };
        let slices = self.slices.get(&key).into_iter().flatten();
        slices.flat_map(|slice| ready_in(slice, &port_name)).collect()
    }
}

/// The name that ties a Service's port to the port of its slices; empty for an unnamed one.
fn service_port_name(service: &Service, wanted: &Result<String, i32>) -> Option<String> {
    let ports = service.spec.as_ref()?.ports.as_ref()?;
    let port = ports.iter().find(|port| match wanted {
        Ok(name) => port.name.as_ref() == Some(name) || target_port_is(port.target_port.as_ref(), name),
        Err(number) => port.port == *number,
    })?;
    Some(port.name.clone().unwrap_or_default())
}

/// ingress-nginx also takes the target port's name for a Service's port.
fn target_port_is(target: Option<&IntOrString>, name: &str) -> bool {
    matches!(target, Some(IntOrString::String(target)) if target == name)
}

fn ready_in(slice: &EndpointSlice, port_name: &str) -> Vec<SocketAddrV4> {
    let mut ports = slice.ports.iter().flatten();
    let port = ports.find(|port| port.name.as_deref().unwrap_or_default() == port_name);
    let Some(port) = port.and_then(|port| u16::try_from(port.port?).ok()) else {
        return Vec::new();
    };
    let ready = slice.endpoints.iter().flatten().filter(|endpoint| {
        // The API: unknown readiness counts as ready.
        endpoint
            .conditions
            .as_ref()
            .and_then(|conditions| conditions.ready)
            .unwrap_or(true)
    });
    let addresses = ready.filter_map(|endpoint| loopback_twin(endpoint.addresses.first()?));
    addresses.map(|address| SocketAddrV4::new(address, port)).collect()
}

#[cfg(test)]
mod tests;
