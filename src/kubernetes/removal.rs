//! `uninject`: takes back what the notes say, and the objects that are ours as a whole.

use std::{collections::BTreeSet, ops::Range};

use super::{
    Outcome, Source,
    flaw::{Flaw, Refusal},
    injection::{Object, read_all},
    network_policy,
    record::Record,
    report::Report,
    restore::restore,
    text::{Edit, Text, apply},
    tree::Stream,
};

/// Takes the proxy out again.
///
/// # Errors
/// What cannot be read, or a note that `inject` did not write.
pub fn uninject(sources: &[Source]) -> Result<Outcome, Refusal> {
    let streams = read_all(sources)?;
    let objects = Object::all(sources, &streams)?;
    let mut report = Report::default();
    let mut edits: Vec<Vec<Edit>> = vec![Vec::new(); sources.len()];
    let mut whole: Vec<Vec<usize>> = vec![Vec::new(); sources.len()];
    for object in &objects {
        let done = take_back(object).map_err(|flaw| object.refuse(flaw))?;
        let (Some(edits), Some(whole)) = (edits.get_mut(object.file), whole.get_mut(object.file))
        else {
            continue;
        };
        match done {
            Done::Nothing => continue,
            Done::Edits(some) => edits.extend(some),
            Done::Document => whole.push(object.document),
        }
        report.done(&object.place(), "is as it was");
    }
    if report.done.is_empty() {
        report.left("nothing", "there is nothing in this input that inject has changed");
    }
    let mut texts = Vec::new();
    for (((source, stream), mut edits), whole) in sources.iter().zip(&streams).zip(edits).zip(whole)
    {
        edits.extend(without(&source.text, stream, &whole).into_iter().map(Edit::remove));
        let mut text = apply(&source.text, edits)
            .map_err(|flaw| flaw.refusal(&source.name, &source.text, 1))?;
        if !source.text.ends_with('\n') {
            // The file had no line end, so what was put behind it brought one along.
            let kept = text.strip_suffix("\r\n").or_else(|| text.strip_suffix('\n'));
            text.truncate(kept.map_or(text.len(), str::len));
        }
        texts.push(text);
    }
    Ok(Outcome { texts, report })
}

enum Done {
    Nothing,
    Edits(Vec<Edit>),
    /// The whole document goes.
    Document,
}

fn take_back(object: &Object<'_>) -> Result<Done, Flaw> {
    let resource = &object.resource;
    if network_policy::is_ours(resource)? {
        return Ok(match resource.list {
            Some((list, index)) => {
                Done::Edits(object.text().remove(list, &BTreeSet::from([index]))?)
            }
            None => Done::Document,
        });
    }
    let template = match resource.template_path() {
        Some(path) => path.find(resource.node)?,
        None => None,
    };
    let mut edits = Vec::new();
    for carrier in [template.filter(|t| !std::ptr::eq(*t, resource.node)), Some(resource.node)] {
        let Some(carrier) = carrier else { continue };
        if let Some(record) = Record::of(carrier)? {
            edits.extend(restore(object.text(), carrier, &record)?);
        }
    }
    Ok(if edits.is_empty() { Done::Nothing } else { Done::Edits(edits) })
}

/// The bytes of the documents that go, with the markers in front of them.
fn without(text: &str, stream: &Stream, gone: &[usize]) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for index in gone {
        let Some(document) = stream.documents.get(*index) else { continue };
        let next = stream.documents.get(index + 1);
        let start = document.start;
        let end = match next {
            // Without a marker of its own it would run into the one before.
            Some(next) if !document.explicit => Text(text).line_end(next.start),
            Some(next) => next.start,
            None => text.len(),
        };
        match ranges.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => ranges.push(start..end),
        }
    }
    ranges
}
