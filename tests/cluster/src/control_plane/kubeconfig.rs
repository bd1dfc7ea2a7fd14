//! Kubeconfig files for the cluster's programs and for its user.

use std::path::{Path, PathBuf};

use anyhow::Result;
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use super::certificates::{Authority, Identity, write_private};

/// Writes a kubeconfig (JSON, which is YAML) for `identity` to `path`, with the certificates inside it.
///
/// # Errors
/// When the file cannot be written.
pub(super) fn write(path: PathBuf, server: &str, authority: &Authority, identity: &Identity) -> Result<PathBuf> {
    let text = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "tidegate-cluster",
        "clusters": [{
            "name": "tidegate-cluster",
            "cluster": { "server": server, "certificate-authority-data": STANDARD.encode(authority.certificate()) },
        }],
        "users": [{
            "name": "admin",
            "user": {
                "client-certificate-data": STANDARD.encode(&identity.certificate),
                "client-key-data": STANDARD.encode(&identity.key),
            },
        }],
        "contexts": [{ "name": "tidegate-cluster", "context": { "cluster": "tidegate-cluster", "user": "admin" } }],
    });
    write_private(&path, &format!("{text:#}\n"))?;
    Ok(path)
}

/// A client for a kubeconfig file, without a limit of its own on the rate of requests.
///
/// # Errors
/// When the file is missing or wrong.
pub async fn client(path: &Path) -> Result<kube::Client> {
    let kubeconfig = kube::config::Kubeconfig::read_from(path)?;
    let mut config =
        kube::Config::from_custom_kubeconfig(kubeconfig, &kube::config::KubeConfigOptions::default()).await?;
    // A proxy of this machine's environment is for the world outside; the cluster is on loopback.
    config.proxy_url = None;
    Ok(kube::Client::try_from(config)?)
}
