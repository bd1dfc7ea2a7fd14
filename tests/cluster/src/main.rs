//! `tidegate-cluster`: the supervisor of a test cluster. See the crate's documentation.

use std::{io::Write, path::PathBuf, process::ExitCode};

use anyhow::Result;
use clap::{Parser, Subcommand};
use tidegate_cluster::{
    binaries::{self, Binaries},
    gateway_api, progress, reaper, supervisor,
};

/// Runs a real Kubernetes cluster on loopback, for Tidegate's tests and demo
#[derive(Debug, Parser)]
#[command(name = "tidegate-cluster", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a cluster, print one line of JSON when it is ready, and run until interrupted
    Up(supervisor::UpOptions),
    /// Build the control plane's programs if they are missing, and print where they are
    Build,
    /// Kill what a supervisor started when the supervisor is gone (started by `up`)
    #[command(hide = true)]
    Reap {
        /// Folder to remove at the end
        dir: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            progress(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<()> {
    if let Command::Reap { dir } = command {
        return reaper::run(std::io::stdin(), &dir);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        match command {
            Command::Up(options) => {
                supervisor::up(options, |descriptor| print_line(&serde_json::to_string(descriptor)?)).await
            }
            Command::Build => {
                let Binaries {
                    etcd,
                    kube_apiserver,
                    kube_controller_manager,
                    kube_scheduler,
                    kubectl,
                    kwok,
                } = binaries::ensure().await?;
                let paths = [
                    etcd,
                    kube_apiserver,
                    kube_controller_manager,
                    kube_scheduler,
                    kubectl,
                    kwok,
                ];
                gateway_api::ensure().await?;
                print_line(&paths.map(|path| path.display().to_string()).join("\n"))
            }
            Command::Reap { .. } => Ok(()),
        }
    });
    runtime.shutdown_background();
    result
}

fn print_line(line: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")?;
    Ok(stdout.flush()?)
}
