//! Certificates and keys in PEM files.

use std::path::{Path, PathBuf};

use rustls_pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject},
};

/// Why a file gives no certificates or no key.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// It cannot be read, or is not PEM.
    #[error("cannot read {}", file.display())]
    File {
        /// Which one.
        file: PathBuf,
        /// Why not.
        #[source]
        source: pem::Error,
    },
    /// It has no certificate.
    #[error("{} has no certificate", .0.display())]
    Empty(PathBuf),
}

impl PemError {
    /// Which file it is about.
    pub fn file(&self) -> &Path {
        match self {
            Self::File { file, .. } | Self::Empty(file) => file,
        }
    }
}

/// Every certificate of a file, at least one.
pub fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let failed = |source| PemError::File { file: file.to_owned(), source };
    let certificates = CertificateDer::pem_file_iter(file)
        .map_err(failed)?
        .collect::<Result<Vec<_>, _>>()
        .map_err(failed)?;
    if certificates.is_empty() { Err(PemError::Empty(file.to_owned())) } else { Ok(certificates) }
}

/// The first private key of a file.
pub fn private_key(file: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    PrivateKeyDer::from_pem_file(file)
        .map_err(|source| PemError::File { file: file.to_owned(), source })
}
