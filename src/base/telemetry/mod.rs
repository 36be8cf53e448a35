//! `[log]`: what is logged, and how. Logs go to stderr, one line per event.

use std::{
    any::Any,
    io::{self, IsTerminal},
    panic,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{
    Layer, Registry, filter::Targets, fmt, layer::SubscriberExt, reload, util::SubscriberInitExt,
};

use self::line::{JsonLine, TextLine};

mod escape;
mod line;

/// `[log]` of the configuration.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// `error`, `warn`, `info`, `debug` or `trace`; or per module: `"info,vestibule::entra=debug"`.
    pub level: String,
    /// `json`, `text`, or `auto`: text on a terminal, JSON elsewhere.
    pub format: Format,
    /// Whether the access line names the user (object id and user name).
    pub user: bool,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

impl Default for Settings {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: Format::Auto, user: false }
    }
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// `log.level` is not understood.
    #[error(
        "expected error, warn, info, debug, trace or off, or such levels per module as in \
         \"info,vestibule::entra=debug\""
    )]
    Level,
    /// The process logs already.
    #[error("logging was already set up")]
    Twice(#[source] tracing_subscriber::util::TryInitError),
}

/// What is logged now, and may change while the process runs.
#[derive(Clone, Debug)]
pub struct Levels(reload::Handle<Targets, Registry>);

impl Levels {
    /// Logs from now on as this `log.level` says.
    ///
    /// # Errors
    /// It is not understood, and nothing has changed.
    pub fn set(&self, level: &str) -> Result<(), TelemetryError> {
        let filter = levels(level)?;
        // Fails only once the log itself is gone, and then nobody listens.
        let _ = self.0.reload(filter);
        Ok(())
    }
}

/// Starts logging for the whole process, panics included.
///
/// # Errors
/// The level is not understood, or logging was set up before.
pub fn init(settings: &Settings) -> Result<Levels, TelemetryError> {
    let (filter, handle) = reload::Layer::new(levels(&settings.level)?);
    let terminal = io::stderr().is_terminal();
    let lines = fmt::layer().with_writer(io::stderr).with_ansi(terminal);
    let as_text = match settings.format {
        Format::Auto => terminal,
        Format::Json => false,
        Format::Text => true,
    };
    let layer = if as_text {
        lines.event_format(TextLine).with_filter(filter).boxed()
    } else {
        lines.event_format(JsonLine).with_filter(filter).boxed()
    };
    Registry::default().with(layer).try_init().map_err(TelemetryError::Twice)?;
    log_panics();
    Ok(Levels(handle))
}

/// Whether `init` would understand this `log.level`.
///
/// # Errors
/// It would not.
pub fn check_level(level: &str) -> Result<(), TelemetryError> {
    levels(level).map(|_| ())
}

/// A bare level is ours; a library gets to say more than `info` only where it is named, since what
/// it says about a request was not written with our secrets in mind.
fn levels(text: &str) -> Result<Targets, TelemetryError> {
    let mut ours = LevelFilter::INFO;
    let mut named = Vec::new();
    for part in text.split(',').map(str::trim) {
        match part.split_once('=') {
            None => ours = level(part)?,
            Some((module, part)) if is_module(module) => named.push((module, level(part)?)),
            Some(_) => return Err(TelemetryError::Level),
        }
    }
    let targets = Targets::new()
        .with_default(ours.min(LevelFilter::INFO))
        .with_target(env!("CARGO_CRATE_NAME"), ours);
    Ok(targets.with_targets(named))
}

fn level(word: &str) -> Result<LevelFilter, TelemetryError> {
    Ok(match word {
        "off" => LevelFilter::OFF,
        "error" => LevelFilter::ERROR,
        "warn" => LevelFilter::WARN,
        "info" => LevelFilter::INFO,
        "debug" => LevelFilter::DEBUG,
        "trace" => LevelFilter::TRACE,
        _ => return Err(TelemetryError::Level),
    })
}

fn is_module(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':')
}

/// A panic is logged with its place. Its text only when it is a literal of the source: a formatted
/// one may quote a value, and a value may be a secret.
fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        tracing::error!(place, reason = literal(panic.payload()), "panic");
    }));
}

fn literal(payload: &dyn Any) -> &'static str {
    payload.downcast_ref::<&'static str>().copied().unwrap_or("(not shown)")
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn a_bare_level_opens_our_own_modules_and_leaves_libraries_at_info() {
        let targets = levels("trace").unwrap();
        assert!(targets.would_enable("vestibule::entra", &Level::TRACE));
        assert!(targets.would_enable("h2", &Level::INFO));
        assert!(!targets.would_enable("h2", &Level::DEBUG));
    }

    #[test]
    fn a_named_module_has_its_own_level() {
        let targets = levels("warn, vestibule::entra=debug,h2=trace").unwrap();
        assert!(targets.would_enable("vestibule::entra", &Level::DEBUG));
        assert!(!targets.would_enable("vestibule::server", &Level::INFO));
        assert!(targets.would_enable("h2", &Level::TRACE));
    }

    #[test]
    fn a_panic_that_quotes_a_value_is_logged_without_it() {
        let secret = "hunter2";
        let quoted = panic::catch_unwind(|| panic!("bad key {secret}")).unwrap_err();
        assert_eq!(literal(&*quoted), "(not shown)");
        let plain = panic::catch_unwind(|| panic!("a literal")).unwrap_err();
        assert_eq!(literal(&*plain), "a literal");
    }

    #[test]
    fn a_mistyped_level_is_refused_instead_of_read_as_a_module() {
        for text in ["", "verbose", "INFO", "info,", "a=b", "=info", "x[y]=info", "info;debug"] {
            assert!(levels(text).is_err(), "{text}");
        }
    }
}
