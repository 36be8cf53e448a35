//! What we insert, before it is text: a small tree, and the ways to write it down.

use std::fmt::Write as _;

/// A value of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A text.
    Text(String),
    /// A whole number.
    Number(u32),
    /// True or false.
    Bool(bool),
    /// A list.
    List(Vec<Self>),
    /// Keys and values, in this order.
    Map(Vec<(String, Self)>),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(number)
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Number(number.into())
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl<V: Into<Self>> FromIterator<V> for Value {
    fn from_iter<I: IntoIterator<Item = V>>(items: I) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

/// A mapping in one expression.
pub(super) fn map<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Map(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

/// How a document lays out its blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockStyle {
    /// Columns from a key to the keys below it.
    pub step: usize,
    /// Columns from a key to the dashes below it.
    pub dash: usize,
    pub newline: &'static str,
}

impl Default for BlockStyle {
    fn default() -> Self {
        Self { step: 2, dash: 0, newline: "\n" }
    }
}

/// How JSON, or a flow collection of YAML, is laid out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FlowStyle {
    /// `{"a":1}`
    Compact,
    /// `{"a": 1}`
    Spaced,
    /// One entry a line.
    Pretty {
        /// What stands in front of the entries of the collection that is written.
        pad: String,
        /// What each level adds.
        unit: String,
        newline: &'static str,
    },
}

impl Value {
    /// As the lines of a block at column `column`, the last line end included.
    pub(super) fn block(&self, column: usize, style: BlockStyle) -> String {
        let mut out = String::new();
        self.write_block(&mut out, column, style, false);
        out
    }

    /// As one item of a block sequence whose dash stands at `column`.
    pub(super) fn item(&self, column: usize, style: BlockStyle) -> String {
        let mut out = format!("{:column$}- ", "");
        self.write_block(&mut out, column + 2, style, true);
        out
    }

    fn write_block(&self, out: &mut String, column: usize, style: BlockStyle, mut begun: bool) {
        let mut pad = |out: &mut String| {
            if !std::mem::take(&mut begun) {
                let _ = write!(out, "{:column$}", "");
            }
        };
        match self {
            Self::Map(entries) if !entries.is_empty() => {
                for (key, value) in entries {
                    pad(out);
                    scalar(out, key);
                    out.push(':');
                    value.write_below(out, column, style);
                }
            }
            Self::List(items) if !items.is_empty() => {
                for item in items {
                    pad(out);
                    out.push_str("- ");
                    item.write_block(out, column + 2, style, true);
                }
            }
            leaf => {
                pad(out);
                leaf.write_leaf(out);
                out.push_str(style.newline);
            }
        }
    }

    /// Behind a key and its colon.
    fn write_below(&self, out: &mut String, column: usize, style: BlockStyle) {
        let below = match self {
            Self::Map(entries) if !entries.is_empty() => column + style.step,
            Self::List(items) if !items.is_empty() => column + style.dash,
            leaf => {
                out.push(' ');
                leaf.write_leaf(out);
                out.push_str(style.newline);
                return;
            }
        };
        out.push_str(style.newline);
        self.write_block(out, below, style, false);
    }

    fn write_leaf(&self, out: &mut String) {
        match self {
            Self::Text(text) => scalar(out, text),
            other => other.write_flow(out, &FlowStyle::Spaced),
        }
    }

    /// As one value, without quotes where it needs none.
    pub(super) fn bare(&self) -> String {
        let mut out = String::new();
        self.write_leaf(&mut out);
        out
    }

    /// As JSON.
    pub(super) fn flow(&self, style: &FlowStyle) -> String {
        let mut out = String::new();
        self.write_flow(&mut out, style);
        out
    }

    /// A key and its value as JSON.
    pub(super) fn flow_entry(&self, key: &str, style: &FlowStyle) -> String {
        let mut out = String::new();
        quoted(&mut out, key);
        out.push_str(if *style == FlowStyle::Compact { ":" } else { ": " });
        self.write_flow(&mut out, style);
        out
    }

    fn write_flow(&self, out: &mut String, style: &FlowStyle) {
        match self {
            Self::Text(text) => quoted(out, text),
            Self::Number(number) => drop(write!(out, "{number}")),
            Self::Bool(truth) => drop(write!(out, "{truth}")),
            Self::List(items) => {
                let below = style.below();
                let written = items.iter().map(|item| item.flow(&below));
                enclose(out, '[', written, ']', style);
            }
            Self::Map(entries) => {
                let below = style.below();
                let written = entries.iter().map(|(key, value)| value.flow_entry(key, &below));
                enclose(out, '{', written, '}', style);
            }
        }
    }
}

impl FlowStyle {
    fn below(&self) -> Self {
        match self {
            Self::Pretty { pad, unit, newline } => {
                Self::Pretty { pad: format!("{pad}{unit}"), unit: unit.clone(), newline }
            }
            other => other.clone(),
        }
    }
}

fn enclose(
    out: &mut String,
    open: char,
    items: impl Iterator<Item = String>,
    close: char,
    style: &FlowStyle,
) {
    let items: Vec<String> = items.collect();
    out.push(open);
    match style {
        FlowStyle::Pretty { pad, unit, newline } if !items.is_empty() => {
            let between = format!(",{newline}{pad}{unit}");
            let _ = write!(out, "{newline}{pad}{unit}{}{newline}{pad}", items.join(&between));
        }
        FlowStyle::Compact => out.push_str(&items.join(",")),
        _ => out.push_str(&items.join(", ")),
    }
    out.push(close);
}

/// A text as YAML: bare where no reader could take it for anything else, else quoted.
fn scalar(out: &mut String, text: &str) {
    let starts_well = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let is_harmless =
        text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./@".contains(c)) || image_like(text);
    let lower = text.to_ascii_lowercase();
    let is_word = matches!(
        lower.as_str(),
        "true" | "false" | "yes" | "no" | "on" | "off" | "y" | "n" | "null"
    );
    if (starts_well && is_harmless && !is_word) || is_quantity(text) {
        out.push_str(text);
    } else if text.contains('"') && text.chars().all(|c| (' '..='~').contains(&c) && c != '\'') {
        // The record is JSON: single quotes leave it legible.
        let _ = write!(out, "'{text}'");
    } else {
        quoted(out, text);
    }
}

/// `10m`, `128Mi`, `15s`: digits that no reader takes for a number, because a unit follows.
fn is_quantity(text: &str) -> bool {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    unit.len() < text.len() && matches!(unit, "m" | "Ki" | "Mi" | "Gi" | "s")
}

/// `registry/name:tag@sha256:…`: a colon inside a word is no key.
fn image_like(text: &str) -> bool {
    text.chars().all(|c| c.is_ascii_alphanumeric() || "-_./@:".contains(c)) && !text.ends_with(':')
}

/// A text as JSON writes it, which YAML reads alike.
fn quoted(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if (c as u32) < 0x20 || c == '\u{7f}' || ('\u{80}'..='\u{9f}').contains(&c) => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            // YAML 1.1 takes them for line ends.
            '\u{2028}' | '\u{2029}' | '\u{feff}' => drop(write!(out, "\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Value {
        map([
            ("name", "a".into()),
            ("args", ["run", "--x=1s"].into_iter().collect()),
            ("none", Value::List(Vec::new())),
            ("list", Value::List(vec![map([("x", 1_u16.into()), ("t", "true".into())])])),
        ])
    }

    #[test]
    fn blocks_follow_the_documents_own_layout() {
        assert_eq!(
            sample().block(2, BlockStyle::default()),
            "  name: a\n  args:\n  - run\n  - \"--x=1s\"\n  none: []\n  list:\n  - x: 1\n    t: \"true\"\n"
        );
        let style = BlockStyle { step: 4, dash: 2, newline: "\r\n" };
        assert_eq!(
            map([("a", sample())]).item(1, style),
            " - a:\r\n       name: a\r\n       args:\r\n         - run\r\n         - \"--x=1s\"\r\n       none: []\r\n       list:\r\n         - x: 1\r\n           t: \"true\"\r\n"
        );
    }

    #[test]
    fn json_comes_in_three_layouts() {
        let value = map([("a", Value::List(vec![true.into(), "é\"\n".into()]))]);
        assert_eq!(value.flow(&FlowStyle::Compact), r#"{"a":[true,"é\"\u000a"]}"#);
        assert_eq!(value.flow(&FlowStyle::Spaced), r#"{"a": [true, "é\"\u000a"]}"#);
        let pretty = FlowStyle::Pretty { pad: " ".into(), unit: "\t".into(), newline: "\n" };
        assert_eq!(
            value.flow(&pretty),
            "{\n \t\"a\": [\n \t\ttrue,\n \t\t\"é\\\"\\u000a\"\n \t]\n }"
        );
    }

    #[test]
    fn a_text_is_quoted_where_a_reader_could_take_it_for_something_else() {
        let written = |text: &str| {
            let mut out = String::new();
            scalar(&mut out, text);
            out
        };
        for bare in ["vestibule", "/livez", "example.com/x:0.1@sha256:0a", "10m"] {
            assert_eq!(written(bare), bare);
        }
        for text in [
            "",
            "no",
            "1",
            "1e3",
            "0x1",
            "Mi:",
            "0.0.0.0:4191",
            "a: b",
            "a #b",
            "x:",
            "é",
            "-a",
            "*a",
        ] {
            assert_eq!(written(text), format!("\"{text}\""));
        }
        assert_eq!(written("{\"a\":1}"), "'{\"a\":1}'");
    }
}
