//! TLS towards the app: whom we believe, and who we are.

use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};

use super::Settings;
use crate::base::{
    outbound::trusted_roots,
    pem::{PemError, certificates, private_key},
};

/// Why TLS towards the app cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file without what it should hold.
    #[error(transparent)]
    File(#[from] PemError),
    /// A certificate that is none, or a key that does not fit.
    #[error("the certificates for the app cannot be used")]
    Unusable(#[source] rustls::Error),
    /// Half of a client certificate.
    #[error("certificate_file and private_key_file belong together")]
    Half,
}

/// `ca_file` alone is believed where it is given: an app inside the cluster has no business with a
/// public authority's certificate.
pub(super) fn client(settings: &Settings) -> Result<Arc<ClientConfig>, TlsError> {
    let roots = match &settings.ca_file {
        None => trusted_roots(),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(file)? {
                roots.add(certificate).map_err(TlsError::Unusable)?;
            }
            roots
        }
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Unusable)?
        .with_root_certificates(roots);
    let mut client = match (&settings.certificate_file, &settings.private_key_file) {
        (None, None) => builder.with_no_client_auth(),
        (Some(certificate), Some(key)) => builder
            .with_client_auth_cert(certificates(certificate)?, private_key(key)?)
            .map_err(TlsError::Unusable)?,
        _ => return Err(TlsError::Half),
    };
    // One protocol is offered, so that no answer can be in another one.
    let protocol: &[u8] = if settings.http2 { b"h2" } else { b"http/1.1" };
    client.alpn_protocols = vec![protocol.to_vec()];
    Ok(Arc::new(client))
}
