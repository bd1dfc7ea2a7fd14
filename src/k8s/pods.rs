//! Pods of one Rollout, asked for when a decision needs them. They are not watched: a cluster has many, and at rest
//! nobody looks at them.

use crate::k8s::{action::objects::answer, error::ApiError};
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client, api::ListParams};

/// Pods of one answer; protects the API server from one very long one.
const PAGE: u32 = 500;
/// Pods of one Rollout; protects memory.
const PODS_MAX: usize = 20_000;

/// What came of a list of pods.
#[derive(Debug, Default)]
pub enum PodList {
    /// Nobody asked.
    #[default]
    Unlisted,
    /// All of them.
    Listed(Vec<Pod>),
    /// Why not, in one word.
    Unlistable(&'static str),
}

/// Every pod of a namespace that a label selector selects, as the API server knows it now.
///
/// # Errors
/// When the server refuses or does not answer, or when there are more than 20,000.
pub async fn list(client: &Client, namespace: &str, selector: &str) -> Result<Vec<Pod>, ApiError> {
    let api: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let mut params = ListParams::default().labels(selector).limit(PAGE);
    let mut pods = Vec::new();
    loop {
        let page = answer(api.list(&params)).await?;
        pods.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            None => return Ok(pods),
            Some(_) if pods.len() >= PODS_MAX => {
                return Err(ApiError::Malformed(format!(
                    "more than {PODS_MAX} pods match {selector}"
                )));
            }
            Some(token) => params = params.continue_token(&token),
        }
    }
}
