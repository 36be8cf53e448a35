//! Every key broken in every way we know, and secrets in places where they were never meant to be:
//! nothing broken is accepted, and no secret is told.

use annotate_snippets::Renderer;
use proptest::prelude::{Just, Strategy, prop_assert, prop_oneof, proptest};

use super::{
    ConfigError,
    broken::{SOUND, read},
    schema::Shape,
};
use crate::base::{document::Document, secret::Secret};

const EXAMPLE: &str = include_str!("../../proxy.example.toml");

/// The keys of `SOUND` and of the example's active lines, each on its own line.
fn lines() -> impl Iterator<Item = (usize, &'static str, &'static str)> {
    EXAMPLE.lines().enumerate().filter_map(|(index, line)| {
        let (key, value) = line.split_once(" = ")?;
        let value = value.split(" #").next()?.trim();
        key.bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            .then_some((index, key, value))
    })
}

/// The example with one line replaced, and with secrets.
fn replaced(index: usize, line: &str) -> Result<super::Loaded, ConfigError> {
    let text: Vec<&str> =
        EXAMPLE.lines().enumerate().map(|(at, old)| if at == index { line } else { old }).collect();
    read(&text.join("\n"), &SECRETS)
}

const SECRETS: [(&str, &str); 2] = [
    ("VESTIBULE__ENTRA__CLIENT_SECRET", "canary~one"),
    ("VESTIBULE__SESSION__KEYS", "['pnW3KmCqlEGNJkXHG0dLlWMW0bD5h8lQdVqSRxkL+oY=']"),
];

#[test]
fn no_key_of_the_example_survives_a_wrong_name_kind_or_nothing() {
    let mut count = 0;
    for (index, key, value) in lines() {
        let wrong_kind = if value.starts_with('"') { "7" } else { "\"seven\"" };
        for line in [
            format!("{key}x = {value}"),
            format!("{} = {value}", key.to_uppercase()),
            format!("{key} = {wrong_kind}"),
            format!("{key} = \"\""),
            format!("{key} = {{ a = 1 }}"),
            format!("{key} = 1979-05-27"),
            format!("{key} = 1.5"),
            format!("{key} ="),
        ] {
            let error = replaced(index, &line).expect_err(&line);
            let place = format!("proxy.toml:{}:", index + 1);
            assert!(error.to_string().contains(&place), "{line}: {error}");
        }
        count += 1;
    }
    assert!(count > 25, "only {count} keys were broken");
}

#[test]
fn every_key_can_be_set_by_its_variable_and_is_refused_when_it_is_misspelt() {
    for path in Shape::of_config().whole_paths() {
        let name = format!("VESTIBULE__{}", path.to_uppercase().replace('.', "__"));
        // Nothing at all is refused for every kind: an unset variable must not mean the default.
        let error = read(SOUND, &[(&name, "")]).expect_err(&name);
        assert!(error.to_string().contains(&format!("{name}: {path}: ")), "{error}");
        for misspelt in [format!("{name}X"), name.to_lowercase().replace("vestibule", "VESTIBULE")]
        {
            let error = read(SOUND, &[(&misspelt, "1")]).expect_err(&misspelt);
            assert!(error.to_string().contains("unknown variable"), "{error}");
        }
    }
}

#[test]
fn every_secret_of_the_schema_finds_its_place() {
    fn secrets(shape: &Shape, path: &str, found: &mut Vec<String>) {
        match shape {
            Shape::Section(known) => known.iter().for_each(|(name, shape)| {
                let dot = if path.is_empty() { "" } else { "." };
                secrets(shape, &format!("{path}{dot}{name}"), found);
            }),
            shape if shape.is_secret() => found.push(path.to_owned()),
            Shape::List(inner) => secrets(inner, path, found),
            _ => {}
        }
    }
    let mut found = Vec::new();
    secrets(&Shape::of_config(), "", &mut found);
    assert!(found.len() >= 2);
    for key in found {
        let placed = super::Config::default().place_secret(&key, Secret::from("x".to_owned()));
        assert!(placed, "{key} is a secret that place_secret does not know");
    }
}

/// A configuration full of canaries with one thing broken at a random place.
fn damaged() -> impl Strategy<Value = String> {
    let whole = format!(
        "{}\nclient_secret_extra = 'canary-3'\n[log]\nlevel = 'info'\n",
        SOUND.replace("keys = [", "keys = [\"canary-2\", ")
    );
    let length = whole.len();
    let damage = prop_oneof![
        Just(String::new()),
        Just("\"".to_owned()),
        Just("'''".to_owned()),
        Just("\n".to_owned()),
        Just("[".to_owned()),
        Just(" = ".to_owned()),
        Just("\u{1b}[31m".to_owned()),
        "[a-z=\\[\\]\"'#{}., \n]{1,6}",
    ];
    (0..length, 0_usize..8, damage).prop_map(move |(at, cut, damage)| {
        let end = (at + cut).min(whole.len());
        let (before, rest) = whole.split_at(at);
        let (_, after) = rest.split_at(end - at);
        format!("{before}{damage}{after}")
    })
}

proptest! {
    #[test]
    fn no_damage_makes_a_secret_appear_in_what_is_told(text in damaged()) {
        let told = match read(&text, &[]) {
            Ok(loaded) => format!("{}{loaded:?}", loaded.to_toml().unwrap()),
            Err(error) => format!("{error}{error:?}{}", error.picture(&Renderer::plain())),
        };
        // Damage may turn a part of a secret into a key or cut it: what is left of it is told as
        // any key is. Whole it never is.
        for canary in ["canary-secret-1", "canary-2", "canary-3", "3q2+7wABAgMEBQYHCAkKCwwNDg8"] {
            prop_assert!(!told.contains(canary), "{canary} in {told}");
        }
    }

    #[test]
    fn no_text_at_all_makes_reading_panic(text in "[a-z\\[\\]=\"'{}., \n#é]{0,60}") {
        let _ = Document::parse("x", &text);
        let _ = read(&text, &[("VESTIBULE__RULES", &text)]);
    }
}
