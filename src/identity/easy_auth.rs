//! The headers of Azure App Service authentication ("Easy Auth").

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::{Assertion, claims::header_value, token_value};
use crate::entra::claim_types::{
    NAME_TYPE, PROVIDER, ROLE_TYPE, app_service_claims, app_service_time,
};

const PRINCIPAL: HeaderName = HeaderName::from_static("x-ms-client-principal");
const ID: HeaderName = HeaderName::from_static("x-ms-client-principal-id");
const NAME: HeaderName = HeaderName::from_static("x-ms-client-principal-name");
const IDP: HeaderName = HeaderName::from_static("x-ms-client-principal-idp");
const ACCESS_TOKEN: HeaderName = HeaderName::from_static("x-ms-token-aad-access-token");
const ID_TOKEN: HeaderName = HeaderName::from_static("x-ms-token-aad-id-token");
const EXPIRES_ON: HeaderName = HeaderName::from_static("x-ms-token-aad-expires-on");

/// The names that this dialect writes.
pub(super) static WRITTEN: [HeaderName; 7] =
    [PRINCIPAL, ID, NAME, IDP, ACCESS_TOKEN, ID_TOKEN, EXPIRES_ON];

/// Writes the headers of one signed-in user.
pub(super) fn assert(assertion: &Assertion<'_>, headers: &mut HeaderMap) {
    headers.insert(IDP, HeaderValue::from_static(PROVIDER));
    let fields = [
        (PRINCIPAL, HeaderValue::try_from(principal(assertion)).ok()),
        (ID, header_value(assertion.claims, "oid")),
        (NAME, header_value(assertion.claims, "preferred_username")),
        (ACCESS_TOKEN, assertion.access_token.and_then(token_value)),
        (ID_TOKEN, assertion.id_token.and_then(token_value)),
        (EXPIRES_ON, HeaderValue::try_from(app_service_time(assertion.expires_on)).ok()),
    ];
    for (name, value) in fields {
        if let Some(value) = value {
            headers.insert(name, value);
        }
    }
}

/// Base64 of a JSON object, in the standard alphabet with padding as App Service uses it.
fn principal(assertion: &Assertion<'_>) -> String {
    let claims: Vec<Value> = app_service_claims(assertion.claims)
        .into_iter()
        .map(|(typ, val)| json!({ "typ": typ, "val": val }))
        .collect();
    let principal = json!({
        "auth_typ": PROVIDER,
        "name_typ": NAME_TYPE,
        "role_typ": ROLE_TYPE,
        "claims": claims,
    });
    STANDARD.encode(principal.to_string())
}
