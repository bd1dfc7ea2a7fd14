//! Reads the Secrets that a measurement's arguments name, and those with providers' keys, live at each measurement
//! (reference, rollouts 6.4 and 6.6), and keeps them out of what is shown.

use crate::{
    analysis::{
        args::MASK,
        reading::{Answer, Answered},
    },
    api::analysis::SecretKeyRef,
};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use std::{collections::BTreeMap, time::Duration};

/// Time for reading all Secrets of one measurement.
pub const READ_TIMEOUT: Duration = Duration::from_secs(10);
/// A shorter key is no key, and masking it would hide half of a message.
const MASKED_BYTES_MIN: usize = 4;

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

/// Where Secrets with providers' keys are read.
#[derive(Clone)]
pub struct Keys {
    /// Reads them.
    pub client: Client,
    /// The controller's own namespace.
    pub namespace: String,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys")
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

impl Keys {
    /// The texts of one Secret, without white space around them (files end with a line break); `None` when there is no
    /// such Secret. Bytes that are no text are left out.
    pub async fn find(&self, namespace: &str, name: &str) -> Result<Option<BTreeMap<String, String>>, String> {
        let api: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let secret = match tokio::time::timeout(READ_TIMEOUT, api.get_opt(name)).await {
            Err(_) => {
                return Err(format!(
                    "no answer about secret '{name}' of namespace '{namespace}' within {READ_TIMEOUT:?}"
                ));
            }
            Ok(Err(kube::Error::Api(status))) => return Err(status.message.clone()),
            Ok(Err(other)) => return Err(format!("failed to read secret '{name}': {other}")),
            Ok(Ok(None)) => return Ok(None),
            Ok(Ok(Some(secret))) => secret,
        };
        let texts = secret.data.unwrap_or_default().into_iter();
        let texts = texts.filter_map(|(key, bytes)| Some((key, String::from_utf8(bytes.0).ok()?.trim().to_owned())));
        Ok(Some(texts.collect()))
    }

    /// The texts of one Secret in the controller's namespace, which must be there.
    pub async fn own(&self, name: &str) -> Result<BTreeMap<String, String>, String> {
        let namespace = &self.namespace;
        let found = self.find(namespace, name).await?;
        found.ok_or_else(|| format!("secret '{name}' does not exist in namespace '{namespace}'"))
    }
}

/// A key of a provider's Secret that must be there.
pub fn needed(texts: &BTreeMap<String, String>, secret: &str, key: &str) -> Result<String, String> {
    let text = texts.get(key).filter(|text| !text.is_empty());
    text.cloned()
        .ok_or_else(|| format!("key '{key}' does not exist in secret '{secret}'"))
}

/// What is shown, with these texts masked: a server may repeat a key it refuses. Metadata is the provider's own.
pub fn masked(answered: Answered, keys: &[&str]) -> Answered {
    let mask = |text: String| {
        let keys = keys.iter().filter(|key| key.len() >= MASKED_BYTES_MIN);
        keys.fold(text, |text, key| text.replace(*key, MASK))
    };
    let answer = match answered.answer {
        Answer::Error(message) => Answer::Error(mask(message)),
        Answer::Value { measured, text } => Answer::Value {
            measured,
            text: mask(text),
        },
        answer => answer,
    };
    Answered { answer, ..answered }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_masked_in_what_is_shown() {
        let refused = Answered::error("HTTP 403: key hush-hush is unknown");
        assert_eq!(
            masked(refused, &["hush-hush", "", "a"]),
            Answered::error("HTTP 403: key ***** is unknown")
        );
    }
}
