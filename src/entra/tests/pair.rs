//! A certificate and its key in files, as an operator has them.

use std::{fs, path::PathBuf};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, date_time_ymd};
use rustls_pki_types::PrivatePkcs8KeyDer;

use super::super::credential::{CertificateError, ClientCertificate};

const KEYS: [&[u8]; 2] = [
    include_bytes!("../../../tests/data/keys/issuer.der"),
    include_bytes!("../../../tests/data/keys/other.der"),
];
/// A PKCS#8 key is this and the PKCS#1 key (RFC 5208 §5, RFC 8017 §A.1), both lengths left open.
const RSA: [u8; 18] =
    [2, 1, 0, 0x30, 0x0d, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];

pub(in crate::entra) struct Pair {
    pub(in crate::entra) certificate: PathBuf,
    pub(in crate::entra) key: PathBuf,
    /// The certificate.
    pub(in crate::entra) der: Vec<u8>,
    which: usize,
}

impl Pair {
    /// A self-signed certificate from 2020 to 2099 for one of two keys.
    pub(in crate::entra) fn new(name: &str, which: usize) -> Self {
        Self::valid(name, which, 2020, 2099)
    }

    /// The same for other years.
    pub(in crate::entra) fn valid(name: &str, which: usize, from: i32, to: i32) -> Self {
        let file = format!("vestibule-pair-{}-{name}", std::process::id());
        let file = |end: &str| std::env::temp_dir().join(format!("{file}.{end}"));
        let mut params = CertificateParams::new(vec!["app.test".to_owned()]).unwrap();
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(to, 1, 1);
        let mut pair = Self { certificate: file("pem"), key: file("key"), der: Vec::new(), which };
        let der = PrivatePkcs8KeyDer::from(pair.pkcs8());
        let key = KeyPair::from_pkcs8_der_and_sign_algo(&der, &PKCS_RSA_SHA256).unwrap();
        pair.der = params.self_signed(&key).unwrap().der().to_vec();
        fs::write(&pair.certificate, Self::pem("CERTIFICATE", &pair.der)).unwrap();
        pair.write_key("PRIVATE KEY", &pair.pkcs8());
        pair
    }

    pub(in crate::entra) fn load(&self) -> Result<ClientCertificate, CertificateError> {
        ClientCertificate::load(&self.certificate, &self.key)
    }

    pub(in crate::entra) fn pkcs8(&self) -> Vec<u8> {
        let key = KEYS[self.which];
        let length = |length: usize| u16::try_from(length).unwrap().to_be_bytes();
        let start = [0x30, 0x82].into_iter().chain(length(RSA.len() + 4 + key.len()));
        let middle = RSA.into_iter().chain([4, 0x82]).chain(length(key.len()));
        start.chain(middle).chain(key.iter().copied()).collect()
    }

    pub(in crate::entra) fn write_key(&self, label: &str, der: &[u8]) {
        fs::write(&self.key, Self::pem(label, der)).unwrap();
    }

    pub(in crate::entra) fn pem(label: &str, der: &[u8]) -> String {
        let text = BASE64_STANDARD.encode(der);
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
    }
}
