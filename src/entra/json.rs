//! JSON of bounded depth: what comes from outside may not make the parser recurse.

use serde_json::{Map, Value};

/// Deeper than anything that Microsoft sends.
const DEPTH: usize = 16;

/// Why a text is not used.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// Not JSON, or not an object. What it says is left out: it may hold tokens.
    #[error("not a JSON object (line {line}, column {column})")]
    Malformed {
        /// Where, from 1; 0 when the text is JSON of another kind.
        line: usize,
        /// Where, from 1.
        column: usize,
    },
    /// Nested too deeply.
    #[error("JSON nested deeper than {DEPTH} levels")]
    TooDeep,
}

/// Reads one JSON object.
pub(super) fn object(text: &[u8]) -> Result<Map<String, Value>, JsonError> {
    if depth(text) > DEPTH {
        return Err(JsonError::TooDeep);
    }
    match serde_json::from_slice(text) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(JsonError::Malformed { line: 0, column: 0 }),
        Err(error) => Err(JsonError::Malformed { line: error.line(), column: error.column() }),
    }
}

/// The deepest nesting; brackets within strings do not count.
fn depth(text: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in text {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_of_16_levels_is_read_and_one_of_17_is_not() {
        let nested = |levels: usize| {
            format!("{{\"a\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1))
        };
        assert!(object(nested(16).as_bytes()).is_ok());
        assert!(matches!(object(nested(17).as_bytes()), Err(JsonError::TooDeep)));
        assert!(matches!(object(nested(100_000).as_bytes()), Err(JsonError::TooDeep)));
    }

    #[test]
    fn brackets_within_strings_do_not_count() {
        let text = format!(r#"{{"a":"{}\"{}"}}"#, "[".repeat(99), "{".repeat(99));
        assert!(object(text.as_bytes()).is_ok());
    }

    #[test]
    fn an_error_does_not_quote_what_it_read() {
        for text in [r#"{"access_token": secret}"#, r#""secret""#, "secret", "", "{} secret"] {
            let said = format!("{0} {0:?}", object(text.as_bytes()).unwrap_err());
            assert!(!said.contains("secret"), "{said}");
        }
    }
}
