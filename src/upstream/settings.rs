//! `[upstream]` as it is written.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::units::Span;

/// `[upstream]` of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The app: `http://host:port`, `https://host:port` or `unix:/path`.
    pub url: String,
    /// HTTP/2: with prior knowledge over plain TCP, agreed upon over TLS. gRPC needs it.
    pub http2: bool,
    /// Whether the app gets the browser's `Host` (`public_url`'s) or its own.
    pub preserve_host: bool,
    /// Longest wait for a connection, name and TLS handshake included.
    pub connect_timeout: Span,
    /// Longest silence: no byte either way. Not a total.
    pub idle_timeout: Span,
    /// PEM certificates of the authorities that sign the app's certificate; else the machine's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// PEM certificate that we show to an app that asks for one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_file: Option<PathBuf>,
    /// The key of `certificate_file`, in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_key_file: Option<PathBuf>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            url: "http://127.0.0.1:8080".to_owned(),
            http2: false,
            preserve_host: true,
            connect_timeout: Span::seconds(5),
            idle_timeout: Span::seconds(60),
            ca_file: None,
            certificate_file: None,
            private_key_file: None,
        }
    }
}
