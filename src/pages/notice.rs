//! What a page says: one thing, why, for support, and what to do next.

use std::borrow::Cow;

use http::StatusCode;
use serde::Serialize;

/// One thing to say to a person.
#[derive(Clone, Debug)]
pub struct Notice<'a> {
    /// The status of the answer; also chooses the page's sign (done, asking, refused, trouble).
    pub status: StatusCode,
    /// What happened, in a few plain words.
    pub title: Cow<'a, str>,
    /// Why, and who can mend it: one entry a paragraph.
    pub text: Vec<Cow<'a, str>>,
    /// Name and value of what support will ask for: correlation id, request id, time.
    pub facts: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// What to do next; the first is the one that most people want.
    pub actions: Vec<Action<'a>>,
}

/// A button. One whose address is neither a path on our origin nor `http(s)` is left out.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Action<'a> {
    /// Goes to another page.
    Link {
        /// What the button says.
        label: Cow<'a, str>,
        /// Where it goes.
        href: Cow<'a, str>,
    },
    /// Goes to another page in a new tab, so that this one stays.
    NewTab {
        /// What the button says.
        label: Cow<'a, str>,
        /// Where it goes.
        href: Cow<'a, str>,
    },
    /// Submits a form, for what a foreign page must not be able to do by a link.
    Post {
        /// What the button says.
        label: Cow<'a, str>,
        /// Where the form goes.
        action: Cow<'a, str>,
        /// Name and value of hidden fields. Never a secret: pages are visible.
        fields: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    },
}

/// A notice as the template reads it.
#[derive(Debug, Serialize)]
pub(super) struct View<'a> {
    style: &'a str,
    tone: &'static str,
    /// Holds a form.
    pub(super) asks: bool,
    title: &'a str,
    text: &'a [Cow<'a, str>],
    facts: &'a [(Cow<'a, str>, Cow<'a, str>)],
    actions: Vec<&'a Action<'a>>,
}

impl Notice<'_> {
    pub(super) fn view<'a>(&'a self, style: &'a str) -> View<'a> {
        let actions: Vec<_> =
            self.actions.iter().filter(|action| action.leads_to_the_web()).collect();
        let asks = actions.iter().any(|action| matches!(action, Action::Post { .. }));
        View {
            style,
            tone: tone(self.status, asks),
            asks,
            title: &self.title,
            text: &self.text,
            facts: &self.facts,
            actions,
        }
    }
}

impl Action<'_> {
    pub(super) fn leads_to_the_web(&self) -> bool {
        let (Self::Link { href: target, .. }
        | Self::NewTab { href: target, .. }
        | Self::Post { action: target, .. }) = self;
        leads_to_the_web(target)
    }
}

/// Whether `target` is a path on our origin or an `http(s)` address.
pub(super) fn leads_to_the_web(target: &str) -> bool {
    // Browsers drop tabs and line ends and read `\` as `/`: `/<TAB>/evil` is another host.
    if target.contains(|c: char| c.is_ascii_control() || c == '\\') {
        return false;
    }
    let own_path = target.starts_with('/') && !target.starts_with("//");
    own_path || target.starts_with("https://") || target.starts_with("http://")
}

/// The sign that a page shows.
pub(super) fn tone(status: StatusCode, asks: bool) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "refused",
        status if status.is_client_error() || status.is_server_error() => "trouble",
        _ if asks => "asking",
        _ => "fine",
    }
}
