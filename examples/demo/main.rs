//! The demo: a Rollout in Git ships through a real canary, a bad one rolls itself back, and `git revert` ends the hold.
//!
//! Ends with exit code 0 only if all of it was seen: every weight, its share of real responses, the failing
//! measurement, the abort, the hold, the revert, and no failed request that the bad version did not answer itself.

mod acts;
mod cluster;
mod controller;
mod say;
mod watch;

use anyhow::Result;
use clap::Parser;
use std::process::ExitCode;

/// Shows a canary, an automatic rollback and a revert, on a real cluster.
#[derive(Clone, Debug, Parser)]
struct Options {
    /// Leave everything running at the end, until Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// Use this context of the kubeconfig instead of a cluster of its own; it needs the CRDs' rights, nginx at
    /// --ingress and a Prometheus at --prometheus that scrapes the pods with their labels.
    #[arg(long, requires_all = ["ingress", "prometheus"])]
    context: Option<String>,
    /// With --context: address of the ingress, `http://IP:PORT`.
    #[arg(long)]
    ingress: Option<String>,
    /// With --context: URL of Prometheus, as the controller reaches it.
    #[arg(long)]
    prometheus: Option<String>,
    /// Requests per second through the ingress.
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// Kill the controller with SIGKILL this often, at random moments, and start it again.
    #[arg(long, default_value_t = 0)]
    kills: u32,
    /// Seed of those moments.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// No colours.
    #[arg(long, env = "NO_COLOR", value_parser = clap::builder::FalseyValueParser::new())]
    no_color: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    say::start(options.no_color);
    match run(&options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say::failed(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<()> {
    let stage = cluster::Stage::set_up(options).await?;
    let result = acts::play(&stage, options).await;
    if options.keep {
        say::try_next(&stage);
        tokio::signal::ctrl_c().await?;
    } else if result.is_ok() {
        say::try_later();
    }
    result
}
