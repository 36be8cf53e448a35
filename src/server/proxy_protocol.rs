//! The PROXY protocol, versions 1 and 2 (haproxy.org/download/3.0/doc/proxy-protocol.txt): what a
//! load balancer that passes bytes on says about the client, before the client's first byte.
//!
//! Read to the byte: what follows is TLS or HTTP.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

/// Begins a version 2 header. No HTTP request and no TLS record begins like this.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The longest version 1 line, with its end.
const LONGEST_LINE: usize = 107;
/// Addresses and what a load balancer adds to them (a TLS client's name, a VPC id).
const LONGEST_BLOCK: usize = 4096;

/// What is wrong with a header.
#[derive(Debug, thiserror::Error)]
pub(super) enum HeaderError {
    /// The connection ended in it.
    #[error("the connection ended before its PROXY protocol header did")]
    Cut(#[source] std::io::Error),
    /// Neither version, or not as it is specified.
    #[error("the connection does not begin with a PROXY protocol header")]
    Malformed,
}

/// What a header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Client(SocketAddr),
    /// A health check of the load balancer itself, or a client without an IP address.
    Nobody,
}

/// Reads a header. `None` where it names nobody: the connection's own addresses count.
pub(super) async fn read<S>(stream: &mut S) -> Result<Option<SocketAddr>, HeaderError>
where
    S: AsyncRead + Unpin,
{
    let mut start = [0; SIGNATURE.len()];
    stream.read_exact(&mut start).await.map_err(HeaderError::Cut)?;
    let said =
        if start == SIGNATURE { read_v2(stream).await } else { read_v1(stream, &start).await };
    Ok(match said? {
        Said::Client(client) => Some(client),
        Said::Nobody => None,
    })
}

async fn read_v1<S>(stream: &mut S, start: &[u8]) -> Result<Said, HeaderError>
where
    S: AsyncRead + Unpin,
{
    if !start.starts_with(b"PROXY ") {
        return Err(HeaderError::Malformed);
    }
    let mut line = Vec::with_capacity(LONGEST_LINE);
    line.extend_from_slice(start);
    while !line.ends_with(b"\r\n") {
        if line.len() == LONGEST_LINE {
            return Err(HeaderError::Malformed);
        }
        line.push(stream.read_u8().await.map_err(HeaderError::Cut)?);
    }
    line.truncate(line.len() - 2);
    v1(&line).ok_or(HeaderError::Malformed)
}

/// `PROXY TCP4 source destination source-port destination-port`, or `PROXY UNKNOWN …`.
fn v1(line: &[u8]) -> Option<Said> {
    let mut words = str::from_utf8(line).ok()?.split(' ');
    if words.next() != Some("PROXY") {
        return None;
    }
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(Said::Nobody);
    }
    let address = |word: &str| -> Option<IpAddr> {
        match family {
            "TCP4" => word.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
            "TCP6" => word.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
            _ => None,
        }
    };
    let port = |word: &str| {
        let plain = word == "0" || !word.starts_with(['0', '+']);
        word.parse::<u16>().ok().filter(|_| plain)
    };
    let source = address(words.next()?)?;
    address(words.next()?)?;
    let source_port = port(words.next()?)?;
    port(words.next()?)?;
    words.next().is_none().then_some(Said::Client(SocketAddr::new(source, source_port)))
}

async fn read_v2<S>(stream: &mut S) -> Result<Said, HeaderError>
where
    S: AsyncRead + Unpin,
{
    let version_and_command = stream.read_u8().await.map_err(HeaderError::Cut)?;
    let family = stream.read_u8().await.map_err(HeaderError::Cut)?;
    let length = usize::from(stream.read_u16().await.map_err(HeaderError::Cut)?);
    if length > LONGEST_BLOCK {
        return Err(HeaderError::Malformed);
    }
    let mut block = vec![0; length];
    stream.read_exact(&mut block).await.map_err(HeaderError::Cut)?;
    match version_and_command {
        // LOCAL: a health check.
        0x20 => Ok(Said::Nobody),
        0x21 => v2(family, &block).ok_or(HeaderError::Malformed),
        _ => Err(HeaderError::Malformed),
    }
}

/// The source of a PROXY command. Anything but TCP over IP names nobody that we could use.
fn v2(family: u8, block: &[u8]) -> Option<Said> {
    match family {
        0x11 => {
            let (source, rest) = block.split_first_chunk::<4>()?;
            let (_, rest) = rest.split_first_chunk::<4>()?;
            Some(Said::Client(SocketAddr::new(Ipv4Addr::from(*source).into(), ports(rest)?)))
        }
        0x21 => {
            let (source, rest) = block.split_first_chunk::<16>()?;
            let (_, rest) = rest.split_first_chunk::<16>()?;
            Some(Said::Client(SocketAddr::new(Ipv6Addr::from(*source).into(), ports(rest)?)))
        }
        // UNSPEC, datagrams, Unix sockets.
        0x00 | 0x12 | 0x22 | 0x31 | 0x32 => Some(Said::Nobody),
        _ => None,
    }
}

/// The source's port of the two that follow the addresses.
fn ports(rest: &[u8]) -> Option<u16> {
    let (both, _) = rest.split_first_chunk::<4>()?;
    let [high, low, ..] = *both;
    Some(u16::from_be_bytes([high, low]))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read_all(mut bytes: &[u8]) -> Result<(Option<SocketAddr>, Vec<u8>), HeaderError> {
        let source = read(&mut bytes).await?;
        Ok((source, bytes.to_vec()))
    }

    fn v2_header(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let length = u16::try_from(block.len()).unwrap().to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, block].concat()
    }

    #[tokio::test]
    async fn a_line_names_the_client_and_takes_no_byte_too_many() {
        for (line, source) in [
            ("PROXY TCP4 192.0.2.7 10.0.0.1 51234 443\r\n", Some("192.0.2.7:51234")),
            ("PROXY TCP6 2001:db8::7 ::1 1 443\r\n", Some("[2001:db8::7]:1")),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", None),
        ] {
            let (found, rest) = read_all(format!("{line}GET /").as_bytes()).await.unwrap();
            assert_eq!(found, source.map(|source| source.parse().unwrap()), "{line}");
            assert_eq!(rest, b"GET /");
        }
    }

    #[tokio::test]
    async fn a_line_that_is_not_exactly_one_is_refused() {
        let long = format!("PROXY UNKNOWN {}\r\n", "x".repeat(100));
        for line in [
            "GET / HTTP/1.1\r\n\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 51234\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 51234 443 x\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 51234 70000\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 +1 443\r\n",
            "PROXY TCP4 192.0.2.7 10.0.0.1 01 443\r\n",
            "PROXY TCP4 ::1 ::1 1 443\r\n",
            "PROXY TCP6 192.0.2.7 10.0.0.1 1 443\r\n",
            "PROXY TCP4  192.0.2.7 10.0.0.1 1 443\r\n",
            "PROXY UDP4 192.0.2.7 10.0.0.1 1 443\r\n",
            "PROXY\tTCP4 192.0.2.7 10.0.0.1 1 443\r\n",
            &long,
        ] {
            assert!(
                matches!(read_all(line.as_bytes()).await, Err(HeaderError::Malformed)),
                "{line}"
            );
        }
        let cut = read_all(b"PROXY TCP4 192.0.2.7").await;
        assert!(matches!(cut, Err(HeaderError::Cut(_))));
    }

    #[tokio::test]
    async fn a_binary_header_names_the_client_and_may_say_more() {
        let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 0xc8, 0x22, 0x01, 0xbb];
        let with_more = [&v4[..], &[0x04, 0, 1, 0]].concat();
        let mut v6 = [0; 36];
        v6[..16].copy_from_slice(&"2001:db8::7".parse::<Ipv6Addr>().unwrap().octets());
        v6[33] = 9;
        for (header, source) in [
            (v2_header(0x21, 0x11, &v4), Some("192.0.2.7:51234")),
            (v2_header(0x21, 0x11, &with_more), Some("192.0.2.7:51234")),
            (v2_header(0x21, 0x21, &v6), Some("[2001:db8::7]:9")),
            (v2_header(0x20, 0x11, &v4), None),
            (v2_header(0x20, 0x00, &[]), None),
            (v2_header(0x21, 0x00, &[]), None),
            (v2_header(0x21, 0x31, &[0; 216]), None),
        ] {
            let (found, rest) = read_all(&[&header[..], b"\x16\x03"].concat()).await.unwrap();
            assert_eq!(found, source.map(|source| source.parse().unwrap()), "{header:?}");
            assert_eq!(rest, b"\x16\x03");
        }
    }

    #[tokio::test]
    async fn a_binary_header_that_is_not_one_is_refused() {
        for header in [
            v2_header(0x11, 0x11, &[0; 12]),
            v2_header(0x22, 0x11, &[0; 12]),
            v2_header(0x21, 0x11, &[0; 11]),
            v2_header(0x21, 0x21, &[0; 12]),
            v2_header(0x21, 0x44, &[0; 12]),
            v2_header(0x21, 0x11, &[0; 4097]),
        ] {
            assert!(matches!(read_all(&header).await, Err(HeaderError::Malformed)), "{header:?}");
        }
    }
}
