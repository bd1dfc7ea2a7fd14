//! What a running cluster says about itself: one line of JSON on the supervisor's standard output.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

/// A running cluster: where its parts are, and how to reach them. A part that was not asked for is absent.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Private folder with all files of the cluster; `<program>.log` holds what each program said. Gone when the cluster is.
    pub dir: PathBuf,
    /// Kubeconfig of a member of `system:masters`.
    pub kubeconfig: PathBuf,
    /// kubectl of the cluster's version.
    pub kubectl: PathBuf,
    /// The API server's address, `https://127.0.0.1:PORT`.
    pub api_server: String,
    /// Which slot of this machine the cluster holds; its pods' addresses are 10.244.a.b with `a` from 16 times the slot.
    pub slot: u8,
    /// Address of the ingress, `http://127.0.0.1:PORT`. Requests choose a site by their `Host`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ingress: Option<String>,
    /// Base address of Prometheus' HTTP API.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<String>,
    /// The Git server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub git: Option<GitDescriptor>,
    /// Process ids by program, and of the supervisor itself as `supervisor`.
    pub pids: BTreeMap<String, u32>,
}

/// Where the Git server is. Repositories are open until [`crate::handle::Cluster::set_git_auth`] closes one.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GitDescriptor {
    /// Base address: repository `shop` is at `<url>/shop.git`.
    pub url: String,
    /// Where its settings are changed; see [`crate::git::Control`].
    pub control_url: String,
    /// Folder of the bare repositories, `<dir>/<name>.git`.
    pub dir: PathBuf,
}
