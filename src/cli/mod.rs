//! The command line: `kubectl tidegate` (also called as `kubectl argo rollouts`), and `tidegate` itself, which has the
//! same verbs and those of an operator. Here are the words; `verbs` carries them out.

pub mod cluster;
pub mod error;
pub mod image;
pub mod info;
pub mod list;
mod near;
mod pod;
pub mod promote;
pub mod simulate;
pub mod style;
pub mod terminal;
pub mod tree;
pub mod verbs;
mod watch;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use self::cluster::Cluster;
use self::error::{CliError, Kind};
use self::list::Columns;
use self::simulate::SimulateArgs;
use self::terminal::Terminal;
use self::verbs::Session;
use crate::controllers::{self, RunError, args::ControllerArgs};

/// Steps, judges and rolls back the updates of workloads on Kubernetes.
#[derive(Debug, Parser)]
struct Plugin {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    verb: Verb,
}

/// Progressive delivery and GitOps for Kubernetes in one binary.
#[derive(Debug, Parser)]
struct Standalone {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

/// Flags of every verb, before or behind it.
#[derive(Args, Clone, Debug, Default)]
pub struct GlobalArgs {
    /// Namespace; absent: that of the context.
    #[arg(short, long, global = true, value_name = "NAME")]
    pub(crate) namespace: Option<String>,
    /// Context of the kubeconfig; absent: the current one.
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// Kubeconfig file; absent: KUBECONFIG, `~/.kube/config`, or the pod's service account.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) kubeconfig: Option<PathBuf>,
    /// No colour; also with NO_COLOR, TERM=dumb, or into a pipe.
    #[arg(long, global = true)]
    no_color: bool,
    /// Icons and lines in ASCII.
    #[arg(long, global = true)]
    ascii: bool,
    /// Accepted for scripts of the original; there is no client log.
    #[arg(short = 'v', long, global = true, hide = true, value_name = "LEVEL")]
    kloglevel: Option<String>,
    /// Accepted for scripts of the original; there is no client log.
    #[arg(long, global = true, hide = true, value_name = "LEVEL")]
    loglevel: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
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
enum Verb {
    /// Show a rollout with its revisions, ReplicaSets, pods and analyses.
    #[command(subcommand)]
    Get(Get),
    /// List rollouts.
    #[command(subcommand)]
    List(List),
    /// Show the status of a rollout, and wait until it is healthy or degraded.
    Status {
        /// Name of the rollout.
        rollout: String,
        /// Follow it until it is healthy or degraded.
        #[arg(short, long, num_args = 0..=1, require_equals = true, default_value_t = true,
            default_missing_value = "true", action = clap::ArgAction::Set)]
        watch: bool,
        /// End after this long, for instance `90s` or `10m`; 0: never.
        #[arg(short, long, default_value = "0", value_name = "DURATION", value_parser = timeout)]
        timeout: Timeout,
    },
    /// Go on with a paused rollout, or skip the present step.
    Promote {
        /// Name of the rollout.
        rollout: String,
        /// Skip the analyses, pauses and steps that are left.
        #[arg(long)]
        full: bool,
    },
    /// Stop the update and send all traffic to the stable version.
    Abort {
        /// Names of rollouts.
        #[arg(required = true)]
        rollouts: Vec<String>,
    },
    /// Start an aborted update again.
    #[command(subcommand)]
    Retry(Retry),
    /// Pause a rollout until it is promoted.
    Pause {
        /// Names of rollouts.
        #[arg(required = true)]
        rollouts: Vec<String>,
    },
    /// Change a rollout.
    #[command(subcommand)]
    Set(Set),
    /// Play an update in a simulated cluster: how long it takes, and what catches which fault. Needs no cluster.
    Simulate(Box<SimulateArgs>),
    /// Print the version.
    Version {
        /// The number only.
        #[arg(long)]
        short: bool,
    },
}

#[derive(Debug, Subcommand)]
enum Get {
    /// Show a rollout as a tree.
    #[command(visible_aliases = ["ro", "rollouts"])]
    Rollout {
        /// Name of the rollout.
        rollout: String,
        /// Keep the picture up to date.
        #[arg(short, long)]
        watch: bool,
        /// End the watch after so many seconds; 0: never.
        #[arg(long, default_value_t = 0, value_name = "SECONDS")]
        timeout_seconds: u64,
    },
}

#[derive(Debug, Subcommand)]
enum List {
    /// List rollouts as a table.
    #[command(visible_aliases = ["ro", "rollout"])]
    Rollouts {
        /// Only the rollout of this name.
        #[arg(long)]
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
    },
}

#[derive(Debug, Subcommand)]
enum Retry {
    /// Start aborted rollouts again from their first step.
    #[command(visible_aliases = ["ro", "rollouts"])]
    Rollout {
        /// Names of rollouts.
        #[arg(required = true)]
        rollouts: Vec<String>,
    },
}

#[derive(Debug, Subcommand)]
enum Set {
    /// Set images of containers.
    Image {
        /// Name of the rollout.
        rollout: String,
        /// `CONTAINER=IMAGE`; `*` for every container.
        #[arg(required = true, value_name = "CONTAINER=IMAGE")]
        images: Vec<image::Change>,
    },
}

/// How long to wait; `None` for ever.
type Timeout = std::option::Option<Duration>;

fn timeout(text: &str) -> Result<Timeout, String> {
    let duration = crate::lang::duration::parse(text).map_err(|error| error.to_string())?;
    let duration = Duration::try_from(duration).map_err(|_| "expected a positive duration".to_owned())?;
    Ok((!duration.is_zero()).then_some(duration))
}

/// How the program was called, which decides its words.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Called {
    Tidegate,
    Plugin {
        /// The file's name.
        file: &'static str,
        /// As people type it.
        typed: &'static str,
    },
}

impl Called {
    fn by(program: Option<&OsString>) -> Self {
        let stem = program
            .and_then(|program| Path::new(program).file_stem())
            .and_then(|stem| stem.to_str());
        match stem {
            Some("kubectl-argo-rollouts") => Self::Plugin {
                file: "kubectl-argo-rollouts",
                typed: "kubectl argo rollouts",
            },
            Some("kubectl-tidegate") => Self::Plugin {
                file: "kubectl-tidegate",
                typed: "kubectl tidegate",
            },
            _ => Self::Tidegate,
        }
    }
}

/// Parses the command line, the program's name first, and carries it out.
pub async fn run(args: impl IntoIterator<Item = OsString>) -> Result<(), CliError> {
    let args: Vec<OsString> = args.into_iter().collect();
    let called = Called::by(args.first());
    let (global, command) = match parse(called, args) {
        Ok(parsed) => parsed,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            return Terminal::stdout(true, false).text(&error.to_string());
        }
        Err(error) => {
            let text = error.to_string();
            let text = text.strip_prefix("error: ").unwrap_or(&text).trim_end();
            return Err(CliError::new(Kind::Usage, text));
        }
    };
    let mut terminal = Terminal::stdout(global.no_color, global.ascii);
    match command {
        Command::Verb(Verb::Version { short }) => terminal.line(&version(called, short)),
        Command::Verb(Verb::Simulate(args)) => simulate::simulate(*args, &global, &mut terminal).await,
        Command::Verb(verb) => {
            let cluster = Cluster::connect(&global).await?;
            act(&mut Session::new(cluster, terminal), verb).await
        }
        Command::Controller(args) => controllers::run(*args).await.map_err(|error| not_started(&error)),
        Command::Crds { output_dir: None } => terminal.text(&crate::api::crd::manifests()),
        Command::Crds {
            output_dir: Some(folder),
        } => write_crds(&folder),
    }
}

fn parse(called: Called, args: Vec<OsString>) -> Result<(GlobalArgs, Command), clap::Error> {
    match called {
        Called::Tidegate => {
            let matches = Standalone::command()
                .name("tidegate")
                .version(VERSION)
                .try_get_matches_from(args)?;
            let Standalone { global, command } = Standalone::from_arg_matches(&matches)?;
            Ok((global, command))
        }
        Called::Plugin { typed, .. } => {
            let command = Plugin::command().name(typed).bin_name(typed);
            let Plugin { global, verb } = Plugin::from_arg_matches(&command.try_get_matches_from(args)?)?;
            Ok((global, Command::Verb(verb)))
        }
    }
}

async fn act(session: &mut Session, verb: Verb) -> Result<(), CliError> {
    match verb {
        Verb::Get(Get::Rollout {
            rollout,
            watch,
            timeout_seconds,
        }) => {
            let timeout = (timeout_seconds > 0).then(|| Duration::from_secs(timeout_seconds));
            session.get(&rollout, watch, timeout).await
        }
        Verb::List(List::Rollouts {
            name,
            all_namespaces,
            watch,
            timestamps,
        }) => {
            let shown = Columns {
                namespace: all_namespaces,
                timestamp: timestamps,
            };
            session.list(name.as_deref(), watch, shown).await
        }
        Verb::Status {
            rollout,
            watch,
            timeout,
        } => session.status(&rollout, watch, timeout).await,
        Verb::Promote { rollout, full } => session.promote(&rollout, full).await,
        Verb::Abort { rollouts } => {
            for rollout in rollouts {
                session.abort(&rollout).await?;
            }
            Ok(())
        }
        Verb::Retry(Retry::Rollout { rollouts }) => {
            for rollout in rollouts {
                session.retry(&rollout).await?;
            }
            Ok(())
        }
        Verb::Pause { rollouts } => {
            for rollout in rollouts {
                session.pause(&rollout).await?;
            }
            Ok(())
        }
        Verb::Set(Set::Image { rollout, images }) => session.set_image(&rollout, &images).await,
        Verb::Simulate(_) | Verb::Version { .. } => Ok(()),
    }
}

/// Why the controllers do not run, by what the person who starts them can do about it.
fn not_started(error: &RunError) -> CliError {
    let kind = match error {
        RunError::LogFilter(_) | RunError::LeaseTimes { .. } => Kind::Usage,
        RunError::Client(_) => Kind::Cluster,
        RunError::Listen { .. } | RunError::RepositoryCache(_) | RunError::Signals(_) => Kind::Request,
    };
    CliError::new(kind, error::chain(error))
}

const VERSION: &str = concat!("v", env!("CARGO_PKG_VERSION"));

fn version(called: Called, short: bool) -> String {
    let name = match called {
        Called::Tidegate => "tidegate",
        Called::Plugin { file, .. } => file,
    };
    let line = format!("{name}: {VERSION}");
    if short {
        return line;
    }
    format!(
        "{line}\n  Platform: {}/{}",
        std::env::consts::OS,
        std::env::consts::ARCH
    )
}

fn write_crds(folder: &Path) -> Result<(), CliError> {
    let failed = |path: &Path, error: &std::io::Error| {
        CliError::new(Kind::Request, format!("cannot write `{}`: {error}", path.display()))
    };
    std::fs::create_dir_all(folder).map_err(|error| failed(folder, &error))?;
    for (name, text) in crate::api::crd::files() {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(|error| failed(&path, &error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
