//! JSON Web Signatures by ring, for `jsonwebtoken`.
//!
//! That crate takes its cryptography from one provider per process and *panics* at the first check
//! when none is installed. So this module is the only door to it: every entry installs first.

use std::sync::OnceLock;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{
    Algorithm, DecodingKey, DecodingKeyKind, EncodingKey,
    crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils, verify},
    errors::{Error, ErrorKind},
};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use signature::Verifier;

/// Moduli that we accept, in bits: below is weak, above costs an attacker nothing and us much.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

/// Why a signature or a key is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JoseError {
    /// The modulus is outside 2048 to 8192 bits, or the exponent is unusable.
    #[error("the RSA key has {0} bits or an unusable exponent; expected 2048 to 8192 bits")]
    Key(usize),
    /// The signature does not belong to this key and message.
    #[error("the signature does not match")]
    Signature,
    /// The built-in example failed: another provider is installed, or the build is broken.
    #[error("the RS256 self-test failed; another JWT provider may be installed")]
    SelfTest,
}

/// An RSA key that others sign with (RFC 7518 §3.3, RS256 alone).
#[derive(Clone, Debug)]
pub struct VerifyingKey(DecodingKey);

impl VerifyingKey {
    /// A key from the big-endian bytes of its modulus and exponent (RFC 7518 §6.3.1).
    ///
    /// # Errors
    /// [`JoseError::Key`].
    pub fn rsa(modulus: &[u8], exponent: &[u8]) -> Result<Self, JoseError> {
        let (modulus, exponent) = (significant(modulus), significant(exponent));
        let bits = bits(modulus);
        let usable = matches!(exponent.len(), 1..=4) && exponent.last().is_some_and(|e| e % 2 == 1);
        if !RSA_BITS.contains(&bits) || !usable || exponent == [1] {
            return Err(JoseError::Key(bits));
        }
        Ok(Self(DecodingKey::from_rsa_raw_components(modulus, exponent)))
    }

    /// Checks an RS256 `signature` (base64url without padding) over `message`.
    ///
    /// # Errors
    /// [`JoseError::Signature`]; [`JoseError::SelfTest`] when signatures cannot be checked at all.
    pub fn verify_rs256(&self, message: &[u8], signature: &str) -> Result<(), JoseError> {
        install()?;
        self.matches(message, signature)
    }

    fn matches(&self, message: &[u8], signature: &str) -> Result<(), JoseError> {
        match verify(signature, message, &self.0, Algorithm::RS256) {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(JoseError::Signature),
        }
    }
}

fn significant(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}

fn bits(modulus: &[u8]) -> usize {
    let leading = modulus.first().map_or(0, |byte| byte.leading_zeros() as usize);
    (modulus.len() * 8).saturating_sub(leading)
}

/// Makes ring the process's JWT provider and proves it with the example of RFC 7515, appendix A.2.
/// Cheap after the first call; call it at start so that a broken build does not wait for a user.
///
/// # Errors
/// [`JoseError::SelfTest`].
pub fn install() -> Result<(), JoseError> {
    static TESTED: OnceLock<Result<(), JoseError>> = OnceLock::new();
    *TESTED.get_or_init(|| {
        // An error means that a provider is there already; the self-test tells whether it works.
        let _ = PROVIDER.install_default();
        // A provider of somebody else's that panics must not take the process with it.
        std::panic::catch_unwind(self_test).unwrap_or(Err(JoseError::SelfTest))
    })
}

fn self_test() -> Result<(), JoseError> {
    let modulus = URL_SAFE_NO_PAD.decode(EXAMPLE_MODULUS).map_err(|_| JoseError::SelfTest)?;
    let key = VerifyingKey::rsa(&modulus, &[1, 0, 1])?;
    key.matches(EXAMPLE_MESSAGE.as_bytes(), EXAMPLE_SIGNATURE).map_err(|_| JoseError::SelfTest)?;
    match key.matches(b"another message", EXAMPLE_SIGNATURE) {
        Err(JoseError::Signature) => Ok(()),
        _ => Err(JoseError::SelfTest),
    }
}

static PROVIDER: CryptoProvider = CryptoProvider {
    signer_factory: |_, _: &EncodingKey| -> Result<Box<dyn JwtSigner>, Error> {
        Err(ErrorKind::InvalidAlgorithm.into())
    },
    verifier_factory: |algorithm, key| match algorithm {
        Algorithm::RS256 => Ok(Box::new(Rs256(key.clone())) as Box<dyn JwtVerifier>),
        _ => Err(ErrorKind::InvalidAlgorithm.into()),
    },
    // Not reached: keys are made from their components, never from a `Jwk`.
    key_utils: KeyUtils::new_unimplemented(),
};

struct Rs256(DecodingKey);

impl Verifier<Vec<u8>> for Rs256 {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), signature::Error> {
        let DecodingKeyKind::RsaModulusExponent { n, e } = self.0.kind() else {
            return Err(signature::Error::new());
        };
        RsaPublicKeyComponents { n, e }
            .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
            .map_err(|_| signature::Error::new())
    }
}

impl JwtVerifier for Rs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::RS256
    }
}

const EXAMPLE_MODULUS: &str = "\
    ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4\
    QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbB\
    YUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWN\
    moudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
const EXAMPLE_MESSAGE: &str = "\
    eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS\
    9pc19yb290Ijp0cnVlfQ";
const EXAMPLE_SIGNATURE: &str = "\
    cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5juj\
    Gbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe\
    7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8\
    np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";

#[cfg(test)]
mod tests {
    use super::*;

    fn example_key() -> VerifyingKey {
        VerifyingKey::rsa(&URL_SAFE_NO_PAD.decode(EXAMPLE_MODULUS).unwrap(), &[1, 0, 1]).unwrap()
    }

    #[test]
    fn the_example_of_rfc_7515_verifies_and_installing_twice_is_harmless() {
        assert_eq!(install(), Ok(()));
        assert_eq!(install(), Ok(()));
        let key = example_key();
        assert_eq!(key.verify_rs256(EXAMPLE_MESSAGE.as_bytes(), EXAMPLE_SIGNATURE), Ok(()));
    }

    #[test]
    fn a_changed_message_or_signature_does_not_verify() {
        let key = example_key();
        let message = EXAMPLE_MESSAGE.replace("eyJpc3Mi", "eyJpc3Mj");
        for (message, signature) in [
            (message.as_str(), EXAMPLE_SIGNATURE),
            (EXAMPLE_MESSAGE, ""),
            (EXAMPLE_MESSAGE, "AAAA"),
            (EXAMPLE_MESSAGE, "not base64url!"),
            (EXAMPLE_MESSAGE, EXAMPLE_SIGNATURE.get(4..).unwrap()),
        ] {
            let verified = key.verify_rs256(message.as_bytes(), signature);
            assert_eq!(verified, Err(JoseError::Signature));
        }
    }

    #[test]
    fn a_key_of_the_wrong_size_or_with_a_senseless_exponent_is_refused() {
        let strong = vec![0xff; 256];
        assert!(VerifyingKey::rsa(&strong, &[1, 0, 1]).is_ok());
        assert!(VerifyingKey::rsa(&[&[0, 0], strong.as_slice()].concat(), &[0, 1, 0, 1]).is_ok());
        for (modulus, exponent) in [
            (vec![0xff; 128], &[1, 0, 1][..]),
            (vec![0x7f; 256], &[1, 0, 1]),
            (vec![0xff; 1025], &[1, 0, 1]),
            (vec![], &[1, 0, 1]),
            (strong.clone(), &[]),
            (strong.clone(), &[1]),
            (strong.clone(), &[4]),
            (strong, &[1, 1, 1, 1, 1]),
        ] {
            assert!(matches!(VerifyingKey::rsa(&modulus, exponent), Err(JoseError::Key(_))));
        }
    }
}
