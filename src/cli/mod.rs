//! The command line: `kubectl tidegate` (also called as `kubectl argo rollouts`), and `tidegate` itself, which has the
//! same verbs and those of an operator. `words` reads the command line; what each word does is in the files of the verbs.

mod analysis_run;
pub mod cluster;
mod complete;
pub mod completion;
mod create;
pub mod error;
pub mod experiment;
mod files;
pub mod image;
mod images;
pub mod info;
mod lint;
pub mod list;
mod near;
pub mod output;
pub mod picture;
mod pod;
pub mod promote;
pub mod simulate;
mod skip;
pub mod style;
pub mod terminal;
pub mod tree;
mod undo;
pub mod verbs;
mod watch;
mod words;

use std::ffi::OsString;
use std::path::Path;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, FromArgMatches as _};

use self::cluster::Cluster;
use self::error::{CliError, Kind};
use self::list::Columns;
use self::promote::Ask;
use self::terminal::Terminal;
use self::verbs::Session;
use self::words::{
    Command, Create, Get, GlobalArgs, List, Plugin, PromoteArgs, Retry, Set, Standalone, Terminate, Verb,
};
use crate::controllers::{self, RunError};

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

    /// The words it knows under that name.
    fn command(self) -> clap::Command {
        match self {
            Self::Tidegate => Standalone::command().name("tidegate").version(VERSION),
            Self::Plugin { typed, .. } => Plugin::command().name(typed).bin_name(typed),
        }
    }

    /// The name of the program's file.
    fn program(self) -> &'static str {
        match self {
            Self::Tidegate => "tidegate",
            Self::Plugin { file, .. } => file,
        }
    }
}

/// Parses the command line, the program's name first, and carries it out.
pub async fn run(args: impl IntoIterator<Item = OsString>) -> Result<(), CliError> {
    let args: Vec<OsString> = args.into_iter().collect();
    let called = Called::by(args.first());
    if args.get(1).is_some_and(|word| word == complete::WORD) {
        // Not for clap: these words are unfinished.
        let words: Vec<String> = args
            .iter()
            .skip(2)
            .map(|word| word.to_string_lossy().into_owned())
            .collect();
        return complete::run(called.command(), &words, &mut Terminal::stdout(true, false)).await;
    }
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
        Command::Verb(Verb::Lint(args)) => lint::lint(&args, &mut terminal),
        Command::Verb(Verb::Completion { what, shell }) => {
            completion::completion(what, shell, called.program(), &mut terminal)
        }
        Command::Verb(Verb::Simulate(args)) => simulate::simulate(*args, &global, &mut terminal).await,
        Command::Verb(verb) => {
            if let Verb::Promote(args) = &verb {
                // Wrong words are told without asking a cluster.
                ask(args)?;
            }
            let cluster = Cluster::connect(&global).await?;
            act(&mut Session::new(cluster, terminal), verb).await
        }
        Command::Controller(args) => controllers::run(*args, &global.overrides)
            .await
            .map_err(|error| not_started(&error)),
        Command::Crds { output_dir: None } => terminal.text(&crate::api::crd::manifests()),
        Command::Crds {
            output_dir: Some(folder),
        } => write_crds(&folder),
    }
}

fn parse(called: Called, args: Vec<OsString>) -> Result<(GlobalArgs, Command), clap::Error> {
    let matches = called.command().try_get_matches_from(args)?;
    match called {
        Called::Tidegate => {
            let Standalone { global, command } = Standalone::from_arg_matches(&matches)?;
            Ok((global, command))
        }
        Called::Plugin { .. } => {
            let Plugin { global, verb } = Plugin::from_arg_matches(&matches)?;
            Ok((global, Command::Verb(verb)))
        }
    }
}

async fn act(session: &mut Session, verb: Verb) -> Result<(), CliError> {
    match verb {
        Verb::Get(Get::Rollout { rollout, watch, output }) => {
            let timeout = watch.timeout();
            session.get(&rollout, watch.watch, timeout, output.format).await
        }
        Verb::Get(Get::Experiment {
            experiment,
            watch,
            output,
        }) => {
            let timeout = watch.timeout();
            session
                .get_experiment(&experiment, watch.watch, timeout, output.format)
                .await
        }
        Verb::List(List::Rollouts {
            name,
            all_namespaces,
            watch,
            timestamps,
            output,
        }) => {
            let shown = Columns {
                namespace: all_namespaces,
                timestamp: timestamps,
                wide: output.format.is_wide(),
            };
            session.list(name.as_deref(), watch, shown, output.format).await
        }
        Verb::List(List::Experiments { all_namespaces, output }) => {
            session.list_experiments(all_namespaces, output.format).await
        }
        Verb::Status {
            rollout,
            watch,
            timeout,
            output,
        } => session.status(&rollout, watch, timeout, output.format).await,
        Verb::Create { files, what: None } => session.create(&files.files, files.watch).await,
        Verb::Create {
            what: Some(Create::AnalysisRun(args)),
            ..
        } => session.create_analysis_run(&args).await,
        // These need no cluster.
        Verb::Lint(_) | Verb::Completion { .. } | Verb::Simulate(_) | Verb::Version { .. } => Ok(()),
        verb => change(session, verb).await,
    }
}

/// The verbs that change what is there. One that is about several objects goes on after a failure.
async fn change(session: &mut Session, verb: Verb) -> Result<(), CliError> {
    match verb {
        Verb::Promote(args) => session.promote(&args.rollout, ask(&args)?).await,
        Verb::Undo { rollout, to_revision } => session.undo(&rollout, to_revision).await,
        Verb::Set(Set::Image { rollout, images }) => session.set_image(&rollout, &images).await,
        Verb::Abort { rollouts } => each(session, &rollouts, async |session, name| session.abort(name).await).await,
        Verb::Pause { rollouts } => each(session, &rollouts, async |session, name| session.pause(name).await).await,
        Verb::Restart { rollouts, delay } => {
            let delay = delay.unwrap_or_default();
            each(session, &rollouts, async |session, name| {
                session.restart(name, delay).await
            })
            .await
        }
        Verb::Retry(Retry::Rollout { rollouts }) => {
            each(session, &rollouts, async |session, name| session.retry(name).await).await
        }
        Verb::Retry(Retry::Experiment { experiments }) => {
            each(session, &experiments, async |session, name| {
                session.retry_experiment(name).await
            })
            .await
        }
        Verb::Terminate(Terminate::AnalysisRun { analysis_runs }) => {
            each(session, &analysis_runs, async |session, name| {
                session.terminate_analysis_run(name).await
            })
            .await
        }
        Verb::Terminate(Terminate::Experiment { experiments }) => {
            each(session, &experiments, async |session, name| {
                session.terminate_experiment(name).await
            })
            .await
        }
        _ => Ok(()),
    }
}

/// Does it for each name, also after one failed; the errors come together at the end.
async fn each(
    session: &mut Session,
    names: &[String],
    mut verb: impl AsyncFnMut(&mut Session, &str) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let mut errors = Vec::new();
    for name in names {
        match verb(session, name).await {
            // Nobody reads any more, or nobody answers: the others would not fare better.
            Err(error) if matches!(error.kind, Kind::Closed | Kind::Cluster) => {
                errors.push(error);
                break;
            }
            Err(error) => errors.push(error),
            Ok(()) => {}
        }
    }
    CliError::all(errors)
}

/// What `promote` is asked for.
fn ask(args: &PromoteArgs) -> Result<Ask, CliError> {
    match (args.full, args.skip_current_step, args.skip_all_steps) {
        (true, _, _) => Ok(Ask::Full),
        (false, true, true) => Err(CliError::new(
            Kind::Usage,
            "Cannot use skip-current-step and skip-all-steps flags at the same time",
        )),
        (false, true, false) => Ok(Ask::SkipStep),
        (false, false, true) => Ok(Ask::SkipSteps),
        (false, false, false) => Ok(Ask::Next),
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
    let line = format!("{}: {VERSION}", called.program());
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
