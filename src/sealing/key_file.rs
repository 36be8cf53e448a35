//! `keys_file`: session keys one a line, so that rotating means adding a line on top.

use super::{Key, KeyError};

/// Reads one key a line; blank lines, and lines that begin with `#`, are skipped.
///
/// # Errors
/// A line that is no key, by its number; or no key at all.
pub fn parse_keys(text: &str) -> Result<Vec<Key>, KeyError> {
    let keys = text
        .trim_start_matches('\u{feff}')
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(line, text)| {
            Key::parse(text).map_err(|error| KeyError::Line { line, source: Box::new(error) })
        })
        .collect::<Result<Vec<_>, _>>()?;
    if keys.is_empty() { Err(KeyError::Missing) } else { Ok(keys) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "pnW3KmCqlEGNJkXHG0dLlWMW0bD5h8lQdVqSRxkL+oY=";
    const SECOND: &str = "Yl6nOcHf0iSx1QJkq3vTg7mBwE2RzUaPd8hVt5K9oXs";

    #[test]
    fn keys_keep_their_order_and_comments_and_blank_lines_do_not_count() {
        let text = format!("\u{feff}# new, since monday\r\n{FIRST}\r\n\n   # old\n\t{SECOND}\n\n");
        let keys = parse_keys(&text).unwrap();
        let texts: Vec<String> = keys.iter().map(Key::to_text).collect();
        assert_eq!(texts, [FIRST.to_owned(), format!("{SECOND}=")]);
    }

    #[test]
    fn a_broken_line_is_named_by_its_number_and_never_shown() {
        let error = parse_keys(&format!("# a comment\n{FIRST}\nhunter2\n")).unwrap_err();
        assert!(matches!(error, KeyError::Line { line: 3, .. }), "{error:?}");
        assert!(!format!("{error:?} {error}").contains("hunter2"));
    }

    #[test]
    fn a_file_without_a_key_is_refused() {
        for text in ["", "\n\n", "# nothing yet\n"] {
            assert!(matches!(parse_keys(text), Err(KeyError::Missing)), "{text:?}");
        }
    }
}
