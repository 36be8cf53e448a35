//! Where the browser is sent: to sign in (RFC 6749 §4.1.1 with PKCE) and to sign out.

use std::fmt;

use oauth2::{CsrfToken, PkceCodeChallenge, PkceCodeVerifier};
use url::Url;

use super::{
    EntraClient, error::EntraError, metadata::MetadataError, token_endpoint::oauth_client,
};

/// Longest `login_hint` that is passed on; the opaque ones are a few hundred characters.
const HINT_BYTES: usize = 1024;

/// One sign-in to be asked for.
pub struct AuthorizeRequest<'a> {
    /// What comes back with the code.
    pub state: &'a str,
    /// What the ID token must repeat.
    pub nonce: &'a str,
    /// The secret of RFC 7636, 43 to 128 characters; its S256 challenge is what is sent.
    pub code_verifier: &'a str,
    /// In place of the configured prompt; a word that Microsoft does not know is left out.
    pub prompt: Option<&'a str>,
    /// Who is expected.
    pub login_hint: Option<&'a str>,
    /// In place of the configured hint.
    pub domain_hint: Option<&'a str>,
    /// A claims challenge to be answered, as JSON.
    pub claims: Option<&'a str>,
}

/// Without state, nonce and verifier: whoever knows them can finish the sign-in.
impl fmt::Debug for AuthorizeRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthorizeRequest").field("prompt", &self.prompt).finish_non_exhaustive()
    }
}

impl EntraClient {
    /// Where to send the browser for a sign-in.
    ///
    /// # Errors
    /// Metadata is not known and cannot be fetched; or the verifier is not one.
    pub async fn authorize_url(&self, request: &AuthorizeRequest<'_>) -> Result<Url, EntraError> {
        let challenge = challenge(request.code_verifier)?;
        let metadata = self.metadata.current().await?;
        let client = oauth_client(&metadata, &self.client_id, &self.redirect_uri);
        let prompt = request.prompt.and_then(known_prompt).or(self.prompt);
        // Microsoft refuses a hint beside the account picker.
        let login_hint =
            request.login_hint.filter(|hint| prompt != Some("select_account") && is_hint(hint));
        // A known user says more than the configured domain.
        let configured = self.domain_hint.as_deref().filter(|_| login_hint.is_none());
        let domain_hint = request.domain_hint.filter(|hint| is_hint(hint)).or(configured);
        let scopes = self.scopes.iter().map(|scope| oauth2::Scope::new(scope.to_owned()));
        let mut authorization = client
            .authorize_url(|| CsrfToken::new(request.state.to_owned()))
            .add_scopes(scopes)
            .set_pkce_challenge(challenge)
            .add_extra_param("response_mode", self.response_mode.as_str())
            .add_extra_param("nonce", request.nonce);
        let optional = [
            ("prompt", prompt),
            ("login_hint", login_hint),
            ("domain_hint", domain_hint),
            ("claims", request.claims),
        ];
        for (name, value) in optional {
            if let Some(value) = value {
                authorization = authorization.add_extra_param(name, value);
            }
        }
        Ok(authorization.url().0)
    }

    /// Where to send the browser for Microsoft's sign-out; `post_logout` must be registered.
    ///
    /// # Errors
    /// Metadata is not known and cannot be fetched, or names no such address.
    pub async fn end_session_url(
        &self,
        post_logout: &Url,
        login_hint: Option<&str>,
    ) -> Result<Url, EntraError> {
        let metadata = self.metadata.current().await?;
        let missing = MetadataError::Missing("end_session_endpoint");
        let mut url = metadata.end_session.clone().ok_or(missing)?;
        url.query_pairs_mut().append_pair("post_logout_redirect_uri", post_logout.as_str());
        if let Some(hint) = login_hint.filter(|hint| is_hint(hint)) {
            url.query_pairs_mut().append_pair("logout_hint", hint);
        }
        Ok(url)
    }
}

/// The S256 challenge (RFC 7636 §4.2) of a verifier that is one (§4.1).
pub(super) fn challenge(verifier: &str) -> Result<PkceCodeChallenge, EntraError> {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if !(43..=128).contains(&verifier.len()) || !verifier.bytes().all(unreserved) {
        return Err(EntraError::Verifier);
    }
    let verifier = PkceCodeVerifier::new(verifier.to_owned());
    Ok(PkceCodeChallenge::from_code_verifier_sha256(&verifier))
}

fn known_prompt(prompt: &str) -> Option<&'static str> {
    ["login", "none", "consent", "select_account", "create"]
        .into_iter()
        .find(|known| *known == prompt)
}

fn is_hint(hint: &str) -> bool {
    matches!(hint.len(), 1..=HINT_BYTES) && !hint.chars().any(char::is_control)
}
