//! Graph, asked with whatever credential came with the request.

use http::{HeaderValue, Request, StatusCode, header};
use serde::Serialize;

use crate::base::outbound::Outbound;

/// Where Graph is.
#[derive(Debug)]
pub(super) struct Graph {
    me: String,
    outbound: Outbound,
}

/// What Graph said, ready to be shown.
#[derive(Debug, Serialize)]
pub(super) struct GraphAnswer {
    /// In plain words.
    summary: String,
    /// Pretty JSON.
    json: Option<String>,
    /// The name that people call the visitor.
    display_name: Option<String>,
    asked: bool,
    fine: bool,
}

impl Graph {
    pub(super) fn new(origin: &str, outbound: Outbound) -> Self {
        Self { me: format!("{}/v1.0/me", origin.trim_end_matches('/')), outbound }
    }

    pub(super) async fn who_is(&self, credential: Option<&HeaderValue>) -> GraphAnswer {
        let Some(credential) = credential else {
            let summary = "The app was given no Authorization header, so it did not ask.".into();
            return GraphAnswer { asked: false, ..failed(summary) };
        };
        let request = Request::get(&self.me)
            .header(header::AUTHORIZATION, credential)
            .header(header::ACCEPT, "application/json")
            .body(Vec::new());
        let Ok(request) = request else {
            return failed(format!("{} is not an address.", self.me));
        };
        match self.outbound.send(request).await {
            Ok(answer) => spoken(answer.status, &answer.body),
            Err(error) => failed(format!("Graph did not answer: {error}.")),
        }
    }
}

fn spoken(status: StatusCode, body: &[u8]) -> GraphAnswer {
    let json = serde_json::from_slice::<serde_json::Value>(body).ok();
    let pretty = json.as_ref().and_then(|json| serde_json::to_string_pretty(json).ok());
    let text = |pointer| json.as_ref()?.pointer(pointer)?.as_str().map(str::to_owned);
    if status.is_success() {
        let display_name = text("/displayName");
        let summary = format!("Graph answered {status}.");
        return GraphAnswer { summary, json: pretty, display_name, asked: true, fine: true };
    }
    let why = match status {
        StatusCode::UNAUTHORIZED => " It did not accept the token.",
        StatusCode::FORBIDDEN => " The token does not allow to read that.",
        StatusCode::TOO_MANY_REQUESTS => " It was asked too often.",
        status if status.is_server_error() => " It has trouble of its own.",
        _ => "",
    };
    let message = text("/error/message").map(|message| format!(" It says: {message}"));
    let summary = format!("Graph answered {status}.{why}{}", message.unwrap_or_default());
    GraphAnswer { summary, json: pretty, display_name: None, asked: true, fine: false }
}

fn failed(summary: String) -> GraphAnswer {
    GraphAnswer { summary, json: None, display_name: None, asked: true, fine: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_laid_out_for_reading() {
        let answer = spoken(StatusCode::OK, br#"{"displayName":"Alice","mail":null}"#);
        assert_eq!(answer.display_name.as_deref(), Some("Alice"));
        assert_eq!(
            answer.json.as_deref(),
            Some("{\n  \"displayName\": \"Alice\",\n  \"mail\": null\n}")
        );
    }

    #[test]
    fn a_refusal_is_told_in_plain_words() {
        let body = br#"{"error":{"code":"InvalidAuthenticationToken","message":"Lifetime over."}}"#;
        let answer = spoken(StatusCode::UNAUTHORIZED, body);
        assert!(!answer.fine);
        assert_eq!(
            answer.summary,
            "Graph answered 401 Unauthorized. It did not accept the token. It says: Lifetime over."
        );
        let answer = spoken(StatusCode::BAD_GATEWAY, b"<html>");
        assert_eq!(answer.summary, "Graph answered 502 Bad Gateway. It has trouble of its own.");
        assert_eq!(answer.json, None);
    }
}
