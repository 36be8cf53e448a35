//! How long a connection may take for what it is doing.
//!
//! hyper knows one timer for the head of a request and for the silence before it; ours differ
//! (slow heads are attacks, idle connections are not). So the [stream](super::paced) notes what
//! happens on it, and a [`Watchman`] that lives in the connection's own task ends the connection.
//!
//! A connection that has been idle for a moment is put to rest: its buffers go, its time runs on.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

use super::{Limits, door::Protocol, frames::Frames};

/// What a connection is doing. All of a connection runs on one thread, so the atomics only make it
/// `Send`: there is no second party.
#[derive(Debug)]
pub(super) struct Pace {
    protocol: Protocol,
    /// Times below are milliseconds after this.
    begun: Instant,
    /// Requests that have no whole answer yet, and in HTTP/2 the tasks of streams: a tunnel's lives
    /// on when its request has been answered.
    open: AtomicU32,
    phase: AtomicU8,
    /// [`UNKNOWN`] until the watchman looks at it: most phases are over before.
    phase_since: AtomicU64,
    /// Whether the last request had a body, which may not have been read to its end.
    body: AtomicBool,
    /// Whether nothing of an answer waits to be written.
    flushed: AtomicBool,
    /// When a write began to wait; [`FLOWING`] while none does.
    stalled_since: AtomicU64,
    /// When a head began; [`FLOWING`] while none is under way. HTTP/2 only: there a head may come
    /// while answers are on their way.
    head_since: AtomicU64,
    /// When the client ended its half while it was owed an answer; [`FLOWING`] while it has not.
    ended_since: AtomicU64,
    /// Requests that were taken back, less those that were let finish.
    resets: AtomicU32,
    /// The client sent more than anything called for.
    flooded: AtomicBool,
}

const FLOWING: u64 = u64::MAX;
const UNKNOWN: u64 = u64::MAX;
/// A client that has said everything may end its half and still wait (RFC 9112 §9.6); one that has
/// gone looks the same until something is written. This long it is given the benefit of the doubt.
const DOUBT: Duration = Duration::from_secs(1);

/// Longer than a busy client's pause; short, since glibc does not give back what many connections
/// held at the same time.
const REST_AFTER: Duration = Duration::from_millis(50);

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    /// The first byte of the first request.
    Silent = 0,
    /// The rest of a request's head.
    Head = 1,
    /// The response.
    Busy = 2,
    /// The next request.
    Idle = 3,
    /// The same, by a connection that has been put to rest.
    Resting = 4,
}

/// Which limit a connection ran into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    /// No whole request head.
    Head,
    /// No next request for a moment: the connection need not keep what only a request needs.
    Rest,
    /// No next request: the ordinary end of a kept connection.
    Idle,
    /// The client does not take the response.
    Write,
    /// The client ended its half, and there was nothing to write that could tell whether it is still
    /// there.
    Gone,
    /// Frames that nothing calls for (HTTP/2).
    Flood,
    /// Requests that are taken back as soon as they are made (HTTP/2).
    Resets,
}

impl Overdue {
    /// The word of the metric; `None` for what is ordinary.
    pub(super) fn reason(self) -> Option<&'static str> {
        match self {
            Self::Head => Some("slow_head"),
            Self::Rest | Self::Idle | Self::Gone => None,
            Self::Write => Some("slow_reader"),
            Self::Flood => Some("h2_flood"),
            Self::Resets => Some("h2_resets"),
        }
    }
}

impl Pace {
    /// The pace of a connection whose first head is due from `begun` on.
    pub(super) fn new(protocol: Protocol, begun: Instant) -> Arc<Self> {
        Arc::new(Self {
            protocol,
            begun,
            open: AtomicU32::new(0),
            phase: AtomicU8::new(Phase::Silent as u8),
            phase_since: AtomicU64::new(0),
            body: AtomicBool::new(false),
            flushed: AtomicBool::new(false),
            stalled_since: AtomicU64::new(FLOWING),
            head_since: AtomicU64::new(FLOWING),
            ended_since: AtomicU64::new(FLOWING),
            resets: AtomicU32::new(0),
            flooded: AtomicBool::new(false),
        })
    }

    /// A request's head is complete.
    pub(super) fn request(&self, has_body: bool) {
        self.body.store(has_body, Relaxed);
        self.open.fetch_add(1, Relaxed);
        self.enter(Phase::Busy);
    }

    /// Whether not a byte has come yet.
    pub(super) fn is_silent(&self) -> bool {
        self.phase() == Phase::Silent
    }

    /// Whether the client may be in the middle of something. In HTTP/2 it always may.
    pub(super) fn may_be_sending(&self) -> bool {
        self.protocol == Protocol::Http2 || self.body.load(Relaxed) || self.phase() == Phase::Head
    }

    /// A response is written, or has come to nothing.
    pub(super) fn responded(&self, whole: bool) {
        // The last bytes of it are in a buffer now.
        self.flushed.store(false, Relaxed);
        self.leave();
        let resets = self.resets.load(Relaxed);
        let resets = if whole { resets.saturating_sub(1) } else { resets.saturating_add(1) };
        self.resets.store(resets, Relaxed);
    }

    /// A stream's task begins.
    pub(super) fn task_begins(&self) {
        self.open.fetch_add(1, Relaxed);
    }

    /// It has ended.
    pub(super) fn task_ends(&self) {
        self.leave();
    }

    fn leave(&self) {
        if self.open.fetch_sub(1, Relaxed) == 1 {
            self.enter(Phase::Idle);
        }
    }

    /// Bytes arrived in HTTP/1.
    pub(super) fn read(&self) {
        if matches!(self.phase(), Phase::Silent | Phase::Idle | Phase::Resting) {
            self.enter(Phase::Head);
        }
    }

    /// The connection gives up its buffers. It is idle as before: its time runs on.
    pub(super) fn rest(&self) {
        self.phase.store(Phase::Resting as u8, Relaxed);
    }

    /// The next request had begun, behind the one that was answered last.
    pub(super) fn begun_already(&self) {
        self.enter(Phase::Head);
    }

    /// Whether nothing is under way that the connection's buffers are needed for. A body may still
    /// be on its way when its request has been answered.
    fn may_rest(&self) -> bool {
        self.protocol == Protocol::Http1 && self.flushed.load(Relaxed) && !self.body.load(Relaxed)
    }

    /// The client ended its half in HTTP/1. Whether it waits for an answer, so that hyper, which
    /// takes it for gone, must not hear of it yet.
    pub(super) fn ended(&self) -> bool {
        let waits = self.phase() == Phase::Busy;
        if waits && self.ended_since.load(Relaxed) == FLOWING {
            self.ended_since.store(self.now(), Relaxed);
        }
        waits
    }

    /// Bytes arrived in HTTP/2, where pings and windows may come at any time.
    pub(super) fn read_frames(&self, frames: &mut Frames) {
        if !frames.in_head() {
            self.head_since.store(FLOWING, Relaxed);
        } else if self.head_since.load(Relaxed) == FLOWING {
            self.head_since.store(self.now(), Relaxed);
        }
        if frames.is_flood(Instant::now()) {
            self.flooded.store(true, Relaxed);
        }
    }

    pub(super) fn wrote(&self, waits: bool) {
        if !waits {
            self.stalled_since.store(FLOWING, Relaxed);
            if self.ended_since.load(Relaxed) != FLOWING {
                self.ended_since.store(self.now(), Relaxed);
            }
        } else if self.stalled_since.load(Relaxed) == FLOWING {
            self.stalled_since.store(self.now(), Relaxed);
        }
    }

    /// Whether nothing that was answered waits to be written.
    pub(super) fn flush(&self, done: bool) {
        self.flushed.store(done, Relaxed);
    }

    /// Whether the client sent more than anything called for.
    pub(super) fn is_flooded(&self) -> bool {
        self.flooded.load(Relaxed)
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
        // In HTTP/1 the watchman's turn is next. In HTTP/2 a stream's task may have been the last to
        // do something, and nobody looks before the next byte comes.
        let since = if self.protocol == Protocol::Http2 { self.now() } else { UNKNOWN };
        self.phase_since.store(since, Relaxed);
    }

    /// When the phase began.
    fn phase_since(&self) -> u64 {
        let mut since = self.phase_since.load(Relaxed);
        if since == UNKNOWN {
            since = self.now();
            self.phase_since.store(since, Relaxed);
        }
        since
    }

    fn phase(&self) -> Phase {
        match self.phase.load(Relaxed) {
            0 => Phase::Silent,
            1 => Phase::Head,
            2 => Phase::Busy,
            3 => Phase::Idle,
            _ => Phase::Resting,
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(FLOWING - 1)
    }

    fn after(&self, since: u64, limit: Duration) -> Instant {
        self.begun + Duration::from_millis(since) + limit
    }

    /// What is due next, and when.
    fn due(&self, limits: &Times) -> Option<(Instant, Overdue)> {
        if self.flooded.load(Relaxed) {
            return Some((self.begun, Overdue::Flood));
        }
        if self.protocol == Protocol::Http2 && self.resets.load(Relaxed) > limits.resets {
            return Some((self.begun, Overdue::Resets));
        }
        let within = |limit, overdue| Some((self.after(self.phase_since(), limit), overdue));
        let phase = match self.phase() {
            Phase::Silent | Phase::Head => within(limits.head, Overdue::Head),
            Phase::Idle if self.may_rest() && REST_AFTER < limits.idle => {
                within(REST_AFTER, Overdue::Rest)
            }
            Phase::Idle | Phase::Resting => within(limits.idle, Overdue::Idle),
            Phase::Busy => None,
        };
        let waits = |since: &AtomicU64, limit, overdue| {
            let since = since.load(Relaxed);
            (since != FLOWING).then(|| (self.after(since, limit), overdue))
        };
        let write = waits(&self.stalled_since, limits.write, Overdue::Write);
        let head = waits(&self.head_since, limits.head, Overdue::Head);
        let gone = waits(&self.ended_since, DOUBT, Overdue::Gone);
        [phase, write, head, gone].into_iter().flatten().min_by_key(|(deadline, _)| *deadline)
    }
}

/// The limits of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    head: Duration,
    idle: Duration,
    write: Duration,
    resets: u32,
}

impl Times {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            head: limits.header_time.duration(),
            idle: limits.idle_time.duration(),
            write: limits.write_time.duration(),
            resets: limits.resets,
        }
    }
}

/// Resolves when the connection is overdue. Poll it after the connection, in the same task: it
/// asks for no wake-up of its own when the phase changes.
#[derive(Debug)]
pub(super) struct Watchman {
    pace: Arc<Pace>,
    times: Times,
    sleep: Pin<Box<Sleep>>,
}

impl Watchman {
    pub(super) fn new(pace: Arc<Pace>, times: Times) -> Self {
        let sleep = Box::pin(sleep_until(pace.begun + times.head));
        Self { pace, times, sleep }
    }
}

impl Future for Watchman {
    type Output = Overdue;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Overdue> {
        loop {
            let Some((deadline, overdue)) = self.pace.due(&self.times) else {
                return Poll::Pending;
            };
            // A sleep that ends too early is looked at again when it ends: moving it for each
            // request would cost more than that.
            if self.sleep.deadline() > deadline || self.sleep.is_elapsed() {
                if self.sleep.is_elapsed() && Instant::now() >= deadline {
                    return Poll::Ready(overdue);
                }
                self.sleep.as_mut().reset(deadline);
            }
            ready!(self.sleep.as_mut().poll(cx));
        }
    }
}
