//! Identifiers: those of the directory follow from names, so that every run has the same ones;
//! those of one moment (codes, sessions, traces) are random.

use std::fmt::Write as _;

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};

/// The GUID that belongs to a name, the same in every run.
pub(crate) fn guid_of(label: &str) -> String {
    let digest: [u8; 32] = Sha256::digest(label.as_bytes()).into();
    guid(digest.first_chunk().unwrap_or(&[0; 16]))
}

/// A fresh GUID.
pub(crate) fn random_guid() -> String {
    guid(&random_bytes())
}

/// A fresh GUID's bytes, or other random material.
pub(crate) fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    #[expect(clippy::expect_used, reason = "without randomness no emulator can work")]
    getrandom::fill(&mut bytes).expect("the operating system gives randomness");
    bytes
}

/// Random base64url text of `length` characters.
pub(crate) fn random_text(length: usize) -> String {
    let mut text = String::with_capacity(length + 44);
    while text.len() < length {
        BASE64_URL_SAFE_NO_PAD.encode_string(random_bytes::<33>(), &mut text);
    }
    text.truncate(length);
    text
}

/// The same base64url text of at most 43 characters for the same label.
pub(crate) fn text_of(label: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(label.as_bytes()))
}

/// A random number from `low` up to, not including, `high`.
pub(crate) fn random_between(low: u64, high: u64) -> u64 {
    let width = high.saturating_sub(low).max(1);
    low + u64::from_be_bytes(random_bytes()) % width
}

/// Version and variant bits as RFC 9562 wants them for a random UUID.
fn guid(bytes: &[u8; 16]) -> String {
    let mut bytes = *bytes;
    if let Some(byte) = bytes.get_mut(6) {
        *byte = (*byte & 0x0f) | 0x40;
    }
    if let Some(byte) = bytes.get_mut(8) {
        *byte = (*byte & 0x3f) | 0x80;
    }
    let mut text = String::with_capacity(36);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// Whether `text` is written like a GUID, in any case.
pub(crate) fn is_guid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(index, byte)| match index {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_guid_for_ever() {
        assert_eq!(guid_of("contoso"), guid_of("contoso"));
        assert_ne!(guid_of("contoso"), guid_of("fabrikam"));
        assert!(is_guid(&guid_of("contoso")));
        assert!(is_guid(&random_guid()));
    }

    #[test]
    fn a_guid_needs_its_hyphens() {
        assert!(!is_guid("9188040d6c674c5bb112-36a304b66dad-0000"));
        assert!(is_guid("9188040D-6C67-4C5B-B112-36A304B66DAD"));
    }

    #[test]
    fn random_text_has_the_length_asked_for() {
        assert_eq!(random_text(665).len(), 665);
        assert_ne!(random_text(43), random_text(43));
    }
}
