//! Who asks: a browser with a session, or nobody.

use std::sync::Arc;

use http::Method;

use super::rejection::Rejection;
use crate::{
    request::{Exchange, Inbound, Site},
    rules::Subject,
    session::{Found, RenewalError, Session, Sessions},
};

/// Finds out who asks.
#[derive(Debug)]
pub(super) struct Callers {
    sessions: Arc<Sessions>,
    /// Whether the access line names the user.
    log_user: bool,
}

/// Somebody whom we know.
#[derive(Debug)]
pub(super) struct Caller {
    /// Their session, with a token that is valid now.
    pub(super) session: Arc<Session>,
}

impl Caller {
    /// What rules judge.
    pub(super) fn subject(&self) -> Subject<'_> {
        let principal = &self.session.principal;
        Subject {
            object_id: principal.object_id(),
            user_name: principal.user_name(),
            roles: principal.roles(),
            groups: principal.groups(),
        }
    }
}

impl Callers {
    /// Callers by their session cookies.
    pub(super) fn new(sessions: Arc<Sessions>, log_user: bool) -> Self {
        Self { sessions, log_user }
    }

    /// Who asks, with a session that has been renewed where that was due. On an anonymous rule a
    /// broken session, a silent Microsoft or a silent store mean nobody, never a refusal.
    ///
    /// # Errors
    /// Another site's page used the session, its token has expired and cannot be renewed now, or
    /// the store cannot say whether there is a session.
    pub(super) async fn identify(
        &self,
        exchange: &mut Exchange,
        inbound: &Inbound,
        anonymous: bool,
    ) -> Result<Option<Caller>, Rejection> {
        let session = match self.sessions.open(inbound.own_cookies()).await {
            Ok(Found::Live(session)) => session,
            Ok(Found::Nothing | Found::Broken) => return Ok(None),
            Err(_) if anonymous => return Ok(None),
            Err(error) => return Err(Rejection::Store(error)),
        };
        // The cookie becomes a bearer token behind us, so an app that trusts its token as proof
        // against forged requests must not be reachable from another site's page (H3, H4).
        let unsafe_method = !matches!(
            *inbound.method(),
            Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE
        );
        if (unsafe_method || inbound.is_upgrade().is_some()) && inbound.site() == Site::Foreign {
            return Err(Rejection::CrossSite);
        }
        match self.sessions.current(session, inbound.own_cookies()).await {
            Ok(current) => {
                exchange.set_cookies.extend(current.set_cookies);
                exchange.user = self.log_user.then(|| user(&current.session));
                Ok(Some(Caller { session: current.session }))
            }
            Err(RenewalError::Ended { reason }) => {
                exchange.reason = reason;
                exchange.session_ended = true;
                Ok(None)
            }
            Err(RenewalError::Unavailable { .. } | RenewalError::Store(_)) if anonymous => Ok(None),
            Err(RenewalError::Store(error)) => Err(Rejection::Store(error)),
            Err(error @ RenewalError::Unavailable { .. }) => Err(Rejection::Renewal(error)),
        }
    }
}

fn user(session: &Session) -> String {
    let principal = &session.principal;
    format!("{} {}", principal.object_id(), principal.user_name().unwrap_or("-"))
}
