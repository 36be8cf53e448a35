//! A certificate for localhost by a throw-away authority, which clients are told to trust.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::ServerConfig;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

use crate::emulator::ids;

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The certificate could not be made.
    #[error("the throw-away certificate could not be made")]
    Certificate(#[source] rcgen::Error),
    /// rustls does not take it.
    #[error("the throw-away certificate was refused")]
    Refused(#[source] rustls::Error),
    /// The authority's certificate could not be written.
    #[error("the authority's certificate could not be written to {}", .0.display())]
    File(PathBuf, #[source] io::Error),
}

/// The authority's certificate in a temporary folder, which goes with this value.
#[derive(Debug)]
pub(crate) struct AuthorityFile {
    folder: PathBuf,
    path: PathBuf,
}

impl AuthorityFile {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for AuthorityFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.folder) {
            tracing::debug!(%error, "the emulator's temporary folder was not removed");
        }
    }
}

/// A server certificate for `localhost` and `127.0.0.1`, and the authority that signed it.
pub(crate) fn acceptor() -> Result<(TlsAcceptor, AuthorityFile), TlsError> {
    let mut authority = CertificateParams::default();
    authority.distinguished_name.push(DnType::CommonName, "Entra emulator (throw-away authority)");
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let authority_key = KeyPair::generate().map_err(TlsError::Certificate)?;
    let certificate = authority.self_signed(&authority_key).map_err(TlsError::Certificate)?;
    let pem = certificate.pem();
    let issuer = Issuer::new(authority, authority_key);

    let names = ["localhost".to_owned(), "127.0.0.1".to_owned(), "::1".to_owned()];
    let mut leaf = CertificateParams::new(names).map_err(TlsError::Certificate)?;
    leaf.distinguished_name.push(DnType::CommonName, "localhost");
    leaf.use_authority_key_identifier_extension = true;
    let leaf_key = KeyPair::generate().map_err(TlsError::Certificate)?;
    let leaf = leaf.signed_by(&leaf_key, &issuer).map_err(TlsError::Certificate)?;

    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf_key.serialize_der()));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Refused)?
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .map_err(TlsError::Refused)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((TlsAcceptor::from(Arc::new(config)), write(&pem)?))
}

fn write(pem: &str) -> Result<AuthorityFile, TlsError> {
    let folder = std::env::temp_dir().join(format!("entra-emulator-{}", ids::random_guid()));
    let path = folder.join("ca.pem");
    fs::create_dir(&folder).map_err(|error| TlsError::File(folder.clone(), error))?;
    let file = AuthorityFile { folder, path };
    fs::write(&file.path, pem).map_err(|error| TlsError::File(file.path.clone(), error))?;
    Ok(file)
}
