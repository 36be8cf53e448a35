//! Manifests in every style that a person could choose, drawn from a string of random bytes.

use super::value::{Value, map};

/// Bytes that decide; when they end, every decision is the first one.
pub(super) struct Dice<'a>(pub &'a [u8]);

impl Dice<'_> {
    fn one_of(&mut self, ways: u8) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first % ways
    }

    fn maybe(&mut self) -> bool {
        self.one_of(2) == 1
    }
}

/// A file with a Deployment and a Service, and what else comes along.
pub(super) fn manifest(dice: &mut Dice<'_>) -> String {
    let newline = if dice.one_of(4) == 3 { "\r\n" } else { "\n" };
    let mut documents = vec![deployment(dice)];
    if dice.maybe() {
        documents.insert(usize::from(dice.maybe()), service(dice));
    }
    let as_list = dice.one_of(4) == 3;
    if as_list {
        documents = vec![map([
            ("apiVersion", "v1".into()),
            ("kind", "List".into()),
            ("items", Value::List(documents)),
        ])];
    }
    let mut out = String::new();
    for (index, document) in documents.iter().enumerate() {
        if index > 0 || dice.maybe() {
            out.push_str("---");
            out.push_str(newline);
        }
        let layout = Layout { step: 1 + usize::from(dice.one_of(4)), newline };
        block(dice, &mut out, document, 0, layout, false);
    }
    if dice.one_of(4) == 3 {
        out.truncate(out.trim_end().len());
    }
    out
}

fn deployment(dice: &mut Dice<'_>) -> Value {
    let mut app = vec![
        entry("name", "app"),
        entry("image", "app:1"),
        (
            "ports".to_owned(),
            Value::List(vec![map([("name", "http".into()), ("containerPort", 8080_u16.into())])]),
        ),
    ];
    for probe in ["readinessProbe", "livenessProbe"] {
        if dice.maybe() {
            let mut get = vec![entry("path", "/healthz")];
            let port = if dice.maybe() { "http".into() } else { 8080_u16.into() };
            get.push(("port".to_owned(), port));
            match dice.one_of(4) {
                1 => get.push(headers("X-A", "b")),
                2 => get.push(headers("host", "localhost")),
                3 => get.push(entry("scheme", "HTTPS")),
                _ => {}
            }
            shuffle(dice, &mut get);
            app.push((probe.to_owned(), map([("httpGet", Value::Map(get))])));
        }
    }
    match dice.one_of(4) {
        1 => app.push(("lifecycle".to_owned(), map([("preStop", pause(5))]))),
        2 => app.push(("lifecycle".to_owned(), map([("postStart", pause(5))]))),
        3 => app.push(("lifecycle".to_owned(), Value::Map(Vec::new()))),
        _ => {}
    }
    shuffle(dice, &mut app);
    let mut containers = vec![Value::Map(app)];
    if dice.maybe() {
        let helper = map([("name", "helper".into()), ("image", "helper:1".into())]);
        containers.insert(usize::from(dice.maybe()), helper);
    }
    let mut spec = vec![("containers".to_owned(), Value::List(containers))];
    for list in ["initContainers", "volumes"] {
        match dice.one_of(3) {
            1 => spec.push((list.to_owned(), Value::List(Vec::new()))),
            2 => spec.push((list.to_owned(), Value::List(vec![map([("name", "x".into())])]))),
            _ => {}
        }
    }
    if dice.maybe() {
        spec.push(("terminationGracePeriodSeconds".to_owned(), 10_u32.into()));
    }
    shuffle(dice, &mut spec);
    let labels = map([("app", "app".into())]);
    let mut metadata = vec![("labels".to_owned(), labels)];
    match dice.one_of(3) {
        1 => metadata.push(("annotations".to_owned(), Value::Map(Vec::new()))),
        2 => metadata.push(("annotations".to_owned(), map([("a/b", "c: d".into())]))),
        _ => {}
    }
    shuffle(dice, &mut metadata);
    let mut template =
        vec![("metadata".to_owned(), Value::Map(metadata)), ("spec".to_owned(), Value::Map(spec))];
    shuffle(dice, &mut template);
    let mut root = vec![
        entry("apiVersion", "apps/v1"),
        entry("kind", "Deployment"),
        ("metadata".to_owned(), map([("name", "app".into())])),
        ("spec".to_owned(), map([("template", Value::Map(template))])),
    ];
    shuffle(dice, &mut root);
    Value::Map(root)
}

fn service(dice: &mut Dice<'_>) -> Value {
    let mut port = vec![("port".to_owned(), 8080_u16.into())];
    match dice.one_of(4) {
        1 => port.push(entry("targetPort", "http")),
        2 => port.push(("targetPort".to_owned(), 8080_u16.into())),
        3 => port.push(entry("name", "web")),
        _ => {}
    }
    shuffle(dice, &mut port);
    let selector = map([("app", "app".into())]);
    let mut spec = vec![
        ("ports".to_owned(), Value::List(vec![Value::Map(port)])),
        ("selector".to_owned(), selector),
    ];
    shuffle(dice, &mut spec);
    map([
        ("apiVersion", "v1".into()),
        ("kind", "Service".into()),
        ("metadata", map([("name", "app".into())])),
        ("spec", Value::Map(spec)),
    ])
}

fn entry(key: &str, value: &str) -> (String, Value) {
    (key.to_owned(), value.into())
}

fn headers(name: &str, value: &str) -> (String, Value) {
    let header = map([("name", name.into()), ("value", value.into())]);
    ("httpHeaders".to_owned(), Value::List(vec![header]))
}

fn pause(seconds: u32) -> Value {
    map([("sleep", map([("seconds", seconds.into())]))])
}

fn shuffle<T>(dice: &mut Dice<'_>, items: &mut [T]) {
    for index in 1..items.len() {
        let other = usize::from(dice.one_of(u8::try_from(index + 1).unwrap()));
        items.swap(index, other);
    }
}

#[derive(Clone, Copy)]
struct Layout {
    step: usize,
    newline: &'static str,
}

/// Writes a value as a block at `column`; the first line has begun already where `begun` says so.
fn block(
    dice: &mut Dice<'_>,
    out: &mut String,
    value: &Value,
    column: usize,
    layout: Layout,
    mut begun: bool,
) {
    let mut start = |dice: &mut Dice<'_>, out: &mut String| {
        if !std::mem::take(&mut begun) {
            noise(dice, out, column, layout);
            out.push_str(&" ".repeat(column));
        }
    };
    match value {
        Value::Map(entries) if !entries.is_empty() => {
            for (key, value) in entries {
                start(dice, out);
                let quote = if dice.one_of(8) == 7 { "\"" } else { "" };
                out.extend([quote, key.as_str(), quote]);
                out.push(':');
                below(dice, out, value, column, layout);
            }
        }
        Value::List(items) if !items.is_empty() => {
            for item in items {
                start(dice, out);
                let gap = 1 + usize::from(dice.one_of(3));
                if dice.one_of(8) == 7 && matches!(item, Value::Map(_)) {
                    out.push('-');
                    end_line(dice, out, layout);
                    block(dice, out, item, column + 1 + gap, layout, false);
                } else {
                    out.push('-');
                    out.push_str(&" ".repeat(gap));
                    block(dice, out, item, column + 1 + gap, layout, true);
                }
            }
        }
        leaf => {
            start(dice, out);
            flow(dice, out, leaf);
            end_line(dice, out, layout);
        }
    }
}

fn below(dice: &mut Dice<'_>, out: &mut String, value: &Value, column: usize, layout: Layout) {
    let is_collection = match value {
        Value::Map(entries) => !entries.is_empty(),
        Value::List(items) => !items.is_empty(),
        _ => false,
    };
    if !is_collection || dice.one_of(8) == 7 {
        // What is empty may be left out altogether.
        let is_nothing = matches!(value, Value::Map(_) | Value::List(_)) && !is_collection;
        if !(is_nothing && dice.maybe()) {
            out.push(' ');
            flow(dice, out, value);
        }
        end_line(dice, out, layout);
        return;
    }
    end_line(dice, out, layout);
    let indented = matches!(value, Value::Map(_)) || dice.maybe();
    block(dice, out, value, if indented { column + layout.step } else { column }, layout, false);
}

fn flow(dice: &mut Dice<'_>, out: &mut String, value: &Value) {
    let space = |dice: &mut Dice<'_>| if dice.maybe() { " " } else { "" };
    match value {
        Value::Map(entries) => {
            out.push('{');
            out.push_str(space(dice));
            for (index, (key, value)) in entries.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                out.extend([key.as_str(), ": "]);
                flow(dice, out, value);
            }
            out.push_str(space(dice));
            out.push('}');
        }
        Value::List(items) => {
            out.push('[');
            out.push_str(space(dice));
            for (index, item) in items.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                flow(dice, out, item);
            }
            out.push_str(space(dice));
            out.push(']');
        }
        Value::Text(text) => match dice.one_of(4) {
            1 => out.extend(["'", text.as_str(), "'"]),
            2 => out.extend(["\"", text.as_str(), "\""]),
            _ => out.push_str(&value.bare()),
        },
        other => out.push_str(&other.bare()),
    }
}

fn end_line(dice: &mut Dice<'_>, out: &mut String, layout: Layout) {
    if dice.one_of(8) == 7 {
        out.push_str(" # - x: {y");
    }
    out.push_str(layout.newline);
}

/// Comments and empty lines in front of a line.
fn noise(dice: &mut Dice<'_>, out: &mut String, column: usize, layout: Layout) {
    let line = match dice.one_of(16) {
        12 => String::new(),
        13 => format!("{}# note", " ".repeat(column)),
        14 => "# far left: [".to_owned(),
        15 => format!("{}# far right", " ".repeat(column + 9)),
        _ => return,
    };
    out.push_str(&line);
    out.push_str(layout.newline);
}
