//! A real Kubernetes control plane: etcd, API server, controller manager, scheduler, and KWOK for the nodes.
//!
//! It differs from a production one only where that saves time or rights: etcd does not sync its files, the programs are members of `system:masters`,
//! nobody elects leaders, and there is no kubelet or kube-proxy (see [`crate::workload`] and [`crate::ingress`] for what stands in).

mod certificates;
mod kubeconfig;
mod nodes;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use futures::future::join_all;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{Api, Client};
use tokio::net::TcpStream;

use self::certificates::Authority;
pub use self::kubeconfig::client;
use crate::{
    binaries::Binaries,
    poll::eventually,
    process::{Program, Running},
    slot::Slot,
};

/// How long each part may take to come up; a hundred times what an idle machine needs, for the busy ones.
const START_DEADLINE: Duration = Duration::from_secs(90);

/// The running control plane; dropping it kills it.
#[derive(Debug)]
pub struct ControlPlane {
    url: String,
    kubeconfig: PathBuf,
    programs: Vec<Running>,
}

impl ControlPlane {
    /// Starts it with its files in `dir`, and returns when pods get scheduled and the default ServiceAccount exists.
    ///
    /// # Errors
    /// When a program does not start or does not become ready; the error shows the end of its log.
    pub async fn start(binaries: &Binaries, dir: &Path, slot: &mut Slot) -> Result<Self> {
        let mut starting = Starting {
            binaries,
            dir,
            programs: Vec::new(),
        };
        match starting.run(slot).await {
            Ok((url, kubeconfig)) => Ok(Self {
                url,
                kubeconfig,
                programs: starting.programs,
            }),
            Err(error) => Err(error.context(format!(
                "the control plane did not start{}",
                starting.logs_of_the_living()
            ))),
        }
    }

    /// The API server's address.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Path of a kubeconfig for a member of `system:masters`.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// Names and process ids of its programs.
    #[must_use]
    pub fn pids(&self) -> Vec<(String, u32)> {
        self.programs
            .iter()
            .map(|program| (program.name().to_owned(), program.pid()))
            .collect()
    }

    /// Waits until one of its programs ends, which none should.
    pub async fn ended(&mut self) -> anyhow::Error {
        let ends = self.programs.iter_mut().map(|program| Box::pin(program.ended()));
        futures::future::select_all(ends).await.0
    }

    /// Ends it. Its data is not kept, so nothing is asked to end in good order.
    pub async fn stop(self) {
        join_all(self.programs.into_iter().map(Running::kill)).await;
    }
}

/// The programs started so far, so that a failed start can show their logs.
struct Starting<'a> {
    binaries: &'a Binaries,
    dir: &'a Path,
    programs: Vec<Running>,
}

impl Starting<'_> {
    async fn run(&mut self, slot: &mut Slot) -> Result<(String, PathBuf)> {
        let etcd_url = self.etcd(slot).await?;
        let authority = Authority::new(&self.dir.join("certificates"))?;
        let port = slot.port()?;
        let url = format!("https://127.0.0.1:{port}");
        self.api_server(&authority, &etcd_url, port)?;

        let kubeconfig = |user: &str, file: &str| {
            kubeconfig::write(self.dir.join(file), &url, &authority, &authority.administrator(user)?)
        };
        let admin = kubeconfig("tidegate-admin", "kubeconfig")?;
        let controller_manager = kubeconfig("system:kube-controller-manager", "controller-manager.kubeconfig")?;
        let scheduler = kubeconfig("system:kube-scheduler", "scheduler.kubeconfig")?;
        let kwok = kubeconfig("kwok", "kwok.kubeconfig")?;
        let client = client(&admin).await?;

        self.answers(&client, "/livez/ping").await?;
        self.controller_manager(&authority, &controller_manager, slot.port()?)?;
        self.scheduler(&scheduler, slot.port()?)?;
        self.answers(&client, "/readyz").await?;
        nodes::create(&client).await?;
        let kwok = nodes::start_kwok(self.binaries, self.dir, &kwok)?;
        self.programs.push(kwok);
        nodes::ready(&client, START_DEADLINE).await?;
        nodes::pods_get_scheduled(&client, START_DEADLINE).await?;
        default_service_account(&client).await?;
        Ok((url, admin))
    }

    /// An ended program's error has the end of its log already; of the others one may be the culprit of a timeout.
    fn logs_of_the_living(&mut self) -> String {
        let living = self
            .programs
            .iter_mut()
            .filter_map(|program| program.check_alive().is_ok().then_some(program));
        living
            .map(|program| format!("\n{}'s log ends:\n{}", program.name(), program.log_tail()))
            .collect()
    }

    async fn etcd(&mut self, slot: &mut Slot) -> Result<String> {
        let port = slot.port()?;
        let client_url = format!("http://127.0.0.1:{port}");
        let peer_url = format!("http://127.0.0.1:{}", slot.port()?);
        let program = Program::new("etcd", &self.binaries.etcd, self.dir).arguments([
            format!("--data-dir={}", self.dir.join("etcd-data").display()),
            format!("--listen-client-urls={client_url}"),
            format!("--advertise-client-urls={client_url}"),
            format!("--listen-peer-urls={peer_url}"),
            format!("--initial-advertise-peer-urls={peer_url}"),
            format!("--initial-cluster=default={peer_url}"),
            // The data dies with the cluster; waiting for the disk would only cost time.
            "--unsafe-no-fsync".to_owned(),
            "--log-level=warn".to_owned(),
        ]);
        self.programs.push(program.start()?);
        // The API server looks for etcd once a second, so a moment's wait here saves most of one there.
        let connect = async || TcpStream::connect(("127.0.0.1", port)).await;
        self.await_or_end(eventually(START_DEADLINE, "etcd listens", connect))
            .await?;
        Ok(client_url)
    }

    fn api_server(&mut self, authority: &Authority, etcd_url: &str, port: u16) -> Result<()> {
        let program = Program::new("kube-apiserver", &self.binaries.kube_apiserver, self.dir).arguments([
            format!("--etcd-servers={etcd_url}"),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={port}"),
            format!("--tls-cert-file={}", authority.file("apiserver.crt")),
            format!("--tls-private-key-file={}", authority.file("apiserver.key")),
            format!("--client-ca-file={}", authority.file("ca.crt")),
            format!("--service-account-key-file={}", authority.file("service-accounts.pub")),
            format!(
                "--service-account-signing-key-file={}",
                authority.file("service-accounts.key")
            ),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            "--service-cluster-ip-range=10.0.0.0/16".to_owned(),
            "--authorization-mode=RBAC".to_owned(),
            "--allow-privileged".to_owned(),
            // A loopback address is not allowed in the Endpoints of the Service `kubernetes`, and no pod here would use them.
            "--endpoint-reconciler-type=none".to_owned(),
            "--max-requests-inflight=4000".to_owned(),
            "--max-mutating-requests-inflight=2000".to_owned(),
            "--profiling=false".to_owned(),
        ]);
        self.programs.push(program.start()?);
        Ok(())
    }

    fn controller_manager(&mut self, authority: &Authority, kubeconfig: &Path, port: u16) -> Result<()> {
        let concurrent = [
            "deployment",
            "replicaset",
            "endpoint",
            "service-endpoint",
            "gc",
            "namespace",
            "job",
            "serviceaccount-token",
        ];
        let program = Program::new(
            "kube-controller-manager",
            &self.binaries.kube_controller_manager,
            self.dir,
        )
        .arguments([
            format!("--kubeconfig={}", kubeconfig.display()),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={port}"),
            format!("--root-ca-file={}", authority.file("ca.crt")),
            format!(
                "--service-account-private-key-file={}",
                authority.file("service-accounts.key")
            ),
            format!("--cluster-signing-cert-file={}", authority.file("ca.crt")),
            format!("--cluster-signing-key-file={}", authority.file("ca.key")),
            "--leader-elect=false".to_owned(),
            // A fake node that is late with its Lease on a busy machine must not lose its pods.
            "--node-monitor-grace-period=600s".to_owned(),
            "--node-monitor-period=1s".to_owned(),
            "--kube-api-qps=2000".to_owned(),
            "--kube-api-burst=4000".to_owned(),
            "--profiling=false".to_owned(),
        ])
        .arguments(concurrent.map(|kind| format!("--concurrent-{kind}-syncs=20")));
        self.programs.push(program.start()?);
        Ok(())
    }

    fn scheduler(&mut self, kubeconfig: &Path, port: u16) -> Result<()> {
        let program = Program::new("kube-scheduler", &self.binaries.kube_scheduler, self.dir).arguments([
            format!("--kubeconfig={}", kubeconfig.display()),
            "--bind-address=127.0.0.1".to_owned(),
            format!("--secure-port={port}"),
            "--leader-elect=false".to_owned(),
            "--kube-api-qps=2000".to_owned(),
            "--kube-api-burst=4000".to_owned(),
            "--profiling=false".to_owned(),
        ]);
        self.programs.push(program.start()?);
        Ok(())
    }

    async fn answers(&mut self, client: &Client, path: &str) -> Result<()> {
        let probe = async || {
            let request = http_get(path).map_err(|error| error.to_string())?;
            client.request_text(request).await.map_err(|error| error.to_string())
        };
        self.await_or_end(eventually(
            START_DEADLINE,
            format!("the API server answers {path}"),
            probe,
        ))
        .await
        .map(drop)
    }

    /// A program that has ended will never become ready: then its log's end is the better answer, and at once.
    async fn await_or_end<T>(&mut self, ready: impl Future<Output = Result<T>>) -> Result<T> {
        let ends = self.programs.iter_mut().map(|program| Box::pin(program.ended()));
        tokio::select! {
            result = ready => result,
            (end, _, _) = futures::future::select_all(ends) => Err(end),
        }
    }
}

fn http_get(path: &str) -> Result<axum::http::Request<Vec<u8>>> {
    axum::http::Request::get(path)
        .body(Vec::new())
        .context("cannot build a request")
}

async fn default_service_account(client: &Client) -> Result<()> {
    let accounts: Api<ServiceAccount> = Api::default_namespaced(client.clone());
    eventually(START_DEADLINE, "the default ServiceAccount exists", async || {
        accounts.get("default").await
    })
    .await
    .map(drop)
}
