//! What an HTTP/2 client is told beside answers: that a request is refused, or the connection over.
//!
//! The h2 crate refuses what is malformed or beyond its limits by itself, and tells nobody but the
//! client. So what is sent is read along, for the metrics.

use crate::base::metrics::Metrics;

/// Frame types (RFC 9113 §6).
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
/// A frame's header (§4.1).
const HEADER: usize = 9;
/// Header and error code of these frames.
const RST_STREAM_CODE: usize = HEADER + 4;
const GOAWAY_CODE: usize = HEADER + 8;

/// Reads along what is sent.
#[derive(Debug)]
pub(super) struct Told {
    metrics: Metrics,
    /// What is left of a payload.
    skip: usize,
    start: [u8; GOAWAY_CODE],
    have: usize,
}

impl Told {
    pub(super) fn new(metrics: Metrics) -> Self {
        Self { metrics, skip: 0, start: [0; GOAWAY_CODE], have: 0 }
    }

    /// Takes in what was sent.
    pub(super) fn sent(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let taken = (self.wanted() - self.have).min(bytes.len());
            let (part, rest) = bytes.split_at(taken);
            let end = self.have + taken;
            if let Some(place) = self.start.get_mut(self.have..end) {
                place.copy_from_slice(part);
            }
            (self.have, bytes) = (end, rest);
            // At nine bytes it may turn out that more of the frame is wanted.
            if self.have >= HEADER && self.have == self.wanted() {
                self.frame();
            }
        }
    }

    /// How many bytes of the frame tell all that there is to know.
    fn wanted(&self) -> usize {
        let [_, _, _, kind, ..] = self.start;
        match kind {
            RST_STREAM if self.have >= HEADER => RST_STREAM_CODE,
            GOAWAY if self.have >= HEADER => GOAWAY_CODE,
            _ => HEADER,
        }
    }

    fn frame(&mut self) {
        let [high, middle, low, ..] = self.start;
        let length = u32::from_be_bytes([0, high, middle, low]);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        self.skip = length.saturating_sub(self.have - HEADER);
        let code = self.start.get(self.have - 4..self.have).and_then(|code| code.last());
        let reason = match (self.have, code) {
            (RST_STREAM_CODE, Some(code)) => refusal(*code),
            (GOAWAY_CODE, Some(code)) => end(*code),
            _ => None,
        };
        if let Some(reason) = reason {
            self.metrics.refusal(reason);
        }
        self.have = 0;
    }
}

/// The word of the metric for the end of one request (codes: RFC 9113 §7).
fn refusal(code: u8) -> Option<&'static str> {
    match code {
        // PROTOCOL_ERROR, FLOW_CONTROL_ERROR, FRAME_SIZE_ERROR.
        1 | 3 | 6 => Some("malformed"),
        // REFUSED_STREAM.
        7 => Some("streams"),
        // The app broke off, the client changed its mind, or it was too slow, which is counted.
        _ => None,
    }
}

/// The same for the end of a connection.
fn end(code: u8) -> Option<&'static str> {
    match code {
        // NO_ERROR: in order.
        0 => None,
        // ENHANCE_YOUR_CALM.
        11 => Some("h2_flood"),
        _ => Some("malformed"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&length[1..], &[kind, 0, 0, 0, 0, 1], payload].concat()
    }

    #[test]
    fn refusals_are_found_between_answers_however_they_are_cut() {
        let bytes = [
            frame(4, &[0, 3, 0, 0, 0, 100]),
            frame(1, b"fields"),
            frame(0, &[7; 5000]),
            frame(RST_STREAM, &[0, 0, 0, 7]),
            frame(0, b""),
            frame(RST_STREAM, &[0, 0, 0, 1]),
            frame(RST_STREAM, &[0, 0, 0, 8]),
            frame(GOAWAY, &[0; 8]),
            frame(GOAWAY, b"\0\0\0\x01\0\0\0\x0btoo_many"),
            frame(RST_STREAM, &[0, 0, 0, 7]),
        ]
        .concat();
        for size in [1, 2, 3, 7, 13, 100, bytes.len()] {
            let metrics = Metrics::new();
            let mut told = Told::new(metrics.clone());
            for piece in bytes.chunks(size) {
                told.sent(piece);
            }
            let text = metrics.render();
            for (reason, count) in [("streams", 2), ("malformed", 1), ("h2_flood", 1)] {
                let line = format!("vestibule_refusals_total{{reason=\"{reason}\"}} {count}\n");
                assert!(text.contains(&line), "{size}: {line} is not in {text}");
            }
        }
    }
}
