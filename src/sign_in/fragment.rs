//! The part of an address behind `#`, kept over a sign-in for apps that route by it.
//!
//! It never reaches a server by itself, and browsers carry it through redirects only as long as
//! nobody has to click. So a page of ours puts it into the address that begins the sign-in, where
//! it becomes part of the sealed flow: that works in any number of tabs and stores nothing.

use http::{Response, StatusCode};

use super::{SignIn, login_url, return_to};
use crate::sign_in::ReturnTo;
use crate::{
    base::body::Body,
    pages::{Action, Script, Step, Words},
};

impl SignIn {
    /// The page instead of the redirect: it goes on to sign in, and back to `place` with the
    /// fragment of its own address. 200, since it is a step and nothing was refused.
    pub(super) fn remember_fragment(&self, place: &ReturnTo) -> Response<Body> {
        let room = return_to::LONGEST.saturating_sub(place.as_str().len());
        let next = login_url(place.as_str());
        let title = "Signing you in…";
        self.pages.step(&Step {
            status: StatusCode::OK,
            script: Script::KeepFragment,
            working: Words { title: title.into(), text: vec!["One moment.".into()] },
            otherwise: Words {
                title: "Sign in to go on".into(),
                text: vec!["This app asks you to sign in with your Microsoft account.".into()],
            },
            data: vec![("next", next.as_str().into()), ("room", room.to_string().into())],
            form: None,
            actions: vec![Action::Link { label: "Sign in".into(), href: next.clone().into() }],
        })
    }
}
