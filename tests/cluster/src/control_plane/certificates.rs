//! The cluster's own certificate authority and what it signs. Everything is made anew for each cluster and dies with it.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};

/// Names and addresses under which the API server is reached: from this machine, and by the addresses pods would use.
const SERVER_NAMES: [&str; 6] = [
    "127.0.0.1",
    "10.0.0.1",
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
];

/// A certificate and its key, in PEM.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    /// The certificate.
    pub(super) certificate: String,
    /// The private key.
    pub(super) key: String,
}

/// The authority, and the files that the API server and the controller manager read.
#[derive(Debug)]
pub(super) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: PathBuf,
}

impl Authority {
    /// Makes a new authority and writes the servers' files to `dir`.
    ///
    /// # Errors
    /// When a key cannot be made or a file not be written.
    pub(super) fn new(dir: &Path) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
        let mut parameters = CertificateParams::new(Vec::<String>::new())?;
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::CrlSign,
        ];
        parameters
            .distinguished_name
            .push(DnType::CommonName, "tidegate-cluster");
        let issuer = CertifiedIssuer::self_signed(parameters, KeyPair::generate()?)?;
        let authority = Self {
            issuer,
            dir: dir.to_owned(),
        };
        authority.write("ca.crt", &authority.certificate())?;
        authority.write("ca.key", &authority.issuer.key().serialize_pem())?;

        let server = authority.server()?;
        authority.write("apiserver.crt", &server.certificate)?;
        authority.write("apiserver.key", &server.key)?;

        let service_accounts = KeyPair::generate()?;
        authority.write("service-accounts.key", &service_accounts.serialize_pem())?;
        authority.write("service-accounts.pub", &service_accounts.public_key_pem())?;
        Ok(authority)
    }

    /// The authority's certificate in PEM.
    #[must_use]
    pub(super) fn certificate(&self) -> String {
        self.issuer.pem()
    }

    /// The path of one of the files written by [`Authority::new`].
    #[must_use]
    pub(super) fn file(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    /// A client certificate for the user `name` in the group `system:masters`.
    ///
    /// # Errors
    /// When a key cannot be made.
    pub(super) fn administrator(&self, name: &str) -> Result<Identity> {
        let mut parameters = CertificateParams::new(Vec::<String>::new())?;
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters
            .distinguished_name
            .push(DnType::OrganizationName, "system:masters");
        self.sign(parameters, ExtendedKeyUsagePurpose::ClientAuth)
    }

    fn server(&self) -> Result<Identity> {
        let mut parameters = CertificateParams::new(SERVER_NAMES.map(str::to_owned))?;
        parameters.distinguished_name.push(DnType::CommonName, "kube-apiserver");
        self.sign(parameters, ExtendedKeyUsagePurpose::ServerAuth)
    }

    fn sign(&self, mut parameters: CertificateParams, usage: ExtendedKeyUsagePurpose) -> Result<Identity> {
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![usage];
        parameters.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = parameters.signed_by(&key, &self.issuer)?;
        Ok(Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        })
    }

    fn write(&self, name: &str, text: &str) -> Result<()> {
        write_private(&self.dir.join(name), text)
    }
}

/// Writes a file that only this user can read, since it may hold a key.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write_private(path: &Path, text: &str) -> Result<()> {
    OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}
