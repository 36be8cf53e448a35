//! The two grants, through the `oauth2` crate and over our own client.

use std::{future::Future, pin::Pin, sync::OnceLock};

use http::StatusCode;
use oauth2::{
    AsyncHttpClient, AuthType, AuthUrl, Client, ClientId, EmptyExtraTokenFields, EndpointNotSet,
    EndpointSet, HttpRequest, HttpResponse, PkceCodeVerifier, RedirectUrl, RefreshToken,
    RequestTokenError, StandardRevocableToken, StandardTokenIntrospectionResponse, TokenUrl,
    basic::{BasicRevocationErrorResponse, BasicTokenType},
};
use url::Url;

use super::{
    credential::{ClientCredential, CredentialError, Occasion},
    error::{AnswerError, Endpoint, EntraError},
    metadata::Metadata,
    refusal::Refusal,
    remedy::Stage,
    scopes::Scopes,
    token_set::{TokenAnswer, TokenSet},
    wire::{Wire, back_off, may_pass, object},
};
use crate::base::secret::{ExposeSecret, SecretString};

/// `oauth2`'s client with its ten parameters; named once.
pub(super) type OauthClient = Client<
    Refusal,
    TokenAnswer,
    StandardTokenIntrospectionResponse<EmptyExtraTokenFields, BasicTokenType>,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

/// The client for one set of addresses. It holds no secret: credentials are read at each use.
pub(super) fn oauth_client(
    metadata: &Metadata,
    client_id: &str,
    redirect_uri: &Url,
) -> OauthClient {
    Client::new(ClientId::new(client_id.to_owned()))
        .set_auth_type(AuthType::RequestBody)
        .set_auth_uri(AuthUrl::from_url(metadata.authorization.clone()))
        .set_token_uri(TokenUrl::from_url(metadata.token.clone()))
        .set_redirect_uri(RedirectUrl::from_url(redirect_uri.clone()))
}

/// What every token request needs.
#[derive(Debug)]
pub(super) struct TokenEndpoint<'a> {
    pub(super) wire: &'a Wire,
    pub(super) client: OauthClient,
    pub(super) url: &'a Url,
    pub(super) client_id: &'a str,
    pub(super) credential: &'a ClientCredential,
    pub(super) scopes: &'a Scopes,
}

impl TokenEndpoint<'_> {
    /// Redeems a code. Never repeated once it may have been sent: a code works once.
    pub(super) async fn code(
        &self,
        code: &SecretString,
        verifier: &str,
    ) -> Result<TokenSet, EntraError> {
        match self.code_once(code, verifier).await {
            Err(EntraError::Unreachable { source, .. }) if source.is_before_sending() => {
                back_off().await;
                self.code_once(code, verifier).await
            }
            redeemed => redeemed,
        }
    }

    async fn code_once(&self, code: &SecretString, verifier: &str) -> Result<TokenSet, EntraError> {
        let code = oauth2::AuthorizationCode::new(code.expose_secret().to_owned());
        let mut request = self
            .client
            .exchange_code(code)
            .set_pkce_verifier(PkceCodeVerifier::new(verifier.to_owned()))
            // Microsoft's extension: it selects the resource.
            .add_extra_param("scope", self.scopes.as_str());
        for (name, value) in self.proof()? {
            request = request.add_extra_param(name, value.expose_secret().to_owned());
        }
        let call = Call::begin(self.wire);
        let sent = request.request_async(&call).await;
        call.end(sent, Stage::Code)
    }

    /// Who we are, for this one request: a repetition proves it anew.
    fn proof(&self) -> Result<Vec<(&'static str, SecretString)>, CredentialError> {
        let now = self.wire.clock().unix();
        let occasion = Occasion { client_id: self.client_id, token_endpoint: self.url, now };
        self.credential.parameters(&occasion)
    }

    /// Redeems a refresh token, with one further try if the first fault may pass: Entra does not
    /// revoke a refresh token by its use.
    pub(super) async fn refresh(&self, token: &SecretString) -> Result<TokenSet, EntraError> {
        match self.refresh_once(token).await {
            Err(error) if may_pass(&error) => {
                back_off().await;
                self.refresh_once(token).await
            }
            renewed => renewed,
        }
    }

    async fn refresh_once(&self, token: &SecretString) -> Result<TokenSet, EntraError> {
        let token = RefreshToken::new(token.expose_secret().to_owned());
        let scopes = self.scopes.iter().map(|scope| oauth2::Scope::new(scope.to_owned()));
        let mut request = self.client.exchange_refresh_token(&token).add_scopes(scopes);
        for (name, value) in self.proof()? {
            request = request.add_extra_param(name, value.expose_secret().to_owned());
        }
        let call = Call::begin(self.wire);
        let sent = request.request_async(&call).await;
        call.end(sent, Stage::Refresh)
    }
}

/// One call: remembers what `oauth2` forgets.
struct Call<'a> {
    wire: &'a Wire,
    asked_at: i64,
    status: OnceLock<StatusCode>,
}

type Sent = Result<TokenAnswer, RequestTokenError<EntraError, Refusal>>;

impl<'a> Call<'a> {
    fn begin(wire: &'a Wire) -> Self {
        Self { wire, asked_at: wire.clock().unix(), status: OnceLock::new() }
    }

    async fn send(&self, request: HttpRequest) -> Result<HttpResponse, EntraError> {
        let answer = self.wire.send(Endpoint::Token, request).await?;
        let _ = self.status.set(answer.status);
        if answer.status == StatusCode::OK {
            // Before anything recurses into it.
            object(Endpoint::Token, &answer.body)?;
        } else if !answer.status.is_client_error() {
            return Err(EntraError::Status { endpoint: Endpoint::Token, status: answer.status });
        }
        let mut response = HttpResponse::new(answer.body.to_vec());
        *response.status_mut() = answer.status;
        *response.headers_mut() = answer.headers;
        Ok(response)
    }

    /// `oauth2`'s errors hold whole bodies, with tokens in them; none of that is kept.
    fn end(&self, sent: Sent, stage: Stage) -> Result<TokenSet, EntraError> {
        let malformed = |source| EntraError::Malformed { endpoint: Endpoint::Token, source };
        let status = self.status.get().copied().unwrap_or(StatusCode::BAD_REQUEST);
        match sent {
            Ok(answer) => answer.into_tokens(self.asked_at).map_err(malformed),
            Err(RequestTokenError::Request(error)) => Err(error),
            Err(RequestTokenError::ServerResponse(refusal)) => {
                Err(EntraError::Refused { refusal: Box::new(refusal), status, stage })
            }
            Err(_) if status != StatusCode::OK => {
                Err(EntraError::Status { endpoint: Endpoint::Token, status })
            }
            Err(RequestTokenError::Parse(error, _)) => {
                Err(malformed(AnswerError::Field(error.path().to_string())))
            }
            Err(RequestTokenError::Other(_)) => Err(malformed(AnswerError::NotJson)),
        }
    }
}

impl<'c> AsyncHttpClient<'c> for Call<'_> {
    type Error = EntraError;
    type Future = Pin<Box<dyn Future<Output = Result<HttpResponse, EntraError>> + Send + 'c>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        Box::pin(self.send(request))
    }
}
