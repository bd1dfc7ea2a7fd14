//! The controller as a child process, which can be killed and started again.

use anyhow::{Context, Result, bail};
use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};
use tidegate_cluster::eventually;
use tokio::{
    process::{Child, Command},
    sync::Mutex,
};

pub(crate) struct Controller {
    arguments: Vec<String>,
    kubeconfig: PathBuf,
    health: String,
    log: PathBuf,
    child: Mutex<Option<Child>>,
}

/// The binary under demonstration, beside this one.
pub(crate) fn program() -> Result<PathBuf> {
    if let Some(given) = std::env::var_os("TIDEGATE_BIN") {
        return Ok(given.into());
    }
    let here = std::env::current_exe()?;
    let debug = here
        .parent()
        .and_then(Path::parent)
        .context("the demo is not in target/debug/examples")?;
    let program = debug.join("tidegate");
    if !program.exists() {
        bail!("{} is missing: run `cargo build --bin tidegate`", program.display());
    }
    Ok(program)
}

impl Controller {
    pub(crate) async fn start(kubeconfig: &Path, context: Option<&str>, webhook_port: u16) -> Result<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut arguments: Vec<String> = [
            "controller",
            "--namespace",
            "argocd",
            "--metricsPort",
            "0",
            "--bind-address",
            "127.0.0.1",
            "--drain-seconds",
            "2",
            "--leader-election-lease-duration",
            "3s",
            "--leader-election-renew-deadline",
            "2s",
            "--leader-election-retry-period",
            "1s",
        ]
        .map(str::to_owned)
        .to_vec();
        arguments.extend(["--healthzPort".to_owned(), port.to_string()]);
        arguments.extend(["--webhook-addr".to_owned(), format!("127.0.0.1:{webhook_port}")]);
        if let Some(context) = context {
            arguments.extend(["--context".to_owned(), context.to_owned()]);
        }
        let log = std::env::temp_dir().join(format!("tidegate-demo-{}.log", std::process::id()));
        let this = Self {
            arguments,
            kubeconfig: kubeconfig.to_owned(),
            health: format!("http://127.0.0.1:{port}/readyz"),
            log,
            child: Mutex::new(None),
        };
        this.spawn().await?;
        let log = this.log.display();
        eventually(
            Duration::from_secs(30),
            format!("the controller is ready (its log: {log})"),
            async || {
                let answer = reqwest_get(&this.health).await;
                if answer {
                    Ok(())
                } else {
                    Err("/readyz does not answer 200")
                }
            },
        )
        .await?;
        Ok(this)
    }

    async fn spawn(&self) -> Result<()> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log)?;
        let child = Command::new(program()?)
            .args(&self.arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the controller")?;
        *self.child.lock().await = Some(child);
        Ok(())
    }

    /// SIGKILL, and a new process at once.
    pub(crate) async fn kill(&self) -> Result<()> {
        if let Some(mut child) = self.child.lock().await.take() {
            child.kill().await?;
        }
        self.spawn().await
    }

    pub(crate) fn log(&self) -> &Path {
        &self.log
    }
}

async fn reqwest_get(url: &str) -> bool {
    reqwest::get(url).await.is_ok_and(|answer| answer.status().is_success())
}
