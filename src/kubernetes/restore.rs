//! Takes back what a [`Record`] says, whatever else has changed since.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    flaw::Flaw,
    record::{INJECTED, Path, Record},
    text::{Edit, Text},
    tree::{Kind, Node},
};

/// The edits that give `object` back as it was.
pub(super) fn restore(text: Text<'_>, object: &Node, record: &Record) -> Result<Vec<Edit>, Flaw> {
    let mark = Path::new(["metadata", "annotations", INJECTED]);
    let mut gone: BTreeMap<Path, BTreeSet<usize>> = BTreeMap::new();
    for path in record.added.iter().chain([&mark]) {
        // What somebody has taken out already needs no more taking out.
        if let Some((above, index)) = path.position(object)? {
            gone.entry(above).or_default().insert(index);
        }
    }
    let mut edits = Vec::new();
    let mut made: Vec<_> = record.made.iter().collect();
    made.sort_by_key(|(path, _)| std::cmp::Reverse(path.depth()));
    for (path, former) in made {
        let Some(node) = path.find(object)? else { continue };
        let leaving = gone.get(path).map_or(0, BTreeSet::len);
        if leaving < children(node) {
            continue;
        }
        gone.remove(path);
        match former {
            None => {
                if let Some((above, index)) = path.position(object)? {
                    gone.entry(above).or_default().insert(index);
                }
            }
            Some(raw) => edits.push(empty_again(text, object, path, node, raw)?),
        }
    }
    let whole: Vec<Path> = record.made.keys().cloned().collect();
    for (path, children) in &gone {
        let Some(parent) = path.find(object)? else { continue };
        let is_inside = whole.iter().any(|made| {
            path.is_below(made)
                && made.position(object).is_ok_and(|spot| {
                    spot.is_some_and(|(above, index)| {
                        gone.get(&above).is_some_and(|children| children.contains(&index))
                    })
                })
        });
        if !is_inside {
            edits.extend(text.remove(parent, children)?);
        }
    }
    for (path, raw) in &record.was {
        if let Some(node) = path.find(object)? {
            edits.push(Edit { range: node.start..node.end, text: raw.clone() });
        }
    }
    Ok(edits)
}

/// Puts back what stood where something had to be filled in.
fn empty_again(
    text: Text<'_>,
    object: &Node,
    path: &Path,
    node: &Node,
    raw: &str,
) -> Result<Edit, Flaw> {
    if let Kind::Mapping { flow: false, .. } | Kind::Sequence { flow: false, .. } = node.kind {
        // Somebody has laid it out anew, below its key.
        let entry = match path.split() {
            Some((above, key)) => above.find(object)?.map(|node| node.entry(key)).transpose()?,
            None => None,
        };
        let key_end = entry.flatten().map_or(node.start, |entry| entry.key.end);
        let colon =
            text.slice(key_end..node.start).find(':').map_or(node.start, |at| key_end + at + 1);
        let space = if raw.is_empty() { "" } else { " " };
        return Ok(Edit { range: colon..node.end, text: format!("{space}{raw}") });
    }
    // A value that had no text had no space in front of it either.
    let space = usize::from(raw.is_empty() && text.before(node.start).ends_with(' '));
    Ok(Edit { range: node.start - space..node.end, text: raw.to_owned() })
}

fn children(node: &Node) -> usize {
    match &node.kind {
        Kind::Mapping { entries, .. } => entries.len(),
        Kind::Sequence { items, .. } => items.len(),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubernetes::{text::apply, tree::read};

    fn restored(text: &str) -> String {
        let stream = read(text).unwrap();
        let object = stream.documents[0].root.as_ref().unwrap();
        let record = Record::of(object).unwrap().unwrap();
        apply(text, restore(Text(text), object, &record).unwrap()).unwrap()
    }

    fn noted(note: &str, rest: &str) -> String {
        format!("metadata:\n  annotations:\n    a: b\n    vestibule/injected: '{note}'\n{rest}")
    }

    #[test]
    fn what_was_laid_out_anew_is_emptied_all_the_same() {
        let note = r#"{"format":1,"added":["spec/volumes/vestibule","spec/x/y"],"made":{"spec/volumes":"[]","spec/x":""}}"#;
        let text = noted(
            note,
            "spec:\n  volumes:\n  - name: vestibule\n    more: 1\n  x:\n    y: 1\n  z: 2\n",
        );
        let expected = "metadata:\n  annotations:\n    a: b\nspec:\n  volumes: []\n  x:\n  z: 2\n";
        assert_eq!(restored(&text), expected);
    }

    #[test]
    fn what_somebody_added_to_ours_stays() {
        let note = r#"{"format":1,"added":["spec/volumes/vestibule"],"made":{"spec/volumes":null},"was":{"spec/gone":"1"}}"#;
        let text =
            noted(note, "spec:\n  volumes:\n  - name: vestibule\n  # theirs\n  - name: theirs\n");
        let expected = "metadata:\n  annotations:\n    a: b\nspec:\n  volumes:\n  # theirs\n  - name: theirs\n";
        assert_eq!(restored(&text), expected);
        let flow = noted(note, "spec: {volumes: [{name: theirs}, {name: vestibule}]}\n");
        let expected = "metadata:\n  annotations:\n    a: b\nspec: {volumes: [{name: theirs}]}\n";
        assert_eq!(restored(&flow), expected);
    }

    #[test]
    fn what_somebody_took_out_already_is_no_reason_to_stop() {
        let note =
            r#"{"format":1,"added":["spec/volumes/vestibule"],"made":{"spec/volumes":null}}"#;
        let text = noted(note, "spec:\n  z: 2\n");
        assert_eq!(restored(&text), "metadata:\n  annotations:\n    a: b\nspec:\n  z: 2\n");
    }
}
