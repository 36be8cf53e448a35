//! Query and form parameters, each at most once.

use std::borrow::Cow;

use http::{HeaderMap, header};

use crate::base::body::BodyError;

/// Longest query or form that is read (D5).
pub(super) const LONGEST: usize = 8 * 1024;
/// Longest form of Microsoft's answer by `form_post`: a code and a state.
pub(super) const LONGEST_FORM: u64 = 64 * 1024;

/// Why parameters were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParameterError {
    /// A parameter occurs twice: two readers would choose differently (RFC 6749 §3.1).
    #[error("a parameter occurs twice")]
    Repeated,
    /// Longer than 8 KiB (query) or 64 KiB (form).
    #[error("the parameters are too long")]
    TooLong,
    /// Not `application/x-www-form-urlencoded`.
    #[error("the form is not application/x-www-form-urlencoded")]
    NotAForm,
    /// Neither `code` nor `error`, or no `state`.
    #[error("a parameter is missing")]
    Missing,
    /// Bytes that are not UTF-8.
    #[error("a parameter is not UTF-8")]
    NotUtf8,
}

impl From<BodyError> for ParameterError {
    fn from(error: BodyError) -> Self {
        match error {
            BodyError::TooLarge(_) => Self::TooLong,
            BodyError::Broken(_) | BodyError::Idle(_) | BodyError::Pulled(_) => Self::Missing,
        }
    }
}

/// Whether the body is an urlencoded form.
pub(super) fn is_urlencoded(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = content_type.unwrap_or_default().split(';').next().unwrap_or_default();
    essence.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// Decoded parameters.
#[derive(Debug, Default)]
pub(super) struct Parameters<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Parameters<'a> {
    /// Of a request's query.
    pub(super) fn of_query(query: Option<&'a str>) -> Result<Self, ParameterError> {
        let query = query.unwrap_or_default();
        if query.len() > LONGEST {
            return Err(ParameterError::TooLong);
        }
        Self::parse(query.as_bytes())
    }

    /// Of a form or query that is short enough.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, ParameterError> {
        let pairs: Vec<_> = url::form_urlencoded::parse(bytes).collect();
        // The decoder replaces what is not UTF-8; such text was never ours or Microsoft's.
        let replaced = |text: &str| text.contains(char::REPLACEMENT_CHARACTER);
        if pairs.iter().any(|(name, value)| replaced(name) || replaced(value)) {
            return Err(ParameterError::NotUtf8);
        }
        Ok(Self(pairs))
    }

    /// The parameter `name`; an empty one counts as absent.
    pub(super) fn one(&self, name: &str) -> Result<Option<&str>, ParameterError> {
        let mut values = self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value);
        let first = values.next();
        if values.next().is_some() {
            return Err(ParameterError::Repeated);
        }
        Ok(first.map(Cow::as_ref).filter(|value| !value.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_parameter_is_refused_and_an_empty_one_is_absent() {
        let parameters = Parameters::of_query(Some("a=1&b=&c=2&c=3")).unwrap();
        assert_eq!(parameters.one("a"), Ok(Some("1")));
        assert_eq!(parameters.one("b"), Ok(None));
        assert_eq!(parameters.one("c"), Err(ParameterError::Repeated));
        assert_eq!(parameters.one("d"), Ok(None));
    }

    #[test]
    fn what_is_not_utf8_or_too_long_is_refused() {
        assert_eq!(Parameters::of_query(Some("a=%ff")).unwrap_err(), ParameterError::NotUtf8);
        let long = format!("a={}", "x".repeat(LONGEST));
        assert_eq!(Parameters::of_query(Some(&long)).unwrap_err(), ParameterError::TooLong);
    }
}
