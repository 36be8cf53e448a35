//! What ties streams to something that may end before they do.
//!
//! Its owner drives in a [`Post`] and ties streams to it; a pull ends them all. A stream carries a
//! [`Leash`], which is tied only once it turns out to be a stream: most answers are over long
//! before, and cost no bookkeeping.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, Sleep, sleep_until},
};

/// An answer that takes longer than this is a stream.
const SLACK: Duration = Duration::from_secs(1);

/// What streams are tied to. Dropped without a pull, it ends them too: nobody would watch them.
#[derive(Debug)]
pub struct Post(watch::Sender<Option<&'static str>>);

impl Post {
    /// One without streams.
    pub fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// A tie for one more stream; already pulled where the post is.
    pub fn tie(&self) -> Tie {
        Tie(self.0.subscribe())
    }

    /// Ends every stream, for a reason in one fixed word. The first reason stays.
    pub fn pull(&self, reason: &'static str) {
        self.0.send_if_modified(|told| {
            let first = told.is_none();
            told.get_or_insert(reason);
            first
        });
    }

    /// How many streams are tied.
    pub fn ties(&self) -> usize {
        self.0.receiver_count()
    }

    /// Whether the streams have been ended.
    pub fn is_pulled(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// Waits until no stream is tied.
    pub async fn untied(&self) {
        self.0.closed().await;
    }
}

impl Default for Post {
    fn default() -> Self {
        Self::new()
    }
}

/// One stream's tie to a [`Post`].
#[derive(Debug)]
pub struct Tie(watch::Receiver<Option<&'static str>>);

impl Tie {
    async fn pulled(mut self) -> &'static str {
        let told = self.0.wait_for(Option::is_some).await;
        told.ok().and_then(|told| *told).unwrap_or("unwatched")
    }
}

type Pulled = Pin<Box<dyn Future<Output = &'static str> + Send + Sync>>;

/// A stream's end of it.
pub struct Leash {
    /// When somebody first looked whether it had been pulled.
    since: Option<Instant>,
    timer: Option<Pin<Box<Sleep>>>,
    /// Ties on its first poll.
    pulled: Pulled,
}

impl Leash {
    /// One that `fasten` ties when it is needed.
    pub fn new(fasten: impl FnOnce() -> Tie + Send + Sync + 'static) -> Self {
        let pulled = Box::pin(async move { fasten().pulled().await });
        Self { since: None, timer: None, pulled }
    }

    /// Waits until the stream must end, and says why. Tied at once.
    pub async fn pulled(self) -> &'static str {
        self.pulled.await
    }

    /// Whether the stream must end, and why. `waiting` says that nothing else will wake the task.
    pub(super) fn poll(&mut self, waiting: bool, cx: &mut Context<'_>) -> Poll<&'static str> {
        let now = Instant::now();
        let end = *self.since.get_or_insert(now) + SLACK;
        if now < end {
            if !waiting {
                return Poll::Pending;
            }
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(end)));
            ready!(timer.as_mut().poll(cx));
        }
        self.pulled.as_mut().poll(cx)
    }
}

impl fmt::Debug for Leash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leash").field("since", &self.since).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, task::Waker};

    use super::*;

    #[tokio::test]
    async fn a_pull_ends_every_stream_with_the_first_reason() {
        let post = Arc::new(Post::new());
        let leash = || {
            let post = Arc::clone(&post);
            Leash::new(move || post.tie())
        };
        let (one, two, three) = (leash(), leash(), leash());
        let (one, two) = (tokio::spawn(one.pulled()), tokio::spawn(two.pulled()));
        while post.ties() < 2 {
            tokio::task::yield_now().await;
        }
        assert!(!post.is_pulled());
        post.pull("idle");
        post.pull("lifetime");
        assert_eq!((one.await.unwrap(), two.await.unwrap()), ("idle", "idle"));
        // Whoever comes late is told at once.
        assert_eq!(three.pulled().await, "idle");
        post.untied().await;
    }

    #[tokio::test]
    async fn a_stream_that_nobody_watches_ends() {
        let post = Post::new();
        let tie = post.tie();
        drop(post);
        assert_eq!(Leash::new(move || tie).pulled().await, "unwatched");
    }

    #[test]
    fn an_answer_that_is_over_at_once_is_never_tied() {
        let mut leash = Leash::new(|| unreachable!());
        let cx = &mut Context::from_waker(Waker::noop());
        assert!(leash.poll(false, cx).is_pending());
    }
}
