//! Rotation in one step: a first key that is brand new does not seal until the other replicas have
//! had time to read it, or what it sealed here would open at none of them.

use super::{KEY_ID, KeySet, Keyring};
use crate::base::clock::Clock;

/// Seconds until a new first key seals. A Kubernetes `Secret` reaches its last node after a good
/// minute (kubelet's sync period and its cache), and every replica looks within seconds then.
const HOLD: i64 = 120;

/// The key that seals in place of the first one, for a while.
#[derive(Clone, Debug)]
pub(super) struct Hold {
    id: [u8; KEY_ID],
    until: i64,
    clock: Clock,
}

impl Keyring {
    /// Takes the place of `former`, whose replicas may not know the first of these keys yet: while
    /// that is so, the key that sealed so far goes on sealing, if it is still listed.
    #[must_use]
    pub fn following(mut self, former: &Self, clock: Clock) -> Self {
        let now = clock.unix();
        let id = former.sealing().id;
        let until = match &former.hold {
            // Something else has changed within the two minutes.
            Some(hold) if former.current.id == self.current.id => hold.until,
            _ if former.with_id(self.current.id).is_some() => now,
            _ => now.saturating_add(HOLD),
        };
        if now < until && self.with_id(id).is_some() {
            self.hold = Some(Hold { id, until, clock });
        }
        self
    }

    /// The keys that seal now.
    pub(super) fn sealing(&self) -> &KeySet {
        let held = self.hold.as_ref().filter(|hold| hold.clock.unix() < hold.until);
        held.and_then(|hold| self.with_id(hold.id)).unwrap_or(&self.current)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{
        super::{Binding, Key, Purpose},
        *,
    };

    fn keyring(keys: &[&Key]) -> Keyring {
        let again = |key: &&Key| Key::parse(&key.to_text()).unwrap();
        let binding = Binding {
            origin: "https://app.contoso.test".to_owned(),
            client_id: String::new(),
            tenant: String::new(),
        };
        Keyring::new(keys.iter().map(again).collect(), binding).unwrap()
    }

    fn opens(reader: &Keyring, writer: &Keyring) -> bool {
        let sealed = writer.seal(Purpose::Session, b"text").unwrap();
        reader.open(Purpose::Session, &sealed).is_some()
    }

    #[test]
    fn a_new_first_key_waits_for_the_replicas_that_do_not_know_it() {
        let (old, new) = (Key::generate().unwrap(), Key::generate().unwrap());
        let clock = Clock::adjustable();
        let replica = keyring(&[&old]);
        let rotated = keyring(&[&new, &old]).following(&replica, clock.clone());
        assert!(opens(&replica, &rotated) && opens(&rotated, &replica));
        // Another change in between neither begins the wait again nor ends it.
        clock.advance(Duration::from_secs(100));
        let again = keyring(&[&new, &old]).following(&rotated, clock.clone());
        assert!(opens(&replica, &again));
        clock.advance(Duration::from_secs(21));
        assert!(!opens(&replica, &rotated) && !opens(&replica, &again));
        assert!(opens(&again, &rotated) && opens(&again, &replica));
    }

    #[test]
    fn a_key_that_was_listed_before_seals_at_once() {
        let (old, new) = (Key::generate().unwrap(), Key::generate().unwrap());
        let before = keyring(&[&old, &new]);
        let rotated = keyring(&[&new, &old]).following(&before, Clock::adjustable());
        assert!(!opens(&keyring(&[&old]), &rotated) && opens(&before, &rotated));
    }

    #[test]
    fn a_key_that_is_no_longer_listed_seals_nothing() {
        let (old, new) = (Key::generate().unwrap(), Key::generate().unwrap());
        let rotated = keyring(&[&new]).following(&keyring(&[&old]), Clock::adjustable());
        assert!(!opens(&keyring(&[&old]), &rotated) && opens(&keyring(&[&new]), &rotated));
    }
}
