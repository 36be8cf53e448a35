//! Bodies: streamed through or our own page, and read whole only under a cap.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName};
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until};

use super::{leash::Leash, pulse::Pulse};

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// The peer broke the framing, or the connection ended.
    #[error("the body ended before it was complete")]
    Broken(#[source] hyper::Error),
    /// No byte for as long as is allowed.
    #[error("no byte of the body arrived for {0:?}")]
    Idle(Duration),
    /// More bytes than are allowed.
    #[error("the body is larger than {0} bytes")]
    TooLarge(u64),
    /// What it was tied to has ended.
    #[error("the body was ended: {0}")]
    Pulled(&'static str),
}

/// A body that is passed on as it arrives, or one of our own.
#[derive(Debug, Default)]
pub enum Body {
    /// No body.
    #[default]
    Empty,
    /// Bytes of our own.
    Full(Bytes),
    /// Somebody else's, passed through.
    Stream(Stream),
}

/// Somebody else's body with a limit on silence.
#[derive(Debug)]
pub struct Stream {
    incoming: Incoming,
    idle: Option<Idle>,
    trailers: Trailers,
    /// How much may still come, and how much it was.
    cap: Option<(u64, u64)>,
    tied: Option<Tied>,
}

/// What becomes of a body's trailers.
#[derive(Clone, Debug)]
enum Trailers {
    Pass,
    /// They come after the judgement, under whatever name.
    Drop,
    Without(Unwanted),
}

/// Says which fields may not stand in trailers. Clones share it.
#[derive(Clone)]
pub struct Unwanted(Arc<dyn Fn(&HeaderName) -> bool + Send + Sync>);

impl Unwanted {
    /// Refuses the names that `test` says yes to.
    pub fn new(test: impl Fn(&HeaderName) -> bool + Send + Sync + 'static) -> Self {
        Self(Arc::new(test))
    }

    fn strip(&self, trailers: &mut HeaderMap) {
        let gone: Vec<HeaderName> =
            trailers.keys().filter(|name| (self.0)(name)).cloned().collect();
        for name in gone {
            trailers.remove(name);
        }
    }
}

impl fmt::Debug for Unwanted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unwanted").finish_non_exhaustive()
    }
}

/// What ends a body before its sender does.
#[derive(Debug)]
struct Tied {
    leash: Leash,
    /// In order, as if it were complete; else the connection breaks off.
    in_order: bool,
}

/// Only waiting is measured: time in which nobody asked for a byte is not the sender's silence.
#[derive(Debug)]
struct Idle {
    limit: Duration,
    /// Made when the first wait begins: most bodies are there before anybody waits.
    sleep: Option<Pin<Box<Sleep>>>,
    waiting: bool,
    /// Of the other direction too, where silence is that of both.
    pulse: Option<Pulse>,
}

impl Idle {
    fn new(limit: Duration) -> Self {
        Self { limit, sleep: None, waiting: false, pulse: None }
    }

    fn frame(&mut self) {
        self.waiting = false;
        if let Some(pulse) = &self.pulse {
            pulse.beat();
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = Instant::now() + self.limit;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
        if !self.waiting {
            self.waiting = true;
            sleep.as_mut().reset(deadline);
        }
        while sleep.as_mut().poll(cx).is_ready() {
            let moved = self.pulse.as_ref().map(|pulse| pulse.last() + self.limit);
            match moved.filter(|end| *end > Instant::now()) {
                Some(end) => sleep.as_mut().reset(end),
                None => return Poll::Ready(()),
            }
        }
        Poll::Pending
    }
}

impl Body {
    /// Bytes of our own.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        if bytes.is_empty() { Self::Empty } else { Self::Full(bytes) }
    }

    /// Somebody else's body, ended when no byte arrives for `idle`.
    pub fn stream(incoming: Incoming, idle: Option<Duration>) -> Self {
        if incoming.is_end_stream() {
            return Self::Empty;
        }
        let (trailers, idle) = (Trailers::Pass, idle.map(Idle::new));
        Self::Stream(Stream { incoming, idle, trailers, cap: None, tied: None })
    }

    /// The same without its trailers.
    #[must_use]
    pub fn without_trailers(mut self) -> Self {
        if let Self::Stream(stream) = &mut self {
            stream.trailers = Trailers::Drop;
        }
        self
    }

    /// The same without the trailers that are `unwanted`.
    #[must_use]
    pub fn without_these_trailers(mut self, unwanted: &Unwanted) -> Self {
        if let Self::Stream(stream) = &mut self {
            stream.trailers = Trailers::Without(unwanted.clone());
        }
        self
    }

    /// The same, ended by an error beyond `cap` bytes.
    #[must_use]
    pub fn at_most(mut self, cap: u64) -> Self {
        if let Self::Stream(stream) = &mut self {
            stream.cap = Some((cap, cap));
        }
        self
    }

    /// The same with another limit of silence.
    #[must_use]
    pub fn silent_for(mut self, limit: Option<Duration>) -> Self {
        if let Self::Stream(stream) = &mut self {
            stream.idle = limit.map(Idle::new);
        }
        self
    }

    /// The same, whose silence counts only while `pulse`, that of the other direction, rests too.
    #[must_use]
    pub fn sharing(mut self, pulse: &Pulse) -> Self {
        if let Self::Stream(Stream { idle: Some(idle), .. }) = &mut self {
            idle.pulse = Some(pulse.clone());
        }
        self
    }

    /// The same, ended by a pull of `leash`: with an error, or `in_order` where that cannot be taken
    /// for the whole.
    #[must_use]
    pub fn tied(mut self, leash: Leash, in_order: bool) -> Self {
        if let Self::Stream(stream) = &mut self {
            stream.tied = Some(Tied { leash, in_order });
        }
        self
    }

    /// Reads everything, up to `cap` bytes.
    ///
    /// # Errors
    /// The body is longer than `cap`, breaks off or falls silent.
    pub async fn read(self, cap: u64) -> Result<Bytes, BodyError> {
        match self {
            Self::Empty => Ok(Bytes::new()),
            Self::Full(bytes) if bytes.len() as u64 > cap => Err(BodyError::TooLarge(cap)),
            Self::Full(bytes) => Ok(bytes),
            Self::Stream(_) => read_capped(self, cap).await,
        }
    }
}

async fn read_capped(mut body: Body, cap: u64) -> Result<Bytes, BodyError> {
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            if (all.len() + data.len()) as u64 > cap {
                return Err(BodyError::TooLarge(cap));
            }
            all.extend_from_slice(&data);
        }
    }
    Ok(all.freeze())
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match &mut *self {
            Self::Empty => Poll::Ready(None),
            Self::Full(bytes) => {
                let bytes = std::mem::take(bytes);
                *self = Self::Empty;
                Poll::Ready(Some(Ok(Frame::data(bytes))))
            }
            Self::Stream(stream) => {
                let polled = stream.poll(cx);
                if let Poll::Ready(None | Some(Err(_))) = polled {
                    // The sender hears at once that nobody listens any more.
                    *self = Self::Empty;
                }
                polled
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Full(_) => false,
            Self::Stream(stream) => stream.incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream(stream) => stream.incoming.size_hint(),
        }
    }
}

impl Stream {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(end) = self.poll_leash(false, cx) {
            return Poll::Ready(end);
        }
        loop {
            match Pin::new(&mut self.incoming).poll_frame(cx) {
                Poll::Ready(Some(Ok(mut frame))) => {
                    if let Some(idle) = &mut self.idle {
                        idle.frame();
                    }
                    if let Some(trailers) = frame.trailers_mut() {
                        match &self.trailers {
                            Trailers::Pass => {}
                            Trailers::Drop => continue,
                            Trailers::Without(unwanted) => unwanted.strip(trailers),
                        }
                    }
                    if let Some((left, cap)) = &mut self.cap {
                        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
                        let Some(rest) = left.checked_sub(length) else {
                            return Poll::Ready(Some(Err(BodyError::TooLarge(*cap))));
                        };
                        *left = rest;
                    }
                    return Poll::Ready(Some(Ok(frame)));
                }
                Poll::Ready(Some(Err(error))) => {
                    return Poll::Ready(Some(Err(BodyError::Broken(error))));
                }
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {
                    if let Poll::Ready(end) = self.poll_leash(true, cx) {
                        return Poll::Ready(end);
                    }
                    let Some(idle) = &mut self.idle else { return Poll::Pending };
                    return idle.poll(cx).map(|()| Some(Err(BodyError::Idle(idle.limit))));
                }
            }
        }
    }

    fn poll_leash(
        &mut self,
        waiting: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(Tied { leash, in_order }) = &mut self.tied else { return Poll::Pending };
        let reason = ready!(leash.poll(waiting, cx));
        Poll::Ready(if *in_order { None } else { Some(Err(BodyError::Pulled(reason))) })
    }
}
