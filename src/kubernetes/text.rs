//! A file as lines: where things may be put in and taken out without touching their neighbours.

use std::{collections::BTreeSet, ops::Range};

use super::{
    flaw::{Flaw, Reason},
    tree::{Kind, Node},
};

/// A file's text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text<'a>(pub &'a str);

/// Some bytes and what shall stand there instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Edit {
    pub range: Range<usize>,
    pub text: String,
}

impl Edit {
    pub(super) fn insert(at: usize, text: String) -> Self {
        Self { range: at..at, text }
    }

    pub(super) fn remove(range: Range<usize>) -> Self {
        Self { range, text: String::new() }
    }
}

impl<'a> Text<'a> {
    pub(super) fn slice(self, range: Range<usize>) -> &'a str {
        self.0.get(range).unwrap_or_default()
    }

    /// How this file ends its lines.
    pub(super) fn newline(self) -> &'static str {
        match self.0.find('\n') {
            Some(at) if self.slice(0..at).ends_with('\r') => "\r\n",
            _ => "\n",
        }
    }

    pub(super) fn line_start(self, at: usize) -> usize {
        self.slice(0..at).rfind('\n').map_or(0, |newline| newline + 1)
    }

    /// Behind the line end of the line that holds `at`; the end of the file where it has none.
    pub(super) fn line_end(self, at: usize) -> usize {
        self.0.get(at..).and_then(|rest| rest.find('\n')).map_or(self.0.len(), |n| at + n + 1)
    }

    /// What stands in front of `at` on its line.
    pub(super) fn before(self, at: usize) -> &'a str {
        self.slice(self.line_start(at)..at)
    }

    pub(super) fn column(self, at: usize) -> usize {
        self.before(at).chars().count()
    }

    /// The indentation of the line that holds `at`.
    pub(super) fn indentation(self, at: usize) -> &'a str {
        let start = self.line_start(at);
        let line = self.slice(start..self.line_end(at));
        self.slice(start..start + line.len() - line.trim_start_matches([' ', '\t']).len())
    }

    /// Whether nothing but spaces stands in front of `at` on its line.
    pub(super) fn begins_line(self, at: usize) -> bool {
        self.before(at).bytes().all(|byte| byte == b' ')
    }

    /// The start of the line of `at`, or of the comment lines of the same indentation right above:
    /// they speak about what stands there, and stay with it.
    pub(super) fn above_comments(self, at: usize) -> usize {
        let column = self.column(at);
        let mut start = self.line_start(at);
        while let Some(end) = start.checked_sub(1) {
            let above = self.line_start(end);
            let line = self.slice(above..start);
            let body = line.trim_start_matches(' ');
            if !body.starts_with('#') || line.len() - body.len() != column {
                break;
            }
            start = above;
        }
        start
    }

    /// The dash of the block sequence item that starts at `item`.
    pub(super) fn dash(self, item: &Node) -> Result<usize, Flaw> {
        let is_dash_line = |line: &str| {
            let body = line.trim_start_matches(' ').strip_prefix('-')?;
            let rest = body.trim();
            // An anchor or a tag may stand between.
            let is_bare = rest.starts_with('#')
                || rest.split_whitespace().all(|word| word.starts_with(['&', '!']));
            is_bare.then(|| line.len() - line.trim_start_matches(' ').len())
        };
        let mut start = self.line_start(item.start);
        if let Some(column) = is_dash_line(self.slice(start..item.start)) {
            return Ok(start + column);
        }
        while let Some(end) = start.checked_sub(1) {
            let above = self.line_start(end);
            let line = self.slice(above..start);
            if let Some(column) = is_dash_line(line) {
                return Ok(above + column);
            }
            if !(line.trim().is_empty() || line.trim_start().starts_with('#')) {
                break;
            }
            start = above;
        }
        Err(item.flaw(Reason::Layout))
    }

    /// The lines from the one of `start` to the one that holds the byte in front of `end`.
    fn lines(self, start: usize, end: usize) -> Range<usize> {
        self.line_start(start)..self.line_end(end)
    }

    /// Takes children out of a collection. `gone` are their numbers.
    pub(super) fn remove(self, parent: &Node, gone: &BTreeSet<usize>) -> Result<Vec<Edit>, Flaw> {
        let spans: Vec<Range<usize>> = match &parent.kind {
            Kind::Mapping { entries, .. } => {
                entries.iter().map(|entry| entry.key.start..entry.end()).collect()
            }
            Kind::Sequence { items, .. } => items.iter().map(|item| item.start..item.end).collect(),
            _ => return Err(parent.flaw(Reason::NoMapping)),
        };
        let is_gone = |index: usize| gone.contains(&index);
        match &parent.kind {
            Kind::Mapping { flow: true, .. } | Kind::Sequence { flow: true, .. } => {
                Ok(remove_from_flow(parent, &spans, is_gone))
            }
            Kind::Sequence { items, .. } => {
                let mut edits = Vec::new();
                for (_, item) in items.iter().enumerate().filter(|(index, _)| is_gone(*index)) {
                    let dash = self.dash(item)?;
                    if !self.begins_line(dash) {
                        return Err(item.flaw(Reason::Layout));
                    }
                    edits.push(Edit::remove(self.lines(dash, item.end)));
                }
                Ok(edits)
            }
            _ => {
                let mut edits = Vec::new();
                for (index, span) in spans.iter().enumerate().filter(|(index, _)| is_gone(*index)) {
                    if self.begins_line(span.start) {
                        edits.push(Edit::remove(self.lines(span.start, span.end)));
                    } else if let Some(next) = spans.get(index + 1) {
                        // It shares its line with a dash, where its neighbour moves up.
                        edits.push(Edit::remove(span.start..next.start));
                    } else {
                        return Err(Flaw { at: span.start, reason: Reason::Layout });
                    }
                }
                Ok(edits)
            }
        }
    }
}

fn remove_from_flow(
    parent: &Node,
    spans: &[Range<usize>],
    is_gone: impl Fn(usize) -> bool,
) -> Vec<Edit> {
    let kept: Vec<&Range<usize>> =
        spans.iter().enumerate().filter(|(index, _)| !is_gone(*index)).map(|(_, s)| s).collect();
    let Some(last_kept) = kept.last() else {
        return vec![Edit::remove(parent.start + 1..parent.end - 1)];
    };
    let mut edits = Vec::new();
    for (index, span) in spans.iter().enumerate().filter(|(index, _)| is_gone(*index)) {
        match spans.get(index + 1) {
            // Up to the next one, as it was put in.
            Some(next) if span.start < last_kept.start => {
                edits.push(Edit::remove(span.start..next.start));
            }
            _ => {}
        }
    }
    if let Some(last) = spans.last().filter(|last| last.end > last_kept.end) {
        edits.push(Edit::remove(last_kept.end..last.end));
    }
    edits
}

/// Carries the edits out; those at one place in the order in which they were made.
pub(super) fn apply(text: &str, mut edits: Vec<Edit>) -> Result<String, Flaw> {
    edits.sort_by_key(|edit| edit.range.start);
    let mut out = String::with_capacity(text.len() + 4096);
    let mut at = 0;
    for edit in edits {
        // Two changes of the same bytes: a layout that nobody thought of.
        let kept = text.get(at..edit.range.start);
        let kept = kept.ok_or(Flaw { at: edit.range.start, reason: Reason::Layout })?;
        out.push_str(kept);
        out.push_str(&edit.text);
        at = edit.range.end;
    }
    out.push_str(text.get(at..).unwrap_or_default());
    Ok(out)
}
