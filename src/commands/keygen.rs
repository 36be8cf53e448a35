//! `vestibule keygen`: one new session key.

use clap::Args;

use super::{Exit, Failure, print};
use crate::sealing::Key;

/// No options.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  vestibule keygen > session-keys        # [session] keys_file = \"session-keys\"\n\nThe first key of a file seals, all of them open: put a new one on top, and remove the old one\nwhen the sessions that it sealed have ended."
)]
pub(super) struct Arguments {}

pub(super) fn execute(_: &Arguments) -> Result<Exit, Failure> {
    let key = Key::generate().map_err(Failure::Key)?;
    print(&format!("{}\n", key.to_text()))?;
    Ok(Exit::Done)
}
