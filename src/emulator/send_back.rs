//! How authorize's answer travels to the app: query, fragment, or an auto-submitting form.

use http::StatusCode;
use url::{Url, form_urlencoded};

use crate::emulator::{
    call::{self, Answer},
    faults::CallbackFault,
    pages,
};

/// What authorize tells the app.
pub(crate) type Parameters = Vec<(&'static str, String)>;

/// `response_mode`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ResponseMode {
    Query,
    Fragment,
    FormPost,
}

impl ResponseMode {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        match name {
            "query" => Some(Self::Query),
            "fragment" => Some(Self::Fragment),
            "form_post" => Some(Self::FormPost),
            _ => None,
        }
    }
}

/// Sends `parameters` to a redirect URI that has been found registered.
pub(crate) fn to_app(
    redirect_uri: &str,
    mode: ResponseMode,
    mut parameters: Parameters,
    fault: Option<CallbackFault>,
) -> Answer {
    spoil(&mut parameters, fault);
    // A URI without a path comes back with a slash.
    let Ok(mut url) = Url::parse(redirect_uri) else { return call::redirect(redirect_uri) };
    match mode {
        ResponseMode::Query => {
            url.query_pairs_mut().extend_pairs(&parameters);
            call::redirect(url.as_str())
        }
        ResponseMode::Fragment => {
            let fragment =
                form_urlencoded::Serializer::new(String::new()).extend_pairs(&parameters).finish();
            url.set_fragment(Some(&fragment));
            call::redirect(url.as_str())
        }
        ResponseMode::FormPost => {
            call::page(StatusCode::OK, pages::form_post(url.as_str(), &parameters))
        }
    }
}

fn spoil(parameters: &mut Parameters, fault: Option<CallbackFault>) {
    let copy = |parameters: &mut Parameters, name: &str| {
        let found = parameters.iter().find(|(key, _)| *key == name).cloned();
        parameters.extend(found);
    };
    match fault {
        None => {}
        Some(CallbackFault::StateAbsent) => parameters.retain(|(name, _)| *name != "state"),
        Some(CallbackFault::CodeAbsent) => parameters.retain(|(name, _)| *name != "code"),
        Some(CallbackFault::StateTwice) => copy(parameters, "state"),
        Some(CallbackFault::CodeTwice) => copy(parameters, "code"),
        Some(CallbackFault::StateInvalid) => {
            for (_, value) in parameters.iter_mut().filter(|(name, _)| *name == "state") {
                value.push('1');
            }
        }
    }
}

/// `state` comes back without HTML tags.
pub(crate) fn without_tags(state: &str) -> String {
    let mut rest = state;
    let mut kept = String::with_capacity(state.len());
    while let Some((before, after)) = rest.split_once('<') {
        let Some((_, after)) = after.split_once('>') else { break };
        kept.push_str(before);
        rest = after;
    }
    kept.push_str(rest);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn state_loses_its_tags_and_nothing_else() {
        assert_eq!(without_tags("a<b>c</b>d"), "acd");
        assert_eq!(without_tags("1 < 2 & x"), "1 < 2 & x");
        assert_eq!(without_tags("plain-_~."), "plain-_~.");
    }

    #[test]
    fn a_redirect_uri_keeps_its_own_query_and_gains_a_path() {
        let answer = to_app(
            "http://localhost:4180?tenant=7",
            ResponseMode::Query,
            vec![("code", "a b".to_owned())],
            None,
        );
        assert_eq!(answer.headers()["location"], "http://localhost:4180/?tenant=7&code=a+b");
    }
}
