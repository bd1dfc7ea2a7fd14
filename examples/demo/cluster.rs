//! Where the demo plays: the cluster, the repository, the controller, and traffic.

use crate::{Options, controller::Controller, say};
use anyhow::{Context, Result, bail};
use kube::{Client, Config, config::KubeConfigOptions};
use std::{
    path::{Path, PathBuf},
    time::Duration,
};
use tidegate_cluster::{
    Cluster,
    git::{GitServer, Repository, Webhook},
};
use tokio::process::Command;

/// Secret between the Git server and the controller; made up anew would be better for anything but a demo.
const WEBHOOK_SECRET: &str = "demo";

pub(crate) struct Stage {
    pub(crate) client: Client,
    pub(crate) kubeconfig: PathBuf,
    pub(crate) context: Option<String>,
    pub(crate) kubectl: PathBuf,
    pub(crate) ingress: String,
    pub(crate) prometheus: String,
    pub(crate) repository: Repository,
    pub(crate) repository_url: String,
    pub(crate) controller: Controller,
    // Held so that they live as long as the stage.
    _cluster: Option<Cluster>,
    _git: Option<GitServer>,
    _git_dir: Option<tempfile::TempDir>,
}

impl Stage {
    pub(crate) async fn set_up(options: &Options) -> Result<Self> {
        say::act("Setting the stage");
        let webhook_port = free_port()?;
        let hook = Webhook {
            url: format!("http://127.0.0.1:{webhook_port}/api/webhook"),
            secret: WEBHOOK_SECRET.to_owned(),
        };
        let stage = match &options.context {
            None => Self::own(hook, webhook_port).await?,
            Some(context) => Self::given(context, options, hook, webhook_port).await?,
        };
        Ok(stage)
    }

    async fn own(hook: Webhook, webhook_port: u16) -> Result<Self> {
        say::note("starting etcd, kube-apiserver, controller-manager, scheduler, nginx, Prometheus and a Git server …");
        let cluster = Cluster::start(tidegate_cluster::Options::default()).await?;
        let repository = cluster.repository("shop").await?;
        cluster.set_git_webhook("shop", Some(hook)).await?;
        let client = cluster.client().await?;
        let kubeconfig = cluster.kubeconfig().to_owned();
        let kubectl = cluster.descriptor().kubectl.clone();
        prepare(&kubectl, &kubeconfig, None).await?;
        let controller = Controller::start(&kubeconfig, None, webhook_port).await?;
        Ok(Self {
            client,
            kubeconfig,
            context: None,
            kubectl,
            ingress: cluster.ingress()?.to_owned(),
            prometheus: cluster.prometheus()?.to_owned(),
            repository_url: repository.url().to_owned(),
            repository,
            controller,
            _cluster: Some(cluster),
            _git: None,
            _git_dir: None,
        })
    }

    async fn given(context: &str, options: &Options, hook: Webhook, webhook_port: u16) -> Result<Self> {
        say::note(&format!("using the context {context}"));
        let kubeconfig = std::env::var_os("KUBECONFIG").map_or_else(
            || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".kube/config"),
            PathBuf::from,
        );
        let selected = KubeConfigOptions {
            context: Some(context.to_owned()),
            ..KubeConfigOptions::default()
        };
        let file = kube::config::Kubeconfig::read_from(&kubeconfig).context("cannot read the kubeconfig")?;
        let client = Client::try_from(Config::from_custom_kubeconfig(file, &selected).await?)?;
        let git_dir = tempfile::tempdir()?;
        let git = GitServer::start(git_dir.path().to_owned()).await?;
        let url = git.create("shop").await?;
        git.set_webhook("shop", Some(hook));
        let repository = Repository::clone(&url, None).await?;
        let kubectl = PathBuf::from("kubectl");
        prepare(&kubectl, &kubeconfig, Some(context)).await?;
        let controller = Controller::start(&kubeconfig, Some(context), webhook_port).await?;
        let (Some(ingress), Some(prometheus)) = (options.ingress.clone(), options.prometheus.clone()) else {
            bail!("--context needs --ingress and --prometheus");
        };
        Ok(Self {
            client,
            kubeconfig,
            context: Some(context.to_owned()),
            kubectl,
            ingress,
            prometheus,
            repository_url: url,
            repository,
            controller,
            _cluster: None,
            _git: Some(git),
            _git_dir: Some(git_dir),
        })
    }

    /// Runs the plugin and returns what it prints.
    pub(crate) async fn plugin(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(crate::controller::program()?);
        command
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            .env("NO_COLOR", "1");
        if let Some(context) = &self.context {
            command.args(["--context", context]);
        }
        let output = command.output().await?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    pub(crate) async fn apply(&self, yaml: &str) -> Result<()> {
        kubectl_apply(&self.kubectl, &self.kubeconfig, self.context.as_deref(), yaml).await
    }

    /// A file of the example repository with this stage's addresses in it.
    pub(crate) fn manifest(&self, path: &str) -> Result<String> {
        let file = folder().join(path);
        let text = std::fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        Ok(text
            .replace("REPOSITORY_URL", &self.repository_url)
            .replace("PROMETHEUS_URL", &self.prometheus))
    }
}

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/demo")
}

async fn prepare(kubectl: &Path, kubeconfig: &Path, context: Option<&str>) -> Result<()> {
    say::note("installing the CRDs and the namespace argocd");
    for (_, crd) in tidegate::api::crd::files() {
        kubectl_apply(kubectl, kubeconfig, context, &crd).await?;
    }
    let objects = format!(
        "apiVersion: v1\nkind: Namespace\nmetadata: {{name: argocd}}\n---\napiVersion: v1\nkind: Secret\nmetadata: \
         {{name: argocd-secret, namespace: argocd}}\nstringData: {{webhook.github.secret: {WEBHOOK_SECRET}}}\n"
    );
    kubectl_apply(kubectl, kubeconfig, context, &objects).await
}

async fn kubectl_apply(kubectl: &Path, kubeconfig: &Path, context: Option<&str>, yaml: &str) -> Result<()> {
    use tokio::io::AsyncWriteExt as _;
    let mut command = Command::new(kubectl);
    command.arg("--kubeconfig").arg(kubeconfig);
    if let Some(context) = context {
        command.args(["--context", context]);
    }
    command.args(["apply", "--server-side", "-f", "-"]);
    command
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped());
    let mut child = command.spawn().context("cannot start kubectl")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(yaml.as_bytes()).await?;
    }
    let output = tokio::time::timeout(Duration::from_secs(60), child.wait_with_output()).await??;
    if !output.status.success() {
        bail!("kubectl apply failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}

fn free_port() -> Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
