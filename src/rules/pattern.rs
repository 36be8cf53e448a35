//! Which paths a rule is about: one, or everything below one.

use std::sync::Arc;

use crate::request::{ConfiguredPath, Target, TargetError};

/// `/a` is that path; `/a/*` is `/a` and everything below it, at a segment boundary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    /// As it was written.
    written: Arc<str>,
    path: ConfiguredPath,
    and_below: bool,
}

/// Why a path cannot stand in a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// `*` is not a wildcard elsewhere.
    #[error("\"*\" may only be the last segment, as in \"/admin/*\"")]
    Star,
    /// Requests with such a path are refused, so the rule could never match.
    #[error("no request can have this path")]
    Impossible(#[source] TargetError),
    /// Requests may spell it in this way, but a rule is written in the canonical one.
    #[error(
        "write the path in its canonical form: no query, no \";\", no \"//\", and percent-encoded only what must be"
    )]
    NotCanonical,
}

impl Pattern {
    pub(super) fn parse(written: &str) -> Result<Self, PatternError> {
        let (written_path, and_below) = match written.strip_suffix("/*") {
            Some(path) => (path, true),
            None => (written, false),
        };
        if written_path.contains('*') {
            return Err(PatternError::Star);
        }
        let path = if written_path.is_empty() && and_below { "/" } else { written_path };
        let path = ConfiguredPath::parse(path).map_err(PatternError::Impossible)?;
        // `//*` or `/a//*`: the part before the star ends in a slash of its own.
        let trailing_slash = and_below && written_path.ends_with('/');
        if !path.is_plain() || trailing_slash {
            return Err(PatternError::NotCanonical);
        }
        Ok(Self { written: written.into(), path, and_below })
    }

    pub(super) fn written(&self) -> Arc<str> {
        Arc::clone(&self.written)
    }

    /// Whether the target's path is meant, byte for byte.
    pub(super) fn matches(&self, target: &Target) -> bool {
        !target.is_asterisk() && self.covers(self.path.as_str(), target.path())
    }

    /// Whether the target's path is meant by the loosest reading that an app could have.
    pub(super) fn matches_folded(&self, target: &Target) -> bool {
        !target.is_asterisk() && self.covers(self.path.folded(), target.folded())
    }

    fn covers(&self, pattern: &str, path: &str) -> bool {
        let Some(rest) = path.strip_prefix(pattern) else { return false };
        rest.is_empty() || self.and_below && (pattern == "/" || rest.starts_with('/'))
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    fn target(path: &str) -> Target {
        Target::parse(&Method::GET, &path.parse().unwrap()).unwrap()
    }

    fn matches(pattern: &str, path: &str) -> bool {
        Pattern::parse(pattern).unwrap().matches(&target(path))
    }

    #[test]
    fn a_star_covers_the_path_itself_and_all_below() {
        for path in ["/a", "/a/", "/a/b", "/a/b/c?x=/d"] {
            assert!(matches("/a/*", path), "{path}");
        }
        for path in ["/", "/ab", "/A", "/b/a", "/b?x=/a", "/a%3fb", "/a%23/b"] {
            assert!(!matches("/a/*", path), "{path}");
        }
        assert!(matches("/*", "/") && matches("/*", "/x/y"));
    }

    #[test]
    fn an_exact_path_covers_itself_alone() {
        assert!(matches("/a", "/a") && matches("/a", "/a?b") && matches("/", "/"));
        assert!(!matches("/a", "/a/") && !matches("/a", "/a/b") && !matches("/", "/a"));
        assert!(matches("/a/", "/a/") && !matches("/a/", "/a"));
    }

    #[test]
    fn the_folded_path_is_covered_in_every_disguise() {
        let admin = Pattern::parse("/Admin/*").unwrap();
        for path in ["/admin", "/ADM%49N/x", "/admin;a=b/x", "/%2561dmin", "/x//", "/admin./x"] {
            assert_eq!(admin.matches_folded(&target(path)), path != "/x//", "{path}");
        }
        assert!(!admin.matches_folded(&target("/administrator")));
        assert!(Pattern::parse("/*").unwrap().matches_folded(&target("/")));
        assert!(Pattern::parse("/a").unwrap().matches_folded(&target("/A/")));
    }

    #[test]
    fn a_path_that_is_not_canonical_is_refused() {
        for (pattern, error) in [
            ("/a*", PatternError::Star),
            ("/*/a", PatternError::Star),
            ("*", PatternError::Star),
            ("/a/**", PatternError::Star),
            ("", PatternError::Impossible(TargetError::NotAPath)),
            ("a/*", PatternError::Impossible(TargetError::NotAPath)),
            ("//*", PatternError::NotCanonical),
            ("//a", PatternError::Impossible(TargetError::DoubleSlash)),
            ("/a/../b", PatternError::Impossible(TargetError::DotSegment)),
            ("/a%2fb", PatternError::Impossible(TargetError::EncodedSeparator)),
            ("/ü", PatternError::Impossible(TargetError::BadByte)),
            ("/a b", PatternError::Impossible(TargetError::BadByte)),
            ("/a//b", PatternError::NotCanonical),
            ("/a//*", PatternError::NotCanonical),
            ("/a;b", PatternError::NotCanonical),
            ("/%61", PatternError::NotCanonical),
            ("/a?b", PatternError::NotCanonical),
            ("/a#b", PatternError::NotCanonical),
        ] {
            assert_eq!(Pattern::parse(pattern), Err(error), "{pattern}");
        }
        assert!(Pattern::parse("/%C3%BC/a%20b/*").is_ok());
    }
}
