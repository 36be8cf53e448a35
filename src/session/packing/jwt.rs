//! A JSON Web Token (RFC 7515 §3.1) cut into what can be made small: two JSON texts and a signature.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::{
    blob::Alphabet,
    text::{Assembler, Dismantler},
    varint,
};

/// Header, payload and signature, as the octets that they stand for.
pub(super) struct Jwt {
    header: Zeroizing<Vec<u8>>,
    payload: Zeroizing<Vec<u8>>,
    signature: Zeroizing<Vec<u8>>,
}

impl Jwt {
    /// Three parts in base64url, each spelled so that it comes back bit for bit: the decoder
    /// refuses padding and stray low bits.
    pub(super) fn parse(token: &str) -> Option<Self> {
        let mut parts = token.split('.').map(|part| URL_SAFE_NO_PAD.decode(part));
        let mut part = || parts.next()?.ok().map(Zeroizing::new);
        let jwt = Self { header: part()?, payload: part()?, signature: part()? };
        parts.next().is_none().then_some(jwt)
    }

    /// The two texts.
    pub(super) fn texts(&self) -> [&[u8]; 2] {
        [&self.header, &self.payload]
    }

    /// Takes the token apart.
    pub(super) fn dismantle(&self, into: &mut Dismantler) {
        self.texts().into_iter().for_each(|text| into.text(text));
        varint::push_length(&mut into.octets, self.signature.len());
        into.octets.extend_from_slice(&self.signature);
    }

    /// Puts the next token together.
    pub(super) fn assemble(from: &mut Assembler<'_>) -> Option<SecretString> {
        let (header, payload) = (from.text()?, from.text()?);
        let parts = [header.as_slice(), payload.as_slice(), from.octets.counted()?];
        let length = parts.iter().map(|part| part.len().div_ceil(3) * 4 + 1).sum();
        let mut token = Zeroizing::new(Vec::with_capacity(length));
        for (place, part) in parts.into_iter().enumerate() {
            if place > 0 {
                token.push(b'.');
            }
            Alphabet::UrlSafe.push_text(part, &mut token);
        }
        Some(SecretString::from(std::str::from_utf8(&token).ok()?))
    }
}
