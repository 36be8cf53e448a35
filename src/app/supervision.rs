//! What a service manager learns about a running proxy.

use std::sync::Arc;

use tokio::time::{MissedTickBehavior, interval};

use super::until_ready;
use crate::{admin::Readiness, base::service_manager::ServiceManager, server::Workers};

/// Tells what is waited for, then gives signs of life for as long as no thread is stuck.
///
/// A sign comes from this thread after each worker has come round to a task: one that hangs, or
/// never yields, keeps the sign back, and the manager restarts us.
pub(super) async fn inform(manager: Arc<ServiceManager>, readiness: Readiness, workers: Workers) {
    tokio::join!(tell_state(&manager, &readiness), give_signs(&manager, &workers));
}

async fn tell_state(manager: &ServiceManager, readiness: &Readiness) {
    manager.status(readiness.state().words());
    until_ready(readiness).await;
    manager.status(readiness.state().words());
}

async fn give_signs(manager: &ServiceManager, workers: &Workers) {
    let Some(every) = manager.sign_every() else { return };
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        workers.come_round().await;
        manager.alive();
    }
}
