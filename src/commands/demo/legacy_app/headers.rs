//! The headers of a request as they may be shown: tokens shortened to what tells them apart.

use http::{HeaderMap, HeaderName};
use serde::Serialize;

/// Long enough for every value that a person reads, short enough for a table.
const LONGEST: usize = 160;

/// One header as shown.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Received {
    name: String,
    value: String,
    /// Not sent by the browser: the app gets it because somebody signed the visitor in.
    added: bool,
}

/// Every header of a request, those that name the visitor first.
pub(super) fn received(headers: &HeaderMap) -> Vec<Received> {
    let mut all: Vec<_> = headers
        .iter()
        .map(|(name, value)| Received {
            name: name.as_str().to_owned(),
            value: shown(name, &String::from_utf8_lossy(value.as_bytes())),
            added: is_added(name),
        })
        .collect();
    all.sort_by(|a, b| (!a.added, &a.name).cmp(&(!b.added, &b.name)));
    all
}

/// The first and last few characters of a token: enough to tell two apart, too little to use.
pub(super) fn shortened(token: &str) -> String {
    let (scheme, token) = match token.split_once(' ') {
        Some((scheme, token)) => (format!("{scheme} "), token),
        None => (String::new(), token),
    };
    let length = token.chars().count();
    if length < 40 {
        return format!("{scheme}… ({length} characters)");
    }
    let start: String = token.chars().take(6).collect();
    let end: String = token.chars().skip(length - 6).collect();
    format!("{scheme}{start}…{end} ({length} characters)")
}

fn shown(name: &HeaderName, value: &str) -> String {
    match name.as_str() {
        "cookie" => cookie_names(value),
        "authorization" | "proxy-authorization" => shortened(value),
        name if name.contains("token") && !name.ends_with("expires-on") => shortened(value),
        _ if looks_like_a_token(value) => shortened(value),
        _ => clipped(value),
    }
}

/// Cookies of localhost reach every port of it, so other programs' secrets may be among them.
fn cookie_names(value: &str) -> String {
    let names = value.split(';').map(|cookie| {
        let name = cookie.split_once('=').map_or("", |(name, _)| name.trim());
        format!("{name}=…")
    });
    clipped(&names.collect::<Vec<_>>().join("; "))
}

/// Three dot-separated parts that begin as base64url JSON does (RFC 7519 §3).
fn looks_like_a_token(value: &str) -> bool {
    let token = value.rsplit(' ').next().unwrap_or(value);
    token.starts_with("eyJ") && token.bytes().filter(|byte| *byte == b'.').count() == 2
}

fn clipped(value: &str) -> String {
    let length = value.chars().count();
    if length <= LONGEST {
        return value.to_owned();
    }
    let start: String = value.chars().take(LONGEST).collect();
    format!("{start}… ({length} characters)")
}

fn is_added(name: &HeaderName) -> bool {
    let name = name.as_str();
    let prefixes = ["x-ms-", "x-forwarded-", "x-user", "x-request-id"];
    name == "authorization" || prefixes.iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str =
        "eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.eyJvaWQiOiI3NyJ9.c2VjcmV0LXNpZ25hdXJlZQ";

    fn shown_as(name: &'static str, value: &str) -> String {
        shown(&HeaderName::from_static(name), value)
    }

    #[test]
    fn a_token_is_shortened_under_every_name() {
        let short = format!("eyJ0eX…dXJlZQ ({} characters)", TOKEN.len());
        for name in [
            "x-ms-token-aad-access-token",
            "x-ms-token-aad-id-token",
            "x-forwarded-access-token",
            "x-something-else",
        ] {
            assert_eq!(shown_as(name, TOKEN), short, "{name}");
        }
        assert_eq!(
            shown_as("authorization", &format!("Bearer {TOKEN}")),
            format!("Bearer {short}")
        );
        assert_eq!(shown_as("x-other", &format!("Bearer {TOKEN}")), format!("Bearer {short}"));
    }

    #[test]
    fn a_short_or_foreign_credential_is_not_shown_at_all() {
        assert_eq!(
            shown_as("authorization", "Basic YWxpY2U6aHVudGVyMg=="),
            "Basic … (20 characters)"
        );
        assert_eq!(shown_as("authorization", "hunter2"), "… (7 characters)");
        assert_eq!(shown_as("x-csrf-token", "abc"), "… (3 characters)");
    }

    #[test]
    fn cookies_show_their_names_alone() {
        assert_eq!(shown_as("cookie", "theme=dark; sid=s3cr3t=; odd"), "theme=…; sid=…; =…");
    }

    #[test]
    fn other_values_are_whole_unless_very_long() {
        let end = "2026-03-14T09:26:53Z";
        assert_eq!(shown_as("x-ms-token-aad-expires-on", end), end);
        assert_eq!(shown_as("x-user", "zoë@contoso.test"), "zoë@contoso.test");
        let long = "é".repeat(LONGEST + 1);
        assert_eq!(shown_as("x-long", &long), format!("{}… (161 characters)", "é".repeat(LONGEST)));
    }

    #[test]
    fn what_names_the_visitor_comes_first() {
        let mut headers = HeaderMap::new();
        headers.insert("accept", "*/*".parse().unwrap());
        headers.insert("x-user", "alice".parse().unwrap());
        headers.append("x-latin", http::HeaderValue::from_bytes(b"caf\xe9").unwrap());
        let names: Vec<_> =
            received(&headers).into_iter().map(|one| (one.name, one.added)).collect();
        let expected = [("x-user", true), ("accept", false), ("x-latin", false)];
        assert_eq!(names, expected.map(|(name, added)| (name.to_owned(), added)));
    }
}
