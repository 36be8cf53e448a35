//! Who we are to browsers: [`PublicUrl`].

use std::{fmt, net::IpAddr, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use url::{Host, Url};

/// The origin that browsers see: `https://app.contoso.com`. Redirect URIs and `Location` are built
/// from it alone; neither `Host` nor `X-Forwarded-*` chooses them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicUrl {
    url: Url,
    /// ASCII serialization (RFC 6454 §6.2): lower case, IDNA, without the default port.
    origin: String,
    scheme: Scheme,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scheme {
    Http,
    Https,
}

/// Why a text is no public URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublicUrlError {
    /// No URL at all, or one with another scheme.
    #[error("expected an origin such as \"https://app.contoso.com\"")]
    NotAnOrigin,
    /// More than scheme, host and port.
    #[error(
        "expected scheme, host and port alone: no user, path, query or fragment, since the proxy serves a whole origin"
    )]
    MoreThanOrigin,
    /// Cookies and tokens would cross the network in clear.
    #[error("http is accepted on loopback alone (localhost, *.localhost, 127.0.0.0/8, [::1])")]
    PlainHttp,
    /// `https://app.contoso.com.` is another origin to browsers.
    #[error("the host must not end in a dot, and the port must not be 0")]
    OddAuthority,
}

impl PublicUrl {
    /// Reads an origin: https anywhere, http on loopback alone; a single trailing `/` is ignored.
    pub fn parse(text: &str) -> Result<Self, PublicUrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(PublicUrlError::NotAnOrigin)?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(PublicUrlError::NotAnOrigin),
        };
        // The URL parser forgives: it drops tabs, turns `\` into `/`, resolves dots. A setting that
        // needs forgiveness does not say what its author believes, so it is refused first.
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains(['/', '\\', '?', '#', '@']) {
            return Err(PublicUrlError::MoreThanOrigin);
        }
        if authority.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(PublicUrlError::NotAnOrigin);
        }
        let url = Url::parse(text).map_err(|_| PublicUrlError::NotAnOrigin)?;
        let host = url.host().ok_or(PublicUrlError::NotAnOrigin)?;
        if url.port() == Some(0) || matches!(host, Host::Domain(name) if name.ends_with('.')) {
            return Err(PublicUrlError::OddAuthority);
        }
        if scheme == Scheme::Http && !is_loopback(&host) {
            return Err(PublicUrlError::PlainHttp);
        }
        let origin = url.origin().ascii_serialization();
        Ok(Self { url, origin, scheme })
    }

    /// `https://app.contoso.com`: ASCII, lower case, the default port dropped.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// `https` or `http`.
    pub fn scheme(&self) -> &str {
        match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    /// `app.contoso.com` or `localhost:4180`: what a browser sends as `Host`.
    pub fn authority(&self) -> &str {
        let scheme = match self.scheme {
            Scheme::Http => "http://",
            Scheme::Https => "https://",
        };
        self.origin.strip_prefix(scheme).unwrap_or_default()
    }

    /// Whether this is an `http` origin, which is always a loopback one.
    pub fn is_loopback_http(&self) -> bool {
        self.scheme == Scheme::Http
    }

    /// This origin with a path (and query) that starts with `/`.
    ///
    /// The path goes behind the whole origin, so that even `//evil.test` stays on it.
    pub fn join(&self, path_and_query: &str) -> Url {
        let slash = if path_and_query.starts_with('/') { "" } else { "/" };
        let text = format!("{}{slash}{path_and_query}", self.origin);
        Url::parse(&text).unwrap_or_else(|_| self.url.clone())
    }

    /// Whether a `Host` or `:authority` names this origin: any case, with or without the default
    /// port (RFC 9110 §4.2.3).
    pub fn matches_authority(&self, host: &str) -> bool {
        let default_port = match self.scheme {
            Scheme::Http => ":80",
            Scheme::Https => ":443",
        };
        let host = host.strip_suffix(default_port).unwrap_or(host);
        host.eq_ignore_ascii_case(self.authority())
    }

    /// Whether an `Origin` header names this origin. `null` never does.
    pub fn is_same_origin(&self, origin_header: &[u8]) -> bool {
        origin_header == self.origin.as_bytes()
    }
}

fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        // RFC 6761 §6.3 and the Secure Contexts specification: never resolved elsewhere.
        Host::Domain(name) => *name == "localhost" || name.ends_with(".localhost"),
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => IpAddr::V6(*address).is_loopback(),
    }
}

impl FromStr for PublicUrl {
    type Err = PublicUrlError;

    fn from_str(text: &str) -> Result<Self, PublicUrlError> {
        Self::parse(text)
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.origin)
    }
}

impl<'de> Deserialize<'de> for PublicUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Serialize for PublicUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.origin)
    }
}

impl JsonSchema for PublicUrl {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "PublicUrl".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "an origin: https, or http on loopback; no path",
            "pattern": "^https?://[^/?#@]+/?$",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_written_as_browsers_write_it() {
        for (text, origin, authority) in [
            ("https://app.contoso.com", "https://app.contoso.com", "app.contoso.com"),
            ("HTTPS://App.Contoso.COM:443/", "https://app.contoso.com", "app.contoso.com"),
            (
                "https://app.contoso.com:8443",
                "https://app.contoso.com:8443",
                "app.contoso.com:8443",
            ),
            ("http://localhost:4180", "http://localhost:4180", "localhost:4180"),
            ("http://[::1]:80", "http://[::1]", "[::1]"),
            ("https://bücher.example", "https://xn--bcher-kva.example", "xn--bcher-kva.example"),
        ] {
            let url = PublicUrl::parse(text).unwrap();
            assert_eq!((url.origin(), url.authority()), (origin, authority), "{text}");
            assert_eq!(url.to_string(), origin);
        }
    }

    #[test]
    fn anything_more_or_less_than_an_origin_is_refused() {
        for text in [
            "https://app.contoso.com/app",
            "https://app.contoso.com//",
            "https://app.contoso.com/?",
            "https://app.contoso.com#x",
            "https://user@app.contoso.com",
            "https:\\\\app.contoso.com",
            "https://app.contoso.com\\",
            "https:app.contoso.com",
            "app.contoso.com",
            "ftp://app.contoso.com",
            "https://app.contoso.com:0",
            "https://app.contoso.com:70000",
            "https://app.contoso.com.",
            "https://app.\tcontoso.com",
            " https://app.contoso.com",
            "https://",
            "",
        ] {
            assert!(PublicUrl::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn http_is_for_loopback_alone() {
        for text in ["http://localhost", "http://a.localhost:1", "http://127.9.9.9", "http://[::1]"]
        {
            assert!(PublicUrl::parse(text).unwrap().is_loopback_http(), "{text}");
        }
        for text in ["http://app.contoso.com", "http://10.0.0.1", "http://localhost.evil.test"] {
            assert_eq!(PublicUrl::parse(text), Err(PublicUrlError::PlainHttp), "{text}");
        }
        assert!(!PublicUrl::parse("https://localhost").unwrap().is_loopback_http());
    }

    #[test]
    fn a_host_matches_in_any_case_and_with_the_default_port() {
        let url = PublicUrl::parse("https://app.contoso.com").unwrap();
        for host in ["app.contoso.com", "APP.contoso.com", "app.contoso.com:443"] {
            assert!(url.matches_authority(host), "{host}");
        }
        for host in
            ["app.contoso.com:80", "app.contoso.com.", "a.app.contoso.com", "app.contoso.co", ""]
        {
            assert!(!url.matches_authority(host), "{host}");
        }
        let local = PublicUrl::parse("http://localhost:4180").unwrap();
        assert!(local.matches_authority("localhost:4180"));
        assert!(!local.matches_authority("localhost"));
    }

    #[test]
    fn a_joined_path_never_leaves_the_origin() {
        let url = PublicUrl::parse("https://app.contoso.com").unwrap();
        assert_eq!(
            url.join("/.auth/login/aad/callback").as_str(),
            "https://app.contoso.com/.auth/login/aad/callback"
        );
        for path in [
            "//evil.test/a",
            "/\\evil.test",
            "@evil.test",
            "evil.test",
            ":1@evil.test",
            ".evil.test/",
        ] {
            assert_eq!(url.join(path).host_str(), Some("app.contoso.com"), "{path}");
        }
    }

    #[test]
    fn only_the_exact_origin_is_the_same_origin() {
        let url = PublicUrl::parse("https://app.contoso.com").unwrap();
        assert!(url.is_same_origin(b"https://app.contoso.com"));
        for origin in [
            &b"null"[..],
            b"http://app.contoso.com",
            b"https://app.contoso.com:444",
            b"https://app.contoso.com.evil.test",
            b"",
        ] {
            assert!(!url.is_same_origin(origin));
        }
    }
}
