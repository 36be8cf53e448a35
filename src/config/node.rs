//! Values as one source gave them, each with the place that set it. A [`Layer`] is what one source
//! says; figment merges the layers.

use std::collections::BTreeMap;

use figment::{
    Metadata, Profile, Provider,
    value::{Dict, Map, Value},
};

use super::problem::Place;

/// What one source says. Secrets are not in it: they never meet a general deserializer, whose
/// errors quote values.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) name: &'static str,
    pub(super) root: Node,
}

/// A value and who set it.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) content: Content,
}

/// A value, as far as every field's own type can read it.
#[derive(Debug)]
pub(super) enum Content {
    Text(String),
    Boolean(bool),
    Integer(i64),
    /// Entries that were found wrong are taken out; the others keep their index for messages.
    List(Vec<Option<Node>>),
    Table(BTreeMap<String, Node>),
}

impl Layer {
    /// An empty one.
    pub(super) fn new(name: &'static str) -> Self {
        Self { name, root: Node::table(Place::Nowhere) }
    }

    /// Sets one key by its path; tables on the way are made.
    pub(super) fn set(&mut self, path: &[&str], node: Node) {
        let Some((last, tables)) = path.split_last() else { return };
        let mut table = &mut self.root;
        for name in tables {
            let Content::Table(entries) = &mut table.content else { return };
            table =
                entries.entry((*name).to_owned()).or_insert_with(|| Node::table(Place::Nowhere));
        }
        if let Content::Table(entries) = &mut table.content {
            entries.insert((*last).to_owned(), node);
        }
    }

    /// The node at a path of keys.
    pub(super) fn find(&self, path: &[&str]) -> Option<&Node> {
        path.iter().try_fold(&self.root, |node, name| node.child(name))
    }

    /// Takes out what stands at a path of keys, so that another source or the default speaks.
    pub(super) fn remove(&mut self, path: &[&str]) -> Option<Node> {
        let (last, tables) = path.split_last()?;
        let table =
            tables.iter().try_fold(&mut self.root, |node, name| match &mut node.content {
                Content::Table(entries) => entries.get_mut(*name),
                _ => None,
            })?;
        match &mut table.content {
            Content::Table(entries) => entries.remove(*last),
            _ => None,
        }
    }
}

impl Node {
    fn table(place: Place) -> Self {
        Self { place, content: Content::Table(BTreeMap::new()) }
    }

    /// The entry of a table, or of a list by its index.
    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        match &self.content {
            Content::Table(entries) => entries.get(name),
            Content::List(items) => items.get(name.parse::<usize>().ok()?)?.as_ref(),
            _ => None,
        }
    }

    fn to_value(&self) -> Value {
        match &self.content {
            Content::Text(text) => Value::from(text.as_str()),
            Content::Boolean(value) => Value::from(*value),
            Content::Integer(value) => Value::from(*value),
            Content::List(items) => {
                items.iter().flatten().map(Self::to_value).collect::<Vec<_>>().into()
            }
            Content::Table(entries) => Value::from(dict(entries)),
        }
    }
}

fn dict(entries: &BTreeMap<String, Node>) -> Dict {
    entries.iter().map(|(name, node)| (name.clone(), node.to_value())).collect()
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name)
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let dict = match &self.root.content {
            Content::Table(entries) => dict(entries),
            _ => Dict::new(),
        };
        Ok(Profile::Default.collect(dict))
    }
}
