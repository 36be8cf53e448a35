//! Answers that a fault scripts, and right answers that it bends.

use bytes::Bytes;
use http::{
    HeaderValue, Response, StatusCode,
    header::{CONTENT_TYPE, LOCATION, RETRY_AFTER},
};
use http_body_util::{BodyExt as _, Full};
use serde_json::Value;

use crate::emulator::{
    aadsts::Failure,
    call::{Answer, Call},
    faults::Fault,
};

/// The error that a fault scripts.
pub(crate) fn failure(fault: &Fault) -> Failure {
    let status = fault.status.unwrap_or(400);
    let (code, error) = match status {
        429 => (90_055, "temporarily_unavailable"),
        500.. => (90_033, "temporarily_unavailable"),
        _ => (70_000, "invalid_grant"),
    };
    let text = fault.description.clone().unwrap_or_else(|| "A fault was scripted.".to_owned());
    let error = fault.error.clone().unwrap_or_else(|| error.to_owned());
    let mut failure = Failure::new(fault.code.unwrap_or(code), error, text).status(status);
    failure.suberror = fault.suberror.clone().map(Into::into);
    failure.claims.clone_from(&fault.claims);
    failure
}

/// The whole answer that a fault scripts.
pub(crate) fn answer(fault: &Fault, call: &Call) -> Answer {
    let mut answer = match (&fault.location, &fault.body) {
        (Some(location), _) => {
            let mut answer = Response::new(Full::default());
            *answer.status_mut() = StatusCode::FOUND;
            if let Ok(location) = HeaderValue::from_str(location) {
                answer.headers_mut().insert(LOCATION, location);
            }
            answer
        }
        (None, Some(body)) => {
            let kind = fault.content_type.as_deref().unwrap_or("text/html; charset=utf-8");
            let mut answer = Response::new(Full::new(Bytes::from(body.clone())));
            if let Ok(kind) = HeaderValue::from_str(kind) {
                answer.headers_mut().insert(CONTENT_TYPE, kind);
            }
            answer
        }
        (None, None) => failure(fault).into_json(call),
    };
    if let Some(status) = fault.status.and_then(|status| StatusCode::from_u16(status).ok()) {
        *answer.status_mut() = status;
    }
    answer
}

/// Members set, removed and replaced; `Retry-After`; padding.
pub(crate) async fn bend(fault: &Fault, answer: Answer) -> Answer {
    let (mut head, body) = answer.into_parts();
    #[expect(clippy::disallowed_methods, reason = "a body of our own that is in memory")]
    let mut body = match body.collect().await {
        Ok(body) => body.to_bytes(),
        Err(never) => match never {},
    };
    if let Ok(Value::Object(mut members)) = serde_json::from_slice::<Value>(&body) {
        if fault.expires_in.is_some() && members.contains_key("access_token") {
            match &fault.expires_in {
                Some(Value::String(text)) if text == "absent" => drop(members.remove("expires_in")),
                Some(value) => drop(members.insert("expires_in".to_owned(), value.clone())),
                None => {}
            }
        }
        members.extend(fault.set.clone());
        for name in &fault.remove {
            members.remove(name);
        }
        body = Value::Object(members).to_string().into();
    }
    if let Some(padding) = fault.padding {
        let mut padded = body.to_vec();
        let more = usize::try_from(padding.bytes()).unwrap_or(usize::MAX);
        padded.resize(body.len().saturating_add(more), b' ');
        body = padded.into();
    }
    if let Some(seconds) = fault.retry_after {
        head.headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    Response::from_parts(head, Full::new(body))
}
