//! Every way to say no: status, page or JSON, and the words of the log line. The one place that
//! turns errors into responses.

use std::borrow::Cow;

use http::{HeaderValue, Response, StatusCode, header};

use super::explanation::{self, Explanation};
use crate::{
    base::{body::Body, clock},
    pages::{self, Action, Notice, Pages},
    request::{BadRequest, Exchange, PublicUrl, Verdict},
    rules::Denial,
    session::{RenewalError, StoreError},
    sign_in::{self, SignInError},
    upstream::UpstreamError,
};

/// `Allow` where a method is never forwarded: the usual ones are.
const FORWARDED: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// Why a request was not served.
#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    // The caller's fault.
    /// Two readers could understand it differently.
    #[error("the request was refused")]
    BadRequest(#[from] BadRequest),
    /// Another site's page used the session.
    #[error("another site's page sent this request")]
    CrossSite,
    /// A method that one of our URLs does not answer.
    #[error("the method is not allowed here")]
    Method(&'static [http::Method]),
    /// Below `/.auth/`, but nothing of ours.
    #[error("no such page")]
    NotFound,
    // The rules.
    /// A rule says no.
    #[error("a rule says no")]
    Forbidden(Denial),
    // Microsoft, or the way to it.
    /// The sign-in cannot go on.
    #[error(transparent)]
    SignIn(#[from] SignInError),
    /// The session's token has expired and cannot be renewed now.
    #[error(transparent)]
    Renewal(#[from] RenewalError),
    // The session store.
    /// It cannot say whether there is a session.
    #[error("the session store does not answer")]
    Store(#[source] StoreError),
    // The app.
    /// The app did not answer.
    #[error("the app did not answer")]
    Upstream(#[from] UpstreamError),
}

impl Rejection {
    /// The decision in the access line.
    fn verdict(&self) -> Verdict {
        match self {
            Self::CrossSite | Self::Forbidden(_) => Verdict::Forbid,
            Self::SignIn(SignInError::LoginRequired)
            | Self::Upstream(UpstreamError::SessionEnded(_)) => Verdict::LoginRequired,
            Self::SignIn(SignInError::Foreign) => Verdict::Forbid,
            Self::Method(_) | Self::NotFound => Verdict::Own,
            Self::BadRequest(_)
            | Self::SignIn(_)
            | Self::Renewal(_)
            | Self::Store(_)
            | Self::Upstream(_) => Verdict::Error,
        }
    }

    /// A fixed word or two for the log and the metric.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::BadRequest(bad) => bad.reason(),
            Self::CrossSite => "cross_site",
            Self::Method(_) => "method",
            Self::NotFound => "not_found",
            Self::Forbidden(Denial::Denied) => "denied",
            Self::Forbidden(Denial::Role) => "role",
            Self::Forbidden(Denial::Group) => "group",
            Self::Forbidden(Denial::User) => "user",
            Self::SignIn(error) => explanation::word(error),
            Self::Renewal(_) => "renewal_unavailable",
            Self::Store(_) => "store_unavailable",
            Self::Upstream(error) => error.reason(),
        }
    }

    fn explain(&self) -> Explanation<'_> {
        let plain = |status, title: &'static str, text: &'static str| Explanation {
            status,
            title: title.into(),
            text: vec![text.into()],
            ..Explanation::default()
        };
        match self {
            Self::BadRequest(bad) if bad.status() == StatusCode::MISDIRECTED_REQUEST => plain(
                bad.status(),
                "The app has another address",
                "It does not answer under the address that you used. Open it by its own address; \
                 whoever runs the app finds it in the configuration as server.public_url.",
            ),
            Self::BadRequest(bad @ BadRequest::LargeBody) => plain(
                bad.status(),
                "What you sent was not taken",
                "It is larger than is taken here.",
            ),
            Self::BadRequest(bad) => plain(
                bad.status(),
                "This request cannot be served",
                "Something in the request could be read in two ways, so it was refused. A link \
                 that was mistyped or cut is the usual cause.",
            ),
            Self::CrossSite | Self::SignIn(SignInError::Foreign) => plain(
                StatusCode::FORBIDDEN,
                "Refused: another site sent this",
                "A page of another site tried to do something here in your name. If you meant to \
                 do it, open this app itself and try again there.",
            ),
            Self::Method(_) => plain(
                StatusCode::METHOD_NOT_ALLOWED,
                "This address answers other requests",
                "The address exists, but not for this kind of request.",
            ),
            Self::NotFound => plain(
                StatusCode::NOT_FOUND,
                "There is nothing here",
                "Addresses below /.auth/ belong to the sign-in, and this is none of them.",
            ),
            Self::Forbidden(denial) => explanation::forbidden(*denial),
            Self::SignIn(error) => explanation::sign_in(error),
            Self::Renewal(error) => explanation::renewal(error),
            Self::Store(_) => explanation::store(),
            Self::Upstream(error) => explanation::upstream(error),
        }
    }

    /// The response: a page for people, JSON for scripts. Nothing of the request is reflected.
    pub fn into_response(
        self,
        exchange: &mut Exchange,
        pages: &Pages,
        public_url: &PublicUrl,
        now: i64,
    ) -> Response<Body> {
        exchange.decide(self.verdict(), self.reason());
        if self.verdict() == Verdict::LoginRequired {
            return sign_in::login_required(exchange.intent, public_url);
        }
        let explanation = self.explain().leading_to(exchange.wanted.as_deref());
        self.log(exchange, explanation.status);
        let (status, retry_after) = (explanation.status, explanation.retry_after);
        let mut response = if exchange.wants_page() {
            pages.notice(&notice(explanation, exchange, now))
        } else {
            pages::json(
                status,
                &serde_json::json!({ "error": self.reason(), "request_id": exchange.request_id }),
            )
        };
        let headers = response.headers_mut();
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if let Self::BadRequest(bad) = &self
            && bad.closes_connection()
        {
            // What follows on this connection may be the rest of what we could not read.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let Self::BadRequest(BadRequest::Method) = self {
            headers.insert(header::ALLOW, HeaderValue::from_static(FORWARDED));
        }
        if let Self::Method(methods) = self {
            let names: Vec<&str> = methods.iter().map(http::Method::as_str).collect();
            if let Ok(allow) = HeaderValue::from_str(&names.join(", ")) {
                headers.insert(header::ALLOW, allow);
            }
        }
        response
    }

    /// What an operator must see, with its causes; refusals are told by the access line alone.
    fn log(&self, exchange: &Exchange, status: StatusCode) {
        let request_id = exchange.request_id.as_str();
        if status.is_server_error() || matches!(self, Self::SignIn(_)) {
            let causes = causes(self);
            tracing::warn!(request_id, causes, reason = self.reason(), "{self}");
        }
    }
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = String::new();
    let mut source = error.source();
    while let Some(cause) = source {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

fn notice<'a>(explanation: Explanation<'a>, exchange: &Exchange, now: i64) -> Notice<'a> {
    let mut facts = explanation.facts;
    facts.push(("Request ID".into(), Cow::Owned(exchange.request_id.clone())));
    facts.push(("Time".into(), clock::rfc3339(now).into()));
    let mut actions = explanation.actions;
    if actions.is_empty() {
        actions.push(Action::Link { label: "Start page".into(), href: "/".into() });
    }
    Notice {
        status: explanation.status,
        title: explanation.title,
        text: explanation.text,
        facts,
        actions,
    }
}
