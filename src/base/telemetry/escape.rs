//! Text of strangers on a log line: it can neither begin a new line, nor move the cursor of the
//! terminal that shows it, nor fill the disk.

use std::fmt::{self, Write};

/// Longest value, in bytes of the original.
const LONGEST: usize = 2048;

/// A writer that escapes as a JSON string does, and more: C1, bidirectional and invisible
/// characters too.
pub(super) struct Escaped<'w> {
    out: &'w mut dyn Write,
    room: usize,
    cut: bool,
}

impl<'w> Escaped<'w> {
    pub(super) fn new(out: &'w mut dyn Write) -> Self {
        Self { out, room: LONGEST, cut: false }
    }
}

impl Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if self.cut {
                return Ok(());
            }
            if self.room < character.len_utf8() {
                self.cut = true;
                return self.out.write_char('…');
            }
            self.room -= character.len_utf8();
            match character {
                '"' => self.out.write_str("\\\"")?,
                '\\' => self.out.write_str("\\\\")?,
                '\n' => self.out.write_str("\\n")?,
                '\r' => self.out.write_str("\\r")?,
                '\t' => self.out.write_str("\\t")?,
                hidden if is_hidden(hidden) => {
                    for unit in hidden.encode_utf16(&mut [0; 2]) {
                        write!(self.out, "\\u{unit:04x}")?;
                    }
                }
                plain => self.out.write_char(plain)?,
            }
        }
        Ok(())
    }
}

/// Characters that change what a reader sees without being seen.
fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{ad}'
                | '\u{61c}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn escaped(text: &str) -> String {
        let mut out = String::new();
        Escaped::new(&mut out).write_str(text).unwrap();
        out
    }

    #[test]
    fn control_ansi_and_bidirectional_characters_are_spelled_out() {
        assert_eq!(escaped("a\r\nb\u{1b}[31m"), "a\\r\\nb\\u001b[31m");
        assert_eq!(escaped("\u{9b}0m\u{7f}\u{0}"), "\\u009b0m\\u007f\\u0000");
        assert_eq!(escaped("\u{202e}gpj.exe\u{2066}"), "\\u202egpj.exe\\u2066");
        assert_eq!(escaped("\u{e0041}"), "\\udb40\\udc41");
        assert_eq!(escaped("Grüße, 世界"), "Grüße, 世界");
    }

    #[test]
    fn what_is_escaped_reads_back_as_json() {
        let text = "\"\\/\u{1}\u{85}\u{2028}\u{e0041}é\t";
        let json = format!("\"{}\"", escaped(text));
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), text);
    }

    #[test]
    fn a_long_value_is_cut_once_even_when_it_comes_in_pieces() {
        let mut out = String::new();
        let mut writer = Escaped::new(&mut out);
        for _ in 0..5 {
            writer.write_str(&"é".repeat(500)).unwrap();
        }
        assert_eq!(out.chars().count(), LONGEST / 2 + 1);
        assert!(out.ends_with('…'));
    }
}
