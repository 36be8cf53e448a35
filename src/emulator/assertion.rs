//! JWTs that clients present, in every variant that Microsoft's own libraries send.

use std::fs;

use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use ring::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, RsaParameters, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use rustls::server::ParsedCertificate;
use rustls_pki_types::CertificateDer;
use serde_json::{Map, Value};

use crate::emulator::{client_auth::unpadded, scenario::FederatedEntry};

/// Clocks may differ by this many seconds.
const SKEW: i64 = 300;

/// A JWT taken apart; nothing in it is believed before [`Proof::Given`].
#[derive(Debug)]
pub(crate) struct Assertion {
    header: Map<String, Value>,
    claims: Map<String, Value>,
    signed: String,
    signature: Vec<u8>,
}

/// Whether the signature is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    Given,
    /// No registered key has the identifier.
    NoKey,
    /// The key is there, the signature is not its own.
    Failed,
}

/// Takes a compact JWS apart.
pub(crate) fn read(text: &str) -> Option<Assertion> {
    let (signed, signature) = text.rsplit_once('.')?;
    let (header, claims) = signed.split_once('.')?;
    Some(Assertion {
        header: serde_json::from_slice(&unpadded(header)?).ok()?,
        claims: serde_json::from_slice(&unpadded(claims)?).ok()?,
        signed: signed.to_owned(),
        signature: unpadded(signature)?,
    })
}

impl Assertion {
    pub(crate) fn claim(&self, name: &str) -> Option<&str> {
        self.claims.get(name).and_then(Value::as_str)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.header.get(name).and_then(Value::as_str)
    }

    pub(crate) fn signed(&self) -> &str {
        &self.signed
    }

    pub(crate) fn signature(&self) -> &[u8] {
        &self.signature
    }

    pub(crate) fn raw_header(&self) -> Value {
        Value::Object(self.header.clone())
    }

    pub(crate) fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    pub(crate) fn audiences(&self) -> Vec<String> {
        match self.claims.get("aud") {
            Some(Value::String(one)) => vec![one.clone()],
            Some(Value::Array(list)) => {
                list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
            }
            _ => Vec::new(),
        }
    }

    /// `exp` is needed, `nbf` optional; MSAL sends integers, fractions and strings.
    pub(crate) fn is_timely(&self, now: i64) -> bool {
        let after = |limit: f64| seconds(now - SKEW) < limit;
        let not_before = |limit: f64| seconds(now + SKEW) >= limit;
        self.time("exp").is_some_and(after) && self.time("nbf").is_none_or(not_before)
    }

    fn time(&self, name: &str) -> Option<f64> {
        match self.claims.get(name)? {
            Value::String(text) => text.parse().ok(),
            number => number.as_f64(),
        }
    }

    /// Finds the certificate by SHA-256 (`x5t#S256`, padded or not) or SHA-1 (`x5t`).
    pub(crate) fn proof_by_certificate(&self, registered: &[CertificateDer<'_>]) -> Proof {
        let thumbprint = |name: &str| self.header(name).and_then(unpadded);
        let (sha256, sha1) =
            (thumbprint("x5t#S256"), thumbprint("x5t").or_else(|| thumbprint("kid")));
        let found = registered.iter().find(|certificate| match &sha256 {
            Some(wanted) => digest(&SHA256, certificate).as_ref() == wanted.as_slice(),
            None => sha1.as_ref().is_some_and(|wanted| {
                digest(&SHA1_FOR_LEGACY_USE_ONLY, certificate).as_ref() == wanted.as_slice()
            }),
        });
        let Some(certificate) = found else { return Proof::NoKey };
        let key = ParsedCertificate::try_from(certificate)
            .ok()
            .and_then(|parsed| rsa_key(&parsed.subject_public_key_info()).map(<[u8]>::to_vec));
        let (Some(key), Some(algorithm)) = (key, self.algorithm()) else { return Proof::Failed };
        let key = UnparsedPublicKey::new(algorithm, key);
        proof(key.verify(self.signed.as_bytes(), &self.signature).is_ok())
    }

    /// Finds the key by `kid` in the issuer's JWK Set.
    pub(crate) fn proof_by_jwks(&self, entry: &FederatedEntry) -> Proof {
        let text = match (&entry.jwks, &entry.jwks_file) {
            (Some(text), _) => Some(text.clone()),
            (None, Some(path)) => fs::read_to_string(path).ok(),
            (None, None) => None,
        };
        let set: Option<Value> = text.and_then(|text| serde_json::from_str(&text).ok());
        let keys = set.as_ref().and_then(|set| set.get("keys")).and_then(Value::as_array);
        let found = keys.into_iter().flatten().find(|key| {
            self.header("kid").is_none()
                || key.get("kid").and_then(Value::as_str) == self.header("kid")
        });
        let Some(key) = found else { return Proof::NoKey };
        let part = |name: &str| key.get(name).and_then(Value::as_str).and_then(unpadded);
        let (Some(n), Some(e)) = (part("n"), part("e")) else { return Proof::NoKey };
        let Some(algorithm) = self.algorithm() else { return Proof::Failed };
        let key = RsaPublicKeyComponents { n, e };
        proof(key.verify(algorithm, self.signed.as_bytes(), &self.signature).is_ok())
    }

    fn algorithm(&self) -> Option<&'static RsaParameters> {
        match self.header("alg") {
            Some("RS256") => Some(&RSA_PKCS1_2048_8192_SHA256),
            Some("PS256") => Some(&RSA_PSS_2048_8192_SHA256),
            _ => None,
        }
    }
}

const fn proof(good: bool) -> Proof {
    if good { Proof::Given } else { Proof::Failed }
}

#[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are far below 2^52")]
const fn seconds(value: i64) -> f64 {
    value as f64
}

/// The `RSAPublicKey` inside a `SubjectPublicKeyInfo` (RFC 5280 §4.1): the second member, a bit
/// string whose first byte counts unused bits.
fn rsa_key(spki: &[u8]) -> Option<&[u8]> {
    let (content, _) = der_member(spki)?;
    let (_algorithm, rest) = der_member(content)?;
    let (bits, _) = der_member(rest)?;
    bits.strip_prefix(&[0])
}

/// The content of the first DER member, and what follows it.
fn der_member(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f).min(4))?;
        (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
    };
    rest.split_at_checked(length)
}
