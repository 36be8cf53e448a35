//! A running proxy: one configuration put together, its listeners and its tasks.

mod assembly;
mod fixed;
mod probe;
mod reload;
mod supervision;
mod vitals;

#[cfg(test)]
mod tests;

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use tokio::{runtime::Handle, task::JoinHandle, time::timeout};
use tokio_util::sync::CancellationToken;

use self::assembly::{Assembled, Lasting};
pub use self::{
    assembly::AssemblyError,
    probe::{Probe, probe, redirect_uri},
    reload::{Follow, LOOK_EVERY, ReloadError, Reloader},
};
use crate::{
    admin::{Admin, AdminError, Readiness, State},
    base::{
        clock::Clock,
        lifecycle::Lifecycle,
        metrics::Metrics,
        outbound::{self, Outbound},
        service_manager::ServiceManager,
    },
    config::Config,
    server::{BindError, Server, ServerHandle},
    session::Streams,
};

/// Load balancers look away this long after readiness has gone, and are still answered (J6).
const LOOK_AWAY: Duration = Duration::from_secs(5);
/// What was cut gets this long to notice.
const AFTER_CUT: Duration = Duration::from_secs(2);

/// A proxy that answers requests.
#[derive(Debug)]
pub struct Running {
    address: Option<SocketAddr>,
    admin_address: SocketAddr,
    lifecycle: Lifecycle,
    readiness: Readiness,
    server: ServerHandle,
    admin: JoinHandle<()>,
    stop_admin: CancellationToken,
    current: Arc<ArcSwap<Assembled>>,
    lasting: Arc<Lasting>,
    reloader: Option<Reloader>,
}

/// Why a proxy could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// `server.listen`.
    #[error("cannot listen for browsers")]
    Listen(#[from] BindError),
    /// `admin.listen`.
    #[error("cannot open the admin port")]
    Admin(#[from] AdminError),
    /// The configuration does not fit together.
    #[error("the configuration cannot be used")]
    Assembly(#[from] AssemblyError),
    /// The system refused.
    #[error("the system refused a socket or a thread")]
    System(#[source] io::Error),
}

/// Starts a proxy on the current runtime; the workers have runtimes of their own.
///
/// # Errors
/// See [`StartError`]. Microsoft does not have to be reachable: readiness waits for it.
pub fn start(config: &Config, clock: Clock) -> Result<Running, StartError> {
    let server = Server::bind(&config.server)?;
    start_on(server, config, clock)
}

/// The same on listeners that are open already.
///
/// # Errors
/// As [`start`].
pub fn start_on(server: Server, config: &Config, clock: Clock) -> Result<Running, StartError> {
    let begun = Instant::now();
    let metrics = Metrics::new();
    let lifecycle = Lifecycle::new();
    let outbound = Outbound::new(Handle::current(), outbound::trusted_roots());
    let lasting = Arc::new(Lasting {
        outbound,
        clock,
        metrics: metrics.clone(),
        lifecycle: lifecycle.clone(),
        workers: config.server.worker_count(),
        tls: server.tls().cloned(),
        revoked: Arc::default(),
        streams: Arc::new(Streams::new(metrics.clone())),
        flights: Arc::default(),
    });
    let first = assembly::assemble(config.clone(), &lasting, None)?;
    metrics.replica().started(lasting.clock.unix());
    first.vitals.tell(&lasting);
    first.entra.keep_fresh(first.stop_fetching.clone());
    let current = Arc::new(ArcSwap::from_pointee(first));

    let readiness = Readiness::new(lifecycle.clone());
    tokio::spawn(watch_metadata(Arc::clone(&current), readiness.clone(), begun));

    let admin = Admin::bind(&config.admin)?;
    let admin_address = admin.local_address().map_err(StartError::System)?;
    let stop_admin = CancellationToken::new();
    let serve_admin = admin.serve(readiness.clone(), metrics.clone(), stop_admin.clone());
    let admin = tokio::spawn(serve_admin);

    let address = server.local_address();
    let latest = Arc::clone(&current);
    let handler = move |peer, request| {
        // The request keeps its configuration to the end, whatever is swapped in meanwhile.
        let gateway = Arc::clone(&latest.load().gateway);
        async move { gateway.handle(peer, request).await }
    };
    let server = server.serve(handler, lifecycle.clone(), metrics).map_err(StartError::System)?;
    tracing::info!(
        listen = config.server.listen,
        admin = %admin_address,
        public_url = config.server.public_url.as_ref().map(tracing::field::display),
        "listening"
    );
    Ok(Running {
        address,
        admin_address,
        lifecycle,
        readiness,
        server,
        admin,
        stop_admin,
        current,
        lasting,
        reloader: None,
    })
}

/// Tells readiness when Microsoft's metadata is known, under whichever configuration comes to that.
async fn watch_metadata(current: Arc<ArcSwap<Assembled>>, readiness: Readiness, begun: Instant) {
    while !current.load().entra.is_ready() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    readiness.metadata_known();
    tracing::info!(after_ms = begun.elapsed().as_millis(), "ready: Microsoft's metadata is known");
}

async fn until_ready(readiness: &Readiness) {
    while readiness.state() == State::NoMetadata {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

impl Running {
    /// Where browsers connect; `None` on a Unix socket.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Where the admin port listens.
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Its state, shared with listeners and connections.
    pub fn lifecycle(&self) -> &Lifecycle {
        &self.lifecycle
    }

    /// Waits until requests are welcome.
    pub async fn ready(&self) {
        until_ready(&self.readiness).await;
    }

    /// Keeps a service manager informed: what this proxy waits for, and, where it asks for that,
    /// that no thread is stuck.
    pub fn inform(&self, manager: Arc<ServiceManager>) {
        let (readiness, workers) = (self.readiness.clone(), self.server.workers().clone());
        tokio::spawn(supervision::inform(manager, readiness, workers));
    }

    /// From now on a changed configuration is taken over: when it is asked for, and by a look at
    /// the files every so often.
    pub fn follow(&mut self, follow: Follow, every: Duration) {
        let (current, lasting) = (Arc::clone(&self.current), Arc::clone(&self.lasting));
        let reloader = Reloader::new(current, lasting, follow);
        tokio::spawn(reloader.clone().keep_looking(every));
        self.reloader = Some(reloader);
    }

    /// Who takes changed configurations over, if anybody.
    pub fn reloader(&self) -> Option<&Reloader> {
        self.reloader.as_ref()
    }

    /// Takes over what the files say now, changed or not.
    ///
    /// # Errors
    /// See [`ReloadError`]; nothing has changed then.
    pub async fn reload_now(&self) -> Result<(), ReloadError> {
        self.reloader.as_ref().ok_or(ReloadError::NotFollowing)?.reload_now().await
    }

    /// Readiness turns false at once; after a while, in which load balancers look away, listeners
    /// close and connections finish, within `server.drain_timeout` altogether.
    pub async fn drain(self) {
        tracing::info!("draining");
        self.lifecycle.drain();
        let drain_timeout = self.current.load().config.server.drain_timeout.duration();
        let grace = grace(drain_timeout, self.lifecycle.drained_for());
        tokio::select! {
            () = tokio::time::sleep(grace) => {}
            () = self.lifecycle.closing().cancelled() => {}
        }
        let left = drain_timeout.saturating_sub(grace);
        self.finish(left).await;
    }

    /// Closes now and gives what is under way `patience`.
    pub async fn finish(self, patience: Duration) {
        let Self { lifecycle, server, admin, stop_admin, .. } = self;
        lifecycle.close();
        let mut server = std::pin::pin!(server.join());
        if timeout(patience, server.as_mut()).await.is_err() {
            tracing::warn!("connections were cut: they did not finish in time");
            lifecycle.abort();
            let _ = timeout(AFTER_CUT, server).await;
        }
        lifecycle.abort();
        stop_admin.cancel();
        let _ = timeout(AFTER_CUT, admin).await;
        tracing::info!("stopped");
    }
}

/// How long listeners stay open after the signal. Whoever ran `vestibule drain` before it has given
/// load balancers that time already.
fn grace(drain_timeout: Duration, drained_for: Duration) -> Duration {
    LOOK_AWAY.min(drain_timeout / 2).saturating_sub(drained_for)
}
