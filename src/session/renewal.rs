//! Renewal of tokens before they expire, without a race that could sign anybody out.
//!
//! The algorithm is `mod_auth_openidc`'s, carried over to cookies: one call per refresh token
//! however many requests wait; its result is kept for those that arrive later with the old cookie;
//! a failure is remembered so that those who waited do not all try again. The call runs on a
//! runtime of its own and goes on when the browser that began it hangs up.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use sha2::{Digest, Sha256};
use tokio::{runtime::Handle, sync::watch, time::timeout};

use super::{Session, redis::StoreError, remote::Remote};
use crate::{
    base::{
        clock::Clock,
        metrics::Metrics,
        secret::{ExposeSecret, SecretString},
    },
    entra::{EntraClient, EntraError, Principal, Remedy, TokenSet},
};

/// A result is kept this long for requests that still carry the old cookie.
const KEEP_RESULT: i64 = 30;
/// A request waits this long, so that its answer can carry the new cookie.
const WAIT: Duration = Duration::from_secs(5);
/// Where the token has expired there is nothing to go on with, so it waits for the call's own end.
const WAIT_EXPIRED: Duration = Duration::from_secs(40);
/// After a failure without `Retry-After`.
const BACK_OFF: i64 = 5;
/// Beyond this many remembered results, old ones are swept.
const SWEEP_ABOVE: usize = 1_000;

/// New tokens.
#[derive(Clone, Debug)]
pub(super) struct Renewed {
    pub(super) tokens: TokenSet,
    /// Of the renewed ID token, where there was one.
    pub(super) principal: Option<Principal>,
    pub(super) obtained_at: i64,
    /// Another replica renewed, and this one found the result in the store.
    pub(super) is_taken_over: bool,
}

impl Renewed {
    /// `session` with the new tokens, last used at `seen_at`.
    pub(super) fn session_after(&self, session: &Session, seen_at: i64) -> Session {
        Session {
            generation: session.generation.saturating_add(1),
            seen_at,
            obtained_at: self.obtained_at,
            principal: self.principal_of(session),
            tokens: self.tokens.clone(),
            has_access_token: true,
            ..session.clone()
        }
    }

    /// Who is signed in now; groups and roles survive a renewal that brings none.
    fn principal_of(&self, session: &Session) -> Principal {
        match &self.principal {
            Some(renewed) => session.principal.renewed_by(renewed),
            None => session.principal.clone(),
        }
    }
}

/// Why a session has no usable token.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RenewalError {
    /// The session has ended: the user must sign in again.
    #[error("the session has ended: {reason}")]
    Ended {
        /// A fixed word for the log.
        reason: &'static str,
    },
    /// Nothing is wrong with the session; Microsoft cannot answer now.
    #[error("the token has expired and Microsoft cannot renew it now")]
    Unavailable {
        /// Seconds until it makes sense to ask again.
        retry_after: i64,
    },
    /// Nothing is wrong with the session; the store cannot answer now.
    #[error("the token has expired and the session store does not answer")]
    Store(#[from] StoreError),
}

/// What became of a renewal.
#[derive(Clone, Debug)]
pub(super) enum Outcome {
    Renewed(Arc<Renewed>),
    Ended(&'static str),
    Failed {
        retry_at: i64,
    },
    /// The store did not answer, so that nobody knows who else is renewing.
    Unstored(StoreError),
}

impl Outcome {
    fn word(&self) -> &'static str {
        match self {
            Self::Renewed(renewed) if renewed.is_taken_over => "taken_over",
            Self::Renewed(_) => "renewed",
            Self::Ended(_) => "ended",
            Self::Failed { .. } => "failed",
            Self::Unstored(_) => "unstored",
        }
    }
}

#[derive(Debug)]
enum Flight {
    Running(watch::Receiver<Option<Outcome>>),
    Settled { outcome: Outcome, until: i64 },
}

/// Identifies a session's refresh token without keeping it: a full SHA-256 (E16, E17).
type Key = [u8; 32];

/// Renewals that are under way or have just ended, by session. A changed configuration takes them
/// over, or a session could be renewed twice at the same moment.
#[derive(Debug, Default)]
pub struct Flights(Mutex<HashMap<Key, Flight>>);

impl Flights {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Flight>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Renews tokens, once per session at a time.
#[derive(Debug)]
pub struct Renewal {
    entra: Arc<EntraClient>,
    /// Where the session is kept for all replicas, if it is.
    remote: Option<Arc<Remote>>,
    runtime: Handle,
    renew_before: i64,
    flights: Arc<Flights>,
    clock: Clock,
    metrics: Metrics,
}

impl Renewal {
    pub(super) fn new(
        entra: Arc<EntraClient>,
        remote: Option<Arc<Remote>>,
        runtime: Handle,
        flights: Arc<Flights>,
        renew_before: Duration,
        clock: Clock,
        metrics: Metrics,
    ) -> Self {
        let renew_before = i64::try_from(renew_before.as_secs()).unwrap_or(i64::MAX);
        Self { entra, remote, runtime, renew_before, flights, clock, metrics }
    }

    /// When the access token is renewed: `renew_before` its expiry, or at half of its life where
    /// that is later.
    pub(super) fn due_at(&self, session: &Session) -> i64 {
        let life = session.tokens.expires_at.saturating_sub(session.obtained_at).max(0);
        session.tokens.expires_at.saturating_sub(self.renew_before.min(life / 2))
    }

    /// New tokens if they are due at `now`; `None` while the ones at hand will do.
    pub(super) async fn renew_if_due(
        &self,
        session: &Session,
        now: i64,
    ) -> Result<Option<Arc<Renewed>>, RenewalError> {
        if session.has_access_token && now < self.due_at(session) {
            return Ok(None);
        }
        let expired = !session.has_access_token || now >= session.tokens.expires_at;
        let Some(refresh_token) = &session.tokens.refresh_token else {
            let ended = RenewalError::Ended { reason: "token expired, no refresh token" };
            return if expired { Err(ended) } else { Ok(None) };
        };
        let wait = if expired { WAIT_EXPIRED } else { WAIT };
        match Box::pin(self.outcome(refresh_token, session, wait)).await {
            Some(Outcome::Renewed(renewed)) => Ok(Some(renewed)),
            Some(Outcome::Ended(reason)) => Err(RenewalError::Ended { reason }),
            Some(Outcome::Failed { .. } | Outcome::Unstored(_)) | None if !expired => Ok(None),
            Some(Outcome::Failed { retry_at }) => Err(self.unavailable(retry_at)),
            Some(Outcome::Unstored(error)) => Err(error.into()),
            None => Err(self.unavailable(now + BACK_OFF)),
        }
    }

    /// New tokens now, due or not.
    pub(super) async fn renew_now(&self, session: &Session) -> Result<Arc<Renewed>, RenewalError> {
        let Some(refresh_token) = &session.tokens.refresh_token else {
            return Err(RenewalError::Ended { reason: "no refresh token" });
        };
        match self.outcome(refresh_token, session, WAIT_EXPIRED).await {
            Some(Outcome::Renewed(renewed)) => Ok(renewed),
            Some(Outcome::Ended(reason)) => Err(RenewalError::Ended { reason }),
            Some(Outcome::Failed { retry_at }) => Err(self.unavailable(retry_at)),
            Some(Outcome::Unstored(error)) => Err(error.into()),
            None => Err(self.unavailable(self.clock.unix() + BACK_OFF)),
        }
    }

    fn unavailable(&self, retry_at: i64) -> RenewalError {
        RenewalError::Unavailable { retry_after: (retry_at - self.clock.unix()).max(1) }
    }

    /// Joins the flight of this refresh token, or begins it; `None` if it took longer than `wait`.
    async fn outcome(
        &self,
        refresh_token: &SecretString,
        session: &Session,
        wait: Duration,
    ) -> Option<Outcome> {
        let mut receiver = match self.join(refresh_token, session) {
            Ok(settled) => return Some(settled),
            Err(receiver) => receiver,
        };
        let landed = timeout(wait, receiver.wait_for(Option::is_some)).await.ok()?;
        landed.ok()?.clone()
    }

    fn join(
        &self,
        refresh_token: &SecretString,
        session: &Session,
    ) -> Result<Outcome, watch::Receiver<Option<Outcome>>> {
        let key: Key = Sha256::digest(refresh_token.expose_secret().as_bytes()).into();
        let now = self.clock.unix();
        let mut flights = self.flights.lock();
        match flights.get(&key) {
            Some(Flight::Running(receiver)) => return Err(receiver.clone()),
            Some(Flight::Settled { outcome, until }) if now < *until => return Ok(outcome.clone()),
            Some(Flight::Settled { .. }) | None => {}
        }
        if flights.len() > SWEEP_ABOVE {
            flights.retain(|_, flight| match flight {
                Flight::Running(_) => true,
                Flight::Settled { until, .. } => now < *until,
            });
        }
        let (sender, receiver) = watch::channel(None);
        flights.insert(key, Flight::Running(receiver.clone()));
        drop(flights);
        self.begin(key, session.clone(), sender);
        Err(receiver)
    }

    fn begin(&self, key: Key, session: Session, sender: watch::Sender<Option<Outcome>>) {
        let (entra, clock) = (Arc::clone(&self.entra), self.clock.clone());
        let (flights, metrics) = (Arc::clone(&self.flights), self.metrics.clone());
        let remote = self.remote.clone();
        self.runtime.spawn(async move {
            // A panic below must not leave a flight that everybody waits for.
            let landing = Landing { key, flights };
            let outcome = match remote.zip(session.stored) {
                Some((remote, place)) => remote.renew(&entra, &session, place).await,
                None => call(&entra, &session, &clock).await,
            };
            let now = clock.unix();
            let until = match &outcome {
                Outcome::Renewed(_) | Outcome::Ended(_) => now + KEEP_RESULT,
                Outcome::Failed { retry_at } => *retry_at,
                Outcome::Unstored(_) => now,
            };
            metrics.renewal(outcome.word());
            landing.settle(outcome.clone(), until);
            sender.send_replace(Some(outcome));
        });
    }
}

/// Asks Microsoft for new tokens.
pub(super) async fn call(entra: &EntraClient, session: &Session, clock: &Clock) -> Outcome {
    let Some(refresh_token) = &session.tokens.refresh_token else {
        return Outcome::Ended("no refresh token");
    };
    match entra.renew(refresh_token, &session.principal).await {
        Ok(renewed) => Outcome::Renewed(Arc::new(Renewed {
            tokens: renewed.tokens,
            principal: renewed.id_token.map(|token| token.principal()),
            obtained_at: clock.unix(),
            is_taken_over: false,
        })),
        Err(error) => outcome_of(&error, clock.unix()),
    }
}

/// What a failed renewal means for the session: trouble at Microsoft signs nobody out; a grant
/// that Microsoft refuses ends it.
fn outcome_of(error: &EntraError, now: i64) -> Outcome {
    let correlation_id = error.correlation_id().unwrap_or_default();
    let code = error.code().unwrap_or_default();
    let reason = match error.remedy() {
        Remedy::SignInAgain => "microsoft asks for a new sign-in",
        Remedy::RestartOnce => "microsoft refused the refresh token",
        Remedy::ConsentNeeded | Remedy::AdminConsent => "microsoft asks for consent",
        Remedy::Blocked => "microsoft blocks this user",
        Remedy::Refuse => "the renewed ID token was refused",
        // The user has done nothing: keep serving while the token lives, and let somebody know.
        Remedy::Misconfigured | Remedy::Later => {
            let wait = error.retry_after().map_or(BACK_OFF, |wait| {
                i64::try_from(wait.as_secs()).unwrap_or(i64::MAX).clamp(1, 3_600)
            });
            tracing::warn!(%error, code, correlation_id, retry_in_s = wait, "a renewal failed");
            return Outcome::Failed { retry_at: now.saturating_add(wait) };
        }
    };
    tracing::info!(%error, code, correlation_id, reason, "a session ended at its renewal");
    Outcome::Ended(reason)
}

/// Takes the flight down even when the task that flies it panics.
struct Landing {
    key: Key,
    flights: Arc<Flights>,
}

impl Landing {
    fn settle(&self, outcome: Outcome, until: i64) {
        let mut flights = self.flights.lock();
        flights.insert(self.key, Flight::Settled { outcome, until });
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut flights = self.flights.lock();
        if let Some(Flight::Running(_)) = flights.get(&self.key) {
            flights.remove(&self.key);
        }
    }
}
