//! A form that was sent when its session had ended: kept in the browser, sent again once after
//! sign-in, seen by the app only then.
//!
//! ```text
//! POST /x          → 401, a page that puts the sealed form in sessionStorage and goes to sign in
//! GET  /.auth/form → a page that takes it out again and posts it to us, once somebody is signed in
//! POST /.auth/form → a page that submits the form to /x, or asks first
//! ```
//!
//! The form is sealed before the browser keeps it: whoever sits down at an abandoned tab cannot
//! read it, the app's scripts cannot change it, and it opens for the user who sent it alone. Its
//! fields are written into the last page by the template and never by a script, so nothing in them
//! can become markup. What would not come out again as it came in is not kept at all.

mod encoding;
mod form;
mod parts;
mod words;

use std::borrow::Cow;

use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body::Body as _;

use self::form::{KeptField, KeptForm, Sender};
use super::{
    FORM, SignIn, SignInError, Wishes,
    account::user_id,
    login_url,
    parameters::{ParameterError, Parameters, is_urlencoded},
    return_to::ReturnTo,
};
use crate::{
    base::body::{Body, BodyError},
    pages::{Action, Field, Form, Script, Step, Words},
    request::{Exchange, Inbound, Intent, Site, Verdict},
    sealing::Purpose,
    session::{Found, Session, WriteError},
};

/// A younger form is sent for its author without a question, in seconds: as long as a sign-in may
/// take.
const FRESH: i64 = 600;
/// An older one is not sent at all, in seconds.
const OLDEST: i64 = 3_600;

/// Why a form was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NotKept {
    /// Larger than `session.form_limit`.
    TooLarge,
    /// It holds a file.
    Files,
    /// It would not come out as it came in, or no browser wrote it.
    Unfaithful,
    /// It did not arrive whole.
    Broken,
}

impl SignIn {
    /// Answers a form of ours whose session has ended, or never was. The status is 401, since the
    /// request was not served; the answer is a page, since a person looks at it.
    ///
    /// # Errors
    /// The form could not be sealed.
    pub(super) async fn keep_form(
        &self,
        exchange: &mut Exchange,
        inbound: &mut Inbound,
    ) -> Result<Response<Body>, SignInError> {
        let mut response = match self.read_kept(inbound).await {
            Ok(form) => {
                exchange.decide(Verdict::SignIn, "form kept");
                let sealed = form.seal(&self.keyring).map_err(WriteError::Seal)?;
                self.metrics.sealed(Purpose::Form.word());
                self.keep_page(&form.name(), &sealed)
            }
            Err(reason) => {
                exchange.decide(Verdict::LoginRequired, reason.word());
                self.pages.notice(&words::not_kept(reason))
            }
        };
        self.metrics.refusal("login_required");
        let challenge = HeaderValue::from_static("Bearer");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        Ok(response)
    }

    /// `/.auth/form`: GET takes the kept form out of the browser's storage, POST sends it on.
    ///
    /// # Errors
    /// Another site asks, the parameters are refused, or sign-in cannot begin.
    pub async fn send_kept_form(
        &self,
        exchange: &mut Exchange,
        mut inbound: Inbound,
    ) -> Result<Response<Body>, SignInError> {
        exchange.decide(Verdict::Own, "kept form");
        if *inbound.method() != Method::POST {
            return self.take_form(exchange, &inbound).await;
        }
        if inbound.site() != Site::SameOrigin {
            return Err(SignInError::Foreign);
        }
        if !is_urlencoded(inbound.headers()) {
            return Err(ParameterError::NotAForm.into());
        }
        // Base64 adds a third, and a field's lengths take no more than its punctuation did.
        let cap = self.form_limit.saturating_mul(2).saturating_add(8_192);
        let body = inbound.take_body().read(cap).await.map_err(ParameterError::from)?;
        let parameters = Parameters::parse(&body)?;
        let sealed = parameters.one("sealed")?.ok_or(ParameterError::Missing)?;
        let now = self.clock.unix();
        let Some(form) =
            KeptForm::open(sealed, &self.keyring).filter(|form| form.age(now) <= OLDEST)
        else {
            return Ok(self.pages.notice(&words::too_old()));
        };
        let Found::Live(session) = self.sessions.open(inbound.own_cookies()).await? else {
            return Ok(self.keep_page(&form.name(), sealed));
        };
        Ok(match form.sender(&session.principal) {
            Sender::Other => self.others_page(&form.name(), sealed, &session),
            sender => self.send_page(&form, sender, form.age(now) <= FRESH, &session),
        })
    }

    async fn take_form(
        &self,
        exchange: &mut Exchange,
        inbound: &Inbound,
    ) -> Result<Response<Body>, SignInError> {
        let parameters = Parameters::of_query(inbound.query())?;
        let name = parameters.one("id")?.filter(|name| KeptForm::is_name(name));
        let name = name.ok_or(ParameterError::Missing)?;
        if inbound.intent() != Intent::Navigation {
            return Ok(self.login_required(exchange, inbound));
        }
        if !self.has_live_session(inbound.own_cookies()).await? {
            exchange.decide(Verdict::SignIn, "kept form");
            let place = ReturnTo::parse_or_home(Some(&form_url(name)), &self.public_url);
            let wishes = Wishes::default();
            return self
                .send_to_microsoft(exchange, inbound.own_cookies(), &place, &wishes, 0)
                .await;
        }
        let fields =
            vec![Field { name: "sealed".into(), value: Cow::default(), empty_file: false }];
        Ok(self.pages.step(&Step {
            status: StatusCode::OK,
            script: Script::TakeForm,
            working: words::sending(),
            otherwise: words::nothing_kept(),
            data: vec![("name", name.into())],
            form: Some(Form {
                action: self.public_url.join(FORM).to_string().into(),
                fields,
                ..Form::default()
            }),
            actions: vec![words::start_page()],
        }))
    }

    async fn read_kept(&self, inbound: &mut Inbound) -> Result<KeptForm, NotKept> {
        let target = ReturnTo::parse(inbound.target().path_and_query(), &self.public_url);
        let target = target.ok_or(NotKept::Unfaithful)?;
        let author = self.sessions.last_user(inbound.own_cookies());
        let body = inbound.take_body();
        // Not a byte is read of a form that says itself that it is too large.
        if body.size_hint().lower() > self.form_limit {
            return Err(NotKept::TooLarge);
        }
        let body = body.read(self.form_limit).await.map_err(|error| match error {
            BodyError::TooLarge(_) => NotKept::TooLarge,
            BodyError::Broken(_) | BodyError::Idle(_) | BodyError::Pulled(_) => NotKept::Broken,
        })?;
        let content_type = inbound.headers().get(header::CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or_default();
        KeptForm::read(&body, content_type, &target, author.as_ref(), self.clock.unix())
    }

    /// Keeps the form, and goes to sign in.
    fn keep_page(&self, name: &str, sealed: &str) -> Response<Body> {
        self.pages.step(&Step {
            status: StatusCode::UNAUTHORIZED,
            script: Script::KeepForm,
            working: words::keeping(),
            otherwise: words::cannot_keep(),
            data: vec![
                ("name", name.into()),
                ("sealed", sealed.into()),
                ("next", login_url(&form_url(name)).into()),
            ],
            form: None,
            actions: vec![words::sign_in()],
        })
    }

    /// Keeps the form of somebody else, shows nothing of it and sends nothing.
    fn others_page(&self, name: &str, sealed: &str, session: &Session) -> Response<Body> {
        let other = format!("{}&prompt=select_account", login_url(&form_url(name)));
        self.pages.step(&Step {
            status: StatusCode::FORBIDDEN,
            script: Script::KeepForm,
            working: Words::default(),
            otherwise: words::of_another_user(user_id(session)),
            data: vec![("name", name.into()), ("sealed", sealed.into())],
            form: None,
            actions: vec![
                Action::Link { label: "Use another account".into(), href: other.into() },
                words::start_page(),
            ],
        })
    }

    /// Submits the form to the app, at once or at the press of a button.
    fn send_page(
        &self,
        form: &KeptForm,
        sender: Sender,
        fresh: bool,
        session: &Session,
    ) -> Response<Body> {
        let name = form.name();
        let mut data = vec![("name", name.as_str().into())];
        let at_once = sender == Sender::Author && fresh;
        if at_once {
            data.push(("at", "once".into()));
        }
        let user = user_id(session);
        self.pages.step(&Step {
            status: StatusCode::OK,
            script: Script::SendForm,
            working: words::sending(),
            otherwise: if at_once { words::maybe_sent(user) } else { words::ask(user, sender) },
            data,
            form: Some(Form {
                action: format!("{}{}", self.public_url.origin(), form.target()).into(),
                multipart: form.is_multipart(),
                charset: form.charset(),
                fields: form.fields().iter().map(field).collect(),
                button: Some("Send the form".into()),
            }),
            actions: vec![words::start_page()],
        })
    }
}

fn field(field: &KeptField) -> Field<'_> {
    Field {
        name: field.name.as_str().into(),
        value: field.value.as_str().into(),
        empty_file: field.empty_file,
    }
}

/// Where the form called `name` is sent again.
fn form_url(name: &str) -> String {
    format!("{FORM}?id={name}")
}
