//! From an accepted socket to HTTP: the PROXY protocol header, the client's share of connections,
//! TLS, and which HTTP it is. Each step has its time.

use std::{io, time::Duration};

use bytes::Bytes;
use tokio::{
    io::AsyncReadExt,
    net::TcpStream,
    time::{Instant, timeout},
};

use super::{
    Settings,
    crowd::Crowd,
    open::{Open, Place},
    proxy_protocol::{self, HeaderError},
    tls::{self, Tls},
};
use crate::{base::stream::Stream, request::Peer};

/// A load balancer sends its header at once.
const HEADER_TIME: Duration = Duration::from_secs(5);
/// The longest start that is read before it is known what a connection speaks.
pub(super) const START: usize = 24;
/// What every HTTP/2 client says first (RFC 9113 §3.4). No HTTP/1 request begins like this.
const PREFACE: &[u8; START] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    /// HTTP/1.1, or something that hyper's parser will refuse.
    Http1,
    /// HTTP/2, by ALPN or with prior knowledge.
    Http2,
}

/// A connection that speaks HTTP.
#[derive(Debug)]
pub(super) struct Entered {
    pub(super) stream: Open,
    /// Who is at the other end, as the PROXY protocol header says where there is one.
    pub(super) peer: Peer,
    pub(super) protocol: Protocol,
    /// When HTTP could begin: the limit of the first head counts from here.
    pub(super) begun: Instant,
}

/// Why a connection did not come so far.
#[derive(Debug, thiserror::Error)]
pub(super) enum TurnedAway {
    /// No PROXY protocol header, or a broken one.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// Its client has its share.
    #[error("the client has as many connections as server.limits.connections_per_client allows")]
    Crowd,
    /// The TLS handshake failed.
    #[error("the TLS handshake failed")]
    Handshake(#[source] io::Error),
    /// The PROXY protocol header or the TLS handshake took too long.
    #[error("the handshake took too long")]
    SlowHandshake,
    /// Not a byte of HTTP, or half a preface.
    #[error("no request arrived in time")]
    Silent,
    /// The socket broke.
    #[error("the connection broke off")]
    Broken(#[source] io::Error),
}

impl TurnedAway {
    /// The word of the metric; `None` where nobody was refused anything.
    pub(super) fn reason(&self) -> Option<&'static str> {
        match self {
            Self::Header(HeaderError::Malformed) => Some("proxy_header"),
            Self::Crowd => Some("connections_per_client"),
            Self::Handshake(error) => {
                // A scanner that connects and goes has not failed in anything.
                (error.kind() != io::ErrorKind::UnexpectedEof).then_some("tls_handshake")
            }
            Self::SlowHandshake => Some("slow_handshake"),
            Self::Silent => Some("slow_head"),
            Self::Header(HeaderError::Cut(_)) | Self::Broken(_) => None,
        }
    }
}

/// What every connection passes.
#[derive(Debug)]
pub(super) struct Door {
    proxy_protocol: bool,
    crowd: Crowd,
    tls: Option<Tls>,
    handshake: Duration,
    head: Duration,
}

impl Door {
    pub(super) fn new(settings: &Settings, tls: Option<Tls>) -> Self {
        let limits = &settings.limits;
        Self {
            proxy_protocol: settings.proxy_protocol,
            crowd: Crowd::new(limits.connections_per_client, settings.trusted_proxies.clone()),
            tls,
            handshake: limits.handshake_time.duration(),
            head: limits.header_time.duration(),
        }
    }

    /// Leads a connection in.
    pub(super) async fn enter(
        &self,
        mut stream: Stream,
        mut peer: Peer,
        place: Place,
    ) -> Result<Entered, TurnedAway> {
        if self.proxy_protocol {
            let header = timeout(HEADER_TIME, proxy_protocol::read(&mut stream)).await;
            if let Some(client) = header.map_err(|_| TurnedAway::SlowHandshake)?? {
                peer = Peer::Tcp(client);
            }
        }
        let place = place.with_ticket(self.crowd.enter(&peer).ok_or(TurnedAway::Crowd)?);
        let mut start = Bytes::new();
        let (stream, protocol, begun) = match (&self.tls, stream) {
            (Some(tls), Stream::Tcp(tcp)) => {
                // In a place of its own: a connection without TLS must not have its size.
                let (mut stream, protocol) = Box::pin(self.shake(tls, tcp)).await?;
                let begun = Instant::now();
                // Browsers connect in advance: hyper's buffers are for those who then ask.
                if protocol == Protocol::Http1 {
                    (_, start) = self.hear(&mut stream).await?;
                }
                (stream, protocol, begun)
            }
            (_, mut stream) => {
                let begun = Instant::now();
                let protocol;
                (protocol, start) = self.hear(&mut stream).await?;
                (stream, protocol, begun)
            }
        };
        Ok(Entered { stream: Open::new(stream, start, place), peer, protocol, begun })
    }

    /// TLS, and what was agreed upon in it.
    async fn shake(&self, tls: &Tls, tcp: TcpStream) -> Result<(Stream, Protocol), TurnedAway> {
        let shaken = timeout(self.handshake, tls.accept(tcp)).await;
        let stream = shaken.map_err(|_| TurnedAway::SlowHandshake)?;
        let stream = stream.map_err(TurnedAway::Handshake)?;
        // Without ALPN it is HTTP/1.1: HTTP/2 over TLS is agreed upon (RFC 9113 §3.2).
        let http2 = tls::chose_http2(&stream);
        let protocol = if http2 { Protocol::Http2 } else { Protocol::Http1 };
        Ok((Stream::Tls(Box::new(stream)), protocol))
    }

    /// The first bytes of HTTP, in time, and what they belong to.
    async fn hear(&self, stream: &mut Stream) -> Result<(Protocol, Bytes), TurnedAway> {
        let said = timeout(self.head, listen(stream)).await.map_err(|_| TurnedAway::Silent)?;
        said.map_err(TurnedAway::Broken)
    }
}

/// Reads until it is clear what the client speaks, at most a preface.
async fn listen(stream: &mut Stream) -> Result<(Protocol, Bytes), io::Error> {
    let (mut start, mut length) = ([0; START], 0);
    loop {
        let read = stream.read(start.get_mut(length..).unwrap_or_default()).await?;
        length += read;
        let said = start.get(..length).unwrap_or_default();
        if read == 0 || !PREFACE.starts_with(said) {
            return Ok((Protocol::Http1, Bytes::copy_from_slice(said)));
        }
        if length == START {
            return Ok((Protocol::Http2, Bytes::from_static(PREFACE)));
        }
    }
}
