//! Where a request's body ends, said once and in one way.
//!
//! hyper reads the body; what these fields still say is what the next hop would believe, so a
//! message that two parsers could cut differently is refused.

use http::{
    HeaderMap, HeaderValue,
    header::{CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING},
};

use super::hop_by_hop::names;

/// What is wrong with a request's framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// No number, or several different ones (RFC 9110 §8.6).
    #[error("the content length is not one number")]
    Length,
    /// Both, in which order ever (RFC 9112 §6.1).
    #[error("the request has a content length and a transfer coding")]
    LengthAndCoding,
    /// `chunked` twice.
    #[error("the request is chunked more than once")]
    ChunkedTwice,
    /// Any coding but `chunked`.
    #[error("the transfer coding is not chunked")]
    UnknownCoding,
    /// Anything but `100-continue` (RFC 9110 §10.1.1).
    #[error("the expectation is unknown")]
    Expectation,
}

/// Checks a request's framing and leaves at most one `Content-Length`, written by us.
///
/// Returns whether the request announces a body.
pub(super) fn check(headers: &mut HeaderMap) -> Result<bool, FramingError> {
    if names(headers, &EXPECT).any(|name| !name.eq_ignore_ascii_case(b"100-continue")) {
        return Err(FramingError::Expectation);
    }
    let chunked = headers.contains_key(TRANSFER_ENCODING);
    if chunked {
        check_coding(headers)?;
    }
    let Some(length) = length(headers)? else { return Ok(chunked) };
    if chunked {
        return Err(FramingError::LengthAndCoding);
    }
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    Ok(length > 0)
}

fn check_coding(headers: &HeaderMap) -> Result<(), FramingError> {
    let chunked = |coding: &[u8]| coding.trim_ascii().eq_ignore_ascii_case(b"chunked");
    let mut lines = headers.get_all(TRANSFER_ENCODING).iter();
    // The word and nothing else: parsers differ about empty elements of the list.
    if lines.next().is_some_and(|only| chunked(only.as_bytes())) && lines.next().is_none() {
        return Ok(());
    }
    let mut codings = names(headers, &TRANSFER_ENCODING);
    match (codings.next(), codings.next()) {
        (Some(first), Some(second)) if chunked(first) && chunked(second) => {
            Err(FramingError::ChunkedTwice)
        }
        _ => Err(FramingError::UnknownCoding),
    }
}

/// The one length. Equal repetitions are one (RFC 9110 §8.6); a list is none.
fn length(headers: &HeaderMap) -> Result<Option<u64>, FramingError> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter().map(number);
    let Some(first) = lengths.next() else { return Ok(None) };
    let first = first.ok_or(FramingError::Length)?;
    if lengths.all(|other| other == Some(first)) {
        Ok(Some(first))
    } else {
        Err(FramingError::Length)
    }
}

fn number(value: &HeaderValue) -> Option<u64> {
    let text = value.to_str().ok()?;
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if digits { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(lines: &[(&'static str, &str)]) -> (Result<bool, FramingError>, Vec<String>) {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        let result = check(&mut headers);
        let lengths = headers.get_all(CONTENT_LENGTH).iter();
        (result, lengths.map(|value| String::from_utf8_lossy(value.as_bytes()).into()).collect())
    }

    #[test]
    fn a_length_is_one_number_written_by_us() {
        const CL: &str = "content-length";
        assert_eq!(checked(&[]), (Ok(false), vec![]));
        assert_eq!(checked(&[(CL, "0")]), (Ok(false), vec!["0".to_owned()]));
        assert_eq!(checked(&[(CL, "007")]), (Ok(true), vec!["7".to_owned()]));
        assert_eq!(checked(&[(CL, "7"), (CL, "7")]), (Ok(true), vec!["7".to_owned()]));
        for bad in ["", "+1", "-1", "1, 1", "1 1", "0x1", "18446744073709551616", "1.0", "٣"] {
            assert_eq!(checked(&[(CL, bad)]).0, Err(FramingError::Length), "{bad}");
        }
        assert_eq!(checked(&[(CL, "7"), (CL, "8")]).0, Err(FramingError::Length));
    }

    #[test]
    fn a_coding_is_chunked_alone() {
        const TE: &str = "transfer-encoding";
        assert_eq!(checked(&[(TE, "Chunked")]).0, Ok(true));
        for lines in [&[(TE, "chunked, chunked")][..], &[(TE, "chunked"), (TE, "chunked")]] {
            assert_eq!(checked(lines).0, Err(FramingError::ChunkedTwice));
        }
        for bad in [
            "identity",
            "gzip, chunked",
            "xchunked",
            "\"chunked\"",
            "chunked;q=1",
            ",chunked",
            "chunked,",
            "",
        ] {
            assert_eq!(checked(&[(TE, bad)]).0, Err(FramingError::UnknownCoding), "{bad}");
        }
        let both = [(TE, "chunked"), ("content-length", "5")];
        assert_eq!(checked(&both).0, Err(FramingError::LengthAndCoding));
    }

    #[test]
    fn only_100_continue_is_expected() {
        assert_eq!(checked(&[("expect", "100-Continue")]).0, Ok(false));
        for bad in ["200-ok", "100-continue, x", "100-continue=1"] {
            assert_eq!(checked(&[("expect", bad)]).0, Err(FramingError::Expectation), "{bad}");
        }
    }
}
