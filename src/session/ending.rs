//! When a session ends: at its two limits, and when somebody ends it.

use super::{RenewalError, Session, Sessions, store::Store};
use crate::base::causes::Causes;

/// Why a session's streams ended, beside its own limits.
pub(super) const SIGN_OUT: &str = "sign_out";
const FRONT_CHANNEL: &str = "front_channel";
pub(super) const RENEWAL: &str = "renewal";

impl Sessions {
    /// When the session ends whatever happens, seconds since 1970.
    pub fn ends_at(&self, session: &Session) -> i64 {
        session.signed_in_at.saturating_add(self.lifetime)
    }

    /// Ends every session of Microsoft's session `sid`, and its streams: on all replicas where they
    /// share a store, else on this one.
    pub async fn revoke(&self, sid: &str, now: i64) {
        self.streams.end_all_of(sid, FRONT_CHANNEL);
        if let Store::Redis(remote) = &self.store {
            match remote.end_all(sid).await {
                // What the store has ended needs no place in a list that anybody may fill.
                Ok(_) => return,
                Err(error) => {
                    let error = Causes(&error);
                    tracing::warn!(%error, "a front-channel sign-out reached this replica alone");
                }
            }
        }
        self.revoked.revoke(sid, now, now.saturating_add(self.lifetime));
    }

    /// Ends `session`, and its streams: its user signed out. On all replicas where they share a
    /// store, else on this one.
    pub async fn sign_out(&self, session: &Session) {
        self.revoked.sign_out(session.id, self.clock.unix(), self.ends_at(session));
        self.streams.end(&session.id, SIGN_OUT);
        if let (Store::Redis(remote), Some(place)) = (&self.store, &session.stored) {
            remote.end(place.id).await;
        }
    }

    /// A session that ended at its renewal ends its streams, too.
    pub(super) fn note_end(&self, session: &Session, error: &RenewalError) {
        if let RenewalError::Ended { .. } = error {
            self.streams.end(&session.id, RENEWAL);
        }
    }

    /// Why `session` is over, in one word; `seen_at` is when it was last used.
    pub(super) fn ended(&self, session: &Session, seen_at: i64) -> Option<&'static str> {
        let now = self.clock.unix();
        if now >= self.ends_at(session) {
            return Some("lifetime");
        }
        if now >= self.idle_end(seen_at) {
            return Some("idle");
        }
        self.revoked_by(session, now)
    }

    pub(super) fn idle_end(&self, seen_at: i64) -> i64 {
        seen_at.saturating_add(self.idle_timeout)
    }

    pub(super) fn revoked_by(&self, session: &Session, now: i64) -> Option<&'static str> {
        if self.revoked.is_signed_out(&session.id, now) {
            return Some(SIGN_OUT);
        }
        let sid = session.principal.session_id()?;
        self.revoked.contains(sid, now).then_some(FRONT_CHANNEL)
    }
}
