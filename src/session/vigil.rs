//! The watch over a session while streams are open on it.
//!
//! A stream asks nothing of us once it runs, so somebody else must notice that its session has
//! ended. The watch also renews the tokens when they are due, which is how a session that
//! Microsoft has ended is found out: `invalid_grant` ends the streams. Trouble at Microsoft does
//! not, even past the token's expiry: the app has had its token, and the session's own limits hold.

use std::sync::Arc;

use super::{
    RenewalError, Session, Sessions,
    ending::{RENEWAL, SIGN_OUT},
    store::Store,
    streams::{Latest, Watched},
};
use crate::base::leash::{Leash, Tie};

/// Between two renewals of one watch, whatever life Microsoft gives its tokens; seconds.
const CALM: i64 = 30;
/// After a renewal that brought nothing; seconds. Its own back-off may be longer.
const PAUSE: i64 = 5;
/// How often a store is asked whether another replica has ended, used or renewed the session;
/// seconds.
const LOOK_EVERY: i64 = 10;

impl Sessions {
    /// Ties what a request of `session` leaves running to the session.
    pub fn leash(self: &Arc<Self>, session: &Arc<Session>) -> Leash {
        let (sessions, session) = (Arc::clone(self), Arc::clone(session));
        Leash::new(move || sessions.tie(&session))
    }

    fn tie(self: Arc<Self>, session: &Arc<Session>) -> Tie {
        let (tie, first) = self.streams.join(session);
        // Asked after joining: whoever revokes the session meanwhile sees the stream, or is seen.
        if let Some(reason) = self.revoked_by(session, self.clock.unix()) {
            self.streams.end(&session.id, reason);
        }
        if let Some(watched) = first {
            let runtime = self.runtime.clone();
            runtime.spawn(Vigil { sessions: self, watched }.keep());
        }
        tie
    }
}

/// One session's watch.
struct Vigil {
    sessions: Arc<Sessions>,
    watched: Arc<Watched>,
}

impl Vigil {
    /// Until the last stream has gone, or the session.
    async fn keep(self) {
        let mut next_renewal = i64::MIN;
        let mut next_look = self.sessions.clock.unix().saturating_add(LOOK_EVERY);
        while !self.watched.post.is_pulled() {
            let Latest { session, seen_at } = self.watched.latest();
            if let Some(reason) = self.sessions.ended(&session, seen_at) {
                self.sessions.streams.end_watched(&self.watched, reason);
                return;
            }
            let limit = self.sessions.ends_at(&session).min(self.sessions.idle_end(seen_at));
            tokio::select! {
                () = self.watched.post.untied() => {
                    if self.sessions.streams.leave(&self.watched) {
                        return;
                    }
                }
                () = self.watched.changed.notified() => {}
                () = self.sessions.clock.sleep_until(limit) => {}
                () = self.look(&session, &mut next_look) => {}
                () = self.renew(&session, &mut next_renewal) => {}
            }
        }
    }

    /// Looks what other replicas did. A store that does not answer ends nothing.
    async fn look(&self, session: &Arc<Session>, next: &mut i64) {
        let Sessions { store, clock, streams, .. } = &*self.sessions;
        let (Store::Redis(remote), Some(place)) = (store, &session.stored) else {
            return std::future::pending().await;
        };
        clock.sleep_until(*next).await;
        match remote.open(&place.id).await {
            Ok(Some(present)) => self.watched.note(&present),
            Ok(None) => return streams.end_watched(&self.watched, SIGN_OUT),
            Err(_) => {}
        }
        *next = clock.unix().saturating_add(LOOK_EVERY);
    }

    async fn renew(&self, session: &Arc<Session>, next: &mut i64) {
        let Sessions { renewal, clock, streams, .. } = &*self.sessions;
        clock.sleep_until(renewal.due_at(session).max(*next)).await;
        let pause = match renewal.renew_if_due(session, clock.unix()).await {
            Ok(Some(renewed)) => {
                let renewed = self.sessions.renewed(session, &renewed, session.seen_at);
                self.watched.note(&Arc::new(renewed));
                CALM
            }
            Ok(None) => PAUSE,
            Err(RenewalError::Unavailable { retry_after }) => retry_after.max(PAUSE),
            Err(RenewalError::Store(_)) => PAUSE,
            Err(RenewalError::Ended { .. }) => {
                return streams.end_watched(&self.watched, RENEWAL);
            }
        };
        *next = clock.unix().saturating_add(pause);
    }
}

impl Drop for Vigil {
    /// Streams without a watch must not go on: with the last owner of the post they end.
    fn drop(&mut self) {
        self.sessions.streams.abandon(&self.watched);
    }
}
