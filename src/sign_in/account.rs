//! What a page may ask about its own session: `/.auth/me`, `/.auth/session`, `/.auth/refresh`.

use http::{Response, StatusCode};
use serde::Serialize;

use super::{SignIn, SignInError};
use crate::{
    base::body::Body,
    entra::app_service_claims,
    pages,
    request::{Exchange, Inbound, Site, Verdict},
    session::{Found, RenewalError, Session},
};

/// One entry of `/.auth/me`, as App Service gives it; tokens are not in it (H9).
#[derive(Serialize)]
struct Me<'a> {
    provider_name: &'static str,
    user_id: &'a str,
    user_claims: Vec<Claim>,
    expires_on: String,
}

#[derive(Serialize)]
struct Claim {
    typ: String,
    val: String,
}

/// `/.auth/session`.
#[derive(Serialize)]
struct View<'a> {
    user_id: &'a str,
    name: Option<&'a str>,
    object_id: &'a str,
    tenant_id: &'a str,
    expires_on: String,
    session_ends: String,
    renews_at: Option<String>,
}

impl SignIn {
    /// `GET /.auth/me`: who is signed in, as App Service says it. `session` is the request's.
    pub fn me(&self, exchange: &mut Exchange, session: &Session) -> Response<Body> {
        exchange.decide(Verdict::Own, "me");
        let claims = app_service_claims(session.principal.claims());
        let me = Me {
            provider_name: "aad",
            user_id: user_id(session),
            user_claims: claims.into_iter().map(|(typ, val)| Claim { typ, val }).collect(),
            expires_on: timestamp(session.tokens.expires_at),
        };
        pages::json(StatusCode::OK, &[me])
    }

    /// `GET /.auth/session`: when things end, for scripts. Looking does not wind the idle clock,
    /// or a page that polls would keep its user signed in for ever.
    ///
    /// # Errors
    /// There is no session, or the store cannot answer.
    pub async fn session(
        &self,
        exchange: &mut Exchange,
        inbound: &Inbound,
    ) -> Result<Response<Body>, SignInError> {
        exchange.decide(Verdict::Own, "session");
        let Found::Live(session) = self.sessions.open(inbound.own_cookies()).await? else {
            return Err(SignInError::LoginRequired);
        };
        let view = View {
            user_id: user_id(&session),
            name: session.principal.name(),
            object_id: session.principal.object_id(),
            tenant_id: session.principal.tenant_id(),
            expires_on: timestamp(session.tokens.expires_at),
            session_ends: timestamp(self.sessions.ends_at(&session)),
            renews_at: self.sessions.renews_at(&session).map(timestamp),
        };
        Ok(pages::json(StatusCode::OK, &view))
    }

    /// `POST /.auth/refresh`: new tokens now.
    ///
    /// # Errors
    /// There is no session, it has ended, Microsoft cannot answer, or another site asks (H4).
    pub async fn refresh(
        &self,
        exchange: &mut Exchange,
        inbound: &Inbound,
    ) -> Result<Response<Body>, SignInError> {
        exchange.decide(Verdict::Own, "refresh");
        let cookies = inbound.own_cookies();
        let Found::Live(session) = self.sessions.open(cookies).await? else {
            return Err(SignInError::LoginRequired);
        };
        if inbound.site() == Site::Foreign {
            return Err(SignInError::Foreign);
        }
        let current = match self.sessions.refresh(session, cookies).await {
            Ok(current) => current,
            Err(RenewalError::Ended { reason }) => {
                exchange.reason = reason;
                return Err(SignInError::LoginRequired);
            }
            Err(error @ (RenewalError::Unavailable { .. } | RenewalError::Store(_))) => {
                return Err(error.into());
            }
        };
        exchange.set_cookies.extend(current.set_cookies);
        let expires_on = timestamp(current.session.tokens.expires_at);
        Ok(pages::json(StatusCode::OK, &serde_json::json!({ "expires_on": expires_on })))
    }
}

/// `user_id` is the user name; an account without one is named by its object id.
pub(super) fn user_id(session: &Session) -> &str {
    session.principal.user_name().unwrap_or_else(|| session.principal.object_id())
}

/// RFC 3339 in UTC, to the second.
fn timestamp(unix: i64) -> String {
    crate::base::clock::rfc3339(unix)
}
