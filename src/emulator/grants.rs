//! Authorization codes and refresh tokens: what each is bound to, and when it is good no more.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::{Mutex, PoisonError},
};

use sha2::{Digest as _, Sha256};

use crate::emulator::{aadsts::Failure, ids, scopes::Scopes};

/// Codes and refresh tokens kept at most; the oldest drop.
const KEPT: usize = 50_000;

/// What a user and a client have agreed on; access, refresh and ID tokens are made from it.
#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) user: usize,
    /// By place in the directory.
    pub(crate) app: usize,
    /// Resource tenant, by place in the directory.
    pub(crate) tenant: usize,
    pub(crate) scopes: Scopes,
    pub(crate) sid: String,
    pub(crate) auth_time: i64,
    pub(crate) mfa: bool,
    /// Authentication contexts satisfied at sign-in (`c1` …).
    pub(crate) contexts: BTreeSet<String>,
    /// The order of grants: revocation ends all that are older.
    pub(crate) sequence: u64,
}

/// A code in the drawer.
#[derive(Clone, Debug)]
pub(crate) struct Code {
    pub(crate) grant: Grant,
    pub(crate) redirect_uri: String,
    pub(crate) nonce: Option<String>,
    pub(crate) challenge: Option<Challenge>,
    /// `claims` of the authorize request.
    pub(crate) claims: Option<String>,
    pub(crate) expires: i64,
}

/// PKCE (RFC 7636 §4.2).
#[derive(Clone, Debug)]
pub(crate) enum Challenge {
    Plain(String),
    S256(String),
}

#[derive(Debug, Default)]
pub(crate) struct Grants {
    drawers: Mutex<Drawers>,
}

type Key = [u8; 32];

#[derive(Debug, Default)]
struct Drawers {
    codes: HashMap<Key, Option<Code>>,
    codes_in_order: VecDeque<Key>,
    refresh: HashMap<Key, Refresh>,
    refresh_in_order: VecDeque<Key>,
    sequence: u64,
}

#[derive(Clone, Debug)]
struct Refresh {
    grant: Grant,
    expires: i64,
}

impl Grants {
    /// The next place in the order of grants.
    pub(crate) fn next_sequence(&self) -> u64 {
        let mut drawers = self.drawers.lock().unwrap_or_else(PoisonError::into_inner);
        drawers.sequence += 1;
        drawers.sequence
    }

    /// Puts a code away. It has the length that Microsoft's had.
    pub(crate) fn issue_code(&self, code: Code) -> String {
        let text = format!("1.A{}", ids::random_text(662));
        let mut drawers = self.drawers.lock().unwrap_or_else(PoisonError::into_inner);
        let drawers = &mut *drawers;
        drawers.codes.insert(key(&text), Some(code));
        remember(&mut drawers.codes, &mut drawers.codes_in_order, key(&text));
        text
    }

    /// Takes a code out. It is gone with the first attempt, whatever comes of it.
    pub(crate) fn take_code(&self, text: &str, now: i64) -> Result<Code, Failure> {
        let mut drawers = self.drawers.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(place) = drawers.codes.get_mut(&key(text)) else {
            let text = "Invalid request. Request is malformed or invalid.";
            return Err(Failure::invalid_grant(9_002_313, text));
        };
        let Some(code) = place.take() else {
            let text = "OAuth2 Authorization code was already redeemed, please retry with a new \
                        valid code or use an existing refresh token.";
            return Err(Failure::invalid_grant(54_005, text));
        };
        if code.expires <= now {
            let text = "The provided authorization code or refresh token has expired due to \
                        inactivity. Send a new interactive authorization request for this user \
                        and resource.";
            return Err(Failure::invalid_grant(70_008, text));
        }
        Ok(code)
    }

    /// Puts a refresh token away and gives its text: opaque, about a kilobyte.
    pub(crate) fn issue_refresh_token(&self, grant: Grant, expires: i64) -> String {
        let length = usize::try_from(ids::random_between(1005, 1285)).unwrap_or(1100);
        let text = format!("1.A{}", ids::random_text(length));
        let mut drawers = self.drawers.lock().unwrap_or_else(PoisonError::into_inner);
        let drawers = &mut *drawers;
        drawers.refresh.insert(key(&text), Refresh { grant, expires });
        remember(&mut drawers.refresh, &mut drawers.refresh_in_order, key(&text));
        text
    }

    /// The grant behind a refresh token. Using it neither ends nor replaces it.
    pub(crate) fn refresh(&self, text: &str, now: i64) -> Result<Grant, Failure> {
        let drawers = self.drawers.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(refresh) = drawers.refresh.get(&key(text)) else {
            let text = "Invalid request. Request is malformed or invalid.";
            return Err(Failure::invalid_grant(9_002_313, text).sub("bad_token"));
        };
        if refresh.expires <= now {
            let text = "The refresh token has expired due to inactivity.";
            return Err(Failure::invalid_grant(700_082, text).sub("token_expired"));
        }
        Ok(refresh.grant.clone())
    }
}

fn key(text: &str) -> Key {
    Sha256::digest(text.as_bytes()).into()
}

fn remember<T>(map: &mut HashMap<Key, T>, order: &mut VecDeque<Key>, key: Key) {
    order.push_back(key);
    while order.len() > KEPT {
        if let Some(oldest) = order.pop_front() {
            map.remove(&oldest);
        }
    }
}

impl Challenge {
    /// `None`: the method is unknown.
    pub(crate) fn new(challenge: &str, method: Option<&str>) -> Option<Self> {
        match method {
            Some("S256") => Some(Self::S256(challenge.to_owned())),
            // A challenge without a method is read as plain.
            Some("plain") | None => Some(Self::Plain(challenge.to_owned())),
            Some(_) => None,
        }
    }

    pub(crate) fn admits(&self, verifier: &str) -> bool {
        use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
        match self {
            Self::Plain(challenge) => challenge == verifier,
            Self::S256(challenge) => {
                *challenge == BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_rfc_7636_appendix_b_is_admitted() {
        let challenge =
            Challenge::new("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM", Some("S256")).unwrap();
        assert!(challenge.admits("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"));
        assert!(!challenge.admits("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXK"));
    }

    #[test]
    fn a_challenge_without_a_method_is_plain() {
        assert!(Challenge::new("abc", None).unwrap().admits("abc"));
        assert!(Challenge::new("abc", Some("S512")).is_none());
    }
}
