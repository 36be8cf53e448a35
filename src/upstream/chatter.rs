//! Informational answers (1xx) before the real one. A few are ordinary and end here, for want of a
//! way to pass them on; an app that sends them for ever is broken (RFC 9110 §15.2).

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Poll},
};

use futures_util::task::AtomicWaker;
use http::Request;

/// More than any app needs to say before its answer.
const MOST: u32 = 16;

/// Counts the informational answers to one request after the other.
#[derive(Debug, Default)]
pub(super) struct Chatter(Arc<Count>);

#[derive(Debug, Default)]
struct Count {
    heard: AtomicU32,
    waker: AtomicWaker,
}

impl Chatter {
    /// Listens to the answers of `request`, and no longer to those of the one before.
    pub(super) fn listen<B>(&self, request: &mut Request<B>) {
        self.0.heard.store(0, Relaxed);
        let counted = Arc::clone(&self.0);
        hyper::ext::on_informational(request, move |_| {
            if counted.heard.fetch_add(1, Relaxed) >= MOST {
                counted.waker.wake();
            }
        });
    }

    /// Ready when there are too many.
    pub(super) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.0.waker.register(cx.waker());
        if self.is_too_much() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Whether there are too many.
    pub(super) fn is_too_much(&self) -> bool {
        self.0.heard.load(Relaxed) > MOST
    }
}
