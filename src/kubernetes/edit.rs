//! Changes to one object: what is put in, what is replaced, and the [`Record`] of both.

use super::{
    flaw::{Flaw, Reason},
    record::{INJECTED, Path, Record},
    text::{Edit, Text},
    tree::{Kind, Node},
    value::{BlockStyle, FlowStyle, Value},
};

/// The annotations of an object.
const ANNOTATIONS: [&str; 2] = ["metadata", "annotations"];

/// Collects the changes to one object. Nothing is put at the end of anything: what stands before a
/// neighbour can be taken out again without a trace.
#[derive(Debug)]
pub(super) struct Editor<'a> {
    text: Text<'a>,
    /// The object that has `metadata`: a pod template, a Service.
    object: &'a Node,
    block: BlockStyle,
    flow: FlowStyle,
    edits: Vec<Edit>,
    record: Record,
}

impl<'a> Editor<'a> {
    /// An editor of `object`; `root` is its document.
    pub(super) fn new(
        text: Text<'a>,
        root: &Node,
        object: &'a Node,
        port: Option<u16>,
    ) -> Result<Self, Flaw> {
        Ok(Self {
            text,
            object,
            block: block_style(text, object)?,
            flow: flow_style(text, root),
            edits: Vec::new(),
            record: Record::new(port),
        })
    }

    /// Sets keys of the mapping at `path`, which is made if there is none. New keys stand in front
    /// of `before`, if that is there.
    pub(super) fn set(
        &mut self,
        path: &Path,
        entries: Vec<(String, Value)>,
        before: &str,
    ) -> Result<(), Flaw> {
        self.record.added.extend(entries.iter().map(|(key, _)| path.join(key)));
        self.put(path, entries, before)
    }

    /// Puts `item`, which has the name `name`, in front of the list at `path`.
    pub(super) fn prepend(
        &mut self,
        path: &Path,
        name: &str,
        item: Value,
        before: &str,
    ) -> Result<(), Flaw> {
        self.record.added.push(path.join(name));
        match path.find(self.object)? {
            Some(list) if !list.is_empty() => self.prepend_to(list, &item),
            Some(empty) => self.fill(path, empty, &Value::List(vec![item])),
            None => self.make(path, Value::List(vec![item]), before),
        }
    }

    /// Replaces the scalar at `path`, in quotes where that one has them.
    pub(super) fn replace(&mut self, path: Path, value: &Value) -> Result<(), Flaw> {
        let Some(node) = path.find(self.object)? else {
            return Err(self.object.flaw(Reason::Layout));
        };
        node.text()?;
        let raw = self.text.slice(node.start..node.end);
        // The value of a block scalar begins below its header.
        let is_block =
            matches!(node.kind, Kind::Scalar { plain: false, .. }) && !raw.starts_with(['"', '\'']);
        if raw.is_empty() || is_block {
            return Err(node.flaw(Reason::Layout));
        }
        // A colon is a letter in a block, but not to every reader of flow collections.
        let has_colon = matches!(value, Value::Text(text) if text.contains(':'));
        let bare = self.flow == FlowStyle::Spaced && !raw.starts_with('"') && !has_colon;
        let text = if bare { value.bare() } else { value.flow(&FlowStyle::Spaced) };
        self.edits.push(Edit { range: node.start..node.end, text });
        self.record.was.insert(path, raw.to_owned());
        Ok(())
    }

    /// The edits, with the annotation that lets `uninject` take them back and with `more`
    /// annotations; nothing if nothing was changed.
    pub(super) fn finish(mut self, more: &[(String, Value)]) -> Result<Vec<Edit>, Flaw> {
        if self.record.is_blank() {
            return Ok(Vec::new());
        }
        let path = Path::new(ANNOTATIONS);
        self.record.added.extend(more.iter().map(|(key, _)| path.join(key)));
        // What has to be made for the note is part of the note: find out first, write then.
        let note = |record: &Record| {
            let mut entries = vec![(INJECTED.to_owned(), Value::Text(record.to_text()))];
            entries.extend(more.iter().cloned());
            entries
        };
        let (edits, record) = (self.edits.clone(), self.record.clone());
        self.put(&path, note(&self.record), "")?;
        let made = std::mem::replace(&mut self.record, record).made;
        self.record.made = made;
        self.edits = edits;
        let entries = note(&self.record);
        self.put(&path, entries, "")?;
        Ok(self.edits)
    }

    fn put(
        &mut self,
        path: &Path,
        entries: Vec<(String, Value)>,
        before: &str,
    ) -> Result<(), Flaw> {
        match path.find(self.object)? {
            Some(map) if !map.is_empty() => self.set_in(map, &entries, before),
            Some(empty) => self.fill(path, empty, &Value::Map(entries)),
            None => self.make(path, Value::Map(entries), before),
        }
    }

    /// Makes what is not there yet, and all above it that is not.
    fn make(&mut self, path: &Path, value: Value, before: &str) -> Result<(), Flaw> {
        let Some((above, key)) = path.split() else {
            return Err(self.object.flaw(Reason::Layout));
        };
        self.record.made.insert(path.clone(), None);
        let entries = vec![(key.to_owned(), value)];
        match above.find(self.object)? {
            Some(map) if !map.is_empty() => self.set_in(map, &entries, before),
            Some(empty) => self.fill(&above, empty, &Value::Map(entries)),
            None => self.make(&above, Value::Map(entries), before),
        }
    }

    /// Writes a value where `{}`, `[]`, `null` or nothing stands.
    fn fill(&mut self, path: &Path, empty: &Node, value: &Value) -> Result<(), Flaw> {
        if empty.is_decorated() {
            return Err(empty.flaw(Reason::Anchor));
        }
        let raw = self.text.slice(empty.start..empty.end);
        self.record.made.insert(path.clone(), Some(raw.to_owned()));
        let style = self.flow_at(self.text.indentation(empty.start));
        let written = value.flow(&style);
        let edit = if raw.is_empty() {
            // Behind the colon, to which the parser points.
            if self.text.0.as_bytes().get(empty.start) != Some(&b':') {
                return Err(empty.flaw(Reason::Layout));
            }
            Edit::insert(empty.start + 1, format!(" {written}"))
        } else {
            Edit { range: empty.start..empty.end, text: written }
        };
        self.edits.push(edit);
        Ok(())
    }

    fn set_in(
        &mut self,
        map: &Node,
        entries: &[(String, Value)],
        before: &str,
    ) -> Result<(), Flaw> {
        let Kind::Mapping { entries: there, flow } = &map.kind else {
            map.entries()?;
            return Err(map.flaw(Reason::NoMapping));
        };
        let Some(first) = there.first() else { return Err(map.flaw(Reason::Layout)) };
        if *flow {
            let (style, gap) = self.flow_gap(map, &first.key)?;
            let mut text = String::new();
            for (key, value) in entries {
                text.push_str(&value.flow_entry(key, &style));
                text.push(',');
                text.push_str(gap);
            }
            self.edits.push(Edit::insert(first.key.start, text));
            return Ok(());
        }
        let own_line = |at: usize| self.text.begins_line(at);
        let named = there.iter().find(|entry| entry.key.text() == Ok(before));
        let anchor = named
            .filter(|entry| own_line(entry.key.start))
            .or_else(|| there.iter().find(|entry| own_line(entry.key.start)));
        let lines =
            Value::Map(entries.to_vec()).block(self.text.column(first.key.start), self.block);
        let edit = match anchor {
            Some(anchor) => Edit::insert(self.text.above_comments(anchor.key.start), lines),
            None => self.behind(first.end(), &first.value, lines)?,
        };
        self.edits.push(edit);
        Ok(())
    }

    /// Lines behind the only entry of a mapping that shares its line with a dash.
    fn behind(&self, end: usize, value: &Node, lines: String) -> Result<Edit, Flaw> {
        let is_block_text = matches!(value.kind, Kind::Scalar { plain: false, .. })
            && !self.text.slice(value.start..value.end).starts_with(['"', '\'']);
        if is_block_text {
            return Err(value.flaw(Reason::Layout));
        }
        let at = self.text.line_end(end);
        if self.text.slice(0..at).ends_with('\n') {
            return Ok(Edit::insert(at, lines));
        }
        let newline = self.block.newline;
        let last = lines.strip_suffix(newline).unwrap_or(&lines);
        Ok(Edit::insert(at, format!("{newline}{last}")))
    }

    fn prepend_to(&mut self, list: &Node, item: &Value) -> Result<(), Flaw> {
        let Kind::Sequence { items, flow } = &list.kind else {
            list.items()?;
            return Err(list.flaw(Reason::NoSequence));
        };
        let Some(first) = items.first() else { return Err(list.flaw(Reason::Layout)) };
        let edit = if *flow {
            let (style, gap) = self.flow_gap(list, first)?;
            Edit::insert(first.start, format!("{},{gap}", item.flow(&style)))
        } else {
            let dash = self.text.dash(first)?;
            if !self.text.begins_line(dash) {
                return Err(first.flaw(Reason::Layout));
            }
            let lines = item.item(self.text.column(dash), self.block);
            Edit::insert(self.text.above_comments(dash), lines)
        };
        self.edits.push(edit);
        Ok(())
    }

    /// How to write what comes before `first` in a flow collection, and what stands between them.
    fn flow_gap(&self, parent: &Node, first: &Node) -> Result<(FlowStyle, &'a str), Flaw> {
        let gap = self.text.slice(parent.start + 1..first.start);
        let is_blank = gap.trim().is_empty();
        if first.is_decorated() || !(is_blank || gap.trim_start().starts_with('#')) {
            return Err(first.flaw(Reason::Layout));
        }
        if self.flow == FlowStyle::Spaced && (gap.is_empty() || !is_blank) {
            return Ok((self.flow.clone(), " "));
        }
        let pad = if gap.contains('\n') {
            self.text.before(first.start)
        } else {
            self.text.indentation(parent.start)
        };
        Ok((self.flow_at(pad), gap))
    }

    fn flow_at(&self, pad: &str) -> FlowStyle {
        match &self.flow {
            FlowStyle::Pretty { unit, newline, .. } => {
                FlowStyle::Pretty { pad: pad.to_owned(), unit: unit.clone(), newline }
            }
            other => other.clone(),
        }
    }
}

/// Puts an object of ours in front of a list, without a note: it carries its own.
pub(super) fn prepend_whole(
    text: Text<'_>,
    root: &Node,
    list: &Node,
    item: &Value,
) -> Result<Edit, Flaw> {
    let mut editor = Editor::new(text, root, root, None)?;
    editor.prepend_to(list, item)?;
    editor.edits.pop().ok_or_else(|| list.flaw(Reason::Layout))
}

/// How the blocks of an object are laid out; usual where it does not say.
fn block_style(text: Text<'_>, object: &Node) -> Result<BlockStyle, Flaw> {
    let mut style = BlockStyle { newline: text.newline(), ..BlockStyle::default() };
    let Some(spec) = object.entry("spec")? else { return Ok(style) };
    let Kind::Mapping { entries, flow: false } = &spec.value.kind else { return Ok(style) };
    let column = |at: usize| text.column(at);
    if let Some(first) = entries.first() {
        let step = column(first.key.start).checked_sub(column(spec.key.start));
        style.step = step.filter(|step| *step > 0).unwrap_or(style.step);
    }
    for entry in entries {
        let Kind::Sequence { items, flow: false } = &entry.value.kind else { continue };
        let Some(Ok(dash)) = items.first().map(|item| text.dash(item)) else { continue };
        style.dash = column(dash).saturating_sub(column(entry.key.start));
        break;
    }
    Ok(style)
}

/// How the flow collections of a document are laid out: JSON in its own way, YAML on one line.
fn flow_style(text: Text<'_>, root: &Node) -> FlowStyle {
    let Kind::Mapping { entries, flow: true } = &root.kind else { return FlowStyle::Spaced };
    let Some(first) = entries.first() else { return FlowStyle::Spaced };
    let gap = text.slice(root.start + 1..first.key.start);
    let indentation = text.indentation(root.start);
    if let Some((_, pad)) = gap.rsplit_once('\n') {
        let unit = pad.strip_prefix(indentation).unwrap_or(pad).to_owned();
        let newline = text.newline();
        return FlowStyle::Pretty { pad: indentation.to_owned(), unit, newline };
    }
    let body = text.slice(root.start..root.end);
    if body.contains("\": ") { FlowStyle::Spaced } else { FlowStyle::Compact }
}
