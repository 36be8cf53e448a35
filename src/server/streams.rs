//! The requests of an HTTP/2 connection, each in a task of its own; and what HTTP/2 is limited to.

use std::{
    cell::Cell,
    fmt,
    future::{Future, poll_fn},
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use futures_util::FutureExt;
use hyper::{rt::Executor, server::conn::http2};
use hyper_util::rt::TokioTimer;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{Limits, pace::Pace};
use crate::base::metrics::Metrics;

/// What a client may send of one body before the app takes it.
const STREAM_WINDOW: u32 = 128 << 10;
/// The same for all bodies of a connection.
const CONNECTION_WINDOW: u32 = 1 << 20;
/// What is kept of one answer for a client that does not take it.
const SEND_BUFFER: usize = 64 << 10;
/// Requests that were taken back before we looked at them (CVE-2023-44487).
const PENDING_RESETS: usize = 20;
/// A client that has gone without a word is noticed within twice this.
const PING: Duration = Duration::from_secs(20);

/// hyper's HTTP/2, within our limits.
pub(super) fn http2(
    limits: &Limits,
    metrics: &Metrics,
    pace: &Arc<Pace>,
) -> http2::Builder<Streams> {
    let head = u32::try_from(limits.header_bytes.bytes()).unwrap_or(u32::MAX);
    let (metrics, pace) = (metrics.clone(), Arc::clone(pace));
    let streams = Streams { write: limits.write_time.duration(), metrics, pace };
    let mut http2 = http2::Builder::new(streams);
    http2
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        // Twice: what is between is refused, and counted, by us.
        .max_header_list_size(head.saturating_mul(2))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING)
        // WebSockets (RFC 8441); whatever else it could carry is refused as a CONNECT.
        .enable_connect_protocol();
    http2
}

/// What a stream's body did when it was asked last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// It was not asked.
    None,
    /// There is something for the client.
    Given,
    /// There is nothing: the app is waited for.
    Waiting,
}

thread_local! {
    /// hyper asks a body within its stream's own poll: what it did is told to the poll around it.
    static TURN: Cell<Turn> = const { Cell::new(Turn::None) };
}

/// Notes what a body did.
pub(super) fn note(turn: Turn) {
    TURN.set(turn);
}

/// Runs each stream of a connection in a task, and ends those whose answer is not taken: the socket of a
/// connection flows on while one of its streams has a window of nothing.
#[derive(Clone)]
pub(super) struct Streams {
    write: Duration,
    metrics: Metrics,
    pace: Arc<Pace>,
}

/// A task that counts for its connection.
struct Task(Arc<Pace>);

impl Task {
    fn begin(pace: Arc<Pace>) -> Self {
        pace.task_begins();
        Self(pace)
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.task_ends();
    }
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams").field("write", &self.write).finish_non_exhaustive()
    }
}

impl<S> Executor<S> for Streams
where
    S: Future + Send + 'static,
{
    fn execute(&self, stream: S) {
        let Self { write, metrics, pace } = self.clone();
        let task = Task::begin(pace);
        tokio::spawn(async move {
            let _task = task;
            match AssertUnwindSafe(taken_in_time(stream, write)).catch_unwind().await {
                Ok(true) => {}
                Ok(false) => metrics.refusal("slow_reader"),
                Err(_) => {
                    metrics.panicked();
                    tracing::error!("a stream ended in a panic");
                }
            }
        });
    }
}

/// Runs a stream to its end; `false`, and a reset, if the client takes nothing for `limit`.
async fn taken_in_time<S: Future>(stream: S, limit: Duration) -> bool {
    let mut stream = pin!(stream);
    let mut stalled: Option<Instant> = None;
    let mut sleep: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|cx| {
        TURN.set(Turn::None);
        if stream.as_mut().poll(cx).is_ready() {
            return Poll::Ready(true);
        }
        match TURN.get() {
            Turn::None => {}
            Turn::Given => stalled = Some(Instant::now()),
            Turn::Waiting => stalled = None,
        }
        let Some(since) = stalled else { return Poll::Pending };
        let deadline = since + limit;
        let sleep = sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        while sleep.as_mut().poll(cx).is_ready() {
            if Instant::now() >= deadline {
                return Poll::Ready(false);
            }
            sleep.as_mut().reset(deadline);
        }
        Poll::Pending
    })
    .await
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const LIMIT: Duration = Duration::from_millis(200);

    /// A stream that notes `turns` one after the other, `pause` apart, and then never anything.
    async fn ends(turns: &[Turn], pause: Duration) -> Option<bool> {
        let mut turns = turns.iter().copied();
        let mut slow = Box::pin(tokio::time::sleep(Duration::ZERO));
        let stream = poll_fn(move |cx| {
            while slow.as_mut().poll(cx).is_ready() {
                let Some(turn) = turns.next() else { break };
                note(turn);
                slow.as_mut().reset(Instant::now() + pause);
            }
            Poll::<()>::Pending
        });
        timeout(LIMIT * 4, taken_in_time(stream, LIMIT)).await.ok()
    }

    #[tokio::test]
    async fn an_answer_that_is_not_taken_ends_its_stream() {
        let begun = Instant::now();
        assert_eq!(ends(&[Turn::Given], LIMIT * 9).await, Some(false));
        assert!(begun.elapsed() >= LIMIT);
    }

    #[tokio::test]
    async fn an_app_that_is_slow_is_not_a_client_that_is() {
        assert_eq!(ends(&[Turn::None], LIMIT * 9).await, None);
        assert_eq!(ends(&[Turn::Waiting], LIMIT * 9).await, None);
        assert_eq!(ends(&[Turn::Given, Turn::Waiting], Duration::ZERO).await, None);
    }

    #[tokio::test]
    async fn each_piece_that_is_taken_counts_anew() {
        let begun = Instant::now();
        assert_eq!(ends(&[Turn::Given; 3], LIMIT / 2).await, Some(false));
        assert!(begun.elapsed() >= LIMIT * 2);
    }
}
