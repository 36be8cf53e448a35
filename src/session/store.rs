//! Where sessions are kept, and what the cookies hold where that is elsewhere.

use std::sync::Arc;

use http::HeaderValue;

use super::{
    Session, SessionCookies, Sessions, WriteError, access_token_bytes, redis,
    remote::{Remote, Ticket},
};
use crate::request::OwnCookies;

/// Where sessions are kept.
#[derive(Debug)]
pub(super) enum Store {
    /// In the browser's cookies, whole.
    Cookie,
    /// In Redis; the cookie holds a ticket.
    Redis(Arc<Remote>),
}

/// Where the store keeps a session, and which of its versions this one is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored {
    pub(super) id: redis::Id,
    pub(super) version: redis::Version,
}

impl Sessions {
    /// Keeps a new session: the cookies that hold it, or the ticket to it; unused ones are expired
    /// along with it (E5).
    ///
    /// # Errors
    /// It does not fit, cannot be sealed, or the store does not take it.
    pub async fn begin(
        &self,
        session: &Session,
        sent: &OwnCookies,
    ) -> Result<Vec<HeaderValue>, WriteError> {
        let Store::Redis(remote) = &self.store else { return self.write(session, sent) };
        let id = remote.create(session).await?;
        let lines = self.write_ticket(remote, &id, sent)?;
        let bytes = SessionCookies::total_bytes(&lines);
        self.metrics.session_written(bytes, access_token_bytes(&session.tokens));
        Ok(lines)
    }

    /// Ends whatever session the ticket in `cookies` names, although it could not be opened. The
    /// cookies themselves are [`Sessions::clear`]'s matter.
    pub async fn sign_out_unseen(&self, cookies: &OwnCookies) {
        if let Store::Redis(remote) = &self.store
            && let Some(ticket) = self.ticket(remote, cookies)
        {
            remote.end(ticket.id).await;
        }
    }

    pub(super) fn ticket(&self, remote: &Remote, cookies: &OwnCookies) -> Option<Ticket> {
        if cookies.ambiguous {
            return None;
        }
        remote.open_ticket(&self.cookies.join(&cookies.session)?)
    }

    /// The ticket under the key that seals now, where the browser's is under a former one: that key
    /// may then be removed.
    pub(super) fn renewed_ticket(&self, remote: &Remote, sent: &OwnCookies) -> Vec<HeaderValue> {
        let former = self.ticket(remote, sent).filter(|ticket| ticket.is_former);
        let lines = former.map(|ticket| self.write_ticket(remote, &ticket.id, sent));
        lines.and_then(Result::ok).unwrap_or_default()
    }

    fn write_ticket(
        &self,
        remote: &Remote,
        id: &redis::Id,
        sent: &OwnCookies,
    ) -> Result<Vec<HeaderValue>, WriteError> {
        let sealed = remote.seal_ticket(id)?;
        Ok(self.cookies.write(&sealed, sent.session_count())?)
    }
}
