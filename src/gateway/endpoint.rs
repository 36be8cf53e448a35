//! Our own URLs, under the names that App Service gave them.

use http::Method;

/// One of our own URLs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Begins a sign-in.
    Login,
    /// The redirect URI.
    Callback,
    /// Ends the session.
    Logout,
    /// Microsoft's front-channel sign-out.
    FrontChannelLogout,
    /// Who is signed in.
    Me,
    /// Renews the tokens.
    Refresh,
    /// When things end.
    Session,
    /// Sends a form that was kept over a sign-in.
    Form,
    /// Below `/.auth/`, but nothing of ours: the app never sees that prefix.
    Unknown,
}

/// Exact paths. Order does not matter here: there are no prefixes.
const TABLE: &[(&str, Endpoint)] = &[
    ("/.auth/form", Endpoint::Form),
    ("/.auth/login", Endpoint::Login),
    ("/.auth/login/aad", Endpoint::Login),
    ("/.auth/login/aad/callback", Endpoint::Callback),
    ("/.auth/logout", Endpoint::Logout),
    ("/.auth/logout/frontchannel", Endpoint::FrontChannelLogout),
    ("/.auth/me", Endpoint::Me),
    ("/.auth/refresh", Endpoint::Refresh),
    ("/.auth/session", Endpoint::Session),
];

impl Endpoint {
    /// The endpoint at `path`, if it is ours. All of `/.auth/` is (B7); whoever guesses at another
    /// spelling of it reaches neither us nor the app's own `/.auth/`.
    pub fn at(path: &str) -> Option<Self> {
        let exact = TABLE.iter().find(|(known, _)| *known == path).map(|(_, endpoint)| *endpoint);
        let ours = path == "/.auth" || path.starts_with("/.auth/");
        exact.or_else(|| ours.then_some(Self::Unknown))
    }

    /// The methods that it answers.
    pub fn methods(self) -> &'static [Method] {
        match self {
            Self::Callback | Self::Form | Self::Logout => {
                &[Method::GET, Method::HEAD, Method::POST]
            }
            Self::Refresh => &[Method::POST],
            Self::Login | Self::FrontChannelLogout | Self::Me | Self::Session | Self::Unknown => {
                &[Method::GET, Method::HEAD]
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_prefix_is_ours_and_nothing_else_is() {
        assert_eq!(Endpoint::at("/.auth/login"), Some(Endpoint::Login));
        assert_eq!(Endpoint::at("/.auth/nothing"), Some(Endpoint::Unknown));
        assert_eq!(Endpoint::at("/.auth"), Some(Endpoint::Unknown));
        for path in ["/", "/.authx", "/a/.auth/me", "/.AUTH/me"] {
            assert_eq!(Endpoint::at(path), None, "{path}");
        }
    }
}
