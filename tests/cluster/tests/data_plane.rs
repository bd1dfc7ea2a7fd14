//! The parts beside the control plane do what they say: pods answer, nginx splits, no request is lost, Prometheus counts.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams},
};
use serde_json::{Value, json};
use tidegate_cluster::{
    Cluster, eventually, shared,
    traffic::{Traffic, TrafficOptions},
};

/// The ingress' propagation delay in the shared cluster.
const DELAY: Duration = Duration::from_secs(1);

/// Long enough for the busiest machine; nothing waits this long when all is well.
const PATIENCE: Duration = Duration::from_secs(60);

/// A Deployment and a Service of its pods; the image's tag says what they do.
fn app(name: &str, image: &str, replicas: u32) -> String {
    let labels = json!({"app": name});
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "app", "image": image, "ports": [{"name": "http", "containerPort": 8080}]}]},
            },
        },
    });
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": "http"}]},
    });
    format!("{deployment}\n---\n{service}\n---\n")
}

/// An Ingress of the whole host to a Service.
fn ingress(name: &str, host: &str, service: &str, annotations: &Value) -> String {
    let ingress = json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": name, "annotations": annotations},
        "spec": {"ingressClassName": "nginx", "rules": [{"host": host, "http": {"paths": [
            {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": service, "port": {"number": 80}}}},
        ]}}]},
    });
    format!("{ingress}\n---\n")
}

fn canary(weight: u32) -> Value {
    json!({
        "nginx.ingress.kubernetes.io/canary": "true",
        "nginx.ingress.kubernetes.io/canary-weight": weight.to_string(),
        "nginx.ingress.kubernetes.io/canary-by-header": "X-Canary",
    })
}

/// Status, version and time of one request.
async fn get(cluster: &Cluster, host: &str, header: Option<&str>) -> Result<(u16, String, Duration)> {
    let client = reqwest::Client::builder().no_proxy().build()?;
    let request = client.get(cluster.ingress()?).header("host", host);
    let request = header
        .into_iter()
        .fold(request, |request, value| request.header("x-canary", value));
    let started = Instant::now();
    let answer = request.send().await?;
    let version = answer
        .headers()
        .get("x-version")
        .and_then(|version| version.to_str().ok());
    Ok((
        answer.status().as_u16(),
        version.unwrap_or_default().to_owned(),
        started.elapsed(),
    ))
}

/// Waits for the first answer by a version.
async fn until_first_answered(cluster: &Cluster, host: &str, header: Option<&str>, by: &str) -> Result<()> {
    eventually(PATIENCE, format!("{host} is answered by `{by}`"), async || {
        let (status, version, _) = get(cluster, host, header).await.map_err(|error| error.to_string())?;
        if version == by {
            Ok(())
        } else {
            Err(format!("{status} by `{version}`"))
        }
    })
    .await
}

/// Waits until a version answers for half a second on end: around a reload, nginx's old workers answer beside the new ones.
async fn until_answered(cluster: &Cluster, host: &str, header: Option<&str>, by: &str) -> Result<()> {
    let mut since = Instant::now();
    eventually(PATIENCE, format!("{host} is answered by `{by}` only"), async || {
        let (status, version, _) = get(cluster, host, header).await.map_err(|error| error.to_string())?;
        if version != by {
            since = Instant::now();
        }
        if since.elapsed() >= Duration::from_millis(500) {
            Ok(())
        } else {
            Err(format!("{status} by `{version}`"))
        }
    })
    .await
}

/// Share of `v2` among 1,000 requests.
async fn share_of_v2(cluster: &Cluster, host: &str) -> Result<f64> {
    let options = TrafficOptions {
        rate_per_second: 1_000,
        ..TrafficOptions::new(cluster.ingress()?, host)
    };
    let traffic = Traffic::start(options)?;
    eventually(PATIENCE, "1,000 requests were answered", async || {
        let total = traffic.snapshot().total();
        if total >= 1_000 { Ok(()) } else { Err(total) }
    })
    .await?;
    let report = traffic.stop().await;
    ensure!(report.failures.is_empty(), "{:?}", report.failures);
    Ok(report.snapshot.share("v2"))
}

#[tokio::test]
async fn nginx_splits_by_header_and_weight() -> Result<()> {
    let cluster = shared().await?;
    let namespace = cluster.namespace("split").await?;
    let host = format!("{namespace}.test");
    let stable = app("stable", "demo:v1", 2) + &ingress("web", &host, "stable", &json!({}));
    cluster
        .apply_yaml(&namespace, &(stable + &app("canary", "demo:v2", 1)))
        .await?;
    until_answered(cluster, &host, None, "v1").await?;
    cluster
        .apply_yaml(&namespace, &ingress("web-canary", &host, "canary", &canary(30)))
        .await?;
    until_answered(cluster, &host, Some("always"), "v2").await?;
    let share = share_of_v2(cluster, &host).await?;
    ensure!((share - 0.3).abs() < 0.05, "{share} instead of 0.3");
    for _ in 0..20 {
        ensure!(
            get(cluster, &host, Some("never")).await?.1 == "v1",
            "`never` stays on stable"
        );
    }
    let address = [
        "get",
        "ingress",
        "-n",
        &namespace,
        "-o",
        "jsonpath={.items[*].status.loadBalancer.ingress[*].ip}",
    ];
    ensure!(cluster.kubectl(&address).await? == "127.0.0.1 127.0.0.1");

    // Without canary endpoints everything stays; without stable ones nothing answers, although the canary could.
    cluster
        .kubectl(&["scale", "-n", &namespace, "deployment/canary", "--replicas=0"])
        .await?;
    until_answered(cluster, &host, Some("always"), "v1").await?;
    cluster
        .kubectl(&["scale", "-n", &namespace, "deployment/canary", "--replicas=1"])
        .await?;
    until_answered(cluster, &host, Some("always"), "v2").await?;
    cluster
        .kubectl(&["scale", "-n", &namespace, "deployment/stable", "--replicas=0"])
        .await?;
    until_answered(cluster, &host, Some("always"), "").await?;
    ensure!(get(cluster, &host, Some("always")).await?.0 == 503);
    Ok(())
}

#[tokio::test]
async fn a_weight_is_in_effect_one_delay_later() -> Result<()> {
    let cluster = shared().await?;
    let namespace = cluster.namespace("delay").await?;
    let host = format!("{namespace}.test");
    let all = app("stable", "demo:v1", 1)
        + &app("canary", "demo:v2", 1)
        + &ingress("web", &host, "stable", &json!({}))
        + &ingress("web-canary", &host, "canary", &canary(0));
    cluster.apply_yaml(&namespace, &all).await?;
    until_answered(cluster, &host, Some("always"), "v2").await?;
    for (weight, version) in [(100, "v2"), (0, "v1"), (100, "v2")] {
        let written = Instant::now();
        cluster
            .apply_yaml(&namespace, &ingress("web-canary", &host, "canary", &canary(weight)))
            .await?;
        let accepted = Instant::now();
        until_first_answered(cluster, &host, None, version).await?;
        ensure!(
            written.elapsed() >= DELAY,
            "{weight}: after only {:?}",
            written.elapsed()
        );
        ensure!(
            accepted.elapsed() <= DELAY + Duration::from_millis(1_500),
            "{weight}: after {:?}",
            accepted.elapsed()
        );
        until_answered(cluster, &host, None, version).await?;
    }
    Ok(())
}

#[tokio::test]
async fn no_request_is_lost_when_pods_end() -> Result<()> {
    let cluster = shared().await?;
    let namespace = cluster.namespace("drain").await?;
    let host = format!("{namespace}.test");
    // Slow enough that requests are always under way.
    let all = app("web", "demo:v1-slow20", 3) + &ingress("web", &host, "web", &json!({}));
    cluster.apply_yaml(&namespace, &all).await?;
    until_answered(cluster, &host, None, "v1").await?;
    let traffic = Traffic::start(TrafficOptions::new(cluster.ingress()?, &host))?;

    let pods = Api::<Pod>::namespaced(cluster.client().await?, &namespace);
    let first = pods.list(&ListParams::default()).await?.items.into_iter().next();
    let first = first.map(|pod| pod.name_any()).unwrap_or_default();
    pods.delete(&first, &DeleteParams::default()).await?;
    eventually(PATIENCE, "the pod is gone", async || match pods.get_opt(&first).await {
        Ok(None) => Ok(()),
        Ok(Some(_)) => Err("it is there".to_owned()),
        Err(error) => Err(error.to_string()),
    })
    .await?;
    cluster
        .kubectl(&["set", "image", "-n", &namespace, "deployment/web", "app=demo:v2"])
        .await?;
    cluster
        .kubectl(&["rollout", "status", "-n", &namespace, "deployment/web", "--timeout=60s"])
        .await?;
    eventually(PATIENCE, "only v2 answers", async || {
        let share = traffic.share("v2", Duration::from_millis(500));
        if share > 0.999 { Ok(()) } else { Err(share) }
    })
    .await?;
    let report = traffic.stop().await;
    ensure!(report.failures.is_empty(), "{:?}", report.failures);
    let seconds = report.duration.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let rate = report.snapshot.total() as f64 / seconds;
    ensure!((150.0..=201.0).contains(&rate), "{rate} requests/s");
    Ok(())
}

#[tokio::test]
async fn pods_behave_as_their_tag_says() -> Result<()> {
    let cluster = shared().await?;
    let namespace = cluster.namespace("behave").await?;
    let host = |name: &str| format!("{name}.{namespace}.test");
    let mut all = String::new();
    for (name, image) in [
        ("bad", "demo:v3-errors30"),
        ("late", "demo:v4-slow300-ready3"),
        ("other", "api-server:v9-errors100"),
    ] {
        all += &(app(name, image, 1) + &ingress(name, &host(name), name, &json!({})));
    }
    let started = Instant::now();
    cluster
        .apply_yaml(&namespace, &(all + &app("broken", "demo:v5-crash", 1)))
        .await?;

    until_answered(cluster, &host("bad"), None, "v3").await?;
    let mut failed = 0;
    for _ in 0..100 {
        failed += usize::from(get(cluster, &host("bad"), None).await?.0 == 500);
    }
    ensure!(failed == 30, "{failed} of 100 failed");
    until_answered(cluster, &host("other"), None, "v9-errors100").await?;
    until_answered(cluster, &host("late"), None, "v4").await?;
    ensure!(
        started.elapsed() >= Duration::from_secs(3),
        "ready after {:?}",
        started.elapsed()
    );
    ensure!(get(cluster, &host("late"), None).await?.2 >= Duration::from_millis(300));

    let status = "jsonpath={.items[0].status.containerStatuses[0]}";
    eventually(PATIENCE, "the broken pod is restarted", async || {
        let arguments = ["get", "pods", "-n", &namespace, "-l", "app=broken", "-o", status];
        let status: Value = serde_json::from_str(&cluster.kubectl(&arguments).await?)?;
        let waits = status.pointer("/state/waiting/reason") == Some(&json!("CrashLoopBackOff"));
        ensure!(waits && status.pointer("/ready") == Some(&json!(false)), "{status}");
        ensure!(
            status.pointer("/restartCount").and_then(Value::as_u64) >= Some(1),
            "{status}"
        );
        Ok(())
    })
    .await
}

#[tokio::test]
async fn job_pods_run_their_command() -> Result<()> {
    let cluster = shared().await?;
    let namespace = cluster.namespace("jobs").await?;
    let job = |name: &str, image: &str, command: Value| {
        let container =
            json!({"name": "run", "image": image, "command": command, "env": [{"name": "WORD", "value": "tide"}]});
        let spec =
            json!({"backoffLimit": 0, "template": {"spec": {"restartPolicy": "Never", "containers": [container]}}});
        format!(
            "{}\n---\n",
            json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": spec})
        )
    };
    let all = job("good", "demo:v1", json!(["sh", "-c", "echo $WORD; echo $(WORD)"]))
        + &job("bad", "demo:v1", json!(["sh", "-c", "exit 3"]))
        + &job("false", "demo:v1", json!(["false"]))
        + &job("tagged", "demo:v1-exit7", json!(null))
        + &job("long", "demo:v1", json!(["sleep", "50"]));
    cluster.apply_yaml(&namespace, &all).await?;
    let ended = async |name: &str| {
        let selector = format!("job-name={name}");
        let path = "jsonpath={.items[0].status.containerStatuses[0].state.terminated}";
        eventually(PATIENCE, format!("the pod of job {name} ended"), async || {
            let text = cluster
                .kubectl(&["get", "pods", "-n", &namespace, "-l", &selector, "-o", path])
                .await?;
            Ok::<Value, anyhow::Error>(serde_json::from_str(&text)?)
        })
        .await
    };
    let good = ended("good").await?;
    ensure!(
        good.pointer("/exitCode") == Some(&json!(0)) && good.pointer("/message") == Some(&json!("tide\ntide\n")),
        "{good}"
    );
    for (name, exit_code) in [("bad", 3), ("false", 1), ("tagged", 7)] {
        let end = ended(name).await?;
        ensure!(end.pointer("/exitCode") == Some(&json!(exit_code)), "{name}: {end}");
    }
    cluster
        .kubectl(&[
            "wait",
            "-n",
            &namespace,
            "--for=condition=complete",
            "job/good",
            "--timeout=30s",
        ])
        .await?;
    cluster
        .kubectl(&[
            "wait",
            "-n",
            &namespace,
            "--for=condition=failed",
            "job/bad",
            "--timeout=30s",
        ])
        .await?;
    // A running command ends with its pod, long before its 50 seconds are over.
    cluster
        .kubectl(&[
            "delete",
            "-n",
            &namespace,
            "job/long",
            "--cascade=foreground",
            "--timeout=20s",
        ])
        .await?;
    Ok(())
}

#[tokio::test]
async fn prometheus_counts_requests_by_version_and_code() -> Result<()> {
    let cluster = shared().await?;
    let namespace = cluster.namespace("metrics").await?;
    let host = format!("{namespace}.test");
    let all = app("web", "demo:v3-errors50", 2) + &ingress("web", &host, "web", &json!({}));
    cluster.apply_yaml(&namespace, &all).await?;
    until_answered(cluster, &host, None, "v3").await?;
    let options = TrafficOptions {
        rate_per_second: 100,
        ..TrafficOptions::new(cluster.ingress()?, &host)
    };
    let traffic = Traffic::start(options)?;
    let rate = async |code: &str, expect: f64| {
        let query = format!(
            "sum(rate(http_requests_total{{namespace=\"{namespace}\",version=\"v3\",app=\"web\",code=\"{code}\"}}[5s]))"
        );
        eventually(PATIENCE, format!("Prometheus shows {expect}/s of {code}"), async || {
            let client = reqwest::Client::builder().no_proxy().build()?;
            let address = format!("{}/api/v1/query", cluster.prometheus()?);
            let address = reqwest::Url::parse_with_params(&address, [("query", &query)])?;
            let answer: Value = client.get(address).send().await?.json().await?;
            let value = answer.pointer("/data/result/0/value/1").and_then(Value::as_str);
            let value: f64 = value.unwrap_or("NaN").parse()?;
            ensure!((value - expect).abs() < 0.1 * expect, "{value} in {answer}");
            Ok(())
        })
        .await
    };
    rate("200", 50.0).await?;
    rate("500", 50.0).await?;
    let failures = traffic.stop().await.failures;
    ensure!(
        failures.iter().all(|failure| failure.version.as_deref() == Some("v3")),
        "{failures:?}"
    );
    Ok(())
}
