//! The headers that oauth2-proxy gives an app.

use http::{HeaderMap, HeaderName};

use super::{Assertion, claims::header_value, token_value};

const USER: HeaderName = HeaderName::from_static("x-forwarded-user");
const EMAIL: HeaderName = HeaderName::from_static("x-forwarded-email");
const PREFERRED_USERNAME: HeaderName = HeaderName::from_static("x-forwarded-preferred-username");
const GROUPS: HeaderName = HeaderName::from_static("x-forwarded-groups");
const ACCESS_TOKEN: HeaderName = HeaderName::from_static("x-forwarded-access-token");

/// Headers and the claims that they come from.
pub(super) static FROM_CLAIMS: [(HeaderName, &str); 4] = [
    (USER, "sub"),
    (EMAIL, "email"),
    (PREFERRED_USERNAME, "preferred_username"),
    (GROUPS, "groups"),
];

/// The names that this dialect writes.
pub(super) static WRITTEN: [HeaderName; 5] =
    [USER, EMAIL, PREFERRED_USERNAME, GROUPS, ACCESS_TOKEN];

/// Writes the headers of one signed-in user.
pub(super) fn assert(assertion: &Assertion<'_>, headers: &mut HeaderMap) {
    for (name, claim) in &FROM_CLAIMS {
        if let Some(value) = header_value(assertion.claims, claim) {
            headers.insert(name, value);
        }
    }
    if let Some(value) = assertion.access_token.and_then(token_value) {
        headers.insert(ACCESS_TOKEN, value);
    }
}
