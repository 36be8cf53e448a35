//! Stretches of base64 as the octets they stand for: token ids, hashes, pairwise subjects, opaque
//! refresh tokens.
//!
//! Only what is spelled canonically comes back bit for bit. Of a stretch with stray low bits the
//! longest part of whole groups of four characters is taken, which is always canonical.

use base64::{
    Engine,
    engine::{
        GeneralPurpose,
        general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
    },
};
use zeroize::Zeroizing;

/// Below this a random-looking stretch in a text is not worth its marker.
const SHORTEST_IN_TEXT: usize = 16;
/// A longer stretch in a text is taken in several: looking ahead must not cost more than the text.
const LONGEST_IN_TEXT: usize = 512;
/// Below this a stretch in an opaque string is not worth its two lengths.
const SHORTEST_IN_STRING: usize = 12;

/// Which sixty-four characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Alphabet {
    /// With `-` and `_`.
    UrlSafe,
    /// With `+` and `/`.
    Standard,
}

impl Alphabet {
    fn engine(self) -> &'static GeneralPurpose {
        match self {
            Self::UrlSafe => &URL_SAFE_NO_PAD,
            Self::Standard => &STANDARD_NO_PAD,
        }
    }

    fn has(self, character: u8) -> bool {
        character.is_ascii_alphanumeric()
            || match self {
                Self::UrlSafe => character == b'-' || character == b'_',
                Self::Standard => character == b'+' || character == b'/',
            }
    }

    /// How many characters of this alphabet `text` begins with.
    pub(super) fn stretch(self, text: &[u8]) -> usize {
        text.iter().take_while(|character| self.has(**character)).count()
    }

    /// Appends the text of `octets`; three characters more may be needed meanwhile.
    pub(super) fn push_text(self, octets: &[u8], into: &mut Vec<u8>) {
        let start = into.len();
        into.resize(start + octets.len().div_ceil(3) * 4, 0);
        let room = into.get_mut(start..).unwrap_or_default();
        let written = self.engine().encode_slice(octets, room).unwrap_or_default();
        into.truncate(start + written);
    }
}

/// Octets that stand for the first `characters` of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Blob {
    pub(super) alphabet: Alphabet,
    pub(super) characters: usize,
    pub(super) octets: Zeroizing<Vec<u8>>,
}

impl Blob {
    /// What stands at the start of a JSON text, if it is long and looks random.
    pub(super) fn in_text(text: &[u8]) -> Option<Self> {
        let text = text.get(..LONGEST_IN_TEXT).unwrap_or(text);
        let url_safe = (Alphabet::UrlSafe, Alphabet::UrlSafe.stretch(text));
        let standard = (Alphabet::Standard, Alphabet::Standard.stretch(text));
        // A path such as `/v1.0/users` is of the standard alphabet too, so both must look random.
        let candidates =
            if standard.1 > url_safe.1 { [standard, url_safe] } else { [url_safe, standard] };
        candidates
            .into_iter()
            .filter(|(_, length)| *length >= SHORTEST_IN_TEXT)
            .find(|(_, length)| text.get(..*length).is_some_and(is_random))
            .and_then(|(alphabet, length)| Self::of(alphabet, text.get(..length)?))
    }

    /// What stands at the start of an opaque string, if it is long.
    pub(super) fn in_string(text: &[u8]) -> Option<Self> {
        let lengths = [Alphabet::UrlSafe, Alphabet::Standard].map(|a| (a, a.stretch(text)));
        let (alphabet, length) = lengths.into_iter().max_by_key(|(_, length)| *length)?;
        let long = length >= SHORTEST_IN_STRING;
        long.then(|| Self::of(alphabet, text.get(..length)?)).flatten()
    }

    fn of(alphabet: Alphabet, text: &[u8]) -> Option<Self> {
        let whole = text.get(..text.len() / 4 * 4)?;
        [text, whole].into_iter().find_map(|text| {
            let octets = Zeroizing::new(alphabet.engine().decode(text).ok()?);
            Some(Self { alphabet, characters: text.len(), octets })
        })
    }
}

/// Random characters change between capitals, small letters and digits at two steps of three,
/// words and numbers seldom. A wrong guess costs octets, never exactness.
fn is_random(text: &[u8]) -> bool {
    let kind = |character: u8| match character {
        b'A'..=b'Z' => 0,
        b'a'..=b'z' => 1,
        b'0'..=b'9' => 2,
        _ => 3,
    };
    let changes = text.windows(2).filter(|pair| match pair {
        [a, b] => kind(*a) != kind(*b),
        _ => false,
    });
    changes.count() * 5 >= text.len() * 2
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn text(blob: &Blob) -> Vec<u8> {
        let mut text = Vec::new();
        blob.alphabet.push_text(&blob.octets, &mut text);
        text
    }

    #[test]
    fn token_ids_and_subjects_are_blobs() {
        for (id, octets) in [
            ("Ixwy8dXfS0mEu3B2CuQSAA", 16),
            ("1lWd0IW-F5gsqtR8RfTUfx3cIzQMxSqCJ8XQ-abpCDk", 32),
            ("i6lGk3FZzxRcUb2C3nEQ7syHJlY", 20),
        ] {
            let blob = Blob::in_text(format!("{id}\",").as_bytes()).unwrap();
            assert_eq!((blob.octets.len(), blob.characters), (octets, id.len()));
            assert_eq!(text(&blob), id.as_bytes());
        }
        let blob = Blob::in_text(b"AXQAi/8TAAAAh5Yk3+Qz0cP7MA==\"").unwrap();
        assert_eq!((blob.alphabet, blob.characters), (Alphabet::Standard, 26));
    }

    #[test]
    fn words_stay_words() {
        for word in [
            "preferred_username",
            "tenant_region_scope",
            "onprem_security_identifier_of_user",
            "com/users/photos/albums",
            "12345678901234567890",
            "Short1D",
        ] {
            assert_eq!(Blob::in_text(word.as_bytes()), None, "{word}");
        }
    }

    #[test]
    fn stray_low_bits_stay_text() {
        let blob = Blob::in_text(b"Ixwy8dXfS0mEu3B2CuQSAB").unwrap();
        assert_eq!((blob.characters, blob.octets.len()), (20, 15));
    }

    proptest! {
        #[test]
        fn a_blob_is_what_the_text_begins_with(text_of in "[A-Za-z0-9+/_=.-]{0,90}") {
            for blob in [Blob::in_text(text_of.as_bytes()), Blob::in_string(text_of.as_bytes())] {
                let Some(blob) = blob else { continue };
                prop_assert!(text_of.as_bytes().starts_with(&text(&blob)));
                prop_assert_eq!(text(&blob).len(), blob.characters);
                prop_assert_eq!(blob.characters * 3 / 4, blob.octets.len());
            }
        }
    }
}
