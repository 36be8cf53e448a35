//! The bytes of a form as characters that a browser turns into the very same bytes again.

use super::{NotKept, parts::Part};

/// Name and value as bytes, as the browser sent them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) enum Encoding {
    /// What pages have used for twenty years.
    Utf8,
    /// Any other encoding: each byte is one of windows-1252's characters, and a page that submits
    /// in windows-1252 (WHATWG Encoding Standard §9) makes the same byte of it, whatever it meant.
    Windows1252,
}

/// The characters of windows-1252 at 0x80 to 0x9F; all others are those of Latin-1.
const UPPER: [char; 32] = [
    '\u{20AC}', '\u{81}', '\u{201A}', '\u{192}', '\u{201E}', '\u{2026}', '\u{2020}', '\u{2021}',
    '\u{2C6}', '\u{2030}', '\u{160}', '\u{2039}', '\u{152}', '\u{8D}', '\u{17D}', '\u{8F}',
    '\u{90}', '\u{2018}', '\u{2019}', '\u{201C}', '\u{201D}', '\u{2022}', '\u{2013}', '\u{2014}',
    '\u{2DC}', '\u{2122}', '\u{161}', '\u{203A}', '\u{153}', '\u{9D}', '\u{17E}', '\u{178}',
];

/// What browsers replace by the name of the encoding (HTML §4.10.21.4, "constructing the entry
/// list"): a hidden field of that name does not keep its value.
const CHARSET_FIELD: &str = "_charset_";

impl Encoding {
    /// The encoding in which all of `parts` can be read.
    pub(super) fn of(parts: &[Part<'_>]) -> Self {
        let utf8 = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok();
        if parts.iter().all(|part| utf8(&part.name) && utf8(&part.value)) {
            Self::Utf8
        } else {
            Self::Windows1252
        }
    }

    /// As `accept-charset` of a form.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Utf8 => "UTF-8",
            Self::Windows1252 => "windows-1252",
        }
    }

    /// The characters of `bytes`.
    pub(super) fn characters(self, bytes: &[u8]) -> Result<String, NotKept> {
        match self {
            Self::Utf8 => {
                std::str::from_utf8(bytes).map(ToOwned::to_owned).map_err(|_| NotKept::Unfaithful)
            }
            Self::Windows1252 => Ok(bytes.iter().map(|byte| character(*byte)).collect()),
        }
    }

    /// Refuses what a hidden field would change: NUL, a line end other than CRLF, and a
    /// `_charset_` of another name than ours.
    pub(super) fn check(self, name: &str, value: &str) -> Result<(), NotKept> {
        let crlf = value.matches("\r\n").count();
        let ends = value.bytes().filter(|byte| matches!(byte, b'\r' | b'\n')).count();
        let odd_name = name.is_empty() || name.chars().any(|c| c.is_ascii_control());
        let renamed = name.eq_ignore_ascii_case(CHARSET_FIELD) && value != self.label();
        if odd_name || renamed || value.contains('\0') || ends != 2 * crlf {
            return Err(NotKept::Unfaithful);
        }
        Ok(())
    }
}

fn character(byte: u8) -> char {
    let upper = byte.checked_sub(0x80).and_then(|index| UPPER.get(usize::from(index)));
    upper.copied().unwrap_or(char::from(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_windows_1252_is_a_character_of_its_own() {
        let all: Vec<u8> = (0..=255).collect();
        let text = Encoding::Windows1252.characters(&all).unwrap();
        let mut characters: Vec<char> = text.chars().collect();
        assert_eq!(characters.len(), 256);
        characters.sort_unstable();
        characters.dedup();
        assert_eq!(characters.len(), 256);
        assert_eq!(Encoding::Windows1252.characters(b"\x80 \xe4 \x93").unwrap(), "€ ä “");
    }

    #[test]
    fn what_a_hidden_field_would_change_is_not_kept() {
        let utf8 = Encoding::Utf8;
        for (name, value) in [
            ("a", "x\0"),
            ("a", "x\ny"),
            ("a", "x\ry"),
            ("", "x"),
            ("a\n", "x"),
            ("_CharSet_", "x"),
        ] {
            assert_eq!(utf8.check(name, value), Err(NotKept::Unfaithful), "{name:?} {value:?}");
        }
        for (name, value) in [("a", "x\r\ny\r\n"), ("a", ""), ("_charset_", "UTF-8")] {
            assert_eq!(utf8.check(name, value), Ok(()), "{name:?} {value:?}");
        }
    }
}
