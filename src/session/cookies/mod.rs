//! The wire form of a session: sealed bytes split over as few cookies as possible, and joined
//! again only when every piece is there and of the same set.
//!
//! A value is base64url with five characters in front:
//!
//! ```text
//! mark (1) ‖ set (4) ‖ piece
//! ```
//!
//! The first cookie's mark is the number of cookies, `1` to `8`; the others' is their place, `B`
//! for the second. The set is the last three sealed bytes: the end of the authentication tag is as
//! good as random, differs with every seal and can be checked after joining. So pieces of two
//! sessions, of two versions of one session or in the wrong order are recognised before anything
//! is decrypted.
//!
//! Session cookies have no `Max-Age`: they end with the browser at the latest, and the times
//! sealed inside decide before that.

use std::{fmt, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::HeaderValue;

/// Octets of name and value that browsers store (RFC 6265bis §5.7); Chromium drops a cookie of
/// 4097 without a word.
const COOKIE_OCTETS: usize = 4096;
/// Most cookies that one session may ever need, whatever the budget says.
const MOST_COOKIES: usize = 8;
const LONGEST_NAME: usize = 64;
/// Sealed bytes that name the set.
const SET_BYTES: usize = 3;
const SET_CHARACTERS: usize = 4;
const FRONT: usize = 1 + SET_CHARACTERS;
/// The same on every write and on every removal: browsers ignore the removal of a `__Host-` cookie
/// that lacks one of them.
const ATTRIBUTES: &str = "; Path=/; Secure; HttpOnly; SameSite=";
const EXPIRED: &str = "; Max-Age=0; Expires=Thu, 01 Jan 1970 00:00:00 GMT";

/// A session needs more cookies than it may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the session needs {needed} cookies, but {budget} are allowed")]
pub struct TooLarge {
    /// Cookies that it needs.
    pub needed: usize,
    /// Cookies that it may have.
    pub budget: usize,
}

/// Splits, joins and removes the cookies of one proxy.
#[derive(Clone, Debug)]
pub struct SessionCookies {
    name: String,
    budget: usize,
}

impl SessionCookies {
    /// Cookies called `name`, `name-1` and so on, at most `budget` (1 to 8) of them. The name is
    /// one that [`SessionCookies::accepts`].
    pub fn new(name: &str, budget: usize) -> Self {
        Self { name: name.to_owned(), budget: budget.clamp(1, MOST_COOKIES) }
    }

    /// Whether a session cookie may have this name: a token (RFC 9110 §5.6.2) that begins with
    /// `__Host-`, so that no sibling domain can set it, and is short.
    pub fn accepts(name: &str) -> bool {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        name.strip_prefix("__Host-").is_some_and(|rest| !rest.is_empty())
            && name.len() <= LONGEST_NAME
            && name.bytes().all(token)
    }

    /// The name of the first session cookie.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name of the cookie that holds the sign-ins in progress.
    pub fn jar_name(&self) -> String {
        format!("{}-flow", self.name)
    }

    /// Whether a `Set-Cookie` line sets, or clears, a cookie under one of our names.
    pub fn is_ours(&self, line: &[u8]) -> bool {
        let name = line.split(|byte| matches!(byte, b'=' | b';')).next().unwrap_or_default();
        let rest = name.trim_ascii().strip_prefix(self.name.as_bytes());
        rest.is_some_and(|rest| match rest.split_first() {
            None => true,
            Some((b'-', number)) => number == b"flow" || number.iter().all(u8::is_ascii_digit),
            Some(_) => false,
        })
    }

    /// Sealed bytes that fit in so many cookies.
    pub fn capacity(&self, cookies: usize) -> usize {
        (0..cookies).map(|index| self.room(index)).sum::<usize>() * 3 / 4
    }

    /// Cookies that so many sealed bytes need; it may be more than the budget.
    pub fn needed(&self, sealed: usize) -> usize {
        let mut room = 0;
        let fits = |index: &usize| {
            room += self.room(*index);
            room * 3 / 4 >= sealed
        };
        1 + (0..sealed).find(fits).unwrap_or(sealed)
    }

    /// Sealed bytes that fit in the cookies that so many need anyway: as far as padding may go.
    pub fn edge(&self, sealed: usize) -> usize {
        self.capacity(self.needed(sealed))
    }

    /// The `Set-Cookie` lines that store `sealed` and remove what is left of a longer session.
    /// `previous` is the number of session cookies that the browser sent; with gaps between them,
    /// one more than the highest place.
    pub fn write(&self, sealed: &[u8], previous: usize) -> Result<Vec<HeaderValue>, TooLarge> {
        let needed = self.needed(sealed.len());
        if needed > self.budget {
            return Err(TooLarge { needed, budget: self.budget });
        }
        let text = URL_SAFE_NO_PAD.encode(sealed);
        let set = set_of(sealed);
        let mut rest = text.as_str();
        let mut lines = Vec::with_capacity(needed.max(self.budget));
        for index in 0..needed {
            let (piece, after) = rest.split_at_checked(self.room(index)).unwrap_or((rest, ""));
            rest = after;
            let mark = mark(index, needed);
            lines.push(self.line(index, format_args!("{mark}{set}{piece}{ATTRIBUTES}Lax")));
        }
        lines.extend(self.removals(needed, previous));
        Ok(lines)
    }

    /// The sealed bytes of a browser's session cookies, given as places and values in any order.
    /// `None` for anything but one whole set: whether it is ours is for the seal to say.
    pub fn join(&self, parts: &[(usize, Bytes)]) -> Option<Vec<u8>> {
        let count = parts.len();
        if count == 0 || count > MOST_COOKIES {
            return None;
        }
        let mut pieces: [Option<&[u8]>; MOST_COOKIES] = [None; MOST_COOKIES];
        let mut set = None;
        for (index, value) in parts {
            let (front, piece) = value.split_first_chunk::<FRONT>()?;
            let (found, front) = front.split_first()?;
            if char::from(*found) != mark(*index, count) || piece.is_empty() {
                return None;
            }
            if *set.get_or_insert(front) != front {
                return None;
            }
            if pieces.get_mut(*index)?.replace(piece).is_some() {
                return None;
            }
        }
        let pieces = pieces.get(..count)?.iter().copied().collect::<Option<Vec<_>>>()?;
        // The decoder refuses padding and stray low bits, so one session has one spelling.
        let sealed = URL_SAFE_NO_PAD.decode(pieces.concat()).ok()?;
        (Some(set_of(&sealed).as_bytes()) == set).then_some(sealed)
    }

    /// The `Set-Cookie` lines that remove the session. `sent` counts like `previous` of
    /// [`SessionCookies::write`]; fewer than the budget are never removed, since a callback by
    /// `form_post` does not bring them.
    pub fn clear(&self, sent: usize) -> Vec<HeaderValue> {
        self.removals(0, sent).collect()
    }

    /// The `Set-Cookie` line that stores the sealed sign-ins in progress for `max_age`. A
    /// `form_post` callback is a cross-site POST, which brings `SameSite=None` cookies alone.
    pub fn jar(
        &self,
        sealed: &[u8],
        same_site_none: bool,
        max_age: Duration,
    ) -> Result<HeaderValue, TooLarge> {
        if sealed.len() > self.jar_capacity() {
            return Err(TooLarge { needed: 2, budget: 1 });
        }
        let value = URL_SAFE_NO_PAD.encode(sealed);
        let seconds = max_age.as_secs();
        Ok(self.jar_line(format_args!("{value}; Max-Age={seconds}"), same_site_none))
    }

    /// The sealed bytes in the value of the jar cookie, unless it is no base64url.
    pub fn open_jar(value: &[u8]) -> Option<Vec<u8>> {
        URL_SAFE_NO_PAD.decode(value).ok()
    }

    /// Sealed bytes that fit in the jar cookie.
    pub fn jar_capacity(&self) -> usize {
        COOKIE_OCTETS.saturating_sub(self.jar_name().len()) * 3 / 4
    }

    /// The `Set-Cookie` line that removes the jar.
    pub fn clear_jar(&self, same_site_none: bool) -> HeaderValue {
        self.jar_line(format_args!("{EXPIRED}"), same_site_none)
    }

    /// Octets, names and values, that `lines` make the browser keep: removals count nothing.
    pub fn total_bytes(lines: &[HeaderValue]) -> usize {
        let kept = |line: &HeaderValue| {
            let pair = line.as_bytes().split(|octet| *octet == b';').next()?;
            let value = pair.splitn(2, |octet| *octet == b'=').nth(1)?;
            (!value.is_empty()).then(|| pair.len() - 1)
        };
        lines.iter().filter_map(kept).sum()
    }

    /// Characters of the text that fit in the cookie at `index`.
    fn room(&self, index: usize) -> usize {
        let number = index.checked_ilog10().map_or(0, |tens| 2 + tens as usize);
        COOKIE_OCTETS.saturating_sub(self.name.len() + number + FRONT)
    }

    fn removals(&self, from: usize, sent: usize) -> impl Iterator<Item = HeaderValue> {
        (from..sent.clamp(self.budget, MOST_COOKIES))
            .map(|index| self.line(index, format_args!("{EXPIRED}{ATTRIBUTES}Lax")))
    }

    fn line(&self, index: usize, after: fmt::Arguments<'_>) -> HeaderValue {
        match index {
            0 => header(format_args!("{}={after}", self.name)),
            _ => header(format_args!("{}-{index}={after}", self.name)),
        }
    }

    fn jar_line(&self, value: fmt::Arguments<'_>, same_site_none: bool) -> HeaderValue {
        let site = if same_site_none { "None" } else { "Lax" };
        header(format_args!("{}={value}{ATTRIBUTES}{site}", self.jar_name()))
    }
}

/// What the cookie at `index` of `count` begins with.
fn mark(index: usize, count: usize) -> char {
    let (first, steps) = if index == 0 { ('0', count) } else { ('A', index) };
    let steps = u8::try_from(steps).unwrap_or(u8::MAX);
    char::from((first as u8).saturating_add(steps))
}

fn set_of(sealed: &[u8]) -> String {
    let tail = sealed.last_chunk::<SET_BYTES>().copied().unwrap_or_default();
    URL_SAFE_NO_PAD.encode(tail)
}

/// Names are tokens and values base64url, so this always is a header; were it not, an empty line
/// would store nothing.
fn header(line: fmt::Arguments<'_>) -> HeaderValue {
    let line = HeaderValue::from_maybe_shared(line.to_string());
    let mut line = line.unwrap_or_else(|_| HeaderValue::from_static(""));
    line.set_sensitive(true);
    line
}

#[cfg(test)]
mod tests;
