//! A changed configuration, taken over while requests run.
//!
//! Everything is built anew beside the running proxy, validated whole, and swapped in as one
//! pointer: a request sees one configuration from its first byte to its last. Whatever goes wrong
//! before the swap changes nothing (J4).

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio::{sync::Mutex, task::JoinError, time::sleep};

use super::{
    assembly::{Assembled, AssemblyError, Former, Lasting, assemble},
    fixed::Fixed,
};
use crate::{
    base::{causes::Causes, telemetry::Levels, watched_file::Fingerprint},
    config::{ConfigError, Loaded, Snapshot, Source},
    entra::EntraError,
    server::TlsError,
};

/// How often files are looked at. Half a dozen small files: a fraction of a millisecond each time.
pub const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A file that has just changed may be half written: it is taken over once it has stayed the same
/// for so long.
const SETTLE: Duration = Duration::from_secs(1);
/// Files that change while they are read are read again so often.
const TRIES: usize = 3;

/// Why a changed configuration is not used.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The proxy was started without a file to follow.
    #[error("this proxy follows no configuration")]
    NotFollowing,
    /// It cannot be read, or says what cannot be.
    #[error(transparent)]
    Configuration(#[from] ConfigError),
    /// It does not fit together.
    #[error("the configuration cannot be used")]
    Assembly(#[from] AssemblyError),
    /// `[server.tls]`.
    #[error("the changed certificate cannot be used")]
    Certificate(#[from] TlsError),
    /// Nobody could sign in at the new tenant or authority.
    #[error("microsoft's metadata for the changed [entra] cannot be read")]
    Metadata(#[from] EntraError),
    /// Somebody is writing.
    #[error("the files changed while they were read")]
    Unsteady,
    /// The process is ending.
    #[error("the configuration was not read to its end")]
    Cut(#[from] JoinError),
}

/// Whom a proxy follows.
#[derive(Debug)]
pub struct Follow {
    /// Where the configuration comes from.
    pub source: Source,
    /// What its files held when the running configuration was read.
    pub files: Fingerprint,
    /// The log's levels, which follow too.
    pub levels: Option<Levels>,
}

/// Takes changed configurations over. Clones share it.
#[derive(Clone, Debug)]
pub struct Reloader(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    current: Arc<ArcSwap<Assembled>>,
    lasting: Arc<Lasting>,
    fixed: Fixed,
    source: Source,
    levels: Option<Levels>,
    /// Held by whoever rebuilds: one at a time.
    seen: Mutex<Seen>,
}

#[derive(Debug)]
struct Seen {
    /// What the files of the running configuration held.
    applied: Fingerprint,
    /// What they held at the last look, where that is something else.
    candidate: Option<Fingerprint>,
    /// Why the last attempt failed.
    failure: Option<String>,
}

/// What a look at the files found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Unchanged,
    /// Changed a moment ago: perhaps not yet to its end.
    Settling,
    /// Changed, and stayed so.
    Settled,
}

impl Reloader {
    pub(super) fn new(
        current: Arc<ArcSwap<Assembled>>,
        lasting: Arc<Lasting>,
        follow: Follow,
    ) -> Self {
        let Follow { source, files, levels } = follow;
        let fixed = Fixed::of(&current.load().config);
        let seen = Mutex::new(Seen { applied: files, candidate: None, failure: None });
        Self(Arc::new(Inner { current, lasting, fixed, source, levels, seen }))
    }

    /// Takes over what the files say now, changed or not.
    ///
    /// # Errors
    /// See [`ReloadError`]; it has been logged and counted, and nothing has changed.
    pub async fn reload_now(&self) -> Result<(), ReloadError> {
        let mut seen = self.0.seen.lock().await;
        let outcome = self.rebuild(&mut seen).await;
        self.report(&mut seen, &outcome, true);
        outcome
    }

    /// Looks at the files, and takes over what has changed and settled.
    ///
    /// # Errors
    /// As [`Reloader::reload_now`].
    pub async fn look(&self) -> Result<(), ReloadError> {
        self.look_once().await.map(|_| ())
    }

    /// Looks at the files every so often, until the proxy closes.
    pub(super) async fn keep_looking(self, every: Duration) {
        let closing = self.0.lasting.lifecycle.closing().clone();
        let mut pause = every;
        loop {
            tokio::select! {
                () = sleep(pause) => {}
                () = closing.cancelled() => return,
            }
            // An error has been reported where it happened.
            let settling = matches!(self.look_once().await, Ok(Look::Settling));
            pause = if settling { SETTLE.min(every) } else { every };
        }
    }

    async fn look_once(&self) -> Result<Look, ReloadError> {
        let mut seen = self.0.seen.lock().await;
        let paths: Vec<_> = seen.applied.paths().cloned().collect();
        let now = tokio::task::spawn_blocking(move || Fingerprint::of(&paths)).await?;
        let look = seen.compare(now);
        if look == Look::Settled {
            let outcome = self.rebuild(&mut seen).await;
            self.report(&mut seen, &outcome, false);
            outcome?;
        }
        Ok(look)
    }

    /// Builds everything anew and swaps it in.
    async fn rebuild(&self, seen: &mut Seen) -> Result<(), ReloadError> {
        let (next, loaded, files) = self.build(&seen.applied).await?;
        let was = self.0.current.load_full();
        let new_client = !Arc::ptr_eq(&was.entra, &next.entra);
        // Where people can sign in now they must be able to afterwards.
        if new_client && was.entra.is_ready() && !next.entra.is_ready() {
            next.entra.prepare().await?;
        }
        // Whether a listener speaks TLS is decided at its start.
        let settings = &next.config.server.tls;
        if let Some(tls) = self.0.lasting.tls.as_ref().filter(|_| settings.is_on()) {
            tls.reload(settings)?;
        }
        if let Some(levels) = &self.0.levels
            && let Err(error) = levels.set(&next.config.log.level)
        {
            tracing::warn!(%error, "log.level stays as it was");
        }
        if new_client {
            was.stop_fetching.cancel();
            next.entra.keep_fresh(next.stop_fetching.clone());
        }
        for key in self.0.fixed.ignored_of(&next.config) {
            tracing::warn!(key, "this key was changed, and needs a restart to take effect");
        }
        for warning in loaded.config.warnings(self.0.lasting.clock.unix()) {
            tracing::warn!("{warning}");
        }
        next.vitals.tell(&self.0.lasting);
        self.0.current.store(Arc::new(next));
        seen.applied = files;
        Ok(())
    }

    /// Reads and assembles on a thread that may wait for a slow disk.
    async fn build(
        &self,
        applied: &Fingerprint,
    ) -> Result<(Assembled, Loaded, Fingerprint), ReloadError> {
        let (inner, applied) = (Arc::clone(&self.0), applied.clone());
        let build = move || {
            for _ in 0..TRIES {
                let Snapshot { loaded, files } = inner.source.read()?;
                let changed: BTreeSet<_> = applied.differing(&files);
                let was = inner.current.load_full();
                let former = Former { assembled: &was, changed: &changed };
                let next = assemble(loaded.config.clone(), &inner.lasting, Some(former))?;
                // Keys of one version and rules of another are half a configuration each.
                if Fingerprint::of(files.paths()) == files {
                    return Ok((next, loaded, files));
                }
            }
            Err(ReloadError::Unsteady)
        };
        tokio::task::spawn_blocking(build).await?
    }

    /// A failure that is known already is not told again at every look.
    fn report(&self, seen: &mut Seen, outcome: &Result<(), ReloadError>, asked: bool) {
        let metrics = &self.0.lasting.metrics;
        let Err(error) = outcome else {
            (seen.candidate, seen.failure) = (None, None);
            metrics.replica().reloaded(true);
            tracing::info!("the configuration was taken over");
            return;
        };
        let text = Causes(error).to_string();
        if asked || seen.failure.as_ref() != Some(&text) {
            metrics.replica().reloaded(false);
            for problem in text.lines() {
                tracing::error!(
                    problem,
                    "the changed configuration is not used; the last good one stays"
                );
            }
        }
        seen.failure = Some(text);
    }
}

impl Seen {
    /// After a failure each look tries again: what was missing may be there now, under a name that
    /// only the failed configuration has.
    fn compare(&mut self, now: Fingerprint) -> Look {
        if now == self.applied && self.failure.is_none() {
            self.candidate = None;
            return Look::Unchanged;
        }
        if self.candidate.as_ref() == Some(&now) {
            return Look::Settled;
        }
        self.candidate = Some(now);
        Look::Settling
    }
}
