//! ID tokens: who signed in, once everything about the token has been checked.
//!
//! `OpenID` Connect Core §3.1.3.7 with Microsoft's multi-tenant rules and RFC 8725. The code came
//! over TLS, so a signature is not strictly needed; it is cheap and a second line of defence.

use std::{fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};
use subtle::ConstantTimeEq;

use super::{
    authority::{Issuer, is_guid, key_signs_for},
    json,
    principal::Principal,
    signing_keys::SigningKey,
};

/// Longer than any token that Microsoft signs.
const TOKEN_BYTES: usize = 128 * 1024;
/// Seconds by which Microsoft's clock and ours may differ.
const SKEW: i64 = 120;

/// Why an ID token is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdTokenError {
    /// Longer than 128 KiB.
    #[error("it is too long")]
    TooLong,
    /// Not three parts of base64url with a JSON object in each of the first two.
    #[error("it is not a signed JWT")]
    Malformed,
    /// Another algorithm than RS256, whatever the header says (RFC 8725 §3.1).
    #[error("it is not signed with RS256")]
    Algorithm,
    /// A header that must be understood and is not (RFC 7515 §4.1.11).
    #[error("it demands a critical extension")]
    Critical,
    /// Not one of the issuer's keys, or no key id where there are several keys.
    #[error("it is signed with an unknown key")]
    UnknownKey,
    /// A key that signs for another issuer, such as personal accounts.
    #[error("its key belongs to another issuer")]
    KeyIssuer,
    /// The signature does not match.
    #[error("its signature does not match")]
    Signature,
    /// A claim is missing or of another kind.
    #[error("its claim {0} is missing or malformed")]
    Claim(&'static str),
    /// Not a v2.0 token.
    #[error("it is not a v2.0 token")]
    Version,
    /// Another issuer, or not that of its own tenant.
    #[error("its issuer is not ours")]
    Issuer,
    /// A tenant that is not on the list.
    #[error("its tenant is not allowed")]
    Tenant,
    /// Made for another app.
    #[error("it is for another app")]
    Audience,
    /// Ended.
    #[error("it has expired")]
    Expired,
    /// Not yet begun, or issued in the future.
    #[error("it is not valid yet")]
    NotYet,
    /// Not the nonce of this sign-in.
    #[error("its nonce is not that of this sign-in")]
    Nonce,
}

/// What a token must agree with.
pub(super) struct Expected<'a> {
    pub(super) client_id: &'a str,
    pub(super) issuer: &'a Issuer,
    /// Tenants that may sign in; empty: any that the issuer covers.
    pub(super) allowed_tenants: &'a [String],
    /// Of this sign-in; none at a renewal (`OpenID` Connect Core §12.2).
    pub(super) nonce: Option<&'a str>,
    /// In seconds since 1970.
    pub(super) now: i64,
}

/// A token taken apart, of which nothing is proven.
pub(super) struct Unverified<'a> {
    kid: Option<String>,
    claims: Map<String, Value>,
    signed: &'a str,
    signature: &'a str,
}

impl<'a> Unverified<'a> {
    pub(super) fn parse(token: &'a str) -> Result<Self, IdTokenError> {
        if token.len() > TOKEN_BYTES {
            return Err(IdTokenError::TooLong);
        }
        // Exactly three parts: nothing here iterates over a token of a million dots.
        let (signed, signature) = token.rsplit_once('.').ok_or(IdTokenError::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(IdTokenError::Malformed)?;
        let header = part(header)?;
        // `jku`, `x5u`, `x5c` and `jwk` are not even looked at: the header never brings a key.
        if header.get("alg").and_then(Value::as_str) != Some("RS256") {
            return Err(IdTokenError::Algorithm);
        }
        if header.contains_key("crit") {
            return Err(IdTokenError::Critical);
        }
        let kid = match header.get("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return Err(IdTokenError::Malformed),
        };
        Ok(Self { kid, claims: part(payload)?, signed, signature })
    }

    /// The id of the key that is said to have signed.
    pub(super) fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Proves the token, by one of the keys that its key id may mean.
    pub(super) fn verify(
        self,
        keys: &[Arc<SigningKey>],
        expected: &Expected<'_>,
    ) -> Result<VerifiedIdToken, IdTokenError> {
        let claims = Claims(&self.claims);
        let (issuer, tenant) = (claims.text("iss")?, claims.text("tid")?);
        let mut verified = Err(IdTokenError::UnknownKey);
        for key in keys {
            verified = self.signed_by(key, issuer, tenant, expected.issuer);
            if verified.is_ok() {
                break;
            }
        }
        verified?;
        if !is_guid(tenant) {
            return Err(IdTokenError::Claim("tid"));
        }
        if !expected.issuer.is(issuer, tenant) {
            return Err(IdTokenError::Issuer);
        }
        let allowed = expected.allowed_tenants;
        if !allowed.is_empty() && !allowed.iter().any(|allowed| allowed == tenant) {
            return Err(IdTokenError::Tenant);
        }
        if claims.text("ver")? != "2.0" {
            return Err(IdTokenError::Version);
        }
        claims.is_for(expected.client_id)?;
        claims.is_current(expected.now)?;
        claims.text("sub")?;
        claims.text("oid")?;
        if let Some(nonce) = expected.nonce {
            let found = claims.text("nonce")?;
            if !bool::from(found.as_bytes().ct_eq(nonce.as_bytes())) {
                return Err(IdTokenError::Nonce);
            }
        }
        let principal = Principal::of(&self.claims).ok_or(IdTokenError::Claim("oid"))?;
        Ok(VerifiedIdToken { claims: self.claims, principal })
    }

    fn signed_by(
        &self,
        key: &SigningKey,
        issuer: &str,
        tenant: &str,
        expected: &Issuer,
    ) -> Result<(), IdTokenError> {
        match &key.issuer {
            Some(of_key) if !key_signs_for(of_key, issuer, tenant) => {
                return Err(IdTokenError::KeyIssuer);
            }
            // Among the keys of many tenants each must say for whom it signs.
            None if matches!(expected, Issuer::AnyTenant { .. }) => {
                return Err(IdTokenError::KeyIssuer);
            }
            _ => {}
        }
        key.key
            .verify_rs256(self.signed.as_bytes(), self.signature)
            .map_err(|_| IdTokenError::Signature)
    }
}

fn part(text: &str) -> Result<Map<String, Value>, IdTokenError> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| IdTokenError::Malformed)?;
    json::object(&bytes).map_err(|_| IdTokenError::Malformed)
}

struct Claims<'a>(&'a Map<String, Value>);

impl<'a> Claims<'a> {
    fn text(&self, name: &'static str) -> Result<&'a str, IdTokenError> {
        match self.0.get(name) {
            Some(Value::String(text)) if !text.is_empty() => Ok(text),
            _ => Err(IdTokenError::Claim(name)),
        }
    }

    /// `aud` is us; with several, or whenever it is there, `azp` is us too.
    fn is_for(&self, client_id: &str) -> Result<(), IdTokenError> {
        let several = match self.0.get("aud") {
            Some(Value::String(audience)) if audience == client_id => false,
            Some(Value::String(_)) => return Err(IdTokenError::Audience),
            Some(Value::Array(audiences)) => {
                if !audiences.iter().all(Value::is_string) {
                    return Err(IdTokenError::Claim("aud"));
                }
                if !audiences.iter().any(|audience| audience == client_id) {
                    return Err(IdTokenError::Audience);
                }
                audiences.len() > 1
            }
            _ => return Err(IdTokenError::Claim("aud")),
        };
        match self.0.get("azp") {
            None if several => Err(IdTokenError::Claim("azp")),
            Some(azp) if azp != client_id => Err(IdTokenError::Audience),
            _ => Ok(()),
        }
    }

    fn is_current(&self, now: i64) -> Result<(), IdTokenError> {
        let (issued, begins, ends) = (self.date("iat")?, self.date("nbf")?, self.date("exp")?);
        if ends.saturating_add(SKEW) <= now {
            return Err(IdTokenError::Expired);
        }
        let latest = now.saturating_add(SKEW);
        if begins > latest || issued > latest { Err(IdTokenError::NotYet) } else { Ok(()) }
    }

    /// A `NumericDate` (RFC 7519 §2): whole or fractional seconds, never text; saturates.
    fn date(&self, name: &'static str) -> Result<i64, IdTokenError> {
        match self.0.get(name) {
            Some(Value::Number(number)) => match (number.as_i64(), number.as_f64()) {
                (Some(seconds), _) => Ok(seconds),
                #[expect(
                    clippy::cast_possible_truncation,
                    reason = "saturates, and truncates fractions"
                )]
                (None, Some(seconds)) if seconds.is_finite() => Ok(seconds as i64),
                _ => Err(IdTokenError::Claim(name)),
            },
            _ => Err(IdTokenError::Claim(name)),
        }
    }
}

/// Claims that passed every check. There is no other way to make one.
#[derive(Clone)]
pub struct VerifiedIdToken {
    claims: Map<String, Value>,
    principal: Principal,
}

impl VerifiedIdToken {
    /// Who signed in.
    pub fn principal(&self) -> Principal {
        self.principal.clone()
    }

    /// Everything that the token says.
    pub fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }
}

impl fmt::Debug for VerifiedIdToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedIdToken")
            .field("principal", &self.principal)
            .finish_non_exhaustive()
    }
}
