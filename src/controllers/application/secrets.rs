//! Secrets and ConfigMaps of the control plane that GitOps reads: credentials of repositories, what is trusted when they
//! are reached, and the secret of push webhooks.

use crate::{
    api::well_known::SECRET_TYPE,
    k8s::backoff::WatchBackoff,
    repo::{Trust, credentials::RepositoryCredentials},
    server::webhook_route::WebhookSecret,
};
use futures::StreamExt;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{
    Api, Client,
    runtime::{WatchStreamExt, watcher},
};
use std::collections::BTreeMap;

/// Name of the Secret with webhook secrets, and its key for GitHub.
const CONTROL_SECRET: &str = "argocd-secret";
const GITHUB_SECRET: &str = "webhook.github.secret";

/// ConfigMaps of what is trusted (reference, applications 7.3): certificates by host name, and host keys.
const TLS_CERTIFICATES: &str = "argocd-tls-certs-cm";
const KNOWN_HOSTS: &str = "argocd-ssh-known-hosts-cm";
const KNOWN_HOSTS_KEY: &str = "ssh_known_hosts";

/// Follows what is trusted until dropped; `found` gets all of it at each change.
pub(super) async fn follow_trust(client: Client, namespace: &str, found: impl Fn(Trust)) {
    let follow = |name: &'static str| {
        let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
        watcher::watcher(api, config)
            .backoff(WatchBackoff::default())
            .map(move |event| (name, event))
            .boxed()
    };
    let mut events = futures::stream::select(follow(TLS_CERTIFICATES), follow(KNOWN_HOSTS));
    let mut trust = Trust::default();
    // What a new list has shown so far, by ConfigMap; one that is not in it is gone.
    let mut listed: BTreeMap<&str, BTreeMap<String, String>> = BTreeMap::new();
    while let Some((name, event)) = events.next().await {
        let data = match event {
            Ok(watcher::Event::Init) => {
                listed.remove(name);
                continue;
            }
            Ok(watcher::Event::InitApply(object)) => {
                listed.insert(name, object.data.unwrap_or_default());
                continue;
            }
            Ok(watcher::Event::InitDone) => listed.remove(name).unwrap_or_default(),
            Ok(watcher::Event::Apply(object)) => object.data.unwrap_or_default(),
            Ok(watcher::Event::Delete(_)) => BTreeMap::new(),
            Err(error) => {
                tracing::warn!(%error, config_map = name, "The watch of what is trusted failed; trying again.");
                continue;
            }
        };
        if name == KNOWN_HOSTS {
            trust.ssh_known_hosts = data.get(KNOWN_HOSTS_KEY).cloned().unwrap_or_default();
        } else {
            trust.tls_certificates = data;
        }
        found(trust.clone());
    }
}

/// Follows repository Secrets until dropped; `found` gets all credentials at each change.
pub(super) async fn follow_credentials(
    client: Client,
    namespace: &str,
    allow_file: bool,
    found: impl Fn(Vec<RepositoryCredentials>),
) {
    let api: Api<Secret> = Api::namespaced(client, namespace);
    let config = watcher::Config::default().labels(&format!("{SECRET_TYPE} in (repository, repo-creds)"));
    let stream = watcher::watcher(api, config).backoff(WatchBackoff::default());
    let mut stream = std::pin::pin!(stream);
    let mut secrets: BTreeMap<String, Secret> = BTreeMap::new();
    let name = |secret: &Secret| secret.metadata.name.clone().unwrap_or_default();
    let mut is_listing = false;
    while let Some(event) = stream.next().await {
        match event {
            Ok(watcher::Event::Init) => {
                secrets.clear();
                is_listing = true;
            }
            Ok(watcher::Event::InitApply(secret) | watcher::Event::Apply(secret)) => {
                secrets.insert(name(&secret), secret);
            }
            Ok(watcher::Event::InitDone) => is_listing = false,
            Ok(watcher::Event::Delete(secret)) => {
                secrets.remove(&name(&secret));
            }
            Err(error) => {
                tracing::warn!(%error, "The watch of repository Secrets failed; trying again.");
                continue;
            }
        }
        if !is_listing {
            found(
                secrets
                    .values()
                    .filter_map(|secret| credentials(secret, allow_file))
                    .collect(),
            );
        }
    }
}

fn credentials(secret: &Secret, allow_file: bool) -> Option<RepositoryCredentials> {
    match RepositoryCredentials::parse(secret, allow_file) {
        Ok(found) => found,
        Err(problem) => {
            tracing::warn!(%problem, "A repository Secret cannot be used.");
            None
        }
    }
}

/// Follows the control plane's own Secret until dropped.
pub(super) async fn follow_webhook_secret(client: Client, namespace: &str, secret: WebhookSecret) {
    let api: Api<Secret> = Api::namespaced(client, namespace);
    let config = watcher::Config::default().fields(&format!("metadata.name={CONTROL_SECRET}"));
    let stream = watcher::watcher(api, config).backoff(WatchBackoff::default());
    let mut stream = std::pin::pin!(stream);
    let mut found = None;
    while let Some(event) = stream.next().await {
        match event {
            Ok(watcher::Event::Init) => found = None,
            Ok(watcher::Event::InitApply(object)) => found = value(&object),
            Ok(watcher::Event::InitDone) => secret.set(found.take()),
            Ok(watcher::Event::Apply(object)) => secret.set(value(&object)),
            Ok(watcher::Event::Delete(_)) => secret.set(None),
            Err(error) => tracing::warn!(%error, "The watch of Secret argocd-secret failed; trying again."),
        }
    }
}

fn value(secret: &Secret) -> Option<String> {
    let bytes = &secret.data.as_ref()?.get(GITHUB_SECRET)?.0;
    Some(String::from_utf8_lossy(bytes).trim_end_matches('\n').to_owned())
}
