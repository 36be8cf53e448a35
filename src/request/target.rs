//! One canonical request target: what the rules judge is what the app receives, byte for byte.

use http::{
    Method, Uri,
    uri::{InvalidUri, PathAndQuery},
};

use super::path::Reading;

/// The longest target, in bytes, with its authority where it has one.
const LONGEST: usize = 16 * 1024;

/// A request target in one reading: a path that starts with one `/`, and a query.
#[derive(Clone, Debug)]
pub struct Target {
    path_and_query: PathAndQuery,
    reading: Reading,
    asterisk: bool,
}

/// Why a target is refused. Nothing of it is repeated here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Longer than any link.
    #[error("the target is longer than 16 KiB")]
    TooLong,
    /// `host:port`, `admin`, or `*` without OPTIONS (RFC 9112 §3.2).
    #[error("the target is not a path")]
    NotAPath,
    /// `//` at the front.
    #[error("the path starts with two slashes")]
    DoubleSlash,
    /// `.` or `..`, in any disguise.
    #[error("the path has a dot segment")]
    DotSegment,
    /// `\`.
    #[error("the path has a backslash")]
    Backslash,
    /// A control or non-ASCII byte.
    #[error("the target has a byte that must be percent-encoded")]
    BadByte,
    /// `%` without two hexadecimal digits.
    #[error("the path has a broken percent-encoding")]
    BadEscape,
    /// `%2f` or `%5c`, in any depth.
    #[error("the path has an encoded slash")]
    EncodedSeparator,
    /// `%00` to `%1f`, or `%7f`.
    #[error("the path has an encoded control character")]
    EncodedControl,
    /// Overlong or cut sequences.
    #[error("the path's percent-encoding is not UTF-8")]
    NotUtf8,
}

impl Target {
    /// Reads the target of a request: its path and query, without scheme and authority.
    ///
    /// Whoever calls this has compared the authority of an absolute target with `Host`.
    pub fn parse(method: &Method, uri: &Uri) -> Result<Self, TargetError> {
        // RFC 9112 §3.2.3: `GET admin` parses as an authority; reading it as `/` would let rules
        // and app see different things.
        if uri.scheme().is_none() && uri.authority().is_some() {
            return Err(TargetError::NotAPath);
        }
        let path_and_query = uri.path_and_query().ok_or(TargetError::NotAPath)?;
        let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
        if path_and_query.as_str().len() + authority > LONGEST {
            return Err(TargetError::TooLong);
        }
        let asterisk = path_and_query.as_str() == "*";
        if asterisk && method == Method::OPTIONS {
            let reading = Reading::of("/")?;
            return Ok(Self { path_and_query: path_and_query.clone(), reading, asterisk });
        }
        let path_and_query =
            rooted(path_and_query, uri.scheme().is_some()).map_err(|_| TargetError::NotAPath)?;
        let reading = Reading::of(path_and_query.path())?;
        let query = path_and_query.query().unwrap_or_default();
        if query.bytes().any(|byte| !matches!(byte, 0x21..=0x7e)) {
            return Err(TargetError::BadByte);
        }
        Ok(Self { path_and_query, reading, asterisk: false })
    }

    /// The path as it is forwarded. `*` for the whole server (see [`Target::is_asterisk`]).
    pub fn path(&self) -> &str {
        self.path_and_query.path()
    }

    /// The query as it is forwarded, without its `?`.
    pub fn query(&self) -> Option<&str> {
        self.path_and_query.query()
    }

    /// Path and query as they are forwarded.
    pub fn path_and_query(&self) -> &str {
        self.path_and_query.as_str()
    }

    /// The same for an upstream `Uri`, which must never be built by joining strings.
    pub fn to_path_and_query(&self) -> PathAndQuery {
        self.path_and_query.clone()
    }

    /// The loosest reading that an app could have: case-folded, decoded to the end, `;…` cut, empty
    /// segments merged. For rules that restrict.
    pub fn folded(&self) -> &str {
        self.reading.folded(self.path_and_query.path())
    }

    /// Whether every app reads the path alike: nothing encoded that needs no encoding, no `//`, no
    /// `;`. For rules that open.
    pub fn is_plain(&self) -> bool {
        self.reading.plain && !self.asterisk
    }

    /// `OPTIONS *`: about the server, not about a resource (RFC 9110 §9.3.7). Never forwarded.
    pub fn is_asterisk(&self) -> bool {
        self.asterisk
    }
}

/// An absolute target may have no path (`http://host?x`): that is `/` (RFC 9112 §3.2.1). Nothing
/// else is mended.
fn rooted(given: &PathAndQuery, absolute: bool) -> Result<PathAndQuery, InvalidUri> {
    if absolute && matches!(given.as_str().as_bytes(), [] | [b'?', ..]) {
        format!("/{}", given.as_str()).parse()
    } else {
        Ok(given.clone())
    }
}

/// A path of the configuration, held against the same rules as those of requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfiguredPath {
    path: String,
    reading: Reading,
}

impl ConfiguredPath {
    /// Reads a path without query.
    pub fn parse(path: &str) -> Result<Self, TargetError> {
        Ok(Self { path: path.to_owned(), reading: Reading::of(path)? })
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.path
    }

    /// Its loosest reading, comparable with [`Target::folded`].
    pub fn folded(&self) -> &str {
        self.reading.folded(&self.path)
    }

    /// Whether it is written in the one canonical way.
    pub fn is_plain(&self) -> bool {
        self.reading.plain && !self.path.contains(['?', '#'])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;

    use super::*;

    fn target(method: &str, uri: &str) -> Result<Target, TargetError> {
        Target::parse(&method.parse().unwrap(), &uri.parse().unwrap())
    }

    #[test]
    fn path_and_query_stay_byte_for_byte() {
        let kept = target("GET", "/a%C3%bc/B//c;x?q=%2f..//\\&r=100%").unwrap();
        assert_eq!(kept.path_and_query(), "/a%C3%bc/B//c;x?q=%2f..//\\&r=100%");
        assert_eq!(kept.path(), "/a%C3%bc/B//c;x");
        assert_eq!(kept.query(), Some("q=%2f..//\\&r=100%"));
        assert_eq!(kept.to_path_and_query().as_str(), kept.path_and_query());
    }

    #[test]
    fn an_absolute_target_is_its_path() {
        assert_eq!(target("GET", "http://a.test/x?y").unwrap().path_and_query(), "/x?y");
        assert_eq!(target("GET", "http://a.test").unwrap().path_and_query(), "/");
        assert_eq!(target("GET", "http://a.test?y").unwrap().path_and_query(), "/?y");
        assert_eq!(target("GET", "http://a.test//x").err(), Some(TargetError::DoubleSlash));
    }

    #[test]
    fn an_authority_or_an_asterisk_is_no_path() {
        for uri in ["admin", "app.contoso.com:443", "*"] {
            assert_eq!(target("GET", uri).err(), Some(TargetError::NotAPath), "{uri}");
        }
        assert!(target("OPTIONS", "*").unwrap().is_asterisk());
        assert!(!target("OPTIONS", "*").unwrap().is_plain());
        assert!(!target("OPTIONS", "/").unwrap().is_asterisk());
    }

    #[test]
    fn a_target_has_a_longest_length() {
        let longest = "/".to_owned() + &"a".repeat(LONGEST - 1);
        assert!(target("GET", &longest).is_ok());
        assert_eq!(target("GET", &(longest + "a")).err(), Some(TargetError::TooLong));
        let query = "/?".to_owned() + &"a".repeat(LONGEST);
        assert_eq!(target("GET", &query).err(), Some(TargetError::TooLong));
    }

    #[test]
    fn bytes_that_must_be_encoded_are_refused_in_path_and_query() {
        assert_eq!(target("GET", "/ü").err(), Some(TargetError::BadByte));
        assert_eq!(target("GET", "/?ü").err(), Some(TargetError::BadByte));
    }

    proptest! {
        /// Browsers' URL parser is the oracle: it resolves dots, turns `\` and drops what it
        /// ignores. Where it would change a path, we refuse it.
        #[test]
        fn an_accepted_path_is_what_a_browser_makes_of_it(
            path in "/([a-zA-Z]|[.]{1,2}|%2[eEfF5]|%5[cC]|%00|%0[aA]|[/;%]|%[eE]9|%C3%A9){0,10}",
        ) {
            let Ok(uri) = path.parse() else { return Ok(()) };
            if let Ok(accepted) = Target::parse(&Method::GET, &uri) {
                let url = url::Url::parse(&format!("http://app.test{path}")).unwrap();
                assert_eq!(url.path(), accepted.path());
                assert_eq!(url.host_str(), Some("app.test"));
            }
        }
    }
}
