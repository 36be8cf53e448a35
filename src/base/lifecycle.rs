//! Starting, ready, draining: what the listeners, the admin port and the signal handler share.

use std::{
    future::{Future, poll_fn},
    pin::pin,
    sync::{
        Arc, OnceLock,
        atomic::{
            AtomicBool,
            Ordering::{Acquire, Release},
        },
    },
    task::{Poll, Waker},
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
    /// Since when it is not ready any more, and still accepts: load balancers are looking away.
    drained_at: OnceLock<Instant>,
    /// No new connections; idle ones close, busy ones finish their request.
    closing: CancellationToken,
    /// Set before `closing` is cancelled.
    closed: AtomicBool,
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
    }

    /// Whether readiness has been taken back.
    pub fn is_draining(&self) -> bool {
        self.inner.drained_at.get().is_some()
    }

    /// How long ago readiness was first taken back; zero while it is not.
    pub fn drained_for(&self) -> Duration {
        self.inner.drained_at.get().map_or(Duration::ZERO, Instant::elapsed)
    }

    /// Listeners close; each connection finishes its request and then closes.
    pub fn close(&self) {
        self.drain();
        self.inner.closed.store(true, Release);
        self.inner.closing.cancel();
        self.inner.connections.close();
    }

    /// Cancelled once listeners must close.
    pub fn closing(&self) -> &CancellationToken {
        &self.inner.closing
    }

    /// Waits until listeners must close, for a task that is polled for other reasons all the time:
    /// each poll of a token takes two locks that all workers share, and this takes none.
    pub async fn closes(&self) {
        let mut cancelled = pin!(self.inner.closing.cancelled());
        let mut asked: Option<Waker> = None;
        poll_fn(|cx| {
            let known = asked.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
            if known && !self.inner.closed.load(Acquire) {
                return Poll::Pending;
            }
            asked = Some(cx.waker().clone());
            cancelled.as_mut().poll(cx)
        })
        .await;
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

#[cfg(test)]
mod tests {
    use std::task::Context;

    use futures_util::task::noop_waker;
    use tokio::task::yield_now;

    use super::*;

    #[tokio::test]
    async fn whoever_waits_for_the_close_is_woken_by_it() {
        let lifecycle = Lifecycle::new();
        let waits = tokio::spawn({
            let lifecycle = lifecycle.clone();
            async move { lifecycle.closes().await }
        });
        yield_now().await;
        assert!(!waits.is_finished());
        lifecycle.close();
        waits.await.unwrap();
        lifecycle.closes().await;
    }

    #[tokio::test]
    async fn the_one_who_asked_last_is_woken() {
        let lifecycle = Lifecycle::new();
        let mut waits = Box::pin({
            let lifecycle = lifecycle.clone();
            async move { lifecycle.closes().await }
        });
        let nobody = noop_waker();
        assert!(waits.as_mut().poll(&mut Context::from_waker(&nobody)).is_pending());
        let waits = tokio::spawn(waits);
        yield_now().await;
        lifecycle.close();
        waits.await.unwrap();
    }
}
