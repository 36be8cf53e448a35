//! What an HTTP/2 client sends beside requests and bodies, counted frame by frame.
//!
//! The h2 crate bounds what it keeps; it does not mind a client that makes us read, and answer,
//! pings or settings for ever (CVE-2019-9512 and its kin). So each frame that carries nothing costs,
//! requests, bodies and answers earn, and a client without credit is let go. The same reading tells
//! whether a head is under way: on HTTP/2 nothing else may be sent in the middle of one, so a slow
//! head holds up the whole connection.

use tokio::time::Instant;

use super::door::START;

/// Frame types (RFC 9113 §6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
/// Flags.
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// A frame's header (RFC 9113 §4.1).
const HEADER: usize = 9;

/// Credit is counted in fractions of a frame.
const FRAME: i64 = 32;
/// A browser follows a request up with priorities and windows, or takes it back.
const PER_REQUEST: i64 = 4 * FRAME;
/// The answer to a ping (17 bytes) earns about half of what the ping cost.
const PER_BYTE_WRITTEN: i64 = 1;
/// Clients that live long send pings and windows long.
const PER_SECOND: i64 = 100 * FRAME;

/// Reads along.
#[derive(Debug)]
pub(super) struct Frames {
    /// What is left of the preface, or of a frame's payload.
    skip: usize,
    header: [u8; HEADER],
    have: usize,
    /// Where the frame that is read leaves the head.
    head: Head,
    credit: i64,
    most: i64,
    refilled: Instant,
}

/// Whether a block of fields is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Head {
    /// Between requests.
    None,
    /// More frames of it have to come.
    Open,
    /// It ends with this frame.
    Ending,
}

impl Frames {
    /// A reader that lets `most` frames pass that nothing calls for.
    pub(super) fn new(most: u32, now: Instant) -> Self {
        let most = i64::from(most) * FRAME;
        Self {
            skip: START,
            header: [0; HEADER],
            have: 0,
            head: Head::None,
            credit: most,
            most,
            refilled: now,
        }
    }

    /// Takes in what the client sent.
    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.skip > 0 {
                let skipped = self.skip.min(bytes.len());
                self.skip -= skipped;
                bytes = bytes.get(skipped..).unwrap_or_default();
            } else {
                let taken = (HEADER - self.have).min(bytes.len());
                let (part, rest) = bytes.split_at(taken);
                let end = self.have + taken;
                if let Some(place) = self.header.get_mut(self.have..end) {
                    place.copy_from_slice(part);
                }
                (self.have, bytes) = (end, rest);
                if self.have < HEADER {
                    return;
                }
                self.have = 0;
                self.frame();
            }
            if self.skip == 0 && self.head == Head::Ending {
                self.head = Head::None;
            }
        }
    }

    fn frame(&mut self) {
        let [high, middle, low, kind, flags, ..] = self.header;
        let length = u32::from_be_bytes([0, high, middle, low]);
        self.skip = usize::try_from(length).unwrap_or(usize::MAX);
        match kind {
            HEADERS => self.earn(PER_REQUEST),
            DATA if length > 0 || flags & END_STREAM != 0 => self.earn(FRAME),
            _ => self.credit -= FRAME,
        }
        if matches!(kind, HEADERS | CONTINUATION) {
            let ends = flags & END_HEADERS != 0;
            self.head = if ends { Head::Ending } else { Head::Open };
        }
    }

    /// Takes in how much was sent to the client.
    pub(super) fn wrote(&mut self, bytes: usize) {
        self.earn(i64::try_from(bytes).unwrap_or(i64::MAX).saturating_mul(PER_BYTE_WRITTEN));
    }

    fn earn(&mut self, credit: i64) {
        self.credit = self.credit.saturating_add(credit).min(self.most);
    }

    /// Whether the client sent more than anything called for.
    pub(super) fn is_flood(&mut self, now: Instant) -> bool {
        if self.credit >= 0 {
            return false;
        }
        let passed = now.duration_since(self.refilled).as_millis();
        self.refilled = now;
        self.earn(i64::try_from(passed).unwrap_or(i64::MAX).saturating_mul(PER_SECOND) / 1000);
        self.credit < 0
    }

    /// Whether a head has begun and not ended.
    pub(super) fn in_head(&self) -> bool {
        self.head != Head::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    fn begun(most: u32, now: Instant) -> Frames {
        let mut frames = Frames::new(most, now);
        frames.read(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        frames
    }

    #[test]
    fn frames_that_carry_nothing_use_up_the_credit() {
        let now = Instant::now();
        for (kind, payload) in [
            (6, &[0; 8][..]),
            (4, &[]),
            (2, &[0; 5]),
            (3, &[0; 4]),
            (8, &[0; 4]),
            (0, &[]),
            (77, &[]),
        ] {
            let mut frames = begun(10, now);
            for _ in 0..10 {
                frames.read(&frame(kind, 0, payload));
            }
            assert!(!frames.is_flood(now), "{kind}");
            frames.read(&frame(kind, 0, payload));
            assert!(frames.is_flood(now), "{kind}");
        }
    }

    #[test]
    fn requests_bodies_and_answers_earn_it_back() {
        let now = Instant::now();
        let mut frames = begun(2, now);
        for _ in 0..1000 {
            frames.read(&frame(1, END_HEADERS, b"fields"));
            frames.read(&frame(2, 0, &[0; 5]));
            frames.read(&frame(8, 0, &[0; 4]));
            frames.read(&frame(0, 0, b"some data"));
            frames.read(&frame(8, 0, &[0; 4]));
            frames.wrote(16_384);
            frames.read(&frame(8, 0, &[0; 4]));
            frames.read(&frame(8, 0, &[0; 4]));
        }
        assert!(!frames.is_flood(now));
        // A ping's answer does not pay for the ping.
        for _ in 0..20 {
            frames.read(&frame(6, 0, &[0; 8]));
            frames.wrote(17);
        }
        assert!(frames.is_flood(now));
    }

    #[test]
    fn time_earns_too() {
        let now = Instant::now();
        let mut frames = begun(10, now);
        for _ in 0..11 {
            frames.read(&frame(6, 0, &[0; 8]));
        }
        assert!(frames.is_flood(now));
        assert!(!frames.is_flood(now + std::time::Duration::from_millis(100)));
    }

    #[test]
    fn a_head_is_under_way_until_its_last_byte() {
        let mut frames = begun(10, Instant::now());
        let bytes =
            [frame(1, 0, b"abc"), frame(9, 0, b"def"), frame(9, END_HEADERS, b"ghi")].concat();
        for (index, byte) in bytes.iter().enumerate() {
            frames.read(&[*byte]);
            let inside = (HEADER - 1..bytes.len() - 1).contains(&index);
            assert_eq!(frames.in_head(), inside, "byte {index}");
        }
        frames.read(&bytes);
        assert!(!frames.in_head());
        frames.read(&frame(1, END_HEADERS, b"")); // Empty, so over at once.
        assert!(!frames.in_head());
    }
}
