//! Clients of the cluster's API server: in-cluster, or by kubeconfig and context.

use super::overrides::{FlagError, Overrides};
use axum::http::{Method, Request, Uri};
use kube::{
    Client, Config,
    client::Body,
    config::{Kubeconfig, KubeconfigError},
};
use std::{path::Path, time::Duration};

/// Sent with every request, so that audit logs name us.
pub const USER_AGENT: &str = concat!("tidegate/", env!("CARGO_PKG_VERSION"));

/// A connection that is not established by then will not be.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Which cluster to talk to, as given on the command line.
#[derive(Clone, Debug, Default)]
pub struct ClientOptions<'a> {
    /// Path of a kubeconfig; absent: `$KUBECONFIG`, `~/.kube/config`, or the pod's service account.
    pub kubeconfig: Option<&'a Path>,
    /// Context in it; absent: the current one.
    pub context: Option<&'a str>,
    /// What is other than the kubeconfig says.
    pub overrides: Option<&'a Overrides>,
}

/// A client could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The kubeconfig is missing, broken or lacks the context.
    #[error("failed to read the kubeconfig: {0}")]
    Kubeconfig(#[from] KubeconfigError),
    /// Neither a kubeconfig nor a service account was found.
    #[error("found neither a kubeconfig nor a service account: {0}")]
    NotConfigured(#[from] kube::config::InferConfigError),
    /// A flag cannot be used.
    #[error(transparent)]
    Flag(#[from] FlagError),
    /// The configuration was read, but no client can be made from it.
    #[error("failed to make a client: {0}")]
    Unusable(#[source] Box<kube::Error>),
}

/// Makes a client. The server is not asked yet.
pub async fn connect(options: &ClientOptions<'_>) -> Result<Client, ClientError> {
    let mut config = self::config(options).await?;
    let given = options.overrides.and_then(|overrides| overrides.request_timeout);
    if given.is_none_or(|given| given.is_zero() || given > CONNECT_TIMEOUT) {
        config.connect_timeout = Some(CONNECT_TIMEOUT);
    }
    if let Ok(agent) = USER_AGENT.parse() {
        config
            .headers
            .push(("user-agent".parse().map_err(unusable_header)?, agent));
    }
    Client::try_from(config).map_err(|error| ClientError::Unusable(Box::new(error)))
}

/// The configuration of a client: that of the kubeconfig or of the pod's service account, with what flags say instead.
///
/// # Errors
/// When there is no configuration, it cannot be read, or a flag cannot be used.
pub async fn config(options: &ClientOptions<'_>) -> Result<Config, ClientError> {
    let none = Overrides::default();
    let overrides = options.overrides.unwrap_or(&none);
    let mut config = if options.kubeconfig.is_none() && options.context.is_none() && !overrides.need_kubeconfig() {
        Config::infer().await?
    } else {
        let read = match options.kubeconfig {
            Some(path) => Kubeconfig::read_from(path),
            None => Kubeconfig::read(),
        };
        let mut kubeconfig = match read {
            // An address is enough.
            Err(error) if is_absent(&error) && options.kubeconfig.is_none() && overrides.server.is_some() => {
                Kubeconfig::default()
            }
            read => read?,
        };
        overrides.complete(&mut kubeconfig, options.context)?;
        Config::from_custom_kubeconfig(kubeconfig, &overrides.names(options.context)).await?
    };
    overrides.apply(&mut config)?;
    Ok(config)
}

fn is_absent(error: &KubeconfigError) -> bool {
    match error {
        KubeconfigError::FindPath => true,
        KubeconfigError::ReadConfig(error, _) => error.kind() == std::io::ErrorKind::NotFound,
        _ => false,
    }
}

/// The same client, which tells `note` of every request: its method and URI, and the HTTP status of the answer, 0 when
/// none came.
pub fn observed(client: Client, note: impl Fn(&Method, &Uri, u16) + Clone + Send + Sync + 'static) -> Client {
    let namespace = client.default_namespace().to_owned();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, note) = (client.clone(), note.clone());
        async move {
            let (method, uri) = (request.method().clone(), request.uri().clone());
            let answer = client.send(request).await;
            note(
                &method,
                &uri,
                answer.as_ref().map_or(0, |answer| answer.status().as_u16()),
            );
            answer
        }
    });
    Client::new(service, namespace)
}

fn unusable_header<E: std::error::Error + Send + Sync + 'static>(error: E) -> ClientError {
    ClientError::Unusable(Box::new(kube::Error::Service(Box::new(error))))
}
