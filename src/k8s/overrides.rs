//! kubectl's flags that stand in for parts of the kubeconfig: which cluster and user of it, and what is other than it
//! says (reference, rollouts 8: "kubectl config flags"). What a flag displaces is what it displaces for kubectl.

use clap::Args;
use kube::{
    Config,
    config::{AuthInfo, Cluster, Context, KubeConfigOptions, Kubeconfig, NamedCluster, NamedContext},
};
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::lang::duration;

/// Heading of these flags in the help.
const HEADING: &str = "Cluster and user, as with kubectl";

/// The flags. All absent: everything is as the kubeconfig says.
#[derive(Args, Clone, Debug, Default)]
pub struct Overrides {
    /// Cluster of the kubeconfig; absent: that of the context.
    #[arg(long, global = true, value_name = "CLUSTER", help_heading = HEADING)]
    pub cluster: Option<String>,
    /// User of the kubeconfig; absent: that of the context.
    #[arg(long, global = true, value_name = "USER", help_heading = HEADING)]
    pub user: Option<String>,
    /// Address of the API server, for instance `https://127.0.0.1:6443`.
    #[arg(short, long, global = true, value_name = "URL", help_heading = HEADING)]
    pub server: Option<String>,
    /// Name that the server's certificate must be for; absent: that in the address.
    #[arg(long, global = true, value_name = "HOST", help_heading = HEADING)]
    pub tls_server_name: Option<String>,
    /// Do not check the server's certificate, which makes the connection insecure.
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_name = "BOOL", hide_possible_values = true, help_heading = HEADING)]
    pub insecure_skip_tls_verify: Option<bool>,
    /// File with the certificates of the authority that signed the server's.
    #[arg(long, global = true, value_name = "FILE", help_heading = HEADING)]
    pub certificate_authority: Option<PathBuf>,
    /// File with the client's certificate.
    #[arg(long, global = true, value_name = "FILE", help_heading = HEADING)]
    pub client_certificate: Option<PathBuf>,
    /// File with the key of the client's certificate.
    #[arg(long, global = true, value_name = "FILE", help_heading = HEADING)]
    pub client_key: Option<PathBuf>,
    /// Bearer token.
    #[arg(long, global = true, value_name = "TOKEN", help_heading = HEADING)]
    pub token: Option<Unshown>,
    /// User name for basic authentication.
    #[arg(long, global = true, value_name = "NAME", help_heading = HEADING)]
    pub username: Option<String>,
    /// Password for basic authentication.
    #[arg(long, global = true, value_name = "PASSWORD", help_heading = HEADING)]
    pub password: Option<Unshown>,
    /// Act as this user or service account.
    #[arg(long = "as", global = true, value_name = "NAME", help_heading = HEADING)]
    pub as_user: Option<String>,
    /// Act as a member of this group, together with --as; may be repeated.
    #[arg(long, global = true, value_name = "GROUP", help_heading = HEADING)]
    pub as_group: Vec<String>,
    /// Act as this uid, together with --as.
    #[arg(long, global = true, value_name = "UID", help_heading = HEADING)]
    pub as_uid: Option<String>,
    /// Time a single request may take, for instance `5`, `30s` or `2m`; 0: any.
    #[arg(long, global = true, value_name = "DURATION", value_parser = timeout, help_heading = HEADING)]
    pub request_timeout: Option<Duration>,
    /// Do not ask for compressed answers.
    #[arg(long, global = true, num_args = 0..=1, require_equals = true, default_missing_value = "true",
        value_name = "BOOL", hide_possible_values = true, help_heading = HEADING)]
    pub disable_compression: Option<bool>,
    /// Accepted for scripts; nothing is cached on disk.
    #[arg(long, global = true, hide = true, value_name = "FOLDER")]
    pub cache_dir: Option<PathBuf>,
}

/// A text that no log shows.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Unshown(String);

impl From<&str> for Unshown {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Unshown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// A flag whose value cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{flag}: {problem}")]
pub struct FlagError {
    /// The flag, with its hyphens.
    pub flag: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

fn wrong(flag: &'static str, problem: impl Into<String>) -> FlagError {
    FlagError {
        flag,
        problem: problem.into(),
    }
}

impl Overrides {
    /// Takes the value of the flag whose field has this name, as text; for a line that is still being typed. A value that
    /// cannot be read is left out.
    pub fn note(&mut self, field: &str, value: &str) {
        let text = || Some(value.to_owned());
        match field {
            "cluster" => self.cluster = text(),
            "user" => self.user = text(),
            "server" => self.server = text(),
            "tls_server_name" => self.tls_server_name = text(),
            "insecure_skip_tls_verify" => self.insecure_skip_tls_verify = value.parse().ok(),
            "certificate_authority" => self.certificate_authority = Some(value.into()),
            "client_certificate" => self.client_certificate = Some(value.into()),
            "client_key" => self.client_key = Some(value.into()),
            "token" => self.token = Some(value.into()),
            "username" => self.username = text(),
            "password" => self.password = Some(value.into()),
            "as_user" => self.as_user = text(),
            "as_group" => self.as_group.push(value.to_owned()),
            "as_uid" => self.as_uid = text(),
            "request_timeout" => self.request_timeout = timeout(value).ok(),
            "disable_compression" => self.disable_compression = value.parse().ok(),
            _ => {}
        }
    }

    /// Whether the kubeconfig is to be read for something that only it has: not when the pod's service account would do.
    pub fn need_kubeconfig(&self) -> bool {
        self.cluster.is_some() || self.user.is_some() || self.server.is_some()
    }

    /// What to take from the kubeconfig.
    pub fn names(&self, context: Option<&str>) -> KubeConfigOptions {
        KubeConfigOptions {
            context: context.map(str::to_owned),
            cluster: self.cluster.clone(),
            user: self.user.clone(),
        }
    }

    /// Adds what the kubeconfig need not have because flags say it: a current context, and the cluster it names.
    ///
    /// # Errors
    /// When `--user` names nobody in it.
    pub fn complete(&self, kubeconfig: &mut Kubeconfig, context: Option<&str>) -> Result<(), FlagError> {
        if let Some(user) = &self.user
            && !kubeconfig.auth_infos.iter().any(|known| known.name == *user)
        {
            return Err(wrong("--user", format!("the kubeconfig has no user {user:?}")));
        }
        let current = kubeconfig.current_context.as_deref().unwrap_or_default();
        if context.is_some() || !current.is_empty() || !self.need_kubeconfig() {
            return Ok(());
        }
        kubeconfig.current_context = Some(String::new());
        kubeconfig.contexts.push(NamedContext {
            context: Some(Context::default()),
            ..NamedContext::default()
        });
        if self.server.is_some() && self.cluster.is_none() {
            kubeconfig.clusters.push(NamedCluster {
                cluster: Some(Cluster {
                    server: Some(self.address(false)),
                    ..Cluster::default()
                }),
                ..NamedCluster::default()
            });
        }
        Ok(())
    }

    /// Puts what the flags say into a configuration.
    ///
    /// # Errors
    /// When a value cannot be read, or flags contradict one another.
    pub fn apply(&self, config: &mut Config) -> Result<(), FlagError> {
        self.apply_trust(config)?;
        self.apply_server(config)?;
        self.apply_user(&mut config.auth_info)?;
        if let Some(timeout) = self.request_timeout.filter(|timeout| !timeout.is_zero()) {
            config.connect_timeout = Some(config.connect_timeout.map_or(timeout, |own| own.min(timeout)));
            (config.read_timeout, config.write_timeout) = (Some(timeout), Some(timeout));
            // Else the time a connection waited for its next request would count.
            config.reset_reader_on_write = true;
        }
        if let Some(disable) = self.disable_compression {
            config.disable_compression = disable;
        }
        Ok(())
    }

    fn apply_trust(&self, config: &mut Config) -> Result<(), FlagError> {
        let is_insecure = self.insecure_skip_tls_verify == Some(true);
        if let Some(file) = &self.certificate_authority {
            if is_insecure {
                let problem = "not together with --insecure-skip-tls-verify, which checks no certificate";
                return Err(wrong("--certificate-authority", problem));
            }
            config.root_cert = Some(certificates(file)?);
        } else if is_insecure {
            config.root_cert = None;
        } else {
            return Ok(());
        }
        config.root_cert_file = None;
        config.accept_invalid_certs = is_insecure;
        Ok(())
    }

    fn apply_server(&self, config: &mut Config) -> Result<(), FlagError> {
        if self.server.is_some() {
            let is_secure = config.accept_invalid_certs
                || config.root_cert.is_some()
                || config.auth_info.client_certificate.is_some()
                || config.auth_info.client_certificate_data.is_some();
            let address = self.address(is_secure);
            let parsed = address.parse();
            config.cluster_url = parsed.map_err(|error| wrong("--server", format!("{address:?}: {error}")))?;
            if config.cluster_url.host().is_none() {
                return Err(wrong("--server", format!("expected an address, found {address:?}")));
            }
        }
        // The name of another server is no name of this one.
        if self.server.is_some() || self.tls_server_name.is_some() {
            config.tls_server_name.clone_from(&self.tls_server_name);
        }
        Ok(())
    }

    /// The address of the server, with a scheme.
    fn address(&self, is_secure: bool) -> String {
        let server = self.server.as_deref().unwrap_or_default();
        let is_secure = is_secure || self.client_certificate.is_some() || self.certificate_authority.is_some();
        match (server.contains("://"), is_secure) {
            (true, _) => server.to_owned(),
            (false, true) => format!("https://{server}"),
            (false, false) => format!("http://{server}"),
        }
    }

    fn apply_user(&self, user: &mut AuthInfo) -> Result<(), FlagError> {
        if self.token.is_some() && self.username.is_some() {
            return Err(wrong(
                "--token",
                "not together with --username, there is one way to log in",
            ));
        }
        if self.token.is_some() || self.username.is_some() {
            (user.token, user.token_file) = (None, None);
            (user.auth_provider, user.exec) = (None, None);
        }
        if let Some(Unshown(token)) = &self.token {
            (user.username, user.password) = (None, None);
            user.token = Some(token.clone().into());
        }
        if let Some(name) = &self.username {
            user.username = Some(name.clone());
        }
        if let Some(Unshown(password)) = &self.password {
            user.password = Some(password.clone().into());
        }
        if let Some(file) = &self.client_certificate {
            user.client_certificate = Some(file.display().to_string());
            user.client_certificate_data = None;
        }
        if let Some(file) = &self.client_key {
            user.client_key = Some(file.display().to_string());
            user.client_key_data = None;
        }
        if let Some(name) = &self.as_user {
            user.impersonate = Some(name.clone());
        }
        if let Some(uid) = &self.as_uid {
            user.impersonate_uid = Some(uid.clone());
        }
        if !self.as_group.is_empty() {
            user.impersonate_groups = Some(self.as_group.clone());
        }
        let alone = [
            ("--as-uid", self.as_uid.is_some()),
            ("--as-group", !self.as_group.is_empty()),
        ];
        match alone.into_iter().find(|(_, given)| *given) {
            Some((flag, _)) if user.impersonate.is_none() => Err(wrong(flag, "--as is missing")),
            _ => Ok(()),
        }
    }
}

/// The certificates in a file.
fn certificates(file: &Path) -> Result<Vec<Vec<u8>>, FlagError> {
    const FLAG: &str = "--certificate-authority";
    let unreadable = |error: &dyn fmt::Display| wrong(FLAG, format!("{}: {error}", file.display()));
    let read = CertificateDer::pem_file_iter(file).map_err(|error| unreadable(&error))?;
    let read: Result<Vec<_>, _> = read.collect();
    let read = read.map_err(|error| unreadable(&error))?;
    match read.is_empty() {
        true => Err(unreadable(&"it holds no certificate")),
        false => Ok(read.iter().map(|certificate| certificate.as_ref().to_vec()).collect()),
    }
}

/// kubectl's form of a timeout: seconds, or a duration with units.
fn timeout(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(Duration::from_secs(seconds));
    }
    let duration = duration::parse(text).map_err(|error| error.to_string())?;
    Duration::try_from(duration).map_err(|_| format!("expected a positive duration, found `{text}`"))
}

#[cfg(test)]
mod tests;
