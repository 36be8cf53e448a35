//! Raw deflate (RFC 1951) with a dictionary of our own, bounded by the length that is expected.

use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use zeroize::Zeroizing;

use super::{dictionary::DICTIONARY, varint::Octets};

/// `text` deflated, unless that is no shorter.
pub(super) fn deflate(text: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let mut compress = Compress::new(Compression::best(), false);
    compress.set_dictionary(DICTIONARY).ok()?;
    // What does not fit into the length of the text is not wanted.
    let mut deflated = Zeroizing::new(Vec::with_capacity(text.len()));
    let status = compress.compress_vec(text, &mut deflated, FlushCompress::Finish).ok()?;
    (status == Status::StreamEnd && deflated.len() < text.len()).then_some(deflated)
}

/// Takes what [`deflate`] made from the front of `packed`, if its text is exactly as long as
/// expected. Memory is bounded by `length`, whatever the stream says.
pub(super) fn inflate(packed: &mut Octets<'_>, length: usize) -> Option<Zeroizing<Vec<u8>>> {
    let mut decompress = Decompress::new(false);
    decompress.set_dictionary(DICTIONARY).ok()?;
    let mut text = Zeroizing::new(vec![0; length]);
    let status = decompress.decompress(packed.0, &mut text, FlushDecompress::Finish).ok()?;
    let whole = status == Status::StreamEnd && decompress.total_out() == length as u64;
    packed.take(decompress.total_in().try_into().ok()?)?;
    whole.then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, proptest};

    use super::*;

    fn whole(deflated: &[u8], length: usize) -> Option<Zeroizing<Vec<u8>>> {
        let mut octets = Octets(deflated);
        inflate(&mut octets, length).filter(|_| octets.is_empty())
    }

    #[test]
    fn what_the_dictionary_knows_takes_a_few_octets() {
        let text = &DICTIONARY[DICTIONARY.len() - 200..];
        let deflated = deflate(text).unwrap();
        assert!(deflated.len() < 12, "{}", deflated.len());
        assert_eq!(whole(&deflated, text.len()).unwrap().as_slice(), text);
    }

    #[test]
    fn a_bomb_ends_at_the_length_that_is_expected() {
        let bomb = deflate(&vec![b'a'; 1 << 20]).unwrap();
        assert!(bomb.len() < 2_000);
        assert!(whole(&bomb, 100).is_none());
        assert!(whole(&bomb, (1 << 20) - 1).is_none());
        assert!(whole(&bomb, (1 << 20) + 1).is_none());
        assert!(whole(&bomb, 1 << 20).is_some());
    }

    #[test]
    fn octets_after_the_end_are_left() {
        let text = b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
        let mut deflated = deflate(text).unwrap();
        deflated.extend_from_slice(b"and more");
        let mut octets = Octets(&deflated);
        assert_eq!(inflate(&mut octets, text.len()).unwrap().as_slice(), text);
        assert_eq!(octets.0, b"and more");
    }

    proptest! {
        #[test]
        fn texts_come_back(text: Vec<u8>) {
            if let Some(deflated) = deflate(&text) {
                prop_assert!(whole(&deflated, text.len()).unwrap().as_slice() == text);
            }
        }

        #[test]
        fn arbitrary_octets_never_panic(octets: Vec<u8>, length in 0..4_096_usize) {
            if let Some(text) = whole(&octets, length) {
                prop_assert!(text.len() == length);
            }
        }
    }
}
