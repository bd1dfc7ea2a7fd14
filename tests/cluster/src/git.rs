//! A real Git server over smart HTTP on loopback: Git's own `http-backend` behind a small HTTP server, with what tests need of a forge: repositories made on
//! demand, passwords, push webhooks in GitHub's form, and days when it is down.

mod backend;
mod control;
mod repository;
mod webhook;

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::{net::TcpListener, process::Command, task::AbortHandle};

pub use self::{
    control::{Change, Control},
    repository::Repository,
};

/// Longest name of a repository, `owner/name` with all parts; file systems allow no more.
const NAME_LENGTH_MAX: usize = 200;

/// A user and password that a repository asks for.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Credentials {
    /// The user's name.
    pub username: String,
    /// The password, or token.
    pub password: String,
}

/// Where a repository tells of pushes.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Webhook {
    /// Gets a POST after each push, one for each changed ref.
    pub url: String,
    /// Key of the signature in `X-Hub-Signature-256`; unsigned when empty.
    pub secret: String,
}

/// What differs between repositories.
#[derive(Clone, Debug, Default)]
struct Settings {
    credentials: Option<Credentials>,
    webhook: Option<Webhook>,
    /// Held during a push, so that what changed between before and after is this push's doing.
    push: Arc<tokio::sync::Mutex<()>>,
}

/// What the server's tasks share.
#[derive(Debug)]
struct Shared {
    dir: PathBuf,
    url: String,
    available: AtomicBool,
    settings: Mutex<BTreeMap<String, Settings>>,
    http: reqwest::Client,
}

/// The running Git server; dropping it ends it.
#[derive(Debug)]
pub struct GitServer {
    shared: Arc<Shared>,
    control: SocketAddr,
    tasks: [AbortHandle; 2],
}

impl GitServer {
    /// Starts serving the bare repositories below `dir` on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// When Git is not installed or no port can be had.
    pub async fn start(dir: PathBuf) -> Result<Self> {
        git(&dir, &["http-backend"])
            .await
            .context("Git's http-backend is not there; install the package git")?;
        let repositories = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let control = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let control_address = control.local_addr()?;
        let shared = Arc::new(Shared {
            dir,
            url: format!("http://{}", repositories.local_addr()?),
            available: AtomicBool::new(true),
            settings: Mutex::default(),
            http: reqwest::Client::builder().no_proxy().build()?,
        });
        let tasks = [
            serve(repositories, backend::router(shared.clone())),
            serve(control, control::router(shared.clone())),
        ];
        Ok(Self {
            shared,
            control: control_address,
            tasks,
        })
    }

    /// Base address: repository `shop` is at `<url>/shop.git`.
    #[must_use]
    pub fn url(&self) -> String {
        self.shared.url.clone()
    }

    /// Base address of the settings, for [`Control`].
    #[must_use]
    pub fn control_url(&self) -> String {
        format!("http://{}", self.control)
    }

    /// Folder of the bare repositories, `<dir>/<name>.git`.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.shared.dir
    }

    /// Makes a bare repository with the default branch `main` unless it is there, and returns its address.
    ///
    /// # Errors
    /// When the name is not made of `A-Z a-z 0-9 . _ -` and `/`, or the folder cannot be written.
    pub async fn create(&self, name: &str) -> Result<String> {
        self.shared.create(name).await
    }

    /// Asks for this user and password from now on, or lets everybody in.
    pub fn set_auth(&self, name: &str, credentials: Option<(&str, &str)>) {
        let credentials = credentials.map(|(username, password)| Credentials {
            username: username.to_owned(),
            password: password.to_owned(),
        });
        self.shared
            .change_settings(name, |settings| settings.credentials = credentials);
    }

    /// Tells this address of pushes from now on, or nobody.
    pub fn set_webhook(&self, name: &str, webhook: Option<Webhook>) {
        self.shared.change_settings(name, |settings| settings.webhook = webhook);
    }

    /// Answers every request for a repository with 503 while `available` is false.
    pub fn set_available(&self, available: bool) {
        self.shared.available.store(available, Ordering::SeqCst);
    }

    /// Ends it.
    pub async fn stop(self) {}
}

impl Drop for GitServer {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

fn serve(listener: TcpListener, router: axum::Router) -> AbortHandle {
    let server = tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::error!(%error, "The Git server stopped.");
        }
    });
    server.abort_handle()
}

impl Shared {
    async fn create(&self, name: &str) -> Result<String> {
        let Some(name) = checked_name(name) else {
            bail!("`{name}` is not a repository's name: use letters, digits, `.`, `_`, `-`, and `/` between parts")
        };
        let path = self.path_of(name);
        if !path.join("HEAD").is_file() {
            tokio::fs::create_dir_all(&path)
                .await
                .with_context(|| format!("cannot create {}", path.display()))?;
            git(&path, &["init", "--quiet", "--bare", "--initial-branch=main"]).await?;
            // As forges do: pushes over HTTP, and fetches of any commit by its id, also shallow and partial ones.
            for setting in [
                "http.receivepack",
                "uploadpack.allowAnySHA1InWant",
                "uploadpack.allowFilter",
            ] {
                git(&path, &["config", setting, "true"]).await?;
            }
            git(&path, &["config", "gc.auto", "0"]).await?;
        }
        Ok(format!("{}/{name}.git", self.url))
    }

    fn path_of(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.git"))
    }

    fn settings(&self, name: &str) -> Settings {
        let mut settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        settings.entry(name.to_owned()).or_default().clone()
    }

    fn change_settings(&self, name: &str, change: impl FnOnce(&mut Settings)) {
        let name = name.strip_suffix(".git").unwrap_or(name);
        let mut settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        change(settings.entry(name.to_owned()).or_default());
    }
}

/// The name without `.git`, if it stays inside the folder of repositories whatever the file system makes of it.
fn checked_name(name: &str) -> Option<&str> {
    let name = name.strip_suffix(".git").unwrap_or(name);
    let part_is_plain = |part: &str| {
        !part.is_empty()
            && !part.starts_with(['.', '-'])
            && part
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'))
    };
    (name.len() <= NAME_LENGTH_MAX && name.split('/').all(part_is_plain)).then_some(name)
}

/// A Git command that sees nothing of this machine's or user's configuration, and asks nobody.
fn git_command(dir: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .current_dir(dir)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", dir)
        .env("LC_ALL", "C")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_ASKPASS", "true")
        .env("GIT_AUTHOR_NAME", "Test Author")
        .env("GIT_AUTHOR_EMAIL", "author@example.com")
        .env("GIT_COMMITTER_NAME", "Test Author")
        .env("GIT_COMMITTER_EMAIL", "author@example.com")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// Runs Git in `dir` and returns its standard output without the last line end.
async fn git(dir: &Path, arguments: &[&str]) -> Result<String> {
    let Output { status, stdout, stderr } = git_command(dir)
        .args(arguments)
        .output()
        .await
        .context("cannot start git; install the package git")?;
    if !status.success() {
        bail!(
            "`git {}` failed: {}",
            arguments.join(" "),
            String::from_utf8_lossy(&stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&stdout).trim_end_matches('\n').to_owned())
}

#[cfg(test)]
mod tests;
