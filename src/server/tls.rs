//! TLS towards browsers: one certificate, read anew from its files without dropping a connection.

use std::{fmt, io, sync::Arc};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsStream};

use super::TlsSettings;
use crate::base::pem::{PemError, certificates, private_key};

/// Why browsers cannot be served over TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file without what it should hold.
    #[error(transparent)]
    File(#[from] PemError),
    /// A certificate that is none, or a key that does not fit.
    #[error("the certificate and the key do not fit together")]
    Unusable(#[source] rustls::Error),
    /// One without the other.
    #[error("certificate_file and private_key_file belong together")]
    Half,
}

/// The certificate that browsers are shown. Clones share it.
#[derive(Clone)]
pub struct Tls {
    acceptor: TlsAcceptor,
    shown: Arc<Shown>,
}

/// Asked at each handshake: connections that are open keep what they were shown.
#[derive(Debug)]
struct Shown(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Shown {
    /// There is one name, `public_url`'s; whoever asks for another one sees that we are not it.
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads certificate and key; `None` where there are none.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn load(settings: &TlsSettings) -> Result<Option<Self>, TlsError> {
        let Some(certified) = read(settings)? else { return Ok(None) };
        let shown = Arc::new(Shown(ArcSwap::from_pointee(certified)));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        // TLS 1.2 and 1.3; no early data, which could be sent twice (RFC 8446 §8).
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Unusable)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&shown) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Some(Self { acceptor: TlsAcceptor::from(Arc::new(config)), shown }))
    }

    /// Reads certificate and key again. Whoever connects from now on sees the new certificate; on
    /// an error, the one that was shown so far.
    ///
    /// # Errors
    /// See [`TlsError`]. A configuration without TLS is [`TlsError::Half`]: a listener cannot
    /// become a plain one while it runs.
    pub fn reload(&self, settings: &TlsSettings) -> Result<(), TlsError> {
        let certified = read(settings)?.ok_or(TlsError::Half)?;
        self.shown.0.store(Arc::new(certified));
        Ok(())
    }

    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.acceptor.accept(stream).await.map(TlsStream::Server)
    }
}

/// Whether a handshake ended in HTTP/2.
pub(super) fn chose_http2(stream: &TlsStream<TcpStream>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(b"h2")
}

fn read(settings: &TlsSettings) -> Result<Option<CertifiedKey>, TlsError> {
    let (certificate, key) = match (&settings.certificate_file, &settings.private_key_file) {
        (None, None) => return Ok(None),
        (Some(certificate), Some(key)) => (certificate, key),
        _ => return Err(TlsError::Half),
    };
    let (chain, key) = (certificates(certificate)?, private_key(key)?);
    let provider = rustls::crypto::ring::default_provider();
    CertifiedKey::from_der(chain, key, &provider).map(Some).map_err(TlsError::Unusable)
}
