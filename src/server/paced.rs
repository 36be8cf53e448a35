//! The stream of a connection that notes what happens on it, for the connection's [`Pace`].

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{frames::Frames, linger::Linger, pace::Pace, told::Told};

/// A stream that notes what happens on it.
#[derive(Debug)]
pub(super) struct Paced<S> {
    stream: S,
    pace: Arc<Pace>,
    /// Of HTTP/2.
    frames: Option<Frames>,
    told: Option<Told>,
    linger: Linger,
}

impl<S> Paced<S> {
    /// The stream alone.
    pub(super) fn into_inner(self) -> S {
        self.stream
    }

    /// A connection's stream, in HTTP/1.1.
    pub(super) fn http1(stream: S, pace: Arc<Pace>) -> Self {
        Self { stream, pace, frames: None, told: None, linger: Linger::default() }
    }

    /// A connection's stream, in HTTP/2.
    pub(super) fn http2(stream: S, pace: Arc<Pace>, frames: Frames, told: Told) -> Self {
        let (frames, told) = (Some(frames), Some(told));
        Self { stream, pace, frames, told, linger: Linger::default() }
    }

    fn wrote<'b>(
        &mut self,
        bytes: impl IntoIterator<Item = &'b [u8]>,
        wrote: &Poll<io::Result<usize>>,
    ) {
        self.pace.wrote(wrote.is_pending());
        let (Some(frames), Some(told), Poll::Ready(Ok(count))) =
            (&mut self.frames, &mut self.told, wrote)
        else {
            return;
        };
        frames.wrote(*count);
        let mut left = *count;
        for bytes in bytes {
            let sent = bytes.get(..left).unwrap_or(bytes);
            told.sent(sent);
            left -= sent.len();
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.frames.is_some() && this.pace.is_flooded() {
            // Nothing more is taken in; the watchman, who is next, ends the connection.
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let room = buf.remaining() > 0;
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        let bytes = buf.filled().get(before..).unwrap_or_default();
        match &mut this.frames {
            None if bytes.is_empty() => {
                if room && matches!(read, Poll::Ready(Ok(()))) && this.pace.ended() {
                    return Poll::Pending;
                }
            }
            Some(_) if bytes.is_empty() => {}
            None => this.pace.read(),
            Some(frames) => {
                frames.read(bytes);
                this.pace.read_frames(frames);
            }
        }
        read
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.wrote([buf], &wrote);
        wrote
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.wrote(bufs.iter().map(|buf| &**buf), &wrote);
        wrote
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper comes here when its own buffer is empty.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.pace.flush(flushed.is_ready());
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let sending = this.pace.may_be_sending();
        this.linger.poll(Pin::new(&mut this.stream), sending, cx)
    }
}
