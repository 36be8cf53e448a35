//! The two looks of a log line: JSON with `time level message` and the event's own fields beside
//! them, and text for people.

use std::{
    error::Error,
    fmt::{self, Debug, Write},
};

use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    registry::LookupSpan,
};

use super::escape::Escaped;

/// One JSON object per event.
#[derive(Debug)]
pub(super) struct JsonLine;

/// `06:10:11 INFO  message key=value`.
#[derive(Debug)]
pub(super) struct TextLine;

impl<S, N> FormatEvent<S, N> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut message = Message::default();
        event.record(&mut message);
        writer.write_str("{\"time\":\"")?;
        SystemTime.format_time(&mut writer)?;
        write!(writer, "\",\"level\":\"{}\",\"message\":\"", word(*event.metadata().level()))?;
        Escaped::new(&mut writer).write_str(&message.0)?;
        writer.write_char('"')?;
        let mut fields = JsonFields { out: &mut writer, done: Ok(()) };
        event.record(&mut fields);
        fields.done?;
        writer.write_str("}\n")
    }
}

impl<S, N> FormatEvent<S, N> for TextLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut time = String::new();
        SystemTime.format_time(&mut Writer::new(&mut time))?;
        // "2026-11-24T06:10:11.123456Z": whoever looks at a terminal knows the day.
        let time = time.get(11..19).unwrap_or(&time);
        let mut message = Message::default();
        event.record(&mut message);
        let level = *event.metadata().level();
        let (dim, colour, plain) = if writer.has_ansi_escapes() {
            ("\x1b[2m", colour(level), "\x1b[0m")
        } else {
            ("", "", "")
        };
        write!(writer, "{dim}{time}{plain} {colour}{:<5}{plain} ", word(level))?;
        Escaped::new(&mut writer).write_str(&message.0)?;
        let mut fields = TextFields { out: &mut writer, dim, plain, done: Ok(()) };
        event.record(&mut fields);
        fields.done?;
        writer.write_char('\n')
    }
}

fn word(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::ERROR => "\x1b[31m",
        Level::WARN => "\x1b[33m",
        Level::INFO => "\x1b[32m",
        Level::DEBUG => "\x1b[34m",
        Level::TRACE => "\x1b[35m",
    }
}

/// The event's message.
#[derive(Default)]
struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "message" {
            let _ = write!(self.0, "{value:?}");
        }
    }
}

/// The event's other fields, flat.
struct JsonFields<'o> {
    out: &'o mut dyn Write,
    done: fmt::Result,
}

impl JsonFields<'_> {
    fn field(&mut self, field: &Field, value: impl FnOnce(&mut dyn Write) -> fmt::Result) {
        if self.done.is_err() || field.name() == "message" {
            return;
        }
        // An object with a key twice means different things to different readers.
        let twin = if matches!(field.name(), "time" | "level") { "_" } else { "" };
        self.done = write!(self.out, ",\"{}{twin}\":", field.name()).and_then(|()| value(self.out));
    }

    fn text(&mut self, field: &Field, write: impl FnOnce(&mut Escaped<'_>) -> fmt::Result) {
        self.field(field, |out| {
            out.write_char('"')?;
            write(&mut Escaped::new(out))?;
            out.write_char('"')
        });
    }
}

impl Visit for JsonFields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.text(field, |out| write!(out, "{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, |out| out.write_str(value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.text(field, |out| chain(out, value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.field(field, |out| write!(out, "{value}"));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.field(field, |out| write!(out, "{value}"));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.field(field, |out| write!(out, "{value}"));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.field(field, |out| {
            if value.is_finite() { write!(out, "{value}") } else { out.write_str("null") }
        });
    }
}

struct TextFields<'o> {
    out: &'o mut dyn Write,
    dim: &'static str,
    plain: &'static str,
    done: fmt::Result,
}

impl TextFields<'_> {
    fn field(&mut self, field: &Field, write: impl FnOnce(&mut Escaped<'_>) -> fmt::Result) {
        if self.done.is_err() || field.name() == "message" {
            return;
        }
        let (dim, plain) = (self.dim, self.plain);
        self.done = write!(self.out, " {dim}{}={plain}", field.name())
            .and_then(|()| write(&mut Escaped::new(self.out)));
    }
}

impl Visit for TextFields<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.field(field, |out| write!(out, "{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.field(field, |out| out.write_str(value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.field(field, |out| chain(out, value));
    }
}

/// An error with its causes.
fn chain(out: &mut Escaped<'_>, error: &(dyn Error + 'static)) -> fmt::Result {
    write!(out, "{error}")?;
    let mut cause = error.source();
    while let Some(error) = cause {
        write!(out, ": {error}")?;
        cause = error.source();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{
        io,
        sync::{Arc, Mutex},
    };

    use serde_json::Value;
    use tracing_subscriber::{Registry, fmt, layer::SubscriberExt};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged<E>(format: E, say: impl FnOnce()) -> String
    where
        E: FormatEvent<Registry, fmt::format::DefaultFields> + Send + Sync + 'static,
    {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer =
            fmt::layer().with_ansi(false).with_writer(move || writer.clone()).event_format(format);
        tracing::subscriber::with_default(Registry::default().with(layer), say);
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_json_line_has_time_level_message_and_the_fields_beside_them() {
        let line = logged(JsonLine, || {
            let rule: Option<&str> = None;
            tracing::warn!(status = 502_u16, path = "/a", took = 1.5, ok = false, rule, "refused");
        });
        let object: Value = serde_json::from_str(&line).unwrap();
        let keys: Vec<_> = object.as_object().unwrap().keys().map(String::as_str).collect();
        let mut wanted = ["level", "message", "ok", "path", "status", "time", "took"];
        wanted.sort_unstable();
        assert_eq!(keys, wanted);
        assert_eq!(object["level"], "warn");
        assert_eq!(object["message"], "refused");
        assert_eq!(object["status"], 502);
        assert_eq!(object["took"], 1.5);
        assert_eq!(object["ok"], false);
        let time = object["time"].as_str().unwrap();
        assert!(time.contains('T') && time.ends_with('Z'), "{time}");
    }

    #[test]
    fn a_stranger_can_forge_neither_a_line_nor_a_key() {
        let path = "/x\n{\"level\":\"error\"}\u{1b}[2J\",\"decision\":\"allow";
        let line = logged(JsonLine, || tracing::info!(%path, level = "fatal", "request"));
        assert_eq!(line.lines().count(), 1);
        let object: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(object["path"], path);
        assert_eq!(object["level"], "info");
        assert!(object.get("decision").is_none());
        assert!(!line.contains('\u{1b}'));
        let text = logged(TextLine, || tracing::info!(%path, "request"));
        assert_eq!(text.lines().count(), 1);
        assert!(!text.contains('\u{1b}'));
    }

    #[test]
    fn an_error_is_logged_with_its_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] io::Error);
        let error = Outer(io::Error::other("inner"));
        let error: &(dyn Error + 'static) = &error;
        let line = logged(JsonLine, || tracing::error!(error, "failed"));
        let object: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(object["error"], "outer: inner");
        let text = logged(TextLine, || tracing::error!(error, "failed"));
        assert!(text.contains("error failed error=outer: inner"), "{text}");
    }
}
