//! `vestibule run`: the proxy.

use std::sync::Arc;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Exit, Failure, FileArguments, runtime, signals::Signals};
use crate::{
    app::{self, Follow, Running},
    base::{causes::Causes, clock::Clock, core_dump, service_manager::ServiceManager, telemetry},
    config::{self, Snapshot, Source},
};

/// What to run.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  vestibule run --config proxy.toml")]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) file: FileArguments,
}

pub(super) fn execute(arguments: &Arguments) -> Result<Exit, Failure> {
    let forbidden = core_dump::forbid();
    let source = Source::new(arguments.file.config.as_deref(), config::environment());
    let Snapshot { loaded, files } = source.read()?;
    let levels = telemetry::init(&loaded.config.log)?;
    if let Err(error) = forbidden {
        tracing::warn!(%error, "core dumps could not be turned off");
    }
    let file = loaded.file.as_deref().map(std::path::Path::display);
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(version, config = file.map(tracing::field::display), "vestibule starts");
    // Whoever waits for a word from us learns by its absence; browsers need not suffer for that.
    let manager = ServiceManager::of(config::environment()).unwrap_or_else(|error| {
        tracing::warn!(error = %Causes(&error), "the service manager cannot be told anything");
        ServiceManager::default()
    });
    let manager = Arc::new(manager);
    for warning in loaded.config.warnings(Clock::system().unix()) {
        tracing::warn!("{warning}");
    }
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        let mut signals = Signals::listen().map_err(Failure::System)?;
        // Before anybody can be told to send one: unheard, it ends the process.
        let hangups = signal(SignalKind::hangup()).map_err(Failure::System)?;
        let mut running = app::start(&loaded.config, Clock::system())?;
        let follow = Follow { source, files, levels: Some(levels) };
        running.follow(follow, app::LOOK_EVERY);
        reload_on(hangups, &running, &manager);
        // Microsoft need not be reachable: a machine that starts without a network serves all the
        // same, and nobody restarts it over and over.
        manager.ready();
        running.inform(Arc::clone(&manager));
        let pace = signals.first().await;
        manager.stopping();
        signals.finish(running, pace).await;
        Ok(Exit::Done)
    });
    // Nobody waits for a look at a file on a disk that does not answer.
    runtime.shutdown_background();
    done
}

/// SIGHUP takes the configuration over now, as with every daemon.
fn reload_on(mut hangups: Signal, running: &Running, manager: &Arc<ServiceManager>) {
    if let Some(reloader) = running.reloader().cloned() {
        let manager = Arc::clone(manager);
        tokio::spawn(async move {
            while hangups.recv().await.is_some() {
                manager.reloading();
                // What went wrong has been logged, and nothing has changed.
                let _ = reloader.reload_now().await;
                manager.ready();
            }
        });
    }
}
