//! Whether load balancers should send requests here.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use crate::base::lifecycle::Lifecycle;

/// Shared between those who know and the admin port. Clones share it.
///
/// The app's own health is not part of it: a proxy that is taken out because the app is slow to
/// start could not show the page that says so.
#[derive(Clone, Debug)]
pub struct Readiness {
    lifecycle: Lifecycle,
    metadata_known: Arc<AtomicBool>,
}

/// The answer of `/readyz`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Requests are welcome.
    Ready,
    /// Microsoft's metadata has not been read yet: nobody could sign in.
    NoMetadata,
    /// The process is about to end.
    Draining,
}

impl Readiness {
    /// Not ready until [`Readiness::metadata_known`] was called.
    pub fn new(lifecycle: Lifecycle) -> Self {
        Self { lifecycle, metadata_known: Arc::default() }
    }

    /// Microsoft's metadata and keys are known. They stay known: what was read once keeps signed-in
    /// users working through an outage.
    pub fn metadata_known(&self) {
        self.metadata_known.store(true, Ordering::Release);
    }

    /// The state now.
    pub fn state(&self) -> State {
        if self.lifecycle.is_draining() {
            State::Draining
        } else if self.metadata_known.load(Ordering::Acquire) {
            State::Ready
        } else {
            State::NoMetadata
        }
    }

    pub(super) fn lifecycle(&self) -> &Lifecycle {
        &self.lifecycle
    }
}

impl State {
    /// The state in words, for the body of `/readyz`.
    pub fn words(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::NoMetadata => "not ready: waiting for Microsoft's metadata",
            Self::Draining => "not ready: draining",
        }
    }
}
