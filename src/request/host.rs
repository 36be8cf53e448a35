//! Which site a request is for: exactly one well-formed authority, and it must be ours.

use http::{HeaderMap, Uri, Version, header::HOST};

use super::origin::PublicUrl;

/// What is wrong with a request's `Host`, `:authority` or absolute target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// RFC 9112 §3.2: a request without `Host`, or with two, is answered 400.
    #[error("the request does not have exactly one host")]
    NotOne,
    /// Userinfo, a path, a port beyond 65535 …
    #[error("the host is malformed")]
    Malformed,
    /// `Host` and `:authority`, or `Host` and an absolute target, differ.
    #[error("the request names two different hosts")]
    Contradiction,
    /// Somebody else's.
    #[error("the host is not the public one")]
    Foreign,
    /// Somebody else's, as an absolute target: a request for a forward proxy.
    #[error("the absolute target is for another host")]
    ForeignTarget,
}

/// Checks that a request is for `public_url`'s host (RFC 9112 §3.2, RFC 9113 §8.3.1).
pub(super) fn check(
    version: Version,
    uri: &Uri,
    headers: &HeaderMap,
    public_url: &PublicUrl,
) -> Result<(), HostError> {
    let mut lines = headers.get_all(HOST).iter();
    let host = lines.next();
    if lines.next().is_some() {
        return Err(HostError::NotOne);
    }
    // As nearly every request has it.
    if host.is_some_and(|host| host.as_bytes() == public_url.authority().as_bytes())
        && uri.authority().is_none()
    {
        return Ok(());
    }
    let host = host.map(|value| valid(value.as_bytes())).transpose()?;
    let authority = uri.authority().map(|authority| valid(authority.as_str().as_bytes()));
    let authority = authority.transpose()?;
    // Over HTTP/1 an absolute target does not stand in for `Host`.
    if version < Version::HTTP_2 && host.is_none() {
        return Err(HostError::NotOne);
    }
    let named = match (host, authority) {
        (None, None) => return Err(HostError::NotOne),
        (Some(host), Some(authority)) if !same(host, authority, public_url) => {
            return Err(HostError::Contradiction);
        }
        (Some(name), _) | (None, Some(name)) => name,
    };
    if public_url.matches_authority(named) {
        Ok(())
    } else if version < Version::HTTP_2 && authority.is_some() {
        Err(HostError::ForeignTarget)
    } else {
        Err(HostError::Foreign)
    }
}

/// Whether two authorities are one: literally, but for case, or both ours.
fn same(one: &str, other: &str, public_url: &PublicUrl) -> bool {
    let ours = public_url.matches_authority(one) && public_url.matches_authority(other);
    ours || one.eq_ignore_ascii_case(other)
}

/// Accepts `host` and `host:port` alone, with a registered name, an IPv4 address or `[IPv6]`.
fn valid(bytes: &[u8]) -> Result<&str, HostError> {
    let text = str::from_utf8(bytes).map_err(|_| HostError::Malformed)?;
    let (host_is_valid, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']').ok_or(HostError::Malformed)?;
            let port = rest.strip_prefix(':');
            if port.is_none() && !rest.is_empty() {
                return Err(HostError::Malformed);
            }
            (address.parse::<std::net::Ipv6Addr>().is_ok(), port)
        }
        None => match text.split_once(':') {
            Some((name, port)) => (is_name(name), Some(port)),
            None => (is_name(text), None),
        },
    };
    if host_is_valid && port.is_none_or(is_port) { Ok(text) } else { Err(HostError::Malformed) }
}

fn is_name(name: &str) -> bool {
    let fits = (1..=255).contains(&name.len()) && !name.starts_with('.');
    fits && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

fn is_port(port: &str) -> bool {
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    digits && port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn checked(version: Version, uri: &str, hosts: &[&str]) -> Result<(), HostError> {
        let mut headers = HeaderMap::new();
        for host in hosts {
            headers.append(HOST, HeaderValue::from_bytes(host.as_bytes()).unwrap());
        }
        let public_url = PublicUrl::parse("https://app.contoso.com").unwrap();
        check(version, &uri.parse().unwrap(), &headers, &public_url)
    }

    #[test]
    fn exactly_one_host_of_ours_is_accepted() {
        for host in ["app.contoso.com", "APP.CONTOSO.COM", "app.contoso.com:443"] {
            assert_eq!(checked(Version::HTTP_11, "/", &[host]), Ok(()), "{host}");
        }
        let h2 = "https://app.contoso.com/";
        assert_eq!(checked(Version::HTTP_2, h2, &[]), Ok(()));
        assert_eq!(checked(Version::HTTP_2, h2, &["app.contoso.com:443"]), Ok(()));
        assert_eq!(checked(Version::HTTP_2, "/", &["app.contoso.com"]), Ok(()));
    }

    #[test]
    fn none_and_two_hosts_are_malformed_requests() {
        for version in [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2] {
            assert_eq!(checked(version, "/", &[]), Err(HostError::NotOne));
            let twice = ["app.contoso.com", "app.contoso.com"];
            assert_eq!(checked(version, "/", &twice), Err(HostError::NotOne));
        }
        let absolute = "http://app.contoso.com/";
        assert_eq!(checked(Version::HTTP_11, absolute, &[]), Err(HostError::NotOne));
    }

    #[test]
    fn a_foreign_host_is_told_apart_from_a_malformed_one() {
        for host in
            ["evil.test", "app.contoso.com.", "app.contoso.com:80", "10.0.0.1", "[::1]:1", "a_b"]
        {
            assert_eq!(checked(Version::HTTP_11, "/", &[host]), Err(HostError::Foreign), "{host}");
        }
        for host in [
            "",
            "u@app.contoso.com",
            "app.contoso.com/x",
            "app.contoso.com:0",
            "app.contoso.com:65536",
            "app.contoso.com:",
            "app.contoso.com:44 3",
            "app.contoso.com:+443",
            "app.contoso.com, evil.test",
            "app.contoso.com evil.test",
            "app%2econtoso.com",
            "[fe80::1%25eth0]",
            "[::1",
            "[::1]x",
            "[app.contoso.com]",
            "::1",
            ".contoso.com",
            "äpp.contoso.com",
        ] {
            assert_eq!(
                checked(Version::HTTP_11, "/", &[host]),
                Err(HostError::Malformed),
                "{host}"
            );
        }
    }

    #[test]
    fn two_sources_must_agree() {
        for (version, uri, host) in [
            (Version::HTTP_11, "http://evil.test/", "app.contoso.com"),
            (Version::HTTP_11, "http://app.contoso.com/", "evil.test"),
            (Version::HTTP_2, "https://evil.test/", "app.contoso.com"),
            (Version::HTTP_2, "https://app.contoso.com/", "evil.test"),
        ] {
            assert_eq!(checked(version, uri, &[host]), Err(HostError::Contradiction), "{uri}");
        }
        assert_eq!(checked(Version::HTTP_2, "https://evil.test/", &[]), Err(HostError::Foreign));
        let proxied = checked(Version::HTTP_11, "http://evil.test/", &["evil.test"]);
        assert_eq!(proxied, Err(HostError::ForeignTarget));
        assert_eq!(
            checked(Version::HTTP_2, "https://u@app.contoso.com/", &[]),
            Err(HostError::Malformed)
        );
    }
}
