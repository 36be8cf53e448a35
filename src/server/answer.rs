//! What the handler answers, and when an answer is over.

use std::{
    future::Future,
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{
    HeaderValue, Request, Response, StatusCode, Version,
    header::{CONNECTION, CONTENT_TYPE},
};
use http_body::{Body as HttpBody, Frame, SizeHint};
use hyper::body::Incoming;

use super::{
    Limits,
    pace::Pace,
    streams::{self, Turn},
};
use crate::{
    base::{
        body::{Body, BodyError},
        lifecycle::Lifecycle,
        metrics::Metrics,
    },
    request::Peer,
};

/// What HTTP/2 adds to each field of a head when it is measured (RFC 9113 §6.5.2).
const PER_FIELD: usize = 32;

/// Asks the handler.
pub(super) struct Answers {
    head: usize,
    lifecycle: Lifecycle,
    metrics: Metrics,
}

impl Answers {
    pub(super) fn new(limits: &Limits, lifecycle: Lifecycle, metrics: Metrics) -> Self {
        let head = usize::try_from(limits.header_bytes.bytes()).unwrap_or(usize::MAX);
        Self { head, lifecycle, metrics }
    }

    /// The handler's answer, or 500 where it panicked: the process, and its other requests, go on.
    ///
    /// The handler's future is in a box, or each connection would keep the room of a request while
    /// it is idle.
    pub(super) fn answer<H, F, B>(
        self: Arc<Self>,
        handler: &H,
        peer: Peer,
        request: Request<Incoming>,
    ) -> impl Future<Output = Response<B>> + Send + use<H, F, B>
    where
        H: Fn(Peer, Request<Incoming>) -> F,
        F: Future<Output = Response<B>> + Send,
        B: From<Body> + Send,
    {
        let http2 = request.version() == Version::HTTP_2;
        // In HTTP/1.1 hyper keeps to the limit.
        let too_large = http2 && size(&request) > self.head;
        let answer = (!too_large).then(|| Box::pin(handler(peer, request)));
        async move {
            let Some(answer) = answer else {
                self.metrics.refusal("header_bytes");
                tracing::info!(?peer, "a request head that is too large was refused");
                let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
                return plain(status, "The request head is too large.\n").map(B::from);
            };
            let answered = AssertUnwindSafe(answer).catch_unwind();
            let mut response = answered.await.unwrap_or_else(|_| {
                self.metrics.panicked();
                tracing::error!("a request ended in a panic");
                let status = StatusCode::INTERNAL_SERVER_ERROR;
                plain(status, "Something went wrong here.\n").map(B::from)
            });
            // A kept connection would hold up the end of the process. HTTP/2 has GOAWAY for that.
            let leaves = self.lifecycle.is_draining() && !http2;
            if leaves && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            response
        }
    }
}

/// A head as HTTP/2 measures it.
fn size<B>(request: &Request<B>) -> usize {
    let fields = request.headers().iter();
    let fields: usize =
        fields.map(|(name, value)| name.as_str().len() + value.len() + PER_FIELD).sum();
    let uri = request.uri();
    let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
    let target = uri.path_and_query().map_or(0, |target| target.as_str().len());
    fields + authority + target + request.method().as_str().len() + 4 * PER_FIELD
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::full(text));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

/// Notes the end of a response when hyper lets go of its body, or of the handler.
pub(super) struct Responding {
    pace: Arc<Pace>,
    whole: bool,
}

impl Responding {
    pub(super) fn new(pace: Arc<Pace>) -> Self {
        Self { pace, whole: false }
    }
}

impl Drop for Responding {
    fn drop(&mut self) {
        self.pace.responded(self.whole);
    }
}

/// A response's body that notes its end.
pub(super) struct WatchedBody<B> {
    body: B,
    responding: Responding,
}

impl<B: HttpBody> WatchedBody<B> {
    pub(super) fn new(body: B, mut responding: Responding) -> Self {
        responding.whole = body.is_end_stream();
        Self { body, responding }
    }
}

impl<B> HttpBody for WatchedBody<B>
where
    B: HttpBody<Data = Bytes, Error = BodyError> + Unpin,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Pending => streams::note(Turn::Waiting),
            Poll::Ready(Some(Ok(_))) => {
                streams::note(Turn::Given);
                self.responding.whole = self.body.is_end_stream();
            }
            // An answer that breaks off is not the client's doing.
            Poll::Ready(None | Some(Err(_))) => self.responding.whole = true,
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
