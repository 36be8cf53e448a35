//! From merged layers to [`Config`]. figment stops at the first wrong value, so what is wrong is
//! noted, taken out, and the rest is tried again.

use figment::{
    Figment,
    error::{Error, Kind},
};

use super::{
    Config,
    node::{Content, Layer, Node},
    problem::{Place, Problem, nearest},
    reading::join,
};

/// The configuration without what is wrong in it, which is noted.
pub(super) fn extract(layers: &mut [Layer], problems: &mut Vec<Problem>) -> Config {
    loop {
        // A stronger source replaces a list or a table of free keys, figment would mix the latter.
        let figment = layers.iter().fold(Figment::new(), Figment::merge);
        let error = match figment.extract::<Config>() {
            Ok(config) => return config,
            Err(error) => error,
        };
        let located = locate(&error, layers);
        let already = problems.iter().any(|problem| problem.key.starts_with(&located.key));
        if !(error.missing() && already) {
            let (message, hint) = explain(&error.kind);
            problems.push(Problem {
                key: located.key.clone(),
                place: located.place.clone(),
                message,
                hint,
            });
        }
        if !take_out(&error, &located, layers) {
            // Nothing left that could be taken out: the defaults stand in until it is mended.
            return Config::default();
        }
    }
}

/// Where an error of figment stands in our layers.
struct Located {
    /// As people write it.
    key: String,
    place: Place,
    /// The same as steps, indices counted before anything was taken out of a list.
    steps: Vec<String>,
    layer: usize,
}

fn locate(error: &Error, layers: &[Layer]) -> Located {
    let mut best =
        Located { key: error.path.join("."), place: Place::Nowhere, steps: Vec::new(), layer: 0 };
    // The strongest layer that knows the whole path has set the value.
    for (index, layer) in layers.iter().enumerate() {
        let mut node = &layer.root;
        let mut key = String::new();
        let mut steps = Vec::new();
        for name in &error.path {
            let Some((step, child)) = child(node, name) else { break };
            key = match node.content {
                Content::List(_) => format!("{key}[{step}]"),
                _ => join(&key, &step),
            };
            steps.push(step);
            node = child;
        }
        if steps.len() >= best.steps.len() && !steps.is_empty() {
            best = Located { key, place: node.place.clone(), steps, layer: index };
        }
    }
    best
}

/// The entry that figment calls `name`; it does not see the entries that were taken out.
fn child<'a>(node: &'a Node, name: &str) -> Option<(String, &'a Node)> {
    match &node.content {
        Content::Table(entries) => entries.get(name).map(|child| (name.to_owned(), child)),
        Content::List(items) => {
            let seen: usize = name.parse().ok()?;
            let mut present = items
                .iter()
                .enumerate()
                .filter_map(|(index, item)| item.as_ref().map(|item| (index.to_string(), item)));
            present.nth(seen)
        }
        Content::Text(_) | Content::Boolean(_) | Content::Integer(_) => None,
    }
}

fn take_out(error: &Error, located: &Located, layers: &mut [Layer]) -> bool {
    let Some(layer) = layers.get_mut(located.layer) else { return false };
    let Some((last, parents)) = located.steps.split_last() else { return false };
    let parent = parents.iter().try_fold(&mut layer.root, |node, step| match &mut node.content {
        Content::Table(entries) => entries.get_mut(step),
        Content::List(items) => items.get_mut(step.parse::<usize>().ok()?)?.as_mut(),
        Content::Text(_) | Content::Boolean(_) | Content::Integer(_) => None,
    });
    debug_assert!(parent.is_some(), "located in this layer: {:?}", error.path);
    match parent.map(|parent| &mut parent.content) {
        Some(Content::Table(entries)) => entries.remove(last).is_some(),
        Some(Content::List(items)) => {
            let slot = last.parse::<usize>().ok().and_then(|index| items.get_mut(index));
            slot.is_some_and(|slot| slot.take().is_some())
        }
        _ => false,
    }
}

/// What was expected, and what may have been meant. What was found is left out.
fn explain(kind: &Kind) -> (String, Option<String>) {
    match kind {
        Kind::Message(message) => (message.clone(), None),
        Kind::UnknownVariant(found, known) => {
            let hint = nearest(&found.to_lowercase(), known.iter().copied())
                .map(|known| format!("the nearest is {known:?}"));
            (format!("expected {}", one_of(known)), hint)
        }
        Kind::InvalidType(_, expected) | Kind::InvalidValue(_, expected) => {
            (format!("expected {}", plain(expected)), None)
        }
        Kind::InvalidLength(_, expected) => (format!("expected {expected}"), None),
        Kind::MissingField(name) => (format!("{name} is missing"), None),
        Kind::UnknownField(name, known) => {
            (format!("unknown key {name}, expected {}", one_of(known)), None)
        }
        Kind::DuplicateField(name) => (format!("{name} is given twice"), None),
        Kind::ISizeOutOfRange(_) | Kind::USizeOutOfRange(_) => ("out of range".to_owned(), None),
        Kind::Unsupported(_) | Kind::UnsupportedKey(..) => {
            ("a value of this kind is not possible here".to_owned(), None)
        }
    }
}

/// serde names Rust's types; people count from 0.
fn plain(expected: &str) -> &str {
    match expected {
        "usize" | "u64" | "u32" | "u16" | "u8" => "a whole number from 0 up",
        "isize" | "i64" | "i32" | "i16" | "i8" => "a whole number",
        "a string" => "text in quotes",
        other => other,
    }
}

fn one_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => "nothing".to_owned(),
    }
}
