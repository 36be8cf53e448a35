//! Sessions with open streams on this replica: tunnels, event streams, long downloads.
//!
//! Most requests are over at once and never get here. A session is kept while a stream of it is
//! open, so the list is as long as the connections allow.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use tokio::sync::Notify;

use super::Session;
use crate::base::{
    leash::{Post, Tie},
    metrics::Metrics,
};

type Id = [u8; 16];

/// The sessions that have open streams.
#[derive(Debug)]
pub struct Streams {
    book: Mutex<Book>,
    /// Sessions in the book, to leave it closed where it is empty.
    sessions: AtomicUsize,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct Book {
    watched: HashMap<Id, Arc<Watched>>,
    /// Anybody may name a `sid`, so the answer must not cost a walk through all sessions.
    of_sid: HashMap<String, Vec<Id>>,
}

/// A session with open streams.
#[derive(Debug)]
pub(super) struct Watched {
    id: Id,
    sid: Option<String>,
    /// What its streams are tied to.
    pub(super) post: Post,
    latest: Mutex<Latest>,
    /// Told when `latest` has changed, or the session has ended.
    pub(super) changed: Notify,
}

#[derive(Clone, Debug)]
pub(super) struct Latest {
    /// With the newest tokens that are known here.
    pub(super) session: Arc<Session>,
    /// When a request last used it.
    pub(super) seen_at: i64,
}

impl Streams {
    /// None yet.
    pub fn new(metrics: Metrics) -> Self {
        Self { book: Mutex::default(), sessions: AtomicUsize::new(0), metrics }
    }

    /// Ties a stream to `session`. The first one brings a session that has to be watched.
    pub(super) fn join(&self, session: &Arc<Session>) -> (Tie, Option<Arc<Watched>>) {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watched) = book.watched.get(&session.id) {
            watched.note(session);
            return (watched.post.tie(), None);
        }
        let watched = Arc::new(Watched::new(session));
        let tie = watched.post.tie();
        book.watched.insert(session.id, Arc::clone(&watched));
        if let Some(sid) = &watched.sid {
            book.of_sid.entry(sid.clone()).or_default().push(session.id);
        }
        self.sessions.store(book.watched.len(), Relaxed);
        (tie, Some(watched))
    }

    /// A request has used `session`, or renewed it.
    pub(super) fn note(&self, session: &Arc<Session>) {
        if let Some(watched) = self.find(&session.id) {
            watched.note(session);
        }
    }

    /// The same session with newer tokens, where a stream has renewed them since its cookie.
    pub(super) fn newer(&self, session: &Session) -> Option<Arc<Session>> {
        let latest = self.find(&session.id)?.latest();
        (latest.session.obtained_at > session.obtained_at).then_some(latest.session)
    }

    /// Ends the streams of one session.
    pub(super) fn end(&self, id: &Id, reason: &'static str) {
        if let Some(watched) = self.find(id) {
            self.end_watched(&watched, reason);
        }
    }

    /// Ends the streams of every session of Microsoft's session `sid`.
    pub(super) fn end_all_of(&self, sid: &str, reason: &'static str) {
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let ids = book.of_sid.get(sid).cloned().unwrap_or_default();
        drop(book);
        for id in ids {
            self.end(&id, reason);
        }
    }

    pub(super) fn end_watched(&self, watched: &Arc<Watched>, reason: &'static str) {
        // Whoever takes it off the list counts, and before anybody can see an end.
        if self.remove(watched, |_| true) {
            let streams = watched.post.ties();
            if streams > 0 {
                self.metrics.streams_ended(reason, streams);
                tracing::info!(reason, streams, "the streams of a session were ended");
            }
        }
        watched.post.pull(reason);
        watched.changed.notify_one();
    }

    /// Forgets a session without streams; `false` when a new one has just come.
    pub(super) fn leave(&self, watched: &Arc<Watched>) -> bool {
        self.remove(watched, |watched| watched.post.ties() == 0) || watched.post.is_pulled()
    }

    /// Forgets a session. What is tied to it ends with its watch.
    pub(super) fn abandon(&self, watched: &Arc<Watched>) {
        self.remove(watched, |_| true);
    }

    fn find(&self, id: &Id) -> Option<Arc<Watched>> {
        if self.sessions.load(Relaxed) == 0 {
            return None;
        }
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        book.watched.get(id).cloned()
    }

    fn remove(&self, watched: &Arc<Watched>, really: impl FnOnce(&Watched) -> bool) -> bool {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        if !really(watched) {
            return false;
        }
        let there = book.watched.get(&watched.id).is_some_and(|other| Arc::ptr_eq(other, watched));
        if there {
            book.watched.remove(&watched.id);
            if let Some(sid) = &watched.sid
                && let Some(ids) = book.of_sid.get_mut(sid)
            {
                ids.retain(|id| *id != watched.id);
                if ids.is_empty() {
                    book.of_sid.remove(sid);
                }
            }
            self.sessions.store(book.watched.len(), Relaxed);
        }
        there
    }
}

impl Watched {
    fn new(session: &Arc<Session>) -> Self {
        let sid = session.principal.session_id().map(ToOwned::to_owned);
        let latest = Latest { session: Arc::clone(session), seen_at: session.seen_at };
        let (post, changed) = (Post::new(), Notify::new());
        Self { id: session.id, sid, post, latest: Mutex::new(latest), changed }
    }

    pub(super) fn latest(&self) -> Latest {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Requests overtake each other: what is older than what is known changes nothing.
    pub(super) fn note(&self, session: &Arc<Session>) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let renewed = session.obtained_at > latest.session.obtained_at;
        if renewed {
            latest.session = Arc::clone(session);
        }
        if renewed || session.seen_at > latest.seen_at {
            latest.seen_at = latest.seen_at.max(session.seen_at);
            drop(latest);
            self.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{
        base::leash::Leash,
        entra::{Principal, TokenSet},
        session::{Told, wound::Wound},
    };

    fn session(id: u8, obtained_at: i64, seen_at: i64) -> Arc<Session> {
        let claims = json!({ "tid": "t", "oid": "o", "sub": "s", "sid": "microsofts" });
        Arc::new(Session {
            id: [id; 16],
            generation: 0,
            signed_in_at: 0,
            seen_at,
            obtained_at,
            principal: Principal::restore(claims.as_object().unwrap().clone()).unwrap(),
            tokens: TokenSet {
                access_token: "a".to_owned().into(),
                refresh_token: None,
                id_token: None,
                expires_at: 3600,
                scope: String::new(),
            },
            has_access_token: true,
            stored: None,
            wound: Wound::default(),
            told: Told::default(),
        })
    }

    fn is_empty(streams: &Streams) -> bool {
        let book = streams.book.lock().unwrap();
        assert_eq!(streams.sessions.load(Relaxed), book.watched.len());
        book.watched.is_empty() && book.of_sid.is_empty()
    }

    #[test]
    fn a_session_is_on_the_list_while_a_stream_of_it_is_open() {
        let streams = Streams::new(Metrics::new());
        let (first, watched) = streams.join(&session(1, 0, 0));
        let watched = watched.expect("somebody has to watch the first");
        let (second, nobody) = streams.join(&session(1, 0, 0));
        assert!(nobody.is_none());
        drop(first);
        assert!(!streams.leave(&watched) && !is_empty(&streams));
        drop(second);
        assert!(streams.leave(&watched) && is_empty(&streams));
        // The next stream is a first one again, and the old watch cannot take it away.
        let (_third, again) = streams.join(&session(1, 0, 0));
        assert!(again.is_some());
        streams.abandon(&watched);
        assert!(!is_empty(&streams));
    }

    #[tokio::test]
    async fn microsofts_session_ends_all_of_ours_in_it() {
        let streams = Streams::new(Metrics::new());
        let ties = [1, 2].map(|id| streams.join(&session(id, 0, 0)));
        streams.end_all_of("somebody-elses", "front_channel");
        assert!(!is_empty(&streams));
        streams.end_all_of("microsofts", "front_channel");
        assert!(is_empty(&streams));
        for (tie, _) in ties {
            assert_eq!(Leash::new(|| tie).pulled().await, "front_channel");
        }
    }

    #[test]
    fn requests_that_overtake_each_other_take_nothing_back() {
        let streams = Streams::new(Metrics::new());
        let (_tie, watched) = streams.join(&session(1, 10, 10));
        streams.note(&session(1, 500, 500));
        streams.note(&session(1, 10, 400));
        streams.note(&session(1, 10, 600));
        let latest = watched.unwrap().latest();
        assert_eq!((latest.session.obtained_at, latest.seen_at), (500, 600));
        let newer = streams.newer(&session(1, 10, 10)).map(|session| session.obtained_at);
        assert_eq!(newer, Some(500));
        assert!(streams.newer(&session(1, 500, 10)).is_none());
        assert!(streams.newer(&session(2, 10, 10)).is_none());
    }
}
