//! The names a Rollout or template refers to: which objects a snapshot needs, and whom a changed object concerns.
//!
//! Takes names at face value; whether they make sense is judged when planning.

use crate::{
    api::{
        analysis::AnalysisTemplateSpec,
        experiment::ExperimentSpec,
        rollout::Rollout,
        strategy::{AnalysisTemplateRef, BlueGreenStrategy, CanaryStrategy, RolloutAnalysis},
        workload::WorkloadKind,
    },
    k8s::store::{ObjectKey, Term},
    traffic::{Router, foreign::ForeignKind},
};
use std::collections::BTreeSet;

/// Kubernetes' limit on object names.
const NAME_LENGTH_MAX: usize = 253;

/// What an object refers to by name, in its own namespace unless cluster-scoped.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct References {
    /// Services.
    pub services: BTreeSet<String>,
    /// Ingresses, the derived canary Ingresses included.
    pub ingresses: BTreeSet<String>,
    /// Objects of other projects, with their namespaces.
    pub foreign: BTreeSet<(ForeignKind, ObjectKey)>,
    /// What its pod template is taken from.
    pub workload: Option<(WorkloadKind, ObjectKey)>,
    /// `AnalysisTemplate`s.
    pub templates: BTreeSet<String>,
    /// `ClusterAnalysisTemplate`s.
    pub cluster_templates: BTreeSet<String>,
}

impl References {
    /// What a Rollout refers to directly.
    pub fn of_rollout(rollout: &Rollout) -> Self {
        let mut references = Self::default();
        let name = rollout.metadata.name.as_deref().unwrap_or_default();
        references.workload = rollout.spec.workload_ref.as_ref().and_then(|named| {
            let kind = WorkloadKind::of(&named.api_version, &named.kind)?;
            let namespace = rollout.metadata.namespace.as_deref().unwrap_or_default();
            Some((kind, ObjectKey::new(namespace, named.name.as_str())))
        });
        if let Some(canary) = &rollout.spec.strategy.canary {
            references.add_canary(name, canary);
            references.add_foreign(rollout, canary);
        }
        if let Some(blue_green) = &rollout.spec.strategy.blue_green {
            references.add_blue_green(blue_green);
        }
        references
    }

    /// What a template refers to directly.
    pub fn of_template(spec: &AnalysisTemplateSpec) -> Self {
        let mut references = Self::default();
        references.add_templates(&spec.templates);
        references
    }

    /// What an Experiment refers to directly.
    pub fn of_experiment(spec: &ExperimentSpec) -> Self {
        let mut references = Self::default();
        for analysis in &spec.analyses {
            references.add_template(&analysis.template_name, analysis.cluster_scope);
        }
        references
    }

    /// The index terms of an object in `namespace` with these references.
    pub fn terms(&self, namespace: &str) -> Vec<Term> {
        let key = |name: &String| ObjectKey::new(namespace, name.as_str());
        let services = self.services.iter().map(|name| Term::Service(key(name)));
        let ingresses = self.ingresses.iter().map(|name| Term::Ingress(key(name)));
        let templates = self.templates.iter().map(|name| Term::Template(key(name)));
        let cluster_templates = self.cluster_templates.iter().cloned().map(Term::ClusterTemplate);
        let foreign = self.foreign.iter().cloned().map(|(kind, key)| Term::Foreign(kind, key));
        let workload = self.workload.iter();
        let workload = workload.flat_map(|(kind, key)| [Term::Workload(*kind, key.clone()), Term::WorkloadKind(*kind)]);
        let kinds = self.foreign_kinds().into_iter().map(Term::ForeignKind);
        services
            .chain(ingresses)
            .chain(foreign)
            .chain(kinds)
            .chain(workload)
            .chain(templates)
            .chain(cluster_templates)
            .collect()
    }

    /// The kinds of other projects among them.
    pub fn foreign_kinds(&self) -> BTreeSet<ForeignKind> {
        self.foreign.iter().map(|(kind, _)| *kind).collect()
    }

    fn add_foreign(&mut self, rollout: &Rollout, canary: &CanaryStrategy) {
        let routers = canary.traffic_routing.iter().flat_map(Router::all);
        let named = routers.flat_map(|router| router.references(rollout));
        self.foreign
            .extend(named.map(|(kind, namespace, name)| (kind, ObjectKey::new(namespace, name))));
    }

    fn add_canary(&mut self, rollout: &str, canary: &CanaryStrategy) {
        self.add_services([&canary.canary_service, &canary.stable_service]);
        if let Some(ping_pong) = &canary.ping_pong {
            self.add_services([&ping_pong.ping_service, &ping_pong.pong_service]);
        }
        if let Some(background) = &canary.analysis {
            self.add_templates(&background.templates);
        }
        for step in &canary.steps {
            self.add_analysis(step.analysis.as_ref());
            for analysis in step.experiment.iter().flat_map(|experiment| &experiment.analyses) {
                self.add_template(&analysis.template_name, analysis.cluster_scope);
            }
        }
        let Some(routing) = &canary.traffic_routing else { return };
        if let Some(nginx) = &routing.nginx {
            for stable in std::iter::once(&nginx.stable_ingress).chain(&nginx.stable_ingresses) {
                if !stable.is_empty() {
                    self.ingresses.insert(canary_ingress_name(rollout, stable));
                    self.ingresses.insert(stable.clone());
                }
            }
        }
        if let Some(alb) = &routing.alb {
            self.add_services([&alb.root_service]);
            self.ingresses.extend(
                std::iter::once(&alb.ingress)
                    .chain(&alb.ingresses)
                    .filter(|n| !n.is_empty())
                    .cloned(),
            );
        }
    }

    fn add_blue_green(&mut self, blue_green: &BlueGreenStrategy) {
        self.add_services([&blue_green.active_service, &blue_green.preview_service]);
        self.add_analysis(blue_green.pre_promotion_analysis.as_ref());
        self.add_analysis(blue_green.post_promotion_analysis.as_ref());
    }

    fn add_services<'a>(&mut self, names: impl IntoIterator<Item = &'a String>) {
        self.services
            .extend(names.into_iter().filter(|name| !name.is_empty()).cloned());
    }

    fn add_analysis(&mut self, analysis: Option<&RolloutAnalysis>) {
        if let Some(analysis) = analysis {
            self.add_templates(&analysis.templates);
        }
    }

    fn add_templates(&mut self, templates: &[AnalysisTemplateRef]) {
        for template in templates {
            self.add_template(&template.template_name, template.cluster_scope == Some(true));
        }
    }

    fn add_template(&mut self, name: &str, cluster_scope: bool) {
        let names = if cluster_scope {
            &mut self.cluster_templates
        } else {
            &mut self.templates
        };
        if !name.is_empty() {
            names.insert(name.to_owned());
        }
    }
}

/// The name of the canary Ingress derived from a stable one (reference, rollouts 3.3): `<rollout>-<stable>-canary`, the
/// first two cut so that the whole fits.
pub fn canary_ingress_name(rollout: &str, stable_ingress: &str) -> String {
    const SUFFIX: &str = "-canary";
    let mut name = format!("{rollout}-{stable_ingress}");
    let mut length = name.len().min(NAME_LENGTH_MAX - SUFFIX.len());
    while !name.is_char_boundary(length) {
        length -= 1;
    }
    name.truncate(length);
    name + SUFFIX
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_name_of_a_canary_is_found() {
        let rollout: Rollout = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"strategy": {"canary": {
                "canaryService": "c", "stableService": "s", "pingPong": {"pingService": "p", "pongService": "q"},
                "analysis": {"templates": [{"templateName": "bg", "clusterScope": true}]},
                "steps": [{"analysis": {"templates": [{"templateName": "step"}]}},
                          {"experiment": {"analyses": [{"name": "e", "templateName": "exp"}], "templates": []}}],
                "trafficRouting": {"nginx": {"stableIngress": "i", "stableIngresses": ["j"]}},
            }}}
        }))
        .unwrap();
        let found = References::of_rollout(&rollout);
        assert_eq!(found.services.iter().collect::<Vec<_>>(), ["c", "p", "q", "s"]);
        assert_eq!(
            found.ingresses.iter().collect::<Vec<_>>(),
            ["i", "j", "web-i-canary", "web-j-canary"]
        );
        assert_eq!(found.templates.iter().collect::<Vec<_>>(), ["exp", "step"]);
        assert_eq!(found.cluster_templates.iter().collect::<Vec<_>>(), ["bg"]);
        assert!(
            found
                .terms("shop")
                .contains(&Term::Ingress(ObjectKey::new("shop", "web-i-canary")))
        );
    }

    #[test]
    fn objects_of_every_router_are_found_with_those_it_makes() {
        let rollout: Rollout = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "shop"},
            "spec": {"strategy": {"canary": {"trafficRouting": {
                "managedRoutes": [{"name": "by-header"}],
                "istio": {"virtualServices": [{"name": "a"}, {"name": "b.edge"}], "destinationRule": {"name": "d"}},
                "smi": {}, "ambassador": {"mappings": ["m"]}, "traefik": {"weightedTraefikServiceName": "t"},
                "appMesh": {"virtualService": {"name": "v"}}, "apisix": {"route": {"name": "r"}}, "alb": {"ingress": "i"},
            }}}}
        }))
        .unwrap();
        let found = References::of_rollout(&rollout);
        let named: BTreeSet<String> = (found.foreign.iter())
            .map(|(kind, key)| format!("{} {kind} {key}", kind.group()))
            .collect();
        let expected = [
            "apisix.apache.org ApisixRoute shop/by-header",
            "apisix.apache.org ApisixRoute shop/r",
            "appmesh.k8s.aws VirtualRouter shop/",
            "appmesh.k8s.aws VirtualService shop/v",
            "getambassador.io Mapping shop/m",
            "getambassador.io Mapping shop/m-canary",
            "networking.istio.io DestinationRule shop/d",
            "networking.istio.io VirtualService edge/b",
            "networking.istio.io VirtualService shop/a",
            "split.smi-spec.io TrafficSplit shop/web",
            "traefik.io TraefikService shop/t",
        ];
        assert_eq!(named.iter().collect::<Vec<_>>(), expected);
        assert!(found.ingresses.contains("i"));
    }

    #[test]
    fn canary_ingress_names_fit() {
        let name = canary_ingress_name(&"r".repeat(200), &"i".repeat(200));
        assert_eq!(name.len(), NAME_LENGTH_MAX);
        assert!(name.ends_with("i-canary"));
    }
}
