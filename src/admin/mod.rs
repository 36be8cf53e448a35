//! `[admin]`: `/livez`, `/readyz`, `/metrics` and `POST /drain`, on a port of their own.
//!
//! The port changes one thing (readiness) and shows no configuration. It answers only to names
//! that cannot be rebound to it: a page in somebody's browser cannot reach it through a DNS name
//! of its own.

use std::{
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HOST, ORIGIN, X_CONTENT_TYPE_OPTIONS},
    uri::Authority,
};
use http_body_util::Full;
use hyper::body::Incoming;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::base::{metrics::Metrics, side_server};

mod client;
mod exposition;
mod readiness;

pub use self::{
    client::{CallError, Door, DoorError},
    readiness::{Readiness, State},
};

const PLAIN: &str = "text/plain; charset=utf-8";

/// `[admin]` of the configuration.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where probes, Prometheus and `vestibule drain` connect; never the public port.
    pub listen: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self { listen: "127.0.0.1:4191".to_owned() }
    }
}

/// Why there is no admin port.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// `admin.listen` is not an address.
    #[error("expected an address with a port, such as \"127.0.0.1:4191\"")]
    Address(#[source] io::Error),
    /// The address is in use, or may not be used.
    #[error("cannot listen on {address}")]
    Bind {
        /// As configured.
        address: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// A bound admin port.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
}

impl Admin {
    /// Binds the port on the runtime that is entered.
    ///
    /// # Errors
    /// The address is malformed or taken.
    pub fn bind(settings: &Settings) -> Result<Self, AdminError> {
        let addresses: Vec<SocketAddr> =
            settings.listen.to_socket_addrs().map_err(AdminError::Address)?.collect();
        let failed = |source| AdminError::Bind { address: settings.listen.clone(), source };
        let listener = std::net::TcpListener::bind(addresses.as_slice()).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        Ok(Self { listener: TcpListener::from_std(listener).map_err(failed)? })
    }

    /// Where it listens, with the port that port 0 became.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers until `stop`. Stop it last: a drain is watched through this port.
    pub async fn serve(self, readiness: Readiness, metrics: Metrics, stop: CancellationToken) {
        let answer = move |peer: SocketAddr, request: Request<Incoming>| {
            let answer = answer(
                peer,
                request.method(),
                request.uri().path(),
                request.headers(),
                &readiness,
                &metrics,
            );
            async move { answer }
        };
        side_server::serve(self.listener, None, stop, answer).await;
    }
}

fn answer(
    peer: SocketAddr,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    readiness: &Readiness,
    metrics: &Metrics,
) -> Response<Full<Bytes>> {
    if !is_direct(headers) {
        return text(StatusCode::MISDIRECTED_REQUEST, "connect by IP address or as localhost");
    }
    match (path, method) {
        ("/livez", &Method::GET | &Method::HEAD) => text(StatusCode::OK, "alive"),
        ("/readyz", &Method::GET | &Method::HEAD) => {
            let state = readiness.state();
            let status = match state {
                State::Ready => StatusCode::OK,
                State::NoMetadata | State::Draining => StatusCode::SERVICE_UNAVAILABLE,
            };
            text(status, state.words())
        }
        ("/metrics", &Method::GET | &Method::HEAD) => {
            metrics.replica().ready(readiness.state() == State::Ready);
            let (content, text) = exposition::in_form(headers, metrics.render());
            response(StatusCode::OK, content, text)
        }
        ("/drain", &Method::POST) if is_page(headers) => {
            text(StatusCode::FORBIDDEN, "pages may not drain")
        }
        ("/drain", &Method::POST) => drain(peer, readiness),
        ("/livez" | "/readyz" | "/metrics", _) => not_allowed("GET, HEAD"),
        ("/drain", _) => not_allowed("POST"),
        _ => text(StatusCode::NOT_FOUND, "not found"),
    }
}

/// Takes readiness back and says how many connections are left, at once: whoever waits asks again.
fn drain(peer: SocketAddr, readiness: &Readiness) -> Response<Full<Bytes>> {
    if !peer.ip().to_canonical().is_loopback() {
        return text(StatusCode::FORBIDDEN, "only this machine may drain");
    }
    let lifecycle = readiness.lifecycle();
    if !lifecycle.is_draining() {
        tracing::info!("draining: not ready any more, connections may finish");
    }
    lifecycle.drain();
    let left = lifecycle.connections().len();
    response(StatusCode::OK, "application/json", format!("{{\"connections\":{left}}}\n"))
}

/// Whether a browser sent this for a page: an operator's own browser is on this machine too.
fn is_page(headers: &HeaderMap) -> bool {
    headers.contains_key(ORIGIN) || headers.contains_key("sec-fetch-site")
}

/// Whether the caller used an address, or a name that DNS does not decide about.
fn is_direct(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    // A Host has no user (RFC 9110 §7.2); `http::uri::Authority` would take one.
    let named = !host.as_bytes().contains(&b'@');
    let Ok(authority) = Authority::try_from(host.as_bytes()) else { return false };
    let host = authority.host();
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    named && (bare.parse::<IpAddr>().is_ok() || host.eq_ignore_ascii_case("localhost"))
}

fn not_allowed(allow: &'static str) -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

fn text(status: StatusCode, words: &str) -> Response<Full<Bytes>> {
    response(status, PLAIN, format!("{words}\n"))
}

fn response(status: StatusCode, content: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests;
