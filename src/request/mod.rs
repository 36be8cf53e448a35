//! A request that means the same to every reader.
//!
//! [`Reader::read`] is the only door: what comes out is an [`Inbound`], whose host, target, framing
//! and cookies have one meaning, or a [`BadRequest`]. What two parsers could read differently is
//! refused, never cleaned.

mod bad_request;
mod cookie_header;
mod exchange;
pub mod field_name;
mod framing;
mod hop_by_hop;
mod host;
mod inbound;
mod intent;
mod origin;
mod path;
mod peer;
mod reader;
mod target;

pub use self::{
    bad_request::BadRequest,
    cookie_header::OwnCookies,
    exchange::{Exchange, Verdict},
    framing::FramingError,
    hop_by_hop::{Upgrade, is_never_a_trailer, strip_response},
    host::HostError,
    inbound::{Inbound, Outgoing},
    intent::{Intent, Site},
    origin::{PublicUrl, PublicUrlError},
    peer::{ClientAddress, Peer, TrustedProxies, TrustedProxiesError},
    reader::Reader,
    target::{ConfiguredPath, Target, TargetError},
};
