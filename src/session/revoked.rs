//! Sessions that ended before their time, in this replica's memory.
//!
//! Microsoft's front-channel sign-out comes from a hidden, cross-site iframe to which browsers send
//! no `Lax` cookie, so the session cannot be cleared there: its `sid` is remembered here instead
//!. A sign-out clears the browser; an answer that was under way could bring its
//! cookie back, so the session's id is remembered, too. Without a shared store only the replica
//! that got the call knows.

use std::{
    borrow::Borrow,
    collections::HashMap,
    hash::Hash,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{
            AtomicUsize,
            Ordering::{Acquire, Release},
        },
    },
};

/// The front channel needs no cookie, so anybody may fill it: beyond, the soonest to expire go
/// first.
const MOST: usize = 10_000;

/// Sessions that have been ended, by `sid` or by id, and when each may be forgotten (seconds since
/// 1970).
#[derive(Debug, Default)]
pub struct RevokedSessions {
    sids: Remembered<String>,
    ids: Remembered<[u8; 16]>,
}

impl RevokedSessions {
    /// Ends every session of `sid`; `until` is when none of them can live any more.
    pub fn revoke(&self, sid: &str, now: i64, until: i64) {
        self.sids.insert(sid.to_owned(), now, until);
    }

    /// Sessions live so many seconds longer than when the calls came.
    pub fn prolong(&self, seconds: i64) {
        self.sids.prolong(seconds);
        self.ids.prolong(seconds);
    }

    /// Whether sessions of `sid` have been ended.
    pub fn contains(&self, sid: &str, now: i64) -> bool {
        self.sids.holds(sid, now)
    }

    /// Ends one session, which could have lived `until` then.
    pub(super) fn sign_out(&self, id: [u8; 16], now: i64, until: i64) {
        self.ids.insert(id, now, until);
    }

    /// Whether the session was signed out.
    pub(super) fn is_signed_out(&self, id: &[u8; 16], now: i64) -> bool {
        self.ids.holds(id, now)
    }
}

/// A bounded list.
#[derive(Debug)]
struct Remembered<K> {
    until: Mutex<HashMap<K, i64>>,
    /// Entries, to leave the list closed where it is empty: every request looks, on every core.
    held: AtomicUsize,
}

impl<K> Default for Remembered<K> {
    fn default() -> Self {
        Self { until: Mutex::default(), held: AtomicUsize::new(0) }
    }
}

impl<K: Clone + Eq + Hash> Remembered<K> {
    fn lock(&self) -> MutexGuard<'_, HashMap<K, i64>> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn holds<Q: Eq + Hash + ?Sized>(&self, key: &Q, now: i64) -> bool
    where
        K: Borrow<Q>,
    {
        let empty = self.held.load(Acquire) == 0;
        !empty && self.lock().get(key).is_some_and(|until| *until > now)
    }

    fn prolong(&self, seconds: i64) {
        self.lock().values_mut().for_each(|until| *until = until.saturating_add(seconds));
    }

    fn insert(&self, key: K, now: i64, until: i64) {
        let mut map = self.lock();
        if map.len() >= MOST {
            map.retain(|_, until| *until > now);
        }
        if map.len() >= MOST {
            let soonest = map.iter().min_by_key(|(_, until)| **until).map(|(key, _)| key.clone());
            soonest.map(|key| map.remove(&key));
        }
        map.insert(key, until);
        self.held.store(map.len(), Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revoked_session_is_remembered_until_it_cannot_live_any_more() {
        let revoked = RevokedSessions::default();
        revoked.revoke("a", 0, 100);
        assert!(revoked.contains("a", 99));
        assert!(!revoked.contains("a", 100) && !revoked.contains("b", 0));
    }

    #[test]
    fn a_longer_lifetime_brings_no_revoked_session_back() {
        let revoked = RevokedSessions::default();
        revoked.revoke("a", 0, 100);
        revoked.prolong(50);
        assert!(revoked.contains("a", 149) && !revoked.contains("a", 150));
    }

    #[test]
    fn a_signed_out_session_does_not_come_back_and_no_other_goes() {
        let revoked = RevokedSessions::default();
        revoked.sign_out([1; 16], 0, 100);
        assert!(revoked.is_signed_out(&[1; 16], 99));
        assert!(!revoked.is_signed_out(&[1; 16], 100) && !revoked.is_signed_out(&[2; 16], 0));
    }

    #[test]
    fn a_flood_of_strangers_stays_bounded_and_drops_the_soonest_to_expire() {
        let revoked = RevokedSessions::default();
        for n in 0..MOST {
            revoked.revoke(&n.to_string(), 0, 1_000 + i64::try_from(n).unwrap());
        }
        revoked.revoke("last", 0, 5_000);
        assert!(revoked.contains("last", 0) && !revoked.contains("0", 0));
        assert_eq!(revoked.sids.lock().len(), MOST);
    }
}
