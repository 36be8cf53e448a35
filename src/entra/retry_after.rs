//! `Retry-After`: whole seconds or a date (RFC 9110 §10.2.3).

use std::time::Duration;

use http::{HeaderMap, header::RETRY_AFTER};

use crate::base::clock::days;

/// Longer than this we do not wait, whatever is said.
const CAP: u64 = 3600;

/// How long to wait, at most an hour, if the answer says so; `now` in seconds since 1970.
pub(super) fn retry_after(headers: &HeaderMap, now: i64) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = match text.bytes().all(|byte| byte.is_ascii_digit()) {
        true if text.is_empty() => return None,
        // Too many digits for a number: a very long time.
        true => text.parse().unwrap_or(CAP),
        false => u64::try_from(date(text)?.saturating_sub(now)).unwrap_or(0),
    };
    Some(Duration::from_secs(seconds.min(CAP)))
}

/// Seconds since 1970 of `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 §5.6.7, the form that must be
/// sent; the two obsolete forms are not understood).
fn date(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (_, rest) = text.split_once(", ")?;
    let mut parts = rest.split(' ');
    let day: i64 = parts.next()?.parse().ok()?;
    let name = parts.next()?;
    let month = i64::try_from(MONTHS.iter().position(|month| *month == name)?).ok()? + 1;
    let year: i64 = parts.next()?.parse().ok()?;
    let mut time = parts.next()?.split(':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    let in_range = (1..=31).contains(&day)
        && (1970..=9999).contains(&year)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second);
    if !in_range || parts.next()? != "GMT" || parts.next().is_some() {
        return None;
    }
    Some(days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(text: &str, now: i64) -> Option<u64> {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, text.parse().unwrap())]);
        retry_after(&headers, now).map(|wait| wait.as_secs())
    }

    #[test]
    fn seconds_and_dates_are_understood_and_capped() {
        assert_eq!(after("120", 0), Some(120));
        assert_eq!(after("0", 0), Some(0));
        assert_eq!(after("999999999999999999999999", 0), Some(3600));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777 - 30), Some(30));
        assert_eq!(after("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_777 + 30), Some(0));
        assert_eq!(after("Thu, 29 Feb 2024 00:00:00 GMT", 1_709_164_800 - 9), Some(9));
        assert_eq!(after("Fri, 31 Dec 9999 23:59:59 GMT", 0), Some(3600));
    }

    #[test]
    fn anything_else_says_nothing() {
        for text in ["", "-1", "1.5", "soon", "Sun, 06 Foo 1994 08:49:37 GMT", "Sun, 06 Nov 1994"] {
            assert_eq!(after(text, 0), None, "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), 0), None);
    }
}
