//! Strings that are nobody's business, such as refresh tokens: kept whole, never compressed, with
//! base64 undone wherever that comes back bit for bit.

use zeroize::Zeroizing;

use super::{
    blob::{Alphabet, Blob},
    varint::{self, Octets},
};

const PLAIN: usize = 0;
const URL_SAFE: usize = 1;
const STANDARD: usize = 2;

/// Appends the string: its length, then pieces, each a length and a kind.
pub(super) fn push(into: &mut Vec<u8>, text: &[u8]) {
    varint::push_length(into, text.len());
    let mut plain = 0;
    let mut rest = text;
    while let Some(after) = rest.get(plain..).filter(|after| !after.is_empty()) {
        if let Some(blob) = Blob::in_string(after) {
            push_plain(into, rest.get(..plain).unwrap_or_default());
            let kind = match blob.alphabet {
                Alphabet::UrlSafe => URL_SAFE,
                Alphabet::Standard => STANDARD,
            };
            varint::push_length(into, blob.octets.len() << 2 | kind);
            into.extend_from_slice(&blob.octets);
            rest = after.get(blob.characters..).unwrap_or_default();
            plain = 0;
        } else {
            // To the end of this stretch: its tail alone would look like another one.
            let stretch = [Alphabet::UrlSafe, Alphabet::Standard].map(|a| a.stretch(after));
            plain += stretch.into_iter().fold(1, usize::max);
        }
    }
    push_plain(into, rest);
}

/// Reads what [`push`] appended.
pub(super) fn read(octets: &mut Octets<'_>) -> Option<Zeroizing<Vec<u8>>> {
    let length = octets.length()?;
    // Four characters come from three octets at most.
    if length > octets.0.len().checked_mul(2)? {
        return None;
    }
    let mut text = Zeroizing::new(Vec::with_capacity(length + 3));
    while text.len() < length {
        let head = octets.length()?;
        let piece = octets.take(head >> 2).filter(|piece| !piece.is_empty())?;
        match head & 3 {
            PLAIN => text.extend_from_slice(piece),
            URL_SAFE => Alphabet::UrlSafe.push_text(piece, &mut text),
            STANDARD => Alphabet::Standard.push_text(piece, &mut text),
            _ => return None,
        }
    }
    (text.len() == length).then_some(text)
}

fn push_plain(into: &mut Vec<u8>, plain: &[u8]) {
    if !plain.is_empty() {
        varint::push_length(into, plain.len() << 2 | PLAIN);
        into.extend_from_slice(plain);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn packed(text: &str) -> Vec<u8> {
        let mut list = Vec::new();
        push(&mut list, text.as_bytes());
        list
    }

    fn read_back(octets: &[u8]) -> Option<String> {
        let mut octets = Octets(octets);
        let text = read(&mut octets)?;
        assert!(octets.is_empty());
        Some(String::from_utf8(text.to_vec()).unwrap())
    }

    #[test]
    fn a_refresh_token_takes_three_quarters_of_its_length() {
        let token = format!("1.AXEAL3rpQx{}.{}", "Ab9-_xYz".repeat(12), "Q0nv".repeat(300));
        let packed = packed(&token);
        assert!(packed.len() < token.len() * 3 / 4 + 12, "{} {}", packed.len(), token.len());
        assert_eq!(read_back(&packed).unwrap(), token);
    }

    #[test]
    fn a_personal_accounts_token_comes_back() {
        let token = "M.C507_BAY.0.U.-CtRBd7Ss!s1*8kPzvJq0XvYQmLrWnT5aBcDeFgHiJk$$";
        assert_eq!(read_back(&packed(token)).unwrap(), token);
        assert!(packed(token).len() <= token.len() + 2);
    }

    #[test]
    fn a_length_that_the_octets_cannot_fill_is_none_at_once() {
        for octets in [&[0xff, 0xff, 0xff, 0xff, 0x7f][..], &[9, 4, 1], &[1, 0], &[1, 7, 1]] {
            assert!(read(&mut Octets(octets)).is_none(), "{octets:?}");
        }
    }

    proptest! {
        #[test]
        fn strings_come_back(text in "([A-Za-z0-9_-]{0,40}|[A-Za-z0-9+/]{0,40}|\\PC){0,6}") {
            prop_assert_eq!(read_back(&packed(&text)), Some(text));
        }

        #[test]
        fn arbitrary_octets_never_panic(octets: Vec<u8>) {
            if let Some(text) = read(&mut Octets(&octets)) {
                prop_assert!(text.len() <= octets.len() * 2);
            }
        }
    }
}
