//! An open socket: counted, and holding its place under the limits for as long as it lives. A
//! tunnel outlives the HTTP of its connection, and takes all of it along.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::OwnedSemaphorePermit,
};

use super::crowd::Ticket;
use crate::base::{metrics::Metrics, stream::Stream};

/// A connection's place among all others.
#[derive(Debug)]
pub(super) struct Place {
    metrics: Metrics,
    _slot: Option<OwnedSemaphorePermit>,
    ticket: Option<Ticket>,
}

impl Place {
    pub(super) fn new(metrics: Metrics, slot: Option<OwnedSemaphorePermit>) -> Self {
        metrics.connections().inc();
        Self { metrics, _slot: slot, ticket: None }
    }

    /// Its client is known now.
    pub(super) fn with_ticket(mut self, ticket: Ticket) -> Self {
        self.ticket = Some(ticket);
        self
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.metrics.connections().dec();
    }
}

/// The longest start that is read before it is known what a connection speaks.
pub(super) const START: usize = 24;

/// A client's socket, beginning with bytes that were read from it already.
#[derive(Debug)]
pub(super) struct Open {
    stream: Stream,
    start: [u8; START],
    /// What of `start` is still to be read.
    left: std::ops::Range<u8>,
    _place: Place,
}

impl Open {
    /// `stream`, whose first `length` bytes are in `start`.
    pub(super) fn new(stream: Stream, start: [u8; START], length: usize, place: Place) -> Self {
        let length = u8::try_from(length.min(START)).unwrap_or_default();
        Self { stream, start, left: 0..length, _place: place }
    }
}

impl AsyncRead for Open {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.left.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let left = usize::from(self.left.start)..usize::from(self.left.end);
        let bytes = self.start.get(left).unwrap_or_default();
        let taken = bytes.len().min(buf.remaining());
        buf.put_slice(bytes.get(..taken).unwrap_or_default());
        self.left.start += u8::try_from(taken).unwrap_or_default();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Open {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
