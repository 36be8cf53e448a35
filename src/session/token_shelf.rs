//! Access tokens that do not fit in a session's cookies, in this replica's memory.
//!
//! Nothing is lost when one is not here: the cookie has the refresh token, from which any replica
//! mints a new one.

use quick_cache::{Weighter, sync::Cache};
use sha2::{Digest, Sha256};

use crate::{
    base::{
        metrics::Metrics,
        secret::{ExposeSecret, SecretString},
        units::ByteSize,
    },
    entra::TokenSet,
};

/// What an entry costs beside its token, in bytes.
const OVERHEAD: u64 = 160;
/// Entries that the cache is laid out for; it grows with what it holds.
const EXPECTED: usize = 64;

/// The token of a session is found by the session's refresh token: a full SHA-256 of it (E17).
type Key = [u8; 32];

/// A bounded store of access tokens.
#[derive(Debug)]
pub struct TokenShelf {
    tokens: Cache<Key, Shelved, ByBytes>,
    metrics: Metrics,
}

#[derive(Clone, Debug)]
struct Shelved {
    access_token: SecretString,
    expires_at: i64,
}

#[derive(Clone, Debug)]
struct ByBytes;

impl Weighter<Key, Shelved> for ByBytes {
    fn weight(&self, _: &Key, shelved: &Shelved) -> u64 {
        shelved.access_token.expose_secret().len() as u64 + OVERHEAD
    }
}

impl TokenShelf {
    /// A shelf that holds at most so many bytes; the least used tokens go first.
    pub fn new(room: ByteSize, metrics: Metrics) -> Self {
        Self { tokens: Cache::with_weighter(EXPECTED, room.bytes(), ByBytes), metrics }
    }

    /// Keeps the access token of a session.
    pub(super) fn put(&self, tokens: &TokenSet) {
        let Some(key) = key(tokens) else { return };
        let access_token = tokens.access_token.clone();
        self.tokens.insert(key, Shelved { access_token, expires_at: tokens.expires_at });
        self.metrics.shelved(self.tokens.len(), self.tokens.weight());
    }

    /// The access token of the session whose refresh token and expiry these are.
    pub(super) fn find(&self, tokens: &TokenSet) -> Option<SecretString> {
        let found = self.tokens.get(&key(tokens)?);
        let found = found.filter(|shelved| shelved.expires_at == tokens.expires_at);
        self.metrics.shelf_asked(found.is_some());
        found.map(|shelved| shelved.access_token)
    }
}

fn key(tokens: &TokenSet) -> Option<Key> {
    let refresh_token = tokens.refresh_token.as_ref()?;
    Some(Sha256::digest(refresh_token.expose_secret().as_bytes()).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(refresh: &str, access: &str) -> TokenSet {
        TokenSet {
            access_token: access.to_owned().into(),
            refresh_token: Some(refresh.to_owned().into()),
            id_token: None,
            expires_at: 100,
            scope: String::new(),
        }
    }

    #[test]
    fn a_token_is_found_by_its_own_sessions_refresh_token() {
        let shelf = TokenShelf::new(ByteSize::mib(1), Metrics::new());
        shelf.put(&tokens("r1", "a1"));
        let found = shelf.find(&tokens("r1", ""));
        assert_eq!(found.as_ref().map(ExposeSecret::expose_secret), Some("a1"));
        assert!(shelf.find(&tokens("r2", "")).is_none());
        let other_generation = TokenSet { expires_at: 101, ..tokens("r1", "") };
        assert!(shelf.find(&other_generation).is_none());
    }

    #[test]
    fn the_shelf_holds_no_more_than_its_room() {
        let shelf = TokenShelf::new(ByteSize::kib(256), Metrics::new());
        let large = "x".repeat(10_000);
        for n in 0..1_000 {
            shelf.put(&tokens(&format!("r{n}"), &large));
        }
        assert!(shelf.tokens.weight() <= 256 * 1024);
        assert!(shelf.find(&tokens("r999", "")).is_some());
    }
}
