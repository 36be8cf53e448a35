//! Who is at the other end ([`Peer`]), and whom we believe about it ([`TrustedProxies`]).

use std::{
    fmt::{self, Write as _},
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Who is at the other end of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A TCP peer.
    Tcp(SocketAddr),
    /// A Unix socket's peer: local, without an address.
    Unix,
}

/// The networks whose `X-Forwarded-For` is believed; empty: nobody's.
///
/// An entry is a CIDR, an address, or nginx's `unix:` for whoever connects to our Unix socket. A
/// Unix peer is not believed without it: it has no address that a network could name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    networks: Vec<IpNet>,
    unix: bool,
}

/// What is wrong with a list of trusted proxies.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustedProxiesError {
    /// An entry cannot be read.
    #[error("expected an address, a network such as \"10.0.0.0/8\", or \"unix:\"")]
    NotANetwork,
    /// A network wider than anybody owns.
    #[error("{0} is more than one operator's network: everybody could forge X-Forwarded-For")]
    TooWide(IpNet),
    /// Together the entries are everybody.
    #[error("together these networks are everybody, who could then forge X-Forwarded-For")]
    Everybody,
}

/// The widest networks in one hand: `10.0.0.0/8` and `fc00::/7` (RFC 1918 §3, RFC 4193 §3.1).
const WIDEST_V4: u8 = 8;
const WIDEST_V6: u8 = 7;

impl TrustedProxies {
    /// Reads the entries of a list.
    pub fn parse<'t>(
        entries: impl IntoIterator<Item = &'t str>,
    ) -> Result<Self, TrustedProxiesError> {
        let mut trusted = Self::default();
        for entry in entries {
            if entry == "unix:" {
                trusted.unix = true;
            } else {
                trusted.networks.push(network(entry)?);
            }
        }
        Ok(trusted)
    }

    /// Refuses a list that is everybody, in one entry or in several.
    pub fn check(&self) -> Result<(), TrustedProxiesError> {
        let too_wide = |network: &&IpNet| match network {
            IpNet::V4(network) => network.prefix_len() < WIDEST_V4,
            IpNet::V6(network) => network.prefix_len() < WIDEST_V6,
        };
        if let Some(network) = self.networks.iter().find(too_wide) {
            return Err(TrustedProxiesError::TooWide(*network));
        }
        let everybody = |network: &IpNet| match network {
            IpNet::V4(network) => network.prefix_len() == 0,
            // `2000::/3`, all of the public IPv6 internet (RFC 4291 §2.4).
            IpNet::V6(network) => network.prefix_len() <= 3,
        };
        if IpNet::aggregate(&self.networks).iter().any(everybody) {
            return Err(TrustedProxiesError::Everybody);
        }
        Ok(())
    }

    /// Whether what this peer says about others is believed.
    pub fn trusts(&self, peer: &Peer) -> bool {
        match peer {
            Peer::Tcp(address) => self.contains(address.ip()),
            Peer::Unix => self.unix,
        }
    }

    /// Whether this address is a trusted proxy's; `::ffff:10.0.0.1` is `10.0.0.1`.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// Whether nobody is believed.
    pub fn is_empty(&self) -> bool {
        self.networks.is_empty() && !self.unix
    }
}

/// Reads one entry. IPv4-mapped networks become IPv4 ones, as addresses do before they are looked
/// up.
fn network(entry: &str) -> Result<IpNet, TrustedProxiesError> {
    let network = IpNet::from_str(entry)
        .or_else(|_| entry.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| TrustedProxiesError::NotANetwork)?
        .trunc();
    Ok(mapped(network).map_or(network, IpNet::V4))
}

fn mapped(network: IpNet) -> Option<Ipv4Net> {
    let IpNet::V6(v6) = network else { return None };
    let prefix = Ipv6Net::prefix_len(&v6).checked_sub(96)?;
    Ipv4Net::new(v6.network().to_ipv4_mapped()?, prefix).ok()
}

impl Serialize for TrustedProxies {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let networks = self.networks.iter().map(ToString::to_string);
        serializer.collect_seq(networks.chain(self.unix.then(|| "unix:".to_owned())))
    }
}

impl<'de> Deserialize<'de> for TrustedProxies {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let entries = Vec::<String>::deserialize(deserializer)?;
        Self::parse(entries.iter().map(String::as_str)).map_err(de::Error::custom)
    }
}

impl JsonSchema for TrustedProxies {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "TrustedProxies".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "array",
            "items": { "type": "string" },
            "description": "networks (CIDR), addresses, or \"unix:\"; everybody is refused",
        })
    }
}

/// The address that the app and the log are told: the rightmost untrusted one of a believed
/// `X-Forwarded-For`, else the peer's. A Unix peer has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientAddress(pub Option<IpAddr>);

impl fmt::Display for ClientAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(address) => address.fmt(f),
            None => f.write_str("unix"),
        }
    }
}

/// The believed part of `X-Forwarded-For`, oldest hop first. Bounded: what is left of the bound, or
/// of an entry that is no address, has no known author.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chain(Vec<IpAddr>);

const LONGEST_CHAIN: usize = 32;

impl Chain {
    /// Reads the field's lines, in their order.
    pub(super) fn parse<'l>(lines: impl DoubleEndedIterator<Item = &'l [u8]>) -> Self {
        let mut addresses: Vec<IpAddr> = lines
            .rev()
            .flat_map(|line| line.rsplit(|byte| *byte == b','))
            .map_while(address)
            .take(LONGEST_CHAIN)
            .collect();
        addresses.reverse();
        Self(addresses)
    }

    /// Whose request this is, given that a trusted peer sent this chain.
    pub(super) fn client(&self, peer: &Peer, trusted: &TrustedProxies) -> ClientAddress {
        let stranger = self.0.iter().rev().find(|address| !trusted.contains(**address));
        ClientAddress(stranger.copied().or(peer_address(peer)))
    }

    /// The field for the app: this chain and the peer behind it.
    pub(super) fn with_peer(&self, peer: &Peer) -> Option<String> {
        let mut text = String::with_capacity(LONGEST_IPV4);
        for ip in self.0.iter().copied().chain(peer_address(peer)) {
            if !text.is_empty() {
                text.push_str(", ");
            }
            push_address(&mut text, ip);
        }
        (!text.is_empty()).then_some(text)
    }
}

const LONGEST_IPV4: usize = "255.255.255.255".len();

/// Writes an address. One is written for each request, so the common kind goes without `fmt`.
fn push_address(text: &mut String, ip: IpAddr) {
    let IpAddr::V4(ip) = ip else {
        let _ = write!(text, "{ip}");
        return;
    };
    for (place, octet) in ip.octets().into_iter().enumerate() {
        if place > 0 {
            text.push('.');
        }
        for (unit, shown) in [(100, octet >= 100), (10, octet >= 10), (1, true)] {
            if shown {
                text.push(char::from(b'0' + octet / unit % 10));
            }
        }
    }
}

pub(super) fn peer_address(peer: &Peer) -> Option<IpAddr> {
    match peer {
        Peer::Tcp(address) => Some(address.ip().to_canonical()),
        Peer::Unix => None,
    }
}

/// One hop: an address, with the port that some gateways add (`1.2.3.4:5678`, `[::1]:5678`).
fn address(entry: &[u8]) -> Option<IpAddr> {
    let text = str::from_utf8(entry).ok()?.trim_matches([' ', '\t']);
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    text.parse()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
        .or_else(bracketed)
        .map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trusted(entries: &[&str]) -> TrustedProxies {
        TrustedProxies::parse(entries.iter().copied()).unwrap()
    }

    fn peer(text: &str) -> Peer {
        Peer::Tcp(SocketAddr::new(text.parse().unwrap(), 50_000))
    }

    fn client(entries: &[&str], from: &str, lines: &[&str]) -> String {
        let chain = Chain::parse(lines.iter().map(|line| line.as_bytes()));
        chain.client(&peer(from), &trusted(entries)).to_string()
    }

    #[test]
    fn an_address_is_written_as_everybody_writes_it() {
        for text in ["0.0.0.0", "1.20.99.100", "101.9.10.255", "2001:db8::1", "::1"] {
            let mut written = String::new();
            push_address(&mut written, text.parse().unwrap());
            assert_eq!(written, text);
        }
    }

    #[test]
    fn nobody_is_trusted_unless_named() {
        let nobody = TrustedProxies::default();
        assert!(nobody.is_empty());
        assert!(!nobody.trusts(&peer("127.0.0.1")) && !nobody.trusts(&Peer::Unix));
    }

    #[test]
    fn everybody_is_refused_in_every_disguise() {
        for entries in [
            &["0.0.0.0/0"][..],
            &["::/0"],
            &["1.2.3.4/0"],
            &["::ffff:0:0/96"],
            &["0.0.0.0/1", "128.0.0.0/1"],
            &["2000::/3"],
            &["10.0.0.0/8", "::/0"],
        ] {
            assert!(trusted(entries).check().is_err(), "{entries:?}");
        }
        let all: Vec<String> = (0..=255).map(|first| format!("{first}.0.0.0/8")).collect();
        let all = TrustedProxies::parse(all.iter().map(String::as_str)).unwrap();
        assert_eq!(all.check(), Err(TrustedProxiesError::Everybody));
        assert_eq!(trusted(&["10.0.0.0/8", "11.0.0.0/8", "fc00::/7", "unix:"]).check(), Ok(()));
    }

    #[test]
    fn an_ipv4_mapped_peer_is_its_ipv4_address() {
        let proxies = trusted(&["10.0.0.0/8"]);
        assert!(proxies.trusts(&peer("::ffff:10.0.0.1")));
        assert!(!proxies.trusts(&peer("::ffff:11.0.0.1")));
        assert!(trusted(&["::ffff:10.0.0.0/104"]).trusts(&peer("10.1.2.3")));
        assert!(!trusted(&["::ffff:10.0.0.0/104"]).trusts(&peer("11.1.2.3")));
    }

    #[test]
    fn a_unix_peer_is_trusted_by_name_alone() {
        assert!(!trusted(&["10.0.0.0/8"]).trusts(&Peer::Unix));
        assert!(trusted(&["unix:"]).trusts(&Peer::Unix));
    }

    #[test]
    fn the_client_is_the_rightmost_untrusted_address() {
        let proxies = &["10.0.0.0/8"][..];
        assert_eq!(client(proxies, "10.0.0.1", &["6.6.6.6, 203.0.113.7, 10.0.0.2"]), "203.0.113.7");
        assert_eq!(client(proxies, "10.0.0.1", &["6.6.6.6", "203.0.113.7:4444"]), "203.0.113.7");
        assert_eq!(client(proxies, "10.0.0.1", &["[2001:db8::1]:9"]), "2001:db8::1");
        assert_eq!(client(proxies, "10.0.0.1", &["::ffff:10.0.0.9"]), "10.0.0.1");
        assert_eq!(client(proxies, "10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn what_stands_left_of_a_broken_entry_is_not_believed() {
        for line in ["6.6.6.6, unknown, 10.0.0.2", "6.6.6.6,, 10.0.0.2", "6.6.6.6, 1.2.3, 10.0.0.2"]
        {
            assert_eq!(client(&["10.0.0.0/8"], "10.0.0.1", &[line]), "10.0.0.1", "{line}");
            let chain = Chain::parse([line.as_bytes()].into_iter());
            assert_eq!(chain.with_peer(&peer("10.0.0.1")).unwrap(), "10.0.0.2, 10.0.0.1");
        }
    }

    #[test]
    fn a_chain_has_a_bound() {
        let line = "1.1.1.1,".repeat(4000) + "2.2.2.2";
        let chain = Chain::parse([line.as_bytes()].into_iter());
        assert_eq!(chain.0.len(), LONGEST_CHAIN);
        assert_eq!(chain.0.last().unwrap().to_string(), "2.2.2.2");
    }

    #[test]
    fn a_list_reads_as_it_was_written() {
        let text = serde_json::json!(["10.0.0.0/8", "192.0.2.1/32", "unix:"]);
        let list: TrustedProxies = serde_json::from_value(text.clone()).unwrap();
        assert_eq!(serde_json::to_value(&list).unwrap(), text);
        for bad in ["localhost", "10.0.0.0/33", "10.0.0.0-10.0.0.9", ""] {
            assert!(TrustedProxies::parse([bad]).is_err(), "{bad}");
        }
    }
}
