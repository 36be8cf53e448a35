//! Why the app gave no answer, and whose fault that is.

use std::{error::Error, io, time::Duration};

use http::StatusCode;
use hyper_util::client::legacy;

use super::{address::AddressError, connector::ConnectError, tls::TlsError};
use crate::base::body::BodyError;

/// Why `[upstream]` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// `upstream.url` is none.
    #[error("upstream.url")]
    Url(#[from] AddressError),
    /// Certificates or keys.
    #[error("TLS towards the app")]
    Tls(#[from] TlsError),
}

type Cause = Box<dyn Error + Send + Sync>;

/// Why a request got no answer from the app.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    // The app's faults.
    /// Nobody listens, or nobody knows the name.
    #[error("the app cannot be reached")]
    Unreachable(#[source] Cause),
    /// The app's certificate is not believed, or it does not speak TLS.
    #[error("the app cannot be reached over TLS")]
    Tls(#[source] Cause),
    /// Neither yes nor no.
    #[error("the app did not take the connection in time")]
    ConnectTimeout(#[source] Cause),
    /// The connection ended before there was an answer.
    #[error("the app broke off")]
    Broken(#[source] Cause),
    /// The answer is not HTTP, or beyond our limits.
    #[error("the app's answer is malformed")]
    Malformed(#[source] Cause),
    /// No byte either way.
    #[error("the app was silent for {0:?}")]
    Idle(Duration),
    /// Informational answers without end.
    #[error("the app sends informational answers instead of an answer")]
    Chatter,
    /// It switched to a protocol that nobody asked for.
    #[error("the app switched protocols without being asked")]
    BadUpgrade,
    // The caller's faults.
    /// The request's body broke off.
    #[error("the request's body broke off")]
    CallerBroke(#[source] Cause),
    /// The request's body fell silent.
    #[error("the request's body fell silent for {0:?}")]
    CallerIdle(Duration),
    /// The request's body is larger than the rule allows.
    #[error("the request's body is larger than {0} bytes")]
    CallerTooLarge(u64),
    /// The session ended while the request's body was under way.
    #[error("the session ended before the request's body did: {0}")]
    SessionEnded(&'static str),
    // Ours.
    /// A WebSocket to an app that speaks HTTP/2.
    #[error("a WebSocket cannot be passed on where upstream.http2 is on")]
    NoUpgrade,
    /// No randomness for a handshake's key.
    #[error("the system gives no randomness")]
    Random(#[from] getrandom::Error),
    /// A judged target that cannot be sent.
    #[error("the request cannot be sent")]
    Unsendable(#[source] http::Error),
}

impl UpstreamError {
    /// The status that answers it.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Unreachable(_) | Self::Tls(_) => StatusCode::BAD_GATEWAY,
            Self::ConnectTimeout(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::Broken(_) | Self::Malformed(_) => StatusCode::BAD_GATEWAY,
            Self::Chatter | Self::BadUpgrade => StatusCode::BAD_GATEWAY,
            Self::NoUpgrade => StatusCode::NOT_IMPLEMENTED,
            Self::Random(_) => StatusCode::SERVICE_UNAVAILABLE,
            Self::Idle(_) => StatusCode::GATEWAY_TIMEOUT,
            Self::CallerBroke(_) => StatusCode::BAD_REQUEST,
            Self::CallerIdle(_) => StatusCode::REQUEST_TIMEOUT,
            Self::CallerTooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::SessionEnded(_) => StatusCode::UNAUTHORIZED,
            Self::Unsendable(_) => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// A fixed word for logs and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "unreachable",
            Self::Tls(_) => "tls",
            Self::ConnectTimeout(_) => "connect_timeout",
            Self::Broken(_) => "broken",
            Self::Malformed(_) => "malformed_response",
            Self::Idle(_) => "idle",
            Self::Chatter => "informational_flood",
            Self::BadUpgrade => "bad_upgrade",
            Self::NoUpgrade => "upgrade_over_http2",
            Self::Random(_) => "no_randomness",
            Self::CallerBroke(_) => "caller_broke",
            Self::CallerIdle(_) => "caller_idle",
            Self::CallerTooLarge(_) => "caller_too_large",
            Self::SessionEnded(_) => "session_ended",
            Self::Unsendable(_) => "unsendable",
        }
    }
}

impl UpstreamError {
    fn unconnected(cause: Cause) -> Self {
        match find::<ConnectError>(&*cause) {
            Some(ConnectError::Tls(_) | ConnectError::NoHttp2) => Self::Tls(cause),
            Some(ConnectError::TimedOut(_)) => Self::ConnectTimeout(cause),
            Some(ConnectError::Refused(_)) | None => Self::Unreachable(cause),
        }
    }
}

impl From<ConnectError> for UpstreamError {
    fn from(error: ConnectError) -> Self {
        Self::unconnected(Box::new(error))
    }
}

impl From<legacy::Error> for UpstreamError {
    fn from(error: legacy::Error) -> Self {
        if error.is_connect() && find::<BodyError>(&error).is_none() {
            return Self::unconnected(Box::new(error));
        }
        Self::unanswered(Box::new(error))
    }
}

impl From<hyper::Error> for UpstreamError {
    fn from(error: hyper::Error) -> Self {
        Self::unanswered(Box::new(error))
    }
}

impl UpstreamError {
    fn unanswered(cause: Cause) -> Self {
        if let Some(caller) = find::<BodyError>(&*cause) {
            return match caller {
                BodyError::Broken(_) => Self::CallerBroke(cause),
                BodyError::Pulled(reason) => Self::SessionEnded(reason),
                BodyError::Idle(limit) => Self::CallerIdle(*limit),
                BodyError::TooLarge(cap) => Self::CallerTooLarge(*cap),
            };
        }
        let malformed = find::<hyper::Error>(&*cause).is_some_and(hyper::Error::is_parse);
        if malformed { Self::Malformed(cause) } else { Self::Broken(cause) }
    }

    /// Whether the connection ended before a response began, as a kept one does when the app closes
    /// it at that very moment.
    pub(super) fn is_stale(&self) -> bool {
        let Self::Broken(cause) = self else { return false };
        let ended = find::<hyper::Error>(&**cause)
            .is_some_and(|e| e.is_incomplete_message() || e.is_canceled() || e.is_closed());
        ended
            || find::<io::Error>(&**cause).is_some_and(|e| {
                matches!(
                    e.kind(),
                    io::ErrorKind::ConnectionReset
                        | io::ErrorKind::ConnectionAborted
                        | io::ErrorKind::BrokenPipe
                        | io::ErrorKind::UnexpectedEof
                )
            })
    }
}

/// The first cause of type `E`.
fn find<'e, E: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}
