//! Fields that end at the next hop, and what `Connection` names, for both directions
//! (RFC 9110 §7.6.1).

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Version,
    header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING, UPGRADE, WWW_AUTHENTICATE},
};
use hyper::ext::Protocol;

use super::field_name::{Initials, is_spelling_of, starts_with_spelling_of};

/// What a connection may be turned into. `h2c` is not among them: it would be a tunnel past the
/// rules (RFC 9113 §3.1 withdrew it).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    /// RFC 6455.
    WebSocket,
    /// The same asked for in HTTP/2 (RFC 8441), where the handshake has no key.
    ExtendedWebSocket,
}

/// Never forwarded, in whatever spelling.
const HOP_BY_HOP: [&str; 13] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authentication-info",
    "proxy-authorization",
    "te",
    "trailer",
    "trailers",
    "transfer-encoding",
    "upgrade",
    "http2-settings",
    "expect",
];

const HOP_BY_HOP_INITIALS: Initials = Initials::of(&HOP_BY_HOP).and(CONTENT_LENGTH_NAME);
const CONTENT_LENGTH_NAME: &str = "content-length";

/// Fields that no `Connection` line may take away: they say where a message goes, how long it is,
/// who sent it and what it may be used for. A client that names them attacks the next hop.
const END_TO_END: [&str; 21] = [
    "host",
    "content-length",
    "content-type",
    "content-encoding",
    "content-range",
    "cookie",
    "set-cookie",
    "authorization",
    "www-authenticate",
    "origin",
    "referer",
    "forwarded",
    "x-request-id",
    "x-real-ip",
    "x-forwarded",
    "cache-control",
    "pragma",
    "vary",
    "date",
    "location",
    "strict-transport-security",
];

const END_TO_END_PREFIXES: [&str; 6] =
    ["x-forwarded-", "x-ms-", "x-auth-request-", "x-client-cert", "sec-", "access-control-"];

/// The upgrade that a request asks for and that we know how to pass on.
pub(super) fn wanted_upgrade(
    method: &Method,
    version: Version,
    headers: &HeaderMap,
) -> Option<Upgrade> {
    // RFC 9110 §7.8: ignored in HTTP/1.0, and it does not exist in HTTP/2.
    if version != Version::HTTP_11 || method != Method::GET {
        return None;
    }
    let websocket = names(headers, &UPGRADE).any(|name| name.eq_ignore_ascii_case(b"websocket"));
    let named = |name: &[u8]| name.eq_ignore_ascii_case(b"upgrade");
    (websocket && names(headers, &CONNECTION).any(named)).then_some(Upgrade::WebSocket)
}

/// Whether a request is RFC 8441's: a WebSocket handshake on HTTP/2.
pub(super) fn is_extended_connect<B>(request: &Request<B>) -> bool {
    if request.method() != Method::CONNECT || request.version() != Version::HTTP_2 {
        return false;
    }
    let protocol = request.extensions().get::<Protocol>();
    protocol.is_some_and(|protocol| protocol.as_str().eq_ignore_ascii_case("websocket"))
}

/// Fields that say how a message is read, routed or believed: in trailers they come too late for
/// whoever acts on them (RFC 9110 §6.5.1).
const NEVER_TRAILERS: [&str; 16] = [
    "host",
    "cookie",
    "set-cookie",
    "authorization",
    "www-authenticate",
    "authentication-info",
    "cache-control",
    "expires",
    "pragma",
    "range",
    "age",
    "vary",
    "date",
    "location",
    "retry-after",
    "max-forwards",
];

const NEVER_TRAILERS_PREFIXES: [&str; 2] = ["content-", "if-"];

/// Whether `name` has no business in trailers, in whatever spelling.
pub fn is_never_a_trailer(name: &HeaderName) -> bool {
    let name = name.as_str();
    ends_here(name)
        || NEVER_TRAILERS.iter().any(|field| is_spelling_of(name, field))
        || NEVER_TRAILERS_PREFIXES.iter().any(|prefix| starts_with_spelling_of(name, prefix))
}

/// Whether `name` is one that ends here, in whatever spelling.
fn ends_here(name: &str) -> bool {
    HOP_BY_HOP_INITIALS.may_begin(name)
        && (HOP_BY_HOP.iter().any(|field| is_spelling_of(name, field))
            // `Content_Length` is the app's Content-Length wherever CGI's rules are.
            || (name != CONTENT_LENGTH_NAME && is_spelling_of(name, CONTENT_LENGTH_NAME)))
}

fn may_be_nominated(name: &HeaderName) -> bool {
    let name = name.as_str();
    !END_TO_END.iter().any(|field| is_spelling_of(name, field))
        && !END_TO_END_PREFIXES.iter().any(|prefix| starts_with_spelling_of(name, prefix))
}

/// Removes what is between us and the sender alone, from either direction.
fn strip(headers: &mut HeaderMap) {
    let mut gone: Vec<HeaderName> = names(headers, &CONNECTION)
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .filter(may_be_nominated)
        .collect();
    gone.extend(headers.keys().filter(|name| ends_here(name.as_str())).cloned());
    for name in gone {
        headers.remove(name);
    }
}

/// Removes a request's hop-by-hop fields and everything that *any* `Connection` line names.
pub(super) fn strip_request(headers: &mut HeaderMap) {
    strip(headers);
}

/// Removes a response's hop-by-hop fields and everything that any of its `Connection` lines names;
/// a `Content-Length` beside `Transfer-Encoding`, which counts other bytes than those that follow;
/// and challenges for NTLM and Negotiate, which would sign in a pooled connection and with it the
/// next user.
pub fn strip_response(headers: &mut HeaderMap) {
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    }
    strip(headers);
    if headers.contains_key(WWW_AUTHENTICATE) {
        strip_connection_challenges(headers);
    }
}

fn strip_connection_challenges(headers: &mut HeaderMap) {
    let kept: Vec<HeaderValue> =
        headers.get_all(WWW_AUTHENTICATE).iter().filter_map(without_connection_schemes).collect();
    headers.remove(WWW_AUTHENTICATE);
    for value in kept {
        headers.append(WWW_AUTHENTICATE, value);
    }
}

fn without_connection_schemes(value: &HeaderValue) -> Option<HeaderValue> {
    let binds_connection = |challenge: &&[u8]| {
        let scheme = challenge.trim_ascii_start().split(|byte| *byte == b' ').next();
        scheme.is_some_and(|scheme| {
            scheme.eq_ignore_ascii_case(b"ntlm") || scheme.eq_ignore_ascii_case(b"negotiate")
        })
    };
    let challenges: Vec<&[u8]> = value.as_bytes().split(|byte| *byte == b',').collect();
    if !challenges.iter().any(binds_connection) {
        return Some(value.clone());
    }
    let kept: Vec<&[u8]> =
        challenges.into_iter().filter(|challenge| !binds_connection(challenge)).collect();
    let kept = kept.join(&b","[..]);
    let kept = kept.trim_ascii();
    if kept.is_empty() { None } else { HeaderValue::from_bytes(kept).ok() }
}

/// The comma-separated names of every line of a field.
pub(super) fn names<'h>(
    headers: &'h HeaderMap,
    field: &HeaderName,
) -> impl Iterator<Item = &'h [u8]> + use<'h> {
    headers
        .get_all(field)
        .into_iter()
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn left(mut headers: HeaderMap, strip: fn(&mut HeaderMap)) -> Vec<String> {
        strip(&mut headers);
        let mut names: Vec<String> = headers.keys().map(ToString::to_string).collect();
        names.sort();
        names
    }

    #[test]
    fn hop_by_hop_fields_end_here_in_every_spelling() {
        let given = headers(&[
            ("Connection", "close"),
            ("Keep-Alive", "timeout=5"),
            ("keep_alive", "timeout=5"),
            ("Proxy-Connection", "keep-alive"),
            ("Proxy-Authorization", "Basic eDp5"),
            ("TE", "trailers"),
            ("Trailer", "x-forwarded-user"),
            ("Transfer-Encoding", "chunked"),
            ("Transfer_Encoding", "chunked"),
            ("Content_Length", "5"),
            ("Upgrade", "h2c"),
            ("HTTP2-Settings", "AAMAAABkAAQAAP__"),
            ("Expect", "100-continue"),
            ("Content-Length", "5"),
            ("Accept", "*/*"),
        ]);
        assert_eq!(left(given, strip_request), ["accept", "content-length"]);
    }

    #[test]
    fn every_connection_line_nominates() {
        let given = headers(&[
            ("Connection", "X-A , close"),
            ("Connection", "x-b,,"),
            ("X-A", "1"),
            ("X-B", "2"),
            ("X-C", "3"),
        ]);
        assert_eq!(left(given, strip_request), ["x-c"]);
    }

    #[test]
    fn nominating_what_is_end_to_end_changes_nothing() {
        let kept = [
            "authorization",
            "cache-control",
            "content-length",
            "content-type",
            "cookie",
            "host",
            "origin",
            "sec-fetch-site",
            "x-forwarded-for",
            "x-forwarded-user",
            "x-ms-client-principal",
            "x-request-id",
            "x_forwarded_user",
        ];
        let mut given = HeaderMap::new();
        for name in kept {
            given.append("connection", HeaderValue::from_str(&name.to_uppercase()).unwrap());
            given.append(HeaderName::from_static(name), HeaderValue::from_static("1"));
        }
        assert_eq!(left(given, strip_request), kept);
    }

    #[test]
    fn only_a_real_handshake_asks_for_an_upgrade() {
        let asks = |method: Method, version, lines: &[(&str, &str)]| {
            wanted_upgrade(&method, version, &headers(lines)).is_some()
        };
        let both = [("Connection", "keep-alive, Upgrade"), ("Upgrade", "WebSocket")];
        assert!(asks(Method::GET, Version::HTTP_11, &both));
        assert!(!asks(Method::POST, Version::HTTP_11, &both));
        assert!(!asks(Method::GET, Version::HTTP_10, &both));
        assert!(!asks(Method::GET, Version::HTTP_2, &both));
        assert!(!asks(Method::GET, Version::HTTP_11, &[("Upgrade", "websocket")]));
        let h2c = [("Connection", "Upgrade, HTTP2-Settings"), ("Upgrade", "h2c")];
        assert!(!asks(Method::GET, Version::HTTP_11, &h2c));
    }

    #[test]
    fn trailers_carry_nothing_that_somebody_would_act_upon() {
        for name in ["content-length", "Set_Cookie", "transfer-encoding", "host", "if-match", "te"]
        {
            assert!(
                is_never_a_trailer(&HeaderName::from_bytes(name.as_bytes()).unwrap()),
                "{name}"
            );
        }
        for name in ["grpc-status", "grpc-message", "x-checksum", "etag", "server-timing"] {
            assert!(!is_never_a_trailer(&HeaderName::from_static(name)), "{name}");
        }
    }

    #[test]
    fn a_response_loses_a_length_that_counts_other_bytes() {
        let both =
            headers(&[("Content-Length", "5"), ("Transfer-Encoding", "chunked"), ("A", "1")]);
        assert_eq!(left(both, strip_response), ["a"]);
        assert_eq!(left(headers(&[("Content-Length", "5")]), strip_response), ["content-length"]);
    }

    #[test]
    fn challenges_that_sign_in_a_connection_do_not_pass() {
        let mut given = headers(&[
            ("WWW-Authenticate", "NTLM"),
            ("WWW-Authenticate", "Negotiate abc=="),
            ("WWW-Authenticate", "Basic realm=\"a, b\""),
            ("WWW-Authenticate", "negotiate, Bearer"),
        ]);
        strip_response(&mut given);
        let kept: Vec<&[u8]> =
            given.get_all(WWW_AUTHENTICATE).iter().map(HeaderValue::as_bytes).collect();
        assert_eq!(kept, [&b"Basic realm=\"a, b\""[..], b"Bearer"]);
    }
}
