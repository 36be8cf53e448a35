//! A certificate that is registered with the app, and the RSA key that belongs to it.

use std::{
    fmt,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    digest::{SHA1_FOR_LEGACY_USE_ONLY, digest},
    error::KeyRejected,
    rand::SystemRandom,
    rsa::KeyPair,
    signature::RSA_PSS_SHA256,
};
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{Error as PemError, PemObject},
};
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize as _, Zeroizing};

use super::{assertion::Occasion, read_file};
use crate::base::x509::Facts;

/// Why certificate and key cannot be used. Nothing of a key is in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// A file is gone or not readable.
    #[error("cannot read {}: {kind}", file.display())]
    Unreadable {
        /// Which one.
        file: PathBuf,
        /// Why not.
        kind: ErrorKind,
    },
    /// No certificate in it.
    #[error("expected a certificate in PEM in {}", .0.display())]
    NoCertificate(PathBuf),
    /// A certificate that is broken.
    #[error("the certificate in {} cannot be understood", .0.display())]
    Certificate(PathBuf),
    /// No key in it.
    #[error("expected a private key in PEM in {}", .0.display())]
    NoKey(PathBuf),
    /// A key that a passphrase protects.
    #[error(
        "the private key in {} is encrypted; expected one without a passphrase, in a file that only the proxy may read",
        .0.display()
    )]
    Encrypted(PathBuf),
    /// An elliptic curve, for example; Entra asks for PS256 (Learn, "certificate credentials").
    #[error("expected an RSA key (rsaEncryption) in {}: assertions are signed with PS256", .0.display())]
    NotRsa(PathBuf),
    /// Weak, or beyond what is ever used.
    #[error("expected an RSA key of 2048 to 4096 bits in {}", .0.display())]
    Size(PathBuf),
    /// A key that is broken.
    #[error("the private key in {} cannot be understood", .0.display())]
    Key(PathBuf),
    /// Two that were not made for each other.
    #[error("the private key in {} does not belong to the certificate in {}", key.display(), certificate.display())]
    Foreign {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
}

impl CertificateError {
    /// Whether the key has to change, and not the certificate.
    pub(in crate::entra) fn is_of_key(&self, key_file: &Path) -> bool {
        match self {
            Self::Unreadable { file, .. } => file == key_file,
            Self::NoCertificate(_) | Self::Certificate(_) => false,
            Self::NoKey(_)
            | Self::Encrypted(_)
            | Self::NotRsa(_)
            | Self::Size(_)
            | Self::Key(_)
            | Self::Foreign { .. } => true,
        }
    }
}

/// A certificate with its key, both read at the same time.
pub struct ClientCertificate {
    key: KeyPair,
    /// SHA-256 of the certificate, by which Entra finds it.
    sha256: [u8; 32],
    /// SHA-1 of the certificate, as the portal shows it.
    sha1: String,
    not_before: i64,
    not_after: i64,
}

impl ClientCertificate {
    /// Reads both files, which may be one. Of several certificates it is the one that the key
    /// belongs to: what else is in the file are those who signed it.
    ///
    /// # Errors
    /// See [`CertificateError`].
    pub(in crate::entra) fn load(
        certificate_file: &Path,
        key_file: &Path,
    ) -> Result<Self, CertificateError> {
        let certificates = certificates(certificate_file)?;
        let key = key(key_file)?;
        let mut found = None;
        for certificate in &certificates {
            let facts = Facts::read(certificate)
                .ok_or_else(|| CertificateError::Certificate(certificate_file.to_owned()))?;
            if facts.public_key == key.public().as_ref() {
                found = Some((certificate, facts));
                break;
            }
        }
        let Some((certificate, facts)) = found else {
            let (certificate, key) = (certificate_file.to_owned(), key_file.to_owned());
            return Err(CertificateError::Foreign { certificate, key });
        };
        let sha1 = digest(&SHA1_FOR_LEGACY_USE_ONLY, certificate);
        Ok(Self {
            sha256: Sha256::digest(certificate).into(),
            sha1: hexadecimal(sha1.as_ref()),
            not_before: facts.not_before,
            not_after: facts.not_after,
            key,
        })
    }

    /// A compact JWS for one token request; `None` when the system has no randomness.
    pub(super) fn assertion(&self, occasion: &Occasion<'_>) -> Option<String> {
        let signed = occasion.to_be_signed(&self.sha256)?;
        let mut signature = vec![0; self.key.public().modulus_len()];
        self.key
            .sign(&RSA_PSS_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .ok()?;
        Some(format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// SHA-1 in capital hexadecimal digits, which the portal calls the thumbprint.
    pub fn thumbprint(&self) -> String {
        self.sha1.clone()
    }

    /// First second of its life, since 1970.
    pub fn not_before(&self) -> i64 {
        self.not_before
    }

    /// Last second of its life, since 1970.
    pub fn not_after(&self) -> i64 {
        self.not_after
    }
}

impl fmt::Debug for ClientCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate").field("thumbprint", &self.sha1).finish_non_exhaustive()
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect::<String>().to_uppercase()
}

fn read(file: &Path) -> Result<Zeroizing<Vec<u8>>, CertificateError> {
    let unreadable = |kind| CertificateError::Unreadable { file: file.to_owned(), kind };
    read_file(file).map(Zeroizing::new).map_err(|error| unreadable(error.kind()))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let bytes = read(file)?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|_| CertificateError::Certificate(file.to_owned()))?;
    if found.is_empty() { Err(CertificateError::NoCertificate(file.to_owned())) } else { Ok(found) }
}

fn key(file: &Path) -> Result<KeyPair, CertificateError> {
    let bytes = read(file)?;
    let file = || file.to_owned();
    let mut der = PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| {
        // The PEM of PKCS#8 has a label of its own for it, that of OpenSSL a header.
        let encrypted = bytes.windows(9).any(|word| word == b"ENCRYPTED");
        match error {
            _ if encrypted => CertificateError::Encrypted(file()),
            PemError::NoItemsFound => CertificateError::NoKey(file()),
            _ => CertificateError::Key(file()),
        }
    })?;
    let pair = match &der {
        PrivateKeyDer::Pkcs8(der) => KeyPair::from_pkcs8(der.secret_pkcs8_der()),
        PrivateKeyDer::Pkcs1(der) => KeyPair::from_der(der.secret_pkcs1_der()),
        _ => return Err(CertificateError::NotRsa(file())),
    };
    der.zeroize();
    pair.map_err(|error| rejected(error, file()))
}

/// ring names its reasons in `Display` alone. One that it calls otherwise some day is "cannot be
/// understood".
fn rejected(error: KeyRejected, file: PathBuf) -> CertificateError {
    match error.to_string().as_str() {
        "WrongAlgorithm" => CertificateError::NotRsa(file),
        "TooSmall" | "TooLarge" => CertificateError::Size(file),
        _ => CertificateError::Key(file),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use ring::signature::{RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};
    use serde_json::Value;
    use url::Url;

    use super::*;
    use crate::entra::tests::Pair;

    const PKCS8: &str = "PRIVATE KEY";
    const PKCS1: &str = "RSA PRIVATE KEY";

    fn decoded(part: &str) -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    }

    #[test]
    fn an_assertion_is_what_entra_asks_for_and_no_two_are_the_same() {
        let pair = Pair::new("assertion", 0);
        let certificate = pair.load().unwrap();
        let endpoint = Url::parse("https://login.test/tenant/oauth2/v2.0/token").unwrap();
        let now = 1_800_000_000;
        let occasion = Occasion { client_id: "the-client", token_endpoint: &endpoint, now };
        let assertion = certificate.assertion(&occasion).unwrap();
        let (signed, signature) = assertion.rsplit_once('.').unwrap();
        let (header, claims) = signed.split_once('.').unwrap();
        let thumbprint = URL_SAFE_NO_PAD.encode(Sha256::digest(&pair.der));
        let expected = serde_json::json!({"alg":"PS256","typ":"JWT","x5t#S256":thumbprint});
        assert_eq!(decoded(header), expected);
        let claims = decoded(claims);
        assert_eq!(claims["aud"], endpoint.as_str());
        assert_eq!((&claims["iss"], &claims["sub"]), (&"the-client".into(), &"the-client".into()));
        let seconds = |name: &str| claims[name].as_i64().unwrap() - now;
        assert_eq!((seconds("nbf"), seconds("iat"), seconds("exp")), (-60, -60, 300));
        let public = Facts::read(&pair.der).unwrap().public_key.to_vec();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, public)
            .verify(signed.as_bytes(), &signature)
            .unwrap();
        let other = certificate.assertion(&occasion).unwrap();
        let other = decoded(other.split('.').nth(1).unwrap());
        assert_ne!(claims["jti"], other["jti"]);
    }

    #[test]
    fn both_encodings_of_a_key_and_one_file_for_all_are_read() {
        let pair = Pair::new("encodings", 0);
        let thumbprint = pair.load().unwrap().thumbprint();
        assert_eq!(thumbprint.len(), 40);
        assert_eq!(hexadecimal(&[0, 0x1f, 0xa0]), "001FA0");
        let der = pair.pkcs8();
        // The key itself is the last member of a PKCS#8 key of 2048 bits.
        pair.write_key(PKCS1, &der[26..]);
        assert_eq!(pair.load().unwrap().thumbprint(), thumbprint);
        // The key first and somebody else's certificate before ours, as tools write them.
        let other = Pair::new("encodings-other", 1);
        let all = [&pair.key, &other.certificate, &pair.certificate]
            .map(|file| fs::read_to_string(file).unwrap())
            .concat();
        fs::write(&pair.certificate, all).unwrap();
        let both = ClientCertificate::load(&pair.certificate, &pair.certificate).unwrap();
        assert_eq!(both.thumbprint(), thumbprint);
    }

    #[test]
    fn what_cannot_sign_is_refused_with_its_file() {
        type Refusal = fn(PathBuf) -> CertificateError;
        let pair = Pair::new("refused", 0);
        let elliptic = rcgen::KeyPair::generate().unwrap();
        let mut damaged = pair.pkcs8();
        damaged[700] ^= 1;
        let small = include_bytes!("../../../tests/data/keys/small.der").as_slice();
        let cases: [(&str, &[u8], Refusal); 6] = [
            (PKCS8, &elliptic.serialize_der(), CertificateError::NotRsa),
            ("EC PRIVATE KEY", b"any", CertificateError::NotRsa),
            (PKCS8, &damaged, CertificateError::Key),
            (PKCS1, small, CertificateError::Size),
            ("ENCRYPTED PRIVATE KEY", b"any", CertificateError::Encrypted),
            ("CERTIFICATE", b"any", CertificateError::NoKey),
        ];
        for (label, der, expected) in cases {
            pair.write_key(label, der);
            assert_eq!(pair.load().unwrap_err(), expected(pair.key.clone()), "{label}");
        }
        fs::write(&pair.key, "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n").unwrap();
        assert_eq!(pair.load().unwrap_err(), CertificateError::Encrypted(pair.key.clone()));
        fs::remove_file(&pair.key).unwrap();
        let (file, kind) = (pair.key.clone(), ErrorKind::NotFound);
        assert_eq!(pair.load().unwrap_err(), CertificateError::Unreadable { file, kind });
    }

    #[test]
    fn a_certificate_that_is_none_or_somebody_elses_is_refused_with_its_file() {
        let (pair, other) = (Pair::new("own", 0), Pair::new("others", 1));
        let foreign = ClientCertificate::load(&other.certificate, &pair.key).unwrap_err();
        let told = foreign.to_string();
        assert!(told.contains("own") && told.contains("others"), "{told}");
        assert!(foreign.is_of_key(&pair.key));
        fs::write(&pair.certificate, "").unwrap();
        let expected = CertificateError::NoCertificate(pair.certificate.clone());
        assert_eq!(pair.load().unwrap_err(), expected);
        fs::write(&pair.certificate, Pair::pem("CERTIFICATE", b"not DER")).unwrap();
        let error = pair.load().unwrap_err();
        assert_eq!(error, CertificateError::Certificate(pair.certificate.clone()));
        assert!(!error.is_of_key(&pair.key));
    }

    #[test]
    fn nothing_of_the_key_is_printed() {
        let pair = Pair::new("printed", 0);
        let said = format!("{:?}", pair.load().unwrap());
        assert!(said.starts_with("ClientCertificate { thumbprint: \""), "{said}");
        assert!(said.len() < 100, "{said}");
    }
}
