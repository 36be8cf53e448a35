//! `vestibule emulator`: the Entra emulator alone, for other people's tests.

use std::{
    fs, io,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use super::{Exit, Failure, print, signals::Signals};
use crate::{
    base::{clock::Clock, document::DocumentError},
    emulator::{Emulator, EmulatorError, Options, Scenario},
};

/// `vestibule emulator`
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  vestibule emulator --tls > client.toml\n\nPrints, as TOML, what a client needs: authority, tenant, client_id, client_secret and users."
)]
pub(super) struct Arguments {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value_t = SocketAddr::from((Ipv4Addr::LOCALHOST, 8443)))]
    listen: SocketAddr,
    /// Speak TLS, with a throw-away certificate for localhost and 127.0.0.1.
    #[arg(long)]
    tls: bool,
    /// A scenario: tenants, apps, users, groups, roles, lifetimes and faults, as TOML.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Why the emulator does not run.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The scenario file cannot be read.
    #[error("{} cannot be read", .0.display())]
    Read(PathBuf, #[source] io::Error),
    /// The scenario file is wrong.
    #[error(transparent)]
    Scenario(#[from] DocumentError),
    /// It cannot be run, or cannot listen.
    #[error(transparent)]
    Start(#[from] EmulatorError),
}

impl CommandError {
    /// Whether the scenario is at fault, rather than the machine.
    pub fn is_configuration(&self) -> bool {
        matches!(self, Self::Read(..) | Self::Scenario(_) | Self::Start(EmulatorError::Scenario(_)))
    }
}

/// Prints what a client needs, as TOML on stdout, and answers until SIGINT or SIGTERM.
pub(super) async fn execute(arguments: &Arguments) -> Result<Exit, Failure> {
    let mut signals = Signals::listen().map_err(Failure::System)?;
    let emulator = start(arguments).await?;
    print(&emulator.client().to_toml())?;
    signals.any().await;
    emulator.stop().await;
    Ok(Exit::Done)
}

async fn start(arguments: &Arguments) -> Result<Emulator, CommandError> {
    let scenario = match &arguments.config {
        None => Scenario::default(),
        Some(path) => {
            let text = fs::read_to_string(path)
                .map_err(|error| CommandError::Read(path.clone(), error))?;
            Scenario::parse(&path.display().to_string(), &text)?
        }
    };
    let options =
        Options { listen: arguments.listen, tls: arguments.tls, scenario, clock: Clock::system() };
    Ok(Emulator::start(options).await?)
}
