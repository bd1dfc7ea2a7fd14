//! A forge under its public name, without leaving this machine: a proxy that answers HTTPS for any host with a
//! certificate of its own and passes what it decrypts to the Git server on loopback.

use anyhow::{Context, Result, ensure};
use rcgen::{CertificateParams, KeyPair};
use std::{net::SocketAddr, sync::Arc};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig, crypto,
        pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    },
};

/// A running proxy; dropping it ends it.
pub(super) struct Forge {
    /// What a repository Secret's `proxy` says.
    pub(super) proxy: String,
    /// The certificate of `host` in PEM, as `argocd-tls-certs-cm` takes it.
    pub(super) certificate: String,
    task: JoinHandle<()>,
}

impl Forge {
    /// Answers for `host:443` on a free port of loopback; `git` is the base address of the Git server.
    pub(super) async fn start(host: &str, git: &str) -> Result<Self> {
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new([host.to_owned()])?.self_signed(&key)?;
        let private = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = ServerConfig::builder_with_provider(Arc::new(crypto::aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], private)?;
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let git: SocketAddr = git
            .strip_prefix("http://")
            .context("the Git server's address is not http://")?
            .parse()?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let proxy = format!("http://{}", listener.local_addr()?);
        let request = format!("CONNECT {host}:443 ");
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, request) = (acceptor.clone(), request.clone());
                // A client that goes away in the middle is no failure of the forge.
                tokio::spawn(async move { drop(tunnel(stream, &acceptor, &request, git).await) });
            }
        });
        Ok(Self {
            proxy,
            certificate: certificate.pem(),
            task,
        })
    }
}

impl Drop for Forge {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn tunnel(stream: TcpStream, acceptor: &TlsAcceptor, request: &str, git: SocketAddr) -> Result<()> {
    let mut stream = BufReader::new(stream);
    let mut first = String::new();
    stream.read_line(&mut first).await?;
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).await?;
        if header.trim().is_empty() {
            break;
        }
    }
    if !first.starts_with(request) {
        stream.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n").await?;
        return Ok(());
    }
    stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await?;
    // The client speaks first in TLS only after it has read the answer, so nothing is left in the buffer.
    ensure!(stream.buffer().is_empty(), "bytes before the tunnel");
    let mut open = acceptor.accept(stream.into_inner()).await?;
    copy_bidirectional(&mut open, &mut TcpStream::connect(git).await?).await?;
    Ok(())
}
