//! The time, passed in. Everything that expires asks a [`Clock`], so that tests move time instead
//! of sleeping.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{sync::watch, time::sleep};

/// A machine that was suspended, or whose clock was set, is noticed after this long.
const LONGEST_SLEEP: Duration = Duration::from_secs(5);

/// Where the time comes from. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    /// Milliseconds that a test has added to the machine's time; `None` in production.
    offset: Option<Arc<watch::Sender<i64>>>,
}

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        Self::default()
    }

    /// The machine's clock plus what [`Clock::advance`] adds: for tests.
    pub fn adjustable() -> Self {
        Self { offset: Some(Arc::default()) }
    }

    /// Moves an adjustable clock, and each of its clones, forward. The machine's clock stays.
    pub fn advance(&self, by: Duration) {
        if let Some(offset) = &self.offset {
            let millis = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
            offset.send_modify(|offset| *offset = offset.saturating_add(millis));
        }
    }

    /// The time now.
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the machine")]
    pub fn now(&self) -> SystemTime {
        let now = SystemTime::now();
        let Some(offset) = &self.offset else { return now };
        let millis = *offset.borrow();
        let by = Duration::from_millis(millis.unsigned_abs());
        if millis < 0 { now - by } else { now + by }
    }

    /// The time now in whole seconds since 1970, as in JWT claims (RFC 7519 §2, `NumericDate`).
    pub fn unix(&self) -> i64 {
        unix(self.now())
    }

    /// Waits until [`Clock::unix`] is at least `moment`, however the clock gets there.
    pub async fn sleep_until(&self, moment: i64) {
        let seconds = Duration::from_secs(moment.try_into().unwrap_or_default());
        let Some(moment) = UNIX_EPOCH.checked_add(seconds) else {
            return std::future::pending().await;
        };
        let mut moved = self.offset.as_ref().map(|offset| offset.subscribe());
        while let Ok(left) = moment.duration_since(self.now())
            && !left.is_zero()
        {
            let nap = sleep(left.min(LONGEST_SLEEP));
            let Some(moved) = &mut moved else {
                nap.await;
                continue;
            };
            tokio::select! {
                () = nap => {}
                // `self` holds the sender: this fails never.
                _ = moved.changed() => {}
            }
        }
    }
}

/// Whole seconds since 1970; 0 for a time before.
pub fn unix(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// RFC 3339 in UTC, to the second: `2026-01-31T08:15:00Z`.
pub fn rfc3339(unix: i64) -> String {
    let (days, second) = (unix.div_euclid(86_400), unix.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Days since 1970 in the Gregorian calendar, counting years from March so that the leap day is
/// the last of a year.
pub fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let leap_days = year / 4 - year / 100 + year / 400;
    365 * year + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468
}

/// Year, month and day of a day counted from 1970-01-01, in the proleptic Gregorian calendar
/// (Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`).
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_prints_as_rfc_3339() {
        for (unix, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_767_225_599, "2025-12-31T23:59:59Z"),
            (4_102_444_800, "2100-01-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(unix), text);
        }
    }

    #[test]
    fn days_are_counted_as_they_are_printed() {
        for day in [-719_468, -1, 0, 59, 60, 11_016, 19_782, 47_541, 2_932_896] {
            let (year, month, of_month) = civil(day);
            assert_eq!(days(year, month, of_month), day);
        }
    }

    #[tokio::test]
    async fn who_sleeps_wakes_when_the_clock_is_moved_and_not_before() {
        let clock = Clock::adjustable();
        let hour = clock.unix() + 3600;
        clock.sleep_until(hour - 3600).await;
        clock.sleep_until(i64::MIN).await;
        let never = clock.sleep_until(i64::MAX);
        assert!(tokio::time::timeout(Duration::from_millis(10), never).await.is_err());
        let mut sleeper = std::pin::pin!(clock.sleep_until(hour));
        for by in [0, 1800] {
            clock.advance(Duration::from_secs(by));
            let woken = tokio::time::timeout(Duration::from_millis(50), sleeper.as_mut()).await;
            assert!(woken.is_err(), "woke too early");
        }
        clock.advance(Duration::from_mins(30));
        sleeper.await;
        assert!(clock.unix() >= hour);
    }

    #[test]
    fn an_adjustable_clock_moves_for_all_its_clones() {
        let clock = Clock::adjustable();
        let other = clock.clone();
        let before = other.unix();
        clock.advance(Duration::from_hours(1));
        assert!(other.unix() >= before + 3600);
    }
}
