//! Our cookies, cut out of the `Cookie` header by bytes. What is left is the app's, byte for byte.
//!
//! No decoding, no quoting, no `$Version`: a browser's cookie names are compared as they are, with
//! only space and tab trimmed (draft-ietf-httpbis-rfc6265bis §5.7). `__Host-` names cannot be set
//! by a sibling domain, but only if nothing else is mistaken for one.

use std::fmt;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header::COOKIE};
use memchr::memchr_iter;

/// The cookies of ours that a request carried. Their values are secrets and not in `Debug`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct OwnCookies {
    /// The parts of the session by their index; 0 is the cookie without a number. The first value
    /// of each.
    pub session: Vec<(usize, Bytes)>,
    /// The flows in progress. The first value.
    pub jar: Option<Bytes>,
    /// One of our names came twice, or with a number that we never write: nothing here is to be
    /// believed, and all of it is to be cleared.
    pub ambiguous: bool,
}

/// The highest number that a part may have: one session is at most eight cookies.
const HIGHEST_PART: usize = 7;

impl OwnCookies {
    /// Whether the request had no cookie of ours at all.
    pub fn is_empty(&self) -> bool {
        self.session.is_empty() && self.jar.is_none() && !self.ambiguous
    }

    /// Whether there is any part of a session.
    pub fn has_session(&self) -> bool {
        !self.session.is_empty()
    }

    /// How many session cookies the browser keeps, as far as it showed: the highest number and one.
    pub fn session_count(&self) -> usize {
        self.session.iter().map(|(index, _)| index + 1).max().unwrap_or_default()
    }

    /// Takes the cookies called `name`, `name-1` … and `name-flow` out of `headers`.
    ///
    /// Several lines (HTTP/2 crumbs) become one, joined by `; ` (RFC 9113 §8.2.3). A header that
    /// held our cookies alone is dropped.
    pub(super) fn take(headers: &mut HeaderMap, name: &str) -> Self {
        let mut own = Self::default();
        let mut lines = headers.get_all(COOKIE).iter();
        let Some(first) = lines.next() else { return own };
        let crumbs = lines.next().is_some();
        // Nothing is copied of a single line: our values are views of it.
        let all = if crumbs { joined(headers) } else { Bytes::from_owner(first.clone()) };
        let mut kept: Vec<&[u8]> = Vec::new();
        let mut taken = false;
        let mut start = 0;
        for end in memchr_iter(b';', &all).chain([all.len()]) {
            let pair = all.get(start..end).unwrap_or_default();
            start = end + 1;
            if own.claim(&all, pair, name.as_bytes()) {
                taken = true;
            } else {
                kept.push(pair);
            }
        }
        if !taken && !crumbs {
            return own;
        }
        let rest = kept.join(&b';');
        let rest = rest.strip_prefix(b" ").unwrap_or(&rest);
        if rest.trim_ascii().is_empty() {
            headers.remove(COOKIE);
        } else if let Ok(mut value) = HeaderValue::from_bytes(rest) {
            value.set_sensitive(true);
            headers.insert(COOKIE, value);
        } else {
            // Parts of valid values are valid; were they not, ours must still not pass.
            headers.remove(COOKIE);
        }
        own
    }

    /// Takes one `name=value` pair, a part of `all`, if it is ours.
    fn claim(&mut self, all: &Bytes, pair: &[u8], name: &[u8]) -> bool {
        let mut halves = pair.splitn(2, |byte| *byte == b'=');
        let (Some(key), Some(value)) = (halves.next(), halves.next()) else { return false };
        let Some(suffix) = trimmed(key).strip_prefix(name) else { return false };
        match suffix {
            b"" => self.part(0, all.slice_ref(trimmed(value))),
            b"-flow" if self.jar.is_some() => self.ambiguous = true,
            b"-flow" => self.jar = Some(all.slice_ref(trimmed(value))),
            [b'-', digits @ ..] if is_number(digits) => match part_number(digits) {
                Some(number) => self.part(number, all.slice_ref(trimmed(value))),
                None => self.ambiguous = true,
            },
            _ => return false,
        }
        true
    }

    fn part(&mut self, number: usize, value: Bytes) {
        if self.session.iter().any(|(known, _)| *known == number) {
            self.ambiguous = true;
        } else {
            self.session.push((number, value));
        }
    }
}

/// Several lines as one (RFC 9113 §8.2.3).
fn joined(headers: &HeaderMap) -> Bytes {
    let lines: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    lines.join(&b"; "[..]).into()
}

fn is_number(digits: &[u8]) -> bool {
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

/// The number of a part as we write it: from 1, without leading zeros.
fn part_number(digits: &[u8]) -> Option<usize> {
    if digits.starts_with(b"0") {
        return None;
    }
    let number = str::from_utf8(digits).ok()?.parse().ok()?;
    (1..=HIGHEST_PART).contains(&number).then_some(number)
}

/// Space and tab alone: other blanks are part of a name that is not ours.
fn trimmed(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

impl fmt::Debug for OwnCookies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnCookies")
            .field("parts", &self.session.iter().map(|(number, _)| number).collect::<Vec<_>>())
            .field("jar", &self.jar.is_some())
            .field("ambiguous", &self.ambiguous)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop, proptest};

    use super::*;

    const NAME: &str = "__Host-vestibule";

    fn take(lines: &[&[u8]]) -> (OwnCookies, Option<Vec<u8>>) {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(COOKIE, HeaderValue::from_bytes(line).unwrap());
        }
        let own = OwnCookies::take(&mut headers, NAME);
        assert!(headers.get_all(COOKIE).iter().count() <= 1);
        (own, headers.get(COOKIE).map(|value| value.as_bytes().to_vec()))
    }

    fn rest(line: &str) -> String {
        String::from_utf8(take(&[line.as_bytes()]).1.unwrap_or_default()).unwrap()
    }

    #[test]
    fn our_cookies_are_cut_out_and_the_rest_stays_byte_for_byte() {
        for (given, left) in [
            ("a=1; __Host-vestibule=S; b=2", "a=1; b=2"),
            ("__Host-vestibule=S; a=1;  b=\"x, y\";c", "a=1;  b=\"x, y\";c"),
            ("a=1;__Host-vestibule-1=S;__Host-vestibule-flow=F;b==;", "a=1;b==;"),
            ("a=1; \t__Host-vestibule = S ;b=2", "a=1;b=2"),
            ("a=1;; b=%20", "a=1;; b=%20"),
            ("__Host-vestibule=S", ""),
            ("__Host-vestibule=S; __Host-vestibule-1=T; ", ""),
        ] {
            assert_eq!(rest(given), left, "{given}");
        }
    }

    #[test]
    fn crumbs_are_joined_to_one_line() {
        let (own, left) =
            take(&[b"a=1", b"__Host-vestibule=S", b"b=\xff", b"__Host-vestibule-1=T"]);
        assert_eq!(left.unwrap(), b"a=1; b=\xff");
        let parts = vec![(0, Bytes::from_static(b"S")), (1, Bytes::from_static(b"T"))];
        assert_eq!(own, OwnCookies { session: parts, jar: None, ambiguous: false });
        assert_eq!(take(&[b"a=1", b"b=2"]).1.unwrap(), b"a=1; b=2");
    }

    #[test]
    fn names_that_are_not_exactly_ours_are_the_apps() {
        for line in [
            "__host-vestibule=S",
            "__Host-Vestibule=S",
            "__Host-vestibulex=S",
            "x__Host-vestibule=S",
            "__Host-vestibule-=S",
            "__Host-vestibule-x=S",
            "__Host-vestibule-1e9=S",
            "__Host-vestibule--1=S",
            "__Host-vestibule-flows=S",
            "=__Host-vestibule=S",
            "__Host-vestibule",
            "a=__Host-vestibule=S",
            "$Version=1",
        ] {
            let (own, left) = take(&[line.as_bytes()]);
            assert!(own.is_empty(), "{line}");
            assert_eq!(left.unwrap(), line.as_bytes());
        }
        for blank in ["\u{a0}", "\u{2000}", "\u{85}"] {
            let line = format!("{blank}__Host-vestibule=S");
            assert!(take(&[line.as_bytes()]).0.is_empty());
        }
    }

    #[test]
    fn quotes_hide_nothing() {
        let (own, left) = take(&[b"a=\"x; __Host-vestibule=S; y\""]);
        assert!(own.has_session());
        assert_eq!(left.unwrap(), b"a=\"x; y\"");
    }

    #[test]
    fn a_name_of_ours_twice_or_with_an_odd_number_is_ambiguous() {
        for line in [
            "__Host-vestibule=S; __Host-vestibule=T",
            "__Host-vestibule=S; a=1; __Host-vestibule=S",
            "__Host-vestibule-1=S; __Host-vestibule-1=T",
            "__Host-vestibule-flow=S; __Host-vestibule-flow=T",
            "__Host-vestibule-0=S",
            "__Host-vestibule-01=S",
            "__Host-vestibule-8=S",
            "__Host-vestibule-99999999999999999999999=S",
        ] {
            let (own, left) = take(&[line.as_bytes()]);
            assert!(own.ambiguous && !own.is_empty(), "{line}");
            assert!(!left.unwrap_or_default().windows(6).any(|part| part == b"__Host"), "{line}");
        }
        assert!(!take(&[b"__Host-vestibule-7=S; __Host-vestibule-2=T"]).0.ambiguous);
    }

    #[test]
    fn cookie_values_are_not_in_debug_output() {
        let (own, _) = take(&[b"__Host-vestibule=CANARY; __Host-vestibule-flow=CANARY"]);
        assert!(!format!("{own:?}").contains("CANARY"));
    }

    proptest! {
        #[test]
        fn nothing_of_ours_is_left_and_nothing_else_is_lost(
            pairs in prop::collection::vec("[a-c]{1,3}=[a-z\"=%]{0,5}|__Host-vestibule(-[1-3]|-flow)?=[A-Z]{1,5}", 0..12),
        ) {
            let line = pairs.join("; ");
            let expected: Vec<&str> =
                pairs.iter().map(String::as_str).filter(|pair| !pair.starts_with("__Host")).collect();
            assert_eq!(rest(&line), expected.join("; "));
        }
    }
}
