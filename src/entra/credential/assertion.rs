//! The JWT by which we say who we are (RFC 7523 §3, with Entra's header: Learn, "certificate
//! credentials").

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use url::Url;

use super::super::wire::random_guid;

/// Seconds from now to `exp`. An assertion is used at once; this is for clocks that are wrong.
const AHEAD: i64 = 300;
/// Seconds from `nbf` to now, for a clock of ours that is fast. Entra wants at most ten minutes
/// from `nbf` to `exp`.
const BACK: i64 = 60;

/// The token request that an assertion is for.
#[derive(Clone, Copy, Debug)]
pub(in crate::entra) struct Occasion<'a> {
    /// Us.
    pub(in crate::entra) client_id: &'a str,
    /// Where it is sent, and the only reader who may believe it.
    pub(in crate::entra) token_endpoint: &'a Url,
    /// Seconds since 1970.
    pub(in crate::entra) now: i64,
}

impl Occasion<'_> {
    /// Header and claims as they are signed; `None` when the system has no randomness.
    pub(super) fn to_be_signed(self, thumbprint: &[u8]) -> Option<String> {
        let header = json!({
            "alg": "PS256", "typ": "JWT", "x5t#S256": URL_SAFE_NO_PAD.encode(thumbprint),
        });
        let claims = json!({
            "aud": self.token_endpoint.as_str(),
            "iss": self.client_id,
            "sub": self.client_id,
            "jti": random_guid()?,
            "iat": self.now - BACK,
            "nbf": self.now - BACK,
            "exp": self.now + AHEAD,
        });
        Some(format!("{}.{}", encoded(&header), encoded(&claims)))
    }
}

fn encoded(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}
