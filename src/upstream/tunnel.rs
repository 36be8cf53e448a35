//! An open WebSocket: bytes both ways, and a Close frame when its time has come.
//!
//! A tunnel belongs to the session of its handshake, so it ends with it (1008), and with the proxy
//! (1001). Both sides are told between two frames, never within one.

use std::{io, pin::pin, time::Duration};

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split},
    time::timeout,
};

use super::{
    frames::{self, Frames},
    idle::End,
};
use crate::base::{leash::Leash, lifecycle::Lifecycle, metrics::Metrics, pulse::Pulse};

/// A frame that is under way gets this long to end, and its receiver to answer the Close.
const PATIENCE: Duration = Duration::from_secs(1);
const BUFFER: usize = 8 * 1024;

/// What a tunnel runs under.
#[derive(Debug)]
pub(super) struct Terms {
    /// Longest silence of both sides.
    pub(super) idle: Duration,
    /// What ends it early.
    pub(super) leash: Option<Leash>,
    pub(super) lifecycle: Lifecycle,
    pub(super) metrics: Metrics,
}

/// Carries bytes both ways until one side ends, both are silent, the leash is pulled or the proxy
/// closes. The end of the process waits for the task.
pub(super) fn open(client: OnUpgrade, app: OnUpgrade, terms: Terms) {
    let open = Open::new(terms.metrics.clone());
    let tracker = terms.lifecycle.connections().clone();
    tracker.spawn(async move {
        match carry(client, app, terms).await {
            Ok(reason) => tracing::debug!(reason, "a tunnel ended"),
            Err(error) => tracing::debug!(%error, "a tunnel broke"),
        }
        drop(open);
    });
}

async fn carry(client: OnUpgrade, app: OnUpgrade, terms: Terms) -> io::Result<&'static str> {
    let Terms { idle, leash, lifecycle, metrics } = terms;
    let mut cut = pin!(async {
        let pulled = async {
            match leash {
                Some(leash) => leash.pulled().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            reason = pulled => Goodbye { code: 1008, text: "session ended", reason },
            () = lifecycle.closing().cancelled() => {
                metrics.streams_ended("shutdown", 1);
                Goodbye { code: 1001, text: "going away", reason: "shutdown" }
            }
        }
    });
    let pulse = Pulse::new();
    let ends = async {
        let end = |upgraded: Upgraded| split(End::new(TokioIo::new(upgraded), pulse.clone()));
        let app = app.await.map_err(io::Error::other)?;
        Ok::<_, io::Error>((end(app), end(client.await.map_err(io::Error::other)?)))
    };
    let ((app_says, app_hears), (client_says, client_hears)) = tokio::select! {
        ends = ends => ends?,
        goodbye = cut.as_mut() => return Ok(goodbye.reason),
    };
    let mut up = Lane::new(client_says, app_hears);
    let mut down = Lane::new(app_says, client_hears);
    let goodbye = tokio::select! {
        // Whatever is there to be carried, the end comes first.
        biased;
        goodbye = cut.as_mut() => goodbye,
        carried = futures_util::future::try_join(up.carry(), down.carry()) => {
            return carried.map(|_| "both sides ended it");
        }
        () = pulse.silence(idle) => return Ok("silence"),
    };
    let part = timeout(PATIENCE, part(&mut up, &mut down, &goodbye));
    tokio::select! {
        // Late or broken, there is nothing left to do but to drop both ends.
        _ = part => {}
        () = lifecycle.aborting().cancelled() => {}
    }
    Ok(goodbye.reason)
}

/// Why both sides are told to go (RFC 6455 §7.4.1).
struct Goodbye {
    code: u16,
    text: &'static str,
    reason: &'static str,
}

async fn part<CR, CW, AR, AW>(
    up: &mut Lane<CR, AW>,
    down: &mut Lane<AR, CW>,
    goodbye: &Goodbye,
) -> io::Result<()>
where
    CR: AsyncRead + Unpin,
    CW: AsyncWrite + Unpin,
    AR: AsyncRead + Unpin,
    AW: AsyncWrite + Unpin,
{
    let mut mask = [0; 4];
    // A mask that can be guessed protects old proxies on the way (§10.3), and here is none.
    let _ = getrandom::fill(&mut mask);
    let to_client = frames::close(goodbye.code, goodbye.text, None);
    let to_app = frames::close(goodbye.code, goodbye.text, Some(mask));
    // Both read on until the other side has answered: a socket that is closed with unread bytes is
    // reset, and a reset takes the Close frame with it.
    let (told_app, told_client) =
        futures_util::future::join(up.end(&to_app), down.end(&to_client)).await;
    told_app.and(told_client)?;
    futures_util::future::try_join(up.writer.shutdown(), down.writer.shutdown()).await?;
    Ok(())
}

/// One direction. What it has carried is known to the byte, also when a future of it is dropped.
struct Lane<R, W> {
    reader: R,
    writer: W,
    buffer: Vec<u8>,
    /// What of the buffer is still to be written.
    from: usize,
    to: usize,
    /// Of what has been written.
    frames: Frames,
    ended: bool,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Lane<R, W> {
    fn new(reader: R, writer: W) -> Self {
        let frames = Frames::default();
        Self { reader, writer, buffer: vec![0; BUFFER], from: 0, to: 0, frames, ended: false }
    }

    /// Carries until the reader ends, and ends the writer.
    async fn carry(&mut self) -> io::Result<()> {
        loop {
            while self.write(usize::MAX).await? > 0 {}
            self.writer.flush().await?;
            if !self.fill().await? {
                return self.writer.shutdown().await;
            }
        }
    }

    /// Lets the frame under way end, says `close` unless this side has said it itself, and throws
    /// away what comes behind until it has.
    async fn end(&mut self, close: &[u8]) -> io::Result<()> {
        while !self.frames.between() {
            let rest = self.frames.rest(self.ahead());
            if self.write(rest).await? == 0 && !self.fill().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        if !self.ended && !self.frames.closed() {
            self.writer.write_all(close).await?;
        }
        self.writer.flush().await?;
        let mut frames = self.frames;
        loop {
            frames.pass(self.ahead());
            if frames.closed() || self.ended || !self.fill().await? {
                return Ok(());
            }
        }
    }

    fn ahead(&self) -> &[u8] {
        self.buffer.get(self.from..self.to).unwrap_or_default()
    }

    /// Writes up to `most` bytes of the buffer; 0 where there are none.
    async fn write(&mut self, most: usize) -> io::Result<usize> {
        let to = self.to.min(self.from.saturating_add(most));
        let bytes = self.buffer.get(self.from..to).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(0);
        }
        let written = self.writer.write(bytes).await?;
        self.frames.pass(bytes.get(..written).unwrap_or_default());
        self.from += written;
        if written == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(written) }
    }

    /// Reads into the buffer, whose bytes are all written or given up; `false` at the end.
    async fn fill(&mut self) -> io::Result<bool> {
        (self.from, self.to) = (0, 0);
        self.to = self.reader.read(&mut self.buffer).await?;
        self.ended |= self.to == 0;
        Ok(!self.ended)
    }
}

/// An open tunnel, counted.
struct Open(Metrics);

impl Open {
    fn new(metrics: Metrics) -> Self {
        metrics.tunnels().inc();
        Self(metrics)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.tunnels().dec();
    }
}
