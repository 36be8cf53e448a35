//! Lines that are kept for the next request. Each worker has its own, and takes the one that was
//! used last: it is the least likely to be closed by the app, and what is not needed ages.

use std::{
    future::Future,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use futures_util::future::Either;
use http::{Request, Response};
use hyper::body::Incoming;
use tokio::time::{Instant, sleep_until};

use super::{
    Answered,
    connector::Connector,
    error::UpstreamError,
    idle::Upload,
    line::{Line, Patience, Unanswered},
};

/// Below what any common server keeps (gunicorn 2 s, Node and Apache 5 s): whoever closes first
/// must be us, or requests run into the app's close. A new loopback connection costs 0.1 ms.
pub(super) const KEPT: Duration = Duration::from_millis(1500);
/// Idle connections that one worker keeps; more are closed after use.
pub(super) const MOST_KEPT: usize = 256;
/// Idle connections are looked through so often at most.
const SWEEP: Duration = Duration::from_millis(100);

/// The lines of one worker; clones share them.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    connector: Connector,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// The last one was used last.
    lines: Vec<(Instant, Line)>,
    /// Whether somebody closes them when their time has come.
    swept: bool,
}

impl Pool {
    /// An empty pool.
    pub(super) fn new(connector: Connector) -> Self {
        Self { inner: Arc::new(Inner { connector, kept: Mutex::default() }) }
    }

    /// Asks on a kept line, or on a new one. A line that turns out to be closed before a byte was
    /// written does not count.
    pub(super) fn ask(
        &self,
        request: Request<Upload>,
        patience: Patience,
    ) -> impl Future<Output = Result<Answered, UpstreamError>> + Send + use<'_> {
        let asking = match self.take(patience.sent) {
            Some(line) => Either::Left(line.ask(request, patience.clone())),
            None => Either::Right(Box::pin(self.ask_anew(Box::new(request), patience.clone()))),
        };
        async move {
            match asking.await {
                Ok((response, line)) => Ok(self.settle(response, line)),
                Err(Unanswered::Failed(error)) => Err(error),
                Err(Unanswered::Unsent(request, _)) => {
                    Box::pin(self.ask_further(request, patience)).await
                }
            }
        }
    }

    /// Asks on a new line.
    pub(super) async fn ask_on_a_new_line(
        &self,
        request: Request<Upload>,
        patience: Patience,
    ) -> Result<Answered, UpstreamError> {
        match self.ask_anew(Box::new(request), patience).await {
            Ok((response, line)) => Ok(self.settle(response, line)),
            Err(Unanswered::Failed(error)) => Err(error),
            Err(Unanswered::Unsent(_, error)) => Err(error.into()),
        }
    }

    /// The same after a line turned out to be closed: on another kept one, as long as there are.
    async fn ask_further(
        &self,
        mut request: Box<Request<Upload>>,
        patience: Patience,
    ) -> Result<Answered, UpstreamError> {
        while let Some(line) = self.take(Instant::now()) {
            match line.ask(*request, patience.clone()).await {
                Ok((response, line)) => return Ok(self.settle(response, line)),
                Err(Unanswered::Failed(error)) => return Err(error),
                Err(Unanswered::Unsent(unsent, _)) => request = unsent,
            }
        }
        self.ask_on_a_new_line(*request, patience).await
    }

    async fn ask_anew(
        &self,
        request: Box<Request<Upload>>,
        mut patience: Patience,
    ) -> Result<(Response<Incoming>, Line), Unanswered> {
        let stream = self.inner.connector.connect().await;
        let stream = stream.map_err(|error| Unanswered::Failed(error.into()))?;
        let line = Line::open(stream, patience.idle).await;
        let line = line.map_err(|error| Unanswered::Failed(error.into()))?;
        // Connecting has a limit of its own.
        patience.sent = Instant::now();
        line.ask(*request, patience).await
    }

    /// What becomes of a line when there is the head of an answer: mostly everything has arrived
    /// with it. What has not (a long body, an upload, a tunnel) is carried on by a task.
    fn settle(&self, response: Response<Incoming>, mut line: Line) -> Answered {
        let came = Instant::now();
        if line.is_free() {
            self.keep(line, came);
        } else if !line.has_ended() {
            let pool = self.clone();
            tokio::spawn(async move {
                line.finish().await;
                if line.is_free() {
                    pool.keep(line, Instant::now());
                }
            });
        }
        Answered { response, came }
    }

    fn take(&self, now: Instant) -> Option<Line> {
        let mut kept = self.inner.kept();
        let (since, line) = kept.lines.pop()?;
        if since + KEPT > now {
            return Some(line);
        }
        // The others are older.
        let old = mem::take(&mut kept.lines);
        drop(kept);
        drop(old);
        None
    }

    fn keep(&self, line: Line, now: Instant) {
        line.rest();
        let mut kept = self.inner.kept();
        if kept.lines.len() >= MOST_KEPT {
            drop(kept);
            return;
        }
        kept.lines.push((now, line));
        if !mem::replace(&mut kept.swept, true) {
            tokio::spawn(sweep(Arc::downgrade(&self.inner)));
        }
    }
}

impl Inner {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Nothing that is half done can be seen under this lock.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes the lines whose time has come; says when the next one's will. `None` if there is no
    /// other line, and then somebody else has to begin again.
    fn sweep(&self, now: Instant) -> Option<Instant> {
        let mut kept = self.kept();
        let old = kept.lines.partition_point(|(since, _)| *since + KEPT <= now);
        let old: Vec<(Instant, Line)> = kept.lines.drain(..old).collect();
        let next = kept.lines.first().map(|(since, _)| *since + KEPT);
        kept.swept = next.is_some();
        drop(kept);
        drop(old);
        next
    }
}

/// Closes idle lines on time, for as long as there are any.
async fn sweep(pool: Weak<Inner>) {
    loop {
        let now = Instant::now();
        let Some(next) = pool.upgrade().and_then(|pool| pool.sweep(now)) else { return };
        sleep_until(next.max(now + SWEEP)).await;
    }
}
