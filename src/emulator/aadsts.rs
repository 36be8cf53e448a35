//! Entra's errors: an OAuth error, an AADSTS number, and the body or page that carries them.

use std::borrow::Cow;

use http::StatusCode;
use serde_json::{Value, json};

use crate::emulator::{
    call::{self, Answer, Call},
    timestamp,
};

/// One error, as the token endpoint's body, the redirect's parameters or the error page tell it.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) code: u32,
    pub(crate) error: Cow<'static, str>,
    pub(crate) text: String,
    pub(crate) suberror: Option<Cow<'static, str>>,
    /// `error_subcode`, at authorize alone.
    pub(crate) subcode: Option<&'static str>,
    /// JSON text of a claims challenge.
    pub(crate) claims: Option<String>,
    pub(crate) status: StatusCode,
}

impl Failure {
    pub(crate) fn new(
        code: u32,
        error: impl Into<Cow<'static, str>>,
        text: impl Into<String>,
    ) -> Self {
        Self {
            code,
            error: error.into(),
            text: text.into(),
            suberror: None,
            subcode: None,
            claims: None,
            status: StatusCode::BAD_REQUEST,
        }
    }

    pub(crate) fn invalid_request(code: u32, text: impl Into<String>) -> Self {
        Self::new(code, "invalid_request", text)
    }

    pub(crate) fn invalid_grant(code: u32, text: impl Into<String>) -> Self {
        Self::new(code, "invalid_grant", text)
    }

    /// AADSTS900144.
    pub(crate) fn missing(parameter: &str) -> Self {
        let text = format!("The request body must contain the following parameter: '{parameter}'.");
        Self::invalid_request(900_144, text)
    }

    pub(crate) fn sub(mut self, suberror: impl Into<Cow<'static, str>>) -> Self {
        self.suberror = Some(suberror.into());
        self
    }

    pub(crate) fn status(mut self, status: u16) -> Self {
        if let Ok(status) = StatusCode::from_u16(status) {
            self.status = status;
        }
        self
    }

    /// `AADSTSnnnn: text` and the ids, each on a line.
    pub(crate) fn description(&self, call: &Call) -> String {
        format!(
            "AADSTS{}: {}\r\nTrace ID: {}\r\nCorrelation ID: {}\r\nTimestamp: {}",
            self.code,
            self.text,
            call.trace_id,
            call.correlation_id,
            timestamp::of_error(call.now)
        )
    }

    pub(crate) fn body(&self, call: &Call) -> Value {
        let mut body = json!({
            "error": self.error,
            "error_description": self.description(call),
            "error_codes": [self.code],
            "timestamp": timestamp::of_error(call.now),
            "trace_id": call.trace_id,
            "correlation_id": call.correlation_id,
            "error_uri": self.uri(call),
        });
        if let Some(body) = body.as_object_mut() {
            if let Some(suberror) = &self.suberror {
                body.insert("suberror".to_owned(), suberror.as_ref().into());
            }
            if let Some(claims) = &self.claims {
                body.insert("claims".to_owned(), claims.as_str().into());
            }
        }
        body
    }

    /// The token endpoint's answer.
    pub(crate) fn into_json(self, call: &Call) -> Answer {
        call::json(self.status, &self.body(call))
    }

    /// What authorize sends back to the app.
    pub(crate) fn parameters(&self, call: &Call) -> Vec<(&'static str, String)> {
        let mut list = vec![
            ("error", self.error.clone().into_owned()),
            ("error_description", self.description(call)),
            ("error_uri", self.uri(call)),
        ];
        if let Some(subcode) = self.subcode {
            list.push(("error_subcode", subcode.to_owned()));
        }
        if let Some(suberror) = &self.suberror {
            list.push(("suberror", suberror.clone().into_owned()));
        }
        if let Some(claims) = &self.claims {
            list.push(("claims", claims.clone()));
        }
        list
    }

    fn uri(&self, call: &Call) -> String {
        format!("{}/error?code={}", call.base, self.code)
    }
}
