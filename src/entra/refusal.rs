//! What Microsoft says when it says no (RFC 6749 §5.2, with Microsoft's additions).
//!
//! Every text is checked before it is kept, since it may end up on a page or in a log;
//! `error_description` is read for numbers and ids alone.

use std::fmt;

use oauth2::ErrorResponse;
use serde::{Deserialize, Serialize, de::Error as _};
use serde_json::{Map, Value};

use super::json;

/// Longest claims challenge that is passed on; it travels in a URL.
const CLAIMS_BYTES: usize = 4096;
/// More numbers than Microsoft ever sends.
const CODES: usize = 16;

/// The `error` values of RFC 6749, `OpenID` Connect and Microsoft; nothing else is ever shown.
const WORDS: &[&str] = &[
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "unauthorized_client",
    "unsupported_grant_type",
    "unsupported_response_type",
    "invalid_scope",
    "invalid_resource",
    "access_denied",
    "server_error",
    "temporarily_unavailable",
    "login_required",
    "interaction_required",
    "consent_required",
    "account_selection_required",
    "invalid_request_object",
    "invalid_request_uri",
    "request_not_supported",
    "request_uri_not_supported",
    "registration_not_supported",
];

/// An error answer, reduced to what may be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    error: &'static str,
    suberror: Option<String>,
    codes: Vec<u32>,
    claims: Option<String>,
    correlation_id: Option<String>,
    trace_id: Option<String>,
    timestamp: Option<String>,
}

impl Refusal {
    /// Reads an error body; `None` if it has no `error`.
    pub(super) fn from_body(body: &Map<String, Value>) -> Option<Self> {
        let text = |key: &str| body.get(key).and_then(Value::as_str);
        let error = text("error")?;
        let listed = body.get("error_codes").and_then(Value::as_array).into_iter().flatten();
        let listed = listed.filter_map(number).take(CODES).collect();
        Some(Self::new(error, listed, text))
    }

    /// Reads the parameters of an authorization response.
    pub(super) fn from_parameters(find: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let error = find("error")?;
        let found: Vec<_> = [
            "error_description",
            "suberror",
            "error_subcode",
            "claims",
            "correlation_id",
            "trace_id",
            "timestamp",
        ]
        .into_iter()
        .filter_map(|name| Some((name, find(name)?)))
        .collect();
        let text = |key: &str| {
            found.iter().find(|(name, _)| *name == key).map(|(_, value)| value.as_str())
        };
        Some(Self::new(&error, Vec::new(), text))
    }

    fn new<'a>(error: &str, listed: Vec<u32>, text: impl Fn(&str) -> Option<&'a str>) -> Self {
        let description = Description(text("error_description").unwrap_or_default());
        let codes = if listed.is_empty() { description.codes() } else { listed };
        let suberror = text("suberror").or_else(|| text("error_subcode"));
        let id = |key: &str, label: &str| {
            text(key).or_else(|| description.labelled(label)).filter(|id| is_id(id))
        };
        Self {
            error: WORDS.iter().find(|word| **word == error).copied().unwrap_or("other"),
            suberror: suberror.filter(|word| is_word(word)).map(str::to_owned),
            codes,
            claims: text("claims").filter(|claims| is_challenge(claims)).map(str::to_owned),
            correlation_id: id("correlation_id", "Correlation ID:").map(str::to_owned),
            trace_id: id("trace_id", "Trace ID:").map(str::to_owned),
            timestamp: text("timestamp")
                .or_else(|| description.labelled("Timestamp:"))
                .filter(|time| is_time(time))
                .map(str::to_owned),
        }
    }

    /// The `error` word, or `other` for one that no specification names.
    pub fn word(&self) -> &'static str {
        self.error
    }

    /// Microsoft's finer word, such as `consent_required` or `bad_token`.
    pub fn suberror(&self) -> Option<&str> {
        self.suberror.as_deref()
    }

    /// The AADSTS numbers.
    pub fn codes(&self) -> &[u32] {
        &self.codes
    }

    /// The claims that the next authorization request must ask for, as JSON.
    pub fn claims_challenge(&self) -> Option<&str> {
        self.claims.as_deref()
    }

    /// The id under which Microsoft's support finds this request.
    pub fn correlation_id(&self) -> Option<&str> {
        self.correlation_id.as_deref()
    }

    /// The id of the answer.
    pub fn trace_id(&self) -> Option<&str> {
        self.trace_id.as_deref()
    }

    /// When it was refused, as Microsoft writes it.
    pub fn timestamp(&self) -> Option<&str> {
        self.timestamp.as_deref()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.error)?;
        if let Some(suberror) = &self.suberror {
            write!(f, "/{suberror}")?;
        }
        if let Some(code) = self.codes.first() {
            write!(f, " (AADSTS{code})")?;
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Refusal {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let body = Map::deserialize(deserializer)?;
        Self::from_body(&body).ok_or_else(|| D::Error::missing_field("error"))
    }
}

impl ErrorResponse for Refusal {}

/// `AADSTS50076: text\r\nTrace ID: …\r\nCorrelation ID: …\r\nTimestamp: …`, sometimes on one line.
struct Description<'a>(&'a str);

impl<'a> Description<'a> {
    fn codes(&self) -> Vec<u32> {
        let numbers = self.0.split("AADSTS").skip(1).filter_map(|rest| {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            rest.get(..digits)?.parse().ok()
        });
        numbers.take(CODES).collect()
    }

    fn labelled(&self, label: &str) -> Option<&'a str> {
        let (_, rest) = self.0.split_once(label)?;
        let rest = rest.trim_start_matches(' ');
        let end = match label {
            // The only value with a space in it.
            "Timestamp:" => rest.find(['\r', '\n']).unwrap_or(rest.len()),
            _ => rest.find(|c: char| c.is_whitespace()).unwrap_or(rest.len()),
        };
        rest.get(..end).map(str::trim_end)
    }
}

fn number(value: &Value) -> Option<u32> {
    match value {
        Value::Number(number) => number.as_u64().and_then(|number| u32::try_from(number).ok()),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

fn is_word(text: &str) -> bool {
    matches!(text.len(), 1..=64)
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn is_id(text: &str) -> bool {
    matches!(text.len(), 8..=64)
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn is_time(text: &str) -> bool {
    matches!(text.len(), 8..=40)
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b" :.+-".contains(&byte))
}

fn is_challenge(text: &str) -> bool {
    text.len() <= CLAIMS_BYTES && json::object(text.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn body(value: &Value) -> Refusal {
        Refusal::from_body(value.as_object().unwrap()).unwrap()
    }

    #[test]
    fn an_error_body_keeps_all_that_support_asks_for() {
        let refusal = body(&json!({
            "error": "invalid_grant",
            "error_description": "AADSTS50076: <b>text</b>\r\nTrace ID: aaaaaaaa-0000\r\n",
            "error_codes": [50076, "50079", -1, "x", 1e300],
            "timestamp": "2026-01-01 00:00:00Z",
            "trace_id": "11111111-2222-3333-4444-555555555555",
            "correlation_id": "66666666-2222-3333-4444-555555555555",
            "suberror": "basic_action",
            "claims": "{\"access_token\":{\"polids\":{\"essential\":true}}}",
        }));
        assert_eq!(refusal.word(), "invalid_grant");
        assert_eq!(refusal.codes(), [50076, 50079]);
        assert_eq!(refusal.suberror(), Some("basic_action"));
        assert_eq!(refusal.timestamp(), Some("2026-01-01 00:00:00Z"));
        assert_eq!(refusal.trace_id(), Some("11111111-2222-3333-4444-555555555555"));
        assert_eq!(refusal.correlation_id(), Some("66666666-2222-3333-4444-555555555555"));
        assert!(refusal.claims_challenge().unwrap().contains("polids"));
        assert_eq!(refusal.to_string(), "invalid_grant/basic_action (AADSTS50076)");
    }

    #[test]
    fn the_description_gives_what_the_fields_do_not() {
        for separator in ["\r\n", " "] {
            let description = [
                "AADSTS65004: User declined to consent.",
                "Trace ID: 0e0e0e0e-1111",
                "Correlation ID: 1f1f1f1f-2222",
                "Timestamp: 2026-01-01 00:00:00Z",
            ]
            .join(separator);
            let refusal = Refusal::from_parameters(|name| match name {
                "error" => Some("access_denied".to_owned()),
                "error_description" => Some(description.clone()),
                "error_subcode" => Some("cancel".to_owned()),
                _ => None,
            })
            .unwrap();
            assert_eq!(refusal.codes(), [65004]);
            assert_eq!(refusal.suberror(), Some("cancel"));
            assert_eq!(refusal.trace_id(), Some("0e0e0e0e-1111"));
            assert_eq!(refusal.correlation_id(), Some("1f1f1f1f-2222"));
            assert_eq!(refusal.timestamp(), Some("2026-01-01 00:00:00Z"));
        }
    }

    #[test]
    fn nothing_that_a_page_could_reflect_is_kept() {
        let evil = "<script>alert(1)</script>";
        let refusal = body(&json!({
            "error": evil, "error_description": evil, "suberror": evil, "claims": evil,
            "correlation_id": evil, "trace_id": evil, "timestamp": evil, "error_codes": evil,
        }));
        assert_eq!(refusal.word(), "other");
        assert!(!format!("{refusal:?}{refusal}").contains("script"));
    }

    #[test]
    fn a_body_without_an_error_is_not_a_refusal() {
        for value in [json!({}), json!({"error": {"code": "x"}}), json!({"error": 1})] {
            assert_eq!(Refusal::from_body(value.as_object().unwrap()), None);
        }
    }
}
