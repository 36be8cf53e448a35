//! The right to renew one session, for a while: one of all replicas has it.

use std::{future::Future, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use tokio::time::{MissedTickBehavior, interval};

use super::{StoreError, link::Link};
use crate::base::causes::Causes;

/// A lease that was taken. It expires by itself when its holder dies.
#[derive(Debug)]
pub(in crate::session) struct Lease {
    link: Arc<Link>,
    key: String,
    /// Random: only its holder can prolong or release it.
    token: String,
    life: Duration,
}

impl Lease {
    pub(super) async fn take(
        link: &Arc<Link>,
        key: String,
        life: Duration,
    ) -> Result<Option<Self>, StoreError> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|_| StoreError::Cancelled)?;
        let token = URL_SAFE_NO_PAD.encode(random);
        let mut command = redis::cmd("EVAL");
        command.arg(TAKE).arg(1).arg(&key).arg(&token).arg(super::millis(life));
        let granted: bool = link.run("lease", &command).await?;
        Ok(granted.then(|| Self { link: Arc::clone(link), key, token, life }))
    }

    /// Runs `work` and prolongs the lease meanwhile. A lease that cannot be prolonged does not stop
    /// the work: what it writes is fenced by the session's version.
    pub(in crate::session) async fn while_held<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        let mut ticks = interval(self.life / 3);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ticks.tick().await;
        loop {
            tokio::select! {
                done = &mut work => return done,
                _ = ticks.tick() => self.prolong().await,
            }
        }
    }

    async fn prolong(&self) {
        let mut command = redis::cmd("EVAL");
        command.arg(PROLONG).arg(1).arg(&self.key).arg(&self.token).arg(super::millis(self.life));
        match self.link.run("lease", &command).await {
            Ok(true) => {}
            Ok(false) => tracing::warn!("the lease of a renewal was lost while the call ran"),
            Err(error) => {
                let error = Causes(&error);
                tracing::warn!(%error, "the lease of a renewal could not be prolonged");
            }
        }
    }

    /// Lets others renew again. Should it fail, the lease runs out by itself.
    pub(in crate::session) async fn release(self) {
        let mut command = redis::cmd("EVAL");
        command.arg(RELEASE).arg(1).arg(&self.key).arg(&self.token);
        let released: Result<bool, _> = self.link.run("release", &command).await;
        if let Err(error) = released {
            let error = Causes(&error);
            tracing::debug!(%error, "the lease of a renewal was not released");
        }
    }
}

/// KEYS: lease. ARGV: token, milliseconds. The holder may take it again: a command is sent twice
/// when its connection dies.
const TAKE: &str = "if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then return 1 end
if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])";

/// KEYS: lease. ARGV: token, milliseconds.
const PROLONG: &str = "if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])";

/// KEYS: lease. ARGV: token.
const RELEASE: &str = "if redis.pcall('GET', KEYS[1]) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])";
