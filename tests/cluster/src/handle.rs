//! The tests' side: start a cluster, speak to it, and be sure that it goes away.

use std::{
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client, api::PostParams};
use tokio::{io::AsyncWriteExt, sync::OnceCell, task::spawn_blocking};

use crate::{
    control_plane,
    descriptor::{Descriptor, GitDescriptor},
    git::{Change, Control, Credentials, Repository, Webhook},
    progress,
    supervisor::{Part, Parts},
};

/// The first start may build the control plane, which takes ten minutes on two cores.
const START_DEADLINE: Duration = Duration::from_secs(45 * 60);

/// How long the supervisor may take to stop before its process is killed, and the reaper does the rest.
const STOP_DEADLINE: Duration = Duration::from_secs(15);

/// Which parts run, and how the ingress behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// Parts to start beside the control plane.
    pub with: Vec<Part>,
    /// How long after a change in the API the ingress follows it.
    pub propagation_delay: Duration,
}

impl Default for Options {
    /// Everything, with the delay of real ingress controllers.
    fn default() -> Self {
        Self {
            with: vec![Part::Ingress, Part::Prometheus, Part::Git, Part::Workload],
            propagation_delay: Duration::from_secs(1),
        }
    }
}

/// A running cluster; dropping it stops it, and so does the end of this process in any way.
///
/// It holds nothing that belongs to an async runtime, so that tests with a runtime each can share one.
#[derive(Debug)]
pub struct Cluster {
    descriptor: Descriptor,
    supervisor: Child,
    // Open as long as the cluster is wanted.
    pipe: Option<ChildStdin>,
}

/// The one cluster of this test process, with every part, started by whoever asks first.
///
/// # Errors
/// When it does not start; every later call then tries again.
pub async fn shared() -> Result<&'static Cluster> {
    static SHARED: OnceCell<Cluster> = OnceCell::const_new();
    SHARED.get_or_try_init(|| Cluster::start(Options::default())).await
}

impl Cluster {
    /// Starts a cluster and returns when all of it answers. The first time this may build the control plane's programs.
    ///
    /// # Errors
    /// When the supervisor is not built or a part does not start; the error has what the supervisor said.
    pub async fn start(options: Options) -> Result<Self> {
        spawn_blocking(move || Self::start_blocking(&options)).await?
    }

    fn start_blocking(options: &Options) -> Result<Self> {
        let program = supervisor_program()?;
        let mut supervisor = Command::new(&program)
            .args(["up", "--parent-pipe"])
            .arg(format!("--with={}", Parts(options.with.clone())))
            .arg(format!(
                "--propagation-delay={}ms",
                options.propagation_delay.as_millis()
            ))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let pipe = supervisor.stdin.take();
        let said = supervisor
            .stderr
            .take()
            .map(forward)
            .context("the supervisor has no standard error")?;
        let stdout = supervisor
            .stdout
            .take()
            .context("the supervisor has no standard output")?;
        let (sender, line) = mpsc::channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = BufReader::new(stdout).read_line(&mut line);
            sender.send(read.map(|_length| line)).ok();
        });
        let line = line
            .recv_timeout(START_DEADLINE)
            .context("the cluster took too long to start")??;
        if line.is_empty() {
            let status = supervisor.wait()?;
            // The forwarding thread ends with the pipe.
            let said = said.join().unwrap_or_default();
            bail!("the cluster did not start ({status}):\n{said}");
        }
        let descriptor = serde_json::from_str(&line).with_context(|| format!("the supervisor said {line:?}"))?;
        Ok(Self {
            descriptor,
            supervisor,
            pipe,
        })
    }

    /// Where everything is.
    #[must_use]
    pub fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    /// Kubeconfig of a member of `system:masters`.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.descriptor.kubeconfig
    }

    /// A new client for the calling runtime, without a limit on its rate.
    ///
    /// # Errors
    /// When the kubeconfig is gone.
    pub async fn client(&self) -> Result<Client> {
        control_plane::client(&self.descriptor.kubeconfig).await
    }

    /// Creates a namespace whose name begins with `prefix-` and that nobody else has.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub async fn namespace(&self, prefix: &str) -> Result<String> {
        let namespaces: Api<Namespace> = Api::all(self.client().await?);
        let mut namespace = Namespace::default();
        namespace.metadata.generate_name = Some(format!("{prefix}-"));
        let created = namespaces
            .create(&PostParams::default(), &namespace)
            .await
            .context("cannot create a namespace")?;
        created.metadata.name.context("the API server gave no name")
    }

    /// Runs the pinned kubectl against the cluster and returns its standard output.
    ///
    /// # Errors
    /// When it fails; the error has its standard error.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.kubectl_with_input(arguments, "").await
    }

    /// As [`Cluster::kubectl`], with text on its standard input.
    ///
    /// # Errors
    /// When it fails; the error has its standard error.
    pub async fn kubectl_with_input(&self, arguments: &[&str], input: &str) -> Result<String> {
        let mut child = tokio::process::Command::new(&self.descriptor.kubectl)
            .args(arguments)
            .env_clear()
            .env("KUBECONFIG", &self.descriptor.kubeconfig)
            // It caches discovery here; the user's own cache is none of its business.
            .env("HOME", &self.descriptor.dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start kubectl")?;
        if let Some(mut stdin) = child.stdin.take() {
            // A kubectl that fails early closes the pipe; then its own message is the one to show.
            stdin.write_all(input.as_bytes()).await.ok();
        }
        let output = child.wait_with_output().await?;
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            bail!("`kubectl {}` failed: {}", arguments.join(" "), stderr.trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// `kubectl apply` of YAML documents into a namespace.
    ///
    /// # Errors
    /// When one is refused.
    pub async fn apply_yaml(&self, namespace: &str, yaml: &str) -> Result<String> {
        self.kubectl_with_input(&["apply", "--namespace", namespace, "--filename", "-"], yaml)
            .await
    }

    /// Address of the ingress, `http://127.0.0.1:PORT`.
    ///
    /// # Errors
    /// When the cluster was started without it.
    pub fn ingress(&self) -> Result<&str> {
        self.descriptor
            .ingress
            .as_deref()
            .context("the cluster was started without an ingress")
    }

    /// Base address of Prometheus.
    ///
    /// # Errors
    /// When the cluster was started without it.
    pub fn prometheus(&self) -> Result<&str> {
        self.descriptor
            .prometheus
            .as_deref()
            .context("the cluster was started without Prometheus")
    }

    /// Where the Git server is.
    ///
    /// # Errors
    /// When the cluster was started without it.
    pub fn git(&self) -> Result<&GitDescriptor> {
        self.descriptor
            .git
            .as_ref()
            .context("the cluster was started without a Git server")
    }

    /// Makes a repository on the Git server unless it is there, and returns a working copy of it.
    ///
    /// # Errors
    /// When there is no Git server, or it refuses the name.
    pub async fn repository(&self, name: &str) -> Result<Repository> {
        let url = self.change_git(Change::Create { name: name.to_owned() }).await?;
        Repository::clone(&url, None).await
    }

    /// Asks for this user and password for a repository from now on, or lets everybody in.
    ///
    /// # Errors
    /// When there is no Git server.
    pub async fn set_git_auth(&self, name: &str, credentials: Option<Credentials>) -> Result<()> {
        self.change_git(Change::Auth {
            name: name.to_owned(),
            credentials,
        })
        .await
        .map(drop)
    }

    /// Tells this address of pushes to a repository from now on, or nobody.
    ///
    /// # Errors
    /// When there is no Git server.
    pub async fn set_git_webhook(&self, name: &str, webhook: Option<Webhook>) -> Result<()> {
        self.change_git(Change::Webhook {
            name: name.to_owned(),
            webhook,
        })
        .await
        .map(drop)
    }

    /// Lets every repository answer, or 503. This holds for all tests that share the cluster: such a test starts a cluster of its own.
    ///
    /// # Errors
    /// When there is no Git server.
    pub async fn set_git_available(&self, available: bool) -> Result<()> {
        self.change_git(Change::Available { available }).await.map(drop)
    }

    async fn change_git(&self, change: Change) -> Result<String> {
        Control::new(&self.git()?.control_url).apply(&change).await
    }

    fn stop(&mut self) -> Result<()> {
        drop(self.pipe.take());
        let end = Instant::now() + STOP_DEADLINE;
        while self.supervisor.try_wait()?.is_none() {
            if Instant::now() > end {
                self.supervisor.kill()?;
                self.supervisor.wait()?;
                bail!("the supervisor did not stop in {STOP_DEADLINE:?} and was killed");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            progress(&format!("{error:#}"));
        }
    }
}

/// Shows what the supervisor says while it says it, and gives all of it at the end.
fn forward(stderr: impl Read + Send + 'static) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut said = String::new();
        for line in BufReader::new(stderr).lines() {
            let Ok(line) = line else { break };
            progress(line.trim_start_matches("tidegate-cluster: "));
            said.push_str(&line);
            said.push('\n');
        }
        said
    })
}

/// `TIDEGATE_CLUSTER_BIN`, else the program beside this test's `deps` folder in the target folder.
fn supervisor_program() -> Result<PathBuf> {
    if let Some(program) = std::env::var_os("TIDEGATE_CLUSTER_BIN") {
        return Ok(program.into());
    }
    let executable = std::env::current_exe()?;
    let program = executable
        .ancestors()
        .skip(1)
        .take(3)
        .map(|folder| folder.join("tidegate-cluster"))
        .find(|program| program.is_file());
    program.with_context(|| {
        format!(
            "the supervisor `tidegate-cluster` is not beside {}: run `cargo build -p tidegate-cluster`, or set TIDEGATE_CLUSTER_BIN",
            executable.display()
        )
    })
}
