//! What a person is told when something did not work: what happened, and who can mend it.

use std::borrow::Cow;

use http::StatusCode;

use crate::{
    entra::{AuthorizeError, EntraError, Refusal, Remedy},
    pages::Action,
    rules::Denial,
    session::{RenewalError, Trouble, WriteError},
    sign_in::{SignInError, login_url},
    upstream::UpstreamError,
};

/// What is shown.
#[derive(Debug, Default)]
pub(super) struct Explanation<'a> {
    pub(super) status: StatusCode,
    pub(super) title: Cow<'a, str>,
    pub(super) text: Vec<Cow<'a, str>>,
    pub(super) facts: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    pub(super) actions: Vec<Action<'a>>,
    /// Seconds for `Retry-After`.
    pub(super) retry_after: Option<i64>,
}

impl Explanation<'_> {
    /// The ways to sign in again lead to `wanted`: a page that somebody looked for, or a form that
    /// is kept, is not lost because the first try failed.
    pub(super) fn leading_to(mut self, wanted: Option<&str>) -> Self {
        let Some(wanted) = wanted else { return self };
        for action in &mut self.actions {
            if let Action::Link { href, .. } = action {
                if href == HOME {
                    *href = login_url(wanted).into();
                } else if href == OTHER_ACCOUNT {
                    *href = format!("{}&prompt=select_account", login_url(wanted)).into();
                }
            }
        }
        self
    }
}

const HOME: &str = "/";
const OTHER_ACCOUNT: &str = "/.auth/login/aad?prompt=select_account";

/// Seconds after which it makes sense to try again where nobody said better.
const SOON: i64 = 5;

fn again() -> Action<'static> {
    Action::Link { label: "Sign in again".into(), href: HOME.into() }
}

fn other_account() -> Action<'static> {
    Action::Link { label: "Use another account".into(), href: OTHER_ACCOUNT.into() }
}

/// A rule says no.
pub(super) fn forbidden(denial: Denial) -> Explanation<'static> {
    let text = match denial {
        Denial::Denied => "This part of the app is closed to everybody.",
        Denial::Role => {
            "You are signed in, but your account does not have a role that this part of the app \
             asks for. The app's owner can assign it in Microsoft Entra."
        }
        Denial::Group => {
            "You are signed in, but your account is in none of the groups that this part of the \
             app asks for. The app's owner can add you."
        }
        Denial::User => {
            "You are signed in, but this part of the app is open to named people only, and your \
             account is not among them. The app's owner can add you."
        }
    };
    let actions = if denial == Denial::Denied { Vec::new() } else { vec![other_account()] };
    Explanation {
        status: StatusCode::FORBIDDEN,
        title: "You may not open this".into(),
        text: vec![text.into()],
        actions,
        ..Explanation::default()
    }
}

/// The session's token has expired and cannot be renewed now.
pub(super) fn renewal(error: &RenewalError) -> Explanation<'static> {
    let retry_after = match error {
        RenewalError::Unavailable { retry_after } => *retry_after,
        RenewalError::Ended { .. } => SOON,
        RenewalError::Store(_) => return store(),
    };
    Explanation {
        status: StatusCode::SERVICE_UNAVAILABLE,
        title: "Microsoft does not answer just now".into(),
        text: vec![
            "You are still signed in. Your access needs to be renewed and Microsoft's sign-in \
             service cannot do that at this moment. Try again in a little while."
                .into(),
        ],
        retry_after: Some(retry_after),
        ..Explanation::default()
    }
}

/// The store cannot say whether there is a session.
pub(super) fn store() -> Explanation<'static> {
    Explanation {
        status: StatusCode::SERVICE_UNAVAILABLE,
        title: "Your session cannot be looked up just now".into(),
        text: vec![
            "You are not signed out. The place where this app keeps its sessions does not answer \
             at this moment. Try again in a little while."
                .into(),
        ],
        retry_after: Some(SOON),
        ..Explanation::default()
    }
}

/// Signing in worked, but the store did not take the session.
fn not_stored() -> Explanation<'static> {
    Explanation {
        status: StatusCode::SERVICE_UNAVAILABLE,
        title: "Your session cannot be kept just now".into(),
        text: vec![
            "Microsoft signed you in, but the place where this app keeps its sessions does not \
             answer at this moment. Try again in a little while."
                .into(),
        ],
        actions: vec![again()],
        retry_after: Some(SOON),
        ..Explanation::default()
    }
}

/// The app did not answer.
pub(super) fn upstream(error: &UpstreamError) -> Explanation<'static> {
    let status = error.status();
    if status.is_client_error() {
        let text = match error {
            UpstreamError::CallerTooLarge(_) => "It is larger than is taken here.",
            UpstreamError::CallerIdle(_) => "It took too long to arrive.",
            _ => "It did not arrive whole.",
        };
        return Explanation {
            status,
            title: "What you sent was not taken".into(),
            text: vec![text.into(), "Nothing is wrong with the app; try again.".into()],
            ..Explanation::default()
        };
    }
    let text = if status == StatusCode::GATEWAY_TIMEOUT {
        "You are signed in, but the app took too long to answer."
    } else {
        "You are signed in, but the app behind this page cannot be reached. It may be starting."
    };
    Explanation {
        status,
        title: "The app does not answer".into(),
        text: vec![text.into(), "If this lasts, tell whoever runs the app.".into()],
        ..Explanation::default()
    }
}

/// Metric and log word of a sign-in error.
pub(super) fn word(error: &SignInError) -> &'static str {
    match error {
        SignInError::Parameters(_) => "callback_parameters",
        SignInError::NoJar => "no_sign_in_cookie",
        SignInError::UnknownFlow => "unknown_sign_in",
        SignInError::Refused(_) => "refused_by_microsoft",
        SignInError::Entra(error) => error.word(),
        SignInError::Store(_) | SignInError::Write(WriteError::Store(_)) => "store_unavailable",
        SignInError::Write(_) => "session_too_large",
        SignInError::Loop { .. } => "sign_in_loop",
        SignInError::Renewal(_) => "renewal_unavailable",
        SignInError::LoginRequired => "login_required",
        SignInError::Foreign => "cross_site",
        SignInError::Random(_) => "no_randomness",
    }
}

/// The sign-in cannot go on.
pub(super) fn sign_in(error: &SignInError) -> Explanation<'_> {
    let told = |status, title: &'static str, text: &[&'static str]| Explanation {
        status,
        title: title.into(),
        text: text.iter().map(|text| (*text).into()).collect(),
        actions: vec![again()],
        ..Explanation::default()
    };
    match error {
        SignInError::Parameters(_) => told(
            StatusCode::BAD_REQUEST,
            "This address is not complete",
            &[
                "Something in the address that brought you here is missing or was changed on the way.",
            ],
        ),
        SignInError::NoJar => told(
            StatusCode::BAD_REQUEST,
            "Your browser sent no cookie",
            &[
                "Signing in needs a cookie that this site set a moment ago, and your browser did \
                 not send it back. Either cookies are blocked for this site, or the sign-in was \
                 begun in another browser.",
                "Allow cookies for this site and sign in again. Browsers take such cookies over \
                 https only, most of them on http://localhost too; Safari does not: use another \
                 browser there.",
                "If the address bar shows another address than before you signed in, \
                 server.public_url is not the address that people use: tell whoever runs the app.",
            ],
        ),
        SignInError::UnknownFlow => told(
            StatusCode::BAD_REQUEST,
            "This sign-in is over",
            &["It was finished already, took too long, or was begun in another window."],
        ),
        SignInError::Refused(refused) => authorize(&refused.0),
        SignInError::Entra(error) => entra(error),
        SignInError::Write(WriteError::TooLarge(_)) => told(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "Your session is too large",
            &[
                "Signing in worked, but your account carries more than the cookies of this site \
                 may hold; group memberships are the usual cause.",
                "The app's owner can raise session.cookie_budget, or use app roles instead of \
                 groups in Microsoft Entra.",
            ],
        ),
        SignInError::Loop { trouble } => going_round(*trouble),
        SignInError::Renewal(error) => renewal(error),
        SignInError::Store(_) => store(),
        SignInError::Write(WriteError::Store(_)) => not_stored(),
        SignInError::Foreign | SignInError::LoginRequired => {
            told(StatusCode::FORBIDDEN, "Refused", &["This request was refused."])
        }
        SignInError::Write(WriteError::Seal(_)) | SignInError::Random(_) => Explanation {
            retry_after: Some(SOON),
            ..told(
                StatusCode::SERVICE_UNAVAILABLE,
                "Signing in does not work just now",
                &["Something went wrong on this side. Whoever runs the app can see it in the log."],
            )
        },
    }
}

/// The small jar cookie, in which the rounds are counted, did arrive. So the browser takes our
/// cookies, also on this address; what went wrong concerns the session's cookies alone.
fn going_round(trouble: Trouble) -> Explanation<'static> {
    let (cause, mend) = match trouble {
        Trouble::Missing => (
            "Microsoft signed you in three times within a minute, but your browser never sent the \
             session cookie back, while it did send a small one.",
            "The session cookie is large. The likely causes: a proxy in between drops or cuts \
             large headers (its buffers must hold 16 KB), an extension removes the cookie, or this \
             site has set so many cookies that the browser drops some.",
        ),
        Trouble::Incomplete => (
            "Microsoft signed you in three times within a minute, and each time only a part of \
             the session's cookies came back.",
            "The likely causes: a proxy in between drops or cuts large headers (its buffers must \
             hold 16 KB), another app on this address sets cookies of the same names, or an \
             extension removes some. Clearing the cookies of this site can help.",
        ),
        Trouble::Unreadable => (
            "Microsoft signed you in three times within a minute, and each time the session that \
             your browser sent back could not be opened.",
            "The likely causes: the copies of this service do not share session.keys, or do not \
             agree on server.public_url, entra.tenant or entra.client_id; or another app on this \
             address sets cookies of the same names.",
        ),
        Trouble::Over => (
            "Microsoft signed you in three times within a minute, and each time the session was \
             over when your browser sent it back.",
            "The likely causes: the clocks of the copies of this service differ by minutes, \
             session.lifetime or session.idle_timeout is shorter than the difference, or Microsoft \
             says that your session there has ended: sign out of Microsoft and in again.",
        ),
    };
    Explanation {
        status: StatusCode::BAD_REQUEST,
        title: "Signing in goes round in circles".into(),
        text: vec![cause.into(), mend.into()],
        actions: vec![again()],
        ..Explanation::default()
    }
}

/// Microsoft sent the browser back with an error.
fn authorize(error: &AuthorizeError) -> Explanation<'_> {
    let facts = facts(error.refusal());
    Explanation { facts, ..by_remedy(error.remedy(), error.code(), None) }
}

/// Microsoft answered us with an error, or not at all.
fn entra(error: &EntraError) -> Explanation<'_> {
    let facts = error.refusal().map(facts).unwrap_or_default();
    let retry_after = error.retry_after().map(|wait| wait.as_secs().cast_signed());
    Explanation { facts, ..by_remedy(error.remedy(), error.code(), retry_after) }
}

/// What Microsoft's support asks for. Its description is never shown (D11).
fn facts(refusal: &Refusal) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
    let code = refusal.codes().first().map(|code| format!("AADSTS{code}").into());
    [
        ("Microsoft's answer", Some(Cow::from(refusal.word()))),
        ("Code", code),
        ("Correlation ID", refusal.correlation_id().map(Cow::from)),
        ("Trace ID", refusal.trace_id().map(Cow::from)),
        ("Microsoft's time", refusal.timestamp().map(Cow::from)),
    ]
    .into_iter()
    .filter_map(|(label, fact)| Some((label.into(), fact?)))
    .collect()
}

fn by_remedy(remedy: Remedy, code: Option<u32>, retry_after: Option<i64>) -> Explanation<'static> {
    let (status, title, text, actions): (_, _, &[&'static str], _) = match (remedy, code) {
        (_, Some(65004)) => (
            StatusCode::FORBIDDEN,
            "You declined",
            &["The app cannot sign you in without the permissions that Microsoft asked you for."],
            vec![again(), other_account()],
        ),
        (_, Some(50105)) => (
            StatusCode::FORBIDDEN,
            "Your account is not assigned to this app",
            &["An administrator of your organisation can assign you to it in Microsoft Entra."],
            vec![other_account()],
        ),
        (_, Some(50020 | 50034 | 50014 | 16003 | 51004 | 90072)) => (
            StatusCode::FORBIDDEN,
            "This account does not belong here",
            &["The account that you used is not known in the organisation that runs this app."],
            vec![other_account()],
        ),
        (_, Some(50196)) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "Too many sign-ins in a short time",
            &["Microsoft has paused signing in for this browser. Wait a minute and try again."],
            vec![again()],
        ),
        (Remedy::Blocked, _) => (
            StatusCode::FORBIDDEN,
            "Your organisation does not allow this sign-in",
            &[
                "A policy of your organisation, or your own answer on Microsoft's page, stopped it.",
                "An administrator can look it up by the correlation ID below.",
            ],
            vec![again(), other_account()],
        ),
        (Remedy::ConsentNeeded, _) => (
            StatusCode::FORBIDDEN,
            "The app needs your permission",
            &["Sign in again and accept what Microsoft asks you for."],
            vec![again()],
        ),
        (Remedy::AdminConsent, _) => (
            StatusCode::FORBIDDEN,
            "An administrator must allow this app first",
            &["Your organisation asks that an administrator grants the app its permissions. \
               Send them this page."],
            vec![again(), other_account()],
        ),
        (Remedy::SignInAgain | Remedy::RestartOnce, _) => (
            StatusCode::BAD_REQUEST,
            "Signing in did not work",
            &["Microsoft did not complete the sign-in, twice in a row. Try again; if it happens \
               once more, an administrator can look it up by the correlation ID."],
            vec![again(), other_account()],
        ),
        (Remedy::Misconfigured, _) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "This app's sign-in is not set up correctly",
            &[
                "You did nothing wrong. Microsoft refused the app itself, or the app cannot show \
                 who it is: its credential, its permissions or its registration must be mended.",
                "Tell whoever runs the app, with the code and the correlation ID that are written \
                 below if Microsoft gave them.",
            ],
            vec![again()],
        ),
        (Remedy::Later, _) => (
            StatusCode::SERVICE_UNAVAILABLE,
            "Microsoft does not answer just now",
            &["Microsoft's sign-in service cannot be reached or is busy. Try again in a little \
               while."],
            vec![again()],
        ),
        (Remedy::Refuse, _) => (
            StatusCode::FORBIDDEN,
            "The answer of Microsoft was refused",
            &["Something in it did not belong to this sign-in, so nobody was signed in. Try \
               again; if it happens once more, tell whoever runs the app."],
            vec![again(), other_account()],
        ),
    };
    let unavailable = status == StatusCode::SERVICE_UNAVAILABLE;
    Explanation {
        status,
        title: title.into(),
        text: text.iter().map(|text| (*text).into()).collect(),
        facts: Vec::new(),
        actions,
        retry_after: unavailable.then(|| retry_after.unwrap_or(SOON)),
    }
}
