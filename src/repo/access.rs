//! How credentials reach git: through the environment of one call and private files that live as long as the call,
//! never through arguments, the clone's configuration or a user's home.

use super::{
    credentials::{Auth, RepositoryCredentials},
    url::{Hidden, RepoUrl, Scheme},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use std::{
    collections::BTreeMap,
    fs::{OpenOptions, Permissions},
    io::{Result, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// Answers git's question for user and password from the call's environment. The text itself holds no secret.
const CREDENTIAL_HELPER: &str = concat!(
    "!f() { test \"$1\" = get || exit 0; ",
    "printf 'username=%s\\npassword=%s\\n' \"$TIDEGATE_GIT_USERNAME\" \"$TIDEGATE_GIT_PASSWORD\"; }; f"
);

/// User name for tokens without one; servers that take tokens ignore it.
const TOKEN_USERNAME: &str = "x-access-token";

/// Certificates and host keys that are trusted (reference, applications 7.3).
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Trust {
    /// CA certificates (PEM) by host name, from `argocd-tls-certs-cm`; they replace the system's for that host.
    pub tls_certificates: BTreeMap<String, String>,
    /// Known host keys in OpenSSH's form, from `argocd-ssh-known-hosts-cm` key `ssh_known_hosts`.
    pub ssh_known_hosts: String,
}

/// The part of a git call that depends on who asks whom.
#[derive(Debug, Default)]
pub(crate) struct Access {
    /// Git configuration, handed over in the environment.
    pub(crate) config: Vec<(String, String)>,
    /// Further variables.
    pub(crate) environment: Vec<(String, Hidden)>,
    /// Texts to remove from everything git says.
    pub(crate) secrets: Vec<String>,
    /// `namespace/name` of the Secret whose credentials are used.
    pub(crate) secret: Option<String>,
    /// Private files, removed when the call is over.
    files: Option<TempDir>,
}

impl Access {
    /// Everything a call to `url` needs. Files are made below `private`, a directory only we can read.
    pub(crate) fn prepare(
        url: &RepoUrl,
        credentials: Option<&RepositoryCredentials>,
        trust: &Trust,
        private: &Path,
    ) -> Result<Self> {
        let mut access = Self {
            secret: credentials.map(|credentials| credentials.secret.clone()),
            ..Self::default()
        };
        access.set("remote.origin.url", url.for_git());
        let insecure = credentials.is_some_and(|credentials| credentials.insecure);
        match url.scheme {
            Scheme::Https | Scheme::Http => access.prepare_http(url, credentials, trust, private, insecure)?,
            Scheme::Ssh => access.prepare_ssh(credentials, trust, private, insecure)?,
            Scheme::File => {}
        }
        Ok(access)
    }

    fn set(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.config.push((key.into(), value.into()));
    }

    fn hide(&mut self, name: &str, secret: &str) {
        self.secrets.push(secret.to_owned());
        self.environment.push((name.to_owned(), Hidden::new(secret)));
    }

    fn prepare_http(
        &mut self,
        url: &RepoUrl,
        credentials: Option<&RepositoryCredentials>,
        trust: &Trust,
        private: &Path,
        insecure: bool,
    ) -> Result<()> {
        let auth = http_auth(url, credentials);
        // Servers redirect `/org/repo` to `/org/repo.git`, and renamed repositories. The credential helper below is for
        // this origin alone, but a header would follow a redirect to any host, so then redirects are refused.
        let follow = match &auth {
            Auth::Bearer(_) | Auth::Basic { proactive: true, .. } => "false",
            Auth::Anonymous | Auth::Basic { .. } | Auth::SshKey(_) => "initial",
        };
        self.set("http.followRedirects", follow);
        match auth {
            Auth::Basic {
                username,
                password,
                proactive,
            } => {
                let username = if username.is_empty() {
                    TOKEN_USERNAME.to_owned()
                } else {
                    username
                };
                if proactive {
                    let pair = BASE64_STANDARD.encode(format!("{username}:{}", password.reveal()));
                    self.header(url, "Basic", &pair);
                    self.secrets.push(password.reveal().to_owned());
                } else {
                    let key = format!("credential.{}.helper", url.origin());
                    self.set(key, CREDENTIAL_HELPER);
                    self.environment
                        .push(("TIDEGATE_GIT_USERNAME".to_owned(), Hidden::new(username)));
                    self.hide("TIDEGATE_GIT_PASSWORD", password.reveal());
                }
            }
            Auth::Bearer(token) => self.header(url, "Bearer", token.reveal()),
            Auth::Anonymous | Auth::SshKey(_) => {}
        }
        if insecure {
            self.set("http.sslVerify", "false");
        } else if let Some(pem) = trust.tls_certificates.get(&url.host) {
            let path = self.file(private, "ca.pem", pem)?;
            self.set("http.sslCAInfo", path.to_string_lossy());
        }
        let Some(credentials) = credentials else { return Ok(()) };
        if let Some((certificate, key)) = &credentials.tls_client {
            let certificate = self.file(private, "client.pem", certificate.reveal())?;
            let key = self.file(private, "client.key", key.reveal())?;
            self.set("http.sslCert", certificate.to_string_lossy());
            self.set("http.sslKey", key.to_string_lossy());
        }
        if !credentials.proxy.is_empty() {
            self.secrets.push(credentials.proxy.reveal().to_owned());
            self.set("http.proxy", credentials.proxy.reveal());
        }
        if !credentials.no_proxy.is_empty() {
            for name in ["no_proxy", "NO_PROXY"] {
                self.environment
                    .push((name.to_owned(), Hidden::new(credentials.no_proxy.as_str())));
            }
        }
        Ok(())
    }

    fn header(&mut self, url: &RepoUrl, kind: &str, value: &str) {
        self.secrets.push(value.to_owned());
        self.set(
            format!("http.{}/.extraHeader", url.origin()),
            format!("Authorization: {kind} {value}"),
        );
    }

    fn prepare_ssh(
        &mut self,
        credentials: Option<&RepositoryCredentials>,
        trust: &Trust,
        private: &Path,
        insecure: bool,
    ) -> Result<()> {
        let mut command =
            "ssh -F /dev/null -o BatchMode=yes -o ConnectTimeout=10 -o GlobalKnownHostsFile=/dev/null".to_owned();
        if insecure {
            command.push_str(" -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null");
        } else {
            let known_hosts = self.file(private, "known_hosts", &trust.ssh_known_hosts)?;
            command.push_str(" -o StrictHostKeyChecking=yes -o UserKnownHostsFile=");
            command.push_str(&quoted(&known_hosts));
        }
        if let Some(Auth::SshKey(key)) = credentials.map(|credentials| &credentials.auth) {
            // OpenSSH refuses a key without the final line break, which is easily lost in a Secret.
            let key = self.file(private, "identity", &format!("{}\n", key.reveal()))?;
            command.push_str(" -o IdentitiesOnly=yes -o IdentityAgent=none -i ");
            command.push_str(&quoted(&key));
        }
        self.environment
            .push(("GIT_SSH_COMMAND".to_owned(), Hidden::new(command)));
        self.environment
            .push(("GIT_SSH_VARIANT".to_owned(), Hidden::new("ssh")));
        Ok(())
    }

    /// Writes a file that only we can read.
    fn file(&mut self, private: &Path, name: &str, content: &str) -> Result<PathBuf> {
        if self.files.is_none() {
            let folder = tempfile::Builder::new()
                .permissions(Permissions::from_mode(0o700))
                .tempdir_in(private)?;
            self.files = Some(folder);
        }
        let folder = self.files.as_ref().map(TempDir::path).unwrap_or(private);
        let path = folder.join(name);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        file.write_all(content.as_bytes())?;
        Ok(path)
    }
}

/// What the Secret says, else what the address itself holds.
fn http_auth(url: &RepoUrl, credentials: Option<&RepositoryCredentials>) -> Auth {
    let auth = credentials
        .map(|credentials| credentials.auth.clone())
        .unwrap_or_default();
    match auth {
        Auth::Anonymous if !url.password.is_empty() || !url.user.is_empty() => Auth::Basic {
            username: url.user.clone(),
            password: url.password.clone(),
            proactive: false,
        },
        other => other,
    }
}

/// A path as one word of the shell by which git starts ssh.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn credentials(data: serde_json::Value) -> RepositoryCredentials {
        let secret = serde_json::from_value(json!({
            "metadata": {"namespace": "argocd", "name": "creds", "labels": {"argocd.argoproj.io/secret-type": "repository"}},
            "stringData": data,
        }))
        .unwrap();
        RepositoryCredentials::parse(&secret, false).unwrap().unwrap()
    }

    fn prepare(url: &str, data: serde_json::Value, private: &Path) -> Access {
        let mut data = data;
        data["url"] = json!(url);
        let url = RepoUrl::parse(url, false).unwrap();
        let trust = Trust {
            ssh_known_hosts: "host ssh-ed25519 AAAA\n".to_owned(),
            ..Trust::default()
        };
        Access::prepare(&url, Some(&credentials(data)), &trust, private).unwrap()
    }

    fn variable(access: &Access, name: &str) -> String {
        let found = access.environment.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.reveal().to_owned()).unwrap_or_default()
    }

    #[test]
    fn ssh_known_hosts_enforced() {
        let private = tempfile::tempdir().unwrap();
        let access = prepare("git@host:a/b", json!({"sshPrivateKey": "KEY"}), private.path());
        let command = variable(&access, "GIT_SSH_COMMAND");
        assert!(
            command.contains("StrictHostKeyChecking=yes") && command.contains("-F /dev/null"),
            "{command}"
        );
        let files = access.files.as_ref().unwrap().path();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(
            (
                mode(files),
                mode(&files.join("identity")),
                mode(&files.join("known_hosts"))
            ),
            (0o700, 0o600, 0o600)
        );
        assert_eq!(std::fs::read_to_string(files.join("identity")).unwrap(), "KEY\n");
        assert_eq!(
            std::fs::read_to_string(files.join("known_hosts")).unwrap(),
            "host ssh-ed25519 AAAA\n"
        );
        let files = files.to_owned();
        drop(access);
        assert!(!files.exists(), "a key does not outlive its call");
        let access = prepare("git@host:a/b", json!({"insecureIgnoreHostKey": "true"}), private.path());
        assert!(variable(&access, "GIT_SSH_COMMAND").contains("StrictHostKeyChecking=no"));
    }

    #[test]
    fn tls_verify_not_skippable_by_default() {
        let private = tempfile::tempdir().unwrap();
        let verify = |data| {
            let access = prepare("https://host/a", data, private.path());
            access
                .config
                .into_iter()
                .find(|(key, _)| key == "http.sslVerify")
                .map(|(_, value)| value)
        };
        assert_eq!(verify(json!({"username": "u", "password": "p"})), None);
        assert_eq!(verify(json!({"insecure": "true"})).as_deref(), Some("false"));
    }

    #[test]
    fn a_header_never_follows_a_redirect() {
        let private = tempfile::tempdir().unwrap();
        for (data, follow) in [
            (json!({"bearerToken": "t"}), "false"),
            (
                json!({"username": "u", "password": "p", "forceHttpBasicAuth": "true"}),
                "false",
            ),
            (json!({"username": "u", "password": "p"}), "initial"),
            (json!({}), "initial"),
        ] {
            let access = prepare("https://host:8443/a", data.clone(), private.path());
            assert!(
                access
                    .config
                    .contains(&("http.followRedirects".to_owned(), follow.to_owned())),
                "{data}"
            );
            let scoped = access
                .config
                .iter()
                .filter(|(key, _)| key.contains("Header") || key.contains("helper"));
            assert!(
                scoped.into_iter().all(|(key, _)| key.contains(".https://host:8443")),
                "{:?}",
                access.config
            );
        }
    }
}
