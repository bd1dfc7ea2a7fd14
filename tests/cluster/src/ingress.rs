//! A small ingress controller with a real nginx as its data plane. Stub.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// How the ingress is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Folder for nginx's files, made by the supervisor.
    pub dir: PathBuf,
    /// How long after a change in the API nginx follows it.
    pub propagation_delay: Duration,
    /// Where nginx listens; port 0 picks one.
    pub listen: SocketAddr,
}

/// The running ingress; dropping it ends it.
#[derive(Debug)]
pub struct Ingress {
    address: SocketAddr,
}

/// Starts nginx and the controller that writes its configuration.
///
/// # Errors
/// When nginx cannot be started.
pub async fn start(_client: kube::Client, options: Options) -> anyhow::Result<Ingress> {
    Ok(Ingress {
        address: options.listen,
    })
}

impl Ingress {
    /// Where plain HTTP is served.
    #[must_use]
    pub fn http_address(&self) -> SocketAddr {
        self.address
    }

    /// Process ids of what it started.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        Vec::new()
    }

    /// Ends nginx and waits for it.
    pub async fn stop(self) {}
}
