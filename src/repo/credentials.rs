//! Repository Secrets (reference, applications 7.1 and 7.2): which credential goes with which address.
//!
//! Pure. A credential is only ever for the transport, host and port it was written for; how it reaches git is in
//! `access`.

use super::url::{Hidden, RepoUrl, UrlError};
use crate::api::well_known::SECRET_TYPE;
use k8s_openapi::{ByteString, api::core::v1::Secret};
use std::collections::BTreeMap;

/// Keys whose way of authentication is recognised and not supported yet.
const UNSUPPORTED_KEYS: [&str; 4] = [
    "githubAppPrivateKey",
    "gcpServiceAccountKey",
    "azureServicePrincipalClientSecret",
    "useAzureWorkloadIdentity",
];

/// What a Secret is for (label `argocd.argoproj.io/secret-type`).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum CredentialScope {
    /// `repository`: exactly this address.
    Repository,
    /// `repo-creds`: every address that starts like this; the longest wins.
    Prefix,
}

/// How to authenticate.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Auth {
    /// Not at all.
    #[default]
    Anonymous,
    /// User name and password or token (`username`, `password`).
    Basic {
        /// User name; may be empty for tokens.
        username: String,
        /// Password or token.
        password: Hidden,
        /// Send it without being asked (`forceHttpBasicAuth`).
        proactive: bool,
    },
    /// A bearer token (`bearerToken`).
    Bearer(Hidden),
    /// A private key in OpenSSH or PEM form (`sshPrivateKey`).
    SshKey(Hidden),
}

/// One repository Secret, read. Its `Debug` form shows no secret.
#[derive(Clone, Debug, PartialEq)]
pub struct RepositoryCredentials {
    /// `namespace/name` of the Secret, for messages.
    pub secret: String,
    /// What it is for.
    pub scope: CredentialScope,
    /// Only Applications of this project may use it (`project`); empty: those of every project.
    pub project: String,
    /// Address or prefix, in the form addresses are compared in.
    key: String,
    /// How to authenticate.
    pub auth: Auth,
    /// Client certificate and key, both PEM (`tlsClientCertData`, `tlsClientCertKey`).
    pub tls_client: Option<(Hidden, Hidden)>,
    /// Do not check certificates or host keys (`insecure`, `insecureIgnoreHostKey`).
    pub insecure: bool,
    /// Proxy for this repository (`proxy`); may hold credentials.
    pub proxy: Hidden,
    /// Hosts that the proxy is not for (`noProxy`).
    pub no_proxy: String,
    /// Why it cannot be used; then operations on its repositories fail with this text instead of going out without
    /// the credentials that the user meant.
    pub unusable: Option<String>,
}

/// A Secret that cannot be read, or can be read only in part.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CredentialProblem {
    /// `namespace/name` of the Secret.
    pub secret: String,
    /// Key in its data.
    pub field: &'static str,
    /// What is wrong; never a value.
    pub message: String,
}

impl std::fmt::Display for CredentialProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Secret {}: {}: {}", self.secret, self.field, self.message)
    }
}

impl RepositoryCredentials {
    /// Reads a Secret. `Ok(None)` when it is no Git repository Secret (another type or a Helm or OCI registry).
    pub fn parse(secret: &Secret, allow_file: bool) -> Result<Option<Self>, CredentialProblem> {
        let label = secret
            .metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(SECRET_TYPE));
        let scope = match label.map(String::as_str) {
            Some("repository") => CredentialScope::Repository,
            Some("repo-creds") => CredentialScope::Prefix,
            _ => return Ok(None),
        };
        let values = Values::of(secret);
        if !matches!(values.text("type")?.as_str(), "" | "git") {
            return Ok(None);
        }
        let address = values.text("url")?;
        let key = match scope {
            CredentialScope::Repository => RepoUrl::parse(&address, allow_file).map(|url| url.credential_key()),
            CredentialScope::Prefix => prefix_key(&address, allow_file),
        };
        let key = key.map_err(|error| values.problem("url", error.to_string()))?;
        let (auth, unusable) = values.auth()?;
        let tls_client = match (values.text("tlsClientCertData")?, values.text("tlsClientCertKey")?) {
            (certificate, key) if certificate.is_empty() && key.is_empty() => None,
            (certificate, key) if !certificate.is_empty() && !key.is_empty() => {
                Some((Hidden::new(certificate), Hidden::new(key)))
            }
            _ => return Err(values.problem("tlsClientCertData", "goes together with tlsClientCertKey")),
        };
        Ok(Some(Self {
            scope,
            project: values.text("project")?,
            key,
            auth,
            tls_client,
            insecure: values.flag("insecure")? || values.flag("insecureIgnoreHostKey")?,
            proxy: Hidden::new(values.text("proxy")?),
            no_proxy: values.text("noProxy")?,
            unusable,
            secret: values.secret,
        }))
    }

    fn authenticates(&self) -> bool {
        self.auth != Auth::Anonymous || self.tls_client.is_some() || self.unusable.is_some()
    }
}

/// The prefix as it is compared. A prefix that is only a host gets its slash, so that `https://git.example` is not a
/// prefix of `https://git.example.evil/`; a path is taken as written, so that `https://host/team-` covers
/// `https://host/team-a/repo`.
fn prefix_key(address: &str, allow_file: bool) -> Result<String, UrlError> {
    const PLACEHOLDER: &str = "x";
    let is_bare_host = |rest: &str| !rest.trim_end_matches('/').contains('/');
    if address.split_once("://").is_some_and(|(_, rest)| is_bare_host(rest)) {
        let with_path = format!("{}/{PLACEHOLDER}", address.trim_end_matches('/'));
        let key = RepoUrl::parse(&with_path, allow_file)?.credential_key();
        return Ok(key.trim_end_matches(PLACEHOLDER).to_owned());
    }
    let key = RepoUrl::parse(address, allow_file)?.credential_key();
    Ok(if address.ends_with('/') { key + "/" } else { key })
}

/// The data of a Secret as text.
struct Values {
    secret: String,
    data: BTreeMap<String, Vec<u8>>,
}

impl Values {
    fn of(secret: &Secret) -> Self {
        let metadata = &secret.metadata;
        let mut data: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for (key, ByteString(bytes)) in secret.data.iter().flatten() {
            data.insert(key.clone(), bytes.clone());
        }
        for (key, text) in secret.string_data.iter().flatten() {
            data.insert(key.clone(), text.clone().into_bytes());
        }
        Self {
            secret: format!(
                "{}/{}",
                metadata.namespace.as_deref().unwrap_or_default(),
                metadata.name.as_deref().unwrap_or_default()
            ),
            data,
        }
    }

    fn problem(&self, field: &'static str, message: impl Into<String>) -> CredentialProblem {
        CredentialProblem {
            secret: self.secret.clone(),
            field,
            message: message.into(),
        }
    }

    /// A value; absent is empty. White space around it is never meant, except inside keys and certificates.
    fn text(&self, field: &'static str) -> Result<String, CredentialProblem> {
        let bytes = self.data.get(field).cloned().unwrap_or_default();
        let text = String::from_utf8(bytes).map_err(|_| self.problem(field, "is not UTF-8"))?;
        Ok(text.trim().to_owned())
    }

    /// A value that travels in one line of a protocol.
    fn line(&self, field: &'static str) -> Result<String, CredentialProblem> {
        let text = self.text(field)?;
        match text.chars().any(char::is_control) {
            true => Err(self.problem(field, "contains a line break or another control character")),
            false => Ok(text),
        }
    }

    fn flag(&self, field: &'static str) -> Result<bool, CredentialProblem> {
        match self.text(field)?.as_str() {
            "" | "false" | "False" | "FALSE" | "0" | "f" | "F" => Ok(false),
            "true" | "True" | "TRUE" | "1" | "t" | "T" => Ok(true),
            other => Err(self.problem(field, format!("must be true or false, found `{other}`"))),
        }
    }

    fn auth(&self) -> Result<(Auth, Option<String>), CredentialProblem> {
        let (username, password) = (self.line("username")?, self.line("password")?);
        let (bearer, key) = (self.line("bearerToken")?, self.text("sshPrivateKey")?);
        if !key.is_empty() {
            return Ok((Auth::SshKey(Hidden::new(key)), None));
        }
        if !bearer.is_empty() {
            return Ok((Auth::Bearer(Hidden::new(bearer)), None));
        }
        if !password.is_empty() || !username.is_empty() {
            let proactive = self.flag("forceHttpBasicAuth")?;
            let password = Hidden::new(password);
            return Ok((
                Auth::Basic {
                    username,
                    password,
                    proactive,
                },
                None,
            ));
        }
        let unsupported = UNSUPPORTED_KEYS.into_iter().find(|key| self.data.contains_key(*key));
        let unusable = unsupported.map(|key| {
            format!(
                "Secret {}: {key} is not supported yet (username and password, bearerToken or sshPrivateKey are)",
                self.secret
            )
        });
        Ok((Auth::Anonymous, unusable))
    }
}

/// All repository Secrets, ready to be asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CredentialSet(Vec<RepositoryCredentials>);

impl CredentialSet {
    /// Later entries win over earlier ones for the same address.
    pub fn new(credentials: Vec<RepositoryCredentials>) -> Self {
        Self(credentials)
    }

    /// The credentials for an address in a project: its own Secret if that authenticates, else the longest matching
    /// prefix, else its own Secret after all (which may say `insecure` or name a proxy). Of two that fit as well, the
    /// project's own wins; Secrets of other projects do not exist here.
    pub fn find(&self, url: &RepoUrl, project: &str) -> Option<&RepositoryCredentials> {
        let key = url.credential_key();
        let applicable = || {
            self.0
                .iter()
                .filter(|entry| entry.project.is_empty() || entry.project == project)
        };
        let own = applicable()
            .filter(|entry| entry.scope == CredentialScope::Repository && entry.key == key)
            .max_by_key(|entry| !entry.project.is_empty());
        if own.is_some_and(RepositoryCredentials::authenticates) {
            return own;
        }
        // The key starts with transport, host and port and a slash, so a prefix never reaches into another host.
        let prefix = applicable()
            .filter(|entry| entry.scope == CredentialScope::Prefix && key.starts_with(&entry.key))
            .max_by_key(|entry| (entry.key.len(), !entry.project.is_empty()));
        prefix.or(own)
    }

    /// Whose clone of an address an application of `project` uses: the project's, where a Secret of its own opens the
    /// repository, else (empty) the one of all.
    pub fn owner<'a>(&self, url: &RepoUrl, project: &'a str) -> &'a str {
        match self.find(url, project) {
            Some(found) if !found.project.is_empty() => project,
            Some(_) | None => "",
        }
    }
}

#[cfg(test)]
mod tests;
