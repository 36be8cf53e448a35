//! A request after its one reading.

use std::{fmt, time::Duration};

use http::{Extensions, HeaderMap, HeaderValue, Method, uri::PathAndQuery};
use http_body::Body as _;
use hyper::upgrade::OnUpgrade;

use super::{
    bad_request::BadRequest,
    cookie_header::OwnCookies,
    hop_by_hop::Upgrade,
    intent::{Intent, Site},
    peer::{Chain, Peer},
    target::Target,
};
use crate::base::{
    body::{Body, Unwanted},
    leash::Leash,
};

/// A request that means the same to every reader: one host, one target, one framing; without our
/// cookies and without what ends at this hop. Only [`super::Reader::read`] makes one.
pub struct Inbound {
    pub(super) method: Method,
    pub(super) target: Target,
    pub(super) headers: HeaderMap,
    pub(super) body: Body,
    pub(super) intent: Intent,
    pub(super) site: Site,
    pub(super) own_cookies: OwnCookies,
    pub(super) peer: Peer,
    pub(super) chain: Chain,
    pub(super) authorization: Option<HeaderValue>,
    pub(super) upgrade: Option<Upgrade>,
    pub(super) on_upgrade: Option<OnUpgrade>,
    pub(super) wants_trailers: bool,
    pub(super) extensions: Extensions,
}

/// What goes to the app.
pub struct Outgoing {
    /// The method that was judged.
    pub method: Method,
    /// The target that was judged.
    pub path_and_query: PathAndQuery,
    /// The fields, without `Connection`, framing but `Content-Length`, and `Upgrade`.
    pub headers: HeaderMap,
    /// The body.
    pub body: Body,
    /// What the client wants its connection to become.
    pub upgrade: Option<Upgrade>,
    /// Whether it is a gRPC call, whose body and answer run side by side and end in trailers.
    pub grpc: bool,
    /// The client's end of that tunnel.
    pub on_upgrade: Option<OnUpgrade>,
    /// Whether the client understands trailers (`TE: trailers`), as gRPC needs.
    pub wants_trailers: bool,
    /// What hyper remembers of the request, such as the case of its header names.
    pub extensions: Extensions,
}

impl Inbound {
    /// The method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The target, as it will be forwarded.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The path, as it will be forwarded.
    pub fn path(&self) -> &str {
        self.target.path()
    }

    /// The query, as it will be forwarded.
    pub fn query(&self) -> Option<&str> {
        self.target.query()
    }

    /// The fields that are the app's business; `Host` is the public one.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The same, to strip and to assert.
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.headers
    }

    /// What kind of caller this is.
    pub fn intent(&self) -> Intent {
        self.intent
    }

    /// Where the request was made.
    pub fn site(&self) -> Site {
        self.site
    }

    /// Our cookies, which the app does not get.
    pub fn own_cookies(&self) -> &OwnCookies {
        &self.own_cookies
    }

    /// Who is at the other end of the connection.
    pub fn peer(&self) -> &Peer {
        &self.peer
    }

    /// `X-Forwarded-For` for the app: the believed list and the peer. `None` for a Unix peer that
    /// named nobody.
    pub fn forwarded_for(&self) -> Option<HeaderValue> {
        HeaderValue::try_from(self.chain.with_peer(&self.peer)?).ok()
    }

    /// The upgrade that is wanted. Never anything but a WebSocket.
    pub fn is_upgrade(&self) -> Option<Upgrade> {
        self.upgrade
    }

    /// Whether the client understands trailers.
    pub fn wants_trailers(&self) -> bool {
        self.wants_trailers
    }

    /// The caller's own `Authorization`, kept for rules that pass it on; marked sensitive.
    pub fn authorization(&self) -> Option<&HeaderValue> {
        self.authorization.as_ref()
    }

    /// The caller's own bearer token (RFC 6750 §2.1).
    pub fn bearer(&self) -> Option<&str> {
        let (scheme, token) = self.authorization.as_ref()?.to_str().ok()?.split_once(' ')?;
        let token = token.trim_matches(' ');
        (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
    }

    /// Takes the body, for endpoints of ours.
    pub fn take_body(&mut self) -> Body {
        std::mem::take(&mut self.body)
    }

    /// Limits the body: its size, and the client's silence.
    ///
    /// # Errors
    /// The body is announced to be larger.
    pub fn limit_body(
        &mut self,
        cap: Option<u64>,
        silence: Option<Duration>,
    ) -> Result<(), BadRequest> {
        if let Some(cap) = cap {
            if self.body.size_hint().lower() > cap {
                return Err(BadRequest::LargeBody);
            }
            self.body = self.take_body().at_most(cap);
        }
        if silence.is_some() {
            self.body = self.take_body().silent_for(silence);
        }
        Ok(())
    }

    /// Ties a body that is still under way to what `leash` gives: it breaks off with that.
    pub fn tie_body(&mut self, leash: impl FnOnce() -> Leash) {
        if !self.body.is_end_stream() {
            self.body = self.take_body().tied(leash(), false);
        }
    }

    /// Takes `unwanted` fields out of the trailers of those requests that may have any.
    pub fn strip_trailers(&mut self, unwanted: &Unwanted) {
        if self.intent == Intent::Grpc {
            self.body = self.take_body().without_these_trailers(unwanted);
        }
    }

    /// Ends our interest in the request: what is left goes to the app.
    pub fn into_outgoing(self) -> Outgoing {
        Outgoing {
            method: self.method,
            path_and_query: self.target.to_path_and_query(),
            headers: self.headers,
            body: self.body,
            upgrade: self.upgrade,
            grpc: self.intent == Intent::Grpc,
            on_upgrade: self.on_upgrade,
            wants_trailers: self.wants_trailers,
            extensions: self.extensions,
        }
    }
}

impl fmt::Debug for Inbound {
    /// Header values may be secrets, and so may queries.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbound")
            .field("method", &self.method)
            .field("path", &self.path())
            .field("intent", &self.intent)
            .field("site", &self.site)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Outgoing {
    /// Header values may be secrets, and so may queries.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("method", &self.method)
            .field("path", &self.path_and_query.path())
            .field("upgrade", &self.upgrade)
            .finish_non_exhaustive()
    }
}
