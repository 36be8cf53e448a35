//! Connections to the app. The address is the configured one, whatever a request says.

use std::{
    error::Error,
    fmt,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::Uri;
use hyper_util::{
    client::legacy::connect::{Connected, Connection, HttpConnector},
    rt::TokioIo,
};
use rustls::ClientConfig;
use tokio::{net::UnixStream, time::timeout};
use tokio_rustls::{TlsConnector, TlsStream};
use tower_service::Service;

use super::address::Address;
use crate::base::stream::{Stream, bound_unsent};

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody listens there, or nobody knows the name.
    #[error("cannot connect")]
    Refused(#[source] Box<dyn Error + Send + Sync>),
    /// The TLS handshake failed.
    #[error("the TLS handshake failed{}", hint(.0))]
    Tls(#[source] io::Error),
    /// The app's TLS knows no HTTP/2.
    #[error("the app does not agree to HTTP/2 (ALPN), which upstream.http2 asks for")]
    NoHttp2,
    /// Neither yes nor no.
    #[error("no connection within {0:?}")]
    TimedOut(Duration),
}

/// rustls names this case in a way that nobody can act upon.
fn hint(error: &io::Error) -> &'static str {
    use rustls::{CertificateError, Error as Tls};
    match error.get_ref().and_then(|inner| inner.downcast_ref()) {
        Some(Tls::InvalidCertificate(CertificateError::Other(other)))
            if format!("{other:?}").contains("CaUsedAsEndEntity") =>
        {
            ": a self-signed certificate cannot be its own authority; give the app one that a CA \
             signed, and the CA's in upstream.ca_file"
        }
        _ => "",
    }
}

/// Makes connections; clones share everything.
#[derive(Clone)]
pub(super) struct Connector {
    inner: Arc<Inner>,
}

struct Inner {
    address: Address,
    /// What `tcp` dials: the configured address as a URI.
    dial: Uri,
    tcp: HttpConnector,
    tls: Option<TlsConnector>,
    limit: Duration,
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector").field("address", &self.inner.address).finish_non_exhaustive()
    }
}

impl Connector {
    /// A connector that gives up after `limit`, name and handshake included.
    pub(super) fn new(
        address: Address,
        dial: Uri,
        tls: Option<Arc<ClientConfig>>,
        limit: Duration,
    ) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(limit));
        let tls = tls.map(TlsConnector::from);
        Self { inner: Arc::new(Inner { address, dial, tcp, tls, limit }) }
    }

    pub(super) async fn connect(&self) -> Result<Stream, ConnectError> {
        let limit = self.inner.limit;
        timeout(limit, self.dial()).await.map_err(|_| ConnectError::TimedOut(limit))?
    }

    /// Each address of the app's name has its part of the time, and says so when that is over.
    fn refused(&self, error: Box<dyn Error + Send + Sync>) -> ConnectError {
        let mut cause = Some(&*error as &(dyn Error + 'static));
        while let Some(error) = cause {
            let io = error.downcast_ref::<io::Error>();
            if io.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut) {
                return ConnectError::TimedOut(self.inner.limit);
            }
            cause = error.source();
        }
        ConnectError::Refused(error)
    }

    async fn dial(&self) -> Result<Stream, ConnectError> {
        if let Address::Unix(path) = &self.inner.address {
            let stream = UnixStream::connect(path).await;
            return stream.map(Stream::Unix).map_err(|e| ConnectError::Refused(e.into()));
        }
        let tcp = self.inner.tcp.clone().call(self.inner.dial.clone()).await;
        let tcp = tcp.map_err(|error| self.refused(error.into()))?.into_inner();
        bound_unsent(&tcp);
        let (Address::Https(_, name), Some(tls)) = (&self.inner.address, &self.inner.tls) else {
            return Ok(Stream::Tcp(tcp));
        };
        let stream = tls.connect(name.clone(), tcp).await.map_err(ConnectError::Tls)?;
        let wants_http2 = tls.config().alpn_protocols.iter().any(|name| name == b"h2");
        if wants_http2 && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            return Err(ConnectError::NoHttp2);
        }
        Ok(Stream::Tls(Box::new(TlsStream::Client(stream))))
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    /// The URI is the pool's key, not an address.
    fn call(&mut self, _: Uri) -> Self::Future {
        let connector = self.clone();
        Box::pin(async move { connector.connect().await.map(TokioIo::new) })
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}
