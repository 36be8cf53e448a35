//! `[identity]`: what the app is told about a request and its user. Pure.
//!
//! First [`Identity::strip`], on every request there is; then [`Identity::forward`], on every
//! request that goes to the app; then [`Identity::assert`], where somebody is signed in. Removal
//! does not depend on there being something to write: a header that no user of ours has would
//! otherwise be the client's.

mod claims;
mod easy_auth;
mod oauth2_proxy;
mod reserved;

use std::collections::{BTreeMap, BTreeSet};

use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use self::{claims::header_value, reserved::Reserved};
use crate::request::{PublicUrl, field_name::canonical};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// `[identity]` of the configuration.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Whether the app gets the user's access token as `Authorization: Bearer`.
    pub authorization: Authorization,
    /// Other proxies' headers, for apps that were written for them.
    pub dialects: Vec<Dialect>,
    /// Any header from a claim: `"X-User" = "preferred_username"`.
    pub headers: BTreeMap<String, String>,
}

/// What becomes of `Authorization`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Authorization {
    /// `Authorization: Bearer <access token>`; the client's own is dropped.
    #[default]
    Bearer,
    /// The header is not ours: the client's passes.
    None,
}

/// Headers as another product writes them.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Dialect {
    /// Azure App Service authentication: `X-MS-CLIENT-PRINCIPAL` and its kin.
    EasyAuth,
    /// oauth2-proxy: `X-Forwarded-User` and its kin.
    #[serde(rename = "oauth2-proxy")]
    Oauth2Proxy,
}

impl Dialect {
    fn writes(self) -> &'static [HeaderName] {
        match self {
            Self::EasyAuth => &easy_auth::WRITTEN,
            Self::Oauth2Proxy => &oauth2_proxy::WRITTEN,
        }
    }
}

/// What is wrong with `[identity]`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not a token (RFC 9110 §5.1).
    #[error("{0:?} is not a header name")]
    Name(String),
    /// Framing, credentials, or a field that is always ours.
    #[error("{0:?} means something else to every HTTP program and cannot carry a claim")]
    Unusable(String),
    /// Two headers that CGI, WSGI and PHP hold for one.
    #[error("{0:?} is written twice, by another entry or by a dialect")]
    Twice(String),
    /// No claim.
    #[error("{0:?} names no claim")]
    Claim(String),
}

/// Which headers are ours, and how they are written.
#[derive(Clone, Debug)]
pub struct Identity {
    authorization: Authorization,
    dialects: BTreeSet<Dialect>,
    headers: Vec<(HeaderName, String)>,
    reserved: Reserved,
    host: Option<HeaderValue>,
    proto: Option<HeaderValue>,
}

/// Who is signed in, for [`Identity::assert`].
#[derive(Clone, Copy)]
pub struct Assertion<'a> {
    /// The claims of the validated ID token, or what of them the session keeps.
    pub claims: &'a Map<String, Value>,
    /// The access token for this request.
    pub access_token: Option<&'a str>,
    /// The ID token, where it is kept.
    pub id_token: Option<&'a str>,
    /// When the access token expires, in seconds since 1970.
    pub expires_on: i64,
}

impl std::fmt::Debug for Assertion<'_> {
    /// Tokens and claims are nobody else's business.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Assertion").field("expires_on", &self.expires_on).finish_non_exhaustive()
    }
}

/// The claims that a session must keep for the app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimsUsed {
    /// Every one.
    All,
    /// These.
    These(BTreeSet<String>),
}

impl Identity {
    /// Checks the settings, and that no two entries write one header.
    pub fn build(settings: Settings, public_url: &PublicUrl) -> Result<Self, IdentityError> {
        let dialects: BTreeSet<Dialect> = settings.dialects.into_iter().collect();
        let written = dialects.iter().flat_map(|dialect| dialect.writes());
        let mut seen: BTreeSet<String> = written.map(|name| canonical(name.as_str())).collect();
        let mut headers = Vec::with_capacity(settings.headers.len());
        for (text, claim) in settings.headers {
            let Ok(name) = HeaderName::from_bytes(text.as_bytes()) else {
                return Err(IdentityError::Name(text));
            };
            if reserved::is_unusable(&name) {
                return Err(IdentityError::Unusable(text));
            }
            if !seen.insert(canonical(name.as_str())) {
                return Err(IdentityError::Twice(text));
            }
            if claim.trim().is_empty() {
                return Err(IdentityError::Claim(text));
            }
            headers.push((name, claim));
        }
        let ours = settings.authorization == Authorization::Bearer;
        Ok(Self {
            authorization: settings.authorization,
            dialects,
            reserved: Reserved::new(ours, headers.iter().map(|(name, _)| name)),
            headers,
            host: HeaderValue::from_str(public_url.authority()).ok(),
            proto: HeaderValue::from_str(public_url.scheme()).ok(),
        })
    }

    /// Removes every reserved name in every spelling. Whoever may set these headers *is* the user,
    /// so no path and no method is exempt.
    pub fn strip(&self, headers: &mut HeaderMap) {
        let forged: Vec<HeaderName> =
            headers.keys().filter(|name| self.is_reserved(name)).cloned().collect();
        for name in forged {
            headers.remove(name);
        }
    }

    /// Whether a name is ours, in whatever spelling. Also for trailers.
    pub fn is_reserved(&self, name: &HeaderName) -> bool {
        self.reserved.contains(name)
    }

    /// Tells the app where the request came from; on every forwarded request, anonymous ones too.
    ///
    /// `forwarded_for` is [`crate::request::Inbound::forwarded_for`].
    pub fn forward(
        &self,
        forwarded_for: Option<HeaderValue>,
        request_id: &str,
        headers: &mut HeaderMap,
    ) {
        let fields = [
            (X_FORWARDED_FOR, forwarded_for),
            (X_FORWARDED_HOST, self.host.clone()),
            (X_FORWARDED_PROTO, self.proto.clone()),
            (X_REQUEST_ID, HeaderValue::from_str(request_id).ok()),
        ];
        for (name, value) in fields {
            match value {
                Some(value) => headers.insert(name, value),
                None => headers.remove(name),
            };
        }
    }

    /// Tells the app who is signed in.
    pub fn assert(&self, assertion: &Assertion<'_>, headers: &mut HeaderMap) {
        if self.authorization == Authorization::Bearer
            && let Some(value) = assertion.access_token.and_then(bearer_value)
        {
            headers.insert(AUTHORIZATION, value);
        }
        for dialect in &self.dialects {
            match dialect {
                Dialect::EasyAuth => easy_auth::assert(assertion, headers),
                Dialect::Oauth2Proxy => oauth2_proxy::assert(assertion, headers),
            }
        }
        for (name, claim) in &self.headers {
            if let Some(value) = header_value(assertion.claims, claim) {
                headers.insert(name.clone(), value);
            }
        }
    }

    /// Whether the app gets the access token at all.
    pub fn needs_access_token(&self) -> bool {
        self.authorization == Authorization::Bearer || !self.dialects.is_empty()
    }

    /// Whether the app gets the ID token, so that a session must keep it.
    pub fn needs_id_token(&self) -> bool {
        self.dialects.contains(&Dialect::EasyAuth)
    }

    /// The claims that a session must keep for the app.
    pub fn claims_used(&self) -> ClaimsUsed {
        if self.dialects.contains(&Dialect::EasyAuth) {
            return ClaimsUsed::All;
        }
        let mut used: BTreeSet<String> =
            self.headers.iter().map(|(_, claim)| claim.clone()).collect();
        if self.dialects.contains(&Dialect::Oauth2Proxy) {
            used.extend(oauth2_proxy::FROM_CLAIMS.iter().map(|(_, claim)| (*claim).to_owned()));
        }
        ClaimsUsed::These(used)
    }
}

/// A token as a header value that `Debug` and header compression keep to themselves.
fn token_value(token: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(token).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn bearer_value(token: &str) -> Option<HeaderValue> {
    token_value(&format!("Bearer {token}"))
}

#[cfg(test)]
mod tests;
