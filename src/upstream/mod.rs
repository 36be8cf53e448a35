//! `[upstream]`: the app. One pool of connections per worker, streaming both ways.
//!
//! Only an [`Inbound`] can be forwarded, so the target that was judged is the target that is sent.

use std::{
    future::{Future, poll_fn},
    path::PathBuf,
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use http::{
    HeaderMap, HeaderValue, Method, Request, Response, Uri,
    header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, TE, TRANSFER_ENCODING},
    uri::{Authority, PathAndQuery, Scheme},
};
use http_body::Body as _;
use hyper::{body::Incoming, upgrade::OnUpgrade};
use hyper_util::{
    client::legacy::{self, Client, ResponseFuture},
    rt::{TokioExecutor, TokioTimer},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};

use self::{address::Address, chatter::Chatter, connector::Connector, idle::Upload, tunnel::Terms};
use crate::{
    base::{
        body::{Body, Unwanted},
        leash::Leash,
        lifecycle::Lifecycle,
        metrics::Metrics,
        pulse::Pulse,
        units::Span,
        worker::PerWorker,
    },
    request::{Exchange, Inbound, Outgoing, Upgrade, is_never_a_trailer, strip_response},
};

mod address;
mod chatter;
mod connector;
mod error;
mod frames;
mod idle;
mod tls;
mod tunnel;
mod upgrade;

#[cfg(test)]
mod tests;

pub use self::{
    address::AddressError,
    connector::ConnectError,
    error::{BuildError, UpstreamError},
    tls::TlsError,
};

/// Below what any common server keeps (gunicorn 2 s, Node and Apache 5 s): whoever closes first
/// must be us, or requests run into the app's close. A new loopback connection costs 0.1 ms.
const KEPT: Duration = Duration::from_millis(1500);
/// Idle connections that one worker keeps; more are closed after use.
const MOST_KEPT: usize = 256;
/// The app may send more fields than a browser may (Set-Cookie, CSP reports).
const MOST_FIELDS: usize = 256;
/// The largest head of an app that speaks HTTP/2; about what hyper takes in HTTP/1.1.
const MOST_HEAD: u32 = 384 << 10;
/// What the app may send of one answer before its browser takes it.
const STREAM_WINDOW: u32 = 64 << 10;
/// The same for all answers of a worker: a few slow browsers must not hold up everybody else's.
const CONNECTION_WINDOW: u32 = 16 << 20;
/// An app that has gone without a word is noticed within twice this.
const PING: Duration = Duration::from_secs(10);

/// `[upstream]` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The app: `http://host:port`, `https://host:port` or `unix:/path`.
    pub url: String,
    /// HTTP/2: with prior knowledge over plain TCP, agreed upon over TLS. gRPC needs it.
    pub http2: bool,
    /// Whether the app gets the browser's `Host` (`public_url`'s) or its own.
    pub preserve_host: bool,
    /// Longest wait for a connection, name and TLS handshake included.
    pub connect_timeout: Span,
    /// Longest silence: no byte either way. Not a total.
    pub idle_timeout: Span,
    /// PEM certificates of the authorities that sign the app's certificate; else the machine's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// PEM certificate that we show to an app that asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<PathBuf>,
    /// The key of `certificate_file`, in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_key_file: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: "http://127.0.0.1:8080".to_owned(),
            http2: false,
            preserve_host: true,
            connect_timeout: Span::seconds(5),
            idle_timeout: Span::seconds(60),
            ca_file: None,
            certificate_file: None,
            private_key_file: None,
        }
    }
}

type Pool = Client<Connector, Upload>;

/// What was asked, as far as the answer depends on it.
struct Asked {
    upgrade: Option<Upgrade>,
    key: Option<upgrade::Key>,
    on_client: Option<OnUpgrade>,
    pulse: Option<Pulse>,
    /// A gRPC call.
    call: bool,
    leash: Option<Leash>,
}

/// The app, ready to be asked.
#[derive(Debug)]
pub struct Upstream {
    pools: PerWorker<Pool>,
    connector: Connector,
    scheme: Scheme,
    authority: Authority,
    /// The app's own name, where it does not get the browser's.
    host: Option<HeaderValue>,
    loopback: bool,
    http2: bool,
    idle: Duration,
    unwanted_trailers: Unwanted,
    lifecycle: Lifecycle,
    metrics: Metrics,
}

impl Upstream {
    /// Prepares one pool per worker; nothing is dialled yet.
    ///
    /// # Errors
    /// The address is malformed, or a certificate or key cannot be used.
    pub fn build(
        settings: &Settings,
        workers: usize,
        lifecycle: Lifecycle,
        metrics: Metrics,
    ) -> Result<Self, BuildError> {
        let address: Address = settings.url.parse()?;
        let tls = match &address {
            Address::Https(..) => Some(tls::client(settings)?),
            Address::Http(_) | Address::Unix(_) => None,
        };
        let (scheme, authority) = (address.scheme(), address.authority());
        let host = if settings.preserve_host { None } else { address.host() };
        let loopback = address.is_loopback();
        let root = PathAndQuery::from_static("/");
        let dial = uri(scheme.clone(), authority.clone(), root).unwrap_or_default();
        let connector = Connector::new(address, dial, tls, settings.connect_timeout.duration());
        Ok(Self {
            pools: PerWorker::new(workers, || pool(&connector, settings.http2)),
            connector,
            scheme,
            authority,
            host,
            loopback,
            http2: settings.http2,
            unwanted_trailers: Unwanted::new(is_never_a_trailer),
            idle: settings.idle_timeout.duration(),
            lifecycle,
            metrics,
        })
    }

    /// Sends a judged request to the app and hands its answer back as it comes. A tunnel, or an
    /// answer that is still running, ends when `leash` is pulled.
    ///
    /// # Errors
    /// There is no answer: see [`UpstreamError`]. Once there is one, trouble ends its body early.
    // No `async fn` from here to the pool: each would keep, and copy, a request of its own.
    pub fn forward<'a>(
        &'a self,
        inbound: Inbound,
        exchange: &'a mut Exchange,
        leash: Option<Leash>,
    ) -> impl Future<Output = Result<Response<Body>, UpstreamError>> + Send + 'a {
        let sent = Instant::now();
        let sending = self.send(inbound.into_outgoing(), leash);
        async move {
            let answer = match sending {
                Ok(sending) => sending.await,
                Err(error) => Err(error),
            };
            let took = sent.elapsed();
            exchange.upstream = Some(took);
            match &answer {
                Ok(_) => self.metrics.upstream(took),
                Err(error) => self.metrics.upstream_error(error.reason()),
            }
            answer
        }
    }

    /// Connects once and says what went wrong, for `check --online`.
    ///
    /// # Errors
    /// There is no connection.
    pub async fn probe(&self) -> Result<(), UpstreamError> {
        self.connector.connect().await?;
        Ok(())
    }

    /// Whether nobody but this machine (this pod) can be at the other end. An app that others can
    /// reach can be reached without us.
    pub fn is_loopback(&self) -> bool {
        self.loopback
    }

    fn send(
        &self,
        mut outgoing: Outgoing,
        leash: Option<Leash>,
    ) -> Result<
        impl Future<Output = Result<Response<Body>, UpstreamError>> + Send + use<'_>,
        UpstreamError,
    > {
        if self.http2 && outgoing.upgrade.is_some() {
            return Err(UpstreamError::NoUpgrade);
        }
        let wanted = outgoing.upgrade.zip(outgoing.on_upgrade.take());
        let (asked, on_client) = wanted.unzip();
        // A handshake in HTTP/2 has no key, and the app wants one.
        let keyless = outgoing.upgrade == Some(Upgrade::ExtendedWebSocket);
        let key = if keyless { Some(upgrade::Key::generate()?) } else { None };
        // Where gRPC is served, a call's body and its answer run side by side and end in trailers.
        let call = self.http2 && outgoing.grpc;
        let pulse = (call || !outgoing.body.is_end_stream()).then(Pulse::new);
        let mut request = self.request(outgoing, call)?;
        if let Some(key) = &key {
            key.ask(request.headers_mut());
        }
        let asking = self.ask(request, pulse.clone());
        Ok(async move {
            let response = asking.await?;
            self.hand_back(response, Asked { upgrade: asked, key, on_client, pulse, call, leash })
        })
    }

    /// The app's answer as the client will see it.
    fn hand_back(
        &self,
        mut response: Response<Incoming>,
        asked: Asked,
    ) -> Result<Response<Body>, UpstreamError> {
        let Asked { upgrade: asked, key, on_client, pulse, call, leash } = asked;
        let granted = upgrade::granted(asked, key.as_ref(), &response);
        let granted = granted.map_err(|()| UpstreamError::BadUpgrade)?;
        let on_app = granted.map(|_| hyper::upgrade::on(&mut response));
        strip_response(response.headers_mut());
        if let Some(upgrade) = granted {
            upgrade::grant(upgrade, key.as_ref(), &mut response);
        }
        if let (Some(client), Some(app)) = (on_client, on_app) {
            let (lifecycle, metrics) = (self.lifecycle.clone(), self.metrics.clone());
            tunnel::open(client, app, Terms { idle: self.idle, leash, lifecycle, metrics });
            return Ok(response.map(|_| Body::Empty));
        }
        // An `EventSource` asks again, whatever its stream ended with; any other answer that ended
        // in order would be taken for the whole.
        let in_order = is_event_stream(response.headers());
        Ok(response.map(|body| {
            let mut body = Body::stream(body, Some(self.idle));
            body = if call {
                body.without_these_trailers(&self.unwanted_trailers)
            } else {
                body.without_trailers()
            };
            if let Some(pulse) = &pulse {
                body = body.sharing(pulse);
            }
            match leash {
                Some(leash) => body.tied(leash, in_order),
                None => body,
            }
        }))
    }

    /// The request as the app will see it.
    fn request(&self, outgoing: Outgoing, call: bool) -> Result<Request<Body>, UpstreamError> {
        let Outgoing { method, path_and_query, headers, body, upgrade, extensions, .. } = outgoing;
        let mut request = Request::new(if call {
            // The silence of one side of a call is not that of the call.
            body.silent_for(None)
        } else {
            // Trailers come after the judgement, under whatever name (RFC 9110 §6.5.1).
            body.without_trailers()
        });
        *request.method_mut() = method;
        *request.headers_mut() = headers;
        *request.extensions_mut() = extensions;
        if let Some(host) = &self.host {
            request.headers_mut().insert(HOST, host.clone());
        }
        let mut authority = self.authority.clone();
        if self.http2 {
            // It says `:authority` and not `Host` (RFC 9113 §8.3.1); the connector asks neither.
            if let Some(host) = request.headers_mut().remove(HOST) {
                authority = Authority::try_from(host.as_bytes())
                    .map_err(|error| UpstreamError::Unsendable(error.into()))?;
            }
            if outgoing.wants_trailers {
                request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
            }
        } else if loses_its_body(&request) {
            let chunked = HeaderValue::from_static("chunked");
            request.headers_mut().insert(TRANSFER_ENCODING, chunked);
        }
        *request.uri_mut() = uri(self.scheme.clone(), authority, path_and_query)
            .map_err(UpstreamError::Unsendable)?;
        if let Some(upgrade) = upgrade {
            upgrade::name(upgrade, request.headers_mut());
            // Bytes behind the handshake are frames only once the app has agreed.
            *request.body_mut() = Body::Empty;
        }
        Ok(request)
    }

    /// Asks once, and once more where the app had just closed the kept connection and asking twice
    /// changes nothing (RFC 9110 §9.2.2). hyper itself asks again where no byte had been written.
    fn ask(
        &self,
        request: Request<Body>,
        pulse: Option<Pulse>,
    ) -> impl Future<Output = Result<Response<Incoming>, UpstreamError>> + Send + use<'_> {
        let safe = [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method());
        let (head, body) = request.into_parts();
        let again = (safe && body.is_end_stream()).then(|| (head.clone(), pulse.clone()));
        let first = self.ask_once(Request::from_parts(head, body), pulse);
        async move {
            match (first.await?, again) {
                (Err(error), Some((head, pulse))) if error::is_stale(&error) => {
                    tracing::debug!("the app had closed a kept connection; asking again");
                    self.metrics.upstream_retried();
                    let again = self.ask_once(Request::from_parts(head, Body::Empty), pulse);
                    Box::pin(again).await?.map_err(UpstreamError::from)
                }
                (answer, _) => answer.map_err(UpstreamError::from),
            }
        }
    }

    fn ask_once(
        &self,
        request: Request<Body>,
        pulse: Option<Pulse>,
    ) -> impl Future<Output = Result<Result<Response<Incoming>, legacy::Error>, UpstreamError>>
    + Send
    + use<'_> {
        let mut request = request.map(|body| Upload::new(body, pulse.clone()));
        let chatter = Chatter::listen(&mut request);
        let answer = self.pools.here().request(request);
        async move { self.answer(pin!(answer), &chatter, pulse.as_ref()).await }
    }

    /// The answer, unless the app chatters or falls silent.
    async fn answer(
        &self,
        mut answer: Pin<&mut ResponseFuture>,
        chatter: &Chatter,
        pulse: Option<&Pulse>,
    ) -> Result<Result<Response<Incoming>, legacy::Error>, UpstreamError> {
        let mut answer = poll_fn(|cx| match answer.as_mut().poll(cx) {
            // However fast they came.
            Poll::Ready(_) if chatter.is_too_much() => Poll::Ready(Err(UpstreamError::Chatter)),
            Poll::Ready(answer) => Poll::Ready(Ok(answer)),
            Poll::Pending => chatter.poll(cx).map(|()| Err(UpstreamError::Chatter)),
        });
        let Some(pulse) = pulse else {
            let silent = |_| UpstreamError::Idle(self.idle);
            return timeout(self.idle, answer).await.map_err(silent)?;
        };
        tokio::select! {
            biased;
            answer = &mut answer => answer,
            () = pulse.silence(self.idle) => Err(UpstreamError::Idle(self.idle)),
        }
    }
}

fn pool(connector: &Connector, http2: bool) -> Pool {
    Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(KEPT)
        .pool_max_idle_per_host(MOST_KEPT)
        .http1_max_headers(MOST_FIELDS)
        // An app that compares `SOAPAction` by case keeps working; what we add, or what came in
        // HTTP/2, is written as people write it.
        .http1_preserve_header_case(true)
        .http1_title_case_headers(true)
        // `Host` is ours to choose.
        .set_host(false)
        .http2_only(http2)
        .http2_initial_stream_window_size(STREAM_WINDOW)
        .http2_initial_connection_window_size(CONNECTION_WINDOW)
        .http2_max_send_buf_size(STREAM_WINDOW as usize)
        .http2_max_header_list_size(MOST_HEAD)
        .http2_keep_alive_interval(PING)
        .http2_keep_alive_timeout(PING)
        .build(connector.clone())
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = value.and_then(|value| value.split(';').next());
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("text/event-stream"))
}

/// Whether hyper would leave out the body, as it does for methods that hardly ever have one, unless
/// a field says that there is one.
fn loses_its_body(request: &Request<Body>) -> bool {
    [Method::GET, Method::HEAD].contains(request.method())
        && !request.body().is_end_stream()
        && !request.headers().contains_key(CONTENT_LENGTH)
}

/// Never by joining strings: a target such as `*` would become part of the port.
fn uri(scheme: Scheme, authority: Authority, path: PathAndQuery) -> Result<Uri, http::Error> {
    let mut parts = http::uri::Parts::default();
    parts.scheme = Some(scheme);
    parts.authority = Some(authority);
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).map_err(http::Error::from)
}
