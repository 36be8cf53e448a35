//! A page that goes on by itself: a fixed script acts, and what it needs stands in attributes.
//!
//! It has two halves. One says what is happening, and the script shows it; the other says what to
//! do where no script runs or the script has nothing to do, and is there from the beginning.

use std::borrow::Cow;

use http::StatusCode;
use serde::Serialize;

use super::{
    Action,
    notice::{leads_to_the_web, tone},
};

/// One step on a person's way that a browser takes by itself.
#[derive(Clone, Debug)]
pub struct Step<'a> {
    /// The status of the answer.
    pub status: StatusCode,
    /// What acts.
    pub script: Script,
    /// Shown while it acts.
    pub working: Words<'a>,
    /// Shown where it does not.
    pub otherwise: Words<'a>,
    /// Name and value of what the script reads.
    pub data: Vec<(&'static str, Cow<'a, str>)>,
    /// What it submits.
    pub form: Option<Form<'a>>,
    /// What to do where it does not act; links only.
    pub actions: Vec<Action<'a>>,
}

/// A title and paragraphs.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Words<'a> {
    /// What happens, in a few plain words.
    pub title: Cow<'a, str>,
    /// One entry a paragraph.
    pub text: Vec<Cow<'a, str>>,
}

/// The scripts that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// Goes to `data-next`, with the page's fragment at its end if it is no longer than `data-room`.
    KeepFragment,
    /// Keeps `data-sealed` as `data-name` in the tab's storage and goes to `data-next`, if given.
    KeepForm,
    /// Takes `data-name` out of the tab's storage and submits it as the form's field `sealed`.
    TakeForm,
    /// Submits the form if `data-at` is `once` and this tab did not submit `data-name` before.
    SendForm,
}

impl Script {
    pub(super) fn source(self) -> &'static str {
        macro_rules! script {
            ($file:literal) => {
                concat!(include_str!("scripts/show.js"), include_str!($file))
            };
        }
        match self {
            Self::KeepFragment => script!("scripts/keep_fragment.js"),
            Self::KeepForm => script!("scripts/keep_form.js"),
            Self::TakeForm => script!("scripts/take_form.js"),
            Self::SendForm => script!("scripts/send_form.js"),
        }
    }

    /// Where its form may lead, as the policy says it. The app may answer its form by a redirect
    /// to anywhere, and Chromium holds `form-action` against that too: `None` leaves it out.
    pub(super) fn form_action(self) -> Option<&'static str> {
        match self {
            Self::KeepFragment | Self::KeepForm => Some("'none'"),
            Self::TakeForm => Some("'self'"),
            Self::SendForm => None,
        }
    }
}

/// A form with hidden fields.
#[derive(Clone, Debug, Serialize)]
pub struct Form<'a> {
    /// Where it goes.
    pub action: Cow<'a, str>,
    /// `multipart/form-data` instead of `application/x-www-form-urlencoded`.
    pub multipart: bool,
    /// The encoding in which it is submitted.
    pub charset: &'static str,
    /// Its fields in their order.
    pub fields: Vec<Field<'a>>,
    /// The button that submits it, if there is to be one.
    pub button: Option<Cow<'a, str>>,
}

impl Default for Form<'_> {
    fn default() -> Self {
        Self {
            action: Cow::default(),
            multipart: false,
            charset: "UTF-8",
            fields: Vec::new(),
            button: None,
        }
    }
}

/// A field that nobody sees.
#[derive(Clone, Debug, Serialize)]
pub struct Field<'a> {
    /// Its name.
    pub name: Cow<'a, str>,
    /// Its value.
    pub value: Cow<'a, str>,
    /// A file field without a file, which has no value.
    pub empty_file: bool,
}

/// A step as the template reads it.
#[derive(Debug, Serialize)]
pub(super) struct View<'a> {
    style: &'a str,
    script: &'static str,
    title: &'a str,
    tone: &'static str,
    working: &'a Words<'a>,
    otherwise: &'a Words<'a>,
    data: &'a [(&'static str, Cow<'a, str>)],
    form: Option<&'a Form<'a>>,
    actions: Vec<&'a Action<'a>>,
}

impl Step<'_> {
    pub(super) fn view<'a>(&'a self, style: &'a str) -> View<'a> {
        let form = self.form.as_ref().filter(|form| leads_to_the_web(&form.action));
        let link = |action: &&Action<'_>| {
            !matches!(action, Action::Post { .. }) && action.leads_to_the_web()
        };
        View {
            style,
            script: self.script.source(),
            title: &self.otherwise.title,
            tone: tone(self.status, form.is_some() || self.script == Script::KeepFragment),
            working: &self.working,
            otherwise: &self.otherwise,
            data: &self.data,
            form,
            actions: self.actions.iter().filter(link).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use sha2::{Digest, Sha256};

    use super::*;
    use crate::{base::body::Body, pages::Pages};

    const ALL: [Script; 4] =
        [Script::KeepFragment, Script::KeepForm, Script::TakeForm, Script::SendForm];
    const EVIL: &str = "\"'></form></script><script>alert(1)</script><!-- {{ style }}";

    /// A step that says `EVIL` wherever it can; its policy and its page.
    fn evil(script: Script, action: &str) -> (String, String) {
        let words = || Words { title: EVIL.into(), text: vec![EVIL.into()] };
        let step = Step {
            status: StatusCode::OK,
            script,
            working: words(),
            otherwise: words(),
            data: vec![("name", EVIL.into())],
            form: Some(Form {
                action: action.into(),
                fields: vec![
                    Field { name: EVIL.into(), value: EVIL.into(), empty_file: false },
                    Field { name: EVIL.into(), value: EVIL.into(), empty_file: true },
                ],
                button: Some(EVIL.into()),
                ..Form::default()
            }),
            actions: vec![Action::NewTab {
                label: EVIL.into(),
                href: "javascript:alert(1)".into(),
            }],
        };
        let response = Pages::new().unwrap().step(&step);
        let policy = response.headers().get("content-security-policy").unwrap();
        let policy = policy.to_str().unwrap().to_owned();
        let Body::Full(html) = response.into_body() else { panic!("a page has a body") };
        (policy, String::from_utf8(html.to_vec()).unwrap())
    }

    #[test]
    fn a_step_runs_its_own_script_and_nothing_else_becomes_markup() {
        for script in ALL {
            let (policy, html) = evil(script, "/x");
            let hash = STANDARD.encode(Sha256::digest(script.source()));
            assert!(policy.contains(&format!("; script-src 'sha256-{hash}';")), "{policy}");
            assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
            assert!(policy.ends_with("frame-ancestors 'none'; base-uri 'none'"), "{policy}");
            assert!(html.contains(&format!("<script>{}</script>", script.source())), "{html}");
            assert_eq!(html.matches("<script").count(), 1, "{html}");
            assert_eq!((html.matches("<form").count(), html.matches("</form>").count()), (1, 1));
            assert!(!html.contains("href="), "{html}");
            assert!(!script.source().contains("innerHTML") && !script.source().contains("eval"));
        }
    }

    #[test]
    fn only_a_form_that_goes_to_the_app_may_be_answered_by_a_redirect_to_anywhere() {
        for (script, allowed) in ALL.into_iter().zip(["'none'", "'none'", "'self'", ""]) {
            let (policy, _) = evil(script, "/x");
            let expected = format!("; form-action {allowed};");
            assert_eq!(policy.contains(&expected), !allowed.is_empty(), "{script:?}: {policy}");
        }
    }

    #[test]
    fn a_form_that_leads_nowhere_is_left_out() {
        for action in ["javascript:alert(1)", "//evil.test", "/\\evil.test", "x", ""] {
            let (_, html) = evil(Script::SendForm, action);
            assert!(!html.contains("<form") && !html.contains("<button"), "{action}: {html}");
        }
    }
}
