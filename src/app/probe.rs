//! `check --online`: does Microsoft answer for this tenant, and does the app?

use tokio::runtime::Handle;

use super::{StartError, assembly};
use crate::{
    base::{
        clock::Clock,
        lifecycle::Lifecycle,
        metrics::Metrics,
        outbound::{self, Outbound},
    },
    config::Config,
    entra::{EntraClient, EntraError},
    request::PublicUrl,
    sign_in::CALLBACK,
    upstream::{Upstream, UpstreamError},
};

/// What was reached.
#[derive(Debug)]
pub struct Probe {
    /// The tenant's metadata and keys.
    pub entra: Result<(), EntraError>,
    /// A connection to the app.
    pub upstream: Result<(), UpstreamError>,
    /// Whether the app listens where nobody but this machine reaches it.
    pub upstream_is_loopback: bool,
}

/// Fetches the tenant's metadata and keys, and connects to the app.
///
/// # Errors
/// The configuration does not fit together.
pub async fn probe(config: &Config) -> Result<Probe, StartError> {
    let outbound = Outbound::new(Handle::current(), outbound::trusted_roots());
    let (lifecycle, metrics) = (Lifecycle::new(), Metrics::new());
    let public_url =
        config.server.public_url.as_ref().ok_or(assembly::AssemblyError::NoPublicUrl)?;
    let entra = EntraClient::new(
        &config.entra,
        redirect_uri(public_url),
        outbound,
        Clock::system(),
        metrics.clone(),
    )
    .map_err(assembly::AssemblyError::from)?;
    let upstream = Upstream::build(&config.upstream, 1, lifecycle, metrics)
        .map_err(assembly::AssemblyError::from)?;
    Ok(Probe {
        entra: entra.prepare().await,
        upstream: upstream.probe().await,
        upstream_is_loopback: upstream.is_loopback(),
    })
}

/// The URL that must be registered with Microsoft.
pub fn redirect_uri(public_url: &PublicUrl) -> url::Url {
    public_url.join(CALLBACK)
}
