//! The authorize endpoint: is the request right, who is signing in, and the code for it.

use http::Method;

use crate::emulator::{
    aadsts::Failure,
    account_choice::no_session,
    browser::{COOKIE, SignedIn},
    call::{self, Answer, Call, Params},
    claims::{self, ClaimsRequest},
    client_auth,
    directory::{App, TenantAlias, User},
    faults::Fault,
    grants::{Challenge, Code, Grant},
    pages,
    realm::Realm,
    scopes::Scopes,
    scripted,
    send_back::{self, Parameters, ResponseMode},
    token,
};

/// Where a failure is shown.
#[derive(Debug)]
pub(crate) enum Stop {
    /// On a page of ours: the app cannot be trusted with it, or must not hear it.
    Page(Box<Failure>),
    /// At the app.
    Back(Box<Failure>),
    /// No failure: the user has to do something first.
    Ask(Box<Answer>),
}

/// A code for the app, and the cookie for the browser.
#[derive(Debug)]
struct Success {
    parameters: Parameters,
    cookie: String,
}

fn page(failure: Failure) -> Stop {
    Stop::Page(Box::new(failure))
}

pub(crate) fn back(failure: Failure) -> Stop {
    Stop::Back(Box::new(failure))
}

/// A request whose app and redirect URI are known to belong together.
#[derive(Debug)]
pub(crate) struct Visit<'r> {
    pub(crate) realm: &'r Realm,
    pub(crate) call: &'r Call,
    pub(crate) params: &'r Params,
    pub(crate) alias: TenantAlias,
    /// Of the app in the directory.
    pub(crate) place: usize,
    pub(crate) app: &'r App,
    redirect_uri: &'r str,
    mode: ResponseMode,
}

/// What is asked, once everything about it is right.
#[derive(Debug)]
pub(crate) struct Wish {
    pub(crate) scopes: Scopes,
    challenge: Option<Challenge>,
    pub(crate) claims: ClaimsRequest,
}

/// Answers an authorize request, or one of the steps that its pages lead to.
pub(crate) fn answer(
    realm: &Realm,
    call: &Call,
    alias: TenantAlias,
    fault: Option<&Fault>,
) -> Answer {
    let params = if call.method == Method::POST { &call.form } else { &call.query };
    let visit = match Visit::begin(realm, call, params, alias) {
        Ok(visit) => visit,
        Err(failure) => return pages::failure(call, &failure),
    };
    let scripted = fault.filter(|fault| fault.replaces()).map(scripted::failure);
    let outcome = match scripted {
        Some(failure) => Err(back(failure)),
        None => visit.sign_in(),
    };
    match outcome {
        Ok(success) => {
            let answer = visit.send_back(success.parameters, fault);
            call::with_cookie(answer, &success.cookie)
        }
        Err(Stop::Ask(answer)) => *answer,
        Err(Stop::Page(failure)) => pages::failure(call, &failure),
        Err(Stop::Back(failure)) => {
            let mut parameters = failure.parameters(call);
            if let Some(state) = params.one("state") {
                parameters.push(("state", send_back::without_tags(state)));
            }
            visit.send_back(parameters, fault)
        }
    }
}

impl<'r> Visit<'r> {
    /// Whatever is wrong here stays on our page: nobody vouches for the redirect URI yet.
    fn begin(
        realm: &'r Realm,
        call: &'r Call,
        params: &'r Params,
        alias: TenantAlias,
    ) -> Result<Self, Failure> {
        if let Some(name) = params.repeated() {
            let text = format!("The request contains the parameter '{name}' more than once.");
            return Err(Failure::invalid_request(90_102, text));
        }
        let client_id = params.one("client_id").ok_or_else(|| Failure::missing("client_id"))?;
        let (place, app) =
            realm.directory.app(client_id).ok_or_else(|| client_auth::unknown_app(client_id))?;
        token::admits_tenant(realm, app, alias)?;
        let redirect_uri =
            params.one("redirect_uri").ok_or_else(|| Failure::missing("redirect_uri"))?;
        if !app.allows_redirect(redirect_uri) {
            let text = format!(
                "The redirect URI '{redirect_uri}' specified in the request does not match the \
                 redirect URIs configured for the application '{}'. Make sure the redirect URI \
                 sent in the request matches one added to your application in the Azure portal.",
                app.client_id
            );
            return Err(Failure::invalid_request(50_011, text));
        }
        let mode = match params.one("response_mode") {
            None => ResponseMode::Query,
            Some(name) => ResponseMode::parse(name).ok_or_else(|| {
                let text = format!("The response mode '{name}' is not supported.");
                Failure::invalid_request(90_023, text)
            })?,
        };
        Ok(Self { realm, call, params, alias, place, app, redirect_uri, mode })
    }

    fn send_back(&self, parameters: Parameters, fault: Option<&Fault>) -> Answer {
        let callback = fault.and_then(|fault| fault.callback);
        send_back::to_app(self.redirect_uri, self.mode, parameters, callback)
    }

    fn wish(&self) -> Result<Wish, Failure> {
        match self.params.one("response_type") {
            Some("code") => {}
            None => return Err(Failure::missing("response_type")),
            Some(other) => {
                let text = format!(
                    "response_type '{other}' is not enabled for the application '{}'.",
                    self.app.client_id
                );
                return Err(Failure::new(700_054, "unsupported_response_type", text));
            }
        }
        let scopes = self.params.one("scope").ok_or_else(|| Failure::missing("scope"))?;
        let scopes = Scopes::parse(scopes, &self.realm.directory)?;
        let method = self.params.one("code_challenge_method");
        let challenge = match self.params.one("code_challenge") {
            None => None,
            Some(text) if !(43..=128).contains(&text.len()) => {
                let text = "The size of the code_challenge parameter is invalid.";
                return Err(Failure::invalid_request(50_147, text));
            }
            Some(text) => Some(Challenge::new(text, method).ok_or_else(|| {
                let text = "The code_challenge_method is not supported.";
                Failure::invalid_request(501_491, text)
            })?),
        };
        let claims = token::claims_request(self.params.one("claims"))?;
        Ok(Wish { scopes, challenge, claims })
    }

    /// The parameters of success and the browser's cookie.
    fn sign_in(&self) -> Result<Success, Stop> {
        if self.params.one("_cancel").is_some() {
            let mut failure = Failure::new(
                65_004,
                "access_denied",
                "User declined to consent to access the app.",
            );
            failure.subcode = Some("cancel");
            return Err(back(failure));
        }
        let wish = self.wish().map_err(back)?;
        let accounts: Vec<SignedIn> = self
            .realm
            .browsers
            .accounts(self.call.cookie(COOKIE))
            .into_iter()
            .filter(|account| self.user(account).is_some_and(|user| user.is_in(self.alias)))
            .collect();
        let account = match self.params.one("_user") {
            Some(name) => self.chosen(name, &accounts)?,
            None => self.account(&accounts)?,
        };
        let account = self.second_factor(account, &wish)?;
        let user = self.user(&account).ok_or_else(|| back(no_session()))?;
        self.realm
            .administration
            .admits((account.user, user), (self.place, self.app))
            .map_err(page)?;
        self.consent(&account, user, &wish)?;
        Ok(self.succeed(account, user, wish))
    }

    pub(crate) fn user(&self, account: &SignedIn) -> Option<&'r User> {
        self.realm.directory.user(account.user)
    }

    pub(crate) fn prompt(&self) -> Option<&'r str> {
        self.params.one("prompt")
    }

    fn succeed(&self, mut account: SignedIn, user: &User, wish: Wish) -> Success {
        account.apps.insert(self.place);
        let sid = account.sid.clone();
        let grant = Grant {
            user: account.user,
            app: self.place,
            tenant: user.tenant,
            scopes: wish.scopes,
            sid: sid.clone(),
            auth_time: account.auth_time,
            mfa: account.mfa,
            contexts: wish.claims.contexts.iter().cloned().collect(),
            sequence: self.realm.grants.next_sequence(),
        };
        let cookie = self.realm.browsers.remember(self.call.cookie(COOKIE), account);
        let code = self.realm.grants.issue_code(Code {
            grant,
            redirect_uri: self.redirect_uri.to_owned(),
            nonce: self.params.one("nonce").map(str::to_owned),
            challenge: wish.challenge,
            claims: self.params.one("claims").map(str::to_owned),
            expires: self.call.now + self.realm.lifetimes.code(),
        });
        let mut parameters = vec![("code", code)];
        if self.params.one("client_info") == Some("1") {
            parameters.push(("client_info", claims::client_info(user)));
        }
        if let Some(state) = self.params.one("state") {
            parameters.push(("state", send_back::without_tags(state)));
        }
        parameters.push(("session_state", sid));
        Success { parameters, cookie: self.cookie(&cookie) }
    }

    fn cookie(&self, value: &str) -> String {
        let site = if self.call.is_https() { "SameSite=None; Secure" } else { "SameSite=Lax" };
        format!("{COOKIE}={value}; Path=/; HttpOnly; {site}")
    }
}
