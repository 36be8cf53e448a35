//! Calls that we make to Microsoft: bounded in time and size, no redirects followed, through the
//! proxy that `HTTPS_PROXY` and `NO_PROXY` name.

use std::{
    future::Future,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::{
        legacy::{
            Client,
            connect::{HttpConnector, proxy::Tunnel},
        },
        proxy::matcher::Matcher,
    },
    rt::{TokioExecutor, TokioIo, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore};
use tokio::{net::TcpStream, runtime::Handle, time::timeout};
use tower_service::Service;

/// Microsoft answers within a second or not at all; a person waits for this.
const CONNECT: Duration = Duration::from_secs(3);
const TOTAL: Duration = Duration::from_secs(15);
const BODY_CAP: usize = 1 << 20;

/// A client for calls to Microsoft. Clones share the connections.
#[derive(Clone, Debug)]
pub struct Outbound {
    client: Client<HttpsConnector<Connector>, Full<Bytes>>,
    /// Every call runs here, so that it outlives the request (and the worker) that asked for it.
    runtime: Handle,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its header fields.
    pub headers: HeaderMap,
    /// Its body, at most 1 MiB.
    pub body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// Nobody could be reached, or TLS failed.
    #[error("could not connect or send")]
    Connect(#[source] hyper_util::client::legacy::Error),
    /// The answer broke off.
    #[error("the answer broke off")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The answer is larger than 1 MiB.
    #[error("the answer is larger than 1 MiB")]
    TooLarge,
    /// No whole answer within 15 s.
    #[error("no whole answer within {} s", TOTAL.as_secs())]
    TimedOut,
    /// The process is ending.
    #[error("the call was cancelled because the process is ending")]
    Cancelled,
}

impl OutboundError {
    /// Whether nothing of the request can have reached the other side, so that even a request
    /// that works only once may be sent again.
    pub fn is_before_sending(&self) -> bool {
        matches!(self, Self::Connect(error) if error.is_connect())
    }
}

impl Outbound {
    /// A client whose calls run on `runtime`, trusting `roots`, through the proxy that the
    /// environment names.
    pub fn new(runtime: Handle, roots: RootCertStore) -> Self {
        Self::through(runtime, roots, Matcher::from_env())
    }

    fn through(runtime: Handle, roots: RootCertStore, proxies: Matcher) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map(|builder| builder.with_root_certificates(roots).with_no_client_auth());
        #[expect(clippy::expect_used, reason = "ring supports TLS 1.2 and 1.3")]
        let tls = tls.expect("ring supports the default TLS versions");
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_connect_timeout(Some(CONNECT));
        tcp.set_nodelay(true);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(Connector { tcp, proxies: Arc::new(proxies) });
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(30))
            .pool_max_idle_per_host(8)
            .build(connector);
        Self { client, runtime }
    }

    /// The runtime on which calls run.
    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Sends one request and reads the whole answer. Dropping the future does not end the call.
    ///
    /// # Errors
    /// See [`OutboundError`]; an answer with an error status is an answer.
    pub async fn send(&self, request: Request<Vec<u8>>) -> Result<Answer, OutboundError> {
        let client = self.client.clone();
        let call = async move {
            let request = request.map(|body| Full::new(Bytes::from(body)));
            let response = client.request(request).await.map_err(OutboundError::Connect)?;
            let (head, body) = response.into_parts();
            #[expect(clippy::disallowed_methods, reason = "bounded by `Limited`")]
            let body = Limited::new(body, BODY_CAP).collect().await.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    OutboundError::TooLarge
                } else {
                    OutboundError::Broken(error)
                }
            })?;
            Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
        };
        let call = async { timeout(TOTAL, call).await.map_err(|_| OutboundError::TimedOut)? };
        self.runtime.spawn(call).await.map_err(|_| OutboundError::Cancelled)?
    }
}

/// TCP to the server itself, or to a proxy that is asked for a tunnel to it.
#[derive(Clone, Debug)]
struct Connector {
    tcp: HttpConnector,
    proxies: Arc<Matcher>,
}

impl Connector {
    /// The tunnel to `server`. A proxy sees TLS alone: plain http stays on this machine, where
    /// nobody stands in between.
    fn tunnel_to(&self, server: &Uri) -> Option<Tunnel<HttpConnector>> {
        if server.scheme_str() != Some("https") || is_loopback(server) {
            return None;
        }
        let proxy = self.proxies.intercept(server)?;
        let tunnel = Tunnel::new(proxy.uri().clone(), self.tcp.clone());
        Some(match proxy.basic_auth() {
            Some(credentials) => tunnel.with_auth(credentials.clone()),
            None => tunnel,
        })
    }
}

fn is_loopback(server: &Uri) -> bool {
    let host = server.host().unwrap_or_default();
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, server: Uri) -> Self::Future {
        if let Some(mut tunnel) = self.tunnel_to(&server) {
            let tunnelling = tunnel.call(server);
            // The connector's own limit ends with TCP; the proxy's answer needs one too.
            return Box::pin(async { Ok(timeout(CONNECT, tunnelling).await??) });
        }
        let connecting = self.tcp.call(server);
        Box::pin(async { Ok(connecting.await?) })
    }
}

/// The machine's trusted roots (`SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured), or Mozilla's
/// where the image has none.
pub fn trusted_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    let (added, ignored) = roots.add_parsable_certificates(native.certs);
    if added == 0 {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        tracing::info!(roots = roots.len(), "no trusted roots on this machine; using Mozilla's");
    } else {
        tracing::debug!(added, ignored, "trusted roots loaded from this machine");
    }
    roots
}

#[cfg(test)]
mod tests {
    use http::Uri;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    fn request(uri: &str) -> Request<Vec<u8>> {
        Request::get(uri.parse::<Uri>().unwrap()).body(Vec::new()).unwrap()
    }

    #[tokio::test]
    async fn a_call_to_microsoft_asks_the_proxy_for_a_tunnel_and_sends_nothing_if_it_refuses() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = format!("http://user:pass@{}", listener.local_addr().unwrap());
        let seen = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 4096];
            let length = stream.read(&mut head).await.unwrap();
            stream.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n").await.unwrap();
            String::from_utf8_lossy(&head[..length]).into_owned()
        });
        let proxies = Matcher::builder().https(proxy).no("internal.test").build();
        let outbound = Outbound::through(Handle::current(), RootCertStore::empty(), proxies);
        let sent = outbound.send(request("https://login.example.test/secret")).await;
        assert!(sent.unwrap_err().is_before_sending());
        let seen = seen.await.unwrap();
        assert!(seen.starts_with("CONNECT login.example.test:443 HTTP/1.1\r\n"), "{seen}");
        assert!(seen.contains("Proxy-Authorization: Basic dXNlcjpwYXNz\r\n"), "{seen}");
        assert!(!seen.contains("secret"), "{seen}");
    }

    #[tokio::test]
    async fn this_machine_and_what_no_proxy_names_are_called_directly() {
        let proxies = Matcher::builder().all("http://proxy.test:3128").no("internal.test").build();
        let connector = Connector { tcp: HttpConnector::new(), proxies: Arc::new(proxies) };
        let direct = |uri: &'static str| connector.tunnel_to(&Uri::from_static(uri)).is_none();
        for uri in [
            "https://localhost:8443/",
            "https://127.0.0.1/",
            "https://[::1]:8443/",
            "https://login.internal.test/",
            "http://login.microsoftonline.com/",
        ] {
            assert!(direct(uri), "{uri}");
        }
        assert!(!direct("https://login.microsoftonline.com/"));
    }
}
