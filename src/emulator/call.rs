//! One request as the emulator's rooms see it, and the answers that they give.

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, LOCATION, PRAGMA, SET_COOKIE, X_CONTENT_TYPE_OPTIONS},
    request::Parts,
};
use http_body_util::Full;
use serde_json::Value;
use url::form_urlencoded;

use crate::emulator::ids;

/// What the emulator answers.
pub(crate) type Answer = Response<Full<Bytes>>;

/// One request.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: Params,
    /// The body, where it is a form.
    pub(crate) form: Params,
    pub(crate) body: Bytes,
    pub(crate) headers: HeaderMap,
    /// Scheme and authority by which the caller reached us: everything we say derives from it.
    pub(crate) base: String,
    /// Our name for this request.
    pub(crate) trace_id: String,
    /// The caller's name for it (`client-request-id`), else ours.
    pub(crate) correlation_id: String,
    /// Seconds since 1970.
    pub(crate) now: i64,
}

/// Decoded pairs of a query or a form, in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Params(Vec<(String, String)>);

impl Params {
    pub(crate) fn parse(encoded: &[u8]) -> Self {
        Self(form_urlencoded::parse(encoded).into_owned().collect())
    }

    /// The value of `name`; an empty one counts as absent.
    pub(crate) fn one(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, value)| key == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The first name that occurs twice.
    pub(crate) fn repeated(&self) -> Option<&str> {
        self.0.iter().enumerate().find_map(|(index, (name, _))| {
            self.0.iter().take(index).any(|(other, _)| other == name).then_some(name.as_str())
        })
    }

    /// The same without some names and with others added, as a query.
    pub(crate) fn query_with(&self, without: &[&str], with: &[(&str, &str)]) -> String {
        form_urlencoded::Serializer::new(String::new())
            .extend_pairs(self.iter().filter(|(name, _)| !without.contains(name)))
            .extend_pairs(with)
            .finish()
    }
}

impl Call {
    pub(crate) fn new(head: Parts, body: Bytes, base: String, now: i64) -> Self {
        let query = Params::parse(head.uri.query().unwrap_or_default().as_bytes());
        let is_form = head
            .headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| value.starts_with("application/x-www-form-urlencoded"));
        let form = if is_form { Params::parse(&body) } else { Params::default() };
        let trace_id = ids::random_guid();
        let correlation_id = head
            .headers
            .get("client-request-id")
            .and_then(|value| value.to_str().ok())
            .or_else(|| query.one("client-request-id"))
            .or_else(|| form.one("client-request-id"))
            .filter(|id| ids::is_guid(id))
            .map_or_else(ids::random_guid, str::to_owned);
        let path = head.uri.path().to_owned();
        Self {
            method: head.method,
            path,
            query,
            form,
            body,
            headers: head.headers,
            base,
            trace_id,
            correlation_id,
            now,
        }
    }

    /// A parameter of the form, or else of the query.
    pub(crate) fn param(&self, name: &str) -> Option<&str> {
        self.form.one(name).or_else(|| self.query.one(name))
    }

    pub(crate) fn header(&self, name: impl http::header::AsHeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// The value of one of our cookies.
    pub(crate) fn cookie(&self, name: &str) -> Option<&str> {
        self.headers
            .get_all(http::header::COOKIE)
            .iter()
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.split(';'))
            .find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
    }

    pub(crate) fn is_https(&self) -> bool {
        self.base.starts_with("https:")
    }
}

fn answer(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

/// JSON that may be cached like Microsoft's metadata.
pub(crate) fn public_json(body: &Value) -> Answer {
    let mut answer = answer(StatusCode::OK, "application/json; charset=utf-8", body.to_string());
    let lines = answer.headers_mut();
    lines.insert(CACHE_CONTROL, HeaderValue::from_static("max-age=86400, private"));
    lines.insert("access-control-allow-origin", HeaderValue::from_static("*"));
    answer
}

/// JSON that nobody may keep.
pub(crate) fn json(status: StatusCode, body: &Value) -> Answer {
    no_store(answer(status, "application/json; charset=utf-8", body.to_string()))
}

/// A page of ours, which nobody may frame.
pub(crate) fn page(status: StatusCode, html: String) -> Answer {
    let mut answer = no_store(answer(status, "text/html; charset=utf-8", html));
    answer.headers_mut().insert("x-frame-options", HeaderValue::from_static("DENY"));
    answer.headers_mut().insert("referrer-policy", HeaderValue::from_static("no-referrer"));
    let policy = HeaderValue::from_static(
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
         frame-src *; frame-ancestors 'none'; base-uri 'none'",
    );
    answer.headers_mut().insert("content-security-policy", policy);
    answer
}

/// 302 to `location`.
pub(crate) fn redirect(location: &str) -> Answer {
    let mut answer = no_store(answer(StatusCode::FOUND, "text/html; charset=utf-8", Bytes::new()));
    // Anything that is not a header value has been refused as a redirect URI before.
    if let Ok(location) = HeaderValue::from_str(location) {
        answer.headers_mut().insert(LOCATION, location);
    }
    answer
}

/// Nothing to say.
pub(crate) fn no_content() -> Answer {
    let mut answer = Response::new(Full::default());
    *answer.status_mut() = StatusCode::NO_CONTENT;
    answer
}

pub(crate) fn with_cookie(mut answer: Answer, cookie: &str) -> Answer {
    if let Ok(cookie) = HeaderValue::from_str(cookie) {
        answer.headers_mut().append(SET_COOKIE, cookie);
    }
    answer
}

fn no_store(mut answer: Answer) -> Answer {
    let lines = answer.headers_mut();
    lines.insert(CACHE_CONTROL, HeaderValue::from_static("no-store, no-cache"));
    lines.insert(PRAGMA, HeaderValue::from_static("no-cache"));
    lines.insert(http::header::EXPIRES, HeaderValue::from_static("-1"));
    answer
}

/// The headers that every answer of Microsoft's login host carries.
pub(crate) fn with_service_headers(
    mut answer: Answer,
    call_id: &str,
    correlation_id: Option<&str>,
) -> Answer {
    let lines = answer.headers_mut();
    let mut set = |name: &'static str, value: &str| {
        if let Ok(value) = HeaderValue::from_str(value) {
            lines.insert(HeaderName::from_static(name), value);
        }
    };
    set("x-ms-request-id", call_id);
    set("x-ms-ests-server", "2.1.0 - emulator");
    set("x-ms-clitelem", "1,0,0,,");
    if let Some(id) = correlation_id {
        set("client-request-id", id);
    }
    answer
}
