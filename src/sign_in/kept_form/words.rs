//! What a person reads while a form is kept and sent again.

use http::StatusCode;

use super::{NotKept, Sender};
use crate::{
    pages::{Action, Notice, Words},
    sign_in::LOGIN,
};

impl NotKept {
    /// For the access line.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::TooLarge => "form too large to be kept",
            Self::Files => "form with files not kept",
            Self::Unfaithful => "form cannot be kept as it is",
            Self::Broken => "form did not arrive",
        }
    }
}

const OTHER_TAB: &str = "Sign in in another tab. Then come back to this one and reload this page: \
                         your browser offers to send the form again.";

fn words(title: &'static str, text: &[&'static str]) -> Words<'static> {
    Words { title: title.into(), text: text.iter().map(|text| (*text).into()).collect() }
}

pub(super) fn start_page() -> Action<'static> {
    Action::Link { label: "Start page".into(), href: "/".into() }
}

pub(super) fn sign_in() -> Action<'static> {
    Action::NewTab { label: "Sign in in another tab".into(), href: LOGIN.into() }
}

pub(super) fn keeping() -> Words<'static> {
    words(
        "Your form is kept; signing you in…",
        &["Your session has ended, so your form has not reached the app yet. This browser keeps \
           it while you sign in, and then sends it again, once."],
    )
}

pub(super) fn cannot_keep() -> Words<'static> {
    words(
        "Your form was not sent",
        &[
            "Your session has ended, and this browser did not let this page keep your form while \
             you sign in: it runs no scripts here, or stores nothing for this site.",
            OTHER_TAB,
        ],
    )
}

pub(super) fn not_kept(reason: NotKept) -> Notice<'static> {
    let why = match reason {
        NotKept::TooLarge => {
            "Your session has ended, and the form is too large to be kept while \
                              you sign in."
        }
        NotKept::Files => {
            "Your session has ended, and a form with files cannot be kept while you \
                           sign in."
        }
        NotKept::Unfaithful => {
            "Your session has ended, and this form cannot be kept exactly as \
                                it is while you sign in."
        }
        NotKept::Broken => "Your session has ended, and the form did not arrive completely.",
    };
    Notice {
        status: StatusCode::UNAUTHORIZED,
        title: "Your form was not sent".into(),
        text: vec![why.into(), OTHER_TAB.into()],
        facts: Vec::new(),
        actions: vec![sign_in()],
    }
}

pub(super) fn sending() -> Words<'static> {
    words("Sending your form again…", &["You are signed in. Your form goes to the app now."])
}

pub(super) fn nothing_kept() -> Words<'static> {
    words(
        "There is no form to send here",
        &["It was sent already, or it was kept in another tab or browser. Nothing was sent just \
           now."],
    )
}

pub(super) fn maybe_sent(user: &str) -> Words<'static> {
    Words {
        title: "Your form may have been sent already".into(),
        text: vec![
            "This page sent it to the app before. If you are not sure that it arrived, look it up \
             in the app first: sending it once more may do twice what you want once."
                .into(),
            signed_in_as(user),
        ],
    }
}

pub(super) fn ask(user: &str, sender: Sender) -> Words<'static> {
    let why = match sender {
        Sender::Author => "It was kept for more than ten minutes, so it is not sent unasked.",
        Sender::Unknown | Sender::Other => {
            "It is not known which account filled it in, so it is not sent unasked."
        }
    };
    Words {
        title: "Send your form now?".into(),
        text: vec!["Your form has not been sent yet.".into(), why.into(), signed_in_as(user)],
    }
}

pub(super) fn of_another_user(user: &str) -> Words<'static> {
    Words {
        title: "This form is not yours".into(),
        text: vec![
            "It was filled in by somebody who was signed in with another account, so it was not \
             sent. Sign in with that account to send it."
                .into(),
            signed_in_as(user),
        ],
    }
}

pub(super) fn too_old() -> Notice<'static> {
    Notice {
        status: StatusCode::GONE,
        title: "Your form was not sent".into(),
        text: vec![
            "It was kept for more than an hour, or was kept by a service with other keys. Please \
             fill it in again."
                .into(),
        ],
        facts: Vec::new(),
        actions: vec![start_page()],
    }
}

fn signed_in_as(user: &str) -> std::borrow::Cow<'static, str> {
    format!("You are signed in as {user}.").into()
}
