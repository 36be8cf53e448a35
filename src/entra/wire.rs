//! One call to Microsoft: our headers on it, its time measured, its status judged before its body.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header::ACCEPT};
use tokio::time::sleep;
use url::Url;

use super::{
    error::{AnswerError, Endpoint, EntraError},
    json,
    refusal::Refusal,
    remedy::{Remedy, Stage},
    retry_after::retry_after,
};
use crate::base::{
    clock::Clock,
    metrics::Metrics,
    outbound::{Answer, Outbound, OutboundError},
};

/// Before the one further try (MSAL waits as long).
const BACK_OFF: Duration = Duration::from_secs(1);

const REQUEST_ID: HeaderName = HeaderName::from_static("client-request-id");
const RETURN_REQUEST_ID: HeaderName = HeaderName::from_static("return-client-request-id");
const SKU: HeaderName = HeaderName::from_static("x-client-sku");
const VERSION: HeaderName = HeaderName::from_static("x-client-ver");

/// Calls to Microsoft. Clones share connections and metrics.
#[derive(Clone, Debug)]
pub(super) struct Wire {
    outbound: Outbound,
    metrics: Metrics,
    clock: Clock,
}

impl Wire {
    pub(super) fn new(outbound: Outbound, metrics: Metrics, clock: Clock) -> Self {
        Self { outbound, metrics, clock }
    }

    pub(super) fn outbound(&self) -> &Outbound {
        &self.outbound
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(super) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Sends a request. Throttling and failures of Microsoft's are errors; any other answer, also
    /// a refusal, is for the caller to read.
    pub(super) async fn send(
        &self,
        endpoint: Endpoint,
        mut request: Request<Vec<u8>>,
    ) -> Result<Answer, EntraError> {
        let id = identify(request.headers_mut());
        let started = Instant::now();
        let sent = self.outbound.send(request).await;
        let took = started.elapsed();
        let judged = match sent {
            Ok(answer) => self.judge(endpoint, answer),
            Err(source) => Err(EntraError::Unreachable { endpoint, source }),
        };
        let outcome = match &judged {
            Ok(answer) if answer.status.is_success() => "ok",
            Ok(_) => "refused",
            Err(error) => error.word(),
        };
        self.metrics.entra(endpoint.word(), outcome, took);
        tracing::debug!(
            endpoint = endpoint.word(),
            outcome,
            client_request_id = id.as_ref().and_then(|id| id.to_str().ok()),
            duration_ms = took.as_millis(),
            "called microsoft"
        );
        judged
    }

    fn judge(&self, endpoint: Endpoint, answer: Answer) -> Result<Answer, EntraError> {
        let status = answer.status;
        if status != StatusCode::TOO_MANY_REQUESTS && !status.is_server_error() {
            return Ok(answer);
        }
        let retry_after = retry_after(&answer.headers, self.clock.unix());
        let refusal = refusal(&answer.body).map(Box::new);
        Err(match status {
            StatusCode::TOO_MANY_REQUESTS => EntraError::Throttled { retry_after, refusal },
            _ => EntraError::Unavailable { endpoint, status, retry_after, refusal },
        })
    }

    /// Reads a public document, with one further try if the first fault may pass.
    pub(super) async fn fetch(&self, endpoint: Endpoint, url: &Url) -> Result<Bytes, EntraError> {
        match self.fetch_once(endpoint, url).await {
            Err(error) if may_pass(&error) => {
                sleep(BACK_OFF).await;
                self.fetch_once(endpoint, url).await
            }
            fetched => fetched,
        }
    }

    async fn fetch_once(&self, endpoint: Endpoint, url: &Url) -> Result<Bytes, EntraError> {
        let request = Request::get(url.as_str())
            .header(ACCEPT, "application/json")
            .body(Vec::new())
            .map_err(|_| EntraError::Request)?;
        let answer = self.send(endpoint, request).await?;
        match (answer.status, refusal(&answer.body)) {
            (StatusCode::OK, _) => Ok(answer.body),
            (status, Some(refusal)) if status.is_client_error() => Err(EntraError::Refused {
                refusal: Box::new(refusal),
                status,
                stage: Stage::Discovery,
            }),
            (status, _) => Err(EntraError::Status { endpoint, status }),
        }
    }
}

/// Waits, then tries a request that is harmless to repeat once more.
pub(super) async fn back_off() {
    sleep(BACK_OFF).await;
}

/// Whether a further try a second later may succeed. Whoever says how long to wait is believed.
pub(super) fn may_pass(error: &EntraError) -> bool {
    match error {
        EntraError::Unreachable { source, .. } => {
            !matches!(source, OutboundError::Cancelled | OutboundError::TooLarge)
        }
        EntraError::Unavailable { retry_after, .. } => retry_after.is_none(),
        EntraError::Refused { refusal, .. } => {
            // AADSTS90055: the tenant is throttled.
            error.remedy() == Remedy::Later
                && error.retry_after().is_none()
                && !refusal.codes().contains(&90_055)
        }
        _ => false,
    }
}

fn refusal(body: &[u8]) -> Option<Refusal> {
    Refusal::from_body(&json::object(body).ok()?)
}

/// Reads an answer's object.
pub(super) fn object(
    endpoint: Endpoint,
    body: &[u8],
) -> Result<serde_json::Map<String, serde_json::Value>, EntraError> {
    json::object(body)
        .map_err(|error| EntraError::Malformed { endpoint, source: AnswerError::Json(error) })
}

/// Says who we are, never that we are MSAL, and gives the call an id that Microsoft's support can
/// look up.
fn identify(headers: &mut HeaderMap) -> Option<HeaderValue> {
    headers.insert(SKU, HeaderValue::from_static("vestibule"));
    headers.insert(VERSION, HeaderValue::from_static(env!("CARGO_PKG_VERSION")));
    let id = HeaderValue::from_str(&random_guid()?).ok()?;
    headers.insert(REQUEST_ID, id.clone());
    headers.insert(RETURN_REQUEST_ID, HeaderValue::from_static("true"));
    Some(id)
}

/// A random GUID (RFC 9562 §5.4); `None` when the system has no randomness, which is no reason
/// not to call.
pub(super) fn random_guid() -> Option<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).ok()?;
    let random = u128::from_be_bytes(bytes);
    let random = random & !(0xf << 76) | (4 << 76);
    let random = random & !(0x3 << 62) | (2 << 62);
    let hex = format!("{random:032x}");
    let part = |from, to| hex.get(from..to).unwrap_or_default();
    let parts = [part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32)];
    Some(parts.join("-"))
}

#[cfg(test)]
mod tests {
    use super::{super::authority::is_guid, *};

    #[test]
    fn a_request_id_is_a_random_guid_of_version_4() {
        let (one, other) = (random_guid().unwrap(), random_guid().unwrap());
        assert!(is_guid(&one) && one != other);
        assert_eq!(one.chars().nth(14), Some('4'));
        assert!("89ab".contains(one.chars().nth(19).unwrap()));
    }
}
