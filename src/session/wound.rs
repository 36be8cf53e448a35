//! When an opened session's idle clock was last wound, so that requests that were sent together, all
//! with the same cookies, seal it once and not each.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

/// An answer may be lost on its way; after so many seconds the cookies are sent again.
const AGAIN: i64 = 5;

/// Belongs to the cookies that a session was opened from; a copy has been wound by nobody.
#[derive(Debug)]
pub(super) struct Wound(AtomicI64);

impl Default for Wound {
    fn default() -> Self {
        Self(AtomicI64::new(i64::MIN))
    }
}

impl Clone for Wound {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl Wound {
    /// Whether the caller is to wind it, at `now`, in seconds; `step` is how often at most that is
    /// done. Of several callers at a time it is one.
    pub(super) fn is_ours(&self, now: i64, step: i64) -> bool {
        let last = self.0.load(Relaxed);
        // A clock that was set back must not keep it from being wound.
        let lately = last <= now && now < last.saturating_add(step.min(AGAIN));
        !lately && self.0.compare_exchange(last, now, Relaxed, Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_requests_one_winds_and_another_a_while_later() {
        let wound = Wound::default();
        assert_eq!([1000, 1000, 1004].map(|now| wound.is_ours(now, 360)), [true, false, false]);
        assert!(wound.is_ours(1005, 360), "the first answer may have been lost");
        assert!(!wound.is_ours(1009, 360));
        assert!(wound.is_ours(1009, 1), "the step is shorter");
        assert!(wound.is_ours(900, 360), "the clock was set back");
        assert!(wound.clone().is_ours(900, 360), "other cookies");
    }
}
