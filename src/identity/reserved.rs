//! Names that are ours, in every spelling.

use std::collections::BTreeSet;

use http::HeaderName;

use crate::request::field_name::{Initials, canonical, is_spelling_of, starts_with_spelling_of};

/// Fields that say who the user is, where a request came from or what it was for, in canonical
/// form. They are reserved whether or not a dialect writes them: an app that once stood behind
/// another proxy still believes that proxy's.
const NAMES: [&str; 5] = ["forwarded", "x-forwarded", "x-request-id", "x-real-ip", "x-rewrite-url"];

const PREFIXES: [&str; 5] =
    ["x-forwarded-", "x-auth-request-", "x-ms-", "x-original-", "x-client-cert"];

const AUTHORIZATION: &str = "authorization";

/// The reserved names of one configuration.
#[derive(Clone, Debug)]
pub(super) struct Reserved {
    authorization: bool,
    /// The canonical forms of the configured headers.
    configured: BTreeSet<String>,
    initials: Initials,
}

impl Reserved {
    pub(super) fn new<'n>(
        authorization: bool,
        configured: impl Iterator<Item = &'n HeaderName>,
    ) -> Self {
        let configured: BTreeSet<String> =
            configured.map(|name| canonical(name.as_str())).collect();
        let fixed = NAMES.into_iter().chain(PREFIXES).chain([AUTHORIZATION]);
        let names = fixed.chain(configured.iter().map(String::as_str));
        let initials = names.fold(Initials::default(), Initials::and);
        Self { authorization, configured, initials }
    }

    pub(super) fn contains(&self, name: &HeaderName) -> bool {
        let name = name.as_str();
        self.initials.may_begin(name)
            && (NAMES.iter().any(|reserved| is_spelling_of(name, reserved))
                || PREFIXES.iter().any(|prefix| starts_with_spelling_of(name, prefix))
                || self.authorization && is_spelling_of(name, AUTHORIZATION)
                || self.configured.iter().any(|reserved| is_spelling_of(name, reserved)))
    }
}

/// Fields that mean something to every HTTP recipient; a claim must not become one.
const PROTOCOL: [&str; 24] = [
    "authorization",
    "cookie",
    "set-cookie",
    "host",
    "connection",
    "keep-alive",
    "transfer-encoding",
    "te",
    "trailer",
    "trailers",
    "upgrade",
    "expect",
    "http2-settings",
    "max-forwards",
    "via",
    "date",
    "origin",
    "referer",
    "range",
    "cache-control",
    "pragma",
    "user-agent",
    "from",
    "x-http-method-override",
];

const PROTOCOL_PREFIXES: [&str; 6] =
    ["proxy-", "content-", "accept", "if-", "sec-", "access-control-"];

/// Fields that are always written by us, never from a claim.
const ALWAYS_OURS: [&str; 7] = [
    "forwarded",
    "x-forwarded",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-forwarded-port",
    "x-request-id",
];

/// Whether no claim may be written under this name.
pub(super) fn is_unusable(name: &HeaderName) -> bool {
    let name = name.as_str();
    PROTOCOL.iter().chain(&ALWAYS_OURS).any(|field| is_spelling_of(name, field))
        || PROTOCOL_PREFIXES.iter().any(|prefix| starts_with_spelling_of(name, prefix))
}
