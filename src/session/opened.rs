//! Sessions that were opened lately, so that a browser's hundred requests open one once.
//!
//! Opening costs more than forwarding. A session is found by the very bytes that
//! it was sealed in and only by all of them; whether it is still within its limits is asked each
//! time.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use bytes::Bytes;
use quick_cache::{Equivalent, Weighter, sync::Cache};

use super::Session;
use crate::base::secret::ExposeSecret;

/// Memory for opened sessions, in bytes: some two thousand.
const ROOM: u64 = 32 << 20;
/// What an entry costs beside its texts, in bytes.
const OVERHEAD: usize = 1_024;
/// Entries that the cache is laid out for; it grows with what it holds.
const EXPECTED: usize = 64;

/// A bounded cache of opened sessions.
#[derive(Debug)]
pub(super) struct OpenedSessions(Cache<Key, Arc<Session>, ByBytes>);

/// What a session was sealed in, such as cookies: every byte of every part, with its number.
#[derive(Debug, PartialEq, Eq)]
struct Key(Box<[(usize, Box<[u8]>)]>);

/// The same, as a request brings it.
struct Sent<'c>(&'c [(usize, Bytes)]);

/// Bytes at the end of a part that its hash is made of.
const TAIL: usize = 16;

#[derive(Clone, Debug)]
struct ByBytes;

impl Weighter<Key, Arc<Session>> for ByBytes {
    fn weight(&self, sealed: &Key, session: &Arc<Session>) -> u64 {
        let tokens = &session.tokens;
        let optional = [&tokens.refresh_token, &tokens.id_token];
        let optional = optional.into_iter().flatten().map(|token| token.expose_secret().len());
        let tokens = tokens.access_token.expose_secret().len() + optional.sum::<usize>();
        let sealed = sealed.parts().map(|(_, part)| part.len()).sum::<usize>();
        // Claims take about as much as the seal that they came in.
        (2 * sealed + tokens + OVERHEAD) as u64
    }
}

impl OpenedSessions {
    pub(super) fn new() -> Self {
        Self(Cache::with_weighter(EXPECTED, ROOM, ByBytes))
    }

    /// The session that was sealed in these parts; opened by `open` where it was not lately.
    pub(super) fn find(
        &self,
        sealed: &[(usize, Bytes)],
        open: impl FnOnce() -> Option<Session>,
    ) -> Option<Arc<Session>> {
        if let Some(session) = self.0.get(&Sent(sealed)) {
            return Some(session);
        }
        Some(self.keep(sealed, open()?))
    }

    /// Keeps the session of these parts, in place of what was kept for them.
    pub(super) fn keep(&self, sealed: &[(usize, Bytes)], session: Session) -> Arc<Session> {
        let session = Arc::new(session);
        self.0.insert(Sent(sealed).to_key(), Arc::clone(&session));
        session
    }
}

impl Key {
    fn parts(&self) -> impl Iterator<Item = (usize, &[u8])> {
        self.0.iter().map(|(number, part)| (*number, &**part))
    }
}

impl<'c> Sent<'c> {
    fn parts(&self) -> impl Iterator<Item = (usize, &'c [u8])> {
        self.0.iter().map(|(number, part)| (*number, &**part))
    }

    fn to_key(&self) -> Key {
        Key(self.parts().map(|(number, part)| (number, part.into())).collect())
    }
}

impl Equivalent<Key> for Sent<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.parts().eq(key.parts())
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash_ends(self.parts(), state);
    }
}

impl Hash for Sent<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        hash_ends(self.parts(), state);
    }
}

/// The end of each part stands for all of it: kilobytes would take longer to hash than to compare.
///
/// What is kept was opened, so its last part ends in an authentication tag, and nobody without the
/// key can make two of them that hash alike; cookies that only look like a kept session cost their
/// sender one comparison.
fn hash_ends<'p, H: Hasher>(parts: impl Iterator<Item = (usize, &'p [u8])>, state: &mut H) {
    for (number, part) in parts {
        state.write_usize(number);
        state.write(part.last_chunk::<TAIL>().map_or(part, |tail| tail));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::hash_map::DefaultHasher;

    use super::*;

    fn hash(value: &impl Hash) -> u64 {
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        hasher.finish()
    }

    fn parts(texts: &[(usize, &str)]) -> Vec<(usize, Bytes)> {
        texts.iter().map(|(number, text)| (*number, Bytes::from((*text).to_owned()))).collect()
    }

    #[test]
    fn cookies_are_found_by_all_of_their_bytes_though_hashed_by_their_ends() {
        let kept = parts(&[(0, "beginning of the first part"), (1, "second")]);
        let key = Sent(&kept).to_key();
        assert!(Sent(&kept).equivalent(&key));
        assert_eq!(hash(&Sent(&kept)), hash(&key));
        let forged = parts(&[(0, "Beginning of the first part"), (1, "second")]);
        assert_eq!(hash(&Sent(&forged)), hash(&key));
        for other in [
            forged,
            parts(&[(1, "beginning of the first part"), (0, "second")]),
            parts(&[(0, "beginning of the first part")]),
            parts(&[(0, "beginning of the first partsecond")]),
        ] {
            assert!(!Sent(&other).equivalent(&key), "{other:?}");
        }
    }
}
