//! Microsoft's answer: state → flow → code → tokens → verified ID token → session.
//!
//! The order is the security: no code without its flow, no session without a verified ID token.

use http::{Method, Response, StatusCode};

use super::{
    RESTARTS, SignIn, SignInError, Wishes,
    flow::Flow,
    flow_jar::FlowJar,
    parameters::{LONGEST_FORM, ParameterError, Parameters, is_urlencoded},
    redirect,
    return_to::ReturnTo,
};
use crate::{
    base::body::Body,
    entra::{AuthorizationCode, AuthorizeError, CodeGrant, EntraError, Remedy},
    pages::{Action, Notice},
    request::{Exchange, Inbound, OwnCookies, Verdict},
    session::{Found, Session, WriteError},
};

/// Microsoft's error in the callback.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct AuthorizationRefused(#[from] pub AuthorizeError);

impl SignIn {
    /// The redirect URI, by GET (`response_mode=query`) or POST (`form_post`).
    ///
    /// # Errors
    /// See [`SignInError`]: each becomes a page that says what to do.
    pub async fn callback(
        &self,
        exchange: &mut Exchange,
        mut inbound: Inbound,
    ) -> Result<Response<Body>, SignInError> {
        exchange.decide(Verdict::Own, "callback");
        let form;
        let parameters = if inbound.method() == Method::POST {
            form = read_form(&mut inbound).await?;
            Parameters::parse(&form)?
        } else {
            match inbound.query() {
                None | Some("") => return Ok(self.returned_from_sign_out(exchange, &inbound)),
                query => Parameters::of_query(query)?,
            }
        };
        let result = self.answer(exchange, inbound.own_cookies(), &parameters).await;
        if let Err(error) = &result {
            self.metrics.sign_in(outcome(error));
        }
        result
    }

    async fn answer(
        &self,
        exchange: &mut Exchange,
        cookies: &OwnCookies,
        parameters: &Parameters<'_>,
    ) -> Result<Response<Body>, SignInError> {
        let state = parameters.one("state")?;
        let code = parameters.one("code")?;
        parameters.one("error")?;
        let issuer = parameters.one("iss")?;
        let state = state.ok_or(ParameterError::Missing)?;

        let jar = self.jar(cookies);
        let had_jar = jar.is_some();
        let mut jar = jar.unwrap_or_default();
        let Some(flow) = jar.take(state) else {
            // Back button, reload, a bookmark: with a session there is nothing to do (D2).
            if self.has_live_session(cookies).await? {
                return Ok(self.go(&ReturnTo::home()));
            }
            return Err(if had_jar { SignInError::UnknownFlow } else { SignInError::NoJar });
        };
        // Whatever happens next, this flow is over.
        self.keep_jar(exchange, &mut jar);
        let return_to = ReturnTo::parse_or_home(Some(flow.return_to()), &self.public_url);
        exchange.wanted = Some(return_to.as_str().to_owned());
        if flow.is_stale(self.clock.unix()) {
            exchange.reason = "the sign-in took longer than ten minutes";
            return self.again(exchange, cookies, jar, &flow, &return_to, None).await;
        }
        self.entra.check_response_issuer(issuer).await?;
        let find = |name: &str| parameters.one(name).ok().flatten().map(ToOwned::to_owned);
        if let Some(error) = AuthorizeError::from_parameters(find) {
            return self.refused(exchange, cookies, jar, &flow, &return_to, error).await;
        }
        let code = AuthorizationCode::from(code.ok_or(ParameterError::Missing)?.to_owned());
        let (code_verifier, nonce) = (flow.code_verifier(), flow.nonce());
        let grant = CodeGrant { code, code_verifier: &code_verifier, nonce: &nonce };
        match self.entra.redeem(grant).await {
            Ok(signed_in) => {
                let session = self.sessions.establish(signed_in)?;
                let set_cookies = self.sessions.begin(&session, cookies).await?;
                let now = self.clock.unix();
                jar.count_round(now, self.has_live_session(cookies).await?);
                self.end_session_of_another(&session, cookies).await;
                self.keep_jar_instead(exchange, &mut jar);
                exchange.set_cookies.extend(set_cookies);
                exchange.reason = "signed in";
                self.metrics.sign_in("succeeded");
                Ok(self.go(&return_to))
            }
            Err(error) => self.not_redeemed(exchange, cookies, jar, &flow, &return_to, error).await,
        }
    }

    /// The browser now belongs to somebody else: what its former user left open must not go on in
    /// another tab (D6).
    async fn end_session_of_another(&self, session: &Session, cookies: &OwnCookies) {
        let Ok(Found::Live(former)) = self.sessions.open(cookies).await else { return };
        let user = |session: &Session| {
            let principal = &session.principal;
            (principal.tenant_id().to_owned(), principal.object_id().to_owned())
        };
        if user(&former) != user(session) {
            self.sessions.sign_out(&former).await;
        }
    }

    /// Microsoft sent the browser back with an error.
    async fn refused(
        &self,
        exchange: &mut Exchange,
        cookies: &OwnCookies,
        jar: FlowJar,
        flow: &Flow,
        return_to: &ReturnTo,
        error: AuthorizeError,
    ) -> Result<Response<Body>, SignInError> {
        match error.remedy() {
            Remedy::SignInAgain | Remedy::RestartOnce if flow.restarts < RESTARTS => {
                exchange.reason = "microsoft asks for an interactive sign-in";
                self.again(exchange, cookies, jar, flow, return_to, None).await
            }
            _ => Err(SignInError::Refused(Box::new(error.into()))),
        }
    }

    /// Microsoft did not redeem the code.
    async fn not_redeemed(
        &self,
        exchange: &mut Exchange,
        cookies: &OwnCookies,
        jar: FlowJar,
        flow: &Flow,
        return_to: &ReturnTo,
        error: EntraError,
    ) -> Result<Response<Body>, SignInError> {
        let again = matches!(
            error.remedy(),
            Remedy::SignInAgain | Remedy::RestartOnce | Remedy::ConsentNeeded
        );
        // A code that was redeemed already by a double click: the other answer brings the session.
        if again && self.has_live_session(cookies).await? {
            return Ok(self.go(return_to));
        }
        if !again || flow.restarts >= RESTARTS {
            return Err(error.into());
        }
        exchange.reason = "microsoft asks for another round";
        let claims = error.claims_challenge().map(ToOwned::to_owned);
        self.again(exchange, cookies, jar, flow, return_to, claims.as_deref()).await
    }

    async fn again(
        &self,
        exchange: &mut Exchange,
        cookies: &OwnCookies,
        mut jar: FlowJar,
        flow: &Flow,
        return_to: &ReturnTo,
        claims: Option<&str>,
    ) -> Result<Response<Body>, SignInError> {
        exchange.set_cookies.clear();
        let wishes = Wishes { claims, ..Wishes::default() };
        let restarts = flow.restarts.saturating_add(1);
        let mut response =
            self.send_with_jar(exchange, cookies, &mut jar, return_to, &wishes, restarts).await?;
        // 303 after a POST, so that the browser follows with a GET (RFC 9110 §15.4.4).
        *response.status_mut() = StatusCode::SEE_OTHER;
        Ok(response)
    }

    fn keep_jar_instead(&self, exchange: &mut Exchange, jar: &mut FlowJar) {
        exchange.set_cookies.clear();
        self.keep_jar(exchange, jar);
    }

    /// 303 in both response modes: the GET that follows is a top-level navigation of our own
    /// origin and carries the `Lax` cookies.
    fn go(&self, place: &ReturnTo) -> Response<Body> {
        redirect(StatusCode::SEE_OTHER, &place.location(&self.public_url))
    }

    /// Microsoft's sign-out returned here, to the one URL that is registered anyway.
    fn returned_from_sign_out(&self, exchange: &mut Exchange, inbound: &Inbound) -> Response<Body> {
        exchange.reason = "returned from sign-out";
        if let Some(mut jar) = self.jar(inbound.own_cookies())
            && let Some(place) = jar.take_after_sign_out()
        {
            self.keep_jar(exchange, &mut jar);
            return self.go(&ReturnTo::parse_or_home(Some(&place), &self.public_url));
        }
        self.pages.notice(&Notice {
            status: StatusCode::OK,
            title: "You are signed out".into(),
            text: vec!["You can close this window, or sign in again.".into()],
            facts: Vec::new(),
            actions: vec![Action::Link { label: "Sign in again".into(), href: "/".into() }],
        })
    }
}

async fn read_form(inbound: &mut Inbound) -> Result<bytes::Bytes, ParameterError> {
    if !is_urlencoded(inbound.headers()) {
        return Err(ParameterError::NotAForm);
    }
    Ok(inbound.take_body().read(LONGEST_FORM).await?)
}

/// Metric label of a sign-in that failed.
fn outcome(error: &SignInError) -> &'static str {
    match error {
        SignInError::Refused(_) => "refused",
        SignInError::Entra(error) => error.word(),
        SignInError::NoJar => "no_cookie",
        SignInError::UnknownFlow => "unknown_flow",
        SignInError::Write(WriteError::Store(_)) | SignInError::Store(_) => "store_unavailable",
        SignInError::Write(_) => "too_large",
        SignInError::Loop { .. } => "loop",
        _ => "invalid",
    }
}
