//! `[server]`, `[server.limits]` and `[server.tls]` of the configuration.

use std::{path::PathBuf, thread};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    base::units::{ByteSize, Span},
    request::{PublicUrl, TrustedProxies},
};

/// `[server]` of the configuration.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where browsers (or the ingress) connect: an address with port, or `unix:/path`.
    pub listen: String,
    /// The origin that browsers see; redirect URIs and `Location` are built from it alone.
    pub public_url: Option<PublicUrl>,
    /// CIDRs whose `X-Forwarded-For` is believed; empty: nobody.
    pub trusted_proxies: TrustedProxies,
    /// How long a stop waits for requests in progress before it cuts them.
    pub drain_timeout: Span,
    /// Threads; 0: one per CPU that the container may use.
    pub workers: usize,
    /// Whether each connection begins with a PROXY protocol header (version 1 or 2), which names
    /// the client. Only behind a load balancer that always sends it: it is believed.
    pub proxy_protocol: bool,
    /// Bounds on what one client, and all together, may take.
    pub limits: Limits,
    /// TLS, where nothing in front of us ends it.
    pub tls: TlsSettings,
}

/// `[server.tls]` of the configuration: both keys or none.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSettings {
    /// PEM: our certificate, then those between it and the authority's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<PathBuf>,
    /// PEM: the certificate's key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_key_file: Option<PathBuf>,
}

/// `[server.limits]` of the configuration.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Most open connections; more wait in the kernel's queue.
    pub connections: usize,
    /// Most of these from one address (an IPv6 /64); 0: any number. Trusted proxies are not
    /// counted.
    pub connections_per_client: usize,
    /// From the connection to the end of its TLS handshake.
    pub handshake_time: Span,
    /// Largest request head, with its cookies; beyond it 431.
    pub header_bytes: ByteSize,
    /// Most header fields, all cookies counted as one; beyond it 431.
    pub headers: usize,
    /// From the connection, or from the first byte of a request, to the end of its head.
    pub header_time: Span,
    /// How long a connection may wait for its next request; above the ingress's own limit.
    pub idle_time: Span,
    /// Largest request body where no rule says otherwise; beyond it 413. Absent: any size, since
    /// bodies are never kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_bytes: Option<ByteSize>,
    /// Longest silence of a client that sends a body.
    pub body_time: Span,
    /// Longest time in which a client takes no byte of a response.
    pub write_time: Span,
    /// Most requests at a time on one HTTP/2 connection.
    pub streams: u32,
    /// Requests that one HTTP/2 connection may take back, beyond those that it lets finish.
    pub resets: u32,
    /// HTTP/2 frames that carry nothing (pings, settings, empty data …), beyond those that
    /// requests and answers call for.
    pub control_frames: u32,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: "0.0.0.0:4180".to_owned(),
            public_url: None,
            trusted_proxies: TrustedProxies::default(),
            drain_timeout: Span::seconds(30),
            workers: 0,
            proxy_protocol: false,
            limits: Limits::default(),
            tls: TlsSettings::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 16_384,
            // An ingress is one address.
            connections_per_client: 0,
            handshake_time: Span::seconds(10),
            header_bytes: ByteSize::kib(64),
            headers: 100,
            header_time: Span::seconds(10),
            // nginx and ALB keep their side open for 60 s: whoever closes first must be them.
            idle_time: Span::seconds(75),
            body_bytes: None,
            body_time: Span::seconds(30),
            write_time: Span::seconds(30),
            streams: 100,
            resets: 100,
            control_frames: 2000,
        }
    }
}

impl TlsSettings {
    /// Whether there is a certificate at all.
    pub fn is_on(&self) -> bool {
        self.certificate_file.is_some()
    }
}

impl Settings {
    /// How many threads serve: `workers`, or one per CPU that the container may use.
    pub fn worker_count(&self) -> usize {
        match self.workers {
            0 => thread::available_parallelism().map_or(1, usize::from),
            workers => workers,
        }
    }
}
