//! The keys that Microsoft signs ID tokens with, which it may exchange at any moment.
//!
//! Kept for 24 hours, refreshed every hour in the background, and fetched at once for an unknown
//! key id, but for that at most once a minute: tokens that anybody can invent must not make us
//! call Microsoft.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};
use tokio::sync::Mutex;

use super::{
    error::{Endpoint, EntraError},
    metadata::MetadataCache,
    wire::{Wire, object},
};
use crate::base::{jose::VerifyingKey, outbound::OutboundError};

/// Seconds for which a key set is good.
const LIFE: i64 = 24 * 3600;
/// Seconds between two fetches for the sake of unknown key ids.
const UNKNOWN_EVERY: i64 = 60;
/// Seconds after a failed fetch in which nobody tries again.
const PAUSE: i64 = 5;
/// More keys than any issuer has.
const KEYS: usize = 100;
/// Longest key id that can match.
const KID_BYTES: usize = 256;

/// Why keys are not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    /// Not a JSON Web Key Set (RFC 7517 §5).
    #[error("the document is not a key set")]
    NotASet,
    /// More keys than any issuer has.
    #[error("there are more than {KEYS} keys")]
    TooMany,
    /// No key that could verify an ID token.
    #[error("none of the keys can verify RS256 signatures")]
    NoneUsable,
}

/// One key.
#[derive(Debug)]
pub(super) struct SigningKey {
    kid: Option<String>,
    /// For whom it signs; may be a template with `{tenantid}`.
    pub(super) issuer: Option<String>,
    pub(super) key: VerifyingKey,
}

impl SigningKey {
    /// A key that can verify RS256, or `None` for every other (RFC 7517 §5: skipped, not an error).
    pub(super) fn read(key: &Value) -> Option<Self> {
        let text = |name: &str| key.get(name).and_then(Value::as_str);
        let fits = |name: &str, wanted: &str| match key.get(name) {
            None => true,
            Some(value) => value.as_str() == Some(wanted),
        };
        let verifies = match key.get("key_ops") {
            None => true,
            Some(Value::Array(uses)) => uses.iter().any(|used| used == "verify"),
            Some(_) => false,
        };
        if text("kty") != Some("RSA") || !fits("use", "sig") || !fits("alg", "RS256") || !verifies {
            return None;
        }
        let number = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        Some(Self {
            kid: text("kid").map(str::to_owned),
            issuer: text("issuer").map(str::to_owned),
            key: VerifyingKey::rsa(&number("n")?, &number("e")?).ok()?,
        })
    }
}

#[derive(Debug)]
struct KeySet {
    keys: Vec<Arc<SigningKey>>,
    fetched_at: i64,
}

impl KeySet {
    fn read(document: &Map<String, Value>, now: i64) -> Result<Self, KeysError> {
        let listed = document.get("keys").and_then(Value::as_array).ok_or(KeysError::NotASet)?;
        if listed.len() > KEYS {
            return Err(KeysError::TooMany);
        }
        let keys: Vec<_> = listed.iter().filter_map(SigningKey::read).map(Arc::new).collect();
        if keys.is_empty() {
            return Err(KeysError::NoneUsable);
        }
        Ok(Self { keys, fetched_at: now })
    }

    /// The keys of that id. Without an id a lone key is meant; among several nobody may choose.
    fn fitting(&self, kid: Option<&str>) -> Vec<Arc<SigningKey>> {
        match kid {
            Some(kid) => {
                let same = |key: &&Arc<SigningKey>| key.kid.as_deref() == Some(kid);
                self.keys.iter().filter(same).cloned().collect()
            }
            None if self.keys.len() == 1 => self.keys.clone(),
            None => Vec::new(),
        }
    }
}

/// The last good keys. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct SigningKeys(Arc<State>);

#[derive(Debug)]
struct State {
    wire: Wire,
    metadata: MetadataCache,
    known: ArcSwapOption<KeySet>,
    gate: Mutex<Gate>,
}

/// Held by whoever fetches, so that there is one fetch at a time.
#[derive(Debug, Default)]
struct Gate {
    failed_at: Option<i64>,
    unknown_at: Option<i64>,
}

/// Why keys are fetched.
#[derive(Clone, Debug)]
enum Reason {
    /// None are known, or they are a day old.
    Needed,
    /// A token names a key that we do not know.
    Unknown(String),
    /// An hour has passed.
    Hourly,
}

impl SigningKeys {
    pub(super) fn new(wire: Wire, metadata: MetadataCache) -> Self {
        Self(Arc::new(State {
            wire,
            metadata,
            known: ArcSwapOption::empty(),
            gate: Mutex::default(),
        }))
    }

    /// Whether there are keys.
    pub(super) fn are_known(&self) -> bool {
        self.0.known.load().is_some()
    }

    /// Takes over what another cache of the same authority knows.
    pub(super) fn adopt(&self, former: &Self) {
        self.0.known.store(former.0.known.load_full());
    }

    /// The keys that may have signed a token with that key id; empty when there is none.
    pub(super) async fn fitting(
        &self,
        kid: Option<&str>,
    ) -> Result<Vec<Arc<SigningKey>>, EntraError> {
        let known = match self.0.known.load_full() {
            Some(known) if known.is_fresh(self.0.wire.clock().unix()) => known,
            _ => self.detached(Reason::Needed).await?,
        };
        let found = known.fitting(kid);
        match kid {
            Some(kid) if found.is_empty() && kid.len() <= KID_BYTES => {
                Ok(self.detached(Reason::Unknown(kid.to_owned())).await?.fitting(Some(kid)))
            }
            _ => Ok(found),
        }
    }

    /// Fetches the keys again; what was known stays when that fails.
    pub(super) async fn refresh(&self) -> Result<(), EntraError> {
        self.detached(Reason::Hourly).await.map(drop)
    }

    /// On a task of its own: were it dropped with the browser that asked, the minute's only fetch
    /// would be lost for everybody.
    async fn detached(&self, reason: Reason) -> Result<Arc<KeySet>, EntraError> {
        let state = Arc::clone(&self.0);
        let task = self.0.wire.outbound().runtime().spawn(async move { state.load(reason).await });
        task.await.unwrap_or_else(|_| {
            Err(EntraError::Unreachable {
                endpoint: Endpoint::Keys,
                source: OutboundError::Cancelled,
            })
        })
    }
}

impl KeySet {
    fn is_fresh(&self, now: i64) -> bool {
        now.saturating_sub(self.fetched_at) < LIFE
    }
}

impl State {
    async fn load(&self, reason: Reason) -> Result<Arc<KeySet>, EntraError> {
        let mut gate = self.gate.lock().await;
        let (known, now) = (self.known.load_full(), self.wire.clock().unix());
        let within =
            |at: Option<i64>, seconds| at.is_some_and(|at| (at..at + seconds).contains(&now));
        match (&reason, known) {
            // Somebody else has fetched while we waited at the gate.
            (Reason::Needed, Some(known)) if known.is_fresh(now) => return Ok(known),
            (Reason::Unknown(kid), Some(known)) if !known.fitting(Some(kid)).is_empty() => {
                return Ok(known);
            }
            (Reason::Unknown(_), Some(known)) if within(gate.unknown_at, UNKNOWN_EVERY) => {
                // If that fetch failed we know nothing about this key: not the token's fault.
                return match gate.failed_at {
                    Some(_) => Err(EntraError::Pausing { endpoint: Endpoint::Keys }),
                    None => Ok(known),
                };
            }
            (Reason::Needed, known) if within(gate.failed_at, PAUSE) => {
                return known.ok_or(EntraError::Pausing { endpoint: Endpoint::Keys });
            }
            _ => {}
        }
        if matches!(reason, Reason::Unknown(_)) {
            gate.unknown_at = Some(now);
        }
        let fetched = self.fetch().await;
        gate.failed_at = fetched.is_err().then(|| self.wire.clock().unix());
        match (fetched, reason, self.known.load_full()) {
            (Ok(keys), _, _) => {
                let keys = Arc::new(keys);
                self.known.store(Some(Arc::clone(&keys)));
                self.wire.metrics().replica().entra_fetched(Endpoint::Keys.word(), keys.fetched_at);
                Ok(keys)
            }
            (Err(error), Reason::Needed, Some(old)) => {
                tracing::warn!(
                    error = error.word(),
                    "signing keys are a day old and not renewable"
                );
                Ok(old)
            }
            (Err(error), _, _) => Err(error),
        }
    }

    async fn fetch(&self) -> Result<KeySet, EntraError> {
        let metadata = self.metadata.current().await?;
        let body = self.wire.fetch(Endpoint::Keys, &metadata.keys).await?;
        Ok(KeySet::read(&object(Endpoint::Keys, &body)?, self.wire.clock().unix())?)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn modulus(bytes: usize) -> String {
        URL_SAFE_NO_PAD.encode(vec![0xf1; bytes])
    }

    fn key(kid: &str) -> Value {
        json!({ "kty": "RSA", "use": "sig", "kid": kid, "n": modulus(256), "e": "AQAB" })
    }

    fn read(keys: &[Value]) -> Result<KeySet, KeysError> {
        KeySet::read(json!({ "keys": keys }).as_object().unwrap(), 0)
    }

    #[test]
    fn keys_of_another_kind_are_skipped() {
        let mut decoys = vec![
            json!({ "kty": "oct", "kid": "good", "k": "AAAA" }),
            json!({ "kty": "EC", "kid": "good", "crv": "P-256", "x": "AA", "y": "AA" }),
            json!("good"),
            json!({ "kty": "RSA", "kid": "good" }),
            json!({ "kty": "RSA", "kid": "good", "n": modulus(64), "e": "AQAB" }),
            json!({ "kty": "RSA", "kid": "good", "n": "not base64!", "e": "AQAB" }),
        ];
        for (name, value) in [
            ("use", json!("enc")),
            ("alg", json!("RS512")),
            ("alg", json!("HS256")),
            ("alg", json!(1)),
            ("key_ops", json!(["encrypt"])),
            ("key_ops", json!("verify")),
        ] {
            let mut decoy = key("good");
            decoy[name] = value;
            decoys.push(decoy);
        }
        assert!(matches!(read(&decoys), Err(KeysError::NoneUsable)));
        decoys.push(key("good"));
        assert_eq!(read(&decoys).unwrap().fitting(Some("good")).len(), 1);
    }

    #[test]
    fn without_a_key_id_only_a_lone_key_is_meant() {
        assert_eq!(read(&[key("a")]).unwrap().fitting(None).len(), 1);
        assert_eq!(read(&[key("a"), key("b")]).unwrap().fitting(None).len(), 0);
        assert_eq!(read(&[key("a"), key("b")]).unwrap().fitting(Some("c")).len(), 0);
    }

    #[test]
    fn a_set_of_101_keys_or_none_is_refused() {
        let many: Vec<_> = (0..101).map(|index| key(&index.to_string())).collect();
        assert!(matches!(read(&many), Err(KeysError::TooMany)));
        assert!(read(&many[..100]).is_ok());
        assert!(matches!(read(&[]), Err(KeysError::NoneUsable)));
        let empty = KeySet::read(&Map::new(), 0);
        assert!(matches!(empty, Err(KeysError::NotASet)));
    }
}
