//! Where Redis is: `session.redis_url`, read once.
//!
//! ```text
//! redis://[user:password@]host[:6379][/database]
//! redis+cluster://[user:password@]host[:6379],host[:6379],…
//! redis+sentinel://[user:password@]host[:26379],host[:26379],…/master[/database][?sentinel_password=…]
//! ```
//!
//! `rediss`, `rediss+cluster` and `rediss+sentinel` are the same over TLS, to the sentinels too.
//! User and password are percent-encoded, as everywhere in a URL (RFC 3986 §3.2.1).

use std::{fmt, net::IpAddr};

use url::Url;

use crate::base::secret::SecretString;

const REDIS_PORT: u16 = 6379;
const SENTINEL_PORT: u16 = 26379;
/// More than any cluster needs to be found.
const MOST_NODES: usize = 64;

/// Where Redis is, and how to sign in there.
#[derive(Clone)]
pub(in crate::session) struct Address {
    /// TLS with the machine's authorities.
    pub(super) tls: bool,
    /// What stands behind the hosts.
    pub(super) form: Form,
    /// Host (a name, or an IP address without brackets) and port; at least one.
    pub(super) nodes: Vec<(String, u16)>,
    pub(super) username: Option<String>,
    pub(super) password: Option<SecretString>,
    pub(super) database: i64,
}

/// What stands behind the hosts of an [`Address`].
#[derive(Clone)]
pub(super) enum Form {
    /// One server.
    Single,
    /// Nodes of a cluster, which name the others.
    Cluster,
    /// Sentinels, which name the server that is the master now.
    Sentinel { master: String, username: Option<String>, password: Option<SecretString> },
}

/// Why a text is no such URL. Never quotes it: it may hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// Another scheme, or none.
    #[error(
        "expected redis://, rediss://, redis+cluster://, rediss+cluster://, redis+sentinel:// or \
         rediss+sentinel://"
    )]
    Scheme,
    /// A host is missing or none.
    #[error("expected host, or host:port, after the scheme and the optional user:password@")]
    Host,
    /// Commas where one server is meant.
    #[error("several hosts are a redis+cluster:// or a redis+sentinel:// URL")]
    Several,
    /// Too many hosts.
    #[error("expected at most {MOST_NODES} hosts")]
    TooMany,
    /// User or password are not percent-encoded UTF-8.
    #[error("the user or the password has characters that must be percent-encoded")]
    Encoding,
    /// The path is no database number.
    #[error("expected the number of a database after the host, or nothing")]
    Database,
    /// A cluster has one database.
    #[error("a cluster has no databases: nothing may follow the hosts")]
    ClusterDatabase,
    /// A sentinel URL without the master's name.
    #[error("expected the master's name after the sentinels: redis+sentinel://host,host/master")]
    Master,
    /// A query or a fragment that means nothing here.
    #[error("an option after ? or # is not known; sentinel_user and sentinel_password are")]
    Option,
}

impl Address {
    /// Reads a URL.
    ///
    /// # Errors
    /// See [`AddressError`].
    pub(in crate::session) fn parse(text: &str) -> Result<Self, AddressError> {
        let (scheme, rest) = text.split_once("://").ok_or(AddressError::Scheme)?;
        let (tls, kind) = match scheme {
            "redis" => (false, "single"),
            "rediss" => (true, "single"),
            "redis+cluster" => (false, "cluster"),
            "rediss+cluster" => (true, "cluster"),
            "redis+sentinel" => (false, "sentinel"),
            "rediss+sentinel" => (true, "sentinel"),
            _ => return Err(AddressError::Scheme),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, rest) = rest.split_at_checked(end).ok_or(AddressError::Host)?;
        let (user_info, hosts) = match authority.rsplit_once('@') {
            Some((user_info, hosts)) => (Some(user_info), hosts),
            None => (None, authority),
        };
        let (username, password) = user_info.map_or(Ok((None, None)), credentials)?;
        let port = if kind == "sentinel" { SENTINEL_PORT } else { REDIS_PORT };
        let nodes: Vec<_> =
            hosts.split(',').map(|host| node(host, port)).collect::<Result<_, _>>()?;
        if nodes.len() > MOST_NODES {
            return Err(AddressError::TooMany);
        }
        if kind == "single" && nodes.len() > 1 {
            return Err(AddressError::Several);
        }
        if rest.contains('#') {
            return Err(AddressError::Option);
        }
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let path = path.strip_prefix('/').unwrap_or(path);
        let options: Vec<_> = url::form_urlencoded::parse(query.as_bytes()).collect();
        let known = |name: &str| {
            kind == "sentinel" && matches!(name, "sentinel_user" | "sentinel_password")
        };
        if !options.iter().all(|(name, _)| known(name)) {
            return Err(AddressError::Option);
        }
        let option = |wanted: &str| {
            let mut found = options.iter().filter(|(name, _)| name == wanted);
            found.next().map(|(_, value)| value.clone().into_owned())
        };
        let (form, database) = match kind {
            "cluster" if !path.is_empty() => return Err(AddressError::ClusterDatabase),
            "cluster" => (Form::Cluster, ""),
            "sentinel" => {
                let (master, database) = path.split_once('/').unwrap_or((path, ""));
                let master = decoded(master)?.filter(|name| !name.is_empty());
                let form = Form::Sentinel {
                    master: master.ok_or(AddressError::Master)?,
                    username: option("sentinel_user"),
                    password: option("sentinel_password").map(SecretString::from),
                };
                (form, database)
            }
            _ => (Form::Single, path),
        };
        let database = match database {
            "" => 0,
            number => number.parse::<u16>().map_err(|_| AddressError::Database)?.into(),
        };
        Ok(Self { tls, form, nodes, username, password, database })
    }
}

impl Address {
    /// Whether the password and what is asked for cross a network in clear.
    pub(in crate::session) fn is_in_clear(&self) -> bool {
        let local = |host: &str| {
            host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
        };
        !self.tls && !self.nodes.iter().all(|(host, _)| local(host))
    }
}

/// Hosts alone: everything else may be a secret.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tls, nodes, .. } = self;
        f.debug_struct("Address").field("tls", tls).field("nodes", nodes).finish_non_exhaustive()
    }
}

/// `host`, `host:port`, `[::1]` or `[::1]:port`, as the URL standard reads them.
fn node(text: &str, default_port: u16) -> Result<(String, u16), AddressError> {
    // A user inside a host would be one that the split above did not see.
    if text.is_empty() || text.contains(['@', '\\', '%']) || text.trim() != text {
        return Err(AddressError::Host);
    }
    // `http` because the standard then checks and normalises the host.
    let url = Url::parse(&format!("http://{text}/")).map_err(|_| AddressError::Host)?;
    let host = match url.host().ok_or(AddressError::Host)? {
        url::Host::Domain(name) => name.to_owned(),
        url::Host::Ipv4(address) => address.to_string(),
        url::Host::Ipv6(address) => address.to_string(),
    };
    // 80 is what `http` would leave out.
    let port = match (url.port(), text.ends_with(":80")) {
        (Some(port), _) => port,
        (None, true) => 80,
        (None, false) => default_port,
    };
    if port == 0 { Err(AddressError::Host) } else { Ok((host, port)) }
}

type Credentials = (Option<String>, Option<SecretString>);

fn credentials(user_info: &str) -> Result<Credentials, AddressError> {
    let (user, password) = match user_info.split_once(':') {
        Some((user, password)) => (user, Some(password)),
        None => (user_info, None),
    };
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let user = given(decoded(user)?);
    let password = given(password.map_or(Ok(None), decoded)?);
    Ok((user, password.map(SecretString::from)))
}

/// Percent-decoded text. A bare `%` is refused: it is a password that somebody forgot to encode.
fn decoded(text: &str) -> Result<Option<String>, AddressError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(AddressError::Encoding);
        };
        bytes.push(u8::try_from(high * 16 + low).map_err(|_| AddressError::Encoding)?);
    }
    String::from_utf8(bytes).map(Some).map_err(|_| AddressError::Encoding)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::secret::ExposeSecret;

    fn password(address: &Address) -> Option<&str> {
        address.password.as_ref().map(ExposeSecret::expose_secret)
    }

    #[test]
    fn one_server_has_a_host_and_perhaps_a_port_a_user_and_a_database() {
        let address = Address::parse("redis://cache").unwrap();
        assert!(!address.tls && matches!(address.form, Form::Single));
        assert_eq!(address.nodes, [("cache".to_owned(), 6379)]);
        assert_eq!((address.username.as_deref(), password(&address)), (None, None));
        let address = Address::parse("rediss://app:p%40ss%2Fw@[::1]:6380/3").unwrap();
        assert!(address.tls);
        assert_eq!(address.nodes, [("::1".to_owned(), 6380)]);
        assert_eq!(address.username.as_deref(), Some("app"));
        assert_eq!((password(&address), address.database), (Some("p@ss/w"), 3));
        let address = Address::parse("redis://:secret@10.0.0.7:80/").unwrap();
        assert_eq!(address.nodes, [("10.0.0.7".to_owned(), 80)]);
        assert_eq!((address.username.as_deref(), password(&address)), (None, Some("secret")));
        // An `@` that nobody encoded still belongs to the password: the host begins at the last.
        let address = Address::parse("redis://:a@b@cache").unwrap();
        assert_eq!(password(&address), Some("a@b"));
    }

    #[test]
    fn a_cluster_and_sentinels_are_lists_of_hosts() {
        let address = Address::parse("rediss+cluster://u:p@a:7000,b:7001,c").unwrap();
        assert!(address.tls && matches!(address.form, Form::Cluster));
        let nodes = [("a".to_owned(), 7000), ("b".to_owned(), 7001), ("c".to_owned(), 6379)];
        assert_eq!(address.nodes, nodes);

        let text = "redis+sentinel://:p@s1,s2:26380/mymaster/2?sentinel_password=q%26r";
        let address = Address::parse(text).unwrap();
        assert_eq!(address.nodes, [("s1".to_owned(), 26379), ("s2".to_owned(), 26380)]);
        assert_eq!((password(&address), address.database), (Some("p"), 2));
        let Form::Sentinel { master, username, password } = address.form else {
            panic!("sentinels");
        };
        assert_eq!((master.as_str(), username), ("mymaster", None));
        assert_eq!(password.as_ref().map(ExposeSecret::expose_secret), Some("q&r"));
    }

    #[test]
    fn anything_else_is_refused_without_being_quoted() {
        for (text, error) in [
            ("", AddressError::Scheme),
            ("cache:6379", AddressError::Scheme),
            ("http://canary", AddressError::Scheme),
            ("redis+tls://canary", AddressError::Scheme),
            ("redis://", AddressError::Host),
            ("redis://:canary@", AddressError::Host),
            ("redis://a b", AddressError::Host),
            ("redis://canary:99999", AddressError::Host),
            ("redis://canary:0", AddressError::Host),
            ("redis://a,b", AddressError::Several),
            ("redis+cluster://a,,b", AddressError::Host),
            ("redis+cluster://a,b/1", AddressError::ClusterDatabase),
            ("redis+sentinel://a,b", AddressError::Master),
            ("redis+sentinel://a,b/", AddressError::Master),
            ("redis+sentinel://a/m/canary", AddressError::Database),
            ("redis://:can%ary@cache", AddressError::Encoding),
            ("redis://:can%ffary@cache", AddressError::Encoding),
            ("redis://cache/canary", AddressError::Database),
            ("redis://cache/-1", AddressError::Database),
            ("rediss://cache#insecure", AddressError::Option),
            ("redis://cache?db=1", AddressError::Option),
            ("redis+sentinel://a/m?canary=1", AddressError::Option),
        ] {
            let refused = Address::parse(text).expect_err(text);
            assert_eq!(refused, error, "{text}");
            assert!(!format!("{refused} {refused:?}").contains("canary"));
        }
        let many = vec!["a"; MOST_NODES + 1].join(",");
        let refused = Address::parse(&format!("redis+cluster://{many}")).unwrap_err();
        assert_eq!(refused, AddressError::TooMany);
    }

    #[test]
    fn without_tls_a_server_of_another_machine_is_reached_in_clear() {
        for (url, in_clear) in [
            ("redis://127.0.0.1", false),
            ("redis://[::1]:7000", false),
            ("redis+cluster://localhost,127.0.0.2", false),
            ("rediss://cache", false),
            ("redis://cache", true),
            ("redis+cluster://localhost,cache", true),
        ] {
            assert_eq!(Address::parse(url).unwrap().is_in_clear(), in_clear, "{url}");
        }
    }

    #[test]
    fn the_password_is_not_in_debug() {
        let text = "redis+sentinel://canary:canary@host/master?sentinel_password=canary";
        let told = format!("{:?}", Address::parse(text).unwrap());
        assert!(told.contains("host") && !told.contains("canary"), "{told}");
    }
}
