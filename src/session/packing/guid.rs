//! GUIDs as sixteen octets, each stored once however often it comes: the groups of a token and the
//! groups of the claims are one list.

use std::{collections::HashMap, mem};

use super::varint::{self, Octets};

/// Characters of a GUID as text.
pub(super) const TEXT: usize = 36;
/// Octets of a GUID.
const OCTETS: usize = 16;

/// A GUID in the order of its text.
pub(super) type Guid = [u8; OCTETS];

/// GUIDs that are the same in every tenant. Part of the format: never changed, only by a new
/// version of it.
const KNOWN: [Guid; 4] = [
    // Microsoft Graph, 00000003-0000-0000-c000-000000000000.
    [0, 0, 0, 3, 0, 0, 0, 0, 0xc0, 0, 0, 0, 0, 0, 0, 0],
    // The directory role that every user has, b79fbf4d-3ef9-4689-8143-76b194e85509.
    *b"\xb7\x9f\xbf\x4d\x3e\xf9\x46\x89\x81\x43\x76\xb1\x94\xe8\x55\x09",
    // The tenant of personal accounts, 9188040d-6c67-4c5b-b112-36a304b66dad.
    *b"\x91\x88\x04\x0d\x6c\x67\x4c\x5b\xb1\x12\x36\xa3\x04\xb6\x6d\xad",
    // Global administrator, 62e90394-69f5-4237-9190-012177145e10.
    *b"\x62\xe9\x03\x94\x69\xf5\x42\x37\x91\x90\x01\x21\x77\x14\x5e\x10",
];

/// The GUID that `text` begins with, in lower case as Entra writes it: anything else would not
/// come back bit for bit.
pub(super) fn at_start(text: &[u8]) -> Option<Guid> {
    let text = text.first_chunk::<TEXT>()?;
    let mut guid = [0; OCTETS];
    let mut octets = guid.iter_mut();
    let mut left = text.as_slice();
    for group in [8, 4, 4, 4, 12] {
        let (digits, rest) = left.split_at_checked(group)?;
        for pair in digits.chunks_exact(2) {
            let [high, low] = pair else { return None };
            *octets.next()? = nibble(*high)? << 4 | nibble(*low)?;
        }
        left = match rest.split_first() {
            Some((b'-', rest)) => rest,
            Some(_) => return None,
            None => rest,
        };
    }
    Some(guid)
}

/// Appends the text of a GUID.
#[expect(clippy::many_single_char_names, reason = "thirty-two digits have no better names")]
pub(super) fn push_text(guid: Guid, into: &mut Vec<u8>) {
    let (quarters, _) = guid.as_chunks();
    let mut digits = quarters.iter().map(|quarter| digits(*quarter));
    let mut next = || digits.next().unwrap_or_default();
    let [a, b, c, d, e, f, g, h] = next();
    let [i, j, k, l, m, n, o, p] = next();
    let [q, r, s, t, u, v, w, x] = next();
    let rest = next();
    #[rustfmt::skip]
    into.extend_from_slice(&[
        a, b, c, d, e, f, g, h, b'-', i, j, k, l, b'-', m, n, o, p, b'-', q, r, s, t, b'-', u, v, w, x,
    ]);
    into.extend_from_slice(&rest);
}

/// Eight digits at once: a session of two hundred groups has four hundred GUIDs.
fn digits(octets: [u8; 4]) -> [u8; 8] {
    let mut nibbles = u64::from(u32::from_be_bytes(octets));
    nibbles = (nibbles | nibbles << 16) & 0x0000_ffff_0000_ffff;
    nibbles = (nibbles | nibbles << 8) & 0x00ff_00ff_00ff_00ff;
    nibbles = (nibbles | nibbles << 4) & 0x0f0f_0f0f_0f0f_0f0f;
    // One in each octet that holds ten or more.
    let letters = ((nibbles + 0x0606_0606_0606_0606) >> 4) & 0x0101_0101_0101_0101;
    let to_letter = u64::from(b'a' - b'0' - 10);
    (nibbles + 0x3030_3030_3030_3030 + letters * to_letter).to_be_bytes()
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// Neighbours in the table that follow each other in the text too.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    start: usize,
    length: usize,
    /// The first mention of each.
    new: bool,
}

/// Collects GUIDs while text is taken apart.
#[derive(Debug)]
pub(super) struct Collector {
    places: HashMap<Guid, usize>,
    table: Vec<u8>,
    runs: Vec<u8>,
    run: Run,
}

impl Collector {
    pub(super) fn new() -> Self {
        let places = KNOWN.iter().enumerate().map(|(place, guid)| (*guid, place)).collect();
        Self { places, table: Vec::new(), runs: Vec::new(), run: Run::default() }
    }

    /// The next GUID of the text.
    pub(super) fn add(&mut self, guid: Guid) {
        let next = self.places.len();
        let place = *self.places.entry(guid).or_insert(next);
        let new = place == next;
        if new {
            self.table.extend_from_slice(&guid);
        }
        if self.run.length > 0 && self.run.new == new && self.run.start + self.run.length == place {
            self.run.length += 1;
        } else {
            self.end_run();
            self.run = Run { start: place, length: 1, new };
        }
    }

    /// Appends everything collected: the table, then the runs.
    pub(super) fn finish(mut self, into: &mut Vec<u8>) {
        self.end_run();
        varint::push_length(into, self.table.len() / OCTETS);
        into.extend_from_slice(&self.table);
        varint::push_length(into, self.runs.len());
        into.extend_from_slice(&self.runs);
    }

    /// Octets that [`Collector::finish`] will need at most.
    pub(super) fn size(&self) -> usize {
        self.table.len() + self.runs.len() + 4 * varint::MOST
    }

    fn end_run(&mut self) {
        let Run { start, length, new } = mem::take(&mut self.run);
        if length > 0 {
            varint::push_length(&mut self.runs, length << 1 | usize::from(new));
            if !new {
                varint::push_length(&mut self.runs, start);
            }
        }
    }
}

/// Gives GUIDs out in the order in which they were collected.
#[derive(Debug)]
pub(super) struct Dealer<'a> {
    table: &'a [Guid],
    runs: Octets<'a>,
    /// GUIDs of the table that were given out once.
    mentioned: usize,
    next: usize,
    left: usize,
}

impl<'a> Dealer<'a> {
    /// Reads what [`Collector::finish`] wrote.
    pub(super) fn read(packed: &mut Octets<'a>) -> Option<Self> {
        let count = packed.length()?;
        let (table, _) = packed.take(count.checked_mul(OCTETS)?)?.as_chunks();
        let runs = Octets(packed.counted()?);
        Some(Self { table, runs, mentioned: KNOWN.len(), next: 0, left: 0 })
    }

    /// The next GUID of the text.
    pub(super) fn deal(&mut self) -> Option<Guid> {
        if self.left == 0 {
            let head = self.runs.length()?;
            self.left = head >> 1;
            self.next = self.mentioned;
            if head & 1 == 0 {
                self.next = self.runs.length()?;
            } else {
                self.mentioned = self.mentioned.checked_add(self.left)?;
            }
        }
        let guid = match KNOWN.get(self.next) {
            Some(guid) => guid,
            None => self.table.get(self.next.checked_sub(KNOWN.len())?)?,
        };
        self.left = self.left.checked_sub(1)?;
        self.next += 1;
        Some(*guid)
    }

    /// Whether everything was given out.
    pub(super) fn is_done(&self) -> bool {
        self.left == 0 && self.runs.is_empty() && self.mentioned == KNOWN.len() + self.table.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn text(guid: Guid) -> String {
        let mut text = Vec::new();
        push_text(guid, &mut text);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn the_known_ones_are_what_their_comments_say() {
        assert_eq!(
            KNOWN.map(text),
            [
                "00000003-0000-0000-c000-000000000000",
                "b79fbf4d-3ef9-4689-8143-76b194e85509",
                "9188040d-6c67-4c5b-b112-36a304b66dad",
                "62e90394-69f5-4237-9190-012177145e10",
            ]
        );
    }

    #[test]
    fn only_the_spelling_that_comes_back_is_a_guid() {
        let good = "72f988bf-86f1-41af-91ab-2d7cd011db47";
        assert_eq!(text(at_start(format!("{good}, and more").as_bytes()).unwrap()), good);
        for bad in [
            "72F988BF-86f1-41af-91ab-2d7cd011db47",
            "72f988bf-86f1-41af-91ab-2d7cd011db4",
            "72f988bf086f1-41af-91ab-2d7cd011db47",
            "72f988bf-86f1-41af-91ab-2d7cd011dbg7",
            "{72f988bf-86f1-41af-91ab-2d7cd011db47}",
            "",
        ] {
            assert_eq!(at_start(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn a_list_that_comes_again_takes_a_few_octets() {
        let list = (0..200_u128).map(|i| (i * 0x9e37_79b9_7f4a_7c15_f39c).to_be_bytes());
        let mut collector = Collector::new();
        for guid in list.clone().chain(list) {
            collector.add(guid);
        }
        let mut packed = Vec::new();
        collector.finish(&mut packed);
        assert!(packed.len() <= 200 * OCTETS + 10, "{}", packed.len());
    }

    #[test]
    fn a_run_that_leads_out_of_the_table_is_none() {
        for runs in [&[9][..], &[2, 99], &[0, 0], &[0xff, 0xff, 0xff, 0xff, 0x7f]] {
            let mut packed = vec![1];
            packed.extend_from_slice(&[7; OCTETS]);
            varint::push_length(&mut packed, runs.len());
            packed.extend_from_slice(runs);
            let mut dealer = Dealer::read(&mut Octets(&packed)).unwrap();
            let dealt = (0..9).map_while(|_| dealer.deal()).count();
            assert!(dealt < 9 && !(dealer.is_done() && dealt > 1), "{runs:?} {dealt}");
        }
    }

    proptest! {
        #[test]
        fn guids_come_back_as_text(octets: Guid) {
            let text = text(octets);
            prop_assert_eq!(at_start(text.as_bytes()), Some(octets));
        }

        #[test]
        fn any_sequence_comes_back(numbers in proptest::collection::vec(0..12_u8, 0..60)) {
            let guid = |n: u8| KNOWN.get(usize::from(n)).copied().unwrap_or([n; OCTETS]);
            let mut collector = Collector::new();
            for &n in &numbers {
                collector.add(guid(n));
            }
            let mut packed = Vec::new();
            collector.finish(&mut packed);
            let mut dealer = Dealer::read(&mut Octets(&packed)).unwrap();
            for &n in &numbers {
                prop_assert_eq!(dealer.deal(), Some(guid(n)));
            }
            prop_assert!(dealer.is_done());
            prop_assert_eq!(dealer.deal(), None);
        }
    }
}
