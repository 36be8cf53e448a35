//! The JSON Schema of the configuration, and its [`Shape`]: which keys there are and what kind of
//! value each takes. Both come from the `Settings` types, so neither can drift from the code.

use std::collections::BTreeMap;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use super::Config;

/// The JSON Schema (draft 2020-12) of `proxy.toml`, for editors.
pub fn json_schema() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        // Every section's type is called `Settings`: inline, nobody meets `Settings7`.
        settings.inline_subschemas = true;
    });
    let mut schema = settings.into_generator().into_root_schema_for::<Config>().to_value();
    forget_null(&mut schema);
    if let Some(root) = schema.as_object_mut() {
        root.insert("title".to_owned(), "Vestibule's proxy.toml".into());
    }
    schema
}

/// TOML has no null: what is optional is left out.
fn forget_null(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            // A section's default only repeats those of its keys.
            if fields.get("default") == Some(&Value::Null) || fields.contains_key("properties") {
                fields.remove("default");
            }
            if let Some(Value::Array(types)) = fields.get_mut("type") {
                types.retain(|name| name != "null");
                if let [only] = types.as_slice() {
                    let only = only.clone();
                    fields.insert("type".to_owned(), only);
                }
            }
            if let Some(Value::Array(values)) = fields.get_mut("enum") {
                values.retain(|value| !value.is_null());
            }
            for choice in ["anyOf", "oneOf"] {
                let Some(Value::Array(options)) = fields.get_mut(choice) else { continue };
                options.retain(|option| option.get("type") != Some(&Value::from("null")));
                if let [Value::Object(only)] = options.as_mut_slice() {
                    let only = std::mem::take(only);
                    fields.remove(choice);
                    for (name, value) in only {
                        // A field's own description says more than its type's.
                        fields.entry(name).or_insert(value);
                    }
                }
            }
            fields.values_mut().for_each(forget_null);
        }
        Value::Array(items) => items.iter_mut().for_each(forget_null),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// What kind of value a key takes.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Shape {
    /// Text in quotes; the field's own type reads it. With the default, as an example.
    Text { example: Option<String> },
    /// Text that is never shown and never meets a general deserializer.
    Secret,
    /// `true` or `false`.
    Boolean,
    /// A whole number.
    Integer,
    /// `[…]` of one kind.
    List(Box<Self>),
    /// A table whose keys are free.
    Map(Box<Self>),
    /// A table whose keys are known.
    Section(BTreeMap<String, Self>),
}

impl Shape {
    /// The shape of the whole configuration.
    pub(super) fn of_config() -> Self {
        Self::of(&json_schema())
    }

    fn of(schema: &Value) -> Self {
        let none = Map::new();
        let fields = schema.as_object().unwrap_or(&none);
        if fields.get("writeOnly") == Some(&Value::Bool(true)) {
            return Self::Secret;
        }
        let example = || fields.get("default").and_then(Value::as_str).map(str::to_owned);
        match fields.get("type").and_then(Value::as_str) {
            Some("boolean") => Self::Boolean,
            Some("integer") => Self::Integer,
            Some("array") => {
                Self::List(Box::new(Self::of(fields.get("items").unwrap_or(&Value::Null))))
            }
            Some("object") => {
                match (fields.get("properties"), fields.get("additionalProperties")) {
                    (Some(Value::Object(known)), _) => Self::Section(
                        known
                            .iter()
                            .map(|(name, schema)| (name.clone(), Self::of(schema)))
                            .collect(),
                    ),
                    (_, Some(values @ Value::Object(_))) => Self::Map(Box::new(Self::of(values))),
                    _ => Self::Section(BTreeMap::new()),
                }
            }
            // Enumerations of words carry their type in each choice.
            _ => Self::Text { example: example() },
        }
    }

    /// The kind of value at a dotted path of known keys.
    #[cfg(test)]
    pub(super) fn at(&self, path: &str) -> Option<&Self> {
        path.split('.').try_fold(self, |shape, name| match shape {
            Self::Section(known) => known.get(name),
            _ => None,
        })
    }

    /// The dotted path of every key below, lists of tables entered, in alphabetical order.
    pub(super) fn paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect("", true, &mut paths);
        paths
    }

    /// The same, but a list of tables is one key: what a variable may set.
    pub(super) fn whole_paths(&self) -> Vec<String> {
        let mut paths = Vec::new();
        self.collect("", false, &mut paths);
        paths
    }

    fn collect(&self, path: &str, enter_lists: bool, paths: &mut Vec<String>) {
        match self {
            Self::Section(known) => {
                for (name, shape) in known {
                    let dot = if path.is_empty() { "" } else { "." };
                    shape.collect(&format!("{path}{dot}{name}"), enter_lists, paths);
                }
            }
            Self::List(items) if enter_lists && matches!(**items, Self::Section(_)) => {
                items.collect(path, enter_lists, paths);
            }
            _ => paths.push(path.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_speaks_of_no_null_and_needs_no_definitions() {
        let schema = json_schema();
        let text = schema.to_string();
        assert!(!text.contains("null"), "{schema:#}");
        assert!(!text.contains("$ref"), "{schema:#}");
    }

    #[test]
    fn every_key_of_the_schema_is_described() {
        fn walk(path: &str, schema: &Value) {
            for (name, schema) in schema["properties"].as_object().into_iter().flatten() {
                let path = format!("{path}.{name}");
                assert!(schema["description"].is_string(), "{path} has no description");
                walk(&path, schema);
            }
            if schema["items"].is_object() {
                walk(path, &schema["items"]);
            }
        }
        walk("", &json_schema());
    }

    #[test]
    fn the_shape_knows_each_kind() {
        let shape = Shape::of_config();
        assert_eq!(shape.at("entra.client_secret"), Some(&Shape::Secret));
        assert_eq!(shape.at("session.keys"), Some(&Shape::List(Box::new(Shape::Secret))));
        assert_eq!(
            shape.at("session.lifetime"),
            Some(&Shape::Text { example: Some("8h".to_owned()) })
        );
        assert_eq!(shape.at("server.workers"), Some(&Shape::Integer));
        assert_eq!(shape.at("upstream.preserve_host"), Some(&Shape::Boolean));
        assert!(matches!(shape.at("identity.headers"), Some(Shape::Map(_))));
        assert!(matches!(shape.at("rules"), Some(Shape::List(_))));
        assert!(matches!(shape.at("entra.cloud"), Some(Shape::Text { .. })));
        assert!(shape.paths().contains(&"rules.path".to_owned()));
        assert!(shape.paths().contains(&"server.limits.connections".to_owned()));
    }
}
