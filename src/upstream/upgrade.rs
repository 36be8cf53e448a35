//! The handshake of a WebSocket: a tunnel begins with the app's 101 and with nothing else.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE},
};

use crate::request::Upgrade;

/// The word of an upgrade in both handshakes.
fn word(upgrade: Upgrade) -> HeaderValue {
    match upgrade {
        Upgrade::WebSocket | Upgrade::ExtendedWebSocket => HeaderValue::from_static("websocket"),
    }
}

/// Asks for `upgrade` (RFC 9110 §7.8), on a request or on the 101 that grants it.
pub(super) fn name(upgrade: Upgrade, headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, word(upgrade));
}

/// The key of a handshake that we make for a client on HTTP/2, where RFC 8441 §5 needs none.
#[derive(Debug)]
pub(super) struct Key(String);

/// RFC 6455 §1.3.
const ACCEPT_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

impl Key {
    pub(super) fn generate() -> Result<Self, getrandom::Error> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce)?;
        Ok(Self(STANDARD.encode(nonce)))
    }

    /// Puts the key into the handshake, whatever the client said.
    pub(super) fn ask(&self, headers: &mut HeaderMap) {
        if let Ok(value) = HeaderValue::from_str(&self.0) {
            headers.insert(SEC_WEBSOCKET_KEY, value);
        }
    }

    /// Whether the app has read this key, and so speaks RFC 6455 and not something else.
    fn is_accepted(&self, headers: &HeaderMap) -> bool {
        let text = format!("{}{ACCEPT_SUFFIX}", self.0);
        let hash = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
        let accept = headers.get(SEC_WEBSOCKET_ACCEPT);
        accept.is_some_and(|accept| accept.as_bytes() == STANDARD.encode(hash).as_bytes())
    }
}

/// Makes an app's 101 the client's: in HTTP/2 it is a 200 (RFC 8441 §5.1).
pub(super) fn grant<B>(upgrade: Upgrade, key: Option<&Key>, response: &mut Response<B>) {
    if key.is_some() {
        *response.status_mut() = StatusCode::OK;
        response.headers_mut().remove(SEC_WEBSOCKET_ACCEPT);
    } else {
        name(upgrade, response.headers_mut());
    }
}

/// Whether a response switches to `wanted`; `Err` when it switches to anything else. What follows
/// such a response is not HTTP, so it can neither be passed on nor ignored.
pub(super) fn granted<B>(
    wanted: Option<Upgrade>,
    key: Option<&Key>,
    response: &Response<B>,
) -> Result<Option<Upgrade>, ()> {
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        // To a client on HTTP/2 a 2xx would say that the tunnel stands.
        let looks_granted = key.is_some() && response.status().is_success();
        return if looks_granted { Err(()) } else { Ok(None) };
    }
    if key.is_some_and(|key| !key.is_accepted(response.headers())) {
        return Err(());
    }
    let wanted = wanted.ok_or(())?;
    let mut lines = response.headers().get_all(UPGRADE).iter();
    match (lines.next(), lines.next()) {
        (Some(line), None) if line.as_bytes().eq_ignore_ascii_case(word(wanted).as_bytes()) => {
            Ok(Some(wanted))
        }
        _ => Err(()),
    }
}
