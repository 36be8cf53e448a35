//! Where the app is: `http://host:port`, `https://host:port` or `unix:/path`.

use std::{net::IpAddr, path::PathBuf, str::FromStr};

use http::{
    HeaderValue, Uri,
    uri::{Authority, Scheme},
};
use rustls_pki_types::ServerName;

/// What the address of an app looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected \"http://host:port\", \"https://host:port\" or \"unix:/path\", without a path, a user \
     or a query: what is forwarded is the browser's own path"
)]
pub struct AddressError;

/// The one place that requests go to. No request has a say in it.
#[derive(Clone, Debug)]
pub(super) enum Address {
    /// Plain TCP.
    Http(Authority),
    /// TLS, with the name that the certificate must have.
    Https(Authority, ServerName<'static>),
    /// A Unix socket.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            return if path.is_absolute() { Ok(Self::Unix(path)) } else { Err(AddressError) };
        }
        let uri: Uri = text.parse().map_err(|_| AddressError)?;
        let authority = uri.authority().ok_or(AddressError)?.clone();
        let has_user = authority.as_str().contains('@');
        // `http` drops a fragment without a word.
        let has_path = uri.path() != "/" || uri.query().is_some() || text.contains('#');
        if has_user || has_path || authority.port_u16() == Some(0) || authority.host().is_empty() {
            return Err(AddressError);
        }
        match uri.scheme_str() {
            Some("http") => Ok(Self::Http(authority)),
            Some("https") => {
                let name = bare(&authority).to_owned();
                let name = ServerName::try_from(name).map_err(|_| AddressError)?;
                Ok(Self::Https(authority, name))
            }
            _ => Err(AddressError),
        }
    }
}

impl Address {
    /// The scheme and authority of requests. Nobody dials them, and a Unix socket has none.
    pub(super) fn scheme(&self) -> Scheme {
        match self {
            Self::Http(_) | Self::Unix(_) => Scheme::HTTP,
            Self::Https(..) => Scheme::HTTPS,
        }
    }

    /// See [`Address::scheme`].
    pub(super) fn authority(&self) -> Authority {
        match self {
            Self::Http(authority) | Self::Https(authority, _) => authority.clone(),
            Self::Unix(_) => Authority::from_static("localhost"),
        }
    }

    /// The app's own `Host`.
    pub(super) fn host(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(self.authority().as_str()).ok()
    }

    /// Whether nobody but this machine (this pod) can be at the other end.
    pub(super) fn is_loopback(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Http(authority) | Self::Https(authority, _) => {
                let host = bare(authority);
                let name = host.to_ascii_lowercase();
                host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
                    || name == "localhost"
                    || name.ends_with(".localhost")
            }
        }
    }
}

/// The host without the brackets of IPv6.
fn bare(authority: &Authority) -> &str {
    let host = authority.host();
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_scheme_and_an_authority_or_a_socket() {
        for (text, loopback) in [
            ("http://127.0.0.1:8080", true),
            ("http://[::1]:8080/", true),
            ("https://LOCALHOST:8443", true),
            ("http://app.localhost:3000", true),
            ("unix:/run/app.sock", true),
            ("http://app:8080", false),
            ("https://10.0.0.1", false),
            ("http://localhost.evil.test", false),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.is_loopback(), loopback, "{text}");
        }
    }

    #[test]
    fn whatever_else_an_address_says_is_refused() {
        for text in [
            "",
            "127.0.0.1:8080",
            "app",
            "ftp://app",
            "http://",
            "http://app/base",
            "http://app?x",
            "http://app/#x",
            "http://user@app",
            "http://app:0",
            "unix:app.sock",
            "https://-",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }
}
