//! Who the headers say is there, and until when the token in them is good.

use std::collections::HashMap;

use http::{HeaderMap, header};
use serde::Serialize;

use super::headers::shortened;

/// More users than a demo has; a forgotten one starts counting again.
const MOST_USERS: usize = 100;
const FIRST_FEW: usize = 3;

/// Who the headers say is there. All fields are empty for nobody.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Visitor {
    /// The user name, as the app has always called its users.
    pub(super) name: Option<String>,
    /// Name of a fact, its value, and the header that told it.
    pub(super) facts: Vec<(&'static str, String, &'static str)>,
}

/// The token that came with this request.
#[derive(Debug, Serialize)]
pub(super) struct Token {
    short: String,
    /// Which one it is for this user since the app started: it counts up as tokens are renewed.
    number: usize,
    /// Unix seconds.
    expires: Option<i64>,
    left: Option<String>,
}

/// The last token of each user and how many there were: enough to notice a renewal.
#[derive(Debug, Default)]
pub(super) struct TokensSeen(HashMap<String, (String, usize)>);

impl Visitor {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let told = |name: &'static str| {
            let value = headers.get(name)?.to_str().ok()?;
            (!value.is_empty()).then(|| (value.to_owned(), name))
        };
        let first = |names: &[&'static str]| names.iter().find_map(|name| told(name));
        let facts = [
            ("User name", first(&["x-user", "x-forwarded-preferred-username"])),
            ("Sign-in name", first(&["x-ms-client-principal-name"])),
            ("Object id", first(&["x-ms-client-principal-id"])),
            ("E-mail", first(&["x-forwarded-email"])),
            ("Groups", first(&["x-forwarded-groups"])),
            ("Signed in by", first(&["x-ms-client-principal-idp"])),
        ];
        let facts: Vec<_> = facts
            .into_iter()
            .filter_map(|(fact, told)| told.map(|(value, header)| (fact, listed(&value), header)))
            .collect();
        let name = first(&[
            "x-user",
            "x-ms-client-principal-name",
            "x-forwarded-preferred-username",
            "x-forwarded-user",
        ]);
        Self { name: name.map(|(name, _)| name), facts }
    }
}

impl Token {
    pub(super) fn of(
        headers: &HeaderMap,
        visitor: &Visitor,
        seen: &mut TokensSeen,
        now: i64,
    ) -> Option<Self> {
        let token = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let expires = headers
            .get("x-ms-token-aad-expires-on")
            .and_then(|value| value.to_str().ok())
            .and_then(unix_time);
        Some(Self {
            short: shortened(token),
            number: seen.note(visitor.name.as_deref().unwrap_or_default(), token),
            expires,
            left: expires.map(|expires| in_words(expires - now)),
        })
    }
}

impl TokensSeen {
    fn note(&mut self, user: &str, token: &str) -> usize {
        if self.0.len() >= MOST_USERS && !self.0.contains_key(user) {
            self.0.clear();
        }
        let (last, number) = self.0.entry(user.to_owned()).or_default();
        if last != token {
            token.clone_into(last);
            *number += 1;
        }
        *number
    }
}

/// The first few of a list with commas; some people are in hundreds of groups.
fn listed(value: &str) -> String {
    let all: Vec<_> = value.split(',').collect();
    match all.get(..FIRST_FEW) {
        Some(few) if all.len() > FIRST_FEW => {
            format!("{} and {} more", few.join(", "), all.len() - FIRST_FEW)
        }
        _ => all.join(", "),
    }
}

fn in_words(seconds: i64) -> String {
    let count = |number: i64, unit: &str| match number {
        1 => format!("1 {unit}"),
        _ => format!("{number} {unit}s"),
    };
    match seconds {
        ..0 => format!("{} ago", in_words(-seconds)),
        0..60 => count(seconds, "second"),
        60..3600 => format!("{} {}", count(seconds / 60, "minute"), count(seconds % 60, "second")),
        _ => format!("{} {}", count(seconds / 3600, "hour"), count(seconds % 3600 / 60, "minute")),
    }
}

/// `2025-10-28T00:45:13.7985667Z`, as App Service writes it, or plain seconds; in Unix seconds.
fn unix_time(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse() {
        return Some(seconds);
    }
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let whole = time.split_once('.').map_or(time, |(whole, _)| whole);
    let mut time = whole.splitn(3, ':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    if !(1970..10_000).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Howard Hinnant's days_from_civil: the year begins in March, so leap days come last.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * month + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_visitor_is_whoever_the_headers_name() {
        let mut headers = HeaderMap::new();
        assert_eq!(Visitor::of(&headers).name, None);
        headers.insert("x-forwarded-user", "sub-of-alice".parse().unwrap());
        assert_eq!(Visitor::of(&headers).name.as_deref(), Some("sub-of-alice"));
        headers.insert("x-ms-client-principal-name", "alice@contoso.test".parse().unwrap());
        headers.insert("x-user", "".parse().unwrap());
        let visitor = Visitor::of(&headers);
        assert_eq!(visitor.name.as_deref(), Some("alice@contoso.test"));
        let (fact, value, header) = visitor.facts.first().unwrap();
        assert_eq!((*fact, value.as_str()), ("Sign-in name", "alice@contoso.test"));
        assert_eq!(*header, "x-ms-client-principal-name");
    }

    #[test]
    fn of_many_groups_only_a_few_are_listed() {
        assert_eq!(listed("a"), "a");
        assert_eq!(listed("a,b,c"), "a, b, c");
        assert_eq!(listed("a,b,c,d,e"), "a, b, c and 2 more");
    }

    #[test]
    fn the_end_of_a_token_is_read_as_app_service_writes_it() {
        assert_eq!(unix_time("2025-10-28T00:45:13.7985667Z"), Some(1_761_612_313));
        assert_eq!(unix_time("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(unix_time("2024-02-29T12:00:00Z"), Some(1_709_208_000));
        assert_eq!(unix_time("1761612313"), Some(1_761_612_313));
        for text in ["", "soon", "2025-10-28", "2025-13-28T00:00:00Z", "2025-10-28T00:45Z", "TZ"] {
            assert_eq!(unix_time(text), None, "{text}");
        }
    }

    #[test]
    fn time_left_is_told_in_words() {
        assert_eq!(in_words(1), "1 second");
        assert_eq!(in_words(61), "1 minute 1 second");
        assert_eq!(in_words(4_805), "1 hour 20 minutes");
        assert_eq!(in_words(-30), "30 seconds ago");
    }

    #[test]
    fn a_renewed_token_counts_once_for_its_user() {
        let mut seen = TokensSeen::default();
        let numbers = ["a", "a", "b", "b", "c"].map(|token| seen.note("alice", token));
        assert_eq!(numbers, [1, 1, 2, 2, 3]);
        assert_eq!(seen.note("bob", "c"), 1);
        for user in 0..MOST_USERS * 2 {
            seen.note(&user.to_string(), "x");
        }
        assert!(seen.0.len() <= MOST_USERS);
    }
}
