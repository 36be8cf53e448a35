//! `[upstream]`: the app. One pool of connections per worker, streaming both ways.
//!
//! Only an [`Inbound`] can be forwarded, so the target that was judged is the target that is sent.

use std::{future::Future, pin::Pin, time::Duration};

use futures_util::future::Either;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, Uri,
    header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, TE, TRANSFER_ENCODING},
    uri::{Authority, PathAndQuery, Scheme},
};
use http_body::Body as _;
use hyper::{body::Incoming, upgrade::OnUpgrade};
use tokio::time::Instant;

use self::{
    address::Address, connector::Connector, idle::Upload, line::Patience, multiplexed::Multiplexed,
    pool::Pool, tunnel::Terms,
};
use crate::{
    base::{
        body::{Body, Unwanted},
        leash::Leash,
        lifecycle::Lifecycle,
        metrics::Metrics,
        pulse::Pulse,
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
mod line;
mod multiplexed;
mod pool;
mod settings;
mod tls;
mod tunnel;
mod upgrade;

#[cfg(test)]
mod tests;

pub use self::{
    address::AddressError,
    connector::ConnectError,
    error::{BuildError, UpstreamError},
    settings::Settings,
    tls::TlsError,
};

/// Connections to the app, for each worker its own.
#[derive(Debug)]
enum Pools {
    Http1(PerWorker<Pool>),
    Http2(Box<PerWorker<Multiplexed>>),
}

/// An answer's head, and when it came.
#[derive(Debug)]
struct Answered {
    response: Response<Incoming>,
    came: Instant,
}

/// A request as it was, for those that may be sent twice. The case of its names is left out: the
/// copy is made for every GET, and few are sent twice.
struct Again {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

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
    pools: Pools,
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
        let pools = if settings.http2 {
            Pools::Http2(Box::new(PerWorker::new(workers, || Multiplexed::new(&connector))))
        } else {
            Pools::Http1(PerWorker::new(workers, || Pool::new(connector.clone())))
        };
        Ok(Self {
            pools,
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
        let sending = self.send(inbound.into_outgoing(), sent, leash);
        async move {
            let answer = match sending {
                Ok(sending) => sending.await,
                Err(error) => Err(error),
            };
            match &answer {
                Ok((_, came)) => {
                    let took = came.saturating_duration_since(sent);
                    exchange.upstream = Some(took);
                    exchange.answered = Some(came.into_std());
                    self.metrics.upstream(took);
                }
                Err(error) => {
                    exchange.upstream = Some(sent.elapsed());
                    self.metrics.upstream_error(error.reason());
                }
            }
            answer.map(|(response, _)| response)
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
        sent: Instant,
        leash: Option<Leash>,
    ) -> Result<
        impl Future<Output = Result<(Response<Body>, Instant), UpstreamError>> + Send + use<'_>,
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
        let patience = Patience { sent, idle: self.idle, pulse: pulse.clone() };
        let asking = self.ask(request, patience);
        Ok(async move {
            let Answered { response, came } = asking.await?;
            let asked = Asked { upgrade: asked, key, on_client, pulse, call, leash };
            Ok((self.hand_back(response, asked)?, came))
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
        *request.uri_mut() = if self.http2 {
            let mut authority = self.authority.clone();
            // It says `:authority` and not `Host` (RFC 9113 §8.3.1); the connector asks neither.
            if let Some(host) = request.headers_mut().remove(HOST) {
                authority = Authority::try_from(host.as_bytes())
                    .map_err(|error| UpstreamError::Unsendable(error.into()))?;
            }
            if outgoing.wants_trailers {
                request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
            }
            uri(self.scheme.clone(), authority, path_and_query)
                .map_err(UpstreamError::Unsendable)?
        } else {
            if loses_its_body(&request) {
                let chunked = HeaderValue::from_static("chunked");
                request.headers_mut().insert(TRANSFER_ENCODING, chunked);
            }
            path_and_query.into()
        };
        if let Some(upgrade) = upgrade {
            upgrade::name(upgrade, request.headers_mut());
            // Bytes behind the handshake are frames only once the app has agreed.
            *request.body_mut() = Body::Empty;
        }
        Ok(request)
    }

    /// Asks once, and once more where the app had just closed the kept connection and asking twice
    /// changes nothing (RFC 9110 §9.2.2). Where no byte had been written, the pool asks again.
    fn ask(
        &self,
        request: Request<Body>,
        patience: Patience,
    ) -> Pin<Box<dyn Future<Output = Result<Answered, UpstreamError>> + Send + '_>> {
        let again = Again::of(&request).map(|again| (again, patience.pulse.clone()));
        let pulse = patience.pulse.clone();
        let request = request.map(|body| Upload::new(body, pulse));
        let first = match &self.pools {
            Pools::Http1(pools) => Either::Left(pools.here().ask(request, patience)),
            Pools::Http2(pools) => Either::Right(pools.here().ask(request, patience)),
        };
        // In a box, or every future around it would have room for all of it twice.
        Box::pin(async move {
            match (first.await, again) {
                (Err(error), Some((again, pulse))) if self.is_stale(&error) => {
                    tracing::debug!("the app had closed a kept connection; asking again");
                    self.metrics.upstream_retried();
                    Box::pin(self.ask_again(again.into_request(), pulse)).await
                }
                (answer, _) => answer,
            }
        })
    }

    /// Whether the connection may have ended because it was time. hyper does not say how one ended
    /// that speaks HTTP/2.
    fn is_stale(&self, error: &UpstreamError) -> bool {
        error.is_stale() || self.http2 && matches!(error, UpstreamError::Broken(_))
    }

    async fn ask_again(
        &self,
        request: Request<Upload>,
        pulse: Option<Pulse>,
    ) -> Result<Answered, UpstreamError> {
        let patience = Patience { sent: Instant::now(), idle: self.idle, pulse };
        match &self.pools {
            // Another kept connection may have been closed as well.
            Pools::Http1(pools) => pools.here().ask_on_a_new_line(request, patience).await,
            Pools::Http2(pools) => pools.here().ask(request, patience).await,
        }
    }
}

impl Again {
    fn of(request: &Request<Body>) -> Option<Self> {
        let safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        (safe && request.body().is_end_stream()).then(|| Self {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: request.headers().clone(),
        })
    }

    fn into_request(self) -> Request<Upload> {
        let mut request = Request::new(Upload::new(Body::Empty, None));
        *request.method_mut() = self.method;
        *request.uri_mut() = self.uri;
        *request.headers_mut() = self.headers;
        request
    }
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
