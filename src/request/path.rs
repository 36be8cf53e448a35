//! One path, read as strictly as the strictest and as loosely as the loosest app would.
//!
//! An app may decode twice, ignore case, cut `;jsessionid`, merge slashes. A path that such an app
//! could read as *another place* (an encoded slash, a dot segment) is refused; one that it could
//! read as *the same place written differently* is passed on, and says so in [`Reading::folded`]
//! and [`Reading::plain`].

use super::target::TargetError;

/// What a valid path can be taken for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// The loosest reading, where it is not the path itself without its last slash.
    folded: Option<String>,
    /// Whether every app takes the path for what it looks like.
    pub(super) plain: bool,
}

impl Reading {
    /// Reads a path as it stands in the request line.
    pub(super) fn of(path: &str) -> Result<Self, TargetError> {
        if !path.starts_with('/') {
            return Err(TargetError::NotAPath);
        }
        // Browsers read `//evil.test` in a `Location` as another host.
        if path.starts_with("//") {
            return Err(TargetError::DoubleSlash);
        }
        if is_everyday(path) {
            return Ok(Self { folded: None, plain: true });
        }
        let Decoded { text: once, unreserved } = decode_once(path)?;
        let fully = decode_fully(&once)?;
        let mapped: String = fully.chars().map(stand_in).collect();
        let mut segments = mapped.split('/').map(name_of);
        if segments.any(|name| matches!(name.trim_end_matches(' '), "." | ".." | "\u{2025}")) {
            return Err(TargetError::DotSegment);
        }
        let plain = !unreserved
            && fully == once
            && !once.contains(';')
            && !path.contains("//")
            && !lookalikes(&fully, &mapped);
        Ok(Self { folded: Some(fold(&mapped)), plain })
    }

    /// The loosest reading of `path`, which must be the one this was made of.
    pub(super) fn folded<'p>(&'p self, path: &'p str) -> &'p str {
        self.folded.as_deref().unwrap_or_else(|| match path.strip_suffix('/') {
            Some("") | None => path,
            Some(shorter) => shorter,
        })
    }
}

/// Whether a path is its own loosest reading, as nearly all are: lower case, nothing encoded, no
/// segment that begins or ends in a dot.
fn is_everyday(path: &str) -> bool {
    let mut before = b'\0';
    for byte in path.bytes() {
        let fine = match byte {
            b'/' => !matches!(before, b'/' | b'.'),
            b'.' => before != b'/',
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'~' => true,
            b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'=' | b':' | b'@' => {
                true
            }
            _ => false,
        };
        if !fine {
            return false;
        }
        before = byte;
    }
    before != b'.'
}

struct Decoded {
    text: String,
    /// Whether an escape hid a byte that needs none (RFC 3986 §2.3).
    unreserved: bool,
}

/// Undoes percent-encoding once, and strictly: every escape must be valid and harmless.
fn decode_once(path: &str) -> Result<Decoded, TargetError> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut unreserved = false;
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => return Err(TargetError::Backslash),
            b'%' => {
                let value = escape(bytes.next(), bytes.next()).ok_or(TargetError::BadEscape)?;
                harmless(value)?;
                unreserved |= value.is_ascii_alphanumeric() || b"-._~".contains(&value);
                decoded.push(value);
            }
            0x21..=0x7e => decoded.push(byte),
            _ => return Err(TargetError::BadByte),
        }
    }
    let text = String::from_utf8(decoded).map_err(|_| TargetError::NotUtf8)?;
    Ok(Decoded { text, unreserved })
}

/// Undoes what encoding is left, to the end: `%25%32%65` and `%252e` are dots to somebody.
///
/// One pass: escapes cannot overlap, so collapsing each as soon as it is complete reaches the same
/// fixpoint as decoding the whole text again and again, in linear time.
fn decode_fully(text: &str) -> Result<String, TargetError> {
    let mut decoded: Vec<u8> = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        decoded.push(byte);
        while let [.., b'%', high, low] = decoded.as_slice() {
            let Some(value) = escape(Some(*high), Some(*low)) else { break };
            harmless(value)?;
            decoded.truncate(decoded.len() - 3);
            decoded.push(value);
        }
    }
    // A literal "50%ff" is legal, and no text in anybody's second decoding.
    Ok(String::from_utf8_lossy(&decoded).into_owned())
}

fn escape(high: Option<u8>, low: Option<u8>) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high?)? << 4 | digit(low?)?)
}

/// Whether a byte may be written encoded: separators would move the path, controls end strings and
/// lines.
fn harmless(value: u8) -> Result<(), TargetError> {
    match value {
        b'/' | b'\\' => Err(TargetError::EncodedSeparator),
        0x00..=0x1f | 0x7f => Err(TargetError::EncodedControl),
        _ => Ok(()),
    }
}

/// The ASCII character that compatibility normalization (Unicode NFKC) makes of `c`, for the
/// characters that can carry a path's structure or a letter of it.
fn stand_in(c: char) -> char {
    match c {
        // Halfwidth and Fullwidth Forms: ASCII at a fixed distance.
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        '\u{2024}' | '\u{fe52}' => '.',
        '\u{fe54}' => ';',
        '\u{fe68}' => '\\',
        '\u{fe6a}' => '%',
        _ => c,
    }
}

/// Whether structure appears where there was none before normalization. `‥` and `…` are two and
/// three dots to it.
fn lookalikes(before: &str, after: &str) -> bool {
    let structure = |c: char| matches!(c, '/' | '\\' | '.' | ';' | '%');
    before.chars().zip(after.chars()).any(|(was, is)| was != is && structure(is))
        || before.contains(['\u{2025}', '\u{2026}'])
}

/// A segment without its matrix parameters (`;jsessionid=…`).
fn name_of(segment: &str) -> &str {
    segment.split_once(';').map_or(segment, |(name, _)| name)
}

/// Case-folded, parameters cut, empty segments merged; also trailing dots and spaces, which
/// Windows drops from file names.
fn fold(decoded: &str) -> String {
    let mut folded = String::with_capacity(decoded.len());
    for name in decoded.split('/').map(|segment| name_of(segment).trim_end_matches(['.', ' '])) {
        if !name.is_empty() {
            folded.push('/');
            // Upper case first: `ſ` and `ı` have another letter's upper case, `K` its lower case.
            folded.extend(name.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase));
        }
    }
    if folded.is_empty() {
        folded.push('/');
    }
    folded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, proptest};

    use super::*;

    fn folded(path: &str) -> String {
        Reading::of(path).unwrap().folded(path).to_owned()
    }

    fn plain(path: &str) -> bool {
        Reading::of(path).unwrap().plain
    }

    #[test]
    fn a_path_with_two_readings_is_refused() {
        for path in [
            "/public/..%2fadmin",
            "/public/..%2Fadmin",
            "/public/../admin",
            "/public/./admin",
            "/public/..",
            "/..",
            "/public/%2e%2e/admin",
            "/public/.%2E/admin",
            "/public/%252e%252e/admin",
            "/public/%25%32%65%25%32%65/admin",
            "/public/%25252e%25252e/admin",
            "/public/..;/admin",
            "/public/..;x=1/admin",
            "/public/%2e%2e%3b/admin",
            "/public/..%20/admin",
            "/public/..%5cadmin",
            "/public\\..\\admin",
            "/public%252fadmin",
            "/a%255cb",
            "/public/%ef%bc%8e%ef%bc%8e/admin",
            "/a%ef%bc%8f..%ef%bc%8fb",
            "/a/%E2%80%A5/admin",
            "/a%00b",
            "/a%2500b",
            "/a%0d%0ab",
            "/a%7f",
            "/a%zz",
            "/a%",
            "/a%2",
            "/a%c0%af",
            "/a%ff",
            "/a%e2%82",
            "/ü",
            "/a b",
            "/a\u{7f}",
            "//evil.test/a",
            "",
            "a",
        ] {
            assert!(Reading::of(path).is_err(), "{path}");
        }
    }

    #[test]
    fn a_legal_path_passes_however_odd_it_looks() {
        for path in [
            "/",
            "/a/",
            "/a//b",
            "/.well-known/x",
            "/a...b/...",
            "/100%25/x",
            "/50%25ab",
            "/%C3%BC",
            "/a;jsessionid=1",
            "/a%20b",
            "/%7Euser",
            "/x%23y%3Fz",
            "/{id}|x",
            "/a%25zz",
            "/..a/b..",
        ] {
            assert!(Reading::of(path).is_ok(), "{path}");
        }
    }

    #[test]
    fn the_folded_path_is_what_the_loosest_app_would_see() {
        for (path, expected) in [
            ("/", "/"),
            ("/admin", "/admin"),
            ("/admin/", "/admin"),
            ("/Admin", "/admin"),
            ("/ADM%49N", "/admin"),
            ("/%2541dmin", "/admin"),
            ("/admin;jsessionid=1/x", "/admin/x"),
            ("/x//;a/admin", "/x/admin"),
            ("/admin.", "/admin"),
            ("/admin%20/x", "/admin/x"),
            ("/%EF%BC%A1dmin", "/admin"),
            ("/x%EF%BC%8Fadmin", "/x/admin"),
            ("/%C5%BFecret", "/secret"),
            ("/%E2%84%AAeys", "/keys"),
            ("/adm%C4%B1n", "/admin"),
            ("/%C3%9CBER", "/über"),
            ("/50%25ff", "/50\u{fffd}"),
        ] {
            assert_eq!(folded(path), expected, "{path}");
        }
    }

    #[test]
    fn only_a_path_that_every_app_reads_alike_is_plain() {
        for path in ["/", "/public/", "/Public/a%20b/%C3%BC", "/.well-known/a.b", "/x%25/y", "/a~b"]
        {
            assert!(plain(path), "{path}");
        }
        for path in [
            "/a//b",
            "/a;b",
            "/a%3bb",
            "/%61",
            "/a%2Eb",
            "/%2541",
            "/a%EF%BC%8Fb",
            "/a/b%E2%80%A5",
            "/a%EF%BC%8E",
            "/a%E2%80%A4",
        ] {
            assert!(!plain(path), "{path}");
        }
    }

    #[test]
    fn deep_encoding_is_decoded_to_its_end_in_one_pass() {
        let dots = "/a%".to_owned() + &"25".repeat(8000);
        assert_eq!(folded(&(dots.clone() + "41")), "/aa");
        assert_eq!(Reading::of(&(dots.clone() + "2f")), Err(TargetError::EncodedSeparator));
        let segment = dots.replace("/a", "/");
        assert_eq!(Reading::of(&(segment + "2e")), Err(TargetError::DotSegment));
    }

    proptest! {
        #[test]
        fn folding_is_idempotent(path in "/[a-cA-C%0-9;/. ]{0,24}") {
            if let Ok(reading) = Reading::of(&path) {
                let once = reading.folded(&path).to_owned();
                let encoded = once.replace('%', "%25").replace(' ', "%20");
                if let Ok(again) = Reading::of(&encoded) {
                    assert_eq!(again.folded(&encoded), once);
                }
            }
        }

        #[test]
        fn encoding_more_never_hides_a_path_from_its_folded_form(
            path in "/[a-zA-Z]{1,8}(/[a-zA-Z]{1,8}){0,3}",
            hide in prop::collection::vec(any::<(bool, bool)>(), 40),
        ) {
            let disguised: String = path
                .chars()
                .zip(hide)
                .map(|(c, (encode, twice))| match (c, encode, twice) {
                    ('/', ..) | (_, false, _) => c.to_string(),
                    (_, true, false) => format!("%{:02x}", u32::from(c)),
                    (_, true, true) => format!("%25{:02X}", u32::from(c)),
                })
                .collect();
            assert_eq!(folded(&disguised), path.to_lowercase());
            assert_eq!(plain(&disguised), disguised == path);
        }

        #[test]
        fn an_everyday_path_reads_as_the_slow_way_says(path in "/[a-c0-9._~/-]{0,12}") {
            if is_everyday(&path) && !path.starts_with("//") {
                let Decoded { text, unreserved } = decode_once(&path).unwrap();
                assert!(!unreserved);
                assert_eq!(fold(&decode_fully(&text).unwrap()), folded(&path));
            }
        }
    }
}
