//! From TOML to [`Node`]s by the [`Shape`] of the configuration: unknown keys and wrong kinds of
//! value are found here, all in one run, and secrets are set aside.

use std::{collections::BTreeMap, ops::Range};

use toml_edit::{Item, TableLike, Value};

use super::{
    node::{Content, Node},
    problem::{Place, Problem, nearest},
    schema::Shape,
};
use crate::base::secret::SecretString;

/// What reading found beside plain values.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) problems: Vec<Problem>,
    pub(super) secrets: Vec<FoundSecret>,
    /// Byte ranges of the file that may hold a secret.
    pub(super) hidden: Vec<Range<usize>>,
    /// Known keys that somebody meant when they wrote an unknown one.
    pub(super) meant: Vec<String>,
}

/// A secret on its way round the general deserializer.
#[derive(Debug)]
pub(super) struct FoundSecret {
    /// The key, without an index where it stands in a list.
    pub(super) key: String,
    pub(super) text: SecretString,
    pub(super) place: Place,
}

/// One reading of one source.
pub(super) struct Reading<'a> {
    shape: &'a Shape,
    /// The environment variable that is read; `None` for the file.
    variable: Option<&'a str>,
    findings: &'a mut Findings,
}

impl<'a> Reading<'a> {
    pub(super) fn of_file(shape: &'a Shape, findings: &'a mut Findings) -> Self {
        Self { shape, variable: None, findings }
    }

    pub(super) fn of_variable(name: &'a str, shape: &'a Shape, findings: &'a mut Findings) -> Self {
        Self { shape, variable: Some(name), findings }
    }

    /// Reads a whole document.
    pub(super) fn document(&mut self, table: &dyn TableLike) -> Node {
        let entries = match self.shape {
            Shape::Section(known) => self.section(table, known, ""),
            _ => BTreeMap::new(),
        };
        Node { place: Place::Nowhere, content: Content::Table(entries) }
    }

    /// Reads one value of the kind that `shape` asks for. `None`: a problem was noted, or the
    /// value is a secret and was set aside.
    pub(super) fn item(&mut self, item: &Item, shape: &Shape, key: &str) -> Option<Node> {
        if shape.is_secret() {
            self.hide(item);
        }
        let place = self.place(item.span());
        let content = match (shape, item) {
            (Shape::Text { .. }, Item::Value(Value::String(text))) => {
                return self.text(key, text.value(), place);
            }
            (Shape::Secret, Item::Value(Value::String(text))) => {
                self.secret(key, text.value(), place);
                return None;
            }
            (Shape::Boolean, Item::Value(Value::Boolean(value))) => {
                Content::Boolean(*value.value())
            }
            (Shape::Integer, Item::Value(Value::Integer(value))) => {
                Content::Integer(*value.value())
            }
            (Shape::List(inner), Item::Value(Value::Array(array))) => {
                let items = array.iter().enumerate().map(|(index, value)| {
                    let key = format!("{key}[{index}]");
                    self.item(&Item::Value(value.clone()), inner, &key)
                });
                Content::List(items.collect())
            }
            (Shape::List(inner), Item::ArrayOfTables(tables)) => {
                let items = tables.iter().enumerate().map(|(index, table)| {
                    let key = format!("{key}[{index}]");
                    self.item(&Item::Table(table.clone()), inner, &key)
                });
                Content::List(items.collect())
            }
            (Shape::Map(inner), item) if item.is_table_like() => {
                Content::Table(self.entries(item, |_| Some(inner), key))
            }
            (Shape::Section(known), item) if item.is_table_like() => {
                Content::Table(self.entries(item, |name| known.get(name), key))
            }
            (shape, item) => {
                if shape.holds_secret() {
                    self.hide(item);
                }
                let message = format!("expected {}", shape.expectation(item.is_table_like()));
                self.note(key, place, message, None);
                return None;
            }
        };
        Some(Node { place, content })
    }

    /// Text as a field's own type reads it. Nothing at all is never meant: it is what an unset
    /// variable of a template leaves behind.
    pub(super) fn text(&mut self, key: &str, text: &str, place: Place) -> Option<Node> {
        if let Place::File(span) = &place
            && text.contains("://")
            && text.contains('@')
        {
            // No URL of ours has a user, but whoever writes one has written a password, too.
            self.findings.hidden.push(span.clone());
        }
        if text.is_empty() {
            let hint = "leave the key out to get its default".to_owned();
            self.note(key, place, "must not be empty".to_owned(), Some(hint));
            return None;
        }
        Some(Node { place, content: Content::Text(text.to_owned()) })
    }

    /// Sets a secret aside.
    pub(super) fn secret(&mut self, key: &str, text: &str, place: Place) {
        if text.trim().is_empty() {
            self.note(key, place, "must not be empty".to_owned(), None);
            return;
        }
        let key = key.split('[').next().unwrap_or(key).to_owned();
        self.findings.secrets.push(FoundSecret { key, text: text.to_owned().into(), place });
    }

    /// Notes a problem.
    pub(super) fn note(&mut self, key: &str, place: Place, message: String, hint: Option<String>) {
        self.findings.problems.push(Problem { key: key.to_owned(), place, message, hint });
    }

    fn section(
        &mut self,
        table: &dyn TableLike,
        known: &BTreeMap<String, Shape>,
        path: &str,
    ) -> BTreeMap<String, Node> {
        self.table(table, |name| known.get(name), path)
    }

    fn entries<'s>(
        &mut self,
        item: &Item,
        shape_of: impl Fn(&str) -> Option<&'s Shape>,
        path: &str,
    ) -> BTreeMap<String, Node> {
        match item.as_table_like() {
            Some(table) => self.table(table, shape_of, path),
            None => BTreeMap::new(),
        }
    }

    fn table<'s>(
        &mut self,
        table: &dyn TableLike,
        shape_of: impl Fn(&str) -> Option<&'s Shape>,
        path: &str,
    ) -> BTreeMap<String, Node> {
        let mut entries = BTreeMap::new();
        for (name, item) in table.iter() {
            let key = join(path, name);
            if let Some(shape) = shape_of(name) {
                if let Some(node) = self.item(item, shape, &key) {
                    entries.insert(name.to_owned(), node);
                }
            } else {
                // Nobody knows what it is, so it may be a secret under a misspelt name.
                self.hide(item);
                let place = self.place(table.key(name).and_then(toml_edit::Key::span));
                let hint = self.meant(&key, name);
                self.note(&key, place, "unknown key".to_owned(), hint);
            }
        }
        entries
    }

    /// Which known key was meant by an unknown one.
    fn meant(&mut self, key: &str, name: &str) -> Option<String> {
        let paths = self.shape.paths();
        // Lists of tables have no index in the known paths.
        let plain = without_indices(key);
        let elsewhere = paths.iter().find(|path| path.rsplit('.').next() == Some(name));
        let nearest = elsewhere.map(String::as_str).or_else(|| {
            nearest(&plain, sections(&paths).chain(paths.iter().map(String::as_str)))
        })?;
        self.findings.meant.push(nearest.to_owned());
        Some(format!("the nearest known key is {nearest}"))
    }

    fn place(&self, span: Option<Range<usize>>) -> Place {
        match (self.variable, span) {
            (Some(name), _) => Place::Variable(name.to_owned()),
            (None, Some(span)) => Place::File(span),
            (None, None) => Place::Nowhere,
        }
    }

    fn hide(&mut self, item: &Item) {
        if let Some(tables) = item.as_array_of_tables() {
            for table in tables {
                self.hide(&Item::Table(table.clone()));
            }
        } else if let Some(table) = item.as_table() {
            for (_, item) in table {
                self.hide(item);
            }
        } else if self.variable.is_none() {
            self.findings.hidden.extend(item.span());
        }
    }
}

/// `[entra]` beside `entra.tenant`: a misspelt section means the section.
fn sections(paths: &[String]) -> impl Iterator<Item = &str> {
    paths.iter().filter_map(|path| path.rsplit_once('.').map(|(section, _)| section))
}

fn without_indices(key: &str) -> String {
    let mut plain = String::with_capacity(key.len());
    let mut rest = key;
    while let Some((before, after)) = rest.split_once('[') {
        plain.push_str(before);
        rest = after.split_once(']').map_or("", |(_, behind)| behind);
    }
    plain.push_str(rest);
    plain
}

/// A dotted path as TOML would write it.
pub(super) fn join(path: &str, name: &str) -> String {
    let bare = !name.is_empty()
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    let dot = if path.is_empty() { "" } else { "." };
    if bare { format!("{path}{dot}{name}") } else { format!("{path}{dot}{name:?}") }
}

impl Shape {
    /// Whether the value itself is a secret, or a list or table of secrets.
    pub(super) fn is_secret(&self) -> bool {
        match self {
            Self::Secret => true,
            Self::List(inner) | Self::Map(inner) => inner.is_secret(),
            Self::Text { .. } | Self::Boolean | Self::Integer | Self::Section(_) => false,
        }
    }

    /// Whether a secret may stand anywhere below.
    fn holds_secret(&self) -> bool {
        match self {
            Self::Section(known) => known.values().any(Self::holds_secret),
            Self::List(inner) | Self::Map(inner) => inner.holds_secret(),
            Self::Secret => true,
            Self::Text { .. } | Self::Boolean | Self::Integer => false,
        }
    }

    /// What a value of this kind looks like.
    pub(super) fn expectation(&self, found_table: bool) -> String {
        match self {
            Self::Text { example: Some(example) } if !example.is_empty() => {
                format!("text in quotes, such as {example:?}")
            }
            Self::Text { .. } | Self::Secret => "text in quotes".to_owned(),
            Self::Boolean => "true or false, without quotes".to_owned(),
            Self::Integer => "a whole number, without quotes".to_owned(),
            Self::List(inner) if matches!(**inner, Self::Section(_)) && found_table => {
                "a list of tables: write the name in double brackets, [[…]]".to_owned()
            }
            Self::List(inner) => match **inner {
                Self::Section(_) => "a list of tables, such as [{ … }]".to_owned(),
                _ => "a list, such as [\"…\"]".to_owned(),
            },
            Self::Map(_) => "a table, such as { \"X-User\" = \"preferred_username\" }".to_owned(),
            Self::Section(_) => "a section with keys of its own".to_owned(),
        }
    }
}

impl Findings {
    /// Adds what another reading found.
    pub(super) fn append(&mut self, other: Self) {
        self.problems.extend(other.problems);
        self.secrets.extend(other.secrets);
        self.hidden.extend(other.hidden);
        self.meant.extend(other.meant);
    }
}
