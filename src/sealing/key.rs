//! A session key: 32 random bytes that every replica shares, and how people may write one.

use std::fmt;

use base64::{
    Engine, alphabet,
    engine::{
        DecodePaddingMode,
        general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD},
    },
};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Octets in a key.
pub const KEY_BYTES: usize = 32;

/// 32 random bytes hold about 30 different values; fewer than this many happens less often than
/// once in 10^18 keys.
const VARIETY: usize = 16;

/// What people leave in place of a key. Each is long enough that no real key ever holds one.
const PLACEHOLDERS: [&str; 6] =
    ["changeme", "replacewith", "placeholder", "yoursecret", "sessionkey", "examplekey"];

const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD_LENIENT: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const URL_SAFE_LENIENT: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Why a session key cannot be used. Never holds any of the key's text.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Not base64, in either alphabet.
    #[error("a session key is 32 random bytes in base64; this is not base64")]
    NotBase64,
    /// Too short or too long.
    #[error("a session key is 32 random bytes in base64; this one has {0} bytes")]
    Length(usize),
    /// Nothing but zeros.
    #[error("the session key is all zeros; make one with `vestibule keygen`")]
    Zero,
    /// A pattern, a text or an example instead of random bytes.
    #[error("the session key is not random ({0}); make one with `vestibule keygen`")]
    Predictable(&'static str),
    /// No key at all.
    #[error("at least one session key is needed; make one with `vestibule keygen`")]
    Missing,
    /// One key twice, or two keys that happen to share their id.
    #[error("two session keys are the same, or share their id; each must be its own")]
    Twice,
    /// A line of a key file is not a key.
    #[error("line {line}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        #[source]
        source: Box<Self>,
    },
    /// What is used in place of the key could not be derived from it.
    #[error("nothing could be derived from the session key")]
    Derivation(#[source] hkdf::InvalidLength),
    /// The operating system has no randomness.
    #[error("the operating system gave no random bytes")]
    Random(#[source] getrandom::Error),
}

/// A session key. Wiped from memory when dropped; `Debug` does not show it.
#[derive(Clone)]
pub struct Key(Zeroizing<[u8; KEY_BYTES]>);

impl Key {
    /// A new key from the operating system's randomness.
    pub fn generate() -> Result<Self, KeyError> {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        getrandom::fill(&mut *key).map_err(KeyError::Random)?;
        // The same test as for a typed key catches a generator that is stuck.
        Self(key).checked()
    }

    /// Reads a key: 32 bytes as base64, standard or URL-safe, with or without padding; blanks
    /// around it are ignored. What was plainly not drawn at random is refused.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let text = text.trim();
        let engine = if text.contains(['-', '_']) { &URL_SAFE_LENIENT } else { &STANDARD_LENIENT };
        let bytes = engine.decode(text).map(Zeroizing::new).map_err(|_| KeyError::NotBase64)?;
        let key: [u8; KEY_BYTES] =
            bytes.as_slice().try_into().map_err(|_| KeyError::Length(bytes.len()))?;
        Self(Zeroizing::new(key)).checked()
    }

    /// The key as `keygen` prints it: standard base64 with padding.
    pub fn to_text(&self) -> String {
        STANDARD.encode(self.bytes())
    }

    /// The key itself, for derivation alone.
    pub(super) fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    fn checked(self) -> Result<Self, KeyError> {
        if bool::from(self.bytes().ct_eq(&[0; KEY_BYTES])) {
            return Err(KeyError::Zero);
        }
        match self.flaw() {
            Some(flaw) => Err(KeyError::Predictable(flaw)),
            None => Ok(self),
        }
    }

    /// How one can see that nobody drew these bytes at random.
    fn flaw(&self) -> Option<&'static str> {
        let bytes = self.bytes();
        if [1, 2, 4, 8, 16].iter().any(|&period| repeats(bytes, period)) {
            return Some("it repeats itself");
        }
        let mut sorted = Zeroizing::new(*bytes);
        sorted.sort_unstable();
        let variety = sorted.chunk_by(|a, b| a == b).count();
        if variety < VARIETY {
            return Some("it has too few different bytes");
        }
        if bytes.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ') {
            return Some("it is a text");
        }
        let mut letters = Zeroizing::new(self.to_text());
        letters.make_ascii_lowercase();
        letters.retain(|letter| letter.is_ascii_alphabetic());
        PLACEHOLDERS.iter().any(|word| letters.contains(word)).then_some("it is a placeholder")
    }
}

fn repeats(bytes: &[u8], period: usize) -> bool {
    bytes.iter().zip(bytes.iter().skip(period)).all(|(a, b)| a == b)
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "pnW3KmCqlEGNJkXHG0dLlWMW0bD5h8lQdVqSRxkL+oY=";

    fn refusal(text: &str) -> KeyError {
        Key::parse(text).unwrap_err()
    }

    #[test]
    fn a_key_reads_in_every_common_spelling_of_base64() {
        let key = Key::parse(GOOD).unwrap();
        assert_eq!(key.to_text(), GOOD);
        let url_safe = GOOD.replace('+', "-").replace('/', "_");
        for text in [
            GOOD.trim_end_matches('=').to_owned(),
            url_safe.clone(),
            url_safe.trim_end_matches('=').to_owned(),
            format!("  {GOOD}\r\n"),
        ] {
            assert_eq!(Key::parse(&text).unwrap().to_text(), GOOD, "{text}");
        }
    }

    #[test]
    fn generated_keys_read_back_and_differ() {
        let (one, two) = (Key::generate().unwrap(), Key::generate().unwrap());
        assert_eq!(Key::parse(&one.to_text()).unwrap().bytes(), one.bytes());
        assert_ne!(one.bytes(), two.bytes());
    }

    #[test]
    fn a_key_of_another_length_is_refused_with_its_length() {
        for length in [0, 16, 31, 33, 64] {
            let bytes: Vec<u8> = (0..length).map(|i: u8| i.wrapping_mul(151) ^ 0x5a).collect();
            let error = refusal(&STANDARD.encode(&bytes));
            assert!(matches!(error, KeyError::Length(n) if n == usize::from(length)), "{error}");
        }
    }

    #[test]
    fn what_is_not_base64_is_refused_without_repeating_it() {
        for text in ["hunter2 hunter2 hunter2", "…", "a+b_c", &format!("{GOOD}!")] {
            let error = refusal(text);
            assert!(matches!(error, KeyError::NotBase64), "{error}");
            assert!(!error.to_string().contains(text));
        }
    }

    #[test]
    fn what_nobody_drew_at_random_is_refused() {
        assert!(matches!(refusal(&STANDARD.encode([0; 32])), KeyError::Zero));
        let repeated = [7_u8; 32];
        let pair: [u8; 32] = std::array::from_fn(|i| if i % 2 == 0 { 0xde } else { 0xad });
        let from = |byte: fn(u8) -> u8| std::array::from_fn(|i| byte(u8::try_from(i).unwrap()));
        let half: [u8; 32] = from(|i| (i % 16).wrapping_mul(97) ^ 0x33);
        let poor: [u8; 32] = from(|i| i.wrapping_mul(i) % 11);
        let text = *b"correct horse battery staple 123";
        let mut placeholder = [0; 32];
        let decoded =
            STANDARD_LENIENT.decode("changemeXq7RxkL0oYpnW3KmCqlEGNJkXHG0dLlWMW0").unwrap();
        placeholder.copy_from_slice(&decoded);
        for bytes in [repeated, pair, half, poor, text, placeholder] {
            let error = refusal(&STANDARD.encode(bytes));
            assert!(matches!(error, KeyError::Predictable(_)), "{bytes:?} {error}");
        }
    }

    #[test]
    fn a_key_never_shows_in_debug() {
        assert_eq!(format!("{:?}", Key::parse(GOOD).unwrap()), "Key([redacted])");
    }
}
