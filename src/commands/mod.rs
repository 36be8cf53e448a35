//! The words of the command line: compose, print, exit. Results go to stdout, logs to stderr.

mod check;
mod demo;
mod drain;
mod emulator;
mod healthcheck;
mod inject;
mod keygen;
mod run;
mod schema;
mod signals;

use std::{
    error::Error,
    ffi::OsString,
    fmt::Write as _,
    io::{self, IsTerminal, Write},
    path::PathBuf,
    process::ExitCode,
};

use annotate_snippets::Renderer;
use clap::{Args, Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};

use crate::{
    admin::CallError, app::StartError, base::telemetry::TelemetryError, config::ConfigError,
    sealing::KeyError,
};

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// What was asked for is done.
    Done = 0,
    /// It failed.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// A service that is needed does not answer (`EX_UNAVAILABLE` of sysexits.h).
    Unavailable = 69,
    /// The configuration is wrong (`EX_CONFIG` of sysexits.h).
    Configuration = 78,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration cannot be used.
    #[error(transparent)]
    Configuration(#[from] ConfigError),
    /// No session key could be made.
    #[error("cannot make a session key")]
    Key(#[source] KeyError),
    /// The result could not be written.
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
    /// The proxy could not start.
    #[error("the proxy cannot start")]
    Start(#[from] StartError),
    /// `[log]` cannot be used.
    #[error("[log] cannot be used")]
    Telemetry(#[from] TelemetryError),
    /// The system refused a runtime, a socket or a signal handler.
    #[error("the system refused")]
    System(#[source] io::Error),
    /// The demo could not start.
    #[error("the demo cannot start")]
    Demo(#[from] demo::DemoError),
    /// The emulator could not start.
    #[error("the emulator cannot start")]
    Emulator(#[from] emulator::CommandError),
    /// The admin port.
    #[error("the proxy does not answer on its admin port")]
    Admin(#[from] CallError),
    /// The manifests, or what they do not say.
    #[error(transparent)]
    Manifests(#[from] inject::ManifestError),
    /// The result has no text form.
    #[error("cannot write the configuration as TOML")]
    Toml(#[source] toml::ser::Error),
}

impl Failure {
    /// How the process ends because of it.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Configuration(_) | Self::Start(StartError::Assembly(_)) | Self::Telemetry(_) => {
                Exit::Configuration
            }
            Self::Admin(_) => Exit::Unavailable,
            Self::Emulator(error) if error.is_configuration() => Exit::Configuration,
            Self::Key(_)
            | Self::Output(_)
            | Self::Toml(_)
            | Self::Start(_)
            | Self::System(_)
            | Self::Demo(_)
            | Self::Manifests(_)
            | Self::Emulator(_) => Exit::Failed,
        }
    }

    /// The whole chain of causes for a person; pictures where there are any.
    fn explain(&self, renderer: &Renderer) -> String {
        if let Self::Configuration(error @ ConfigError::Problems(_)) = self {
            return error.picture(renderer);
        }
        let mut text = format!("error: {self}");
        let mut cause = self.source();
        while let Some(error) = cause {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n  because: {error}");
            cause = error.source();
        }
        text
    }
}

/// Sign in with Microsoft in front of any web app, without changing the app.
#[derive(Debug, Parser)]
#[command(name = "vestibule", version, args_conflicts_with_subcommands = true)]
#[command(
    after_help = "Without a command, `vestibule --config FILE` runs the proxy.\n\nExample:\n  vestibule demo"
)]
struct CommandLine {
    #[command(subcommand)]
    word: Option<Word>,
    #[command(flatten)]
    run: FileArguments,
}

#[derive(Debug, Subcommand)]
enum Word {
    /// Stand in front of the app. `vestibule --config FILE` means the same.
    Run(run::Arguments),
    /// Try it offline: the Entra emulator, a small legacy app and the proxy in front of it.
    Demo(demo::Arguments),
    /// Run the Entra emulator alone, for tests of any program that signs in with Microsoft.
    Emulator(emulator::Arguments),
    /// Read the configuration and print the effective one, secrets redacted.
    Check(check::Arguments),
    /// Print one new session key.
    Keygen(keygen::Arguments),
    /// Print the JSON Schema of the configuration.
    Schema(schema::Arguments),
    /// Put the proxy into Kubernetes manifests, as a sidecar in front of the app.
    Inject(Box<inject::Inject>),
    /// Take the proxy out of manifests again, and give them back as they were.
    Uninject(inject::Uninject),
    /// Ask the admin port whether the proxy is ready.
    Healthcheck(healthcheck::Healthcheck),
    /// Take readiness back and let connections finish.
    Drain(drain::Drain),
}

/// Which configuration.
#[derive(Clone, Debug, Args)]
pub struct FileArguments {
    /// The file, if it was named.
    #[arg(
        long,
        value_name = "FILE",
        help = "The configuration [default: $VESTIBULE_CONFIG, ./proxy.toml, /etc/vestibule/proxy.toml]"
    )]
    pub config: Option<PathBuf>,
}

/// Runs the command line `arguments`, of which the first is the program's name.
///
/// # Errors
/// See [`Failure`].
pub fn execute(arguments: impl IntoIterator<Item = OsString>) -> Result<Exit, Failure> {
    let line = match CommandLine::try_parse_from(arguments) {
        Ok(line) => line,
        // `--help` and `--version` arrive here too, and end well.
        Err(told) => {
            return match told.print() {
                Ok(()) if told.use_stderr() => Ok(Exit::Usage),
                Ok(()) => Ok(Exit::Done),
                Err(error) => closed(error).map(|()| Exit::Done),
            };
        }
    };
    match line.word {
        Some(Word::Check(arguments)) => check::execute(&arguments),
        Some(Word::Keygen(arguments)) => keygen::execute(&arguments),
        Some(Word::Schema(arguments)) => schema::execute(&arguments),
        Some(Word::Run(arguments)) => run::execute(&arguments),
        Some(Word::Demo(arguments)) => demo::execute(&arguments),
        Some(Word::Emulator(arguments)) => runtime()?.block_on(emulator::execute(&arguments)),
        Some(Word::Inject(arguments)) => arguments.execute(),
        Some(Word::Uninject(arguments)) => arguments.execute(),
        Some(Word::Healthcheck(arguments)) => arguments.execute(),
        Some(Word::Drain(arguments)) => arguments.execute(),
        None => run::execute(&run::Arguments { file: line.run }),
    }
}

/// Tells people on stderr why a command failed.
pub fn report(failure: &Failure) {
    let styled = io::stderr().is_terminal();
    let renderer = if styled { Renderer::styled() } else { Renderer::plain() };
    tell(&format!("{}\n", failure.explain(&renderer)));
}

/// Tells people something beside the result. A closed stderr leaves the exit code, which says
/// enough.
fn tell(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// The runtime of a command: one thread; a proxy's workers have their own.
fn runtime() -> Result<Runtime, Failure> {
    Builder::new_current_thread().enable_all().build().map_err(Failure::System)
}

/// Prints a result. A reader that has gone away, as in `vestibule schema | head`, is no failure.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).or_else(closed)
}

fn closed(error: io::Error) -> Result<(), Failure> {
    if error.kind() == io::ErrorKind::BrokenPipe { Ok(()) } else { Err(Failure::Output(error)) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn words(line: &[&str]) -> Result<CommandLine, clap::Error> {
        CommandLine::try_parse_from(std::iter::once(&"vestibule").chain(line))
    }

    #[test]
    fn every_command_has_help_with_an_example() {
        let mut line = CommandLine::command();
        line.build();
        line.clone().debug_assert();
        for word in std::iter::once(&line).chain(line.get_subcommands()) {
            let help = word.get_after_help().map(ToString::to_string).unwrap_or_default();
            let is_ours = word.get_name() != "help";
            assert!(!is_ours || help.contains("Example:\n  vestibule "), "{}", word.get_name());
        }
    }

    #[test]
    fn without_a_word_the_options_are_those_of_run() {
        let line = words(&["--config", "x.toml"]).unwrap();
        assert!(line.word.is_none());
        assert_eq!(line.run.config, Some(PathBuf::from("x.toml")));
        assert!(words(&["--config", "x.toml", "check"]).is_err());
    }

    #[test]
    fn a_wrong_configuration_ends_with_78_and_names_the_whole_chain() {
        let failure =
            execute(["vestibule", "check", "--config", "/nonexistent"].map(OsString::from))
                .unwrap_err();
        assert_eq!(failure.exit(), Exit::Configuration);
        let told = failure.explain(&Renderer::plain());
        assert!(told.starts_with("error: cannot read the configuration /nonexistent"), "{told}");
        assert!(told.contains("because: No such file"), "{told}");
    }
}
