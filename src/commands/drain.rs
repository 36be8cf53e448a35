//! `vestibule drain`: a pod's `preStop`. Readiness first, so that nobody new is sent here; then time
//! for those who are.

use std::time::Duration;

use clap::Args;
use tokio::time::{Instant, sleep_until};

use super::{Exit, Failure, print, runtime};
use crate::{
    admin::{CallError, Door},
    base::units::Span,
};

/// Often enough for a person who waits, rare enough for the proxy.
const PAUSE: Duration = Duration::from_millis(250);

/// Take readiness back, then wait until connections have finished or the time is up.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  vestibule drain --wait 15s")]
pub(super) struct Drain {
    /// The admin port.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:4191")]
    admin: Door,
    /// The longest wait; connections that are left then are not an error.
    #[arg(long, value_name = "TIME", default_value = "15s")]
    wait: Span,
}

impl Drain {
    /// Drains and waits.
    pub(super) fn execute(&self) -> Result<Exit, Failure> {
        let left = runtime()?.block_on(self.drain())?;
        print(&match left {
            0 => "drained\n".to_owned(),
            left => format!("{left} connections are still open\n"),
        })?;
        Ok(Exit::Done)
    }

    /// How many connections are left in the end.
    async fn drain(&self) -> Result<usize, CallError> {
        let end = Instant::now() + self.wait.duration();
        loop {
            let left = self.admin.drain().await?;
            let next = Instant::now() + PAUSE;
            if left == 0 || next > end {
                return Ok(left);
            }
            sleep_until(next).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{
        admin::{Admin, Readiness, Settings},
        base::{lifecycle::Lifecycle, metrics::Metrics},
    };

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        drain: Drain,
    }

    #[tokio::test]
    async fn the_wait_ends_with_the_last_connection_or_with_the_time() {
        let lifecycle = Lifecycle::new();
        let admin = Admin::bind(&Settings { listen: "127.0.0.1:0".to_owned() }).unwrap();
        let door = format!("http://{}", admin.local_address().unwrap());
        let readiness = Readiness::new(lifecycle.clone());
        tokio::spawn(admin.serve(readiness, Metrics::new(), CancellationToken::new()));
        let drain =
            |wait: &str| Line::parse_from(["drain", "--admin", &door, "--wait", wait]).drain;

        let connection = lifecycle.connections().token();
        assert_eq!(drain("0s").drain().await.unwrap(), 1);
        assert!(lifecycle.is_draining());
        let patient = drain("1h");
        let (left, ()) = tokio::join!(patient.drain(), async { drop(connection) });
        assert_eq!(left.unwrap(), 0);
    }
}
