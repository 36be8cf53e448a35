//! One line per request, with the decision and why. It is written when the response's last byte
//! has gone, or the client has.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::{
    base::{
        body::{Body, BodyError},
        metrics::Metrics,
    },
    request::{Exchange, Verdict},
};

/// Nobody was there to be answered: nginx's status for that, which no client ever sees.
const CLIENT_GONE: u16 = 499;
const PANICKED: u16 = 500;

/// A response body that knows which request it answers.
#[derive(Debug)]
pub struct LoggedBody {
    body: Body,
    /// `None` only for an answer that no gateway made.
    line: Option<Line>,
}

/// The access line of one request.
#[derive(Debug)]
struct Line {
    exchange: Exchange,
    status: u16,
    bytes: u64,
    name_user: bool,
}

impl LoggedBody {
    /// `body`, followed by its access line.
    pub fn new(body: Body, exchange: Exchange, status: u16, name_user: bool) -> Self {
        Self { body, line: Some(Line { exchange, status, bytes: 0, name_user }) }
    }
}

impl From<Body> for LoggedBody {
    fn from(body: Body) -> Self {
        Self { body, line: None }
    }
}

impl HttpBody for LoggedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        let data = match &polled {
            Poll::Ready(Some(Ok(frame))) => frame.data_ref().map_or(0, |data| data.len() as u64),
            _ => 0,
        };
        if let Some(line) = &mut self.line {
            line.bytes += data;
            if let Poll::Ready(Some(Err(error))) = &polled {
                // The status has gone out already; this is all that tells that it was not all.
                line.exchange.reason = cut(error);
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Why an answer ended early.
fn cut(error: &BodyError) -> &'static str {
    match error {
        BodyError::Broken(_) | BodyError::TooLarge(_) => "answer broken",
        BodyError::Idle(_) => "answer idle",
        BodyError::Pulled(_) => "session ended",
    }
}

/// Watches over a request until there is a response to it. Where the client goes away before, its
/// request is dropped wherever it waits, and would leave no trace.
#[derive(Debug)]
pub(super) struct Vigil<'a> {
    pub(super) exchange: &'a mut Exchange,
    metrics: &'a Metrics,
    name_user: bool,
    over: bool,
}

impl<'a> Vigil<'a> {
    pub(super) fn begin(exchange: &'a mut Exchange, metrics: &'a Metrics, name_user: bool) -> Self {
        Self { exchange, metrics, name_user, over: false }
    }

    /// There is a response, which has its own access line.
    pub(super) fn end(mut self) {
        self.over = true;
    }
}

impl Drop for Vigil<'_> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let exchange = &mut *self.exchange;
        let (status, reason) = if std::thread::panicking() {
            (PANICKED, "panic")
        } else {
            self.metrics.client_gone();
            (CLIENT_GONE, "client gone")
        };
        if exchange.decision == Verdict::Error {
            exchange.reason = reason;
        }
        self.metrics.request(exchange.decision.word(), status, exchange.started.elapsed());
        write(exchange, status, 0, self.name_user);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        write(&self.exchange, self.status, self.bytes, self.name_user);
    }
}

fn write(exchange: &Exchange, status: u16, bytes: u64, name_user: bool) {
    if !tracing::enabled!(target: "vestibule::access", tracing::Level::INFO) {
        return;
    }
    let peer = exchange.client.to_string();
    let user = exchange.user.as_deref().filter(|_| name_user);
    // Not a number is `null` in a JSON line: the app was not asked.
    let upstream_ms = exchange.upstream.map_or(f64::NAN, millis);
    tracing::info!(
        target: "vestibule::access",
        request_id = exchange.request_id,
        peer,
        method = exchange.method.as_str(),
        path = exchange.path(),
        status,
        bytes,
        duration_ms = millis(exchange.started.elapsed()),
        decision = exchange.decision.word(),
        reason = exchange.reason,
        rule = exchange.rule.as_deref().unwrap_or_default(),
        upstream_ms,
        user,
        "request"
    );
}

/// Milliseconds to the microsecond: more digits are noise.
fn millis(took: Duration) -> f64 {
    (took.as_secs_f64() * 1_000_000.0).round() / 1_000.0
}

#[cfg(test)]
mod tests {
    use std::{
        fmt::Debug,
        panic::{AssertUnwindSafe, catch_unwind},
        sync::{Arc, Mutex},
    };

    use http::{Method, Uri};
    use tracing::{
        Event, Subscriber,
        field::{Field, Visit},
        subscriber::with_default,
    };
    use tracing_subscriber::{Layer, Registry, layer::Context as Current, layer::SubscriberExt};

    use super::*;
    use crate::request::Peer;

    /// Status and reason of every access line.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<(u64, String)>>>);

    #[derive(Default)]
    struct Fields(u64, String);

    impl Visit for Fields {
        fn record_u64(&mut self, field: &Field, value: u64) {
            if field.name() == "status" {
                self.0 = value;
            }
        }

        fn record_str(&mut self, field: &Field, value: &str) {
            if field.name() == "reason" {
                value.clone_into(&mut self.1);
            }
        }

        fn record_debug(&mut self, _: &Field, _: &dyn Debug) {}
    }

    impl<S: Subscriber> Layer<S> for Lines {
        fn on_event(&self, event: &Event<'_>, _: Current<'_, S>) {
            if event.metadata().target() == "vestibule::access" {
                let mut fields = Fields::default();
                event.record(&mut fields);
                self.0.lock().unwrap().push((fields.0, fields.1));
            }
        }
    }

    /// The access lines of a request that ends as `end` has it.
    fn lines(end: impl FnOnce(Vigil<'_>)) -> Vec<(u64, String)> {
        let lines = Lines::default();
        with_default(Registry::default().with(lines.clone()), || {
            let mut exchange = Exchange::begin(Peer::Unix, Method::GET, &Uri::from_static("/"));
            end(Vigil::begin(&mut exchange, &Metrics::new(), false));
        });
        let written = lines.0.lock().unwrap();
        written.clone()
    }

    #[test]
    fn a_request_whose_client_is_gone_leaves_one_line_that_says_so() {
        assert_eq!(lines(|vigil| drop(vigil)), [(499, "client gone".to_owned())]);
        let decided = lines(|vigil| vigil.exchange.decide(Verdict::Allow, "session"));
        assert_eq!(decided, [(499, "session".to_owned())]);
    }

    #[test]
    fn a_request_that_ends_in_a_panic_leaves_one_line_that_says_so() {
        let panicking = |vigil: Vigil<'_>| {
            let work = AssertUnwindSafe(move || {
                let _vigil = vigil;
                panic!("on purpose");
            });
            catch_unwind(work).unwrap_err();
        };
        assert_eq!(lines(panicking), [(500, "panic".to_owned())]);
    }

    #[test]
    fn a_request_that_was_answered_leaves_the_line_to_its_body() {
        assert_eq!(
            lines(|vigil| {
                vigil.end();
            }),
            []
        );
    }
}
