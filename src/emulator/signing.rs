//! The signing keys: two or more are always published, one signs, and a rollover brings a key
//! that nobody has seen. Personal accounts have a key of their own, with a fixed issuer.

use std::sync::{Mutex, PoisonError};

use base64::{
    Engine as _,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use ring::{
    digest::{SHA1_FOR_LEGACY_USE_ONLY, digest},
    rand::SystemRandom,
    rsa::{KeyPair, PublicKeyComponents},
    signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256},
};
use rustls_pki_types::{CertificateDer, PrivatePkcs8KeyDer, pem::PemObject as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::emulator::directory::CONSUMERS;

const MATERIAL: [(&[u8], &[u8]); 4] = [
    (include_bytes!("keys/test-key-1.pem"), include_bytes!("keys/test-certificate-1.pem")),
    (include_bytes!("keys/test-key-2.pem"), include_bytes!("keys/test-certificate-2.pem")),
    (include_bytes!("keys/test-key-3.pem"), include_bytes!("keys/test-certificate-3.pem")),
    (include_bytes!("keys/test-key-4.pem"), include_bytes!("keys/test-certificate-4.pem")),
];

/// A built-in key cannot be used: a broken build.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Not the PEM of a PKCS#8 key or a certificate.
    #[error("a built-in test key is not PEM")]
    Pem(#[source] rustls_pki_types::pem::Error),
    /// Not an RSA key.
    #[error("a built-in test key was refused: {0}")]
    Rejected(ring::error::KeyRejected),
    /// There is no key at all.
    #[error("there are no built-in test keys")]
    None,
}

/// Entra writes these members first, in this order, and the others by their names.
const HEADER_ORDER: [&str; 5] = ["typ", "nonce", "alg", "x5t", "kid"];
const CLAIM_ORDER: [&str; 5] = ["aud", "iss", "iat", "nbf", "exp"];

/// All keys and who signs.
#[derive(Debug)]
pub(crate) struct SigningKeys {
    work: Vec<Material>,
    personal: Material,
    state: Mutex<Rotation>,
}

struct Material {
    pair: KeyPair,
    certificate: CertificateDer<'static>,
}

impl std::fmt::Debug for Material {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Material")
    }
}

/// Generations count for ever; each maps to one of the few keys and to a `kid` of its own.
#[derive(Debug)]
struct Rotation {
    published: Vec<usize>,
    active: usize,
    newest: usize,
}

/// What a rollover does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rollover {
    /// A key that nobody has seen signs at once; the others stay published.
    Immediate,
    /// The same, and the others are withdrawn.
    Retiring,
    /// A key that is published already takes over.
    Announced,
}

/// Who signs a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signer {
    /// The active key of the tenants.
    Work,
    /// The key of personal accounts.
    Personal,
}

impl SigningKeys {
    pub(crate) fn new() -> Result<Self, KeyError> {
        let mut work = MATERIAL
            .iter()
            .map(|(key, certificate)| Material::read(key, certificate))
            .collect::<Result<Vec<_>, _>>()?;
        let personal = work.pop().ok_or(KeyError::None)?;
        let state = Mutex::new(Rotation { published: vec![0, 1], active: 0, newest: 1 });
        Ok(Self { work, personal, state })
    }

    pub(crate) fn roll(&self, how: Rollover) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = state.published.iter().copied().find(|key| *key > state.active);
        if let (Rollover::Announced, Some(next)) = (how, waiting) {
            state.active = next;
        } else {
            state.newest += 1;
            state.active = state.newest;
        }
        let active = state.active;
        if how == Rollover::Retiring {
            state.published.clear();
        }
        if !state.published.contains(&active) {
            state.published.push(active);
        }
        if how == Rollover::Announced {
            // The next one is announced in its turn.
            state.newest += 1;
            let next = state.newest;
            state.published.push(next);
        }
    }

    /// A compact JWS (RFC 7515 §7.1) over `claims`. `alter` may change the header before it is
    /// signed, and says by its result what the verifier gets to see instead.
    pub(crate) fn sign(
        &self,
        signer: Signer,
        claims: &Value,
        alter: impl FnOnce(&mut Value) -> Option<Value>,
    ) -> String {
        let (material, kid) = self.signer(signer);
        let mut header = json!({ "typ": "JWT", "alg": "RS256", "kid": kid });
        let shown = alter(&mut header);
        let payload = BASE64_URL_SAFE_NO_PAD.encode(in_order(claims, &CLAIM_ORDER));
        let message = format!("{}.{payload}", encoded_header(&header));
        let signature = material.map(|material| material.sign(message.as_bytes()));
        let signature = BASE64_URL_SAFE_NO_PAD.encode(signature.unwrap_or_default());
        match shown {
            None => format!("{message}.{signature}"),
            Some(shown) => {
                format!("{}.{payload}.{signature}", encoded_header(&shown))
            }
        }
    }

    fn signer(&self, signer: Signer) -> (Option<&Material>, String) {
        match signer {
            Signer::Personal => (Some(&self.personal), self.personal.kid(0)),
            Signer::Work => {
                let generation = self.state.lock().unwrap_or_else(PoisonError::into_inner).active;
                let material = self.material(generation);
                (material, material.map(|key| self.kid(key, generation)).unwrap_or_default())
            }
        }
    }

    fn material(&self, generation: usize) -> Option<&Material> {
        self.work.get(generation % self.work.len().max(1))
    }

    fn kid(&self, material: &Material, generation: usize) -> String {
        material.kid(generation / self.work.len().max(1))
    }

    /// The JWK Set. `issuer` is the work keys' (with `{tenantid}` or a GUID in it).
    pub(crate) fn jwks(&self, work_issuer: &str, base: &str) -> Value {
        let published = self.state.lock().unwrap_or_else(PoisonError::into_inner).published.clone();
        let mut keys: Vec<Value> = published
            .into_iter()
            .filter_map(|generation| {
                let material = self.material(generation)?;
                Some(material.jwk(&self.kid(material, generation), work_issuer))
            })
            .collect();
        let issuer = format!("{base}/{CONSUMERS}/v2.0");
        keys.push(self.personal.jwk(&self.personal.kid(0), &issuer));
        json!({ "keys": keys })
    }

    /// Whether one of our published keys signed `message` (the first two segments, as signed).
    pub(crate) fn verify(&self, kid: &str, message: &[u8], signature: &[u8]) -> bool {
        let published = self.state.lock().unwrap_or_else(PoisonError::into_inner).published.clone();
        let work = published.into_iter().filter_map(|generation| {
            self.material(generation).filter(|key| self.kid(key, generation) == kid)
        });
        let personal = Some(&self.personal).filter(|key| key.kid(0) == kid);
        work.chain(personal).any(|key| key.verify(message, signature))
    }

    /// The DER of the active key's modulus: public text that a careless verifier takes for an
    /// HMAC key.
    pub(crate) fn public_text(&self) -> Vec<u8> {
        self.signer(Signer::Work)
            .0
            .map(|key| key.pair.public_key().as_ref().to_vec())
            .unwrap_or_default()
    }
}

impl Material {
    fn read(key: &[u8], certificate: &[u8]) -> Result<Self, KeyError> {
        let key = PrivatePkcs8KeyDer::from_pem_slice(key).map_err(KeyError::Pem)?;
        let certificate = CertificateDer::from_pem_slice(certificate).map_err(KeyError::Pem)?;
        let pair = KeyPair::from_pkcs8(key.secret_pkcs8_der()).map_err(KeyError::Rejected)?;
        Ok(Self { pair, certificate })
    }

    /// base64url SHA-1 of the certificate: 27 characters, also `x5t`. When the few keys have all
    /// been used, they come round again under a new `kid`.
    fn kid(&self, round: usize) -> String {
        let mut hashed = self.certificate.to_vec();
        hashed.extend(std::iter::repeat_n(0, round));
        BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &hashed))
    }

    fn jwk(&self, kid: &str, issuer: &str) -> Value {
        let public = PublicKeyComponents::<Vec<u8>>::from(self.pair.public_key());
        json!({
            "kty": "RSA",
            "use": "sig",
            "kid": kid,
            "x5t": kid,
            "n": BASE64_URL_SAFE_NO_PAD.encode(public.n),
            "e": BASE64_URL_SAFE_NO_PAD.encode(public.e),
            "x5c": [BASE64_STANDARD.encode(&self.certificate)],
            "issuer": issuer,
        })
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let mut signature = vec![0; self.pair.public().modulus_len()];
        #[expect(clippy::expect_used, reason = "the buffer has the size of the modulus")]
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
            .expect("RSA signs into a buffer of its own size");
        signature
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        let public = PublicKeyComponents::<Vec<u8>>::from(self.pair.public_key());
        public.verify(&RSA_PKCS1_2048_8192_SHA256, message, signature).is_ok()
    }
}

/// A JWS header as Entra writes it.
pub(crate) fn encoded_header(header: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(in_order(header, &HEADER_ORDER))
}

/// JSON text with some members first. Whoever takes tokens apart must not rely on any order, so
/// the emulator keeps to Microsoft's.
fn in_order(object: &Value, first: &[&str]) -> String {
    let Some(members) = object.as_object() else { return object.to_string() };
    let leading = first.iter().filter_map(|name| members.get_key_value(*name));
    let mut others: Vec<_> =
        members.iter().filter(|(name, _)| !first.contains(&name.as_str())).collect();
    others.sort_by_key(|(name, _)| *name);
    let members: Vec<String> = leading
        .chain(others)
        .map(|(name, value)| format!("{}:{value}", Value::from(name.as_str())))
        .collect();
    format!("{{{}}}", members.join(","))
}

/// The header of a Graph access token as it is signed: its `nonce` is hashed, which the bearer
/// never sees, so that nobody but Graph can check the signature.
pub(crate) fn hash_nonce(header: &mut Value) {
    let hashed = header
        .get("nonce")
        .and_then(Value::as_str)
        .map(|nonce| BASE64_URL_SAFE_NO_PAD.encode(Sha256::digest(nonce.as_bytes())));
    if let (Some(hashed), Some(header)) = (hashed, header.as_object_mut()) {
        header.insert("nonce".to_owned(), hashed.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kids(keys: &SigningKeys) -> Vec<String> {
        let set = keys.jwks("i", "b");
        let keys = set["keys"].as_array().unwrap().clone();
        keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    }

    fn signing_kid(keys: &SigningKeys) -> String {
        keys.signer(Signer::Work).1
    }

    #[test]
    fn a_rollover_signs_with_a_kid_that_was_not_published_before() {
        let keys = SigningKeys::new().unwrap();
        for _ in 0..5 {
            let before = kids(&keys);
            keys.roll(Rollover::Immediate);
            assert!(!before.contains(&signing_kid(&keys)));
            assert!(kids(&keys).contains(&signing_kid(&keys)));
            assert!(before.iter().all(|kid| kids(&keys).contains(kid)));
        }
    }

    #[test]
    fn an_announced_rollover_signs_with_a_kid_that_was_published_before() {
        let keys = SigningKeys::new().unwrap();
        for _ in 0..4 {
            let (before, old) = (kids(&keys), signing_kid(&keys));
            keys.roll(Rollover::Announced);
            assert_ne!(signing_kid(&keys), old);
            assert!(before.contains(&signing_kid(&keys)));
        }
    }

    #[test]
    fn a_retiring_rollover_withdraws_the_other_work_keys() {
        let keys = SigningKeys::new().unwrap();
        keys.roll(Rollover::Retiring);
        assert_eq!(kids(&keys).len(), 2, "the new key and that of personal accounts");
    }

    #[test]
    fn a_kid_has_27_characters() {
        let keys = SigningKeys::new().unwrap();
        assert!(kids(&keys).iter().all(|kid| kid.len() == 27));
    }
}
