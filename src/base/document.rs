//! TOML documents with errors that name file, line and key, and that can draw the line they mean.

use std::{fmt, ops::Range};

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::de::DeserializeOwned;
use toml_edit::{ImDocument, Table, TableLike};
use zeroize::Zeroizing;

/// A parsed TOML document that remembers where everything stands.
pub struct Document {
    name: String,
    /// May hold secrets: wiped when dropped, and never shown without a mask.
    text: Zeroizing<String>,
    table: Table,
}

/// A place in a document; both count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// What is wrong with a document, ready to be shown: `file:line:column: key: what was expected`.
#[derive(Debug, thiserror::Error)]
#[error("{file}:{position}: {}{message}", .key.as_ref().map(|key| format!("{key}: ")).unwrap_or_default())]
pub struct DocumentError {
    /// The document's name, usually a path.
    pub file: String,
    /// Where the problem stands.
    pub position: Position,
    /// The key that holds it, as a dotted path, where there is one.
    pub key: Option<String>,
    /// What was expected.
    pub message: String,
}

/// Reads `text` as `T`; `name` (the file's path) is for the error alone.
///
/// Not for documents that hold secrets: the message of a mistyped value quotes it.
///
/// # Errors
/// The text is not TOML, a key is unknown or a value is not what was expected.
pub fn parse<T: DeserializeOwned>(name: &str, text: &str) -> Result<T, DocumentError> {
    let document = Document::parse(name, text)?;
    toml::from_str(text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        DocumentError {
            file: name.to_owned(),
            position: document.position(start),
            key: document.key_at(start),
            message: one_line(error.message()),
        }
    })
}

impl Document {
    /// Parses `text`; `name` is what errors call it. The error quotes no value.
    ///
    /// # Errors
    /// The text is not TOML.
    pub fn parse(name: &str, text: &str) -> Result<Self, DocumentError> {
        let parsed = ImDocument::parse(text).map_err(|error| DocumentError {
            file: name.to_owned(),
            position: position(text, error.span().map_or(0, |span| span.start)),
            key: None,
            message: format!("not TOML: {}", one_line(error.message())),
        })?;
        let table = parsed.into_table();
        Ok(Self { name: name.to_owned(), text: Zeroizing::new(text.to_owned()), table })
    }

    /// What errors call it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its top-level table.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The line and column of a byte offset.
    pub fn position(&self, offset: usize) -> Position {
        position(&self.text, offset)
    }

    /// The dotted path of the innermost key whose value, or whose own name, holds a byte offset.
    pub fn key_at(&self, offset: usize) -> Option<String> {
        let mut path = Vec::new();
        descend(&self.table, offset, &mut path);
        (!path.is_empty()).then(|| path.join("."))
    }

    /// Draws the line of `span` under a title, with `label` below the marked part. What `hidden`
    /// covers is drawn as asterisks.
    pub fn picture(
        &self,
        renderer: &Renderer,
        title: &str,
        span: Range<usize>,
        label: &str,
        hidden: &[Range<usize>],
    ) -> String {
        let bounds = line_around(&self.text, span.start);
        let line = self.masked(bounds.clone(), hidden);
        let start = span.start.saturating_sub(bounds.start).min(line.len());
        let end = span.end.min(bounds.end).saturating_sub(bounds.start).max(start);
        let marked = AnnotationKind::Primary.span(start..end).label(label);
        let snippet = Snippet::source(line)
            .path(self.name.as_str())
            .line_start(self.position(span.start).line)
            .annotation(marked);
        renderer.render(&[Level::ERROR.primary_title(title).element(snippet)])
    }

    fn masked(&self, line: Range<usize>, hidden: &[Range<usize>]) -> String {
        let mut drawn = String::with_capacity(line.len());
        for (offset, character) in self.text.get(line.clone()).unwrap_or_default().char_indices() {
            if hidden.iter().any(|range| range.contains(&(line.start + offset))) {
                // As many bytes as before, so that spans behind it still fit.
                drawn.extend(std::iter::repeat_n('*', character.len_utf8()));
            } else {
                drawn.push(character);
            }
        }
        drawn
    }
}

impl fmt::Debug for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document").field("name", &self.name).finish_non_exhaustive()
    }
}

fn position(text: &str, offset: usize) -> Position {
    let bounds = line_around(text, offset);
    let before = text.get(..bounds.start).unwrap_or_default();
    let within = text.get(bounds.start..offset).unwrap_or_default();
    Position { line: before.matches('\n').count() + 1, column: within.chars().count() + 1 }
}

/// The byte range of the line that holds `offset`, without its line end.
fn line_around(text: &str, offset: usize) -> Range<usize> {
    let start = text.get(..offset).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
    let rest = text.get(start..).unwrap_or_default();
    let length = rest.find('\n').unwrap_or(rest.len());
    start..start + length
}

fn descend(table: &dyn TableLike, offset: usize, path: &mut Vec<String>) {
    for (name, item) in table.iter() {
        let key = table.key(name).and_then(toml_edit::Key::span);
        let on_key = key.is_some_and(|span| span.contains(&offset));
        let in_value = item.span().is_some_and(|span| span.contains(&offset));
        let depth = path.len();
        path.push(name.to_owned());
        if let Some(table) = item.as_table_like() {
            descend(table, offset, path);
        } else if let Some(tables) = item.as_array_of_tables() {
            for (index, table) in tables.iter().enumerate() {
                path.push(index.to_string());
                let inner = path.len();
                descend(table, offset, path);
                let header = table.span().is_some_and(|span| span.contains(&offset));
                if path.len() > inner || header {
                    return;
                }
                path.pop();
            }
        }
        if path.len() > depth + 1 || on_key || in_value {
            return;
        }
        path.truncate(depth);
    }
}

fn one_line(message: &str) -> String {
    message.trim().lines().map(str::trim).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its errors are read")]
    struct Sample {
        name: String,
        #[serde(default)]
        users: Vec<User>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its errors are read")]
    struct User {
        age: u8,
    }

    fn refusal(text: &str) -> String {
        parse::<Sample>("s.toml", text).unwrap_err().to_string()
    }

    #[test]
    fn an_error_names_file_line_column_and_key() {
        assert_eq!(
            refusal("name = 'x'\n[[users]]\nage = 1\n[[users]]\n age = 'old'\n"),
            "s.toml:5:8: users.1.age: invalid type: string \"old\", expected u8"
        );
        assert_eq!(
            refusal("# é\nname = 'x'\nnmae = 'y'\n"),
            "s.toml:3:1: nmae: unknown field `nmae`, expected `name` or `users`"
        );
    }

    #[test]
    fn what_is_not_toml_is_named_by_its_place() {
        let error = refusal("name = 'x'\nusers = [\n");
        assert!(error.starts_with("s.toml:"), "{error}");
        assert!(error.contains("not TOML"), "{error}");
        let twice = refusal("name = 'x'\nname = 'hunter2'\n");
        assert!(twice.contains("s.toml:2:1: not TOML: duplicate key `name`"), "{twice}");
        assert!(!twice.contains("hunter2"));
    }

    #[test]
    fn a_picture_hides_what_it_must() {
        let text = "a = 1\nkey = \"hünter2\" # note\n";
        let document = Document::parse("p.toml", text).unwrap();
        let value = document.table().get("key").unwrap().span().unwrap();
        let picture = document.picture(
            &Renderer::plain(),
            "key: wrong",
            value.clone(),
            "expected a text",
            &[value],
        );
        assert!(!picture.contains("nter2"), "{picture}");
        assert!(picture.contains("p.toml:2:7"), "{picture}");
        assert!(picture.contains("key = **********"), "{picture}");
        assert!(picture.contains("expected a text"), "{picture}");
    }
}
