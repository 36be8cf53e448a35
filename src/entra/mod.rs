//! Microsoft's sign-in protocol: where to send a browser, what a code or a refresh token yields,
//! and who that is. It knows no cookie and no browser.

mod advice;
mod authority;
mod authorize;
pub mod claim_types;
mod credential;
mod error;
mod id_token;
mod json;
mod metadata;
mod principal;
mod refusal;
mod remedy;
mod retry_after;
mod scopes;
mod settings;
mod settings_error;
mod signing_keys;
#[cfg(test)]
mod tests;
mod token_endpoint;
mod token_set;
mod wire;

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use url::Url;

use self::{
    authority::Authority,
    authorize::challenge,
    id_token::{Expected, Unverified},
    metadata::{Metadata, MetadataCache},
    scopes::Scopes,
    settings::Parsed,
    signing_keys::SigningKeys,
    token_endpoint::{TokenEndpoint, oauth_client},
    wire::Wire,
};
pub use self::{
    authority::{Cloud, Tenant},
    authorize::AuthorizeRequest,
    claim_types::{app_service_claims, app_service_time},
    credential::{
        CertificateError, ClientCertificate, ClientCredential, Concern, CredentialError, Named,
        Outlook,
    },
    error::{AnswerError, AuthorizeError, Endpoint, EntraError},
    id_token::{IdTokenError, VerifiedIdToken},
    json::JsonError,
    metadata::MetadataError,
    principal::Principal,
    refusal::Refusal,
    remedy::{Remedy, Stage},
    scopes::ScopesError,
    settings::{ResponseMode, Settings},
    settings_error::SettingsError,
    signing_keys::KeysError,
    token_set::TokenSet,
};
use crate::base::{
    clock::{Clock, rfc3339},
    jose,
    metrics::Metrics,
    outbound::Outbound,
    secret::{ExposeSecret, SecretString},
};

/// A credential that will not last is talked about so often.
const REMIND_EVERY: Duration = Duration::from_hours(24);
/// Metadata and keys are fetched again so often (Learn: signing key rollover).
const REFRESH_EVERY: Duration = Duration::from_hours(1);
/// The first and the longest wait while Microsoft has never answered.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// Our app registration at one authority.
#[derive(Debug)]
pub struct EntraClient {
    authority: Authority,
    allowed_tenants: Vec<String>,
    client_id: String,
    credential: ClientCredential,
    scopes: Scopes,
    response_mode: ResponseMode,
    prompt: Option<&'static str>,
    domain_hint: Option<String>,
    redirect_uri: Url,
    wire: Wire,
    metadata: MetadataCache,
    keys: SigningKeys,
}

/// A code that came back with a state of ours.
#[derive(Debug)]
pub struct AuthorizationCode(SecretString);

impl From<String> for AuthorizationCode {
    fn from(code: String) -> Self {
        Self(code.into())
    }
}

/// A code with what its flow remembers.
pub struct CodeGrant<'a> {
    /// The code.
    pub code: AuthorizationCode,
    /// The flow's verifier.
    pub code_verifier: &'a str,
    /// The flow's nonce.
    pub nonce: &'a str,
}

impl fmt::Debug for CodeGrant<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CodeGrant").finish_non_exhaustive()
    }
}

/// A sign-in that succeeded.
#[derive(Debug)]
pub struct SignedIn {
    /// Who.
    pub id_token: VerifiedIdToken,
    /// With which tokens.
    pub tokens: TokenSet,
}

/// A renewal that succeeded.
#[derive(Debug)]
pub struct Renewed {
    /// The new tokens; where no new refresh token came, the one that was redeemed.
    pub tokens: TokenSet,
    /// The new claims, of the same user.
    pub id_token: Option<VerifiedIdToken>,
}

impl EntraClient {
    /// A client for the registration that `settings` describe.
    ///
    /// # Errors
    /// The first of the problems that [`Settings::check`] lists.
    pub fn new(
        settings: &Settings,
        redirect_uri: Url,
        outbound: Outbound,
        clock: Clock,
        metrics: Metrics,
    ) -> Result<Self, SettingsError> {
        let parsed = settings
            .parse()
            .map_err(|wrong| wrong.into_iter().next().unwrap_or(SettingsError::Authority))?;
        let Parsed { authority, allowed_tenants, client_id, credential, scopes, .. } = parsed;
        if let Err(error) = jose::install() {
            tracing::error!(%error, "ID tokens cannot be verified; nobody will be able to sign in");
        }
        let wire = Wire::new(outbound, metrics, clock);
        let metadata = MetadataCache::new(wire.clone(), authority.clone());
        let keys = SigningKeys::new(wire.clone(), metadata.clone());
        Ok(Self {
            authority,
            allowed_tenants,
            client_id,
            credential,
            scopes,
            response_mode: parsed.response_mode,
            prompt: parsed.prompt,
            domain_hint: parsed.domain_hint,
            redirect_uri,
            wire,
            metadata,
            keys,
        })
    }

    /// Takes over metadata and keys of the client that a changed configuration replaces, if both
    /// ask the same tenant of the same authority.
    pub fn adopt(&self, former: &Self) {
        if self.authority.to_string() == former.authority.to_string() {
            self.metadata.adopt(&former.metadata);
            self.keys.adopt(&former.keys);
        }
    }

    /// Fetches metadata and keys now.
    ///
    /// # Errors
    /// Microsoft does not answer, or answers what is not believed; what was known stays.
    pub async fn prepare(&self) -> Result<(), EntraError> {
        self.metadata.refresh().await?;
        self.keys.refresh().await
    }

    /// Whether sign-ins can be begun and ended: metadata and keys have been fetched once.
    pub fn is_ready(&self) -> bool {
        self.metadata.known().is_some() && self.keys.are_known()
    }

    /// Fetches metadata and keys in the background: at once and with growing waits until they are
    /// known, then every hour, until `stop`.
    pub fn keep_fresh(self: &Arc<Self>, stop: CancellationToken) {
        let client = Arc::clone(self);
        client.introduce();
        let task = async move {
            let mut wait = FIRST_WAIT;
            // Whoever reads a configuration has just been told.
            let mut reminded = client.wire.clock().unix();
            loop {
                client.remind(&mut reminded);
                let pause = match client.prepare().await {
                    Ok(()) => REFRESH_EVERY,
                    Err(error) => {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            code = error.code(),
                            correlation_id = error.correlation_id(),
                            ready = client.is_ready(),
                            "microsoft's metadata or keys could not be fetched"
                        );
                        wait = wait.saturating_mul(2).min(LONGEST_WAIT);
                        // Whoever says "at once" is not believed more often than we would ask.
                        error.retry_after().map_or(wait, |said| said.max(wait))
                    }
                };
                if pause == REFRESH_EVERY {
                    wait = FIRST_WAIT;
                }
                tokio::select! {
                    () = sleep(pause) => {}
                    () = stop.cancelled() => return,
                }
            }
        };
        drop(self.wire.outbound().runtime().spawn(task));
    }

    /// Tells operators which certificate is in use from now on, under the portal's name for it.
    fn introduce(&self) {
        let outlook = self.credential.outlook();
        self.wire.metrics().replica().certificate("entra", outlook.ends_at());
        if let Outlook::Certificate { thumbprint, not_after, .. } = outlook {
            tracing::info!(
                thumbprint,
                expires = rfc3339(not_after),
                "the app is known to microsoft by a certificate"
            );
        }
    }

    /// Says once a day what is to be done about the credential, however long nothing else is.
    fn remind(&self, reminded: &mut i64) {
        let now = self.wire.clock().unix();
        if now.saturating_sub(*reminded) < REMIND_EVERY.as_secs().cast_signed() {
            return;
        }
        if let Some(concern) = self.credential.outlook().concern(now) {
            tracing::warn!("{concern}");
        }
        *reminded = now;
    }

    /// Redeems the code of a sign-in and verifies who signed in.
    ///
    /// # Errors
    /// See [`EntraError`]; [`EntraError::remedy`] says what helps.
    pub async fn redeem(&self, grant: CodeGrant<'_>) -> Result<SignedIn, EntraError> {
        // Before the code is spent: a verifier that cannot be right, or no metadata.
        challenge(grant.code_verifier)?;
        let metadata = self.metadata.current().await?;
        let tokens = self.endpoint(&metadata).code(&grant.code.0, grant.code_verifier).await?;
        let id_token = tokens.id_token.as_ref().ok_or(EntraError::NoIdToken)?;
        let id_token = self.verify(&metadata, id_token, Some(grant.nonce)).await?;
        Ok(SignedIn { id_token, tokens })
    }

    /// Redeems a refresh token of the user `of`.
    ///
    /// # Errors
    /// See [`EntraError`]; [`EntraError::remedy`] says what helps.
    pub async fn renew(
        &self,
        refresh_token: &SecretString,
        of: &Principal,
    ) -> Result<Renewed, EntraError> {
        let metadata = self.metadata.current().await?;
        let mut tokens = self.endpoint(&metadata).refresh(refresh_token).await?;
        tokens.refresh_token.get_or_insert_with(|| refresh_token.clone());
        let Some(id_token) = &tokens.id_token else {
            return Ok(Renewed { tokens, id_token: None });
        };
        let id_token = self.verify(&metadata, id_token, None).await?;
        if !id_token.principal().is_same_user(of) {
            return Err(EntraError::ForeignIdToken);
        }
        Ok(Renewed { tokens, id_token: Some(id_token) })
    }

    fn endpoint<'a>(&'a self, metadata: &'a Metadata) -> TokenEndpoint<'a> {
        TokenEndpoint {
            wire: &self.wire,
            client: oauth_client(metadata, &self.client_id, &self.redirect_uri),
            url: &metadata.token,
            client_id: &self.client_id,
            credential: &self.credential,
            scopes: &self.scopes,
        }
    }

    async fn verify(
        &self,
        metadata: &Metadata,
        token: &SecretString,
        nonce: Option<&str>,
    ) -> Result<VerifiedIdToken, EntraError> {
        let token = Unverified::parse(token.expose_secret())?;
        let keys = self.keys.fitting(token.kid()).await?;
        let expected = Expected {
            client_id: &self.client_id,
            issuer: &metadata.issuer,
            allowed_tenants: &self.allowed_tenants,
            nonce,
            now: self.wire.clock().unix(),
        };
        Ok(token.verify(&keys, &expected)?)
    }

    /// Checks the `iss` of an authorization response (RFC 9207 §2.4): it must be ours where it is
    /// given, and given where metadata announces it.
    ///
    /// # Errors
    /// [`EntraError::ResponseIssuer`]; metadata is not known and cannot be fetched.
    pub async fn check_response_issuer(&self, iss: Option<&str>) -> Result<(), EntraError> {
        let metadata = self.metadata.current().await?;
        match iss {
            Some(iss) if metadata.issuer.answers_as(iss) => Ok(()),
            None if !metadata.names_issuer_in_responses => Ok(()),
            _ => Err(EntraError::ResponseIssuer),
        }
    }

    /// The application id, in lower case.
    pub fn client_id(&self) -> &str {
        &self.client_id
    }

    /// The tenant as configured, in lower case.
    pub fn tenant(&self) -> &str {
        self.authority.tenant().as_str()
    }

    /// How the code comes back.
    pub fn response_mode(&self) -> ResponseMode {
        self.response_mode
    }

    /// The origin of Microsoft's pages, as in `https://login.microsoftonline.com`: who may frame
    /// the front-channel sign-out, and where forms may go.
    pub fn login_host_origin(&self) -> String {
        match self.metadata.known() {
            Some(metadata) => metadata.authorization.origin().ascii_serialization(),
            None => self.authority.origin(),
        }
    }

    /// Whether every user is of one tenant, so that user names are unambiguous.
    pub fn single_tenant(&self) -> bool {
        self.authority.tenant().is_single(self.allowed_tenants.len())
    }
}
