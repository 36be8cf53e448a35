//! Claims as header values: one line, ASCII, and never two meanings.

use std::{borrow::Cow, fmt::Write as _};

use http::HeaderValue;
use serde_json::{Map, Value};

/// A claim as a header's value; `None` where there is nothing to say, or no way to say it.
pub(super) fn header_value(claims: &Map<String, Value>, name: &str) -> Option<HeaderValue> {
    let text = text(claims.get(name)?)?;
    HeaderValue::try_from(text).ok()
}

fn text(claim: &Value) -> Option<String> {
    match claim {
        Value::Array(entries) => {
            let entries: Vec<Cow<'_, str>> = entries.iter().filter_map(list_entry).collect();
            (!entries.is_empty()).then(|| entries.join(","))
        }
        scalar => encoded(scalar_text(scalar)?).map(Cow::into_owned),
    }
}

/// An entry of a list, which is joined by commas: a group called `x,admin` would be two.
fn list_entry(entry: &Value) -> Option<Cow<'_, str>> {
    let text = scalar_text(entry)?;
    if text.contains(',') { None } else { encoded(text) }
}

fn scalar_text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) if text.is_empty() => None,
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Bool(_) | Value::Number(_) => Some(Cow::Owned(value.to_string())),
        // A structure has no form that an app would expect.
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Percent-encodes what is not ASCII as UTF-8; a text with control characters is left out.
///
/// A text that needs encoding, or that looks encoded, has its `%` encoded too. Otherwise a user who
/// calls himself `J%C3%BCrgen` would be `Jürgen`; so percent-decoding gives back every text.
/// Leading and trailing spaces are encoded because recipients drop them (RFC 9110 §5.5).
fn encoded(text: Cow<'_, str>) -> Option<Cow<'_, str>> {
    if text.chars().any(char::is_control) {
        return None;
    }
    let outer_space = text.starts_with(' ') || text.ends_with(' ');
    if text.is_ascii() && !outer_space && !looks_encoded(&text) {
        return Some(text);
    }
    let last = text.len() - 1;
    let mut encoded = String::with_capacity(text.len() * 2);
    for (index, byte) in text.bytes().enumerate() {
        let outer = byte == b' ' && (index == 0 || index == last);
        if byte == b'%' || !byte.is_ascii() || outer {
            write!(encoded, "%{byte:02X}").ok()?;
        } else {
            encoded.push(char::from(byte));
        }
    }
    Some(Cow::Owned(encoded))
}

fn looks_encoded(text: &str) -> bool {
    text.as_bytes().windows(3).any(|window| {
        matches!(window, [b'%', high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assume, proptest};
    use serde_json::json;

    use super::*;

    fn value(claim: Value) -> Option<String> {
        let claims = Map::from_iter([("c".to_owned(), claim)]);
        header_value(&claims, "c").map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn text_numbers_and_lists_have_a_form() {
        for (claim, expected) in [
            (json!("kim@contoso.com"), "kim@contoso.com"),
            (json!("100% Kim"), "100% Kim"),
            (json!("Jürgen"), "J%C3%BCrgen"),
            (json!("J%C3%BCrgen"), "J%25C3%25BCrgen"),
            (json!("50% für"), "50%25 f%C3%BCr"),
            (json!(" kim "), "%20kim%20"),
            (json!(" "), "%20"),
            (json!(42), "42"),
            (json!(true), "true"),
            (json!(["a", "b"]), "a,b"),
            (json!(["ä", 7]), "%C3%A4,7"),
        ] {
            assert_eq!(value(claim.clone()).as_deref(), Some(expected), "{claim}");
        }
    }

    #[test]
    fn nothing_is_said_where_nothing_can_be_said() {
        for claim in [
            json!(null),
            json!(""),
            json!([]),
            json!({ "a": "b" }),
            json!("a\r\nX-Role: admin"),
            json!("a\0"),
            json!("a\tb"),
            json!("a\u{7f}"),
            json!("a\u{85}b"),
            json!(["x,admin"]),
            json!(["a\n"]),
            json!([["a"]]),
        ] {
            assert_eq!(value(claim.clone()), None, "{claim}");
        }
        assert_eq!(value(json!(["x,admin", "y", "z\n"])).as_deref(), Some("y"));
        assert_eq!(header_value(&Map::new(), "c"), None);
    }

    fn decoded(text: &str) -> String {
        let mut bytes = Vec::new();
        let mut rest = text.as_bytes();
        while let Some((first, after)) = rest.split_first() {
            let hex = after.get(..2).and_then(|hex| str::from_utf8(hex).ok());
            let escape =
                hex.filter(|_| *first == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok());
            bytes.push(escape.unwrap_or(*first));
            rest = if escape.is_some() { &after[2..] } else { after };
        }
        String::from_utf8(bytes).unwrap()
    }

    proptest! {
        #[test]
        fn a_value_is_one_line_of_ascii_and_decodes_to_its_claim(text in "[ %A-F0-9a-z@ä€\u{202e}😀]{1,20}") {
            let sent = value(json!(text)).unwrap();
            assert!(sent.bytes().all(|byte| matches!(byte, 0x20..=0x7e)));
            assert_eq!(sent.trim(), sent);
            assert_eq!(decoded(&sent), text);
        }

        #[test]
        fn any_claim_at_all_is_safe_or_left_out(text in any::<String>()) {
            prop_assume!(!text.is_empty());
            let control = text.chars().any(char::is_control);
            assert_eq!(value(json!(text)).is_none(), control);
        }
    }
}
