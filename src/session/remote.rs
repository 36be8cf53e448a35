//! Sessions outside the browser: the cookie holds a sealed ticket, the store the sealed session.
//!
//! A ticket is a random id under the session keys, so that nobody can guess or choose one. What the
//! store holds is sealed for that id, so that one session cannot be put in another's place. The
//! times sealed inside decide; the expiry in the store only tidies up.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::runtime::Handle;

use super::{
    Session,
    opened::OpenedSessions,
    overdue::Overdue,
    packing::{self, Contents},
    redis::{self, Id, IndexEntry, MicrosoftSession, RedisStore, StoreError, Version},
    store::Stored,
};
use crate::{
    base::{causes::Causes, clock::Clock, metrics::Metrics, secret::SecretSource},
    entra::EntraClient,
    sealing::{Keyring, Purpose, SealError},
};

/// Bound into a ticket's seal, so that it is never taken for a session of the cookies.
const TICKET: &[u8] = b"ticket";

/// Why a session was not stored.
#[derive(Debug, thiserror::Error)]
pub(super) enum KeepError {
    #[error("the session could not be sealed")]
    Seal(#[from] SealError),
    #[error("the session could not be stored")]
    Store(#[from] StoreError),
}

/// Sessions in a store that all replicas share.
#[derive(Debug)]
pub(super) struct Remote {
    pub(super) redis: RedisStore,
    pub(super) runtime: Handle,
    pub(super) clock: Clock,
    keyring: Arc<Keyring>,
    tenant: String,
    client_id: String,
    /// Seconds from sign-in.
    lifetime: i64,
    /// Seconds without a request.
    idle_timeout: i64,
    keep_id_token: bool,
    opened: OpenedSessions,
    overdue: Overdue,
    metrics: Metrics,
}

/// What [`Remote`] is made of.
pub(super) struct Parts<'a> {
    pub(super) source: SecretSource,
    pub(super) runtime: Handle,
    pub(super) keyring: Arc<Keyring>,
    pub(super) entra: &'a EntraClient,
    pub(super) lifetime: i64,
    pub(super) idle_timeout: i64,
    pub(super) keep_id_token: bool,
    pub(super) clock: Clock,
    pub(super) metrics: Metrics,
}

/// What a browser's ticket says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    pub(super) id: Id,
    /// It was sealed under a key that does not seal any more.
    pub(super) is_former: bool,
}

impl Remote {
    pub(super) fn new(parts: Parts<'_>) -> Self {
        let Parts { runtime, metrics, .. } = parts;
        Self {
            redis: RedisStore::new(parts.source, runtime.clone(), metrics.clone()),
            runtime,
            clock: parts.clock,
            keyring: parts.keyring,
            tenant: parts.entra.tenant().to_owned(),
            client_id: parts.entra.client_id().to_owned(),
            lifetime: parts.lifetime,
            idle_timeout: parts.idle_timeout,
            keep_id_token: parts.keep_id_token,
            opened: OpenedSessions::new(),
            overdue: Overdue::default(),
            metrics,
        }
    }

    /// The sealed bytes of a ticket for `id`.
    pub(super) fn seal_ticket(&self, id: &Id) -> Result<Vec<u8>, SealError> {
        self.metrics.sealed(Purpose::Session.word());
        self.keyring.seal_bound(Purpose::Session, TICKET, id)
    }

    /// What the sealed bytes of a ticket say.
    pub(super) fn open_ticket(&self, sealed: &[u8]) -> Option<Ticket> {
        let id = self.keyring.open_bound(Purpose::Session, TICKET, sealed)?;
        let id = id.as_slice().try_into().ok()?;
        Some(Ticket { id, is_former: !self.keyring.is_current(sealed) })
    }

    /// The session under `id`, in its present version. Whether it is within its limits is for the
    /// caller to say.
    pub(super) async fn open(&self, id: &Id) -> Result<Option<Arc<Session>>, StoreError> {
        if self.overdue.holds(id) {
            return Ok(None);
        }
        let Some(sealed) = self.redis.read(id).await? else { return Ok(None) };
        // The id is part of the key: the same bytes under another id are no session.
        let sealed = Bytes::from(sealed);
        let parts = [(0, Bytes::copy_from_slice(id)), (1, sealed.clone())];
        Ok(self.opened.find(&parts, || self.unseal(id, &sealed)))
    }

    /// Stores the session of somebody who has just signed in, under a new id.
    pub(super) async fn create(&self, session: &Session) -> Result<Id, KeepError> {
        let mut id = Id::default();
        getrandom::fill(&mut id).map_err(SealError::Random)?;
        let sealed = self.seal(&id, session)?;
        self.index(&id, session).await?;
        self.redis.create(&id, &sealed, self.life(session)).await?;
        Ok(id)
    }

    /// Notes Microsoft's session that `session` belongs to, so that its front channel finds it.
    pub(super) async fn index(&self, id: &Id, session: &Session) -> Result<(), StoreError> {
        let Some(sid) = session.principal.session_id() else { return Ok(()) };
        let entry = IndexEntry {
            at_microsoft: self.at_microsoft(sid),
            now: self.clock.unix(),
            ends_at: session.signed_in_at.saturating_add(self.lifetime),
            longest: span(self.lifetime),
        };
        self.redis.index(id, &entry).await
    }

    /// Puts `session` in the place of the version that is named; `false` if another is there now,
    /// or none.
    pub(super) async fn replace(
        &self,
        place: &Stored,
        session: &Session,
    ) -> Result<bool, KeepError> {
        let sealed = self.seal(&place.id, session)?;
        Ok(self.redis.replace(&place.id, &place.version, &sealed, self.life(session)).await?)
    }

    /// Stores `session`, which was used just now. Where that fails somebody else has stored a newer
    /// one, or the session ends a step early.
    pub(super) async fn wind_idle_clock(&self, session: &Session) {
        let Some(place) = &session.stored else { return };
        if let Err(error) = self.replace(place, session).await {
            let error = Causes(&error);
            tracing::warn!(%error, "the idle clock of a session could not be wound");
        }
    }

    /// Ends the session under `id`: here at once, and everywhere as soon as the store answers.
    pub(super) async fn end(self: &Arc<Self>, id: Id) {
        if let Err(error) = self.redis.delete(&id).await {
            let until = self.clock.unix().saturating_add(self.lifetime);
            if self.overdue.note(id, until) {
                self.runtime.spawn(end_overdue(Arc::clone(self)));
            }
            let error = Causes(&error);
            tracing::warn!(%error, "a session will be ended in the store once it answers again");
        }
    }

    /// Ends every session of Microsoft's session `sid`.
    pub(super) async fn end_all(&self, sid: &str) -> Result<usize, StoreError> {
        self.redis.delete_all(&self.at_microsoft(sid)).await
    }

    fn at_microsoft(&self, sid: &str) -> MicrosoftSession {
        MicrosoftSession::new(&self.tenant, &self.client_id, sid)
    }

    fn seal(&self, id: &Id, session: &Session) -> Result<Vec<u8>, SealError> {
        let mut packed = packing::pack(&Contents::of(session, self.keep_id_token));
        packing::pad(&mut packed, |_| usize::MAX);
        self.metrics.sealed(Purpose::Store.word());
        self.keyring.seal_bound(Purpose::Store, id, &packed)
    }

    fn unseal(&self, id: &Id, sealed: &[u8]) -> Option<Session> {
        let version: Version = redis::version(sealed)?;
        let plain = self.keyring.open_bound(Purpose::Store, id, sealed)?;
        let session = packing::unpack(&plain)?.into_session()?;
        let stored = Some(Stored { id: *id, version });
        session.has_access_token.then_some(Session { stored, ..session })
    }

    /// What is left of the session's limits.
    fn life(&self, session: &Session) -> Duration {
        let lifetime_ends = session.signed_in_at.saturating_add(self.lifetime);
        let idle_ends = session.seen_at.saturating_add(self.idle_timeout);
        span(lifetime_ends.min(idle_ends).saturating_sub(self.clock.unix()))
    }
}

/// Tries again every second until everything that is overdue has been ended.
async fn end_overdue(remote: Arc<Remote>) {
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        for id in remote.overdue.ids(remote.clock.unix()) {
            if remote.redis.delete(&id).await.is_err() {
                break;
            }
            remote.overdue.ended(&id);
        }
        if remote.overdue.is_done() {
            return;
        }
    }
}

fn span(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}
