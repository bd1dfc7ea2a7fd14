//! AWS for providers: credentials from where AWS' own tools look for them, and signatures (version 4) over requests.
//!
//! Credentials come, in this order, from the profile that is named, the variables `AWS_ACCESS_KEY_ID` and
//! `AWS_SECRET_ACCESS_KEY`, a web identity (IAM roles for service accounts), the container's agent (EKS Pod Identity), and
//! the profile of `AWS_PROFILE` or `default`. A role is then assumed with them when one is named. The machine's own
//! metadata service is not asked: on a shared node it is not ours.

mod profile;
mod signature;

use super::{
    environment::Environment,
    http::{HttpError, Transport},
};
use crate::{api::analysis::Sigv4Config, clock::SharedClock};
use jiff::{SignedDuration, Timestamp};
use reqwest::{Request, header::AUTHORIZATION};
use serde::Deserialize;
use signature::signed;
use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

/// Time for one request for credentials.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Time all requests of a measurement for credentials take at most: a web identity, and a role assumed with it.
pub const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(30);
/// Credentials are not used in their last minutes: the request they sign must arrive in time, by AWS' clock.
const EXPIRY_MARGIN: SignedDuration = SignedDuration::from_mins(5);
/// Credentials kept; beyond that expired ones go, and then all.
const KEPT_MAX: usize = 256;
/// Versions of the API of the security token service.
const STS_VERSION: &str = "2011-06-15";
/// Name of our sessions in AWS' logs, unless `AWS_ROLE_SESSION_NAME` says otherwise.
const SESSION_NAME: &str = "tidegate";

/// Who signs, as a metric says it; each may be empty (`authentication.sigv4`).
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Account {
    /// Region; empty means the process' own.
    pub region: String,
    /// Profile in AWS' files.
    pub profile: String,
    /// Role to assume.
    pub role_arn: String,
}

impl From<&Sigv4Config> for Account {
    fn from(config: &Sigv4Config) -> Self {
        let Sigv4Config {
            region,
            profile,
            role_arn,
        } = config.clone();
        Self {
            region,
            profile,
            role_arn,
        }
    }
}

/// A key, its secret, and until when they hold.
#[derive(Clone, Eq, PartialEq)]
struct Credentials {
    access_key_id: String,
    secret_access_key: String,
    session_token: Option<String>,
    expires_at: Option<Timestamp>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("access_key_id", &self.access_key_id)
            .finish_non_exhaustive()
    }
}

/// AWS' accounts as this process knows them. Cloning shares credentials.
#[derive(Clone)]
pub struct Aws {
    transport: Transport,
    environment: Environment,
    clock: SharedClock,
    kept: Arc<Mutex<HashMap<Account, Credentials>>>,
}

impl fmt::Debug for Aws {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aws")
            .field("environment", &self.environment)
            .finish_non_exhaustive()
    }
}

impl Aws {
    /// No credentials yet.
    pub fn new(transport: Transport, environment: Environment, clock: SharedClock) -> Self {
        Self {
            transport,
            environment,
            clock,
            kept: Arc::default(),
        }
    }

    /// The region a metric names, or the process' own.
    pub fn region(&self, written: &str) -> Result<String, String> {
        let own = || {
            self.environment
                .get("AWS_REGION")
                .or(self.environment.get("AWS_DEFAULT_REGION"))
        };
        let region = Some(written).filter(|region| !region.is_empty()).or_else(own);
        let region = region.ok_or("no AWS region: neither region nor AWS_REGION is set")?;
        let is_name = |character: char| character.is_ascii_alphanumeric() || character == '-';
        match region.chars().all(is_name) {
            true => Ok(region.to_owned()),
            // It becomes part of a host name.
            false => Err(format!("AWS region {region:?} is not valid")),
        }
    }

    /// Where a service is reached: `AWS_ENDPOINT_URL_<variable>`, `AWS_ENDPOINT_URL`, or the region's public endpoint.
    pub fn endpoint(&self, variable: &str, host: &str, region: &str) -> String {
        let own = self.environment.get(&format!("AWS_ENDPOINT_URL_{variable}"));
        match own.or(self.environment.get("AWS_ENDPOINT_URL")) {
            Some(url) => url.to_owned(),
            None if region.starts_with("cn-") => format!("https://{host}.{region}.amazonaws.com.cn"),
            None => format!("https://{host}.{region}.amazonaws.com"),
        }
    }

    /// The request with a signature of this account for this service. Its headers and body must be complete.
    pub async fn sign(&self, request: Request, service: &str, account: &Account) -> Result<Request, String> {
        let account = Account {
            region: self.region(&account.region)?,
            ..account.clone()
        };
        let credentials = match tokio::time::timeout(CREDENTIALS_TIMEOUT, self.credentials(&account)).await {
            Ok(credentials) => credentials.map_err(|problem| format!("no AWS credentials: {problem}"))?,
            Err(_) => return Err(format!("no AWS credentials: none within {CREDENTIALS_TIMEOUT:?}")),
        };
        signed(request, &credentials, (&account.region, service), self.clock.now())
    }

    async fn credentials(&self, account: &Account) -> Result<Credentials, String> {
        let now = self.clock.now();
        {
            let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(credentials) = kept.get(account).filter(|kept| kept.holds_at(now)) {
                return Ok(credentials.clone());
            }
        }
        let mut credentials = self.own(account).await?;
        if !account.role_arn.is_empty() {
            credentials = self.assumed(&credentials, account).await?;
        }
        // Those that do not expire may be changed by a person at any time; they cost nothing to read.
        if credentials.expires_at.is_some() {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() >= KEPT_MAX {
                kept.retain(|_, credentials| credentials.holds_at(now));
                if kept.len() >= KEPT_MAX {
                    kept.clear();
                }
            }
            kept.insert(account.clone(), credentials.clone());
        }
        Ok(credentials)
    }

    /// Credentials before any role of the metric's is assumed.
    async fn own(&self, account: &Account) -> Result<Credentials, String> {
        let variable = |name| self.environment.get(name);
        if !account.profile.is_empty() {
            return self.of_profile(&account.profile, &account.region).await;
        }
        if let (Some(id), Some(secret)) = (variable("AWS_ACCESS_KEY_ID"), variable("AWS_SECRET_ACCESS_KEY")) {
            return Ok(Credentials {
                access_key_id: id.to_owned(),
                secret_access_key: secret.to_owned(),
                session_token: variable("AWS_SESSION_TOKEN").map(str::to_owned),
                expires_at: None,
            });
        }
        if let (Some(file), Some(role)) = (variable("AWS_WEB_IDENTITY_TOKEN_FILE"), variable("AWS_ROLE_ARN")) {
            return self.of_web_identity(file, role, &account.region).await;
        }
        if let Some(url) = variable("AWS_CONTAINER_CREDENTIALS_FULL_URI") {
            return self.of_container(url).await;
        }
        let profile = variable("AWS_PROFILE").unwrap_or("default");
        self.of_profile(profile, &account.region).await.map_err(|problem| {
            format!("neither variables, nor a web identity, nor a container's agent are there, and {problem}")
        })
    }

    async fn of_profile(&self, name: &str, region: &str) -> Result<Credentials, String> {
        let profile = profile::read(&self.environment, name).await?;
        let text = |key: &str| profile.get(key).filter(|text| !text.is_empty());
        if let (Some(id), Some(secret)) = (text("aws_access_key_id"), text("aws_secret_access_key")) {
            return Ok(Credentials {
                access_key_id: id.clone(),
                secret_access_key: secret.clone(),
                session_token: text("aws_session_token").cloned(),
                expires_at: None,
            });
        }
        match (text("web_identity_token_file"), text("role_arn")) {
            (Some(file), Some(role)) => self.of_web_identity(file, role, region).await,
            _ => Err(format!(
                "profile '{name}' has neither aws_access_key_id and aws_secret_access_key nor web_identity_token_file and role_arn"
            )),
        }
    }

    /// A role for a token of another identity system, such as a service account's; the request needs no signature.
    async fn of_web_identity(&self, file: &str, role: &str, region: &str) -> Result<Credentials, String> {
        let token = profile::text_of(file)
            .await
            .map_err(|problem| format!("{file}: {problem}"))?;
        let form = [
            ("Action", "AssumeRoleWithWebIdentity"),
            ("Version", STS_VERSION),
            ("RoleArn", role),
            ("RoleSessionName", self.session_name()),
            ("WebIdentityToken", token.trim()),
        ];
        let request = self.transport.unredirected().post(self.endpoint("STS", "sts", region));
        self.granted(built(request.form(&form))?).await
    }

    async fn assumed(&self, own: &Credentials, account: &Account) -> Result<Credentials, String> {
        let form = [
            ("Action", "AssumeRole"),
            ("Version", STS_VERSION),
            ("RoleArn", account.role_arn.as_str()),
            ("RoleSessionName", self.session_name()),
        ];
        let region = account.region.as_str();
        let request = self.transport.unredirected().post(self.endpoint("STS", "sts", region));
        let request = signed(built(request.form(&form))?, own, (region, "sts"), self.clock.now())?;
        self.granted(request).await
    }

    fn session_name(&self) -> &str {
        self.environment.get("AWS_ROLE_SESSION_NAME").unwrap_or(SESSION_NAME)
    }

    /// Credentials out of an answer of the security token service, which is a flat piece of XML.
    async fn granted(&self, request: Request) -> Result<Credentials, String> {
        let client = self.transport.unredirected();
        let reply = self.transport.ask(client, request, REQUEST_TIMEOUT).await?;
        let text = String::from_utf8_lossy(&reply.body);
        let element = |name: &str| {
            let (_, rest) = text.split_once(&format!("<{name}>"))?;
            let (inner, _) = rest.split_once(&format!("</{name}>"))?;
            Some(inner.trim().to_owned()).filter(|inner| !inner.is_empty())
        };
        if reply.status != 200 {
            let code = element("Code").unwrap_or_else(|| "no answer of the security token service".to_owned());
            let message = element("Message").map(|message| format!(": {message}"));
            return Err(format!("HTTP {}: {code}{}", reply.status, message.unwrap_or_default()));
        }
        let needed = |name: &str| element(name).ok_or_else(|| format!("the answer holds no {name}"));
        Ok(Credentials {
            access_key_id: needed("AccessKeyId")?,
            secret_access_key: needed("SecretAccessKey")?,
            session_token: Some(needed("SessionToken")?),
            expires_at: Some(moment(&needed("Expiration")?)?),
        })
    }

    /// Credentials of the agent on the node that EKS Pod Identity and ECS put beside a container.
    async fn of_container(&self, url: &str) -> Result<Credentials, String> {
        let mut request = self.transport.unredirected().get(url);
        let token = match self.environment.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE") {
            Some(file) => Some(
                profile::text_of(file)
                    .await
                    .map_err(|problem| format!("{file}: {problem}"))?,
            ),
            None => self
                .environment
                .get("AWS_CONTAINER_AUTHORIZATION_TOKEN")
                .map(str::to_owned),
        };
        if let Some(token) = token {
            let token = super::http::sensitive(token.trim().to_owned()).map_err(|error| error.to_string())?;
            request = request.header(AUTHORIZATION, token);
        }
        let client = self.transport.unredirected();
        let reply = self.transport.ask(client, built(request)?, REQUEST_TIMEOUT).await?;
        if reply.status != 200 {
            return Err(format!("the container's agent answers HTTP {}", reply.status));
        }
        // The answer is a secret as a whole, so an error must not show any of it.
        let Ok(Agreed {
            access_key_id,
            secret_access_key,
            token,
            expiration,
        }) = serde_json::from_slice(&reply.body)
        else {
            return Err("the answer of the container's agent holds no credentials".to_owned());
        };
        Ok(Credentials {
            access_key_id,
            secret_access_key,
            session_token: token,
            expires_at: expiration.as_deref().map(moment).transpose()?,
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Agreed {
    access_key_id: String,
    secret_access_key: String,
    token: Option<String>,
    expiration: Option<String>,
}

impl Credentials {
    fn holds_at(&self, now: Timestamp) -> bool {
        let left = self.expires_at.map(|expires_at| expires_at.duration_since(now));
        left.is_none_or(|left| left > EXPIRY_MARGIN)
    }
}

fn moment(text: &str) -> Result<Timestamp, String> {
    text.parse()
        .map_err(|error| format!("expiration {text:?} is no time: {error}"))
}

fn built(request: reqwest::RequestBuilder) -> Result<Request, String> {
    request.build().map_err(|error| HttpError::Request(error).to_string())
}

#[cfg(test)]
mod tests;
