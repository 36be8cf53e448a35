//! `proxy.example.toml` lists every key that the code knows, with the code's own defaults.

use std::{collections::BTreeSet, ffi::OsString};

use serde_json::Value;
use toml_edit::TableLike;

use super::{Document, Loaded, Variables, compose, json_schema, schema::Shape};
use crate::base::units::Span;

const EXAMPLE: &str = include_str!("../../proxy.example.toml");

/// What no example can hold.
const SECRETS: [(&str, &str); 2] = [
    ("VESTIBULE__ENTRA__CLIENT_SECRET", "a~secret-for-this-test"),
    ("VESTIBULE__SESSION__KEYS", "['pnW3KmCqlEGNJkXHG0dLlWMW0bD5h8lQdVqSRxkL+oY=']"),
];

/// The example with its commented keys set: `#key` becomes `key`, `# text` stays.
fn uncommented() -> String {
    let line = |line: &str| match line.strip_prefix('#') {
        Some(setting) if !setting.is_empty() && !setting.starts_with(' ') => setting.to_owned(),
        _ => line.to_owned(),
    };
    EXAMPLE.lines().map(line).collect::<Vec<_>>().join("\n")
}

fn load(text: &str, secrets: &[(&str, &str)]) -> Loaded {
    let document = Document::parse("proxy.example.toml", text).unwrap();
    let env = secrets.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    compose(None, Some(document), &Variables::from(env)).unwrap_or_else(|error| panic!("{error}"))
}

/// The dotted path of every key; a table of free keys is one key.
fn keys(table: &dyn TableLike, shape: &Shape, path: &str, found: &mut BTreeSet<String>) {
    let Shape::Section(known) = shape else { panic!("{path} is no section") };
    for (name, item) in table.iter() {
        let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        let shape = known.get(name).unwrap_or_else(|| panic!("{path} is unknown"));
        match (shape, item.as_table_like(), item.as_array_of_tables()) {
            (Shape::Section(_), Some(table), _) => keys(table, shape, &path, found),
            (Shape::List(rule), _, Some(tables)) => {
                tables.iter().for_each(|table| keys(table, rule, &path, found));
            }
            _ => {
                found.insert(path);
            }
        }
    }
}

#[test]
fn the_example_lists_every_key_and_no_other() {
    let document = Document::parse("proxy.example.toml", &uncommented()).unwrap();
    let mut listed = BTreeSet::new();
    keys(document.table(), &Shape::of_config(), "", &mut listed);
    let known: BTreeSet<String> = Shape::of_config().paths().into_iter().collect();
    let missing: Vec<_> = known.difference(&listed).collect();
    assert!(missing.is_empty(), "the example does not list {missing:?}");
}

#[test]
fn the_example_is_accepted_once_the_secrets_are_given() {
    let loaded = load(EXAMPLE, &SECRETS);
    assert!(loaded.config.rules.is_empty(), "the example's rules are commented out");
}

#[test]
fn the_defaults_that_the_example_states_are_the_codes() {
    let document = Document::parse("proxy.example.toml", EXAMPLE).unwrap();
    let stated: Value = serde_json::to_value(
        toml::from_str::<toml::Table>(EXAMPLE).expect("checked by the test above"),
    )
    .unwrap();
    let schema = json_schema();
    let mut listed = BTreeSet::new();
    keys(document.table(), &Shape::of_config(), "", &mut listed);
    let samples = ["server.public_url", "entra.tenant", "entra.client_id"];
    let mut compared = 0;
    for key in listed {
        let pointer =
            |joint: &str| key.split('.').flat_map(|name| [joint, "/", name]).collect::<String>();
        let default = schema.pointer(&format!("{}/default", pointer("/properties")));
        let stated = stated.pointer(&pointer("")).unwrap();
        if samples.contains(&key.as_str()) {
            assert_eq!(default, None, "{key} has a default and should be in the list of defaults");
        } else {
            assert_eq!(Some(plain(stated)), default.map(plain), "{key}");
            compared += 1;
        }
    }
    assert!(compared > 25, "only {compared} defaults were compared");
}

/// "60s" and "1m" are one default.
fn plain(value: &Value) -> Value {
    let span = value.as_str().and_then(|text| text.parse::<Span>().ok());
    span.map_or_else(|| value.clone(), |span| span.to_string().into())
}

#[test]
fn every_line_of_the_example_gives_a_reason() {
    for line in EXAMPLE.lines().filter(|line| !line.is_empty() && !line.starts_with("# ")) {
        if line == "#" || line.trim_start_matches('#').starts_with('[') {
            continue;
        }
        let repeated = line.starts_with("#path") || line.starts_with("#\"X-User\"");
        assert!(repeated || line.contains(" # "), "no reason: {line}");
    }
}

#[test]
fn the_effective_configuration_means_the_same_when_it_is_read_again() {
    let rules = "\n[[rules]]\npath = \"/public/*\"\naccess = \"anonymous\"\n";
    let headers = EXAMPLE.replace("#\"X-User\"", "\"X-User\"");
    let printed = load(&format!("{headers}{rules}"), &SECRETS).to_toml().unwrap();
    let again = load(&printed, &SECRETS).config.to_toml().unwrap();
    let body = printed.split_once("\n\n").unwrap().1;
    assert_eq!(body, again);
    for (_, secret) in SECRETS {
        assert!(!printed.contains(secret.trim_matches(['[', ']', '\''])), "{printed}");
    }
    assert!(printed.contains("client_secret = \"[redacted]\""), "{printed}");
}
