//! YAML as a tree that knows where everything stands. JSON is YAML, so it comes for nothing.
//!
//! The tree is for reading; changes are made to the text (see `edit`), so that what is not ours
//! keeps its comments, its quotes and its odd indentation.

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use granit_parser::{Event, Parser, ScalarStyle, Span, StructureStyle, Tag};

use super::flaw::{Flaw, Reason};

/// Deeper than any manifest; a bound on recursion for documents that mean harm.
const DEEPEST: usize = 100;

/// A file: its documents, in order.
#[derive(Debug)]
pub(super) struct Stream {
    pub documents: Vec<Document>,
}

/// One document of a file.
#[derive(Debug)]
pub(super) struct Document {
    /// Where it begins: at its `---`, or at its first byte.
    pub start: usize,
    /// Whether there is a `---`.
    pub explicit: bool,
    /// Its content; a document may be empty.
    pub root: Option<Node>,
}

/// A value and its place in the text.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub kind: Kind,
    /// The first byte, behind anchor and tag. A block sequence begins at its first item.
    pub start: usize,
    /// Behind the last byte. A block collection ends where its last scalar ends.
    pub end: usize,
    /// Some alias repeats it elsewhere, so that changing it would change two places.
    aliased: bool,
    tagged: bool,
    anchored: bool,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(super) enum Kind {
    Scalar {
        value: String,
        plain: bool,
    },
    Mapping {
        entries: Vec<Entry>,
        flow: bool,
    },
    Sequence {
        items: Vec<Node>,
        flow: bool,
    },
    /// What it repeats, where that is small enough to be read here: a scalar, or a mapping of
    /// scalars such as labels.
    Alias(Option<Rc<Node>>),
}

/// A key and its value.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub key: Node,
    pub value: Node,
}

impl Entry {
    /// Where its text ends; a value that is left out has no text.
    pub(super) fn end(&self) -> usize {
        self.value.end.max(self.key.end)
    }
}

impl Node {
    /// Whether nothing stands here: `null`, `~` or no text at all.
    pub(super) fn is_null(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { value, plain: true }
            if matches!(value.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// Whether it is `null`, `{}` or `[]`.
    pub(super) fn is_empty(&self) -> bool {
        match &self.kind {
            Kind::Mapping { entries, .. } => entries.is_empty(),
            Kind::Sequence { items, .. } => items.is_empty(),
            Kind::Scalar { .. } => self.is_null(),
            Kind::Alias(_) => false,
        }
    }

    /// Whether it carries an anchor or a tag, which stand in front of [`Node::start`].
    pub(super) fn is_decorated(&self) -> bool {
        self.anchored || self.tagged
    }

    /// Whether it can be changed without changing the meaning of anything else.
    pub(super) fn changeable(&self) -> Result<&Self, Flaw> {
        if let Kind::Alias(_) = self.kind {
            return Err(self.flaw(Reason::Alias));
        }
        if self.aliased {
            return Err(self.flaw(Reason::Anchor));
        }
        if self.tagged {
            return Err(self.flaw(Reason::Tag));
        }
        Ok(self)
    }

    /// The entries of a mapping; none of `null`.
    pub(super) fn entries(&self) -> Result<&[Entry], Flaw> {
        match &self.kind {
            Kind::Mapping { entries, .. } => Ok(entries),
            _ if self.is_null() => Ok(&[]),
            Kind::Alias(Some(target)) => target.entries(),
            Kind::Alias(None) => Err(self.flaw(Reason::Alias)),
            _ => Err(self.flaw(Reason::NoMapping)),
        }
    }

    /// The items of a sequence; none of `null`.
    pub(super) fn items(&self) -> Result<&[Self], Flaw> {
        match &self.kind {
            Kind::Sequence { items, .. } => Ok(items),
            _ if self.is_null() => Ok(&[]),
            Kind::Alias(_) => Err(self.flaw(Reason::Alias)),
            _ => Err(self.flaw(Reason::NoSequence)),
        }
    }

    /// The text of a scalar.
    pub(super) fn text(&self) -> Result<&str, Flaw> {
        match &self.kind {
            Kind::Scalar { value, .. } => Ok(value),
            Kind::Alias(Some(target)) => target.text(),
            Kind::Alias(None) => Err(self.flaw(Reason::Alias)),
            _ => Err(self.flaw(Reason::NoText)),
        }
    }

    /// The entry of `key`, which must be there once or not at all.
    pub(super) fn entry(&self, key: &str) -> Result<Option<&Entry>, Flaw> {
        let mut found = None;
        for entry in self.entries()? {
            let Kind::Scalar { value, plain } = &entry.key.kind else { continue };
            if *plain && value == "<<" {
                return Err(entry.key.flaw(Reason::Merge));
            }
            if value == key && found.replace(entry).is_some() {
                return Err(entry.key.flaw(Reason::Twice(key.to_owned())));
            }
        }
        Ok(found)
    }

    /// The value of `key`; nothing where it is absent or `null`.
    pub(super) fn get(&self, key: &str) -> Result<Option<&Self>, Flaw> {
        let value = self.entry(key)?.map(|entry| &entry.value);
        Ok(value.filter(|value| !value.is_null()))
    }

    /// The text of `key`, where it has one.
    pub(super) fn text_of(&self, key: &str) -> Result<Option<&str>, Flaw> {
        self.get(key)?.map(Self::text).transpose()
    }

    /// The value at the end of a chain of keys.
    pub(super) fn at(&self, keys: &[&str]) -> Result<Option<&Self>, Flaw> {
        let mut node = Some(self);
        for key in keys {
            node = match node {
                Some(node) => node.get(key)?,
                None => return Ok(None),
            };
        }
        Ok(node)
    }

    pub(super) fn flaw(&self, reason: Reason) -> Flaw {
        Flaw { at: self.start, reason }
    }
}

/// Reads a file.
pub(super) fn read(text: &str) -> Result<Stream, Flaw> {
    let mut builder = Builder { text, ..Builder::default() };
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| Flaw {
            at: error.marker().byte_offset().unwrap_or(0),
            reason: Reason::NotYaml(error.info()),
        })?;
        builder.take(event, span)?;
    }
    let mut documents = builder.documents;
    for root in documents.iter_mut().filter_map(|document| document.root.as_mut()) {
        mark(root, &builder.aliased);
    }
    Ok(Stream { documents })
}

/// Which anchor a node has is known at once, whether something repeats it only in the end.
fn mark(node: &mut Node, aliased: &BTreeSet<usize>) {
    node.aliased = node.anchored && aliased.contains(&node.start);
    match &mut node.kind {
        Kind::Mapping { entries, .. } => {
            for entry in entries {
                mark(&mut entry.key, aliased);
                mark(&mut entry.value, aliased);
            }
        }
        Kind::Sequence { items, .. } => items.iter_mut().for_each(|item| mark(item, aliased)),
        Kind::Scalar { .. } | Kind::Alias(_) => {}
    }
}

#[derive(Default)]
struct Builder<'a> {
    text: &'a str,
    documents: Vec<Document>,
    /// The collections that are open, and the key that waits for its value in each.
    open: Vec<(Node, Option<Node>)>,
    /// Where the node of each anchor starts, and the node once it is read, if it is small.
    anchors: BTreeMap<usize, (usize, Option<Rc<Node>>)>,
    /// The anchors of the collections that are open.
    pending: Vec<usize>,
    /// The starts of the nodes that an alias repeats.
    aliased: BTreeSet<usize>,
}

impl Builder<'_> {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Flaw> {
        let bytes = span.byte_range().unwrap_or_default();
        match event {
            Event::DocumentStart(explicit, _) => {
                self.documents.push(Document { start: bytes.start, explicit, root: None });
            }
            Event::Scalar(value, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                let is_block = matches!(style, ScalarStyle::Literal | ScalarStyle::Folded);
                let end = if is_block { self.block_end(bytes.end) } else { bytes.end };
                // The parser says `~` for a value that is left out.
                let value = if bytes.is_empty() { String::new() } else { value.into_owned() };
                let kind = Kind::Scalar { value, plain };
                let node = self.node(kind, bytes.start, end, anchor, tag.as_deref());
                self.remember(anchor, &node);
                self.place(node);
            }
            Event::Alias(id) => {
                let target = self.anchors.get(&id);
                self.aliased.extend(target.map(|(start, _)| *start));
                let known = target.and_then(|(_, node)| node.clone());
                let node = self.node(Kind::Alias(known), bytes.start, bytes.end, 0, None);
                self.place(node);
            }
            Event::MappingStart(style, anchor, tag) => {
                let flow = style == StructureStyle::Flow;
                let kind = Kind::Mapping { entries: Vec::new(), flow };
                self.open(kind, bytes.start, anchor, tag.as_deref())?;
            }
            Event::SequenceStart(style, anchor, tag) => {
                let flow = style == StructureStyle::Flow;
                let kind = Kind::Sequence { items: Vec::new(), flow };
                self.open(kind, bytes.start, anchor, tag.as_deref())?;
            }
            Event::MappingEnd | Event::SequenceEnd => {
                if let Some((mut node, _)) = self.open.pop() {
                    node.end = match &node.kind {
                        Kind::Mapping { entries, flow: false } => {
                            entries.last().map_or(node.start, Entry::end)
                        }
                        Kind::Sequence { items, flow: false } => {
                            items.last().map_or(node.start, |item| item.end)
                        }
                        _ => bytes.end,
                    };
                    let anchor = self.pending.pop().unwrap_or(0);
                    self.remember(anchor, &node);
                    self.place(node);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn node(
        &mut self,
        kind: Kind,
        start: usize,
        end: usize,
        anchor: usize,
        tag: Option<&Tag>,
    ) -> Node {
        if anchor != 0 {
            self.anchors.insert(anchor, (start, None));
        }
        Node { kind, start, end, aliased: false, tagged: tag.is_some(), anchored: anchor != 0 }
    }

    fn open(
        &mut self,
        kind: Kind,
        start: usize,
        anchor: usize,
        tag: Option<&Tag>,
    ) -> Result<(), Flaw> {
        if self.open.len() >= DEEPEST {
            return Err(Flaw { at: start, reason: Reason::TooDeep });
        }
        let node = self.node(kind, start, start, anchor, tag);
        self.open.push((node, None));
        self.pending.push(anchor);
        Ok(())
    }

    /// Keeps what an alias may be read as.
    fn remember(&mut self, anchor: usize, node: &Node) {
        let is_scalar = |node: &Node| matches!(node.kind, Kind::Scalar { .. });
        let is_small = match &node.kind {
            Kind::Mapping { entries, .. } => {
                entries.iter().all(|entry| is_scalar(&entry.key) && is_scalar(&entry.value))
            }
            _ => is_scalar(node),
        };
        if let (true, Some((_, known))) = (is_small, self.anchors.get_mut(&anchor)) {
            *known = Some(Rc::new(node.clone()));
        }
    }

    /// Hangs a finished node into the collection that is open, or makes it the document's root.
    fn place(&mut self, node: Node) {
        match self.open.last_mut() {
            Some((Node { kind: Kind::Mapping { entries, .. }, .. }, key)) => match key.take() {
                Some(key) => entries.push(Entry { key, value: node }),
                None => *key = Some(node),
            },
            Some((Node { kind: Kind::Sequence { items, .. }, .. }, _)) => items.push(node),
            _ => {
                if let Some(document) = self.documents.last_mut() {
                    document.root = Some(node);
                }
            }
        }
    }

    /// A block scalar reaches to the next token; its text ends with its last line.
    fn block_end(&self, end: usize) -> usize {
        self.text.get(..end).map_or(end, |text| text.trim_end().len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(text: &str) -> Node {
        read(text).unwrap().documents.remove(0).root.unwrap()
    }

    #[test]
    fn every_node_knows_its_bytes() {
        let text =
            "# é\na: [x, {y: \"z\"}] # c\nb:\n- 'k': |\n    ü\n    v\n\n  w:\nc: plain\n  more\n";
        let root = root(text);
        let said = |keys: &[&str]| {
            let node = root.at(keys).unwrap().unwrap();
            text.get(node.start..node.end).unwrap()
        };
        assert_eq!(said(&["a"]), "[x, {y: \"z\"}]");
        assert_eq!(said(&["b"]), "'k': |\n    ü\n    v\n\n  w");
        assert_eq!(said(&["c"]), "plain\n  more");
        let item = &root.get("b").unwrap().unwrap().items().unwrap()[0];
        let block = item.get("k").unwrap().unwrap();
        assert_eq!(text.get(block.start..block.end), Some("ü\n    v"));
        assert_eq!(block.text().unwrap(), "ü\nv\n");
        assert!(item.entry("w").unwrap().unwrap().value.is_null());
        assert!(item.get("w").unwrap().is_none());
    }

    #[test]
    fn documents_begin_at_their_markers() {
        let stream = read("a: 1\n---\n# c\nb: 2\n...\n---\n").unwrap();
        let starts: Vec<_> = stream.documents.iter().map(|d| (d.start, d.explicit)).collect();
        assert_eq!(starts, [(0, false), (5, true), (22, true)]);
        assert!(stream.documents[2].root.as_ref().is_none_or(Node::is_null));
        assert!(read("").unwrap().documents.is_empty());
    }

    #[test]
    fn json_is_read_with_tabs_slashes_and_surrogates() {
        let root = root("{\n\t\"a\": [1, \"\\/\\ud83d\\ude00\"],\n\t\"b\": {}\n}\n");
        let items = root.get("a").unwrap().unwrap().items().unwrap();
        assert_eq!(items[1].text().unwrap(), "/😀");
        assert!(root.entry("b").unwrap().unwrap().value.is_empty());
    }

    #[test]
    fn what_is_repeated_elsewhere_is_not_changeable() {
        let root = root("a: &x {b: [1]}\nc: *x\nd: &y 2\ne: !!str 3\nf: &z {k: v}\ng: *z\n");
        let value = |key| root.get(key).unwrap().unwrap();
        let may = |key| value(key).changeable().is_ok();
        assert_eq!(["a", "d", "e", "f", "g"].map(may), [false, true, false, false, false]);
        assert_eq!(value("c").entries().unwrap_err().reason, Reason::Alias);
        assert_eq!(value("g").text_of("k"), Ok(Some("v")));
    }

    #[test]
    fn a_key_that_is_not_said_once_is_refused() {
        let twice = root("a: 1\nb: 2\na: 3\n");
        assert_eq!(twice.get("a").unwrap_err(), Flaw { at: 10, reason: Reason::Twice("a".into()) });
        let merged = root("x: &x {}\ny:\n  <<: *x\n  a: 1\n");
        let y = merged.get("y").unwrap().unwrap();
        assert_eq!(y.get("a").unwrap_err().reason, Reason::Merge);
    }

    #[test]
    fn nesting_has_an_end() {
        assert_eq!(
            read(&format!("{}{}", "[".repeat(150), "]".repeat(150))).unwrap_err().reason,
            Reason::TooDeep
        );
        assert!(matches!(read("a: [").unwrap_err().reason, Reason::NotYaml(_)));
    }
}
