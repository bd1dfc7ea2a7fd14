//! The words of the command line, as clap reads them. A value's name (`ROLLOUT`, `FILE`) also tells completion what to
//! offer (`complete`).

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand};

use super::completion::What;
use super::image;
use super::output::Format;
use super::simulate::SimulateArgs;
use crate::controllers::args::ControllerArgs;
use crate::k8s::overrides::Overrides;

/// Steps, judges and rolls back the updates of workloads on Kubernetes.
#[derive(Debug, Parser)]
pub(super) struct Plugin {
    #[command(flatten)]
    pub(super) global: GlobalArgs,
    #[command(subcommand)]
    pub(super) verb: Verb,
}

/// Progressive delivery and GitOps for Kubernetes in one binary.
#[derive(Debug, Parser)]
pub(super) struct Standalone {
    #[command(flatten)]
    pub(super) global: GlobalArgs,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Flags of every verb, before or behind it.
#[derive(Args, Clone, Debug, Default)]
pub struct GlobalArgs {
    /// Namespace; absent: that of the context.
    #[arg(short, long, global = true, value_name = "NAMESPACE")]
    pub(crate) namespace: Option<String>,
    /// Context of the kubeconfig; absent: the current one.
    #[arg(long, global = true, value_name = "CONTEXT")]
    pub(crate) context: Option<String>,
    /// Kubeconfig file; absent: KUBECONFIG, `~/.kube/config`, or the pod's service account.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) overrides: Overrides,
    /// No colour; also with NO_COLOR, TERM=dumb, or into a pipe.
    #[arg(long, global = true)]
    pub(super) no_color: bool,
    /// Icons and lines in ASCII.
    #[arg(long, global = true)]
    pub(super) ascii: bool,
    /// Accepted for scripts of the original; there is no client log.
    #[arg(short = 'v', long, global = true, hide = true, value_name = "LEVEL")]
    kloglevel: Option<String>,
    /// Accepted for scripts of the original; there is no client log.
    #[arg(long, global = true, hide = true, value_name = "LEVEL")]
    loglevel: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    #[command(flatten)]
    Verb(Verb),
    /// Run the controllers.
    Controller(Box<ControllerArgs>),
    /// Print the CustomResourceDefinitions, or write them to a folder.
    Crds {
        /// Write one file for each kind into this folder instead.
        #[arg(long, value_name = "FOLDER")]
        output_dir: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Show a rollout or an experiment with everything below it.
    #[command(subcommand)]
    Get(Get),
    /// List rollouts or experiments.
    #[command(subcommand)]
    List(List),
    /// Show the status of a rollout, and wait until it is healthy or degraded.
    Status {
        /// Name of the rollout.
        #[arg(value_name = "ROLLOUT")]
        rollout: String,
        /// Follow it until it is healthy or degraded.
        #[arg(short, long, num_args = 0..=1, require_equals = true, default_value_t = true,
            default_missing_value = "true", action = ArgAction::Set)]
        watch: bool,
        /// End after this long, for instance `90s` or `10m`; 0: never.
        #[arg(short, long, default_value = "0", value_name = "DURATION", value_parser = timeout)]
        timeout: Timeout,
        #[command(flatten)]
        output: Output,
    },
    /// Go on with a paused rollout, or skip the present step.
    Promote(PromoteArgs),
    /// Stop updates and send all traffic to the stable version.
    Abort {
        /// Names of rollouts.
        #[arg(required = true, value_name = "ROLLOUT")]
        rollouts: Vec<String>,
    },
    /// Start an aborted update, or a finished experiment, again.
    #[command(subcommand)]
    Retry(Retry),
    /// Pause rollouts until they are promoted.
    Pause {
        /// Names of rollouts.
        #[arg(required = true, value_name = "ROLLOUT")]
        rollouts: Vec<String>,
    },
    /// Recreate the pods of rollouts, as many at a time as may be missing.
    Restart {
        /// Names of rollouts.
        #[arg(required = true, value_name = "ROLLOUT")]
        rollouts: Vec<String>,
        /// Not now but after this long, for instance `10s` or `1h`.
        #[arg(short = 'i', long = "in", value_name = "DURATION", value_parser = wait)]
        delay: Option<Duration>,
    },
    /// Go back to the pod template of an earlier revision.
    Undo {
        /// Name of the rollout.
        #[arg(value_name = "ROLLOUT")]
        rollout: String,
        /// The revision; 0: the one before.
        #[arg(long, default_value_t = 0, value_name = "REVISION", value_parser = clap::value_parser!(i64).range(0..))]
        to_revision: i64,
    },
    /// Change a rollout.
    #[command(subcommand)]
    Set(Set),
    /// End analysis runs or experiments now.
    #[command(subcommand)]
    Terminate(Terminate),
    /// Create objects from files, or an analysis run from a template.
    #[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
    Create {
        #[command(flatten)]
        files: CreateFiles,
        #[command(subcommand)]
        what: Option<Create>,
    },
    /// Check manifests as the controller would, without a cluster.
    Lint(LintArgs),
    /// Play an update in a simulated cluster: how long it takes, and what catches which fault. Needs no cluster.
    Simulate(Box<SimulateArgs>),
    /// Print the script for a shell that completes words, or install it.
    Completion {
        /// The shell, or `install`.
        what: What,
        /// With `install`: for this shell instead of that of the variable SHELL.
        #[arg(long, value_name = "SHELL")]
        shell: Option<What>,
    },
    /// Print the version.
    Version {
        /// The number only.
        #[arg(long)]
        short: bool,
    },
}

/// How the result is shown.
#[derive(Args, Clone, Copy, Debug, Default)]
pub(super) struct Output {
    /// Show it as this.
    #[arg(
        short = 'o',
        long = "output",
        value_enum,
        value_name = "FORMAT",
        default_value_t,
        hide_default_value = true
    )]
    pub(super) format: Format,
}

#[derive(Debug, Subcommand)]
pub(super) enum Get {
    /// Show a rollout as a tree.
    #[command(visible_aliases = ["ro", "rollouts"])]
    Rollout {
        /// Name of the rollout.
        #[arg(value_name = "ROLLOUT")]
        rollout: String,
        #[command(flatten)]
        watch: Watch,
        #[command(flatten)]
        output: Output,
    },
    /// Show an experiment as a tree.
    #[command(visible_aliases = ["exp", "experiments"])]
    Experiment {
        /// Name of the experiment.
        #[arg(value_name = "EXPERIMENT")]
        experiment: String,
        #[command(flatten)]
        watch: Watch,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Args, Clone, Copy, Debug)]
pub(super) struct Watch {
    /// Keep the picture up to date.
    #[arg(short, long)]
    pub(super) watch: bool,
    /// End the watch after so many seconds; 0: never.
    #[arg(long, default_value_t = 0, value_name = "SECONDS")]
    pub(super) timeout_seconds: u64,
}

impl Watch {
    pub(super) fn timeout(self) -> Timeout {
        (self.timeout_seconds > 0).then(|| Duration::from_secs(self.timeout_seconds))
    }
}

#[derive(Debug, Subcommand)]
pub(super) enum List {
    /// List rollouts as a table.
    #[command(visible_aliases = ["ro", "rollout"])]
    Rollouts {
        /// Only the rollout of this name.
        #[arg(long, value_name = "ROLLOUT")]
        name: Option<String>,
        /// In all namespaces.
        #[arg(short = 'A', long)]
        all_namespaces: bool,
        /// Print a line for each change.
        #[arg(short, long)]
        watch: bool,
        /// With the time of each line.
        #[arg(long)]
        timestamps: bool,
        #[command(flatten)]
        output: Output,
    },
    /// List experiments as a table.
    #[command(visible_aliases = ["exp", "experiment"])]
    Experiments {
        /// In all namespaces.
        #[arg(short = 'A', long)]
        all_namespaces: bool,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Args, Clone, Debug)]
pub(super) struct PromoteArgs {
    /// Name of the rollout.
    #[arg(value_name = "ROLLOUT")]
    pub(super) rollout: String,
    /// Skip the analyses, pauses and steps that are left.
    #[arg(long, conflicts_with_all = ["skip_current_step", "skip_all_steps"])]
    pub(super) full: bool,
    /// Deprecated: `promote` does it when nothing is paused. Skip the present step.
    #[arg(short = 'c', long)]
    pub(super) skip_current_step: bool,
    /// Deprecated: use `--full`. Skip the steps that are left.
    #[arg(short = 'a', long)]
    pub(super) skip_all_steps: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Retry {
    /// Start aborted rollouts again from their first step.
    #[command(visible_aliases = ["ro", "rollouts"])]
    Rollout {
        /// Names of rollouts.
        #[arg(required = true, value_name = "ROLLOUT")]
        rollouts: Vec<String>,
    },
    /// Start finished experiments again.
    #[command(visible_aliases = ["exp", "experiments"])]
    Experiment {
        /// Names of experiments.
        #[arg(required = true, value_name = "EXPERIMENT")]
        experiments: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Set {
    /// Set images of containers.
    Image {
        /// Name of the rollout.
        #[arg(value_name = "ROLLOUT")]
        rollout: String,
        /// `CONTAINER=IMAGE`; `*` for every container.
        #[arg(required = true, value_name = "CONTAINER=IMAGE")]
        images: Vec<image::Change>,
    },
}

#[derive(Debug, Subcommand)]
pub(super) enum Terminate {
    /// End analysis runs now.
    #[command(name = "analysisrun", visible_aliases = ["ar", "analysisruns"])]
    AnalysisRun {
        /// Names of analysis runs.
        #[arg(required = true, value_name = "ANALYSISRUN")]
        analysis_runs: Vec<String>,
    },
    /// End experiments now.
    #[command(visible_aliases = ["exp", "experiments"])]
    Experiment {
        /// Names of experiments.
        #[arg(required = true, value_name = "EXPERIMENT")]
        experiments: Vec<String>,
    },
}

#[derive(Args, Clone, Debug, Default)]
pub(super) struct CreateFiles {
    /// Files of Rollouts, Experiments, AnalysisRuns and analysis templates; `-` for standard input.
    #[arg(short = 'f', long = "filename", required = true, value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,
    /// Follow the rollout or experiment that was created.
    #[arg(short, long)]
    pub(super) watch: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Create {
    /// Create an analysis run from an analysis template.
    #[command(name = "analysisrun", visible_aliases = ["ar", "analysisruns"])]
    AnalysisRun(CreateAnalysisRun),
}

#[derive(Args, Clone, Debug, Default)]
pub(super) struct CreateAnalysisRun {
    /// Name of the run; absent: `--generate-name`.
    #[arg(long, value_name = "NAME", conflicts_with = "generate_name")]
    pub(super) name: Option<String>,
    /// Beginning of the run's name; absent: the template's name and a hyphen.
    #[arg(long, value_name = "PREFIX")]
    pub(super) generate_name: Option<String>,
    /// Instance id of the controller that is to run it.
    #[arg(long, value_name = "ID")]
    pub(super) instance_id: Option<String>,
    /// A value for an argument of the template, `NAME=VALUE`; may be repeated.
    #[arg(short = 'a', long = "argument", value_name = "NAME=VALUE", value_parser = argument)]
    pub(super) arguments: Vec<(String, String)>,
    #[command(flatten)]
    pub(super) source: Source,
    /// `--from` names a ClusterAnalysisTemplate.
    #[arg(long, conflicts_with = "from_file")]
    pub(super) global: bool,
}

/// Where the template is.
#[derive(Args, Clone, Debug, Default)]
#[group(required = true, multiple = false)]
pub(super) struct Source {
    /// Name of an AnalysisTemplate of the namespace.
    #[arg(long, value_name = "TEMPLATE")]
    pub(super) from: Option<String>,
    /// File of an AnalysisTemplate or ClusterAnalysisTemplate; `-` for standard input.
    #[arg(long, value_name = "FILE")]
    pub(super) from_file: Option<PathBuf>,
}

#[derive(Args, Clone, Debug, Default)]
pub(super) struct LintArgs {
    /// Files to check; `-` for standard input.
    #[arg(short = 'f', long = "filename", required = true, value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,
    /// Show the problems as this.
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t)]
    pub(super) output: super::lint::Report,
}

/// How long to wait; `None` for ever.
pub(super) type Timeout = std::option::Option<Duration>;

pub(super) fn timeout(text: &str) -> Result<Timeout, String> {
    let duration = wait(text)?;
    Ok((!duration.is_zero()).then_some(duration))
}

fn wait(text: &str) -> Result<Duration, String> {
    let duration = crate::lang::duration::parse(text).map_err(|error| error.to_string())?;
    Duration::try_from(duration).map_err(|_| "expected a positive duration".to_owned())
}

fn argument(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("expected NAME=VALUE, found `{text}`")),
    }
}
