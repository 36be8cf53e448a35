//! An open socket: counted, and holding its place under the limits for as long as it lives. A
//! tunnel outlives the HTTP of its connection, and takes all of it along.

use std::{
    future::poll_fn,
    io,
    mem::take,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::{Buf, Bytes};
use prometheus_client::metrics::gauge::Gauge;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::OwnedSemaphorePermit,
};

use super::crowd::Ticket;
use crate::base::stream::Stream;

/// A connection's place among all others.
#[derive(Debug)]
pub(super) struct Place {
    open: Gauge,
    _slot: Option<OwnedSemaphorePermit>,
    ticket: Option<Ticket>,
}

impl Place {
    /// A place that counts among those that are `open`.
    pub(super) fn new(open: Gauge, slot: Option<OwnedSemaphorePermit>) -> Self {
        open.inc();
        Self { open, _slot: slot, ticket: None }
    }

    /// Its client is known now.
    pub(super) fn with_ticket(mut self, ticket: Ticket) -> Self {
        self.ticket = Some(ticket);
        self
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.dec();
    }
}

/// Counts a connection that rests, for as long as it does.
#[derive(Debug)]
pub(super) struct Resting<'a>(&'a Gauge);

impl<'a> Resting<'a> {
    pub(super) fn new(resting: &'a Gauge) -> Self {
        resting.inc();
        Self(resting)
    }
}

impl Drop for Resting<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A client's socket, beginning with bytes that were read from it already.
#[derive(Debug)]
pub(super) struct Open {
    stream: Stream,
    start: Bytes,
    _place: Place,
}

impl Open {
    /// `stream`, of which `start` has been read.
    pub(super) fn new(stream: Stream, start: Bytes, place: Place) -> Self {
        Self { stream, start, _place: place }
    }

    /// Gives back what was read from it and not used.
    pub(super) fn unread(&mut self, bytes: Bytes) {
        self.start = if self.start.is_empty() {
            bytes
        } else {
            [bytes, take(&mut self.start)].concat().into()
        };
    }

    /// Whether there is something to read without a look at the socket.
    pub(super) fn is_begun(&self) -> bool {
        !self.start.is_empty()
    }

    /// Waits until there is something to read, or the connection has ended.
    pub(super) async fn readable(&self) -> io::Result<()> {
        poll_fn(|cx| self.stream.poll_readable(cx)).await
    }
}

impl AsyncRead for Open {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.start.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let taken = self.start.len().min(buf.remaining());
        buf.put_slice(self.start.get(..taken).unwrap_or_default());
        self.start.advance(taken);
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
