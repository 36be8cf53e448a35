//! Renewal of a session that several replicas share: one of them calls Microsoft, the others take
//! what it stored (E16).
//!
//! The replica that gets the session's lease calls; the others look every now and then whether a
//! newer session is there. A lease can be lost (a pause, a failover that forgot it), so nothing
//! relies on it alone: every write names the version that it replaces, and whoever was refused by
//! Microsoft looks for a newer session before it believes that this one has ended.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::sleep;

use super::{
    Session,
    redis::{Lease, StoreError},
    remote::{KeepError, Remote},
    renewal::{self, Outcome, Renewed},
    store::Stored,
};
use crate::{base::causes::Causes, entra::EntraClient};

/// Longer than a call to Microsoft may take (15 s), and prolonged while it runs. A replica that
/// died holds the others up for as long.
const LEASE: Duration = Duration::from_secs(30);
/// How often a replica without the lease looks for the result.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// As long as a request without a valid token waits.
const PATIENCE: Duration = Duration::from_secs(40);
/// The idle clock may be wound between a reading and a writing, but not again and again.
const WRITES: usize = 8;
/// A renewed session that the store does not take is offered again this often, each second: after
/// that this replica has forgotten it, too.
const LATE_WRITES: usize = 30;

/// How the writing of a renewed session ended.
enum Written {
    Done,
    /// A newer one is there already.
    Newer(Arc<Session>),
    /// The session was ended meanwhile.
    Ended,
}

impl Remote {
    /// New tokens for `session`, which was read from `place`: from Microsoft, or from whichever
    /// replica was first.
    pub(super) async fn renew(
        self: &Arc<Self>,
        entra: &EntraClient,
        session: &Session,
        place: Stored,
    ) -> Outcome {
        self.renew_once(entra, session, place).await.unwrap_or_else(Outcome::Unstored)
    }

    async fn renew_once(
        self: &Arc<Self>,
        entra: &EntraClient,
        session: &Session,
        place: Stored,
    ) -> Result<Outcome, StoreError> {
        let begun = Instant::now();
        let lease = loop {
            if let Some(lease) = self.redis.lease(&place.id, LEASE).await? {
                break lease;
            }
            sleep(LOOK_EVERY).await;
            if let Some(settled) = settled(session, self.open(&place.id).await?.as_ref()) {
                return Ok(settled);
            }
            if begun.elapsed() > PATIENCE {
                return Ok(Outcome::Failed { retry_at: self.clock.unix() + 1 });
            }
        };
        // Somebody may have renewed it between our reading and the lease.
        let present = self.open(&place.id).await;
        let settled = present.as_ref().map(|present| settled(session, present.as_ref()));
        let outcome = match settled {
            Ok(None) => None,
            Ok(Some(settled)) => Some(Ok(settled)),
            Err(error) => Some(Err(error.clone())),
        };
        if let Some(outcome) = outcome {
            lease.release().await;
            return outcome;
        }
        let outcome = lease.while_held(renewal::call(entra, session, &self.clock)).await;
        self.settle(session, place, outcome, lease).await
    }

    /// Stores what Microsoft said.
    async fn settle(
        self: &Arc<Self>,
        session: &Session,
        place: Stored,
        outcome: Outcome,
        lease: Lease,
    ) -> Result<Outcome, StoreError> {
        let result = match outcome {
            Outcome::Renewed(renewed) => {
                let next = renewed.session_after(session, self.clock.unix());
                if next.principal.session_id() != session.principal.session_id()
                    && let Err(error) = self.index(&place.id, &next).await
                {
                    let error = Causes(&error);
                    tracing::warn!(%error, "a renewed session is not known under its new sid");
                }
                match self.write(place, &next).await {
                    Ok(Written::Done) => Ok(Outcome::Renewed(renewed)),
                    Ok(Written::Newer(newer)) => Ok(Outcome::Renewed(taken_over(&newer))),
                    Ok(Written::Ended) => Ok(ended_meanwhile()),
                    Err(error) => {
                        // The tokens are good, and the old refresh token may not be any more.
                        let error = Causes(&error);
                        tracing::warn!(%error, "a renewed session is not stored yet");
                        let remote = Arc::clone(self);
                        self.runtime.spawn(async move {
                            lease.while_held(remote.write_late(place, &next)).await;
                            lease.release().await;
                        });
                        return Ok(Outcome::Renewed(renewed));
                    }
                }
            }
            // A lost race must not sign anybody out: only the version that was refused ends.
            Outcome::Ended(reason) => match self.open(&place.id).await {
                Ok(present) => match settled(session, present.as_ref()) {
                    Some(settled) => Ok(settled),
                    None => self.end_version(present, reason).await,
                },
                Err(error) => Err(error),
            },
            other @ (Outcome::Failed { .. } | Outcome::Unstored(_)) => Ok(other),
        };
        lease.release().await;
        result
    }

    async fn end_version(
        &self,
        present: Option<Arc<Session>>,
        reason: &'static str,
    ) -> Result<Outcome, StoreError> {
        if let Some(place) = present.and_then(|present| present.stored) {
            self.redis.delete_version(&place.id, &place.version).await?;
        }
        Ok(Outcome::Ended(reason))
    }

    /// Puts `next` in the place of whichever version is there, unless that is as new.
    async fn write(&self, mut place: Stored, next: &Session) -> Result<Written, KeepError> {
        for _ in 0..WRITES {
            if self.replace(&place, next).await? {
                return Ok(Written::Done);
            }
            let Some(present) = self.open(&place.id).await? else { return Ok(Written::Ended) };
            match present.stored {
                // Its idle clock was wound, or an old master became the master again.
                Some(moved) if present.generation < next.generation => place = moved,
                _ => return Ok(Written::Newer(present)),
            }
        }
        Err(StoreError::TimedOut.into())
    }

    async fn write_late(&self, place: Stored, next: &Session) {
        for _ in 0..LATE_WRITES {
            sleep(Duration::from_secs(1)).await;
            if self.write(place, next).await.is_ok() {
                return;
            }
        }
        tracing::warn!("a renewed session was never stored; the old one is renewed again");
    }
}

/// What the present version of a session means for somebody who wants to renew `session`; `None` if
/// it is still to be renewed.
fn settled(session: &Session, present: Option<&Arc<Session>>) -> Option<Outcome> {
    match present {
        None => Some(ended_meanwhile()),
        Some(present) if present.generation > session.generation => {
            Some(Outcome::Renewed(taken_over(present)))
        }
        Some(_) => None,
    }
}

fn ended_meanwhile() -> Outcome {
    Outcome::Ended("the session was ended elsewhere")
}

/// The tokens of a session that somebody else renewed.
fn taken_over(newer: &Session) -> Arc<Renewed> {
    Arc::new(Renewed {
        tokens: newer.tokens.clone(),
        principal: Some(newer.principal.clone()),
        obtained_at: newer.obtained_at,
        is_taken_over: true,
    })
}
