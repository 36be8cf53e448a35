//! `vestibule schema`: the JSON Schema of the configuration, for editors.

use clap::Args;

use super::{Exit, Failure, print};
use crate::config::json_schema;

/// No options.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  vestibule schema > proxy.schema.json\n\nEditors that know Taplo check proxy.toml against it when its first line is\n  #:schema ./proxy.schema.json"
)]
pub(super) struct Arguments {}

pub(super) fn execute(_: &Arguments) -> Result<Exit, Failure> {
    print(&format!("{:#}\n", json_schema()))?;
    Ok(Exit::Done)
}
