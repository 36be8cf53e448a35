//! Faults by script: what the next answers of an endpoint do instead of, or to, what they should.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::base::{
    secret::Secret,
    units::{ByteSize, Span},
};

/// One fault; the same keys in `[[faults]]` of a scenario and in `POST /_emulator/faults`.
///
/// A fault of an `endpoint` waits for that endpoint's next `times` answers. Without an endpoint it
/// changes the emulator at once (`rollover`, `revoke`, `disable` …).
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches of a script")]
pub struct Fault {
    /// Where: `token`, `authorize`, `keys`, `metadata`, `graph` or `logout`.
    pub endpoint: Option<Endpoint>,
    /// Only requests with this `grant_type`.
    pub grant_type: Option<String>,
    /// How many answers; unset: one.
    pub times: Option<u32>,
    /// Wait before answering.
    pub delay: Option<Span>,
    /// HTTP status.
    pub status: Option<u16>,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
    /// OAuth error.
    pub error: Option<String>,
    /// AADSTS number.
    pub code: Option<u32>,
    /// `suberror`.
    pub suberror: Option<String>,
    /// `claims`: a challenge, as JSON text.
    pub claims: Option<String>,
    /// `error_description` without its AADSTS number.
    pub description: Option<String>,
    /// A body instead of the right one.
    pub body: Option<String>,
    /// Content type of that body.
    pub content_type: Option<String>,
    /// A redirect to there instead of an answer.
    pub location: Option<String>,
    /// That many bytes of white space after the body.
    pub padding: Option<ByteSize>,
    /// `expires_in` of a token answer: any JSON value, or `"absent"`.
    pub expires_in: Option<Value>,
    /// Members laid over a JSON answer.
    pub set: Map<String, Value>,
    /// Members taken out of a JSON answer.
    pub remove: Vec<String>,
    /// What is wrong with the ID token.
    pub id_token: Option<IdTokenFault>,
    /// Claims laid over those of the ID token.
    pub id_token_claims: Map<String, Value>,
    /// Claims laid over those of the access token.
    pub access_token_claims: Map<String, Value>,
    /// What is wrong with the parameters that authorize sends back.
    pub callback: Option<CallbackFault>,

    /// A signing key that nobody has seen signs from now on; the old ones stay published.
    pub rollover: bool,
    /// With `rollover`: the old keys are withdrawn.
    pub retire: bool,
    /// With `rollover`: a key that is published already takes over.
    pub announced: bool,
    /// Ends all sessions and refresh tokens of this user.
    pub revoke: Option<String>,
    /// Disables this user's account.
    pub disable: Option<String>,
    /// Enables it again.
    pub enable: Option<String>,
    /// Takes this user's assignment to the app away.
    pub unassign: Option<String>,
    /// Gives it back.
    pub assign: Option<String>,
    /// Replaces the client secret of the first app.
    pub client_secret: Option<Secret>,
    /// The client secret of the first app has expired (`true`), or has not.
    pub secret_expired: Option<bool>,
    /// Every user needs a second factor (`true`), or only those who are marked.
    pub require_mfa: Option<bool>,
    /// Seconds by which the emulator's clock is wrong.
    pub clock_offset: Option<i64>,
    /// Disarms all faults that are waiting.
    pub clear: bool,
}

/// The endpoints that faults (and the request log) know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Endpoint {
    /// `/{tenant}/oauth2/v2.0/authorize`
    Authorize,
    /// `/{tenant}/oauth2/v2.0/token`
    Token,
    /// `/{tenant}/oauth2/v2.0/logout`
    Logout,
    /// `/{tenant}/discovery/v2.0/keys`
    Keys,
    /// `/{tenant}/v2.0/.well-known/openid-configuration`
    Metadata,
    /// `/v1.0/…`
    Graph,
}

impl Endpoint {
    /// As faults and the request log write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Authorize => "authorize",
            Self::Token => "token",
            Self::Logout => "logout",
            Self::Keys => "keys",
            Self::Metadata => "metadata",
            Self::Graph => "graph",
        }
    }
}

/// Ways to spoil an ID token (after the `OpenID` conformance suite for relying parties).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IdTokenFault {
    /// `iss` with a "1" added.
    InvalidIss,
    /// `aud` with a "1" added.
    InvalidAud,
    /// `aud` is a list of the client and of somebody else, without `azp`.
    SeveralAud,
    /// `sub` with a "1" added.
    InvalidSub,
    /// `oid` of somebody else.
    OtherUser,
    /// Every byte of the signature XOR 0x5A.
    InvalidSig,
    /// Unsigned, `alg` none.
    AlgNone,
    /// HMAC with the public key as its secret.
    AlgHs256,
    /// No `iss`.
    MissingIss,
    /// No `aud`.
    MissingAud,
    /// No `sub`.
    MissingSub,
    /// No `iat`.
    MissingIat,
    /// No `exp`.
    MissingExp,
    /// No `nonce`.
    MissingNonce,
    /// No `tid`.
    MissingTid,
    /// No `oid`.
    MissingOid,
    /// `nonce` with a "1" added.
    NonceInvalid,
    /// `kid` is not in the header.
    KidAbsent,
    /// A `kid` that is not published.
    KidUnknown,
    /// Issued for a tenant that is not the one asked.
    OtherTenant,
    /// Signed with the key of personal accounts, whose issuer is fixed.
    ConsumerKey,
    /// Expired six minutes ago.
    Expired,
    /// `nbf` is ten minutes ahead.
    NotYet,
    /// `exp` is 1e300.
    ExpHuge,
    /// `exp` has a fraction.
    ExpFractional,
    /// `exp` is negative.
    ExpNegative,
    /// `ver` is "1.0".
    VersionOne,
    /// Five segments, as of a JWE.
    Encrypted,
    /// Not a token at all.
    Garbage,
    /// Not in the answer.
    Absent,
}

/// Ways to spoil what authorize sends back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallbackFault {
    /// No `state`.
    StateAbsent,
    /// `state` with a "1" added.
    StateInvalid,
    /// `state` twice.
    StateTwice,
    /// `code` twice.
    CodeTwice,
    /// No `code`.
    CodeAbsent,
}

impl Fault {
    /// Reads one fault.
    ///
    /// # Errors
    /// Not JSON, an unknown key, or a value that is not what was expected.
    pub fn parse(json: &[u8]) -> Result<Self, serde_json::Error> {
        // Through a map: a derived struct would take a list as well.
        let members: Map<String, Value> = serde_json::from_slice(json)?;
        serde_json::from_value(Value::Object(members))
    }

    /// Whether the answer is not even attempted.
    pub(crate) fn replaces(&self) -> bool {
        self.status.is_some()
            || self.body.is_some()
            || self.location.is_some()
            || self.error.is_some()
            || self.code.is_some()
    }
}

/// Faults that are waiting for a request.
#[derive(Debug, Default)]
pub(crate) struct Armed {
    waiting: Mutex<VecDeque<(Fault, u32)>>,
}

impl Armed {
    pub(crate) fn arm(&self, fault: Fault) {
        let times = fault.times.unwrap_or(1);
        if times > 0 {
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push_back((fault, times));
        }
    }

    pub(crate) fn clear(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The fault that this request meets, which is then used up by one.
    pub(crate) fn meet(&self, endpoint: Endpoint, grant_type: Option<&str>) -> Option<Fault> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let index = waiting.iter().position(|(fault, _)| {
            fault.endpoint == Some(endpoint)
                && fault.grant_type.as_deref().is_none_or(|wanted| Some(wanted) == grant_type)
        })?;
        let (fault, left) = waiting.get_mut(index)?;
        let fault = fault.clone();
        *left -= 1;
        if *left == 0 {
            waiting.remove(index);
        }
        Some(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(json: &str) -> Fault {
        Fault::parse(json.as_bytes()).unwrap()
    }

    #[test]
    fn a_fault_is_met_as_often_as_it_says_and_only_at_its_endpoint() {
        let armed = Armed::default();
        armed.arm(fault(r#"{"endpoint":"token","times":2,"status":429,"retry_after":5}"#));
        assert!(armed.meet(Endpoint::Keys, None).is_none());
        assert!(armed.meet(Endpoint::Token, None).is_some());
        assert!(armed.meet(Endpoint::Token, None).is_some());
        assert!(armed.meet(Endpoint::Token, None).is_none());
    }

    #[test]
    fn a_fault_of_one_grant_lets_the_others_pass() {
        let armed = Armed::default();
        armed.arm(fault(r#"{"endpoint":"token","grant_type":"refresh_token","status":500}"#));
        assert!(armed.meet(Endpoint::Token, Some("authorization_code")).is_none());
        assert!(armed.meet(Endpoint::Token, Some("refresh_token")).is_some());
    }

    #[test]
    fn a_misspelt_key_endpoint_or_mutation_is_refused() {
        for json in [
            r#"{"endpoint":"tokens"}"#,
            r#"{"endpoint":"token","statuss":429}"#,
            r#"{"endpoint":"token","id_token":"invalid"}"#,
            r#"{"delay":5}"#,
            "[]",
        ] {
            assert!(Fault::parse(json.as_bytes()).is_err(), "{json}");
        }
    }
}
