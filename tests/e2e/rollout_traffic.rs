//! 200 requests a second through every kind of update: none fails that the version itself did not answer, and no step counts
//! before its share of requests reaches the canary.

use super::{
    harness::{PATIENCE, World, nginx_canary, same},
    site::{RATE, Site, none_failed},
};
use anyhow::{Context, Result, ensure};
use kube::api::ListParams;
use serde_json::json;
use std::{net::Ipv4Addr, time::Duration};
use tidegate::api::analysis::AnalysisRun;
use tidegate_cluster::{eventually, ingress, traffic::Traffic};

/// How late the late data plane is.
const LATE: Duration = Duration::from_secs(4);

/// A Rollout `web` of three pods with this strategy.
fn rollout(strategy: &str) -> String {
    format!(
        r"
apiVersion: argoproj.io/v1alpha1
kind: Rollout
metadata: {{name: web}}
spec:
  replicas: 3
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec: {{containers: [{{name: web, image: 'demo:v1', ports: [{{containerPort: 8080}}]}}]}}
  strategy: {strategy}
---
"
    )
}

fn service(name: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\n\
         spec: {{selector: {{app: web}}, ports: [{{port: 80, targetPort: 8080}}]}}\n---\n"
    )
}

/// A route of the host to both Services.
fn http_route(host: &str, services: [&str; 2]) -> String {
    let [first, second] = services;
    format!(
        "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {{name: web}}\n\
         spec:\n  parentRefs: [{{name: nginx}}]\n  hostnames: ['{host}']\n  rules:\n  \
         - backendRefs: [{{name: {first}, port: 80}}, {{name: {second}, port: 80}}]\n---\n"
    )
}

fn ingress_to(host: &str, service: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {{name: web}}\n\
         spec:\n  ingressClassName: nginx\n  rules:\n  - host: {host}\n    http: {{paths: [{{path: /, pathType: Prefix, \
         backend: {{service: {{name: {service}, port: {{number: 80}}}}}}}}]}}\n---\n"
    )
}

/// An analysis that asks the cluster's Prometheus for a 1, three times, and wants what `condition` says.
fn check(prometheus: &str, condition: &str) -> String {
    format!(
        "apiVersion: argoproj.io/v1alpha1\nkind: AnalysisTemplate\nmetadata: {{name: check}}\nspec:\n  metrics:\n  \
         - {{name: one, interval: 1s, count: 3, successCondition: '{condition}', \
         provider: {{prometheus: {{address: '{prometheus}', query: 'vector(1)'}}}}}}\n---\n"
    )
}

/// Waits until all requests are answered by a version.
async fn until_all(site: &Site, traffic: &Traffic, version: &str) -> Result<()> {
    let what = format!("all requests are answered by {version}");
    site.until_recent(traffic, &what, |recent| recent.share(version) > 0.999)
        .await
}

/// Waits until a version has no pods.
async fn until_gone(world: &World, version: &str) -> Result<()> {
    let image = format!("demo:{version}");
    let gone = async || Ok(world.available(&image).await? == 0);
    world.until(&format!("{version} is gone"), gone).await
}

/// Updates through the pauses at these steps, each ended by a person.
async fn update(site: &Site, from: &str, to: &str, pauses: &[i32]) -> Result<()> {
    site.world.set_image("web", &format!("demo:{to}")).await?;
    for pause in pauses {
        site.world.paused_at("web", *pause).await?;
        site.world.promote("web").await?;
    }
    site.world.healthy("web").await?;
    until_gone(&site.world, from).await
}

/// Begins an update and aborts it in the pause at this step.
async fn aborted(site: &Site, version: &str, pause: i32) -> Result<()> {
    site.world.set_image("web", &format!("demo:{version}")).await?;
    site.world.paused_at("web", pause).await?;
    site.world.abort("web").await?;
    let degraded = site
        .world
        .wait("web", "is Degraded", |status| status.phase == "Degraded");
    degraded.await?;
    until_gone(&site.world, version).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_canary_behind_nginx_fails_no_request() -> Result<()> {
    let steps = "[{setWeight: 20}, {pause: {}}, {setWeight: 60}, {pause: {}}]";
    let world = World::new("traffic-nginx").await?;
    let manifests = |host: &str| nginx_canary(3, "demo:v1", steps).replace("web.example", host);
    let site = Site::deployed(world, manifests).await?;
    let traffic = site.traffic(RATE, &[])?;
    update(&site, "v1", "v2", &[1, 3]).await?;
    aborted(&site, "v3", 1).await?;
    until_all(&site, &traffic, "v2").await?;
    none_failed(traffic, 1_000).await?;
    site.world.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ping_pong_fails_no_request_in_either_direction() -> Result<()> {
    let strategy = "{canary: {pingPong: {pingService: web-ping, pongService: web-pong}, \
        abortScaleDownDelaySeconds: 2, scaleDownDelaySeconds: 2, \
        trafficRouting: {plugins: {argoproj-labs/gatewayAPI: {httpRoute: web}}}, \
        steps: [{setWeight: 30}, {pause: {}}]}}";
    let world = World::new("traffic-ping-pong").await?;
    let manifests = |host: &str| {
        let route = http_route(host, ["web-ping", "web-pong"]);
        service("web-ping") + &service("web-pong") + &route + &rollout(strategy)
    };
    let site = Site::deployed(world, manifests).await?;
    let traffic = site.traffic(RATE, &[])?;
    let side = async || -> Result<String> {
        let status = site.world.rollout("web").await?.status.context("no status")?;
        let status = serde_json::to_value(status)?;
        let side = status.pointer("/canary/stablePingPong").and_then(|side| side.as_str());
        Ok(side.context("no stablePingPong")?.to_owned())
    };
    same(side().await?.as_str(), "ping", "the first stable side")?;
    update(&site, "v1", "v2", &[1]).await?;
    same(side().await?.as_str(), "pong", "the stable side after one update")?;
    until_all(&site, &traffic, "v2").await?;
    update(&site, "v2", "v3", &[1]).await?;
    same(side().await?.as_str(), "ping", "the stable side after two updates")?;
    aborted(&site, "v4", 1).await?;
    until_all(&site, &traffic, "v3").await?;
    same(side().await?.as_str(), "ping", "the stable side after an abort")?;
    site.world.at_rest().await?;
    none_failed(traffic, 1_000).await?;
    site.world.end().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blue_green_fails_no_request_there_and_back() -> Result<()> {
    let strategy = "{blueGreen: {activeService: web-active, previewService: web-preview, autoPromotionEnabled: false, \
        scaleDownDelaySeconds: 0, abortScaleDownDelaySeconds: 1, \
        postPromotionAnalysis: {templates: [{templateName: check}]}}}";
    let world = World::new("traffic-blue-green").await?;
    let prometheus = world.cluster.prometheus()?.to_owned();
    let manifests = |host: &str| {
        let services = service("web-active") + &service("web-preview");
        services + &ingress_to(host, "web-active") + &check(&prometheus, "result[0] == 1") + &rollout(strategy)
    };
    let site = Site::deployed(world, manifests).await?;
    let world = &site.world;
    let traffic = site.traffic(RATE, &[])?;
    let previewed = async |version: &str| -> Result<()> {
        world.set_image("web", &format!("demo:{version}")).await?;
        let paused = world.wait("web", "pauses before the switch", |status| {
            status.phase == "Paused"
                && status
                    .pause_conditions
                    .iter()
                    .any(|held| held.reason == "BlueGreenPause")
        });
        paused.await.map(drop)
    };
    previewed("v2").await?;
    world.promote("web").await?;
    world.healthy("web").await?;
    until_gone(world, "v1").await?;
    until_all(&site, &traffic, "v2").await?;

    // One that is given up before the switch.
    previewed("v3").await?;
    world.abort("web").await?;
    until_gone(world, "v3").await?;
    same(traffic.snapshot().versions.contains_key("v3"), false, "v3 got requests")?;

    // One that is found out after the switch.
    world.apply(&check(&prometheus, "result[0] == 2")).await?;
    previewed("v4").await?;
    world.promote("web").await?;
    world
        .wait("web", "is aborted", |status| status.abort && status.phase == "Degraded")
        .await?;
    until_gone(world, "v4").await?;
    until_all(&site, &traffic, "v2").await?;
    ensure!(traffic.snapshot().versions.contains_key("v4"), "v4 got no requests");
    none_failed(traffic, 1_000).await?;
    site.world.end().await
}

/// A site behind an ingress of its own that follows the API four seconds late, with the flags a user would have.
async fn late(
    name: &str,
    manifests: impl FnOnce(&str, &str) -> String,
) -> Result<(Site, ingress::Ingress, tempfile::TempDir)> {
    let mut world = World::without_controller(name).await?;
    world.start_task_with(&["--drain-seconds=5"]).await?;
    let dir = tempfile::tempdir()?;
    let options = ingress::Options {
        dir: dir.path().to_owned(),
        propagation_delay: LATE,
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
    };
    let ingress = ingress::start(world.client.clone(), options).await?;
    let address = format!("http://{}", ingress.http_address());
    let prometheus = world.cluster.prometheus()?.to_owned();
    // Pods, too, must know how late their data plane is.
    let long = "ports: [{containerPort: 8080}], lifecycle: {preStop: {sleep: {seconds: 6}}}";
    let manifests = |host: &str| manifests(host, &prometheus).replace("ports: [{containerPort: 8080}]", long);
    let site = Site::behind(world, address, manifests).await?;
    Ok((site, ingress, dir))
}

const LATE_STEPS: &str = "[{setWeight: 50}, {analysis: {templates: [{templateName: check}]}}, \
    {setWeight: 100}, {pause: {duration: 1}}, {setWeight: 20}, {pause: {}}]";

/// Fails unless about this share of the requests of the last half second went to v2.
fn has_share(traffic: &Traffic, share: f64, when: &str) -> Result<()> {
    let recent = traffic.recent(Duration::from_millis(500));
    let found = recent.share("v2");
    ensure!(recent.total() > 20, "{when}: only {} requests", recent.total());
    ensure!(
        (found - share).abs() < 0.2,
        "{when}: v2 has {found:.3} of the requests instead of {share}"
    );
    Ok(())
}

async fn every_step_waits_for_its_share(site: &Site) -> Result<()> {
    let world = &site.world;
    let traffic = site.traffic(RATE, &[])?;
    world.set_image("web", "demo:v2").await?;
    let begun = eventually(PATIENCE, "the analysis begins", async || {
        let runs = world.api::<AnalysisRun>().list(&ListParams::default()).await;
        let runs = runs.map_err(|error| error.to_string())?;
        (!runs.items.is_empty())
            .then_some(())
            .ok_or("no AnalysisRun".to_owned())
    });
    begun.await?;
    has_share(&traffic, 0.5, "when the analysis begins")?;
    let paused = world.wait("web", "begins its pause", |status| {
        status.current_step_index == Some(3) && !status.pause_conditions.is_empty()
    });
    paused.await?;
    has_share(&traffic, 1.0, "when the first pause begins")?;
    world.paused_at("web", 5).await?;
    has_share(&traffic, 0.2, "when the second pause begins")?;
    world.promote("web").await?;
    world.healthy("web").await?;
    until_gone(world, "v1").await?;
    until_all(site, &traffic, "v2").await?;
    none_failed(traffic, 2_000).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_wait_for_an_ingress_that_is_four_seconds_late() -> Result<()> {
    let (site, ingress, _dir) = late("late-nginx", |host, prometheus| {
        let canary = nginx_canary(3, "demo:v1", LATE_STEPS).replace("web.example", host);
        check(prometheus, "result[0] == 1") + &canary
    })
    .await?;
    every_step_waits_for_its_share(&site).await?;
    site.world.end().await?;
    ingress.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn steps_wait_for_a_gateway_that_is_four_seconds_late() -> Result<()> {
    let strategy = json!({"canary": {
        "stableService": "web-stable", "canaryService": "web-canary",
        "trafficRouting": {"plugins": {"argoproj-labs/gatewayAPI": {"httpRoute": "web"}}},
    }});
    let strategy = strategy.to_string().replace(
        "\"trafficRouting\"",
        &format!("\"steps\": {LATE_STEPS}, \"trafficRouting\""),
    );
    let (site, ingress, _dir) = late("late-gateway", |host, prometheus| {
        let services = service("web-stable") + &service("web-canary");
        let route = http_route(host, ["web-stable", "web-canary"]);
        check(prometheus, "result[0] == 1") + &services + &route + &rollout(&strategy)
    })
    .await?;
    every_step_waits_for_its_share(&site).await?;
    site.world.end().await?;
    ingress.stop().await;
    Ok(())
}
