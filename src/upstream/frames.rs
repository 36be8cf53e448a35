//! Just enough of WebSocket framing (RFC 6455 §5.2) to stop between two frames, and to say goodbye.

/// Follows one direction of a tunnel from frame to frame.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Frames {
    next: Next,
    masked: bool,
    length: u64,
    /// Bytes of mask and payload that are still to come.
    left: u64,
    closing: bool,
}

/// The next byte of a header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Next {
    #[default]
    Opcode,
    Length,
    /// So many more bytes of an extended length.
    Extended(u8),
}

const CLOSE: u8 = 0x8;
const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;

impl Frames {
    /// Takes note of bytes that have gone through.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = bytes.get(self.step(bytes)..).unwrap_or_default();
        }
    }

    /// How many of the `bytes` that come next belong to a frame that has begun.
    pub(super) fn rest(mut self, bytes: &[u8]) -> usize {
        let mut taken = 0;
        while !self.between()
            && let Some(ahead @ [_, ..]) = bytes.get(taken..)
        {
            taken += self.step(ahead);
        }
        taken
    }

    /// Whether no frame has been begun and not ended. A control frame may stand here, even between
    /// the fragments of a message (§5.4).
    pub(super) fn between(&self) -> bool {
        self.next == Next::Opcode && self.left == 0
    }

    /// Whether a whole Close frame has gone through: nothing may follow it (§5.5.1).
    pub(super) fn closed(&self) -> bool {
        self.closing && self.between()
    }

    /// Takes the first bytes of `bytes`, and says how many.
    fn step(&mut self, bytes: &[u8]) -> usize {
        if self.left > 0 {
            let taken = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
            self.left -= taken as u64;
            return taken;
        }
        let Some(&byte) = bytes.first() else { return 0 };
        match self.next {
            Next::Opcode => {
                self.closing = byte & 0xf == CLOSE;
                self.next = Next::Length;
            }
            Next::Length => {
                self.masked = byte & MASKED != 0;
                self.length = 0;
                match byte & !MASKED {
                    126 => self.next = Next::Extended(2),
                    127 => self.next = Next::Extended(8),
                    short => self.begin(u64::from(short)),
                }
            }
            Next::Extended(more) => {
                let length = self.length << 8 | u64::from(byte);
                match more {
                    0 | 1 => self.begin(length),
                    more => (self.length, self.next) = (length, Next::Extended(more - 1)),
                }
            }
        }
        1
    }

    fn begin(&mut self, payload: u64) {
        self.left = payload.saturating_add(if self.masked { 4 } else { 0 });
        self.next = Next::Opcode;
    }
}

/// A Close frame (§5.5.1). `mask` is for those that a client sends; `text` is short enough for one
/// byte of length.
pub(super) fn close(code: u16, text: &'static str, mask: Option<[u8; 4]>) -> Vec<u8> {
    let payload = [&code.to_be_bytes(), text.as_bytes()].concat();
    let length = u8::try_from(payload.len()).unwrap_or_default();
    let mut frame = vec![FINAL | CLOSE, length];
    match mask {
        None => frame.extend(payload),
        Some(mask) => {
            frame = vec![FINAL | CLOSE, MASKED | length];
            frame.extend(mask);
            frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        }
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(opcode: u8, payload: usize, mask: bool) -> Vec<u8> {
        let bit = if mask { MASKED } else { 0 };
        let mut frame = vec![opcode];
        match payload {
            0..126 => frame.push(bit | u8::try_from(payload).unwrap()),
            126..65_536 => {
                frame.push(bit + 126);
                frame.extend(u16::try_from(payload).unwrap().to_be_bytes());
            }
            _ => {
                frame.push(bit + 127);
                frame.extend((payload as u64).to_be_bytes());
            }
        }
        // What looks like the header of a Close frame is payload here.
        frame.resize(frame.len() + payload + if mask { 4 } else { 0 }, 0x88);
        frame
    }

    #[test]
    fn frames_of_every_length_end_where_they_end_however_they_are_cut() {
        for payload in [0, 1, 125, 126, 65_535, 65_536, 70_000] {
            for mask in [false, true] {
                let whole = frame(0x02, payload, mask);
                let two = [whole.clone(), frame(0x81, 3, mask)].concat();
                for cut in [1, 2, 3, 5, 9, 13, 14, whole.len() - 1] {
                    let cut = cut.min(whole.len() - 1);
                    let mut frames = Frames::default();
                    assert_eq!(frames.rest(&two), 0, "nothing has begun");
                    frames.pass(&two[..cut]);
                    assert!(!frames.between(), "{payload} {mask} {cut}");
                    assert_eq!(frames.rest(&two[cut..]), whole.len() - cut);
                    assert_eq!(frames.rest(&two[cut..=cut]), 1);
                    frames.pass(&two[cut..whole.len()]);
                    assert!(frames.between() && !frames.closed());
                }
            }
        }
    }

    #[test]
    fn a_close_frame_is_noticed_and_a_payload_is_not_taken_for_one() {
        for mask in [None, Some([1, 2, 3, 4])] {
            let close = close(1008, "session ended", mask);
            let mut frames = Frames::default();
            frames.pass(&frame(0x82, 300, mask.is_some()));
            assert!(!frames.closed());
            frames.pass(&close[..4]);
            assert!(!frames.closed());
            frames.pass(&close[4..]);
            assert!(frames.closed());
        }
    }

    #[test]
    fn a_close_frame_says_why_in_the_bytes_of_the_rfc() {
        assert_eq!(close(1001, "away", None), b"\x88\x06\x03\xe9away");
        let masked = close(1001, "away", Some([0xff, 0, 0xff, 0]));
        assert_eq!(masked, b"\x88\x86\xff\x00\xff\x00\xfc\xe9\x9e\x77\x9e\x79");
    }

    #[test]
    fn a_length_that_cannot_be_is_no_overflow() {
        let mut frames = Frames::default();
        frames.pass(&[0x82, 0xff, 255, 255, 255, 255, 255, 255, 255, 255, 1, 2, 3]);
        assert!(!frames.between());
    }
}
