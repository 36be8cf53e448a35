//! One sign-in in progress: what binds Microsoft's answer to the browser that asked.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use hkdf::Hkdf;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::sign_in::return_to::ReturnTo;

/// A flow older than this is not redeemed (Microsoft's codes live as long).
pub(super) const FLOW_SECONDS: i64 = 600;

/// One sign-in in progress. State, nonce and PKCE verifier are derived from one 256-bit seed, so
/// that eight flows fit in one cookie.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Flow {
    seed: [u8; 32],
    /// When it began, seconds since 1970.
    pub(super) begun_at: i64,
    /// Where the browser goes afterwards: path and query.
    return_to: String,
    /// How often Microsoft's answer has already made us begin again.
    pub(super) restarts: u8,
}

impl Flow {
    /// Begins a sign-in that will end at `return_to`.
    ///
    /// # Errors
    /// The operating system gave no randomness.
    pub(super) fn begin(
        return_to: &ReturnTo,
        now: i64,
        restarts: u8,
    ) -> Result<Self, getrandom::Error> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)?;
        Ok(Self { seed, begun_at: now, return_to: return_to.as_str().to_owned(), restarts })
    }

    /// `state` of the authorization request (RFC 6749 §10.12).
    pub(super) fn state(&self) -> String {
        self.derive(b"state")
    }

    /// `nonce` of the authorization request (`OpenID` Connect Core §3.1.2.1).
    pub(super) fn nonce(&self) -> String {
        self.derive(b"nonce")
    }

    /// The PKCE code verifier, 256 bits in 43 characters (RFC 7636 §4.1, §7.1).
    pub(super) fn code_verifier(&self) -> String {
        self.derive(b"code_verifier")
    }

    /// Whether this is the flow of `state`, in constant time.
    pub(super) fn answers(&self, state: &str) -> bool {
        self.state().as_bytes().ct_eq(state.as_bytes()).into()
    }

    /// Whether it is too old to be redeemed. A begin in the future (a replica's clock) is fine.
    pub(super) fn is_stale(&self, now: i64) -> bool {
        now.saturating_sub(self.begun_at) > FLOW_SECONDS
    }

    /// Where the browser goes afterwards, as it was asked for.
    pub(super) fn return_to(&self) -> &str {
        &self.return_to
    }

    fn derive(&self, purpose: &[u8]) -> String {
        let mut output = Zeroizing::new([0_u8; 32]);
        let key = Hkdf::<Sha256>::new(None, &self.seed);
        // 32 bytes are within HKDF-SHA256's limit of 8,160, so this cannot fail.
        let expanded = key.expand(purpose, output.as_mut_slice());
        debug_assert!(expanded.is_ok(), "32 bytes are within HKDF's limit");
        URL_SAFE_NO_PAD.encode(output.as_slice())
    }
}

impl std::fmt::Debug for Flow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flow").field("begun_at", &self.begun_at).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_nonce_and_verifier_differ_and_are_valid_pkce_verifiers() {
        let flow = Flow::begin(&ReturnTo::home(), 0, 0).unwrap();
        let all = [flow.state(), flow.nonce(), flow.code_verifier()];
        for text in &all {
            assert_eq!(text.len(), 43);
            assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
        }
        assert!(all[0] != all[1] && all[1] != all[2] && all[0] != all[2]);
    }

    #[test]
    fn a_flow_answers_its_own_state_alone() {
        let [a, b] = [0, 0].map(|now| Flow::begin(&ReturnTo::home(), now, 0).unwrap());
        assert!(a.answers(&a.state()));
        assert!(!a.answers(&b.state()) && !a.answers(""));
    }

    #[test]
    fn a_flow_is_stale_after_ten_minutes() {
        let flow = Flow::begin(&ReturnTo::home(), 1_000, 0).unwrap();
        assert!(!flow.is_stale(1_600) && flow.is_stale(1_601) && !flow.is_stale(900));
    }
}
