//! One connection to an app that speaks HTTP/1, driven by whoever asks on it.
//!
//! It has no task of its own while an answer is awaited: the task that waits reads and writes, so
//! that an answer wakes one task and not two after each other.

use std::{
    fmt,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker, ready},
    time::Duration,
};

use futures_util::task::AtomicWaker;
use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::{
        TrySendError,
        http1::{Builder, SendRequest},
    },
};
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, Sleep, sleep};

use super::{chatter::Chatter, error::UpstreamError, idle::Upload};
use crate::base::{pulse::Pulse, stream::Stream};

/// The app may send more fields than a browser may (Set-Cookie, CSP reports).
const MOST_FIELDS: usize = 256;

/// hyper does not name the type of a connection that may become a tunnel.
type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// One connection. Dropped, it is closed.
pub(super) struct Line {
    sender: SendRequest<Upload>,
    /// `None` once the connection has ended.
    driver: Option<Driver>,
    /// What the driver is polled with, whoever drives: a waker that changed with each request would
    /// be registered anew in every place that keeps one, and the next request would wake the task
    /// of the last.
    waker: Waker,
    driven: Arc<Driven>,
    chatter: Chatter,
    /// Ends too early rather than be moved for each request.
    silence: Pin<Box<Sleep>>,
}

/// The task that drives a line now.
#[derive(Default)]
struct Driven(AtomicWaker);

impl Wake for Driven {
    fn wake(self: Arc<Self>) {
        self.0.wake();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.wake();
    }
}

/// How long an answer may take.
#[derive(Clone, Debug)]
pub(super) struct Patience {
    /// When the request was sent.
    pub(super) sent: Instant,
    /// Longest silence.
    pub(super) idle: Duration,
    /// When the caller's body last moved, where there is one.
    pub(super) pulse: Option<Pulse>,
}

impl Patience {
    fn end(&self) -> Instant {
        self.pulse.as_ref().map_or(self.sent, Pulse::last) + self.idle
    }
}

/// Why there is no answer.
pub(super) enum Unanswered {
    /// Not a byte of the request has been written, so that it may be sent elsewhere.
    Unsent(Box<Request<Upload>>, hyper::Error),
    /// The app may know of it.
    Failed(UpstreamError),
}

impl Line {
    /// A line over a connection that has just been made.
    pub(super) async fn open(stream: Stream, idle: Duration) -> hyper::Result<Self> {
        let (sender, connection) = Builder::new()
            .max_headers(MOST_FIELDS)
            // An app that compares `SOAPAction` by case keeps working: names are written as they
            // came, and what we add, or what came in HTTP/2, as people write it.
            .title_case_headers(true)
            .handshake(TokioIo::new(stream))
            .await?;
        let driven = Arc::<Driven>::default();
        Ok(Self {
            sender,
            driver: Some(Box::pin(connection.with_upgrades())),
            waker: Waker::from(Arc::clone(&driven)),
            driven,
            chatter: Chatter::default(),
            silence: Box::pin(sleep(idle)),
        })
    }

    /// Sends a request; the line comes back with the answer's head.
    pub(super) fn ask(self, mut request: Request<Upload>, patience: Patience) -> Asking {
        let mut line = self;
        line.chatter.listen(&mut request);
        let answer = Box::pin(line.sender.try_send_request(request));
        Asking { line: Some(line), answer, patience }
    }

    /// Reads and writes what can be read and written now, for the task of `cx`.
    fn drive(&mut self, cx: &mut Context<'_>) {
        self.driven.0.register(cx.waker());
        if let Some(driver) = &mut self.driver
            && driver.as_mut().poll(&mut Context::from_waker(&self.waker)).is_ready()
        {
            // A request that it has not begun with comes back when it is dropped.
            self.driver = None;
        }
    }

    fn poll_silence(&mut self, patience: &Patience) -> Poll<()> {
        loop {
            ready!(self.silence.as_mut().poll(&mut Context::from_waker(&self.waker)));
            let end = patience.end();
            if end <= Instant::now() {
                return Poll::Ready(());
            }
            self.silence.as_mut().reset(end);
        }
    }

    /// Whether the connection has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.driver.is_none()
    }

    /// Whether the last exchange is over, to its last byte in both directions.
    pub(super) fn is_free(&self) -> bool {
        self.driver.is_some() && self.sender.is_ready()
    }

    /// Drives until the last exchange is over, or the connection.
    pub(super) async fn finish(&mut self) {
        poll_fn(|cx| {
            self.drive(cx);
            if self.has_ended() || self.is_free() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Nobody drives from now on: what happens on the line is noticed by the next request.
    pub(super) fn rest(&self) {
        self.driven.0.take();
    }
}

/// A request on its way and its answer.
///
/// A type of its own and a box inside: futures in futures would each have room for all of it twice,
/// and be copied whenever a request goes from one to the next.
pub(super) struct Asking {
    /// `None` once there is an answer.
    line: Option<Line>,
    answer: Pin<Box<dyn Future<Output = Answer> + Send>>,
    patience: Patience,
}

type Answer = Result<Response<Incoming>, TrySendError<Request<Upload>>>;

impl Future for Asking {
    type Output = Result<(Response<Incoming>, Line), Unanswered>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { line: place, answer, patience } = &mut *self;
        let Some(line) = place else { return Poll::Pending };
        line.drive(cx);
        // The driver alone answers, and it has just been driven: nobody needs to be woken for it.
        let answer = answer.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if line.chatter.is_too_much() {
            return Poll::Ready(Err(Unanswered::Failed(UpstreamError::Chatter)));
        }
        match answer {
            Poll::Ready(Ok(response)) => match place.take() {
                Some(line) => Poll::Ready(Ok((response, line))),
                None => Poll::Pending,
            },
            Poll::Ready(Err(mut error)) => Poll::Ready(Err(match error.take_message() {
                Some(request) => Unanswered::Unsent(Box::new(request), error.into_error()),
                None => Unanswered::Failed(error.into_error().into()),
            })),
            Poll::Pending => line
                .poll_silence(patience)
                .map(|()| Err(Unanswered::Failed(UpstreamError::Idle(patience.idle)))),
        }
    }
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").field("has_ended", &self.has_ended()).finish_non_exhaustive()
    }
}
