//! Starting, ready, draining: what the listeners, the admin port and the signal handler share.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// The state of one running proxy. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Lifecycle {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// Not ready any more, still accepting: load balancers are looking away.
    draining: CancellationToken,
    /// Since when.
    drained_at: OnceLock<Instant>,
    /// No new connections; idle ones close, busy ones finish their request.
    closing: CancellationToken,
    /// What is left is cut.
    aborting: CancellationToken,
    connections: TaskTracker,
}

impl Lifecycle {
    /// A fresh, running one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Readiness turns false; connections are still accepted and answered.
    pub fn drain(&self) {
        self.inner.drained_at.get_or_init(Instant::now);
        self.inner.draining.cancel();
    }

    /// Whether readiness has been taken back.
    pub fn is_draining(&self) -> bool {
        self.inner.draining.is_cancelled()
    }

    /// How long ago readiness was first taken back; zero while it is not.
    pub fn drained_for(&self) -> Duration {
        self.inner.drained_at.get().map_or(Duration::ZERO, Instant::elapsed)
    }

    /// Listeners close; each connection finishes its request and then closes.
    pub fn close(&self) {
        self.drain();
        self.inner.closing.cancel();
        self.inner.connections.close();
    }

    /// Cancelled once listeners must close.
    pub fn closing(&self) -> &CancellationToken {
        &self.inner.closing
    }

    /// Cuts what has not finished.
    pub fn abort(&self) {
        self.close();
        self.inner.aborting.cancel();
    }

    /// Cancelled once connections must end at once.
    pub fn aborting(&self) -> &CancellationToken {
        &self.inner.aborting
    }

    /// Connections (and tunnels) that the end of the process waits for.
    pub fn connections(&self) -> &TaskTracker {
        &self.inner.connections
    }
}
