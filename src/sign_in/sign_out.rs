//! The way out: our cookies, then Microsoft's session.

use http::{Method, Response, StatusCode};
use url::Url;

use super::{
    CALLBACK, LOGOUT, SignIn, SignInError, parameters::Parameters, redirect, return_to::ReturnTo,
};
use crate::{
    base::body::Body,
    pages::{Action, Notice},
    request::{Exchange, Inbound, Site, Verdict},
    session::Found,
};

impl SignIn {
    /// `/.auth/logout`: ends the session here and at Microsoft. A GET that another site began is
    /// answered with a button, so that no page can sign anybody out (D12).
    ///
    /// # Errors
    /// The parameters are refused, or a POST came from another site.
    pub async fn sign_out(
        &self,
        exchange: &mut Exchange,
        inbound: &Inbound,
    ) -> Result<Response<Body>, SignInError> {
        exchange.decide(Verdict::Own, "sign-out");
        let parameters = Parameters::of_query(inbound.query())?;
        let place = parameters.one("post_logout_redirect_uri")?;
        let place = place.and_then(|place| ReturnTo::parse(place, &self.public_url));
        let posted = inbound.method() == Method::POST;
        if inbound.site() == Site::Foreign {
            return if posted { Err(SignInError::Foreign) } else { Ok(self.ask(place.as_ref())) };
        }

        let cookies = inbound.own_cookies();
        // A store that does not answer must not keep anybody signed in at a shared computer.
        let session = match self.sessions.open(cookies).await {
            Ok(Found::Live(session)) => Some(session),
            Ok(Found::Broken | Found::Nothing) | Err(_) => None,
        };
        match &session {
            Some(session) => self.sessions.sign_out(session).await,
            None => self.sessions.sign_out_unseen(cookies).await,
        }
        exchange.set_cookies.extend(self.sessions.clear(cookies));
        let mut jar = self.jar(cookies).unwrap_or_default();
        jar.forget_rounds();
        jar.return_after_sign_out(place.as_ref());
        self.keep_jar(exchange, &mut jar);

        let login_hint = session.as_ref().and_then(|session| session.principal.login_hint());
        let back = self.public_url.join(CALLBACK);
        match self.end_session_url(&back, login_hint).await {
            Some(location) => {
                let status = if posted { StatusCode::SEE_OTHER } else { StatusCode::FOUND };
                Ok(redirect(status, location.as_str()))
            }
            None => Ok(self.signed_out_here()),
        }
    }

    /// `GET /.auth/logout/frontchannel`: Microsoft's hidden iframe says that a session ended. It
    /// carries no cookie; `sid` names the session (Learn: single sign-out).
    ///
    /// # Errors
    /// `sid` is missing or the parameters are refused.
    pub async fn front_channel(
        &self,
        exchange: &mut Exchange,
        inbound: &Inbound,
    ) -> Result<Response<Body>, SignInError> {
        exchange.decide(Verdict::Own, "front-channel sign-out");
        let parameters = Parameters::of_query(inbound.query())?;
        let sid = parameters.one("sid")?.filter(|sid| sid.len() <= LONGEST_SID);
        let issuer = parameters.one("iss")?;
        let foreign = issuer.is_some() && self.entra.check_response_issuer(issuer).await.is_err();
        if let Some(sid) = sid
            && !foreign
        {
            let now = self.clock.unix();
            self.sessions.revoke(sid, now).await;
            self.metrics.refusal("front_channel_sign_out");
        }
        exchange.set_cookies.extend(self.sessions.clear(inbound.own_cookies()));
        let origin = self.entra.login_host_origin();
        Ok(self.pages.framed_blank(&origin))
    }

    async fn end_session_url(&self, back: &Url, login_hint: Option<&str>) -> Option<Url> {
        match self.entra.end_session_url(back, login_hint).await {
            Ok(url) => Some(url),
            Err(error) => {
                tracing::warn!(%error, "signed out here alone: microsoft's sign-out is not known");
                None
            }
        }
    }

    fn ask(&self, place: Option<&ReturnTo>) -> Response<Body> {
        let mut action = LOGOUT.to_owned();
        if let Some(place) = place {
            let query = url::form_urlencoded::Serializer::new(String::new())
                .append_pair("post_logout_redirect_uri", place.as_str())
                .finish();
            action = format!("{LOGOUT}?{query}");
        }
        self.pages.notice(&Notice {
            status: StatusCode::OK,
            title: "Sign out?".into(),
            text: vec![
                "Another site asked to sign you out of this app and of your Microsoft account."
                    .into(),
            ],
            facts: Vec::new(),
            actions: vec![
                Action::Post {
                    label: "Sign out".into(),
                    action: action.into(),
                    fields: Vec::new(),
                },
                Action::Link { label: "Stay signed in".into(), href: "/".into() },
            ],
        })
    }

    fn signed_out_here(&self) -> Response<Body> {
        self.pages.notice(&Notice {
            status: StatusCode::OK,
            title: "You are signed out of this app".into(),
            text: vec![
                "Microsoft could not be reached, so your Microsoft account may still be signed in \
                 in this browser. Close the browser on a shared computer."
                    .into(),
            ],
            facts: Vec::new(),
            actions: vec![Action::Link { label: "Sign in again".into(), href: "/".into() }],
        })
    }
}

/// `sid` is a GUID today; anything far longer is not Microsoft's.
const LONGEST_SID: usize = 128;
