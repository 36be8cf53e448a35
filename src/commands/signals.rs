//! What ends the process: SIGTERM drains, a second one (or Ctrl-C) is quick.

use std::{io, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::app::Running;

/// What is under way gets this long when somebody is in a hurry.
const QUICK: Duration = Duration::from_secs(1);

/// How fast the process is to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// What is under way may finish.
    Calm,
    /// Somebody waits at a terminal.
    Quick,
}

/// SIGTERM and SIGINT.
#[derive(Debug)]
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Listens for both.
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for either.
    pub(super) async fn any(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Runs until a signal, then ends the proxy as the signal asks.
    pub(super) async fn end(&mut self, running: Running) {
        let pace = self.first().await;
        self.finish(running, pace).await;
    }

    /// Waits for either, and says what it asks for.
    pub(super) async fn first(&mut self) -> Pace {
        tokio::select! {
            _ = self.terminate.recv() => Pace::Calm,
            _ = self.interrupt.recv() => Pace::Quick,
        }
    }

    /// Ends the proxy; the next signal makes it quick.
    pub(super) async fn finish(&mut self, running: Running, pace: Pace) {
        if pace == Pace::Quick {
            running.finish(QUICK).await;
            return;
        }
        let lifecycle = running.lifecycle().clone();
        let drain = running.drain();
        tokio::pin!(drain);
        tokio::select! {
            () = drain.as_mut() => return,
            () = self.any() => lifecycle.abort(),
        }
        drain.await;
    }
}
