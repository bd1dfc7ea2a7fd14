//! Reads the Secrets that a measurement's arguments name, live at each measurement (reference, rollouts 6.4).

use crate::api::analysis::SecretKeyRef;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use std::{collections::BTreeMap, time::Duration};

/// Time for reading all Secrets of one measurement.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// The texts of the keys, by Secret and key. The error is the measurement's message.
pub async fn read(
    client: &Client,
    namespace: &str,
    needed: &[SecretKeyRef],
) -> Result<BTreeMap<(String, String), String>, String> {
    let reading = read_each(client, namespace, needed);
    match tokio::time::timeout(READ_TIMEOUT, reading).await {
        Ok(read) => read,
        Err(_) => Err(format!(
            "no answer about Secrets of namespace '{namespace}' within {READ_TIMEOUT:?}"
        )),
    }
}

async fn read_each(
    client: &Client,
    namespace: &str,
    needed: &[SecretKeyRef],
) -> Result<BTreeMap<(String, String), String>, String> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let mut secrets: BTreeMap<&str, Secret> = BTreeMap::new();
    let mut texts = BTreeMap::new();
    for SecretKeyRef { name, key } in needed {
        if !secrets.contains_key(name.as_str()) {
            let secret = api.get(name).await.map_err(|error| match error {
                kube::Error::Api(status) => status.message.clone(),
                other => format!("failed to read secret '{name}': {other}"),
            })?;
            secrets.insert(name, secret);
        }
        let data = secrets.get(name.as_str()).and_then(|secret| secret.data.as_ref());
        let Some(bytes) = data.and_then(|data| data.get(key)) else {
            return Err(format!("key '{key}' does not exist in secret '{name}'"));
        };
        let text =
            String::from_utf8(bytes.0.clone()).map_err(|_| format!("key '{key}' of secret '{name}' is not text"))?;
        texts.insert((name.clone(), key.clone()), text);
    }
    Ok(texts)
}
