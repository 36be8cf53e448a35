//! The end of a connection whose client is still sending: an upload that was refused, a head that
//! is too large.
//!
//! A socket that is closed with unread bytes sends a reset, and a reset takes away the answer that
//! the client has not read yet (RFC 9112 §9.6). So we stop writing, read on for a moment and throw
//! away what comes.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

/// Long enough to read an answer; a client that goes on sending has not looked.
const LONGEST: Duration = Duration::from_secs(2);

/// One shutdown in progress.
#[derive(Debug, Default)]
pub(super) struct Linger {
    shut: bool,
    end: Option<Pin<Box<Sleep>>>,
}

impl Linger {
    /// Shuts `stream` down, and waits for the client where it may be `sending` still.
    pub(super) fn poll<S>(
        &mut self,
        mut stream: Pin<&mut S>,
        sending: bool,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>>
    where
        S: AsyncRead + AsyncWrite,
    {
        if !self.shut {
            ready!(stream.as_mut().poll_shutdown(cx))?;
            self.shut = true;
        }
        if !sending {
            return Poll::Ready(Ok(()));
        }
        let end = self.end.get_or_insert_with(|| Box::pin(sleep(LONGEST)));
        if end.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let mut bytes = [0; 4096];
        loop {
            let mut bytes = ReadBuf::new(&mut bytes);
            ready!(stream.as_mut().poll_read(cx, &mut bytes))?;
            if bytes.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
    }
}
