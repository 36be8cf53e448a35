//! JSON text with everything random taken out of it, so that what remains deflates well.
//!
//! In the text stands a marker for each GUID, stretch of base64 and ten-digit number (seconds since
//! 1970); the values go into a stream of octets. The text is never parsed: spaces, order and
//! spelling come back as they were. Raw control characters do not occur in JSON (RFC 8259 §7), so
//! the lowest of them serve as markers; a text that has one is not taken.

use std::borrow::Cow;

use zeroize::Zeroizing;

use super::{
    blob::{Alphabet, Blob},
    deflate, guid, nested,
    varint::{self, Octets},
};

/// Most characters of text, before and after inflating, that one session may have.
pub(super) const TEXT_CAP: usize = 256 * 1024;

const GUID: u8 = 1;
const URL_SAFE: u8 = 2;
const STANDARD: u8 = 3;
const NUMBER: u8 = 4;
/// Base64, with `-` and `_`, of octets that have GUIDs in them.
const NESTED: u8 = 5;
/// Octets below this are, or may become, markers.
const MARKERS: u8 = 8;
const NUMBER_DIGITS: usize = 10;
/// Blobs that are looked for again. Entra's tokens have about ten; looking must stay cheap.
const REMEMBERED: usize = 64;

/// Takes a session apart: `octets` are the fields in their order, texts go beside them.
pub(super) struct Dismantler {
    pub(super) octets: Zeroizing<Vec<u8>>,
    text: Zeroizing<Vec<u8>>,
    guids: guid::Collector,
    /// Each different blob, in its order.
    blobs: Vec<Zeroizing<Vec<u8>>>,
    number: i64,
    text_left: usize,
    /// Two bits for each string or text: how it is stored. The first is the lowest.
    forms: u64,
    strings: u32,
}

/// How a string or a text is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// Not there.
    Absent = 0,
    /// Taken apart.
    Apart = 1,
    /// As it is.
    Whole = 2,
}

impl Dismantler {
    /// `size` octets will come at most, so that nothing secret is left behind by growing. Numbers
    /// are stored by their distance from the last one, at first from `number`.
    pub(super) fn new(size: usize, number: i64) -> Self {
        Self {
            octets: Zeroizing::new(Vec::with_capacity(size)),
            text: Zeroizing::new(Vec::with_capacity(size)),
            guids: guid::Collector::new(),
            blobs: Vec::new(),
            number,
            text_left: TEXT_CAP,
            forms: 0,
            strings: 0,
        }
    }

    /// Notes how the next string is stored.
    pub(super) fn form(&mut self, form: Form) {
        self.forms |= (form as u64) << (2 * self.strings);
        self.strings += 1;
    }

    /// Whether `text` may be taken apart. If not it must be stored in another way.
    pub(super) fn takes(&self, texts: &[&[u8]]) -> bool {
        let length: usize = texts.iter().map(|text| text.len()).sum();
        length <= self.text_left && texts.iter().all(|t| t.iter().all(|octet| *octet >= MARKERS))
    }

    /// Takes `text` apart.
    pub(super) fn text(&mut self, text: &[u8]) {
        varint::push_length(&mut self.octets, text.len());
        self.text_left = self.text_left.saturating_sub(text.len());
        let mut rest = text;
        while !rest.is_empty() {
            let mut taken = self.element(rest);
            if taken == 0 {
                // Words are passed over whole: elements begin only where a word could begin.
                taken = Alphabet::UrlSafe.stretch(rest).max(1);
                self.text.extend_from_slice(rest.get(..taken).unwrap_or_default());
            }
            rest = rest.get(taken..).unwrap_or_default();
        }
    }

    /// Takes out what `rest` begins with; 0 when that is ordinary text.
    fn element(&mut self, rest: &[u8]) -> usize {
        if let Some(guid) = guid::at_start(rest) {
            self.text.push(GUID);
            self.guids.add(guid);
            return guid::TEXT;
        }
        if let Some(number) = number_at_start(rest) {
            self.text.push(NUMBER);
            varint::push_signed(&mut self.octets, number.wrapping_sub(self.number));
            self.number = number;
            return NUMBER_DIGITS;
        }
        let Some(blob) = Blob::in_text(rest) else { return 0 };
        let marker = self.blob(blob.alphabet, blob.octets);
        self.text.push(marker);
        blob.characters
    }

    /// Stores a blob, or the number of an equal one before it; returns its marker.
    fn blob(&mut self, alphabet: Alphabet, blob: Zeroizing<Vec<u8>>) -> u8 {
        let marker = match alphabet {
            Alphabet::UrlSafe => URL_SAFE,
            Alphabet::Standard => STANDARD,
        };
        let mut remembered = self.blobs.iter().take(REMEMBERED);
        if let Some(before) = remembered.position(|other| *other == blob) {
            varint::push_length(&mut self.octets, before << 1 | 1);
            return marker;
        }
        let is_nested = alphabet == Alphabet::UrlSafe && nested::is_nested(&blob);
        if is_nested {
            nested::push(&mut self.octets, &mut self.guids, &blob);
        } else {
            varint::push_length(&mut self.octets, blob.len() << 1);
            self.octets.extend_from_slice(&blob);
        }
        self.blobs.push(blob);
        if is_nested { NESTED } else { marker }
    }

    /// Everything behind `version`, with `spare` octets of room at the end.
    pub(super) fn finish(self, version: u8, spare: usize) -> Zeroizing<Vec<u8>> {
        let deflated = deflate::deflate(&self.text);
        let text = deflated.as_ref().unwrap_or(&self.text);
        let size = 1 + 2 * varint::MOST + self.guids.size() + text.len() + self.octets.len();
        let mut packed = Zeroizing::new(Vec::with_capacity(size + spare));
        packed.push(version);
        varint::push(&mut packed, self.forms);
        self.guids.finish(&mut packed);
        varint::push_length(&mut packed, self.text.len() << 1 | usize::from(deflated.is_some()));
        packed.extend_from_slice(text);
        packed.extend_from_slice(&self.octets);
        packed
    }
}

/// Puts a session together from what [`Dismantler`] made.
pub(super) struct Assembler<'a> {
    pub(super) octets: Octets<'a>,
    text: Zeroizing<Vec<u8>>,
    /// Where in `text` the next one begins.
    place: usize,
    guids: guid::Dealer<'a>,
    blobs: Vec<Cow<'a, [u8]>>,
    number: i64,
    text_left: usize,
    forms: u64,
}

impl<'a> Assembler<'a> {
    /// Begins with what stands behind the version.
    pub(super) fn read(mut packed: Octets<'a>) -> Option<Self> {
        let forms = packed.number()?;
        let guids = guid::Dealer::read(&mut packed)?;
        let head = packed.length()?;
        let (length, is_deflated) = (head >> 1, head & 1 == 1);
        if length > TEXT_CAP {
            return None;
        }
        let text = if is_deflated {
            deflate::inflate(&mut packed, length)?
        } else {
            Zeroizing::new(packed.take(length)?.to_vec())
        };
        Some(Self {
            octets: packed,
            text,
            place: 0,
            guids,
            blobs: Vec::new(),
            number: 0,
            text_left: TEXT_CAP,
            forms,
        })
    }

    /// How the next string is stored.
    pub(super) fn form(&mut self) -> Option<Form> {
        let form = match self.forms & 3 {
            0 => Form::Absent,
            1 => Form::Apart,
            2 => Form::Whole,
            _ => return None,
        };
        self.forms >>= 2;
        Some(form)
    }

    /// The number that the first one is counted from.
    pub(super) fn count_from(&mut self, number: i64) {
        self.number = number;
    }

    /// The next text.
    pub(super) fn text(&mut self) -> Option<Zeroizing<Vec<u8>>> {
        let length = self.octets.length()?;
        self.text_left = self.text_left.checked_sub(length)?;
        let mut text = Zeroizing::new(Vec::with_capacity(length + 3));
        while text.len() < length {
            let rest = self.text.get(self.place..)?;
            let plain = rest.iter().take(length - text.len()).take_while(|o| **o >= MARKERS);
            let plain = rest.get(..plain.count())?;
            text.extend_from_slice(plain);
            self.place += plain.len();
            if text.len() < length {
                let marker = *self.text.get(self.place)?;
                self.place += 1;
                self.element(marker, &mut text)?;
            }
        }
        (text.len() == length).then_some(text)
    }

    /// Whether nothing is left over but padding.
    pub(super) fn is_done(&self) -> bool {
        self.octets.is_zero()
            && self.place == self.text.len()
            && self.guids.is_done()
            && self.forms == 0
    }

    fn element(&mut self, marker: u8, text: &mut Vec<u8>) -> Option<()> {
        match marker {
            GUID => guid::push_text(self.guids.deal()?, text),
            URL_SAFE => Alphabet::UrlSafe.push_text(self.blob()?, text),
            STANDARD => Alphabet::Standard.push_text(self.blob()?, text),
            NESTED => {
                let blob = nested::read(&mut self.octets, &mut self.guids, TEXT_CAP)?;
                Alphabet::UrlSafe.push_text(&blob, text);
                self.blobs.push(Cow::Owned(blob));
            }
            NUMBER => {
                self.number = self.number.wrapping_add(self.octets.signed()?);
                text.extend_from_slice(self.number.to_string().as_bytes());
            }
            _ => return None,
        }
        Some(())
    }

    fn blob(&mut self) -> Option<&[u8]> {
        let head = self.octets.length()?;
        let place = if head & 1 == 1 {
            head >> 1
        } else {
            self.blobs.push(Cow::Borrowed(self.octets.take(head >> 1)?));
            self.blobs.len() - 1
        };
        self.blobs.get(place).map(AsRef::as_ref)
    }
}

fn number_at_start(text: &[u8]) -> Option<i64> {
    let digits = text.iter().take_while(|octet| octet.is_ascii_digit()).count();
    let number = text.get(..NUMBER_DIGITS)?;
    if digits != NUMBER_DIGITS || number.first() == Some(&b'0') {
        return None;
    }
    std::str::from_utf8(number).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn pack(texts: &[&str], from: i64) -> Zeroizing<Vec<u8>> {
        let mut dismantler = Dismantler::new(1_000, from);
        for text in texts {
            dismantler.text(text.as_bytes());
        }
        dismantler.finish(0, 0)
    }

    fn unpack(packed: &[u8], count: usize, from: i64) -> Option<Vec<String>> {
        let mut assembler = Assembler::read(Octets(packed.get(1..)?))?;
        assembler.count_from(from);
        let text = |_| String::from_utf8(assembler.text()?.to_vec()).ok();
        let texts = (0..count).map(text).collect::<Option<Vec<_>>>()?;
        assembler.is_done().then_some(texts)
    }

    #[test]
    fn everything_random_leaves_the_text() {
        let mut dismantler = Dismantler::new(1_000, 1_700_000_000);
        dismantler.text(
            br#"{"oid":"72f988bf-86f1-41af-91ab-2d7cd011db47","iat":1700000300,"n":42,
            "sub":"1lWd0IW-F5gsqtR8RfTUfx3cIzQMxSqCJ8XQ-abpCDk","name":"Ada Lovelace",
            "iss":"https://sts.windows.net/72f988bf-86f1-41af-91ab-2d7cd011db47/",
            "aio":"AXQAi/8TAAAAh5Yk3+Qz0cP7MA==","again":"1lWd0IW-F5gsqtR8RfTUfx3cIzQMxSqCJ8XQ-abpCDk"}"#,
        );
        assert_eq!(
            std::str::from_utf8(&dismantler.text).unwrap(),
            "{\"oid\":\"\u{1}\",\"iat\":\u{4},\"n\":42,
            \"sub\":\"\u{2}\",\"name\":\"Ada Lovelace\",
            \"iss\":\"https://sts.windows.net/\u{1}/\",
            \"aio\":\"\u{3}==\",\"again\":\"\u{2}\"}"
        );
        // Length of the text, distance, subject, `aio`, and the subject's number.
        assert_eq!(dismantler.octets.len(), 2 + 2 + (1 + 32) + (1 + 19) + 1);
    }

    #[test]
    fn a_text_with_control_characters_or_beyond_the_cap_is_not_taken() {
        let mut dismantler = Dismantler::new(0, 0);
        assert!(dismantler.takes(&[b"{\n\t}"]));
        assert!(!dismantler.takes(&[b"{}", b"{\x01}"]));
        let half = b" ".repeat(TEXT_CAP / 2);
        assert!(dismantler.takes(&[&half, &half]));
        dismantler.text(&half);
        dismantler.text(b"{}");
        assert!(!dismantler.takes(&[&half]));
    }

    #[test]
    fn markers_cannot_swell_a_text_beyond_its_length() {
        let guid = "72f988bf-86f1-41af-91ab-2d7cd011db47";
        let packed = pack(&[&guid.repeat(3)], 0);
        assert_eq!(packed.last(), Some(&108));
        let mut longer = packed.to_vec();
        *longer.last_mut().unwrap() -= 1;
        assert!(unpack(&packed, 1, 0).is_some());
        assert!(unpack(&longer, 1, 0).is_none());
    }

    proptest! {
        #[test]
        fn texts_come_back(
            texts in proptest::collection::vec(
                "([ -~]{0,9}|[0-9]{9,11}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\
                 [A-Za-z0-9_-]{15,50}|JDcyZjk4OGJmLTg2ZjEtNDFhZi05MWFiLTJkN2NkMDExZGI0Nw|[A-Za-z0-9+/]{15,50}=?|\\PC){0,8}", 0..4),
            from: i64,
        ) {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let packed = pack(&texts, from);
            prop_assert_eq!(unpack(&packed, texts.len(), from).unwrap(), texts);
        }

        #[test]
        fn arbitrary_octets_never_panic(octets: Vec<u8>, count in 0..4_usize) {
            if let Some(texts) = unpack(&octets, count, 0) {
                prop_assert!(texts.iter().map(String::len).sum::<usize>() <= TEXT_CAP);
            }
        }
    }
}
