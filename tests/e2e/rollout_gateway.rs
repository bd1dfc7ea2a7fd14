//! Updates that an HTTPRoute carries, with real requests: the definitions are Gateway API's own, the data plane is nginx.

use super::{
    harness::{World, same},
    site::{Site, none_failed},
};
use anyhow::{Context, Result, ensure};
use kube::{
    Api,
    core::{ApiResource, DynamicObject, GroupVersionKind},
};
use serde_json::{Value, json};
use std::time::Duration;

const STEPS: &str = "[{setCanaryScale: {replicas: 1}}, \
    {setHeaderRoute: {name: testers, match: [{headerName: x-tester, headerValue: {exact: tester}}]}}, {pause: {}}, \
    {setCanaryScale: {matchTrafficWeight: true}}, {setWeight: 30}, {pause: {}}]";

fn manifests(host: &str, replicas: u32, steps: &str) -> String {
    format!(
        r#"
apiVersion: v1
kind: Service
metadata: {{name: web-stable}}
spec: {{selector: {{app: web}}, ports: [{{port: 80, targetPort: 8080}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: web-canary}}
spec: {{selector: {{app: web}}, ports: [{{port: 80, targetPort: 8080}}]}}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: web}}
spec:
  parentRefs: [{{name: nginx}}]
  hostnames: ["{host}"]
  rules:
  - matches: [{{path: {{type: PathPrefix, value: /}}}}]
    backendRefs: [{{name: web-stable, port: 80}}, {{name: web-canary, port: 80}}]
  - name: assets
    matches: [{{path: {{type: PathPrefix, value: /assets}}, headers: [{{name: x-b, value: "2"}}]}}]
    filters: [{{type: ResponseHeaderModifier, responseHeaderModifier: {{add: [{{name: x-from, value: assets}}]}}}}]
    backendRefs: [{{name: assets, port: 8000, weight: 7}}]
---
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {{name: web}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec: {{containers: [{{name: web, image: 'demo:v1', ports: [{{containerPort: 8080}}]}}]}}
  strategy:
    canary:
      canaryService: web-canary
      stableService: web-stable
      abortScaleDownDelaySeconds: 2
      scaleDownDelaySeconds: 2
      trafficRouting:
        managedRoutes: [{{name: testers}}]
        plugins: {{argoproj-labs/gatewayAPI: {{httpRoute: web}}}}
      steps: {steps}
"#
    )
}

/// The site with its route.
struct Routed(Site);

impl Routed {
    async fn deployed(name: &str, steps: &str) -> Result<Self> {
        let world = World::new(name).await?;
        let site = Self(Site::deployed(world, |host| manifests(host, 3, steps)).await?);
        let at_rest = async || Ok(site.weight().await? == 0);
        let what = "the route gives all to the stable Service";
        site.0.world.until(what, at_rest).await?;
        Ok(site)
    }

    async fn route(&self) -> Result<DynamicObject> {
        let kind = GroupVersionKind::gvk("gateway.networking.k8s.io", "v1", "HTTPRoute");
        let resource = ApiResource::from_gvk(&kind);
        let api: Api<DynamicObject> =
            Api::namespaced_with(self.0.world.client.clone(), &self.0.world.namespace, &resource);
        Ok(api.get("web").await?)
    }

    async fn rules(&self) -> Result<Vec<Value>> {
        let route = self.route().await?;
        let rules = route.data.pointer("/spec/rules").and_then(Value::as_array);
        rules.cloned().context("the route has no rules")
    }

    /// The canary's weight in the user's rule.
    async fn weight(&self) -> Result<i64> {
        let rules = self.rules().await?;
        let weights = |rule: &Value| {
            let backends = rule["backendRefs"].as_array()?;
            let of = |name: &str| backends.iter().find(|backend| backend["name"] == name)?["weight"].as_i64();
            Some((of("web-stable")?, of("web-canary")?))
        };
        let (stable, canary) = rules
            .iter()
            .find_map(weights)
            .context("no rule leads to both Services")?;
        ensure!(
            canary == 1 || stable + canary == 100,
            "T1: {stable} + {canary} is not 100"
        );
        Ok(canary)
    }

    async fn has_header_route(&self) -> Result<bool> {
        Ok(self.rules().await?.iter().any(|rule| rule["name"] == "testers"))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_http_route_carries_an_update_and_no_request_fails() -> Result<()> {
    let site = Routed::deployed("gateway", STEPS).await?;
    let world = &site.0.world;
    let foreign = site.rules().await?.pop().context("no rules")?;
    same(&foreign["name"], &json!("assets"), "the user's last rule")?;
    let (users, testers) = (
        site.0.traffic(150, &[])?,
        site.0.traffic(50, &[("x-tester", "tester")])?,
    );

    world.set_image("web", "demo:v2").await?;
    world.paused_at("web", 2).await?;
    ensure!(site.has_header_route().await?, "the header route is there");
    // The pause has begun, so the data plane follows: no waiting here.
    site.0
        .until_recent(&testers, "testers get the canary", |recent| recent.share("v2") > 0.999)
        .await?;
    ensure!(
        users.recent(Duration::from_secs(2)).share("v1") > 0.999,
        "only testers do"
    );

    world.promote("web").await?;
    world.paused_at("web", 5).await?;
    same(site.weight().await?, 30, "weight")?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let share = users.recent(Duration::from_secs(3)).share("v2");
    ensure!(
        (0.2..0.4).contains(&share),
        "the canary got {share:.3} at a weight of 30"
    );

    world.promote("web").await?;
    world.healthy("web").await?;
    world
        .until("no weight and no header route are left", async || {
            Ok(site.weight().await? == 0 && !site.has_header_route().await?)
        })
        .await?;
    world
        .until("the old version is gone", async || {
            Ok(world.available("demo:v1").await? == 0)
        })
        .await?;
    same(site.rules().await?.pop(), Some(foreign), "the rule that is not ours")?;
    world.at_rest().await?;
    for traffic in [users, testers] {
        none_failed(traffic, 200).await?;
    }
    site.0.world.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abort_leaves_the_http_route_to_the_stable_version() -> Result<()> {
    let site = Routed::deployed("gateway-abort", STEPS).await?;
    let world = &site.0.world;
    let traffic = site.0.traffic(100, &[("x-tester", "tester")])?;
    world.set_image("web", "demo:v2").await?;
    world.paused_at("web", 2).await?;
    world.abort("web").await?;
    world
        .wait("web", "is Degraded", |status| {
            status.phase == "Degraded" && status.abort
        })
        .await?;
    world
        .until("the header route is gone", async || {
            Ok(!site.has_header_route().await?)
        })
        .await?;
    world
        .until("the canary is scaled down", async || {
            Ok(world.available("demo:v2").await? == 0)
        })
        .await?;
    same(site.weight().await?, 0, "weight")?;
    world.at_rest().await?;
    none_failed(traffic, 100).await?;
    site.0.world.end().await
}
