//! The browser's way in and out.

mod account;
mod callback;
mod flow;
mod flow_jar;
mod fragment;
mod kept_form;
mod parameters;
mod return_to;
mod sign_out;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Response, StatusCode, header};

pub use self::{callback::AuthorizationRefused, parameters::ParameterError, return_to::ReturnTo};
use self::{flow::Flow, flow_jar::FlowJar, parameters::Parameters};
use crate::{
    base::{body::Body, clock::Clock, metrics::Metrics},
    entra::{AuthorizeRequest, EntraClient, EntraError, ResponseMode},
    pages::{self, Pages},
    request::{Exchange, Inbound, Intent, OwnCookies, PublicUrl, Site, Verdict},
    sealing::Keyring,
    session::{Found, RenewalError, SessionCookies, Sessions, StoreError, Trouble, WriteError},
};

/// Path of the redirect URI.
pub const CALLBACK: &str = "/.auth/login/aad/callback";
/// Path that begins a sign-in.
pub const LOGIN: &str = "/.auth/login/aad";
/// Path that sends a kept form.
pub const FORM: &str = "/.auth/form";
/// Path that ends the session.
pub const LOGOUT: &str = "/.auth/logout";

/// A sign-in that succeeded this often in a minute, without a session that sticks, is a loop.
const ROUNDS: usize = 3;
/// Microsoft's answer makes us begin again at most this often in one sign-in.
const RESTARTS: u8 = 1;

/// Signs browsers in and out.
#[derive(Debug)]
pub struct SignIn {
    entra: Arc<EntraClient>,
    keyring: Arc<Keyring>,
    sessions: Arc<Sessions>,
    pages: Arc<Pages>,
    public_url: PublicUrl,
    /// Bytes of the largest form that is kept.
    form_limit: u64,
    keep_fragment: bool,
    clock: Clock,
    metrics: Metrics,
}

/// Why a sign-in, or one of our own URLs, cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// The callback's parameters are not those of one answer of Microsoft.
    #[error("the callback's parameters were refused")]
    Parameters(#[from] ParameterError),
    /// The browser brought no sign-in state at all.
    #[error("the browser sent no sign-in cookie")]
    NoJar,
    /// The browser's sign-in state has no such sign-in.
    #[error("no sign-in in progress has this state")]
    UnknownFlow,
    /// Microsoft answered the browser with an error.
    #[error("microsoft refused the sign-in")]
    Refused(#[source] Box<AuthorizationRefused>),
    /// Microsoft answered us with an error, or not at all.
    #[error("microsoft did not complete the sign-in")]
    Entra(#[source] Box<EntraError>),
    /// The session does not fit in its cookies.
    #[error("the session cannot be kept in cookies")]
    Write(#[from] WriteError),
    /// Sign-in succeeded three times in a minute and the browser never came back with a session.
    #[error("sign-in goes round in circles")]
    Loop {
        /// What became of the session that it was given.
        trouble: Trouble,
    },
    /// The store cannot say whether there is a session.
    #[error("the session store does not answer")]
    Store(#[from] StoreError),
    /// The session behind a request of our own URLs cannot be renewed now.
    #[error("the session cannot be renewed now")]
    Renewal(#[from] RenewalError),
    /// The request needs a session and a script, or a foreign page, sent it.
    #[error("there is no session")]
    LoginRequired,
    /// A page of another site tried to do something in the user's name.
    #[error("another site sent this request")]
    Foreign,
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness")]
    Random(#[from] getrandom::Error),
}

impl From<EntraError> for SignInError {
    fn from(error: EntraError) -> Self {
        Self::Entra(Box::new(error))
    }
}

/// What [`SignIn`] is made of.
#[derive(Debug)]
pub struct Parts {
    /// Microsoft's protocol.
    pub entra: Arc<EntraClient>,
    /// Seals the jar.
    pub keyring: Arc<Keyring>,
    /// Sessions.
    pub sessions: Arc<Sessions>,
    /// Our HTML.
    pub pages: Arc<Pages>,
    /// Our origin.
    pub public_url: PublicUrl,
    /// `session.form_limit`, in bytes.
    pub form_limit: u64,
    /// `session.keep_fragment`.
    pub keep_fragment: bool,
    /// The time.
    pub clock: Clock,
    /// Counters.
    pub metrics: Metrics,
}

impl SignIn {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        let Parts { entra, keyring, sessions, pages, public_url, .. } = parts;
        let Parts { form_limit, keep_fragment, clock, metrics, .. } = parts;
        Self {
            entra,
            keyring,
            sessions,
            pages,
            public_url,
            form_limit,
            keep_fragment,
            clock,
            metrics,
        }
    }

    /// Answers a request that needs a session and has none: a navigation goes to Microsoft, a form
    /// of ours is kept, anything else is told so.
    ///
    /// # Errors
    /// Sign-in goes round in circles, or Microsoft's metadata is not known.
    pub async fn challenge(
        &self,
        exchange: &mut Exchange,
        inbound: &mut Inbound,
    ) -> Result<Response<Body>, SignInError> {
        match inbound.intent() {
            Intent::Navigation => {}
            // A kept form of another site's would be a forged request that waits (C4).
            Intent::FormPost if inbound.site() == Site::SameOrigin && self.form_limit > 0 => {
                return self.keep_form(exchange, inbound).await;
            }
            _ => return Ok(self.login_required(exchange, inbound)),
        }
        let return_to = ReturnTo::parse(inbound.target().path_and_query(), &self.public_url)
            .or_else(|| ReturnTo::parse(inbound.path(), &self.public_url))
            .unwrap_or_else(ReturnTo::home);
        let reason = if exchange.session_ended { exchange.reason } else { "no session" };
        exchange.decide(Verdict::SignIn, reason);
        if self.keep_fragment && *inbound.method() == Method::GET {
            return Ok(self.remember_fragment(&return_to));
        }
        self.send_to_microsoft(exchange, inbound.own_cookies(), &return_to, &Wishes::default(), 0)
            .await
    }

    /// `GET /.auth/login/aad`: a sign-in that was asked for.
    ///
    /// # Errors
    /// As [`SignIn::challenge`].
    pub async fn login(
        &self,
        exchange: &mut Exchange,
        inbound: &Inbound,
    ) -> Result<Response<Body>, SignInError> {
        // Whoever asks for this very URL wants to go to Microsoft, unless a browser says that it is
        // a script that asks.
        let mode = inbound.headers().get("sec-fetch-mode");
        if mode.is_some_and(|mode| mode != "navigate") {
            return Ok(self.login_required(exchange, inbound));
        }
        let parameters = Parameters::of_query(inbound.query())?;
        let place = parameters.one("post_login_redirect_uri")?;
        let return_to = ReturnTo::parse_or_home(place, &self.public_url);
        let wishes = Wishes {
            prompt: parameters.one("prompt")?.filter(|prompt| PROMPTS.contains(prompt)),
            login_hint: parameters.one("login_hint")?,
            domain_hint: parameters.one("domain_hint")?,
            claims: None,
        };
        exchange.decide(Verdict::SignIn, "asked for");
        self.send_to_microsoft(exchange, inbound.own_cookies(), &return_to, &wishes, 0).await
    }

    /// Begins a flow, puts it in the jar and redirects to Microsoft.
    async fn send_to_microsoft(
        &self,
        exchange: &mut Exchange,
        cookies: &OwnCookies,
        return_to: &ReturnTo,
        wishes: &Wishes<'_>,
        restarts: u8,
    ) -> Result<Response<Body>, SignInError> {
        let mut jar = self.jar(cookies).unwrap_or_default();
        self.send_with_jar(exchange, cookies, &mut jar, return_to, wishes, restarts).await
    }

    async fn send_with_jar(
        &self,
        exchange: &mut Exchange,
        cookies: &OwnCookies,
        jar: &mut FlowJar,
        return_to: &ReturnTo,
        wishes: &Wishes<'_>,
        restarts: u8,
    ) -> Result<Response<Body>, SignInError> {
        let now = self.clock.unix();
        exchange.wanted = Some(return_to.as_str().to_owned());
        if jar.rounds(now) >= ROUNDS {
            // The person who reads the page and tries again gets three new rounds.
            jar.forget_rounds();
            self.keep_jar(exchange, jar);
            self.metrics.sign_in("loop");
            return Err(SignInError::Loop { trouble: self.sessions.trouble(cookies) });
        }
        let flow = Flow::begin(return_to, now, restarts)?;
        let (state, nonce, code_verifier) = (flow.state(), flow.nonce(), flow.code_verifier());
        let request = AuthorizeRequest {
            state: &state,
            nonce: &nonce,
            code_verifier: &code_verifier,
            prompt: wishes.prompt,
            login_hint: wishes.login_hint,
            domain_hint: wishes.domain_hint,
            claims: wishes.claims,
        };
        let location = self.entra.authorize_url(&request).await?;
        jar.add(flow, now);
        self.keep_jar(exchange, jar);
        // Whatever nobody can open now may be a good session: it stays (E18).
        let live = !exchange.session_ended && self.has_live_session(cookies).await.unwrap_or(true);
        if cookies.has_session() && !live {
            exchange.set_cookies.extend(self.sessions.clear(cookies));
        }
        self.metrics.sign_in("begun");
        Ok(redirect(StatusCode::FOUND, location.as_str()))
    }

    /// 401 for scripts, without any `Set-Cookie`, so that a page's fetches cannot pile up state.
    fn login_required(&self, exchange: &mut Exchange, inbound: &Inbound) -> Response<Body> {
        let reason = if exchange.session_ended { exchange.reason } else { "no session" };
        exchange.decide(Verdict::LoginRequired, reason);
        self.metrics.refusal("login_required");
        login_required(inbound.intent(), &self.public_url)
    }

    fn jar(&self, cookies: &OwnCookies) -> Option<FlowJar> {
        let sealed = SessionCookies::open_jar(cookies.jar.as_deref()?)?;
        FlowJar::open(&sealed, &self.keyring)
    }

    /// Sends the jar back to the browser, or takes it away where nothing is left in it.
    fn keep_jar(&self, exchange: &mut Exchange, jar: &mut FlowJar) {
        let cookies = self.sessions.cookies();
        let cross_site = self.entra.response_mode() == ResponseMode::FormPost;
        if jar.is_empty() {
            exchange.set_cookies.push(cookies.clear_jar(cross_site));
            return;
        }
        self.metrics.sealed("flow");
        let sealed = jar.seal(cookies.jar_capacity(), &self.keyring).unwrap_or_default();
        let max_age = Duration::from_secs(jar.seconds().unsigned_abs());
        match cookies.jar(&sealed, cross_site, max_age) {
            Ok(line) => exchange.set_cookies.push(line),
            Err(error) => tracing::warn!(%error, "the sign-in cookie could not be written"),
        }
    }

    async fn has_live_session(&self, cookies: &OwnCookies) -> Result<bool, StoreError> {
        Ok(matches!(self.sessions.open(cookies).await?, Found::Live(_)))
    }
}

/// What a link to `/.auth/login/aad` may wish for.
#[derive(Debug, Default)]
struct Wishes<'a> {
    prompt: Option<&'a str>,
    login_hint: Option<&'a str>,
    domain_hint: Option<&'a str>,
    claims: Option<&'a str>,
}

/// `prompt` values that Microsoft knows (Learn: OAuth 2.0 authorization code flow); others are not passed on.
const PROMPTS: [&str; 5] = ["login", "none", "consent", "select_account", "create"];

/// Where a sign-in begins that ends at `place`.
pub fn login_url(place: &str) -> String {
    let place: String = url::form_urlencoded::byte_serialize(place.as_bytes()).collect();
    format!("{LOGIN}?post_login_redirect_uri={place}")
}

/// The answer to a request of a script that has no session.
pub fn login_required(intent: Intent, public_url: &PublicUrl) -> Response<Body> {
    if intent == Intent::Grpc {
        // gRPC clients read the status from trailers, or from the head where there is no body
        // (PROTOCOL-HTTP2, "Trailers-Only"); 16 is UNAUTHENTICATED.
        let mut response = Response::new(Body::Empty);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert("grpc-status", HeaderValue::from_static("16"));
        headers.insert("grpc-message", HeaderValue::from_static("sign-in required"));
        no_store(&mut response);
        return response;
    }
    let login_url = format!("{}{LOGIN}", public_url.origin());
    let body = serde_json::json!({ "error": "login_required", "login_url": login_url });
    let mut response = pages::json(StatusCode::UNAUTHORIZED, &body);
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

/// A redirect that nobody stores. `location` is a URL of ours or Microsoft's, so it is ASCII.
fn redirect(status: StatusCode, location: &str) -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = status;
    if let Ok(location) = HeaderValue::from_maybe_shared(Bytes::from(location.to_owned())) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Cookie"));
    response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    no_store(&mut response);
    response
}

fn no_store(response: &mut Response<Body>) {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
}
