//! Repository addresses: which are allowed, how two spellings are compared, and how one is shown without its secrets.
//!
//! Git reads more things as addresses than are safe (`ext::sh -c …`, `--upload-pack=…`, local paths), so only the forms
//! named here reach it.

use std::fmt;
use thiserror::Error;

/// Longer addresses are a mistake. In bytes.
const URL_BYTES_MAX: usize = 2048;

/// An address as it may be shown: user, password, query and fragment are gone.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd, serde::Serialize)]
pub struct RedactedUrl(String);

impl RedactedUrl {
    /// Redacts any text that somebody gave as an address, valid or not.
    pub fn of(text: &str) -> Self {
        let text: String = text.chars().filter(|c| !c.is_control()).take(URL_BYTES_MAX).collect();
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) => (format!("{scheme}://"), rest),
            None => (String::new(), text.as_str()),
        };
        let rest = rest.split(['?', '#']).next().unwrap_or_default();
        // A password may hold a slash when it was not encoded, so everything up to the last `@` of what could still be
        // the authority goes; a path with `@` loses a part of its text, which is the safe side.
        let rest = rest.rsplit_once('@').map_or(rest, |(_, behind)| behind);
        Self(scheme + rest)
    }
}

impl fmt::Display for RedactedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RedactedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// A text that must not be shown.
#[derive(Clone, Default, Eq, Hash, PartialEq)]
pub struct Hidden(String);

impl Hidden {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself, for the one place that hands it on.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "\"\"" } else { "<hidden>" })
    }
}

/// Transports that may be used.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Scheme {
    /// `https://`
    Https,
    /// `http://`, for test and in-cluster servers.
    Http,
    /// `ssh://` and `user@host:path`.
    Ssh,
    /// `file://`, only where explicitly allowed: a path on the controller's own disk is no business of a user.
    File,
}

impl Scheme {
    /// As written before `://`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Https => "https",
            Self::Http => "http",
            Self::Ssh => "ssh",
            Self::File => "file",
        }
    }

    fn default_port(self) -> Option<u16> {
        match self {
            Self::Https => Some(443),
            Self::Http => Some(80),
            Self::Ssh => Some(22),
            Self::File => None,
        }
    }
}

/// A checked repository address (`repoURL`, Secret key `url`).
#[derive(Clone, Debug)]
pub struct RepoUrl {
    /// Transport.
    pub scheme: Scheme,
    /// User in the address; for ssh it is a part of the address, for https a credential.
    pub user: String,
    /// Password in the address.
    pub password: Hidden,
    /// Lower-case host name.
    pub host: String,
    /// Port, absent when it is the scheme's own.
    pub port: Option<u16>,
    /// Path as written, without a leading slash.
    pub path: String,
    /// What git is given: without user and password for http and https.
    git: String,
}

/// Why a text is not an address that may be used.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[error("invalid repository URL `{url}`: {reason}")]
pub struct UrlError {
    /// The text, redacted.
    pub url: RedactedUrl,
    /// What is wrong with it.
    pub reason: &'static str,
}

impl RepoUrl {
    /// Checks an address. `allow_file` is for tests and demos.
    pub fn parse(text: &str, allow_file: bool) -> Result<Self, UrlError> {
        parse(text.trim(), allow_file).map_err(|reason| UrlError {
            url: RedactedUrl::of(text.trim()),
            reason,
        })
    }

    /// As it may be shown.
    pub fn redacted(&self) -> RedactedUrl {
        RedactedUrl::of(&self.git)
    }

    /// What git is given; holds no password, and no user unless the transport is ssh.
    pub(crate) fn for_git(&self) -> &str {
        &self.git
    }

    /// `scheme://host[:port]`, the scope of a credential.
    pub(crate) fn origin(&self) -> String {
        format!("{}://{}", self.scheme.as_str(), self.authority())
    }

    /// Two addresses with equal identity are one clone. Exact in everything a server may distinguish, credentials in
    /// the address included: nobody reads through the clone of somebody who may see more.
    pub(crate) fn identity(&self) -> String {
        let userinfo = match self.password.is_empty() && self.user.is_empty() {
            true => String::new(),
            false => format!("{}:{}@", self.user, self.password.reveal()),
        };
        format!(
            "{}://{userinfo}{}/{}",
            self.scheme.as_str(),
            self.authority(),
            self.path.trim_end_matches('/')
        )
    }

    /// Key under which repository Secrets are compared: transport, host, port and path, without case, `.git`, user or
    /// trailing slash.
    pub(crate) fn credential_key(&self) -> String {
        format!("{}/{}", self.origin(), bare_path(&self.path).to_lowercase())
    }

    /// Key under which the addresses of a push event are compared: as `credential_key`, and without the transport and
    /// port, since servers list the https and the ssh address and may not know their own port.
    pub fn loose_key(&self) -> String {
        format!("{}/{}", self.host, bare_path(&self.path).to_lowercase())
    }

    fn authority(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.clone(),
        }
    }
}

/// A path without leading and trailing slashes and `.git`.
fn bare_path(path: &str) -> &str {
    let path = path.trim_matches('/');
    path.strip_suffix(".git").unwrap_or(path).trim_end_matches('/')
}

fn parse(text: &str, allow_file: bool) -> Result<RepoUrl, &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    if text.len() > URL_BYTES_MAX {
        return Err("it is too long");
    }
    if text.starts_with('-') {
        return Err("it starts with `-`");
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("it contains white space or control characters");
    }
    match text.split_once("://") {
        Some((scheme, _)) if scheme.contains(':') => Err("transport helpers (`name::address`) are not allowed"),
        Some((scheme, rest)) => parse_with_scheme(text, scheme, rest, allow_file),
        None if text.contains("::") => Err("transport helpers (`name::address`) are not allowed"),
        None => parse_scp(text),
    }
}

fn parse_with_scheme(text: &str, scheme: &str, rest: &str, allow_file: bool) -> Result<RepoUrl, &'static str> {
    let scheme = match scheme.to_ascii_lowercase().as_str() {
        "https" => Scheme::Https,
        "http" => Scheme::Http,
        "ssh" => Scheme::Ssh,
        "file" if allow_file => Scheme::File,
        "file" => return Err("local repositories (`file://`) are not allowed"),
        _ => return Err("the scheme must be https, http or ssh"),
    };
    if scheme == Scheme::File {
        return file_url(rest);
    }
    let url = url::Url::parse(text).map_err(|_| "it cannot be parsed")?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err("query and fragment are not allowed");
    }
    let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
    if host.is_empty() || host.starts_with('-') {
        return Err("the host is missing or starts with `-`");
    }
    let user = decode(url.username())?;
    if user.starts_with('-') {
        return Err("the user starts with `-`");
    }
    let password = Hidden::new(decode(url.password().unwrap_or_default())?);
    let mut git = url.clone();
    // These fail only for addresses without a host, which were refused above.
    let _ = git.set_password(None);
    if scheme != Scheme::Ssh {
        let _ = git.set_username("");
    }
    Ok(RepoUrl {
        scheme,
        user,
        password,
        host,
        port: url.port().filter(|port| Some(*port) != scheme.default_port()),
        path: checked_path(url.path().trim_start_matches('/'))?.to_owned(),
        git: git.to_string(),
    })
}

fn file_url(rest: &str) -> Result<RepoUrl, &'static str> {
    let Some(path) = rest.strip_prefix('/') else {
        return Err("a local repository is `file:///path`");
    };
    Ok(RepoUrl {
        scheme: Scheme::File,
        user: String::new(),
        password: Hidden::default(),
        host: String::new(),
        port: None,
        path: path.to_owned(),
        git: format!("file:///{path}"),
    })
}

/// `[user@]host:path`.
fn parse_scp(text: &str) -> Result<RepoUrl, &'static str> {
    let Some((authority, path)) = text.split_once(':') else {
        return Err("it is neither `https://…`, `ssh://…` nor `user@host:path`");
    };
    let (user, host) = authority.split_once('@').unwrap_or(("", authority));
    let is_name = |name: &str| {
        !name.starts_with('-')
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
    };
    if host.is_empty() || !is_name(host) || !is_name(user) {
        return Err("it is neither `https://…`, `ssh://…` nor `user@host:path`");
    }
    let path = checked_path(path)?;
    Ok(RepoUrl {
        scheme: Scheme::Ssh,
        user: user.to_owned(),
        password: Hidden::default(),
        host: host.to_ascii_lowercase(),
        port: None,
        path: path.trim_start_matches('/').to_owned(),
        git: text.to_owned(),
    })
}

fn checked_path(path: &str) -> Result<&str, &'static str> {
    if bare_path(path).is_empty() {
        return Err("the path is missing");
    }
    if path.starts_with('-') {
        return Err("the path starts with `-`");
    }
    Ok(path)
}

/// Percent-decodes user or password; control characters would break the protocol by which git asks for them.
fn decode(text: &str) -> Result<String, &'static str> {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while let Some(&byte) = bytes.get(index) {
        let digits = bytes
            .get(index + 1..index + 3)
            .and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(value) if byte == b'%' => {
                decoded.push(value);
                index += 3;
            }
            _ => {
                decoded.push(byte);
                index += 1;
            }
        }
    }
    let decoded = String::from_utf8(decoded).map_err(|_| "user or password is not UTF-8")?;
    match decoded.chars().any(char::is_control) {
        true => Err("user or password contains control characters"),
        false => Ok(decoded),
    }
}

/// The loose key of any address, for comparing what a push event names with what applications name.
pub fn loose_key(text: &str) -> Option<String> {
    RepoUrl::parse(text, true).ok().map(|url| url.loose_key())
}

#[cfg(test)]
mod tests;
