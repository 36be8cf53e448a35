//! The proxy into Kubernetes manifests, and out again. Pure: texts in, texts and a report out.
//!
//! A manifest is read as a tree and changed as text, so that what is not ours passes byte for byte,
//! comments and odd indentation too. Every changed object carries a note of what was changed (the
//! annotation `vestibule/injected`); with it [`uninject`] gives back the very bytes that there were.
//! Whatever would need a guess is refused with file, document and line.

mod edit;
mod emit;
mod flaw;
mod injection;
mod lifecycle;
mod network_policy;
mod probes;
mod record;
mod removal;
mod report;
mod resource;
mod restore;
mod selection;
mod service;
mod sidecar;
mod text;
mod tree;
mod value;
mod workload;

#[cfg(test)]
mod random;
#[cfg(test)]
mod tests;

pub use self::{
    emit::{Form, emit},
    flaw::{Reason, Refusal},
    injection::inject,
    removal::uninject,
    report::{Note, Report},
    sidecar::{
        ADMIN_PORT, APP_SLEEP, DRAIN_WAIT, FOLDER, NAME, Sidecar, SidecarMode, TRAFFIC_PORT,
        app_pre_stop, grace_period,
    },
    value::Value,
};

/// A file of manifests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// What people call it.
    pub name: String,
    /// Its content.
    pub text: String,
}

/// What to put in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The proxy's image.
    pub image: String,
    /// Native or plain.
    pub mode: SidecarMode,
    /// The `ConfigMap` with `proxy.toml`, where no annotation names another.
    pub config_map: String,
    /// The Secret; without a name it is called like the `ConfigMap`.
    pub secret: Option<String>,
    /// The port that the app listens on, where no annotation names another.
    pub upstream_port: Option<u16>,
    /// The Unix socket that the app listens on instead.
    pub upstream_socket: Option<String>,
    /// How browsers see the app.
    pub public: Option<Public>,
    /// Whether the proxy speaks TLS on its traffic port.
    pub tls: bool,
    /// Whether the app's probes stay as they are.
    pub skip_probes: bool,
    /// The namespace that may read the metrics, where a `NetworkPolicy` is wanted.
    pub network_policy: Option<String>,
    /// Whether the configuration takes its credential from workload identity.
    pub federated_token: bool,
    /// `server.drain_timeout`, in seconds.
    pub drain_timeout: u32,
}

/// How browsers see the app.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Public {
    /// The `Host` of `server.public_url`.
    pub host: String,
    /// What has to be registered with Microsoft.
    pub redirect_uri: String,
}

impl Options {
    /// The sidecar that reads `config_map`, or the one of these options.
    pub fn sidecar(&self, config_map: Option<&str>) -> Sidecar {
        let config_map = config_map.unwrap_or(&self.config_map).to_owned();
        Sidecar {
            image: self.image.clone(),
            mode: self.mode,
            secret: self.secret.clone().unwrap_or_else(|| config_map.clone()),
            config_map,
        }
    }
}

/// The manifests afterwards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// One text for each source, in their order.
    pub texts: Vec<String>,
    /// What was done and what was not.
    pub report: Report,
}
