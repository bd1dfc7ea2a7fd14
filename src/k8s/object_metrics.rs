//! Metrics that are read off the stores at scrape time, without copying an object.

use crate::{
    analysis::validate,
    api::{
        analysis::{AnalysisRun, Metric},
        experiment::Experiment,
        rollout::Rollout,
    },
    k8s::stores::Stores,
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, gauge::ConstGauge},
};

/// Phases of the deprecated `rollout_phase`.
const ROLLOUT_PHASES: [&str; 7] = [
    "InvalidSpec",
    "Completed",
    "Progressing",
    "Paused",
    "Timeout",
    "Error",
    "Abort",
];
/// Phases of an AnalysisRun, and of an Experiment.
const RUN_PHASES: [&str; 6] = ["Pending", "Running", "Successful", "Failed", "Error", "Inconclusive"];

/// Series about every Rollout, AnalysisRun, Experiment and template.
#[derive(Debug)]
pub struct ObjectMetrics(pub Stores);

/// The format has no other way to report a failure.
pub(super) type Encoded = Result<(), std::fmt::Error>;

impl Collector for ObjectMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Encoded {
        self.rollouts(&mut encoder)?;
        self.analysis_runs(&mut encoder)?;
        self.experiments(&mut encoder)?;
        self.templates(&mut encoder)
    }
}

impl ObjectMetrics {
    fn rollouts(&self, encoder: &mut DescriptorEncoder<'_>) -> Encoded {
        let Self(stores) = self;
        gauges(encoder, "rollout_info", "Information about a Rollout", |series| {
            stores.rollouts.for_each(|rollout| {
                let status = rollout.status.as_ref();
                series.add(
                    &[
                        ("namespace", namespace(rollout)),
                        ("name", name(rollout)),
                        ("strategy", strategy(rollout)),
                        ("traffic_router", traffic_router(rollout)),
                        ("phase", status.map(|status| status.phase.as_str()).unwrap_or_default()),
                    ],
                    1,
                );
            });
        })?;
        for (metric, help, value) in REPLICA_GAUGES {
            gauges(encoder, metric, help, |series| {
                stores.rollouts.for_each(|rollout| {
                    series.add(
                        &[("namespace", namespace(rollout)), ("name", name(rollout))],
                        value(rollout),
                    );
                });
            })?;
        }
        gauges(
            encoder,
            "rollout_phase",
            "Deprecated: the phase of a Rollout",
            |series| {
                stores.rollouts.for_each(|rollout| {
                    let now = condition_phase(rollout);
                    for phase in ROLLOUT_PHASES {
                        let labels = [
                            ("namespace", namespace(rollout)),
                            ("name", name(rollout)),
                            ("strategy", strategy(rollout)),
                            ("phase", phase),
                        ];
                        series.add(&labels, i64::from(phase == now));
                    }
                });
            },
        )
    }

    fn analysis_runs(&self, encoder: &mut DescriptorEncoder<'_>) -> Encoded {
        let Self(stores) = self;
        gauges(
            encoder,
            "analysis_run_info",
            "Information about an AnalysisRun",
            |series| {
                stores.analysis_runs.for_each(|run| {
                    let labels = [
                        ("namespace", namespace(run)),
                        ("name", name(run)),
                        ("phase", run_phase(run)),
                    ];
                    series.add(&labels, 1);
                });
            },
        )?;
        gauges(
            encoder,
            "analysis_run_phase",
            "Deprecated: the phase of an AnalysisRun",
            |series| {
                stores.analysis_runs.for_each(|run| {
                    for phase in RUN_PHASES {
                        let labels = [("namespace", namespace(run)), ("name", name(run)), ("phase", phase)];
                        series.add(&labels, i64::from(phase == run_phase(run)));
                    }
                });
            },
        )?;
        gauges(
            encoder,
            "analysis_run_metric_phase",
            "The phase of a metric of an AnalysisRun",
            |series| {
                stores.analysis_runs.for_each(|run| {
                    for result in run.status.iter().flat_map(|status| &status.metric_results) {
                        let metric = run.spec.metrics.iter().find(|metric| metric.name == result.name);
                        let labels = [
                            ("namespace", namespace(run)),
                            ("name", name(run)),
                            ("metric", result.name.as_str()),
                            ("type", metric.map_or("", provider_type)),
                            ("dry_run", if result.dry_run { "true" } else { "false" }),
                            ("phase", result.phase.as_str()),
                        ];
                        series.add(&labels, 1);
                    }
                });
            },
        )?;
        gauges(
            encoder,
            "analysis_run_metric_type",
            "The provider of a metric of an AnalysisRun",
            |series| {
                stores.analysis_runs.for_each(|run| {
                    for metric in &run.spec.metrics {
                        let labels = [
                            ("namespace", namespace(run)),
                            ("name", name(run)),
                            ("metric", metric.name.as_str()),
                            ("type", provider_type(metric)),
                        ];
                        series.add(&labels, 1);
                    }
                });
            },
        )
    }

    fn experiments(&self, encoder: &mut DescriptorEncoder<'_>) -> Encoded {
        let Self(stores) = self;
        let help = "Information about an Experiment";
        gauges(encoder, "experiment_info", help, |series| {
            stores.experiments.for_each(|found| {
                let phase = experiment_phase(found);
                let labels = [("namespace", namespace(found)), ("name", name(found)), ("phase", phase)];
                series.add(&labels, 1);
            });
        })?;
        let help = "Deprecated: the phase of an Experiment";
        gauges(encoder, "experiment_phase", help, |series| {
            stores.experiments.for_each(|found| {
                let now = experiment_phase(found);
                for phase in RUN_PHASES {
                    let labels = [("namespace", namespace(found)), ("name", name(found)), ("phase", phase)];
                    series.add(&labels, i64::from(phase == now));
                }
            });
        })
    }

    fn templates(&self, encoder: &mut DescriptorEncoder<'_>) -> Encoded {
        let Self(stores) = self;
        gauges(
            encoder,
            "analysis_template_metric_info",
            "Information about the metrics of an AnalysisTemplate",
            |series| {
                stores.analysis_templates.for_each(|template| {
                    metric_infos(series, namespace(template), name(template), &template.spec.metrics);
                });
                stores.cluster_analysis_templates.for_each(|template| {
                    metric_infos(series, "", name(template), &template.spec.metrics);
                });
            },
        )?;
        gauges(
            encoder,
            "analysis_template_info",
            "Information about an AnalysisTemplate",
            |series| {
                stores.analysis_templates.for_each(|template| {
                    series.add(&[("namespace", namespace(template)), ("name", name(template))], 1);
                });
                stores.cluster_analysis_templates.for_each(|template| {
                    series.add(&[("namespace", ""), ("name", name(template))], 1);
                });
            },
        )
    }
}

type RolloutGauge = (&'static str, &'static str, fn(&Rollout) -> i64);

const REPLICA_GAUGES: [RolloutGauge; 4] = [
    (
        "rollout_info_replicas_available",
        "Available pods of a Rollout",
        |rollout| {
            rollout
                .status
                .as_ref()
                .map_or(0, |status| i64::from(status.available_replicas))
        },
    ),
    (
        "rollout_info_replicas_unavailable",
        "Pods of a Rollout that are not available",
        |rollout| {
            rollout.status.as_ref().map_or(0, |status| {
                i64::from((status.replicas - status.available_replicas).max(0))
            })
        },
    ),
    ("rollout_info_replicas_desired", "Pods wanted of a Rollout", |rollout| {
        i64::from(rollout.spec.replicas.unwrap_or(1))
    }),
    (
        "rollout_info_replicas_updated",
        "Pods of a Rollout's current template",
        |rollout| {
            rollout
                .status
                .as_ref()
                .map_or(0, |status| i64::from(status.updated_replicas))
        },
    ),
];

/// Series of one gauge while it is being written. The first failure is kept; the format has no other way to report it.
pub(super) struct Series<'a, 'b> {
    encoder: &'a mut prometheus_client::encoding::MetricEncoder<'b>,
    result: Encoded,
}

impl Series<'_, '_> {
    /// Adds one.
    pub(super) fn add<const N: usize>(&mut self, labels: &[(&str, &str); N], value: i64) {
        if self.result.is_ok() {
            self.result = self
                .encoder
                .encode_family(labels)
                .and_then(|encoder| ConstGauge::new(value).encode(encoder));
        }
    }
}

/// Writes one gauge.
pub(super) fn gauges(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    write: impl FnOnce(&mut Series<'_, '_>),
) -> Encoded {
    let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    let mut series = Series {
        encoder: &mut metric,
        result: Ok(()),
    };
    write(&mut series);
    series.result
}

fn metric_infos(series: &mut Series<'_, '_>, namespace: &str, name: &str, metrics: &[Metric]) {
    for metric in metrics {
        let labels = [
            ("namespace", namespace),
            ("name", name),
            ("type", provider_type(metric)),
            ("metric", metric.name.as_str()),
        ];
        series.add(&labels, 1);
    }
}

/// The provider's field name; empty unless there is exactly one.
fn provider_type(metric: &Metric) -> &'static str {
    validate::provider(metric).unwrap_or_default()
}

pub(super) fn namespace<K: kube::Resource>(object: &K) -> &str {
    object.meta().namespace.as_deref().unwrap_or_default()
}

pub(super) fn name<K: kube::Resource>(object: &K) -> &str {
    object.meta().name.as_deref().unwrap_or_default()
}

fn strategy(rollout: &Rollout) -> &'static str {
    match (&rollout.spec.strategy.canary, &rollout.spec.strategy.blue_green) {
        (Some(_), _) => "canary",
        (None, Some(_)) => "blueGreen",
        (None, None) => "none",
    }
}

fn traffic_router(rollout: &Rollout) -> &'static str {
    let routing = rollout
        .spec
        .strategy
        .canary
        .as_ref()
        .and_then(|canary| canary.traffic_routing.as_ref());
    let Some(routing) = routing else { return "" };
    let routers = [
        ("ALB", routing.alb.is_some()),
        ("Ambassador", routing.ambassador.is_some()),
        ("AppMesh", routing.app_mesh.is_some()),
        ("Apisix", routing.apisix.is_some()),
        ("Istio", routing.istio.is_some()),
        ("Nginx", routing.nginx.is_some()),
        ("SMI", routing.smi.is_some()),
        ("Traefik", routing.traefik.is_some()),
        ("Plugin", !routing.plugins.is_empty()),
    ];
    routers
        .into_iter()
        .find(|(_, used)| *used)
        .map_or("", |(router, _)| router)
}

/// The phase the deprecated metric derives from conditions.
fn condition_phase(rollout: &Rollout) -> &'static str {
    let Some(status) = &rollout.status else {
        return "Progressing";
    };
    let is_true = |kind: &str| {
        status
            .condition(kind)
            .is_some_and(|condition| condition.status == "True")
    };
    if is_true("InvalidSpec") {
        return "InvalidSpec";
    }
    if is_true("Paused") {
        return "Paused";
    }
    match status
        .condition("Progressing")
        .map(|progressing| progressing.reason.as_str())
    {
        Some("NewReplicaSetAvailable") => "Completed",
        Some("ProgressDeadlineExceeded") => "Timeout",
        Some("RolloutAborted") => "Abort",
        Some("ReplicaSetCreateError" | "RolloutAnalysisRunFailed") => "Error",
        Some(_) | None => "Progressing",
    }
}

fn run_phase(run: &AnalysisRun) -> &str {
    begun(run.status.as_ref().map(|status| status.phase.as_str()))
}

fn experiment_phase(experiment: &Experiment) -> &str {
    begun(experiment.status.as_ref().map(|status| status.phase.as_str()))
}

/// What has no phase yet is pending.
fn begun(phase: Option<&str>) -> &str {
    phase.filter(|phase| !phase.is_empty()).unwrap_or("Pending")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::metrics::Metrics;
    use serde_json::json;

    #[test]
    fn a_scrape_reads_the_stores() {
        let stores = Stores::default();
        let rollout = json!({
            "metadata": {"namespace": "shop", "name": "web"},
            "spec": {"replicas": 5, "strategy": {"canary": {"trafficRouting": {"nginx": {"stableIngress": "i"}}}}},
            "status": {"phase": "Paused", "availableReplicas": 4, "replicas": 6, "updatedReplicas": 1},
        });
        stores.rollouts.put(serde_json::from_value(rollout).unwrap());
        let checks = json!([{"name": "errors", "provider": {"prometheus": {"query": "up"}}}, {"name": "smoke", "provider": {"job": {}}}]);
        let run = json!({"metadata": {"namespace": "shop", "name": "run"}, "spec": {"metrics": checks},
            "status": {"phase": "Running", "metricResults": [{"name": "errors", "phase": "Running"}]}});
        stores.analysis_runs.put(serde_json::from_value(run).unwrap());
        let experiment = json!({"metadata": {"namespace": "shop", "name": "trial"}, "status": {"phase": "Running"}});
        stores.experiments.put(serde_json::from_value(experiment).unwrap());
        let template = json!({"metadata": {"namespace": "shop", "name": "check"}, "spec": {"metrics": checks}});
        stores.analysis_templates.put(serde_json::from_value(template).unwrap());
        let metrics = Metrics::new();
        metrics.collect(Box::new(ObjectMetrics(stores)));
        let page = metrics.render().unwrap();
        let has = |line: &str| assert!(page.lines().any(|found| found == line), "{line} is missing in\n{page}");
        has(r#"rollout_info{namespace="shop",name="web",strategy="canary",traffic_router="Nginx",phase="Paused"} 1"#);
        has(
            r#"analysis_run_metric_phase{namespace="shop",name="run",metric="errors",type="prometheus",dry_run="false",phase="Running"} 1"#,
        );
        has(r#"analysis_run_metric_type{namespace="shop",name="run",metric="smoke",type="job"} 1"#);
        has(r#"analysis_template_metric_info{namespace="shop",name="check",type="job",metric="smoke"} 1"#);
        has(r#"experiment_info{namespace="shop",name="trial",phase="Running"} 1"#);
        has(r#"experiment_phase{namespace="shop",name="trial",phase="Failed"} 0"#);
        has(r#"rollout_info_replicas_unavailable{namespace="shop",name="web"} 2"#);
        has(r#"rollout_info_replicas_desired{namespace="shop",name="web"} 5"#);
        has(r#"rollout_phase{namespace="shop",name="web",strategy="canary",phase="Progressing"} 1"#);
    }
}
