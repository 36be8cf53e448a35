//! Who is signed in: the session, from sealed cookies and back.

mod contents;
pub mod cookies;
mod ending;
mod opened;
mod overdue;
pub mod packing;
mod redis;
mod remote;
mod renewal;
mod revoked;
mod settings;
mod shared_renewal;
mod store;
mod streams;
mod token_shelf;
mod told;
mod vigil;
mod wound;

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use http::HeaderValue;
use serde_json::Value;
use tokio::runtime::Handle;

pub use self::{
    cookies::{SessionCookies, TooLarge},
    redis::{AddressError, StoreError},
    renewal::{Flights, Renewal, RenewalError},
    revoked::RevokedSessions,
    settings::{KeysError, Settings, StoreKind, StoreSettingsError},
    streams::Streams,
    token_shelf::TokenShelf,
    told::{Teller, Told},
};
use self::{
    opened::OpenedSessions,
    packing::Contents,
    remote::{KeepError, Remote},
    renewal::Renewed,
    store::{Store, Stored},
    wound::Wound,
};
use crate::{
    base::{clock::Clock, metrics::Metrics, secret::SecretSource},
    entra::{EntraClient, Principal, SignedIn, TokenSet},
    request::OwnCookies,
    sealing::{Keyring, Purpose, SealError},
};

/// One signed-in browser.
#[derive(Clone, Debug)]
pub struct Session {
    /// Random, made at sign-in; a new sign-in is a new session.
    pub id: [u8; 16],
    /// Counts the renewals.
    pub generation: u32,
    /// When the user signed in, seconds since 1970: the absolute lifetime counts from here.
    pub signed_in_at: i64,
    /// When the session was last used, up to a tenth of the idle timeout late.
    pub seen_at: i64,
    /// When Microsoft gave the tokens.
    pub obtained_at: i64,
    /// Who.
    pub principal: Principal,
    /// The tokens.
    pub tokens: TokenSet,
    /// Whether the access token is at hand. It is not where it did not fit in the cookies and this
    /// replica does not have it: such a session is renewed before anything else.
    pub has_access_token: bool,
    /// What the app is told about it.
    pub told: Told,
    /// Where the store keeps it, if it is there.
    stored: Option<Stored>,
    /// Whether its idle clock has just been wound for these cookies.
    wound: Wound,
}

/// What the browser's cookies hold.
#[derive(Debug)]
pub enum Found {
    /// No session cookie at all.
    Nothing,
    /// Cookies that are no session: foreign, damaged, expired, revoked. They deserve clearing.
    Broken,
    /// A session within its limits.
    Live(Arc<Session>),
}

/// Why the cookies of a browser that was given a session are none, for the page that ends a loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// No session cookie arrives.
    Missing,
    /// Some cookies arrive, but not the ones that were set together.
    Incomplete,
    /// They are whole, and none of our keys opens them.
    Unreadable,
    /// They open, and the session in them is over.
    Over,
}

/// A session as it is to be used for this request.
#[derive(Debug)]
pub struct Current {
    /// The session, renewed where that was due.
    pub session: Arc<Session>,
    /// Cookies to send because it changed.
    pub set_cookies: Vec<HeaderValue>,
}

/// A session could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// It needs more cookies than are allowed.
    #[error("the session does not fit into its cookies")]
    TooLarge(#[from] TooLarge),
    /// It could not be sealed.
    #[error("the session could not be sealed")]
    Seal(#[from] SealError),
    /// The store did not take it.
    #[error("the session could not be stored")]
    Store(#[from] StoreError),
}

impl From<KeepError> for WriteError {
    fn from(error: KeepError) -> Self {
        match error {
            KeepError::Seal(error) => Self::Seal(error),
            KeepError::Store(error) => Self::Store(error),
        }
    }
}

/// Opens, renews, writes and clears sessions.
#[derive(Debug)]
pub struct Sessions {
    keyring: Arc<Keyring>,
    cookies: SessionCookies,
    store: Store,
    /// Seconds from sign-in.
    lifetime: i64,
    /// Seconds without a request.
    idle_timeout: i64,
    keep_id_token: bool,
    /// Groups that a rule names: the others go where a session is too large.
    named_groups: BTreeSet<String>,
    renewal: Arc<Renewal>,
    opened: OpenedSessions,
    shelf: Arc<TokenShelf>,
    revoked: Arc<RevokedSessions>,
    streams: Arc<Streams>,
    runtime: Handle,
    clock: Clock,
    metrics: Metrics,
}

/// What [`Sessions`] is made of.
#[derive(Debug)]
pub struct Parts {
    /// Seals and opens the cookies.
    pub keyring: Arc<Keyring>,
    /// Renews tokens.
    pub entra: Arc<EntraClient>,
    /// Where renewals run: they must outlive the request that began them.
    pub runtime: Handle,
    /// The raw ID token stays in the session because a header dialect hands it on.
    pub keep_id_token: bool,
    /// Renewals under way; they survive a reload.
    pub flights: Arc<Flights>,
    /// Groups that a rule names.
    pub named_groups: BTreeSet<String>,
    /// The URL of the Redis that keeps the sessions; `None`: the cookies do.
    pub redis: Option<SecretSource>,
    /// Access tokens that did not fit in cookies; survives a reload.
    pub shelf: Arc<TokenShelf>,
    /// Sessions that a sign-out ended; survives a reload.
    pub revoked: Arc<RevokedSessions>,
    /// Sessions with open streams; survives a reload.
    pub streams: Arc<Streams>,
    /// The time.
    pub clock: Clock,
    /// Counters.
    pub metrics: Metrics,
}

impl Sessions {
    /// Sessions as `settings` say.
    pub fn new(settings: &Settings, parts: Parts) -> Self {
        let Parts { keyring, entra, runtime, flights, revoked, streams, clock, metrics, .. } =
            parts;
        let (lifetime, idle_timeout) = (seconds(settings.lifetime), seconds(settings.idle_timeout));
        let remote = parts.redis.map(|source| {
            Arc::new(Remote::new(remote::Parts {
                source,
                runtime: runtime.clone(),
                keyring: Arc::clone(&keyring),
                entra: &entra,
                lifetime,
                idle_timeout,
                keep_id_token: parts.keep_id_token,
                clock: clock.clone(),
                metrics: metrics.clone(),
            }))
        });
        let renewal = Renewal::new(
            entra,
            remote.clone(),
            runtime.clone(),
            flights,
            settings.renew_before.duration(),
            clock.clone(),
            metrics.clone(),
        );
        Self {
            keyring,
            cookies: SessionCookies::new(&settings.cookie, settings.cookie_budget),
            store: remote.map_or(Store::Cookie, Store::Redis),
            lifetime,
            idle_timeout,
            keep_id_token: parts.keep_id_token,
            named_groups: parts.named_groups,
            renewal: Arc::new(renewal),
            opened: OpenedSessions::new(),
            shelf: parts.shelf,
            revoked,
            streams,
            runtime,
            clock,
            metrics,
        }
    }

    /// Opens the session of `cookies`. Every way in which it can be wrong looks the same (E3).
    ///
    /// # Errors
    /// The store cannot answer, so that nobody knows.
    pub async fn open(&self, cookies: &OwnCookies) -> Result<Found, StoreError> {
        if !cookies.has_session() {
            return Ok(Found::Nothing);
        }
        if cookies.ambiguous {
            return Ok(Found::Broken);
        }
        let session = match &self.store {
            Store::Cookie => self.opened.find(&cookies.session, || self.unseal(cookies)),
            Store::Redis(remote) => match self.ticket(remote, cookies) {
                Some(ticket) => Box::pin(remote.open(&ticket.id)).await?,
                None => None,
            },
        };
        let session = session.filter(|session| self.ended(session, session.seen_at).is_none());
        let session = session.map(|session| self.with_access_token(session, cookies));
        Ok(session.map_or(Found::Broken, Found::Live))
    }

    /// Who was signed in with `cookies`, even if that session has ended: it tells whose a form was
    /// and admits nobody.
    pub fn last_user(&self, cookies: &OwnCookies) -> Option<Principal> {
        if cookies.ambiguous {
            return None;
        }
        let session = self.opened.find(&cookies.session, || self.unseal(cookies));
        session.map(|session| session.principal.clone())
    }

    /// What is wrong with `cookies`, which hold no live session.
    pub fn trouble(&self, cookies: &OwnCookies) -> Trouble {
        if !cookies.has_session() {
            Trouble::Missing
        } else if cookies.ambiguous || self.cookies.join(&cookies.session).is_none() {
            Trouble::Incomplete
        } else if !self.is_ours(cookies) {
            Trouble::Unreadable
        } else {
            Trouble::Over
        }
    }

    /// Whether we sealed what is in `cookies`, whatever became of it.
    fn is_ours(&self, cookies: &OwnCookies) -> bool {
        match &self.store {
            Store::Cookie => self.last_user(cookies).is_some(),
            Store::Redis(remote) => self.ticket(remote, cookies).is_some(),
        }
    }

    /// Begins the session of somebody who just signed in. Nothing of an older one survives (D6).
    ///
    /// # Errors
    /// The operating system gave no randomness for the id.
    pub fn establish(&self, signed_in: SignedIn) -> Result<Session, getrandom::Error> {
        let now = self.clock.unix();
        let mut id = [0; 16];
        getrandom::fill(&mut id)?;
        Ok(Session {
            id,
            generation: 0,
            signed_in_at: now,
            seen_at: now,
            obtained_at: now,
            principal: signed_in.id_token.principal(),
            tokens: self.kept(signed_in.tokens),
            has_access_token: true,
            told: Told::default(),
            stored: None,
            wound: Wound::default(),
        })
    }

    /// The session to use now: renewed where that is due, its idle clock wound where a tenth of
    /// the idle timeout has passed. `sent` are the cookies that the browser sent.
    ///
    /// # Errors
    /// The session has ended, or Microsoft cannot answer and its token has expired.
    pub async fn current(
        &self,
        session: Arc<Session>,
        sent: &OwnCookies,
    ) -> Result<Current, RenewalError> {
        let newer = self.streams.newer(&session);
        let replaced = newer.is_some();
        let session = newer.unwrap_or(session);
        let now = self.clock.unix();
        let renewed = self.renewal.renew_if_due(&session, now).await;
        let renewed = renewed.inspect_err(|error| self.note_end(&session, error))?;
        let step = self.idle_step();
        let is_wound = now - session.seen_at < step || !session.wound.is_ours(now, step);
        if renewed.is_none() && !replaced && is_wound {
            self.streams.note(&session);
            return Ok(Current { session, set_cookies: Vec::new() });
        }
        Ok(self.changed(session, renewed, sent).await)
    }

    /// Renews now, due or not.
    ///
    /// # Errors
    /// The session has ended, or Microsoft cannot answer.
    pub async fn refresh(
        &self,
        session: Arc<Session>,
        sent: &OwnCookies,
    ) -> Result<Current, RenewalError> {
        let session = self.streams.newer(&session).unwrap_or(session);
        let renewed = self.renewal.renew_now(&session).await;
        let renewed = renewed.inspect_err(|error| self.note_end(&session, error))?;
        Ok(self.changed(session, Some(renewed), sent).await)
    }

    /// The cookies that hold `session`; unused ones are expired along with it (E5).
    fn write(&self, session: &Session, sent: &OwnCookies) -> Result<Vec<HeaderValue>, WriteError> {
        let mut contents = Contents::of(session, self.keep_id_token);
        let mut lines = self.seal(&contents, sent);
        if matches!(lines, Err(WriteError::TooLarge(_))) && contents.refresh_token.is_some() {
            // Any replica mints it anew from the refresh token.
            contents.access_token = None;
            lines = self.seal(&contents, sent);
            if matches!(lines, Err(WriteError::TooLarge(_))) {
                self.drop_unnamed_groups(&mut contents);
                lines = self.seal(&contents, sent);
            }
            if lines.is_ok() {
                self.shelf.put(&session.tokens);
            }
        }
        let lines = lines?;
        let bytes = SessionCookies::total_bytes(&lines);
        self.metrics.session_written(bytes, access_token_bytes(&session.tokens));
        Ok(lines)
    }

    fn seal(&self, contents: &Contents, sent: &OwnCookies) -> Result<Vec<HeaderValue>, WriteError> {
        let mut packed = packing::pack(contents);
        packing::pad(&mut packed, |sealed| self.cookies.edge(sealed));
        let sealed = self.keyring.seal(Purpose::Session, &packed)?;
        self.metrics.sealed(Purpose::Session.word());
        Ok(self.cookies.write(&sealed, sent.session_count())?)
    }

    /// Leaves the groups that some rule asks for; no decision changes by it.
    fn drop_unnamed_groups(&self, contents: &mut Contents) {
        if let Some(Value::Array(groups)) = contents.claims.get_mut("groups") {
            let all = groups.len();
            let named =
                |id: &str| self.named_groups.iter().any(|name| name.eq_ignore_ascii_case(id));
            groups.retain(|group| group.as_str().is_some_and(named));
            tracing::warn!(
                all,
                kept = groups.len(),
                "a session kept only the groups that rules name"
            );
        }
    }

    /// Cookies that end the session in the browser (E6).
    pub fn clear(&self, sent: &OwnCookies) -> Vec<HeaderValue> {
        self.cookies.clear(sent.session_count())
    }

    /// The cookies' names and attributes.
    pub fn cookies(&self) -> &SessionCookies {
        &self.cookies
    }

    /// When the tokens will be renewed; `None` without a refresh token.
    pub fn renews_at(&self, session: &Session) -> Option<i64> {
        session.tokens.refresh_token.as_ref().map(|_| self.renewal.due_at(session))
    }

    /// `session` as it goes on, with the cookies that say so.
    async fn changed(
        &self,
        session: Arc<Session>,
        renewed: Option<Arc<Renewed>>,
        sent: &OwnCookies,
    ) -> Current {
        let now = self.clock.unix();
        let is_stored = renewed.is_some();
        let next = match renewed {
            Some(renewed) => self.renewed(&session, &renewed, now),
            None => Session { seen_at: now, ..Session::clone(&session) },
        };
        let set_cookies = match &self.store {
            Store::Cookie => self.write(&next, sent).unwrap_or_else(|error| {
                // The old cookies still open, and the next renewal may fit again.
                tracing::warn!(%error, "a session could not be written again; the browser keeps the old one");
                Vec::new()
            }),
            Store::Redis(remote) => {
                if !is_stored {
                    Box::pin(remote.wind_idle_clock(&next)).await;
                }
                self.renewed_ticket(remote, sent)
            }
        };
        let session = Arc::new(next);
        self.streams.note(&session);
        Current { session, set_cookies }
    }

    fn renewed(&self, session: &Session, renewed: &Renewed, seen_at: i64) -> Session {
        let next = renewed.session_after(session, seen_at);
        Session { tokens: self.kept(next.tokens), ..next }
    }

    /// The idle clock is wound in steps, so that most responses set no cookie. The limit therefore
    /// comes up to a tenth early, never late.
    fn idle_step(&self) -> i64 {
        (self.idle_timeout / 10).max(1)
    }

    /// The session with the access token that its cookies have no room for, if it is on the shelf.
    fn with_access_token(&self, session: Arc<Session>, cookies: &OwnCookies) -> Arc<Session> {
        if session.has_access_token {
            return session;
        }
        let Some(access_token) = self.shelf.find(&session.tokens) else { return session };
        let tokens = TokenSet { access_token, ..session.tokens.clone() };
        let whole = Session { tokens, has_access_token: true, ..Session::clone(&session) };
        self.opened.keep(&cookies.session, whole)
    }

    fn unseal(&self, cookies: &OwnCookies) -> Option<Session> {
        let parts: &[(usize, Bytes)] = &cookies.session;
        let sealed = self.cookies.join(parts)?;
        let plain = self.keyring.open(Purpose::Session, &sealed)?;
        packing::unpack(&plain)?.into_session()
    }

    /// Drops what no later step needs, so that it never reaches a cookie.
    fn kept(&self, mut tokens: TokenSet) -> TokenSet {
        if !self.keep_id_token {
            tokens.id_token = None;
        }
        tokens
    }
}

fn access_token_bytes(tokens: &TokenSet) -> usize {
    use crate::base::secret::ExposeSecret;
    tokens.access_token.expose_secret().len()
}

fn seconds(span: crate::base::units::Span) -> i64 {
    i64::try_from(span.duration().as_secs()).unwrap_or(i64::MAX)
}
