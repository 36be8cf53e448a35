//! The tokens of one answer (RFC 6749 §5.1), and when the access token ends.

use std::{fmt, time::Duration};

use oauth2::{AccessToken, RefreshToken, Scope, basic::BasicTokenType};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::AnswerError;
use crate::base::secret::SecretString;

/// What an answer without `expires_in` means: the least that Entra gives. The token itself is
/// never opened to find out (Learn: access tokens are for their resource alone).
const DEFAULT_LIFE: u64 = 3600;
/// We never rely on an access token for longer than a day.
const LONGEST_LIFE: u64 = 24 * 3600;

/// What a sign-in or a renewal yields.
#[derive(Clone, Debug)]
pub struct TokenSet {
    /// For the resource of the configured scopes; opaque to us.
    pub access_token: SecretString,
    /// For the next renewal.
    pub refresh_token: Option<SecretString>,
    /// As it came, for the apps that want it.
    pub id_token: Option<SecretString>,
    /// When the access token ends, in seconds since 1970.
    pub expires_at: i64,
    /// The scopes that were granted, separated by spaces.
    pub scope: String,
}

/// A token answer as it is on the wire. More lenient than `oauth2`'s own: `expires_in` may be
/// text (v1 endpoints), `token_type` may be missing or in any case.
#[derive(Clone, Deserialize, Serialize)]
pub(super) struct TokenAnswer {
    access_token: AccessToken,
    #[serde(default = "bearer", deserialize_with = "token_type")]
    token_type: BasicTokenType,
    #[serde(default)]
    expires_in: Option<Life>,
    #[serde(default)]
    refresh_token: Option<RefreshToken>,
    #[serde(default)]
    scope: Option<String>,
    /// Hidden from `Debug` by being of this type.
    #[serde(default)]
    id_token: Option<AccessToken>,
}

impl TokenAnswer {
    /// The tokens; `asked_at` is when the request was sent, in seconds since 1970.
    pub(super) fn into_tokens(self, asked_at: i64) -> Result<TokenSet, AnswerError> {
        if self.token_type != BasicTokenType::Bearer {
            return Err(AnswerError::TokenType);
        }
        let access_token = self.access_token.into_secret();
        if access_token.is_empty() || !access_token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(AnswerError::AccessToken);
        }
        let life = self.expires_in.map_or(DEFAULT_LIFE, |life| life.0).min(LONGEST_LIFE);
        let refresh_token = self.refresh_token.map(RefreshToken::into_secret);
        let id_token = self.id_token.map(AccessToken::into_secret);
        let given = |token: Option<String>| token.filter(|token| !token.is_empty());
        Ok(TokenSet {
            access_token: access_token.into(),
            refresh_token: given(refresh_token).map(Into::into),
            id_token: given(id_token).map(Into::into),
            expires_at: asked_at.saturating_add_unsigned(life),
            scope: self.scope.unwrap_or_default(),
        })
    }
}

impl fmt::Debug for TokenAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenAnswer").finish_non_exhaustive()
    }
}

impl oauth2::TokenResponse for TokenAnswer {
    type TokenType = BasicTokenType;

    fn access_token(&self) -> &AccessToken {
        &self.access_token
    }

    fn token_type(&self) -> &BasicTokenType {
        &self.token_type
    }

    fn expires_in(&self) -> Option<Duration> {
        self.expires_in.map(|life| Duration::from_secs(life.0))
    }

    fn refresh_token(&self) -> Option<&RefreshToken> {
        self.refresh_token.as_ref()
    }

    /// Kept as one text, in [`TokenSet::scope`].
    fn scopes(&self) -> Option<&Vec<Scope>> {
        None
    }
}

fn bearer() -> BasicTokenType {
    BasicTokenType::Bearer
}

fn token_type<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<BasicTokenType, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(match text {
        None => BasicTokenType::Bearer,
        Some(text) if text.eq_ignore_ascii_case("bearer") => BasicTokenType::Bearer,
        Some(text) => BasicTokenType::Extension(text),
    })
}

/// Whole seconds: a number, or text that holds one. Negative is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Life(u64);

impl<'de> Deserialize<'de> for Life {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let seconds = match &value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        let seconds = seconds.filter(|seconds: &f64| seconds.is_finite());
        let seconds = seconds.ok_or_else(|| serde::de::Error::custom("not a number of seconds"))?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
        Ok(Self(seconds as u64))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::base::secret::ExposeSecret;

    fn answer(changes: Value) -> Result<TokenSet, String> {
        let mut answer = json!({ "access_token": "at", "token_type": "Bearer" });
        let (Some(fields), Value::Object(changes)) = (answer.as_object_mut(), changes) else {
            panic!("objects");
        };
        fields.extend(changes);
        let answer: TokenAnswer =
            serde_json::from_value(answer).map_err(|error| error.to_string())?;
        answer.into_tokens(1_000).map_err(|error| error.to_string())
    }

    #[test]
    fn the_life_of_a_token_is_read_in_every_spelling_and_bounded() {
        for (expires_in, ends) in [
            (json!(3599), 4_599),
            (json!("3599"), 4_599),
            (json!(" 3599 "), 4_599),
            (json!(3599.9), 4_599),
            (json!(null), 4_600),
            (json!(0), 1_000),
            (json!(-5), 1_000),
            (json!(1_000_000_000), 87_400),
            (json!(1e300), 87_400),
            (json!(u64::MAX), 87_400),
        ] {
            let tokens = answer(json!({ "expires_in": expires_in })).unwrap();
            assert_eq!(tokens.expires_at, ends, "{expires_in}");
        }
        assert_eq!(answer(json!({})).unwrap().expires_at, 4_600);
        for senseless in [json!("soon"), json!([]), json!(true), json!("inf"), json!("")] {
            assert!(answer(json!({ "expires_in": senseless })).is_err(), "{senseless}");
        }
    }

    #[test]
    fn a_bearer_token_may_be_spelt_in_any_case_or_not_at_all() {
        for token_type in [json!("bearer"), json!("BEARER"), json!(null)] {
            assert!(answer(json!({ "token_type": token_type })).is_ok(), "{token_type}");
        }
        assert!(serde_json::from_value::<TokenAnswer>(json!({ "access_token": "at" })).is_ok());
        for token_type in [json!("pop"), json!("DPoP"), json!("")] {
            assert!(answer(json!({ "token_type": token_type })).is_err(), "{token_type}");
        }
    }

    #[test]
    fn an_access_token_that_no_header_can_carry_is_refused() {
        for token in ["", "a b", "a\r\nX-User: admin", "ä"] {
            assert!(answer(json!({ "access_token": token })).is_err(), "{token:?}");
        }
    }

    #[test]
    fn an_empty_refresh_token_is_none() {
        let tokens = answer(json!({ "refresh_token": "", "id_token": "", "scope": null })).unwrap();
        assert!(tokens.refresh_token.is_none() && tokens.id_token.is_none());
        let tokens = answer(json!({ "refresh_token": "rt", "foci": "1" })).unwrap();
        assert_eq!(tokens.refresh_token.unwrap().expose_secret(), "rt");
    }

    #[test]
    fn debug_shows_no_token() {
        let text =
            json!({ "access_token": "s3cret", "refresh_token": "s3cret", "id_token": "s3cret" });
        let wire: TokenAnswer = serde_json::from_value(text).unwrap();
        let said = format!("{:?}{:?}", wire, wire.clone().into_tokens(0).unwrap());
        assert!(!said.contains("s3cret"), "{said}");
    }
}
