//! What may be asked of an X.509 certificate (RFC 5280 §4.1) without trusting anybody: how long it
//! is valid, and for which key.

use super::clock::days;

/// Tags of DER (ITU-T X.690 §8).
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const EXPLICIT_0: u8 = 0xa0;

/// What a certificate says about itself. No signature has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts<'a> {
    /// First second of its life, since 1970.
    pub not_before: i64,
    /// Last second of its life, since 1970.
    pub not_after: i64,
    /// The bits of `subjectPublicKey`: for RSA an `RSAPublicKey` (RFC 8017 §A.1.1).
    pub public_key: &'a [u8],
}

impl<'a> Facts<'a> {
    /// Reads the DER of one certificate; `None` if it is not one.
    pub fn read(der: &'a [u8]) -> Option<Self> {
        let (certificate, _) = member(der, SEQUENCE)?;
        let (body, _) = member(certificate, SEQUENCE)?;
        // The version is left out by certificates of version 1.
        let body = member(body, EXPLICIT_0).map_or(body, |(_, rest)| rest);
        let (_serial, rest) = member(body, INTEGER)?;
        let (_algorithm, rest) = member(rest, SEQUENCE)?;
        let (_issuer, rest) = member(rest, SEQUENCE)?;
        let (validity, rest) = member(rest, SEQUENCE)?;
        let (_subject, rest) = member(rest, SEQUENCE)?;
        let (key_info, _) = member(rest, SEQUENCE)?;
        let (not_before, rest) = time(validity)?;
        let (not_after, _) = time(rest)?;
        let (_algorithm, rest) = member(key_info, SEQUENCE)?;
        let (bits, _) = member(rest, BIT_STRING)?;
        // The first byte counts unused bits: a key has whole bytes.
        Some(Self { not_before, not_after, public_key: bits.strip_prefix(&[0])? })
    }
}

/// The content of the first member, which has this tag, and what follows it.
fn member(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = der.split_first()?;
    let (short, rest) = rest.split_first()?;
    if *first != tag {
        return None;
    }
    let (length, rest) = match usize::from(*short) {
        length @ ..=0x7f => (length, rest),
        // Four bytes of length are more than any file.
        count @ 0x81..=0x84 => {
            let (bytes, rest) = rest.split_at_checked(count & 0x7f)?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

/// `UTCTime` or `GeneralizedTime`, both in UTC and to the second (RFC 5280 §4.1.2.5).
fn time(der: &[u8]) -> Option<(i64, &[u8])> {
    let ((text, rest), year_digits) = match member(der, UTC_TIME) {
        Some(found) => (found, 2),
        None => (member(der, GENERALIZED_TIME)?, 4),
    };
    let digits = text.strip_suffix(b"Z")?;
    if digits.len() != year_digits + 10 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = |from: usize, to: usize| {
        digits.get(from..to)?.iter().try_fold(0_i64, |number, digit| {
            number.checked_mul(10)?.checked_add(i64::from(digit - b'0'))
        })
    };
    let year = match (number(0, year_digits)?, year_digits) {
        (year @ ..50, 2) => 2000 + year,
        (year, 2) => 1900 + year,
        (year, _) => year,
    };
    let at = |position: usize| number(year_digits + position, year_digits + position + 2);
    let (month, day) = (at(0)?, at(2)?);
    let (hour, minute, second) = (at(4)?, at(6)?, at(8)?);
    let is_time = (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60;
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    is_time.then_some((seconds, rest))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PublicKeyData, date_time_ymd};

    use super::*;

    #[test]
    fn validity_and_key_are_those_that_were_written() {
        let key = KeyPair::generate().unwrap();
        // Before 2050 a time has two digits for the year, after it four.
        for ((from, to), (not_before, not_after)) in [
            ((2024, 2026), (1_704_067_200, 1_767_225_600)),
            ((1999, 2049), (915_148_800, 2_493_072_000)),
            ((2049, 2100), (2_493_072_000, 4_102_444_800)),
        ] {
            let mut params = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
            params.not_before = date_time_ymd(from, 1, 1);
            params.not_after = date_time_ymd(to, 1, 1);
            let certificate = params.self_signed(&key).unwrap();
            let facts = Facts::read(certificate.der()).unwrap();
            assert_eq!((facts.not_before, facts.not_after), (not_before, not_after));
            assert_eq!(facts.public_key, key.der_bytes());
        }
    }

    #[test]
    fn what_is_cut_or_changed_is_never_read_beyond_its_end() {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let der = certificate.der();
        let whole = Facts::read(der).unwrap();
        for length in 0..der.len() {
            assert_eq!(Facts::read(&der[..length]), None, "{length}");
        }
        for at in 0..der.len() {
            for byte in [0, 0x7f, 0x80, 0x84, 0xff] {
                let mut changed = der.to_vec();
                changed[at] = byte;
                // Whatever it says, it says it about bytes that are there.
                if let Some(facts) = Facts::read(&changed) {
                    assert!(facts.public_key.len() <= whole.public_key.len() + der.len());
                }
            }
        }
        assert_eq!(Facts::read(b""), None);
        assert_eq!(Facts::read(b"-----BEGIN CERTIFICATE-----"), None);
    }
}
