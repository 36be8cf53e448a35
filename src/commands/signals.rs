//! What ends the process: SIGTERM drains, a second one (or Ctrl-C) is quick.

use std::{io, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::app::Running;

/// What is under way gets this long when somebody is in a hurry.
const QUICK: Duration = Duration::from_secs(1);

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
        let hurry = tokio::select! {
            _ = self.terminate.recv() => false,
            _ = self.interrupt.recv() => true,
        };
        if hurry {
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
