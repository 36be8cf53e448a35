//! Sessions in Redis: sealed bytes under random ids, and a lease for whoever renews one.
//!
//! ```text
//! vestibule:{<id>}:session   sealed session, expires with it
//! vestibule:{<id>}:lease     who renews it now, expires by itself
//! vestibule:{<sid>}:sign-in  ids of the sessions of one session at Microsoft, by their end
//! ```
//!
//! Redis is believed in nothing but availability: a value opens only with the session keys and
//! only under its own id, and whatever has another type, shape or size is no session (E18). The
//! braces put a session and its lease in one slot of a cluster; no command touches two slots.
//!
//! The *version* of a session is the tag of its seal, its last sixteen bytes: as good as random and
//! different for every write. A write names the version that it replaces, so that a late one
//! neither undoes a newer one nor brings back a session that was ended. This fences writers better
//! than a number handed out with the lease could, since it also covers those without one.

mod address;
mod lease;
mod link;

use std::{fmt::Write as _, io, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use redis::{ErrorKind, RedisError, ServerErrorKind};
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;

pub use self::address::AddressError;
use self::link::Link;
pub(super) use self::{address::Address, lease::Lease};
use crate::base::{metrics::Metrics, secret::SecretSource};

/// Names a session in the store; 256 random bits that only a sealed ticket brings back.
pub(super) type Id = [u8; 32];
/// The version of a stored session: the end of its seal.
pub(super) type Version = [u8; VERSION];

const VERSION: usize = 16;
/// A larger value was not written by us: the largest token that Entra makes is far smaller.
const MOST_BYTES: usize = 1 << 20;
/// Sessions here that one session at Microsoft may have; beyond, the first to end is ended.
const MOST_PER_SIGN_IN: usize = 100;

/// The store cannot answer. Nothing is known about the session then, so nobody is admitted, and
/// nothing is wrong with it, so nothing is cleared.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// `session.redis_url_file` cannot be read.
    #[error("session.redis_url_file cannot be read")]
    Url(#[source] Arc<io::Error>),
    /// `session.redis_url_file` holds something else.
    #[error("session.redis_url cannot be used")]
    Address(#[from] AddressError),
    /// No connection in time.
    #[error("redis took no connection in time")]
    NoConnection,
    /// No answer in time.
    #[error("redis did not answer in time")]
    TimedOut,
    /// The connection broke, or could not be opened.
    #[error("redis is not reached")]
    Unreachable(#[source] RedisError),
    /// Redis answered with an error.
    #[error("redis refused")]
    Refused(#[source] RedisError),
    /// The process is ending.
    #[error("the call was cancelled because the process is ending")]
    Cancelled,
}

impl StoreError {
    /// A word for metrics.
    fn word(&self) -> &'static str {
        match self {
            Self::Url(_) | Self::Address(_) => "configuration",
            Self::NoConnection | Self::TimedOut => "timeout",
            Self::Unreachable(_) => "unreachable",
            Self::Refused(_) => "refused",
            Self::Cancelled => "cancelled",
        }
    }
}

impl From<RedisError> for StoreError {
    fn from(error: RedisError) -> Self {
        if error.is_timeout() {
            return Self::TimedOut;
        }
        match error.kind() {
            ErrorKind::Io | ErrorKind::ClusterConnectionNotFound => Self::Unreachable(error),
            _ => Self::Refused(error),
        }
    }
}

/// Sealed sessions in Redis.
#[derive(Debug)]
pub(super) struct RedisStore {
    link: Arc<Link>,
}

impl RedisStore {
    /// A store at the URL in `source`, which need not be reached yet. Connections live on `runtime`.
    pub(super) fn new(source: SecretSource, runtime: Handle, metrics: Metrics) -> Self {
        Self { link: Arc::new(Link::new(source, runtime, metrics)) }
    }

    /// The value under `id`. Anything that cannot be a session is none.
    pub(super) async fn read(&self, id: &Id) -> Result<Option<Vec<u8>>, StoreError> {
        let mut command = redis::cmd("GETRANGE");
        command.arg(key(id, "session")).arg(0).arg(MOST_BYTES);
        let value: Vec<u8> = match self.link.run("read", &command).await {
            Ok(value) => value,
            Err(error) if is_other_type(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(value).filter(|value| (1..=MOST_BYTES).contains(&value.len())))
    }

    /// Notes which session at Microsoft a session belongs to. Do this before the session is stored:
    /// one that is not in the index could not be ended.
    pub(super) async fn index(&self, id: &Id, entry: &IndexEntry) -> Result<(), StoreError> {
        for crowded_out in self.note(id, entry).await? {
            self.delete(&crowded_out).await?;
        }
        Ok(())
    }

    /// Stores a new session for `life`.
    pub(super) async fn create(
        &self,
        id: &Id,
        value: &[u8],
        life: Duration,
    ) -> Result<(), StoreError> {
        let mut command = redis::cmd("SET");
        command.arg(key(id, "session")).arg(value).arg("PX").arg(millis(life));
        self.link.run("create", &command).await
    }

    /// Replaces the value under `id` if it is still of this version; `false` if it is not.
    pub(super) async fn replace(
        &self,
        id: &Id,
        version: &Version,
        value: &[u8],
        life: Duration,
    ) -> Result<bool, StoreError> {
        let mut command = redis::cmd("EVAL");
        command.arg(REPLACE).arg(1).arg(key(id, "session"));
        command.arg(&version[..]).arg(value).arg(millis(life));
        self.link.run("replace", &command).await
    }

    /// Ends the session under `id`.
    pub(super) async fn delete(&self, id: &Id) -> Result<(), StoreError> {
        let mut command = redis::cmd("DEL");
        command.arg(key(id, "session"));
        self.link.run("delete", &command).await
    }

    /// Ends the session under `id` if it is still of this version.
    pub(super) async fn delete_version(
        &self,
        id: &Id,
        version: &Version,
    ) -> Result<bool, StoreError> {
        let mut command = redis::cmd("EVAL");
        command.arg(DELETE).arg(1).arg(key(id, "session")).arg(&version[..]);
        self.link.run("delete", &command).await
    }

    /// Ends all sessions of a session at Microsoft; how many there were.
    pub(super) async fn delete_all(
        &self,
        at_microsoft: &MicrosoftSession,
    ) -> Result<usize, StoreError> {
        let index = at_microsoft.key();
        let mut command = redis::cmd("ZRANGE");
        command.arg(&index).arg(0).arg(MOST_PER_SIGN_IN);
        let members: Vec<Vec<u8>> = match self.link.run("list", &command).await {
            Ok(members) => members,
            Err(error) if is_other_type(&error) => return Ok(0),
            Err(error) => return Err(error),
        };
        let ids: Vec<Id> = members.iter().filter_map(|id| id.as_slice().try_into().ok()).collect();
        for id in &ids {
            self.delete(id).await?;
        }
        if !members.is_empty() {
            // Members alone: somebody may be signing in with the same session just now.
            let mut command = redis::cmd("ZREM");
            command.arg(&index).arg(members);
            self.link.run::<()>("list", &command).await?;
        }
        Ok(ids.len())
    }

    /// Takes the lease of a session for `life`, unless somebody else holds it.
    pub(super) async fn lease(&self, id: &Id, life: Duration) -> Result<Option<Lease>, StoreError> {
        Lease::take(&self.link, key(id, "lease"), life).await
    }

    /// Notes a session in the index of its session at Microsoft; those that it crowds out.
    async fn note(&self, id: &Id, entry: &IndexEntry) -> Result<Vec<Id>, StoreError> {
        let key = entry.at_microsoft.key();
        let mut command = redis::cmd("EVAL");
        command.arg(NOTE).arg(1).arg(&key).arg(&id[..]);
        command.arg(entry.now).arg(entry.ends_at).arg(millis(entry.longest));
        command.arg(-1 - isize::try_from(MOST_PER_SIGN_IN).unwrap_or(isize::MAX));
        let crowded_out: Vec<Vec<u8>> = match self.link.run("note", &command).await {
            Err(error) if is_other_type(&error) => {
                // Nobody but us writes here, so whoever did meant harm.
                self.link.run::<()>("delete", redis::cmd("DEL").arg(&key)).await?;
                self.link.run("note", &command).await?
            }
            other => other?,
        };
        Ok(crowded_out.iter().filter_map(|id| id.as_slice().try_into().ok()).collect())
    }
}

/// A session at Microsoft, as the store names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct MicrosoftSession([u8; 32]);

impl MicrosoftSession {
    /// The session `sid` of `tenant` at Microsoft, as `client_id` sees it. Anybody may send any
    /// `sid`, and several apps may share one Redis: so it is hashed, with a length in front of
    /// each part (E17).
    pub(super) fn new(tenant: &str, client_id: &str, sid: &str) -> Self {
        let mut hash = Sha256::new();
        for part in [tenant, client_id, sid] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }

    fn key(&self) -> String {
        key(&self.0, "sign-in")
    }
}

/// What the index is told about a new session.
#[derive(Debug)]
pub(super) struct IndexEntry {
    /// The session at Microsoft.
    pub(super) at_microsoft: MicrosoftSession,
    /// Seconds since 1970.
    pub(super) now: i64,
    /// When the session ends whatever happens, seconds since 1970.
    pub(super) ends_at: i64,
    /// How long any session may live.
    pub(super) longest: Duration,
}

/// The version of a sealed session.
pub(super) fn version(sealed: &[u8]) -> Option<Version> {
    sealed.last_chunk().copied()
}

fn key(id: &[u8; 32], kind: &str) -> String {
    let mut key = String::with_capacity(80);
    key.push_str("vestibule:{");
    URL_SAFE_NO_PAD.encode_string(id, &mut key);
    let _ = write!(key, "}}:{kind}");
    key
}

/// Redis refuses an expiry of nothing.
fn millis(life: Duration) -> u64 {
    u64::try_from(life.as_millis()).unwrap_or(u64::MAX).clamp(1, MOST_MILLIS)
}

/// Ten years: Redis computes the end in milliseconds since 1970, in 64 bits.
const MOST_MILLIS: u64 = 10 * 365 * 86_400 * 1_000;

/// Somebody put something else than we do under one of our keys.
fn is_other_type(error: &StoreError) -> bool {
    match error {
        StoreError::Refused(error) => match error.kind() {
            ErrorKind::Extension => error.code() == Some("WRONGTYPE"),
            // From inside a script the code is only in the text.
            ErrorKind::Server(ServerErrorKind::ResponseError) => {
                error.detail().is_some_and(|detail| detail.contains("WRONGTYPE"))
            }
            ErrorKind::UnexpectedReturnType => true,
            _ => false,
        },
        _ => false,
    }
}

/// KEYS: session. ARGV: version, value, milliseconds.
const REPLACE: &str = "local held = redis.pcall('GETRANGE', KEYS[1], -16, -1)
if held ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1";

/// KEYS: session. ARGV: version.
const DELETE: &str = "local held = redis.pcall('GETRANGE', KEYS[1], -16, -1)
if held ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])";

/// KEYS: index. ARGV: id, now, end of the session, milliseconds, rank below which there are too
/// many. Members that ended are dropped; those that are too many are returned.
const NOTE: &str = "redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[2])
redis.call('ZADD', KEYS[1], ARGV[3], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
local many = redis.call('ZRANGE', KEYS[1], 0, ARGV[5])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, ARGV[5])
return many";
