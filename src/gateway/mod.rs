//! One request, from its head to its response: the pipeline.

mod access_log;
mod callers;
mod endpoint;
mod explanation;
mod rejection;

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;

pub use self::{access_log::LoggedBody, endpoint::Endpoint, rejection::Rejection};
use self::{
    access_log::Vigil,
    callers::{Caller, Callers},
};
use crate::{
    base::{
        body::{Body, Unwanted},
        clock::Clock,
        metrics::Metrics,
        secret::ExposeSecret,
    },
    identity::{Assertion, Identity},
    pages::Pages,
    request::{Exchange, Inbound, Peer, PublicUrl, Reader, Verdict, is_never_a_trailer},
    rules::{Decision, Rules},
    session::{Session, Sessions, Teller},
    sign_in::{SignIn, SignInError},
    upstream::Upstream,
};

/// Answers requests. Built whole from one configuration and never changed: a reload builds another.
#[derive(Debug)]
pub struct Gateway {
    reader: Reader,
    rules: Rules,
    identity: Identity,
    /// In whose name the app is told who is signed in.
    teller: Teller,
    callers: Callers,
    sign_in: SignIn,
    upstream: Arc<Upstream>,
    sessions: Arc<Sessions>,
    pages: Arc<Pages>,
    public_url: PublicUrl,
    log_user: bool,
    /// Longest silence of a client that sends a body.
    body_time: Duration,
    /// Largest request body where no rule says otherwise.
    body_bytes: Option<u64>,
    /// Names that are ours come no further in trailers than in the head.
    unwanted_trailers: Unwanted,
    clock: Clock,
    metrics: Metrics,
}

/// What a [`Gateway`] is made of.
#[derive(Debug)]
pub struct Parts {
    /// Reads requests in the one way that counts.
    pub reader: Reader,
    /// `[[rules]]`.
    pub rules: Rules,
    /// `[identity]`.
    pub identity: Identity,
    /// The browser's way in and out.
    pub sign_in: SignIn,
    /// The app.
    pub upstream: Arc<Upstream>,
    /// Sessions.
    pub sessions: Arc<Sessions>,
    /// Our HTML.
    pub pages: Arc<Pages>,
    /// Our origin.
    pub public_url: PublicUrl,
    /// Whether the access line names the user.
    pub log_user: bool,
    /// Longest silence of a client that sends a body.
    pub body_time: Duration,
    /// Largest request body, in bytes, where no rule says otherwise.
    pub body_bytes: Option<u64>,
    /// The time.
    pub clock: Clock,
    /// Counters.
    pub metrics: Metrics,
}

impl Gateway {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        let identity = parts.identity.clone();
        let unwanted_trailers =
            Unwanted::new(move |name| identity.is_reserved(name) || is_never_a_trailer(name));
        Self {
            callers: Callers::new(Arc::clone(&parts.sessions), parts.log_user),
            reader: parts.reader,
            rules: parts.rules,
            identity: parts.identity,
            teller: Teller::default(),
            sign_in: parts.sign_in,
            upstream: parts.upstream,
            sessions: parts.sessions,
            pages: parts.pages,
            public_url: parts.public_url,
            log_user: parts.log_user,
            body_time: parts.body_time,
            body_bytes: parts.body_bytes,
            unwanted_trailers,
            clock: parts.clock,
            metrics: parts.metrics,
        }
    }

    /// Answers one request. Every [`Rejection`] becomes a response in this function and in no
    /// other.
    pub async fn handle(&self, peer: Peer, request: Request<Incoming>) -> Response<LoggedBody> {
        let method = request.method().clone();
        let mut exchange = Exchange::begin(peer, method, request.uri());
        let request = request.map(|body| Body::stream(body, Some(self.body_time)));
        let vigil = Vigil::begin(&mut exchange, &self.metrics, self.log_user);
        let response = match self.answer(vigil.exchange, request).await {
            Ok(response) => response,
            Err(no) => {
                self.metrics.refusal(no.reason());
                let now = self.clock.unix();
                no.into_response(vigil.exchange, &self.pages, &self.public_url, now)
            }
        };
        vigil.end();
        self.finish(exchange, response)
    }

    /// The pipeline. Its order is the security policy: read the crate docs before moving a line.
    async fn answer(
        &self,
        exchange: &mut Exchange,
        request: Request<Body>,
    ) -> Result<Response<Body>, Rejection> {
        // The rules judge the very bytes that the app will get; a target with two readings is
        // refused.
        let mut inbound = self.reader.read(exchange, request)?;
        // Whoever may set these headers *is* the user, so no path and no method is exempt.
        self.identity.strip(inbound.headers_mut());

        if inbound.target().is_asterisk() {
            return Ok(options(exchange));
        }
        if let Some(endpoint) = Endpoint::at(inbound.path()) {
            // What is rare goes into a box: each request would carry room for it, and each idle
            // connection keeps the room of a request.
            return Box::pin(self.serve(endpoint, exchange, inbound)).await;
        }

        let rule = self.rules.first_match(inbound.method(), inbound.target());
        exchange.rule = rule.name();
        // Where the answer does not depend on who asks, nobody has to be able to tell.
        let indifferent = rule.is_anonymous() || rule.is_deny();
        let caller = self.callers.identify(exchange, &inbound, indifferent).await?;
        match rule.decide(caller.as_ref().map(Caller::subject).as_ref()) {
            Decision::Allow => {}
            Decision::SignIn => {
                let challenge = Box::pin(self.sign_in.challenge(exchange, &mut inbound));
                return Ok(challenge.await?);
            }
            Decision::Forbid(denial) => return Err(Rejection::Forbidden(denial)),
        }

        match &caller {
            Some(caller) => {
                exchange.decide(Verdict::Allow, "session");
                self.assert(&caller.session, inbound.headers_mut());
            }
            None => exchange.decide(Verdict::Anonymous, "rule"),
        }
        if rule.pass_authorization() {
            pass_authorization(&mut inbound);
        }
        inbound.limit_body(rule.max_body().or(self.body_bytes), rule.body_time())?;
        inbound.strip_trailers(&self.unwanted_trailers);
        let forwarded_for = inbound.forwarded_for();
        self.identity.forward(forwarded_for, &exchange.request_id, inbound.headers_mut());
        // What is sent in a session, and what comes back, belongs to it as long as it takes.
        let leash = caller.map(|caller| {
            inbound.tie_body(|| self.sessions.leash(&caller.session));
            self.sessions.leash(&caller.session)
        });
        Ok(self.upstream.forward(inbound, exchange, leash).await?)
    }

    /// Tells the app who the user is.
    fn assert(&self, session: &Session, headers: &mut HeaderMap) {
        let told = session.told.by(&self.teller, || self.assertion(session));
        for (name, value) in told.headers() {
            headers.insert(name.clone(), value.clone());
        }
    }

    fn assertion(&self, session: &Session) -> HeaderMap {
        let tokens = &session.tokens;
        let assertion = Assertion {
            claims: session.principal.claims(),
            access_token: Some(tokens.access_token.expose_secret()),
            id_token: tokens.id_token.as_ref().map(ExposeSecret::expose_secret),
            expires_on: tokens.expires_at,
        };
        let mut headers = HeaderMap::new();
        self.identity.assert(&assertion, &mut headers);
        headers
    }

    /// Our own URLs.
    async fn serve(
        &self,
        endpoint: Endpoint,
        exchange: &mut Exchange,
        inbound: Inbound,
    ) -> Result<Response<Body>, Rejection> {
        exchange.decide(Verdict::Own, "own URL");
        let known = !matches!(endpoint, Endpoint::Unknown);
        if known && !endpoint.methods().contains(inbound.method()) {
            return Err(Rejection::Method(endpoint.methods()));
        }
        Ok(match endpoint {
            Endpoint::Login => self.sign_in.login(exchange, &inbound).await?,
            Endpoint::Callback => self.sign_in.callback(exchange, inbound).await?,
            Endpoint::Logout => self.sign_in.sign_out(exchange, &inbound).await?,
            Endpoint::FrontChannelLogout => self.sign_in.front_channel(exchange, &inbound).await?,
            Endpoint::Form => self.sign_in.send_kept_form(exchange, inbound).await?,
            Endpoint::Session => self.sign_in.session(exchange, &inbound).await?,
            Endpoint::Refresh => self.sign_in.refresh(exchange, &inbound).await?,
            Endpoint::Me => {
                let caller = self.callers.identify(exchange, &inbound, false).await?;
                let caller = caller.ok_or(SignInError::LoginRequired)?;
                self.sign_in.me(exchange, &caller.session)
            }
            Endpoint::Unknown => return Err(Rejection::NotFound),
        })
    }

    /// Cookies that go out whatever the outcome, caching rules, metrics and the access line.
    fn finish(&self, exchange: Exchange, response: Response<Body>) -> Response<LoggedBody> {
        let (mut head, body) = response.into_parts();
        if exchange.upstream.is_some() {
            self.drop_stolen_cookies(&mut head.headers);
        }
        if exchange.decision == Verdict::Allow && !head.headers.contains_key(header::CACHE_CONTROL)
        {
            // What one user was told must not be stored for the next (RFC 9111 §3.5).
            let private = HeaderValue::from_static("private");
            head.headers.insert(header::CACHE_CONTROL, private);
        }
        if !exchange.set_cookies.is_empty() {
            // A shared cache that stored this response would hand one user's session to all (E15).
            let no_store = HeaderValue::from_static("private, no-store");
            head.headers.insert(header::CACHE_CONTROL, no_store);
            for name in [header::EXPIRES, header::ETAG, header::AGE] {
                head.headers.remove(name);
            }
            for line in &exchange.set_cookies {
                head.headers.append(header::SET_COOKIE, line.clone());
            }
        }
        let (status, took) = (head.status.as_u16(), exchange.took());
        self.metrics.request(exchange.decision.word(), status, took);
        let body = if exchange.method == Method::HEAD { without_bytes(body) } else { body };
        let body = LoggedBody::new(body, exchange, status, self.log_user);
        Response::from_parts(head, body)
    }

    /// The app may not set or clear our cookies (A8).
    fn drop_stolen_cookies(&self, headers: &mut HeaderMap) {
        let cookies = self.sessions.cookies();
        let ours = |line: &HeaderValue| cookies.is_ours(line.as_bytes());
        if !headers.get_all(header::SET_COOKIE).iter().any(ours) {
            return;
        }
        let lines: Vec<HeaderValue> = headers
            .get_all(header::SET_COOKIE)
            .iter()
            .filter(|line| !ours(line))
            .cloned()
            .collect();
        headers.remove(header::SET_COOKIE);
        for line in lines {
            headers.append(header::SET_COOKIE, line);
        }
        self.metrics.set_cookie_dropped();
        tracing::warn!("the app tried to set a cookie of ours; the line was dropped");
    }
}

/// `OPTIONS *` asks about the server as a whole, and that is us (RFC 9110 §9.3.7).
fn options(exchange: &mut Exchange) -> Response<Body> {
    exchange.decide(Verdict::Own, "OPTIONS *");
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// Where a rule says so, the caller's own credentials reach the app, and ours do not.
fn pass_authorization(inbound: &mut Inbound) {
    let own = inbound.authorization().cloned();
    inbound.headers_mut().remove(header::AUTHORIZATION);
    if let Some(own) = own {
        inbound.headers_mut().insert(header::AUTHORIZATION, own);
    }
}

/// HEAD answers have no body, whoever wrote the response (RFC 9110 §9.3.2).
fn without_bytes(body: Body) -> Body {
    match body {
        Body::Full(_) => Body::Empty,
        other => other,
    }
}
