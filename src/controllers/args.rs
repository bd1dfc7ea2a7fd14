//! Command-line arguments of the controller: those of the original that mean something here, and our own.

use crate::{
    k8s::{
        foreign::{Choice, Choices},
        stores::Scope,
    },
    rollout::snapshot::Settings,
    sync::waits::WaitLimits,
    telemetry::logging::LogFormat,
    traffic::foreign::ForeignKind,
};
use clap::Args;
use jiff::SignedDuration;
use std::{net::SocketAddr, path::PathBuf};

/// Arguments of `tidegate controller`.
#[derive(Args, Clone, Debug)]
pub struct ControllerArgs {
    /// Kubeconfig to use instead of the pod's service account.
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// Context in the kubeconfig.
    #[arg(long)]
    pub context: Option<String>,
    /// Watch one namespace only.
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub namespaced: bool,
    /// Namespace to watch with --namespaced; also the namespace of the Lease.
    #[arg(long, short = 'n', env = "POD_NAMESPACE")]
    pub namespace: Option<String>,
    /// Manage only objects with this label `argo-rollouts.argoproj.io/controller-instance-id`; without it, only objects
    /// that lack the label.
    #[arg(long, default_value = "")]
    pub instance_id: String,
    /// Take part in a leader election; without it, this replica must be the only one.
    #[arg(long, num_args = 0..=1, default_value_t = true, default_missing_value = "true", action = clap::ArgAction::Set)]
    pub leader_elect: bool,
    /// Namespace of the Lease; absent: the controller's own.
    #[arg(long)]
    pub leader_election_namespace: Option<String>,
    /// Seconds that others wait after our last renewal of the Lease.
    #[arg(long, default_value = "15s", value_parser = seconds)]
    pub leader_election_lease_duration: u64,
    /// Seconds we go on without renewing the Lease; shorter than the lease duration.
    #[arg(long, default_value = "10s", value_parser = seconds)]
    pub leader_election_renew_deadline: u64,
    /// Seconds between attempts to take or renew the Lease.
    #[arg(long, default_value = "2s", value_parser = seconds)]
    pub leader_election_retry_period: u64,
    /// `trace`, `debug`, `info`, `warn` or `error`, or a filter such as `info,tidegate::k8s=debug`.
    #[arg(long, visible_alias = "log-level", env = "RUST_LOG", default_value = "info")]
    pub loglevel: String,
    /// How log lines look.
    #[arg(long, visible_alias = "log-format", env = "TIDEGATE_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub logformat: LogFormat,
    /// Port of `/metrics`; 0 turns it off.
    #[arg(
        long = "metricsPort",
        visible_alias = "metrics-port",
        visible_alias = "metricsport",
        default_value_t = 8090
    )]
    pub metrics_port: u16,
    /// Port of `/healthz` and `/readyz`; 0 turns it off.
    #[arg(
        long = "healthzPort",
        visible_alias = "healthz-port",
        visible_alias = "healthzport",
        default_value_t = 8080
    )]
    pub healthz_port: u16,
    /// Address that metrics and health are served on.
    #[arg(long, default_value = "0.0.0.0")]
    pub bind_address: std::net::IpAddr,
    /// Seconds after which every object is looked at again even when nothing changed.
    #[arg(long, default_value_t = 900)]
    pub rollout_resync: u64,
    /// Rollouts worked on at once.
    #[arg(long, default_value_t = 10)]
    pub rollout_threads: usize,
    /// AnalysisRuns worked on at once.
    #[arg(long, default_value_t = 30)]
    pub analysis_threads: usize,
    /// Experiments worked on at once.
    #[arg(long, default_value_t = 10)]
    pub experiment_threads: usize,
    /// Seconds after which a data plane that cannot be asked is taken to follow a written weight or selector.
    #[arg(long, default_value_t = Settings::default().drain_seconds)]
    pub drain_seconds: u32,
    /// Address that takes push webhooks of Git servers; absent: none.
    #[arg(long)]
    pub webhook_addr: Option<SocketAddr>,
    /// Address that answers the API server's admission requests over TLS; absent: none.
    #[arg(long)]
    pub admission_webhook: Option<SocketAddr>,
    /// Directory with `tls.crt` and `tls.key` for --admission-webhook; read again when they change.
    #[arg(long, default_value = "/etc/tidegate/admission")]
    pub admission_webhook_cert_dir: PathBuf,
    /// Seconds between looks at a Git repository.
    #[arg(long, default_value_t = 120)]
    pub repo_poll_seconds: u64,
    /// Seconds that a sync or a deletion waits for the cluster: health of a wave, a hook, a finalizer; 0: without end.
    #[arg(long, default_value_t = WaitLimits::PROGRESS_SECONDS_DEFAULT.unsigned_abs())]
    pub sync_wait_seconds: u64,
    /// Seconds that a sync or a deletion waits for a person: a pause, a confirmation; 0: without end.
    #[arg(long, default_value_t = WaitLimits::APPROVAL_SECONDS_DEFAULT.unsigned_abs())]
    pub sync_approval_seconds: u64,
    /// Namespaces whose Applications are managed besides the controller's own; comma-separated, `*` for all.
    #[arg(long, value_delimiter = ',')]
    pub sync_namespaces: Vec<String>,
    /// Only this part of the controllers; absent: all of them.
    #[arg(long, value_delimiter = ',')]
    pub controllers: Vec<ControllerName>,
    /// Groups and versions of other projects' kinds.
    #[command(flatten)]
    pub kinds: KindArgs,
    /// Flags of the original that mean nothing here; accepted with a warning.
    #[command(flatten)]
    pub ignored: IgnoredArgs,
}

/// A controller that can be run by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum ControllerName {
    /// Rollouts.
    Rollout,
    /// AnalysisRuns.
    Analysis,
    /// Experiments.
    Experiment,
    /// Applications.
    Application,
}

/// Groups and versions of other projects' kinds; absent, or not served: what the cluster prefers.
#[derive(Args, Clone, Debug, Default)]
pub struct KindArgs {
    /// Version of Istio's VirtualServices and DestinationRules, such as `v1beta1`.
    #[arg(long, value_name = "VERSION", value_parser = choice_of(ForeignKind::VirtualService))]
    istio_api_version: Option<Choice>,
    /// Version of TrafficSplits, such as `v1alpha2`.
    #[arg(long, value_name = "VERSION", value_parser = choice_of(ForeignKind::TrafficSplit))]
    traffic_split_api_version: Option<Choice>,
    /// Version of Ambassador's Mappings, such as `getambassador.io/v2`.
    #[arg(long, value_name = "VERSION", value_parser = choice_of(ForeignKind::Mapping))]
    ambassador_api_version: Option<Choice>,
    /// Group of TraefikServices; absent: that of --traefik-api-version, or `traefik.io`.
    #[arg(long, value_name = "GROUP", value_parser = ["traefik.io", "traefik.containo.us"])]
    traefik_api_group: Option<String>,
    /// Version of TraefikServices, such as `traefik.io/v1alpha1`.
    #[arg(long, value_name = "VERSION", value_parser = choice_of(ForeignKind::TraefikService))]
    traefik_api_version: Option<Choice>,
}

impl KindArgs {
    /// What was chosen for each kind.
    pub fn choices(&self) -> Choices {
        let traefik = self.traefik_api_version.clone().unwrap_or_default();
        let traefik = Choice {
            group: self.traefik_api_group.clone().or(traefik.group),
            ..traefik
        };
        let chosen = [
            (ForeignKind::VirtualService, self.istio_api_version.clone()),
            (ForeignKind::DestinationRule, self.istio_api_version.clone()),
            (ForeignKind::TrafficSplit, self.traffic_split_api_version.clone()),
            (ForeignKind::Mapping, self.ambassador_api_version.clone()),
            (ForeignKind::TraefikService, Some(traefik)),
        ];
        chosen
            .into_iter()
            .filter_map(|(kind, choice)| Some((kind, choice?)))
            .collect()
    }
}

/// Reads a version of a kind, with its group or without.
fn choice_of(kind: ForeignKind) -> impl Fn(&str) -> Result<Choice, String> + Clone + Send + Sync + 'static {
    move |text: &str| {
        let (group, version) = match text.split_once('/') {
            Some((group, version)) => (Some(group.to_owned()), version),
            None => (None, text),
        };
        let is_known = |group: &String| group == kind.group() || Some(group.as_str()) == kind.former_group();
        let mut characters = version.chars();
        let is_version =
            characters.next() == Some('v') && characters.next().is_some_and(|digit| digit.is_ascii_digit());
        if !is_version || !group.as_ref().is_none_or(is_known) {
            let group = kind.group();
            return Err(format!("expected a version such as `v1` or `{group}/v1`"));
        }
        let version = Some(version.to_owned());
        Ok(Choice { group, version })
    }
}

/// Flags of the original controller that mean nothing here.
#[derive(Args, Clone, Debug, Default)]
pub struct IgnoredArgs {
    #[arg(long, hide = true)]
    qps: Option<String>,
    #[arg(long, hide = true)]
    burst: Option<String>,
    #[arg(long, hide = true)]
    kloglevel: Option<String>,
    #[arg(long, hide = true)]
    service_threads: Option<String>,
    #[arg(long, hide = true)]
    ingress_threads: Option<String>,
    #[arg(long, hide = true)]
    ephemeral_metadata_threads: Option<String>,
    #[arg(long, hide = true)]
    ephemeral_metadata_update_pod_retries: Option<String>,
    #[arg(long, hide = true)]
    alb_ingress_classes: Vec<String>,
    #[arg(long, hide = true)]
    nginx_ingress_classes: Vec<String>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true")]
    aws_verify_target_group: Option<String>,
    #[arg(long, hide = true)]
    ingress_api_version: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true")]
    self_service_notification_enabled: Option<String>,
    #[arg(long, hide = true)]
    enable_pprof_address: Option<String>,
}

impl IgnoredArgs {
    /// The flags that were given.
    pub fn given(&self) -> Vec<&'static str> {
        let Self {
            qps,
            burst,
            kloglevel,
            service_threads,
            ingress_threads,
            ephemeral_metadata_threads,
            ephemeral_metadata_update_pod_retries,
            alb_ingress_classes,
            nginx_ingress_classes,
            aws_verify_target_group,
            ingress_api_version,
            self_service_notification_enabled,
            enable_pprof_address,
        } = self;
        [
            ("--qps", qps.is_some()),
            ("--burst", burst.is_some()),
            ("--kloglevel", kloglevel.is_some()),
            ("--service-threads", service_threads.is_some()),
            ("--ingress-threads", ingress_threads.is_some()),
            ("--ephemeral-metadata-threads", ephemeral_metadata_threads.is_some()),
            (
                "--ephemeral-metadata-update-pod-retries",
                ephemeral_metadata_update_pod_retries.is_some(),
            ),
            ("--alb-ingress-classes", !alb_ingress_classes.is_empty()),
            ("--nginx-ingress-classes", !nginx_ingress_classes.is_empty()),
            ("--aws-verify-target-group", aws_verify_target_group.is_some()),
            ("--ingress-api-version", ingress_api_version.is_some()),
            (
                "--self-service-notification-enabled",
                self_service_notification_enabled.is_some(),
            ),
            ("--enable-pprof-address", enable_pprof_address.is_some()),
        ]
        .into_iter()
        .filter(|(_, given)| *given)
        .map(|(flag, _)| flag)
        .collect()
    }
}

impl ControllerArgs {
    /// The namespaces to watch; `own` is the controller's namespace.
    pub fn scope(&self, own: &str) -> Scope {
        match self.namespaced {
            true => Scope::Namespace(own.to_owned()),
            false => Scope::Cluster,
        }
    }

    /// How long syncs and deletions wait.
    pub fn wait_limits(&self) -> WaitLimits {
        let seconds = |seconds: u64| SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(0));
        WaitLimits {
            progress: seconds(self.sync_wait_seconds),
            approval: seconds(self.sync_approval_seconds),
        }
    }

    /// What decisions depend on.
    pub fn settings(&self) -> Settings {
        Settings {
            drain_seconds: self.drain_seconds,
            instance_id: self.instance_id.clone(),
        }
    }

    /// Whether this controller is to be run.
    pub fn runs(&self, name: ControllerName) -> bool {
        self.controllers.is_empty() || self.controllers.contains(&name)
    }
}

/// Whole seconds, as a number or as Go writes durations (`15s`, `1m`).
fn seconds(text: &str) -> Result<u64, String> {
    let (number, unit) = match text.strip_suffix('s') {
        Some(number) => (number, 1),
        None => text.strip_suffix('m').map_or((text, 1), |number| (number, 60)),
    };
    let number: u64 = number
        .parse()
        .map_err(|_| format!("expected seconds such as `15s`, found `{text}`"))?;
    Ok(number * unit)
}

#[cfg(test)]
mod tests;
