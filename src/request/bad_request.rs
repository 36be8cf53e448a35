//! Every way in which a request can have no single meaning: [`BadRequest`].

use http::StatusCode;

use super::{framing::FramingError, host::HostError, target::TargetError};

/// Why a request is refused before anybody looks at rules or sessions. `Display` repeats nothing of
/// the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// CONNECT, TRACE and their like.
    #[error("the method is never forwarded")]
    Method,
    /// A target that two parsers could read differently, or that is too long.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// Not one host, or not ours.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A scheme that is not the web's.
    #[error("the target's scheme is neither http nor https")]
    Scheme,
    /// A body that two parsers could cut differently.
    #[error(transparent)]
    Framing(#[from] FramingError),
    /// Two lines of a field that may be there once.
    #[error("the request has two Authorization fields")]
    TwoAuthorizations,
    /// More fields than any browser sends.
    #[error("the request has too many fields")]
    TooManyFields,
    /// More body than the rule takes.
    #[error("the body is larger than is taken here")]
    LargeBody,
    /// A WebSocket handshake with a body: its bytes could be taken for frames, or frames for it.
    #[error("a WebSocket handshake must not have a body")]
    UpgradeWithBody,
}

impl BadRequest {
    /// The status that answers it.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Target(TargetError::TooLong) => StatusCode::URI_TOO_LONG,
            Self::Target(_) | Self::Scheme => StatusCode::BAD_REQUEST,
            Self::Host(HostError::Foreign) => StatusCode::MISDIRECTED_REQUEST,
            Self::Host(_) => StatusCode::BAD_REQUEST,
            Self::Framing(FramingError::UnknownCoding) => StatusCode::NOT_IMPLEMENTED,
            Self::Framing(FramingError::Expectation) => StatusCode::EXPECTATION_FAILED,
            Self::Framing(_) => StatusCode::BAD_REQUEST,
            Self::TwoAuthorizations | Self::UpgradeWithBody => StatusCode::BAD_REQUEST,
            Self::TooManyFields => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::LargeBody => StatusCode::PAYLOAD_TOO_LARGE,
        }
    }

    /// A fixed word for logs and metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Target(TargetError::TooLong) => "long_target",
            Self::Target(_) | Self::Scheme => "ambiguous_target",
            Self::Host(HostError::Foreign | HostError::ForeignTarget) => "foreign_host",
            Self::Host(_) => "bad_host",
            Self::Framing(FramingError::Expectation) => "expectation",
            Self::Framing(_) => "framing",
            Self::TwoAuthorizations => "duplicate_field",
            Self::TooManyFields => "many_fields",
            Self::LargeBody => "large_body",
            Self::UpgradeWithBody => "upgrade_with_body",
        }
    }

    /// Whether the connection must close after the answer: where the next request begins is in
    /// doubt.
    pub fn closes_connection(&self) -> bool {
        match self {
            Self::Framing(FramingError::Expectation) => false,
            Self::Framing(_) | Self::UpgradeWithBody | Self::Method => true,
            Self::Target(_) | Self::Host(_) | Self::Scheme => false,
            Self::TwoAuthorizations | Self::TooManyFields | Self::LargeBody => false,
        }
    }
}
