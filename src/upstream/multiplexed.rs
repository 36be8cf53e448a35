//! The app where it speaks HTTP/2: hyper-util's client, which carries all requests of a worker over
//! one connection.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::Poll,
    time::Duration,
};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{self, Client, ResponseFuture},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::time::{Instant, timeout};

use super::{
    Answered, chatter::Chatter, connector::Connector, error::UpstreamError, idle::Upload,
    line::Patience, pool::KEPT,
};

/// The largest head of an app that speaks HTTP/2; about what hyper takes in HTTP/1.1.
const MOST_HEAD: u32 = 384 << 10;
/// What the app may send of one answer before its browser takes it.
const STREAM_WINDOW: u32 = 64 << 10;
/// The same for all answers of a worker: a few slow browsers must not hold up everybody else's.
const CONNECTION_WINDOW: u32 = 16 << 20;
/// An app that has gone without a word is noticed within twice this.
const PING: Duration = Duration::from_secs(10);

/// The connection of one worker.
#[derive(Debug)]
pub(super) struct Multiplexed(Client<Connector, Upload>);

impl Multiplexed {
    /// Nothing is dialled yet.
    pub(super) fn new(connector: &Connector) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(KEPT)
            // `Host` is ours to choose.
            .set_host(false)
            .http2_only(true)
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .http2_initial_connection_window_size(CONNECTION_WINDOW)
            .http2_max_send_buf_size(STREAM_WINDOW as usize)
            .http2_max_header_list_size(MOST_HEAD)
            .http2_keep_alive_interval(PING)
            .http2_keep_alive_timeout(PING)
            .build(connector.clone());
        Self(client)
    }

    /// Asks once.
    pub(super) fn ask(
        &self,
        mut request: Request<Upload>,
        patience: Patience,
    ) -> impl Future<Output = Result<Answered, UpstreamError>> + Send + use<> {
        let chatter = Chatter::default();
        chatter.listen(&mut request);
        let answer = self.0.request(request);
        async move {
            let answer = poll_answer(pin!(answer), &chatter, &patience).await?;
            Ok(Answered { response: answer?, came: Instant::now() })
        }
    }
}

/// The answer, unless the app chatters or falls silent.
async fn poll_answer(
    mut answer: Pin<&mut ResponseFuture>,
    chatter: &Chatter,
    patience: &Patience,
) -> Result<Result<Response<Incoming>, legacy::Error>, UpstreamError> {
    let mut answer = poll_fn(|cx| match answer.as_mut().poll(cx) {
        // However fast they came.
        Poll::Ready(_) if chatter.is_too_much() => Poll::Ready(Err(UpstreamError::Chatter)),
        Poll::Ready(answer) => Poll::Ready(Ok(answer)),
        Poll::Pending => chatter.poll(cx).map(|()| Err(UpstreamError::Chatter)),
    });
    let idle = patience.idle;
    let Some(pulse) = &patience.pulse else {
        return timeout(idle, answer).await.map_err(|_| UpstreamError::Idle(idle))?;
    };
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        () = pulse.silence(idle) => Err(UpstreamError::Idle(idle)),
    }
}
