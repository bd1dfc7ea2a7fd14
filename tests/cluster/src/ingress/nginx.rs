//! One nginx: its files, its process and its reloads.

use std::{
    fs,
    net::SocketAddr,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use tokio::net::{TcpListener, TcpStream};

use super::{
    render::{self, Settings},
    routing::Routing,
};
use crate::process::{self, Program, Running};

/// How long nginx may take to listen, and how often that is asked.
const START_MAX: Duration = Duration::from_secs(10);
const START_POLL: Duration = Duration::from_millis(10);

/// Another program may take a free port before nginx does.
const START_TRIES: usize = 3;

/// A running nginx.
#[derive(Debug)]
pub(super) struct Nginx {
    running: Running,
    settings: Settings,
    configuration: PathBuf,
    /// The text in effect.
    applied: String,
}

impl Nginx {
    /// Starts nginx with an empty routing and waits until it listens; port 0 picks a free one.
    ///
    /// # Errors
    /// When nginx is not installed, the folder cannot be written or nginx ends.
    pub(super) async fn start(dir: &Path, listen: SocketAddr) -> Result<Self> {
        let Some(path) = process::find_on_path("nginx") else {
            bail!("nginx is not installed (Debian: apt-get install nginx-light)");
        };
        let dir = fs::canonicalize(dir).with_context(|| format!("failed to open {}", dir.display()))?;
        fs::create_dir_all(dir.join("temp")).with_context(|| format!("failed to write {}", dir.display()))?;
        let as_root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
        let configuration = dir.join("nginx.conf");
        let program = Program::new("nginx", path, &dir).arguments([
            "-p".to_owned(),
            dir.display().to_string(),
            "-c".to_owned(),
            configuration.display().to_string(),
            "-e".to_owned(),
            "stderr".to_owned(),
        ]);
        let mut tried = Vec::new();
        for _ in 0..START_TRIES {
            let listen = if listen.port() == 0 {
                free_address(listen).await?
            } else {
                listen
            };
            let settings = Settings { listen, as_root };
            let applied = render::render(&Routing::default(), &settings);
            replace(&configuration, &applied)?;
            let mut running = program.start()?;
            match until_listening(&mut running, listen).await {
                Ok(()) => {
                    return Ok(Self {
                        running,
                        settings,
                        configuration,
                        applied,
                    });
                }
                Err(error) => tried.push(error),
            }
        }
        Err(tried.pop().context("nginx was not tried")?)
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.settings.listen
    }

    pub(super) fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// Takes another configuration into effect without dropping a request: new workers start, the old ones finish what they have. Nothing happens when the
    /// text is the one in effect (`false`).
    ///
    /// # Errors
    /// When the file cannot be written or nginx is gone.
    pub(super) fn apply(&mut self, text: String) -> Result<bool> {
        if self.applied == text {
            return Ok(false);
        }
        replace(&self.configuration, &text)?;
        self.running.check_alive()?;
        self.running.signal(Signal::HUP)?;
        self.applied = text;
        Ok(true)
    }

    /// Waits until nginx ends by itself, and says why it did.
    pub(super) async fn ended(&mut self) -> anyhow::Error {
        self.running.ended().await
    }

    pub(super) async fn stop(self) {
        self.running.stop().await;
    }
}

/// Writes a file in one step, so that nginx never reads half of it.
fn replace(file: &Path, text: &str) -> Result<()> {
    let new = file.with_extension("new");
    fs::write(&new, text)
        .and_then(|()| fs::rename(&new, file))
        .with_context(|| format!("failed to write {}", file.display()))
}

async fn free_address(near: SocketAddr) -> Result<SocketAddr> {
    let listener = TcpListener::bind(near)
        .await
        .context("failed to find a free port for nginx")?;
    listener.local_addr().context("failed to find a free port for nginx")
}

async fn until_listening(running: &mut Running, address: SocketAddr) -> Result<()> {
    let listening = async {
        loop {
            running.check_alive()?;
            if TcpStream::connect(address).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(START_POLL).await;
        }
    };
    let in_time = tokio::time::timeout(START_MAX, listening).await;
    in_time.with_context(|| format!("nginx did not listen on {address} within {START_MAX:?}"))?
}

#[cfg(test)]
mod tests;
