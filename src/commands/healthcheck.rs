//! `vestibule healthcheck`: for images that have no shell and no curl.

use clap::Args;

use super::{Exit, Failure, print, runtime};
use crate::admin::Door;

/// Exit 0 when the proxy is ready, 1 when it is not, 69 when it does not answer.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  vestibule healthcheck --admin http://127.0.0.1:4191")]
pub(super) struct Healthcheck {
    /// The admin port.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:4191")]
    admin: Door,
}

impl Healthcheck {
    /// Asks once.
    pub(super) fn execute(&self) -> Result<Exit, Failure> {
        let (ready, words) = runtime()?.block_on(self.admin.ready())?;
        print(&format!("{words}\n"))?;
        Ok(if ready { Exit::Done } else { Exit::Failed })
    }
}
