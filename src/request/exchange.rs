//! What travels with one request: its id, who sent it, when it began, and what its response must
//! carry whatever the outcome.

use std::{
    cell::RefCell,
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderValue, Method, Uri};

use super::{
    intent::Intent,
    peer::{ClientAddress, Peer, peer_address},
};

/// One request's luggage. Plain data, passed explicitly.
#[derive(Debug)]
pub struct Exchange {
    /// `X-Request-Id`: a random UUID, or that of a trusted proxy.
    pub request_id: String,
    /// Who is at the other end.
    pub peer: Peer,
    /// Whose request it is, as far as we believe the proxies in front of us.
    pub client: ClientAddress,
    /// When the head was read.
    pub started: Instant,
    /// What kind of caller it is, which decides between a page and JSON.
    pub intent: Intent,
    /// The method, for the access line.
    pub method: Method,
    /// The target as it came, for the access line: see [`Exchange::path`].
    pub uri: Uri,
    /// `Set-Cookie` lines of ours, sent whatever the outcome.
    pub set_cookies: Vec<HeaderValue>,
    /// The session that came with the request ended with it: its cookies deserve clearing.
    pub session_ended: bool,
    /// Where a sign-in that is in progress will end, as far as it is known: path, query, fragment.
    pub wanted: Option<String>,
    /// What was decided; a request that nobody decided about is an error.
    pub decision: Verdict,
    /// Why, in a fixed word or two.
    pub reason: &'static str,
    /// The rule that decided, as written in the configuration.
    pub rule: Option<Arc<str>>,
    /// How long the app took until its response's head.
    pub upstream: Option<Duration>,
    /// When that head came.
    pub answered: Option<Instant>,
    /// Object id and user name, for the access line where `[log] user` is on.
    pub user: Option<String>,
}

/// What happened to a request: `decision` in the access line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A signed-in user reached the app.
    Allow,
    /// Nobody in particular reached the app.
    Anonymous,
    /// The browser was sent to Microsoft.
    SignIn,
    /// A script was told to sign in.
    LoginRequired,
    /// Refused.
    Forbid,
    /// One of our own URLs.
    Own,
    /// Something went wrong.
    Error,
}

impl Verdict {
    /// The word in logs and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Anonymous => "anonymous",
            Self::SignIn => "sign_in",
            Self::LoginRequired => "login_required",
            Self::Forbid => "forbid",
            Self::Own => "own",
            Self::Error => "error",
        }
    }
}

impl Exchange {
    /// Begins an exchange with a request id of our own.
    pub fn begin(peer: Peer, method: Method, uri: &Uri) -> Self {
        Self {
            request_id: random_id(),
            peer,
            client: ClientAddress(peer_address(&peer)),
            started: Instant::now(),
            intent: Intent::Script,
            method,
            uri: uri.clone(),
            set_cookies: Vec::new(),
            session_ended: false,
            wanted: None,
            decision: Verdict::Error,
            reason: "undecided",
            rule: None,
            upstream: None,
            answered: None,
            user: None,
        }
    }

    /// The path without its query: queries may hold secrets.
    pub fn path(&self) -> &str {
        self.uri.path()
    }

    /// From the request's head to the response's, where the response is there now.
    pub fn took(&self) -> Duration {
        let answered = self.answered.unwrap_or_else(Instant::now);
        answered.saturating_duration_since(self.started)
    }

    /// Whether a person looks at the answer.
    pub fn wants_page(&self) -> bool {
        matches!(self.intent, Intent::Navigation | Intent::FormPost)
    }

    /// Notes what was decided, and why.
    pub fn decide(&mut self, decision: Verdict, reason: &'static str) {
        self.decision = decision;
        self.reason = reason;
    }
}

thread_local! {
    /// Randomness for the next ids: asking the system costs more than the rest of an id.
    static DRAWN: RefCell<Vec<[u8; ID_BYTES]>> = const { RefCell::new(Vec::new()) };
}

const ID_BYTES: usize = 16;
/// Ids per call of the system.
const DRAW: usize = 32;

/// A random UUID (version 4, RFC 9562 §5.4). An id that cannot be random is empty: it names a
/// request and protects nothing.
fn random_id() -> String {
    let Some(mut bytes) = DRAWN.with_borrow_mut(draw) else { return String::new() };
    let [_, _, _, _, _, _, version, _, variant, ..] = &mut bytes;
    *version = *version & 0x0f | 0x40;
    *variant = *variant & 0x3f | 0x80;
    let mut id = String::with_capacity(36);
    for (place, byte) in bytes.into_iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            id.push('-');
        }
        id.push(hex(byte >> 4));
        id.push(hex(byte & 0x0f));
    }
    id
}

fn draw(drawn: &mut Vec<[u8; ID_BYTES]>) -> Option<[u8; ID_BYTES]> {
    if drawn.is_empty() {
        let mut bytes = [0; ID_BYTES * DRAW];
        getrandom::fill(&mut bytes).ok()?;
        drawn.extend(bytes.as_chunks().0);
    }
    drawn.pop()
}

fn hex(digit: u8) -> char {
    char::from(if digit < 10 { b'0' + digit } else { b'a' - 10 + digit })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_request_id_is_another_version_4_uuid() {
        let ids: HashSet<String> = (0..3 * DRAW).map(|_| random_id()).collect();
        assert_eq!(ids.len(), 3 * DRAW);
        for id in ids {
            let parts: Vec<&str> = id.split('-').collect();
            assert_eq!(parts.iter().map(|part| part.len()).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
            assert!(parts[2].starts_with('4'), "{id}");
            assert!(parts[3].starts_with(['8', '9', 'a', 'b']), "{id}");
            assert!(
                id.bytes().all(|b| b == b'-' || matches!(b, b'0'..=b'9' | b'a'..=b'f')),
                "{id}"
            );
        }
    }
}
