//! One client connection: accepted under a limit, served in HTTP/1.1 or HTTP/2, ended on time.
//!
//! hyper's own builders, never hyper-util's `auto`: that one waits for the first bytes without any
//! limit. Which of the two it is has been found out at the [`Door`].

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    io,
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{Request, Response};
use http_body::Body as HttpBody;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};

use super::{
    Limits, Settings, Tls,
    answer::{Answers, Responding, WatchedBody},
    door::{Door, Entered, Protocol, TurnedAway},
    frames::Frames,
    listener::Listener,
    open::{Open, Place, Resting},
    pace::{Overdue, Pace, Times, Watchman},
    paced::Paced,
    streams,
    told::Told,
};
use crate::{
    base::{
        body::{Body, BodyError},
        causes::Causes,
        lifecycle::Lifecycle,
        metrics::Metrics,
        stream::Stream,
    },
    request::Peer,
};

/// For what the kernel knows and the runtime has not heard of yet.
const MOMENT: Duration = Duration::from_millis(50);
/// Out of descriptors or memory, waiting is the only thing that helps.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// For the end of a handshake that was under way when the server closed.
const HANDSHAKE_GRACE: Duration = Duration::from_secs(1);
/// For an HTTP/2 client to hear that its connection ends (RFC 9113 §6.8).
const GOODBYE: Duration = Duration::from_secs(1);

/// Everything that the connections of all workers share.
#[derive(Clone)]
pub(super) struct Connections<H> {
    shared: Arc<Shared>,
    handler: H,
}

struct Shared {
    door: Door,
    http1: http1::Builder,
    limits: Limits,
    times: Times,
    slots: Arc<Semaphore>,
    /// Whether the log already says that every slot is taken.
    full: AtomicBool,
    answers: Arc<Answers>,
    lifecycle: Lifecycle,
    metrics: Metrics,
}

impl<H> fmt::Debug for Connections<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("slots", &self.shared.slots).finish_non_exhaustive()
    }
}

impl<H, F, B> Connections<H>
where
    H: Fn(Peer, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: HttpBody<Data = Bytes, Error = BodyError> + From<Body> + Send + Unpin + 'static,
{
    pub(super) fn new(
        settings: &Settings,
        tls: Option<Tls>,
        lifecycle: Lifecycle,
        metrics: Metrics,
        handler: H,
    ) -> Self {
        let limits = &settings.limits;
        let most = limits.connections.clamp(1, Semaphore::MAX_PERMITS);
        metrics.replica().limit_connections(most);
        let shared = Shared {
            door: Door::new(settings, tls),
            http1: http1(limits),
            limits: limits.clone(),
            times: Times::new(limits),
            slots: Arc::new(Semaphore::new(most)),
            full: AtomicBool::new(false),
            answers: Arc::new(Answers::new(limits, lifecycle.clone(), metrics.clone())),
            lifecycle,
            metrics,
        };
        Self { shared: Arc::new(shared), handler }
    }

    /// What the connections end with.
    pub(super) fn lifecycle(&self) -> &Lifecycle {
        &self.shared.lifecycle
    }

    /// Accepts until the lifecycle closes. No error ends it.
    pub(super) async fn accept(&self, listener: Listener) {
        let closing = self.shared.lifecycle.closing();
        loop {
            let next = async {
                let slot = self.shared.slot().await;
                (slot, listener.accept().await)
            };
            let (slot, accepted) = tokio::select! {
                biased;
                () = closing.cancelled() => return self.accept_the_rest(&listener).await,
                next = next => next,
            };
            match accepted {
                Ok((stream, peer)) => self.spawn(stream, peer, slot),
                Err(error) if is_the_peers(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "could not accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Whoever the kernel has let in already would be reset with the listener: a request that is
    /// there is answered, and each connection then closes in order.
    async fn accept_the_rest(&self, listener: &Listener) {
        let rest = async {
            while let Ok(slot) = Arc::clone(&self.shared.slots).try_acquire_owned() {
                let Ok((stream, peer)) = listener.accept().await else { return };
                self.spawn(stream, peer, Some(slot));
            }
        };
        // Ends by time: a queue that is not empty and one that fills again look the same.
        let _ = timeout(MOMENT, rest).await;
    }

    fn spawn(&self, stream: Stream, peer: Peer, slot: Option<OwnedSemaphorePermit>) {
        let connections = self.clone();
        let place = Place::new(self.shared.metrics.connections().clone(), slot);
        self.shared.lifecycle.connections().spawn(async move {
            let shared = Arc::clone(&connections.shared);
            let serve = connections.serve(stream, peer, place);
            if AssertUnwindSafe(serve).catch_unwind().await.is_err() {
                shared.metrics.panicked();
                tracing::error!("a connection ended in a panic");
            }
        });
    }

    async fn serve(self, stream: Stream, peer: Peer, place: Place) {
        let shared = Arc::clone(&self.shared);
        let closing = async {
            shared.lifecycle.closing().cancelled().await;
            sleep(HANDSHAKE_GRACE).await;
        };
        let entered = tokio::select! {
            biased;
            () = shared.lifecycle.aborting().cancelled() => return,
            entered = shared.door.enter(stream, peer, place) => entered,
            () = closing => return,
        };
        let entered = match entered {
            Ok(entered) => entered,
            Err(why) => return shared.turned_away(peer, &why),
        };
        match entered.protocol {
            Protocol::Http1 => self.serve_http1(entered).await,
            // In a place of its own: an HTTP/1.1 connection must not have its size.
            Protocol::Http2 => Box::pin(self.serve_http2(entered)).await,
        }
    }

    async fn serve_http1(self, entered: Entered) {
        let Entered { mut stream, peer, protocol, begun } = entered;
        let pace = Pace::new(protocol, begun);
        let mut watchman = Watchman::new(Arc::clone(&pace), self.shared.times);
        // In a box that goes when the connection rests: what requests need is large.
        while let Some(kept) = Box::pin(self.exchange(stream, peer, &pace, &mut watchman)).await {
            stream = kept;
            if !stream.is_begun() && !self.shared.rest(&stream, peer, &mut watchman).await {
                return;
            }
        }
    }

    /// Answers requests until the connection ends, or has been idle long enough to rest.
    async fn exchange(
        &self,
        stream: Open,
        peer: Peer,
        pace: &Arc<Pace>,
        watchman: &mut Watchman,
    ) -> Option<Open> {
        let Self { shared, handler } = self;
        let answers = Arc::clone(&shared.answers);
        let service = service(handler.clone(), peer, Arc::clone(pace), answers);
        let io = TokioIo::new(Paced::http1(stream, Arc::clone(pace)));
        let mut connection = shared.http1.serve_connection(io, service).with_upgrades();
        let mut closing = pin!(shared.closing(pace));
        let mut told = false;
        let overdue = loop {
            let overdue = tokio::select! {
                // The watchman must see what the connection has just done.
                biased;
                // Nothing is aborted that was not told to close.
                () = shared.lifecycle.aborting().cancelled(), if told => return None,
                done = &mut connection => {
                    shared.ended(peer, done);
                    return None;
                }
                overdue = &mut *watchman => Some(overdue),
                () = closing.as_mut(), if !told => None,
            };
            if let Some(overdue) = overdue {
                break overdue;
            }
            told = true;
            Pin::new(&mut connection).graceful_shutdown();
        };
        if overdue != Overdue::Rest {
            shared.overdue(peer, overdue);
            return None;
        }
        let parts = connection.into_parts()?;
        let mut stream = parts.io.into_inner().into_inner();
        if parts.read_buf.is_empty() {
            pace.rest();
        } else {
            pace.begun_already();
            stream.unread(parts.read_buf);
        }
        Some(stream)
    }

    async fn serve_http2(self, entered: Entered) {
        let Self { shared, handler } = self;
        let Entered { stream, peer, protocol, begun } = entered;
        let pace = Pace::new(protocol, begun);
        let service = service(handler, peer, Arc::clone(&pace), Arc::clone(&shared.answers));
        let frames = Frames::new(shared.limits.control_frames, begun);
        let http2 = streams::http2(&shared.limits, &shared.metrics, &pace);
        let told = Told::new(shared.metrics.clone());
        let io = TokioIo::new(Paced::http2(stream, Arc::clone(&pace), frames, told));
        let mut connection = pin!(http2.serve_connection(io, service));
        let mut watchman = pin!(Watchman::new(Arc::clone(&pace), shared.times));
        let mut closing = pin!(shared.closing(&pace));
        let mut closes = false;
        let overdue = loop {
            tokio::select! {
                biased;
                () = shared.lifecycle.aborting().cancelled(), if closes => return,
                done = connection.as_mut() => return shared.ended(peer, done),
                overdue = watchman.as_mut() => break overdue,
                () = closing.as_mut(), if !closes => {
                    closes = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        };
        shared.overdue(peer, overdue);
        // GOAWAY tells the client which of its requests it may send again elsewhere.
        connection.as_mut().graceful_shutdown();
        let _ = timeout(GOODBYE, connection).await;
    }
}

/// The handler as hyper wants it, with its requests and answers noted.
fn service<H, F, B>(
    handler: H,
    peer: Peer,
    pace: Arc<Pace>,
    answers: Arc<Answers>,
) -> impl hyper::service::Service<
    Request<Incoming>,
    Response = Response<WatchedBody<B>>,
    Error = Infallible,
    Future = impl Future<Output = Result<Response<WatchedBody<B>>, Infallible>> + Send + 'static,
>
where
    H: Fn(Peer, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: HttpBody<Data = Bytes, Error = BodyError> + From<Body> + Send + Unpin + 'static,
{
    service_fn(move |request: Request<Incoming>| {
        pace.request(!request.body().is_end_stream());
        let responding = Responding::new(Arc::clone(&pace));
        let answer = Arc::clone(&answers).answer(&handler, peer, request);
        async move { Ok(answer.await.map(|body| WatchedBody::new(body, responding))) }
    })
}

fn http1(limits: &Limits) -> http1::Builder {
    let mut http1 = http1::Builder::new();
    let head = usize::try_from(limits.header_bytes.bytes()).unwrap_or(usize::MAX);
    // Not `pipeline_flush`: with it, hyper never writes its own 400 or 431 while bytes of the
    // malformed head are left, and an answer waits for the rest of a request behind it.
    http1
        // The watchman keeps both times; hyper knows only one for both.
        .header_read_timeout(None)
        .max_header_size(head)
        // An app that compares `SOAPAction` by case keeps working. Answers are written as people
        // write them: what a browser reads has no case, and remembering it costs each answer.
        .preserve_header_case(true)
        .title_case_headers(true);
    // hyper's own 100 lives on the stack; any other number costs an allocation per request.
    if limits.headers != 100 {
        http1.max_headers(limits.headers);
    }
    http1
}

impl Shared {
    /// A place for one more connection. Taken before `accept`, so that what exceeds the limit
    /// waits in the kernel's queue. `None` never happens: the semaphore is never closed.
    async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() {
            self.full.store(false, Relaxed);
            return Some(slot);
        }
        if !self.full.swap(true, Relaxed) {
            self.metrics.refusal("connections");
            tracing::warn!("every connection that server.limits.connections allows is in use");
        }
        Arc::clone(&self.slots).acquire_owned().await.ok()
    }

    /// Waits for the next request with nothing but the socket; whether there is something to do.
    async fn rest(&self, stream: &Open, peer: Peer, watchman: &mut Watchman) -> bool {
        let _resting = Resting::new(self.metrics.connections_resting());
        tokio::select! {
            biased;
            // hyper will read it, or notice that it is the end.
            _ = stream.readable() => true,
            overdue = watchman => {
                self.overdue(peer, overdue);
                false
            }
            // hyper will end the connection in order.
            () = self.lifecycle.closes() => true,
        }
    }

    fn ended(&self, peer: Peer, done: Result<(), hyper::Error>) {
        let Err(error) = done else { return };
        if error.is_parse() {
            // hyper has answered 400, 414 or 431 by itself: no handler, no access line.
            let large = error.is_parse_too_large();
            self.metrics.refusal(if large { "header_bytes" } else { "malformed" });
            tracing::info!(?peer, %error, "a malformed request was refused");
        } else {
            tracing::debug!(?peer, %error, "a connection ended early");
        }
    }

    fn overdue(&self, peer: Peer, overdue: Overdue) {
        if overdue == Overdue::Idle {
            self.metrics.idle_closed();
        }
        if let Some(reason) = overdue.reason() {
            self.metrics.refusal(reason);
            tracing::debug!(?peer, reason, "a connection was ended");
        }
    }

    fn turned_away(&self, peer: Peer, why: &TurnedAway) {
        let reason = why.reason();
        if let Some(reason) = reason {
            self.metrics.refusal(reason);
        }
        let causes = Causes(why);
        tracing::debug!(?peer, reason, %causes, "a connection was turned away");
    }

    /// Ends when a connection has to end after what it is doing.
    async fn closing(&self, pace: &Pace) {
        self.lifecycle.closes().await;
        if pace.is_silent() {
            // A connection that was made a moment ago has its request on the way.
            sleep(MOMENT).await;
        }
    }
}

/// Whether `accept` failed because of this one peer (accept(2): errors of the new socket).
fn is_the_peers(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
            | io::ErrorKind::TimedOut
    )
}
