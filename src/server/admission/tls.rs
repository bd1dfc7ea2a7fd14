//! TLS with a certificate from a mounted Secret, read again when its files change: kubelet and cert-manager renew it
//! under a running process.

use rustls::{
    ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// Names of the files of a Secret of type `kubernetes.io/tls`.
const CERTIFICATE_FILE: &str = "tls.crt";
const KEY_FILE: &str = "tls.key";
/// How often the files are looked at. A renewed certificate is there weeks before the old one ends.
const RELOAD_INTERVAL: Duration = Duration::from_secs(10);
/// A handshake must be done within this time.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// Handshakes under way at once; protects memory and processor time.
const HANDSHAKES_MAX: usize = 32;
/// Pause after an error that is not one connection's, as a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// The certificate could not be read.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file is missing or cannot be read.
    #[error("failed to read `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not PEM.
    #[error("`{}` is not a certificate chain or key in PEM: {source}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::pki_types::pem::Error,
    },
    /// Certificate and key do not fit, or are of a kind that is not supported.
    #[error("the certificate and key in `{}` cannot be used: {source}", directory.display())]
    Unusable {
        /// The directory.
        directory: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

#[derive(Debug, Default)]
struct Loaded {
    files: (Vec<u8>, Vec<u8>),
    key: Option<Arc<CertifiedKey>>,
}

/// The certificate in use. Cheap to clone; every clone is the same.
#[derive(Clone, Debug)]
pub struct Certificates {
    directory: PathBuf,
    loaded: Arc<RwLock<Loaded>>,
}

impl Certificates {
    /// Those in `directory`; nothing is read yet, and handshakes fail until something is.
    pub fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            loaded: Arc::default(),
        }
    }

    /// Reads the files if they changed; returns whether they did. After an error the certificate before stays in use.
    pub fn refresh(&self) -> Result<bool, CertificateError> {
        let (certificate, key) = (self.read(CERTIFICATE_FILE)?, self.read(KEY_FILE)?);
        let files = (certificate, key);
        if self.loaded.read().unwrap_or_else(PoisonError::into_inner).files == files {
            return Ok(false);
        }
        let pem = |file: &str, source| CertificateError::Pem {
            path: self.directory.join(file),
            source,
        };
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&files.0).collect();
        let chain = chain.map_err(|source| pem(CERTIFICATE_FILE, source))?;
        if chain.is_empty() {
            return Err(pem(CERTIFICATE_FILE, rustls::pki_types::pem::Error::NoItemsFound));
        }
        let key = PrivateKeyDer::from_pem_slice(&files.1).map_err(|source| pem(KEY_FILE, source))?;
        let key = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider());
        let key = key.map_err(|source| CertificateError::Unusable {
            directory: self.directory.clone(),
            source,
        })?;
        *self.loaded.write().unwrap_or_else(PoisonError::into_inner) = Loaded {
            files,
            key: Some(Arc::new(key)),
        };
        Ok(true)
    }

    fn read(&self, file: &str) -> Result<Vec<u8>, CertificateError> {
        let path = self.directory.join(file);
        std::fs::read(&path).map_err(|source| CertificateError::Read { path, source })
    }

    /// Reads the files again and again; each new error is logged once. A failed renewal, or a Secret that is not
    /// mounted yet, must not stop the controller.
    pub async fn follow(self) {
        let mut told = None;
        loop {
            match self.refresh() {
                Ok(true) => tracing::info!(directory = %self.directory.display(), "The certificate was read."),
                Ok(false) => {}
                Err(error) => {
                    let text = error.to_string();
                    if told.as_ref() != Some(&text) {
                        tracing::error!(%error, "The certificate of the admission webhook cannot be used.");
                    }
                    told = Some(text);
                    tokio::time::sleep(RELOAD_INTERVAL).await;
                    continue;
                }
            }
            told = None;
            tokio::time::sleep(RELOAD_INTERVAL).await;
        }
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.loaded.read().unwrap_or_else(PoisonError::into_inner).key.clone()
    }
}

/// Takes connections once their handshake is done; slow and failed handshakes hold up nobody.
#[derive(Debug)]
pub struct TlsListener {
    ready: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl TlsListener {
    /// Binds the address; port 0 takes a free one.
    pub async fn bind(address: SocketAddr, certificates: Certificates) -> io::Result<Self> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.map_err(io::Error::other)?;
        let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(certificates));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let (sender, ready) = mpsc::channel(HANDSHAKES_MAX);
        let accepting = tokio::spawn(accept(listener, TlsAcceptor::from(Arc::new(config)), sender));
        Ok(Self {
            ready,
            address,
            accepting,
        })
    }
}

impl Drop for TlsListener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, ready: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    while let Ok(permit) = Arc::clone(&handshakes).acquire_owned().await {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "A connection could not be accepted.");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (acceptor, ready) = (acceptor.clone(), ready.clone());
        tokio::spawn(async move {
            match tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
                // An error means that the server ended.
                Ok(Ok(stream)) => drop(ready.send((stream, peer)).await),
                Ok(Err(error)) => tracing::debug!(%peer, %error, "A handshake failed."),
                Err(_) => tracing::debug!(%peer, "A handshake took too long."),
            }
            drop(permit);
        });
    }
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.ready.recv().await {
            Some(connection) => connection,
            // The task that accepts ends only with the process.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}
