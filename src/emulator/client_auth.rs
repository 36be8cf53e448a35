//! How a confidential client shows who it is: a secret (post or basic), an assertion signed with
//! a registered certificate, or the token of a federated issuer.

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use http::header::AUTHORIZATION;
use url::form_urlencoded;

use crate::emulator::{
    aadsts::Failure,
    assertion::{self, Proof},
    call::Call,
    directory::App,
    realm::Realm,
};

const ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A client that has shown who it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client<'r> {
    pub(crate) place: usize,
    pub(crate) app: &'r App,
    pub(crate) method: Method,
}

/// How it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Post,
    Basic,
    Assertion,
    /// A public client shows nothing.
    None,
}

impl Method {
    /// As in the metadata's `token_endpoint_auth_methods_supported`.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Post => "client_secret_post",
            Self::Basic => "client_secret_basic",
            Self::Assertion => "private_key_jwt",
            Self::None => "none",
        }
    }

    /// `azpacr` and `appidacr`: 0 public, 1 secret, 2 certificate.
    pub(crate) const fn acr(self) -> &'static str {
        match self {
            Self::Post | Self::Basic => "1",
            Self::Assertion => "2",
            Self::None => "0",
        }
    }
}

/// What a request says about its client, not yet believed.
#[derive(Debug)]
pub(crate) struct Claimed {
    pub(crate) client_id: Option<String>,
    secret: Option<String>,
    pub(crate) method: Method,
}

/// Reads the client's name and secret off the request.
pub(crate) fn claimed(call: &Call) -> Claimed {
    if let Some((id, secret)) = call.header(AUTHORIZATION).and_then(basic) {
        return Claimed { client_id: Some(id), secret: Some(secret), method: Method::Basic };
    }
    let secret = call.form.one("client_secret").map(str::to_owned);
    let method = match (&secret, call.form.one("client_assertion")) {
        (Some(_), _) => Method::Post,
        (None, Some(_)) => Method::Assertion,
        (None, None) => Method::None,
    };
    Claimed { client_id: call.form.one("client_id").map(str::to_owned), secret, method }
}

/// `client_id:client_secret`, each form-encoded (RFC 6749 §2.3.1).
fn basic(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(BASE64_STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    Some((decoded(id), decoded(secret)))
}

fn decoded(text: &str) -> String {
    let pair = format!("v={}", text.replace('&', "%26"));
    form_urlencoded::parse(pair.as_bytes())
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

/// The client of a token request.
pub(crate) fn authenticate<'r>(realm: &'r Realm, call: &Call) -> Result<Client<'r>, Failure> {
    let claimed = claimed(call);
    let Some(client_id) = claimed.client_id else { return Err(Failure::missing("client_id")) };
    let Some((place, app)) = realm.directory.app(&client_id) else {
        return Err(unknown_app(&client_id));
    };
    let client = Client { place, app, method: claimed.method };
    let refused = |failure: Failure| failure.status(realm.invalid_client_status);
    match (claimed.method, claimed.secret) {
        (Method::None, _) if app.entry.public => Ok(client),
        (Method::None, _) => Err(refused(invalid_client(
            7_000_218,
            "The request body must contain the following parameter: 'client_assertion' or \
             'client_secret'.",
        ))),
        _ if app.entry.public => Err(refused(invalid_client(
            700_025,
            "Client is public so neither 'client_assertion' nor 'client_secret' should be \
             presented.",
        ))),
        (Method::Assertion, _) => {
            check_assertion(realm, call, app).map_err(refused)?;
            Ok(client)
        }
        (_, secret) => {
            check_secret(realm, app, place, &secret.unwrap_or_default()).map_err(refused)?;
            Ok(client)
        }
    }
}

pub(crate) fn unknown_app(client_id: &str) -> Failure {
    let text = format!(
        "Application with identifier '{client_id}' was not found in the directory. This can \
         happen if the application has not been installed by the administrator of the tenant or \
         consented to by any user in the tenant. You may have sent your authentication request \
         to the wrong tenant."
    );
    Failure::new(700_016, "unauthorized_client", text)
}

fn invalid_client(code: u32, text: impl Into<String>) -> Failure {
    Failure::new(code, "invalid_client", text)
}

fn check_secret(realm: &Realm, app: &App, place: usize, given: &str) -> Result<(), Failure> {
    let changes = realm.administration.changes();
    // Faults change the first app's secret, the one that a client is told.
    let replaced = changes.client_secret.as_ref().filter(|_| place == 0);
    let right = replaced
        .or(app.entry.client_secret.as_ref())
        .is_some_and(|secret| secret.expose() == given);
    if !right {
        return Err(invalid_client(
            7_000_215,
            format!(
                "Invalid client secret provided. Ensure the secret being sent in the request is \
                 the client secret value, not the client secret ID, for a secret added to app \
                 '{}'.",
                app.client_id
            ),
        ));
    }
    if changes.secret_expired && place == 0 {
        return Err(invalid_client(
            7_000_222,
            format!(
                "The provided client secret keys for app '{}' are expired. Visit the Azure \
                 portal to create new keys for your app.",
                app.client_id
            ),
        ));
    }
    Ok(())
}

fn check_assertion(realm: &Realm, call: &Call, app: &App) -> Result<(), Failure> {
    if call.form.one("client_assertion_type") != Some(ASSERTION_TYPE) {
        return Err(Failure::missing("client_assertion_type"));
    }
    let malformed = || invalid_client(50_027, "JWT token is invalid or malformed.");
    let text = call.form.one("client_assertion").ok_or_else(malformed)?;
    let assertion = assertion::read(text).ok_or_else(malformed)?;
    let own = assertion.claim("iss") == Some(app.client_id.as_str());
    if !own && !app.entry.federated_credentials.is_empty() {
        return federated(&assertion, app, call.now);
    }
    match assertion.proof_by_certificate(&app.certificates) {
        Proof::Given => {}
        Proof::NoKey => {
            return Err(invalid_client(
                700_027,
                "The certificate with identifier used to sign the client assertion is not \
                 registered on application. [Reason - The key was not found.]",
            ));
        }
        Proof::Failed => {
            return Err(invalid_client(
                700_027,
                "Client assertion failed signature validation. [Reason - The provided signature \
                 value did not match the expected signature value.]",
            ));
        }
    }
    if !own || assertion.claim("sub") != Some(app.client_id.as_str()) {
        return Err(invalid_client(
            700_021,
            "Client assertion application identifier doesn't match 'client_id' parameter.",
        ));
    }
    check_times(&assertion, call.now)?;
    if !assertion.audiences().iter().any(|audience| is_token_endpoint(realm, call, audience)) {
        return Err(invalid_client(
            700_023,
            "Client assertion audience claim does not match Realm issuer.",
        ));
    }
    Ok(())
}

fn check_times(assertion: &assertion::Assertion, now: i64) -> Result<(), Failure> {
    if assertion.is_timely(now) {
        return Ok(());
    }
    Err(invalid_client(
        700_024,
        "Client assertion is not within its valid time range. Current time is outside of its \
         'nbf' and 'exp'.",
    ))
}

/// The token endpoint under any name of the tenant, or the tenant's issuer.
fn is_token_endpoint(realm: &Realm, call: &Call, audience: &str) -> bool {
    let Some(path) = audience.strip_prefix(call.base.as_str()) else { return false };
    let mut segments = path.trim_start_matches('/').splitn(2, '/');
    let known =
        segments.next().is_some_and(|segment| realm.directory.tenant_alias(segment).is_some());
    known
        && matches!(
            segments.next().map(str::to_ascii_lowercase).as_deref(),
            Some("oauth2/v2.0/token" | "oauth2/token" | "v2.0")
        )
}

fn federated(assertion: &assertion::Assertion, app: &App, now: i64) -> Result<(), Failure> {
    let entries = &app.entry.federated_credentials;
    let issuer = assertion.claim("iss").unwrap_or_default();
    let subject = assertion.claim("sub").unwrap_or_default();
    if !entries.iter().any(|entry| entry.issuer == issuer) {
        let text = format!(
            "No matching federated identity record found for presented assertion issuer \
             '{issuer}'."
        );
        return Err(invalid_client(700_211, text));
    }
    let matching = entries.iter().find(|entry| entry.issuer == issuer && entry.subject == subject);
    let Some(entry) = matching else {
        let text = format!(
            "No matching federated identity record found for presented assertion subject \
             '{subject}'."
        );
        return Err(invalid_client(700_213, text));
    };
    if !assertion.audiences().iter().any(|audience| entry.audiences.contains(audience)) {
        return Err(invalid_client(
            700_212,
            "No matching federated identity record found for presented assertion audience.",
        ));
    }
    check_times(assertion, now)?;
    match assertion.proof_by_jwks(entry) {
        Proof::Given => Ok(()),
        Proof::NoKey | Proof::Failed => Err(invalid_client(
            50_012,
            "Authentication failed: the signature of the presented assertion is not that of its \
             issuer.",
        )),
    }
}

/// base64url with or without its padding.
pub(crate) fn unpadded(text: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_credentials_are_form_encoded_before_they_are_base64() {
        let header = format!("Basic {}", BASE64_STANDARD.encode("id%3A1:se%2Bcret%25+x"));
        assert_eq!(basic(&header), Some(("id:1".to_owned(), "se+cret% x".to_owned())));
        assert_eq!(basic("Bearer abc"), None);
    }
}
