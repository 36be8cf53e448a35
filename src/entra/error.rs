//! Every way in which talking to Microsoft can fail.

use std::time::Duration;

use http::StatusCode;

use super::{
    advice,
    credential::CredentialError,
    id_token::IdTokenError,
    json::JsonError,
    metadata::MetadataError,
    refusal::Refusal,
    remedy::{LOOP_DETECTED, Remedy, Stage},
    signing_keys::KeysError,
};
use crate::base::outbound::OutboundError;

/// After a loop was detected, a session is left in peace for so long.
const LOOP_PAUSE: Duration = Duration::from_mins(1);

/// Which of Microsoft's doors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// The discovery document.
    Metadata,
    /// The signing keys.
    Keys,
    /// The token endpoint.
    Token,
}

impl Endpoint {
    /// As a metric label.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Metadata => "metadata",
            Self::Keys => "keys",
            Self::Token => "token",
        }
    }
}

/// Why an answer of status 200 is of no use.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// Not the JSON that was asked for.
    #[error(transparent)]
    Json(#[from] JsonError),
    /// A field is missing or of another kind; the value is left out, it may be a token.
    #[error("the field {0} is missing or not understood")]
    Field(String),
    /// A kind of token that cannot be sent as a bearer token.
    #[error("the token is not a bearer token")]
    TokenType,
    /// An access token that cannot stand in a header (RFC 6750 §2.1).
    #[error("the access token is empty or has characters that no header can carry")]
    AccessToken,
    /// A body of another media type, or none at all.
    #[error("the answer is empty or not JSON")]
    NotJson,
}

/// Why there is no sign-in, no renewal, no address.
#[derive(Debug, thiserror::Error)]
pub enum EntraError {
    // Microsoft said no.
    /// The token endpoint refused.
    #[error("microsoft refused: {refusal}{}", advice(refusal))]
    Refused {
        /// What it said.
        refusal: Box<Refusal>,
        /// The HTTP status.
        status: StatusCode,
        /// For which grant.
        stage: Stage,
    },

    // Microsoft cannot answer now.
    /// Too many calls (429).
    #[error("microsoft asks to slow down")]
    Throttled {
        /// How long to wait, at most an hour.
        retry_after: Option<Duration>,
        /// What else it said.
        refusal: Option<Box<Refusal>>,
    },
    /// A status of 500 or above.
    #[error("the {} endpoint failed with {status}", endpoint.word())]
    Unavailable {
        /// Whose.
        endpoint: Endpoint,
        /// The HTTP status.
        status: StatusCode,
        /// How long to wait, at most an hour.
        retry_after: Option<Duration>,
        /// What else it said.
        refusal: Option<Box<Refusal>>,
    },
    /// No answer.
    #[error("the {} endpoint did not answer", endpoint.word())]
    Unreachable {
        /// Whose.
        endpoint: Endpoint,
        /// Why.
        #[source]
        source: OutboundError,
    },
    /// The last try failed a moment ago.
    #[error("the {} endpoint failed a moment ago", endpoint.word())]
    Pausing {
        /// Whose.
        endpoint: Endpoint,
    },

    // What came is not what was asked for.
    /// A status that means nothing here; redirects are among them, none is followed.
    #[error("the {} endpoint answered {status}", endpoint.word())]
    Status {
        /// Whose.
        endpoint: Endpoint,
        /// The HTTP status.
        status: StatusCode,
    },
    /// An answer that cannot be read.
    #[error("the {} endpoint's answer cannot be read", endpoint.word())]
    Malformed {
        /// Whose.
        endpoint: Endpoint,
        /// Why.
        #[source]
        source: AnswerError,
    },
    /// Metadata that may not speak for the configured tenant.
    #[error("the metadata is not accepted")]
    Metadata(#[from] MetadataError),
    /// Keys that cannot be used.
    #[error("the signing keys are not accepted")]
    Keys(#[from] KeysError),
    /// An ID token that did not verify.
    #[error("the ID token is not accepted")]
    IdToken(#[from] IdTokenError),
    /// No ID token although `openid` was asked.
    #[error("no ID token came with the tokens")]
    NoIdToken,
    /// A renewal that brought somebody else's ID token (`OpenID` Connect Core §12.2).
    #[error("the renewed ID token is somebody else's")]
    ForeignIdToken,
    /// An authorization response of another issuer, or of none (RFC 9207 §2.4).
    #[error("the authorization response is not of our issuer")]
    ResponseIssuer,

    // Ourselves.
    /// The client's credential cannot be used.
    #[error("the client's credential cannot be used")]
    Credential(#[from] CredentialError),
    /// A verifier that RFC 7636 §4.1 does not allow.
    #[error("the code verifier is not 43 to 128 unreserved characters")]
    Verifier,
    /// A request that could not be built.
    #[error("the request could not be built")]
    Request,
}

impl EntraError {
    /// What helps.
    pub fn remedy(&self) -> Remedy {
        match self {
            Self::Refused { refusal, stage, .. } => Remedy::of(refusal, *stage),
            Self::Throttled { .. }
            | Self::Unavailable { .. }
            | Self::Unreachable { .. }
            | Self::Pausing { .. } => Remedy::Later,
            // A captive portal or a half-broken proxy in between; it passes or it is seen in logs.
            Self::Status { endpoint: Endpoint::Token, .. } | Self::Malformed { .. } => {
                Remedy::Later
            }
            Self::Status { .. } | Self::Metadata(_) | Self::Keys(_) => Remedy::Misconfigured,
            // A good token of a user whom nobody has invited.
            Self::IdToken(IdTokenError::Tenant) => Remedy::Blocked,
            Self::IdToken(_) | Self::NoIdToken | Self::ForeignIdToken | Self::ResponseIssuer => {
                Remedy::Refuse
            }
            Self::Credential(_) | Self::Verifier | Self::Request => Remedy::Misconfigured,
        }
    }

    /// What Microsoft said, where it said something.
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused { refusal, .. } => Some(refusal),
            Self::Throttled { refusal, .. } | Self::Unavailable { refusal, .. } => {
                refusal.as_deref()
            }
            _ => None,
        }
    }

    /// The id under which Microsoft's support finds the request.
    pub fn correlation_id(&self) -> Option<&str> {
        self.refusal()?.correlation_id()
    }

    /// The id of Microsoft's answer.
    pub fn trace_id(&self) -> Option<&str> {
        self.refusal()?.trace_id()
    }

    /// When Microsoft refused, as it writes it.
    pub fn timestamp(&self) -> Option<&str> {
        self.refusal()?.timestamp()
    }

    /// The first AADSTS number.
    pub fn code(&self) -> Option<u32> {
        self.refusal()?.codes().first().copied()
    }

    /// The claims that the next authorization request must ask for, as JSON.
    pub fn claims_challenge(&self) -> Option<&str> {
        self.refusal()?.claims_challenge()
    }

    /// How long to leave Microsoft in peace, where it said so: at most an hour.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Throttled { retry_after, .. } | Self::Unavailable { retry_after, .. } => {
                *retry_after
            }
            Self::Refused { refusal, .. } if refusal.codes().contains(&LOOP_DETECTED) => {
                Some(LOOP_PAUSE)
            }
            _ => None,
        }
    }

    /// As a metric label.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Refused { refusal, .. } => refusal.word(),
            Self::Throttled { .. } => "throttled",
            Self::Unavailable { .. } => "unavailable",
            Self::Unreachable { .. } | Self::Pausing { .. } => "unreachable",
            Self::Status { .. } => "status",
            Self::Malformed { .. } => "malformed",
            Self::Metadata(_) => "metadata",
            Self::Keys(_) => "keys",
            Self::IdToken(_) => "id_token",
            Self::NoIdToken => "no_id_token",
            Self::ForeignIdToken => "foreign_id_token",
            Self::ResponseIssuer => "response_issuer",
            Self::Credential(_) => "credential",
            Self::Verifier | Self::Request => "request",
        }
    }
}

/// What an administrator can do about it, behind what Microsoft said.
fn advice(refusal: &Refusal) -> String {
    let advice = refusal.codes().iter().find_map(|code| advice::of(*code));
    advice.map_or_else(String::new, |advice| format!("; {advice}"))
}

/// An authorization response that is an error: what the callback got instead of a code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("microsoft refused the sign-in: {0}")]
pub struct AuthorizeError(Refusal);

impl AuthorizeError {
    /// Reads the callback's parameters; `None` when there is no `error` among them.
    pub fn from_parameters(find: impl Fn(&str) -> Option<String>) -> Option<Self> {
        Refusal::from_parameters(find).map(Self)
    }

    /// What Microsoft said, reduced to what may be shown.
    pub fn refusal(&self) -> &Refusal {
        &self.0
    }

    /// What helps.
    pub fn remedy(&self) -> Remedy {
        Remedy::of(&self.0, Stage::Authorize)
    }

    /// The `error` word, or `other` for one that no specification names.
    pub fn word(&self) -> &'static str {
        self.0.word()
    }

    /// The first AADSTS number.
    pub fn code(&self) -> Option<u32> {
        self.0.codes().first().copied()
    }
}
