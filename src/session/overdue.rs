//! Sessions whose user signed out while the store did not answer: dead on this replica already, and
//! still to be ended in the store.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use super::redis::Id;

/// Only the owner of a ticket gets in here, so this is a limit for accidents.
const MOST: usize = 10_000;

/// Ids of such sessions and when they have ended by themselves (seconds since 1970).
#[derive(Debug, Default)]
pub(super) struct Overdue(Mutex<Noted>);

#[derive(Debug, Default)]
struct Noted {
    until: HashMap<Id, i64>,
    /// Somebody works on them.
    is_worked_on: bool,
}

impl Overdue {
    /// Notes a session; `true` if nobody works on ending them yet and the caller has to.
    pub(super) fn note(&self, id: Id, until: i64) -> bool {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.until.len() < MOST {
            noted.until.insert(id, until);
        }
        !std::mem::replace(&mut noted.is_worked_on, true)
    }

    /// Whether this session has been ended by its user.
    pub(super) fn holds(&self, id: &Id) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).until.contains_key(id)
    }

    /// What is still to be ended at `now`.
    pub(super) fn ids(&self, now: i64) -> Vec<Id> {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        noted.until.retain(|_, until| now < *until);
        noted.until.keys().copied().collect()
    }

    /// The store has ended this one.
    pub(super) fn ended(&self, id: &Id) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).until.remove(id);
    }

    /// Whether nothing is left, in which case nobody works on it any more.
    pub(super) fn is_done(&self) -> bool {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let done = noted.until.is_empty();
        noted.is_worked_on = !done;
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_worker_is_asked_for_until_nothing_is_left() {
        let overdue = Overdue::default();
        assert!(overdue.note([1; 32], 100));
        assert!(!overdue.note([2; 32], 200));
        assert!(overdue.holds(&[1; 32]) && !overdue.holds(&[3; 32]));
        // The first has ended by itself by then.
        assert_eq!(overdue.ids(150), [[2; 32]]);
        assert!(!overdue.is_done());
        overdue.ended(&[2; 32]);
        assert!(overdue.is_done() && overdue.note([3; 32], 300));
    }
}
