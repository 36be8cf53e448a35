//! A place on our own origin that a browser may be sent to. Holding a [`ReturnTo`] means that it
//! is safe: the checks cannot be forgotten by a caller.

use crate::request::PublicUrl;

/// Longest place that is carried through a sign-in, in bytes.
pub(super) const LONGEST: usize = 2048;

/// Path, query and fragment on `public_url`'s origin, beginning with exactly one `/`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturnTo(String);

impl ReturnTo {
    /// The start page.
    pub fn home() -> Self {
        Self("/".to_owned())
    }

    /// Reads a place as a browser would (WHATWG URL Standard), and refuses what would leave our
    /// origin: `//evil`, `/\evil`, `/<TAB>/evil`, `https:evil` …
    pub fn parse(text: &str, public_url: &PublicUrl) -> Option<Self> {
        let path = match text.strip_prefix(public_url.origin()) {
            Some("") => "/",
            Some(rest) => rest,
            None => text,
        };
        let bytes = path.as_bytes();
        let one_slash = bytes.first() == Some(&b'/') && !matches!(bytes.get(1), Some(b'/' | b'\\'));
        // Behind `#` a backslash is only a character, and browsers leave it as it is.
        let server_part = path.split('#').next().unwrap_or_default();
        let plain =
            bytes.iter().all(|byte| matches!(byte, 0x21..=0x7e)) && !server_part.contains('\\');
        if !one_slash || !plain || bytes.len() > LONGEST {
            return None;
        }
        let base = url::Url::parse(public_url.origin()).ok()?;
        let url = base.join(path).ok()?;
        // After the browser's own dot-segment removal, `/..//evil` has the path `//evil`: a second
        // hop that only reads the path would leave.
        let stays = url.origin() == base.origin() && !url.path().starts_with("//");
        stays.then(|| Self(path.to_owned()))
    }

    /// The same, or the start page.
    pub fn parse_or_home(text: Option<&str>, public_url: &PublicUrl) -> Self {
        text.and_then(|text| Self::parse(text, public_url)).unwrap_or_else(Self::home)
    }

    /// Path, query and fragment.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The absolute URL, for `Location`.
    pub fn location(&self, public_url: &PublicUrl) -> String {
        format!("{}{}", public_url.origin(), self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<String> {
        let public_url = PublicUrl::parse("https://app.contoso.com").unwrap();
        ReturnTo::parse(text, &public_url).map(|place| place.as_str().to_owned())
    }

    #[test]
    fn a_place_on_our_origin_is_kept_byte_for_byte() {
        for place in [
            "/",
            "/a",
            "/a?b=c&d=%2F",
            "/a?",
            "/a;b",
            "/a#part",
            "/a?b#/part?c=d\\e",
            "/%09/x",
            "/;@evil",
            "/?u=https://evil.test",
        ] {
            assert_eq!(parse(place).as_deref(), Some(place));
        }
        assert_eq!(parse("https://app.contoso.com/a?b").as_deref(), Some("/a?b"));
        assert_eq!(parse("https://app.contoso.com").as_deref(), Some("/"));
    }

    #[test]
    fn whatever_a_browser_would_follow_off_our_origin_is_refused() {
        for place in [
            "",
            "a",
            "//evil.test",
            "/\\evil.test",
            "/\\evil.test#x",
            "\\\\evil.test",
            "/\t/evil.test",
            "/\n/evil.test",
            "https:evil.test",
            "https://evil.test",
            "https://app.contoso.com.evil.test/",
            "https://app.contoso.com@evil.test/",
            "https://app.contoso.com:444/",
            "javascript:alert(1)",
            "/..//evil.test",
            "/.//evil.test",
            "/a/../..//evil.test",
            " /a",
            "/a b",
            "/ü",
            "///evil.test",
            "http://app.contoso.com/",
            "data:text/html,x",
            "/%2e%2e//evil.test",
        ] {
            assert_eq!(parse(place), None, "{place:?}");
        }
        assert_eq!(parse(&format!("/{}", "a".repeat(LONGEST))), None);
    }
}
