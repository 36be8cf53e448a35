//! The note that `inject` leaves in an annotation, so that `uninject` gives back what was there.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{
    flaw::{Flaw, Reason},
    tree::Node,
};

/// The annotation that holds the note.
pub(super) const INJECTED: &str = "vestibule/injected";
/// What the annotation says on an object that is ours as a whole.
pub(super) const WHOLE: &str = "whole";
/// Read by later releases, which may write another one.
const FORMAT: u8 = 1;

/// What was done to one object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    format: u8,
    /// The app's port, for Services that are injected later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// What was put in.
    pub added: Vec<Path>,
    /// What had to be made to hold it: absent before, or empty and written in this way.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub made: BTreeMap<Path, Option<String>>,
    /// What was replaced, as it was written.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub was: BTreeMap<Path, String>,
}

impl Record {
    pub(super) fn new(port: Option<u16>) -> Self {
        Self { format: FORMAT, port, ..Self::default() }
    }

    /// Whether nothing was done.
    pub(super) fn is_blank(&self) -> bool {
        self.added.is_empty() && self.was.is_empty()
    }

    /// As the annotation's value.
    pub(super) fn to_text(&self) -> String {
        // Maps of strings cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// The record of an object with `metadata`, if it has one. `WHOLE` objects have none.
    pub(super) fn of(object: &Node) -> Result<Option<Self>, Flaw> {
        let Some(annotations) = object.at(&["metadata", "annotations"])? else { return Ok(None) };
        let Some(note) = annotations.get(INJECTED)? else { return Ok(None) };
        let text = note.text()?;
        if text == WHOLE {
            return Ok(None);
        }
        match serde_json::from_str::<Self>(text) {
            Ok(record) if record.format == FORMAT => Ok(Some(record)),
            _ => Err(note.flaw(Reason::Record)),
        }
    }
}

/// Where something stands in an object: keys, and for items of lists their `name` or number.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Path(Vec<String>);

impl Path {
    pub(super) fn new<const N: usize>(steps: [&str; N]) -> Self {
        Self(steps.into_iter().map(str::to_owned).collect())
    }

    pub(super) fn join(&self, step: &str) -> Self {
        let mut steps = self.0.clone();
        steps.push(step.to_owned());
        Self(steps)
    }

    /// The place above and the last step.
    pub(super) fn split(&self) -> Option<(Self, &str)> {
        let (last, above) = self.0.split_last()?;
        Some((Self(above.to_vec()), last))
    }

    pub(super) fn depth(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_below(&self, other: &Self) -> bool {
        self.0.starts_with(&other.0)
    }

    /// What stands there; `null` counts as something. On the way nothing may be repeated by an
    /// alias elsewhere.
    pub(super) fn find<'a>(&self, object: &'a Node) -> Result<Option<&'a Node>, Flaw> {
        let mut node = object.changeable()?;
        for step in &self.0 {
            let Some(index) = position(node, step)? else { return Ok(None) };
            node = match child(node, index) {
                Some(child) => child.changeable()?,
                None => return Ok(None),
            };
        }
        Ok(Some(node))
    }

    /// Which child of the place above it is.
    pub(super) fn position(&self, object: &Node) -> Result<Option<(Self, usize)>, Flaw> {
        let Some((above, last)) = self.split() else { return Ok(None) };
        let Some(node) = above.find(object)? else { return Ok(None) };
        Ok(position(node, last)?.map(|index| (above, index)))
    }
}

/// How the item `index` of a list is called in a [`Path`].
pub(super) fn step_of(item: &Node, index: usize) -> Result<String, Flaw> {
    let name = match item.entries() {
        Ok(_) => item.text_of("name")?,
        Err(_) => None,
    };
    Ok(name.map_or_else(|| index.to_string(), str::to_owned))
}

fn position(node: &Node, step: &str) -> Result<Option<usize>, Flaw> {
    if let Ok(items) = node.items() {
        for (index, item) in items.iter().enumerate() {
            if step_of(item, index)? == step {
                return Ok(Some(index));
            }
        }
        return Ok(None);
    }
    // Refuses what `entry` refuses: merge keys and keys that stand twice.
    node.entry(step)?;
    let entries = node.entries()?;
    Ok(entries.iter().position(|entry| entry.key.text().is_ok_and(|key| key == step)))
}

fn child(node: &Node, index: usize) -> Option<&Node> {
    match node.items() {
        Ok(items) => items.get(index),
        Err(_) => node.entries().ok()?.get(index).map(|entry| &entry.value),
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The escapes of JSON Pointer (RFC 6901 §3).
        let steps = self.0.iter().map(|step| step.replace('~', "~0").replace('/', "~1"));
        f.write_str(&steps.collect::<Vec<_>>().join("/"))
    }
}

impl From<&str> for Path {
    fn from(text: &str) -> Self {
        Self(text.split('/').map(|step| step.replace("~1", "/").replace("~0", "~")).collect())
    }
}

impl Serialize for Path {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Path {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|text| Self::from(text.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::tree::read;

    #[test]
    fn a_record_survives_its_text() {
        let mut record = Record::new(Some(8080));
        record.added.push(Path::new(["metadata", "annotations", "a/b~c"]));
        record.made.insert(Path::new(["spec", "volumes"]), Some("[]".to_owned()));
        record.was.insert(Path::new(["spec", "x"]), "'y'".to_owned());
        let text = record.to_text();
        assert!(text.contains("metadata/annotations/a~1b~0c"), "{text}");
        assert_eq!(serde_json::from_str::<Record>(&text).unwrap(), record);
    }

    #[test]
    fn a_path_finds_items_by_name_else_by_number() {
        let text = "c:\n- name: app\n  p: [{name: http, n: 1}, {n: 2}]\nd: &x {e: 1}\nf: *x\n";
        let root = read(text).unwrap().documents.remove(0).root.unwrap();
        let found = |path: &str| Path::from(path).find(&root).unwrap().map(|node| node.text());
        assert_eq!(found("c/app/p/http/n"), Some(Ok("1")));
        assert_eq!(found("c/app/p/1/n"), Some(Ok("2")));
        assert_eq!(found("c/other/p"), None);
        assert_eq!(Path::from("d/e").find(&root).unwrap_err().reason, Reason::Anchor);
    }

    #[test]
    fn a_note_that_is_not_ours_is_refused() {
        let note = |value: &str| {
            let text = format!("metadata: {{annotations: {{vestibule/injected: {value}}}}}\n");
            let mut stream = read(&text).unwrap();
            Record::of(stream.documents.remove(0).root.as_ref().unwrap())
        };
        assert_eq!(note("whole").unwrap(), None);
        assert_eq!(note("'{\"format\":1,\"added\":[]}'").unwrap(), Some(Record::new(None)));
        for wrong in ["yes", "'{\"format\":2,\"added\":[]}'", "'{\"added\":[]}'"] {
            assert_eq!(note(wrong).unwrap_err().reason, Reason::Record, "{wrong}");
        }
    }
}
