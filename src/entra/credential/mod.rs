//! How we prove to Microsoft that we are the app: a shared secret, an assertion that we sign with a
//! certificate's key, or a token of somebody whom the app registration trusts (RFC 7523 §2.2).

mod assertion;
mod certificate;
mod federated_token;
mod outlook;

use std::{fs, io, path::Path, path::PathBuf, sync::Arc};

pub(super) use self::assertion::Occasion;
use self::federated_token::FederatedToken;
pub use self::{
    certificate::{CertificateError, ClientCertificate},
    federated_token::Named,
    outlook::{Concern, Outlook},
};
use crate::base::secret::{ExposeSecret, SecretSource, SecretString};

/// The name of the two parameters of RFC 7523 §2.2, and the only type that Entra takes.
const ASSERTION: &str = "client_assertion";
const ASSERTION_TYPE: (&str, &str) =
    ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
/// Beyond any certificate chain, key or token.
const LARGEST_FILE: u64 = 1 << 20;

/// Why the credential could not be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// The secret's file is gone or not readable.
    #[error("the client secret cannot be read")]
    Unreadable(#[source] io::Error),
    /// The secret's file is empty.
    #[error("the client secret is empty")]
    Empty,
    /// The token's file is gone or not readable.
    #[error("the federated token {} cannot be read", file.display())]
    TokenUnreadable {
        /// Which file.
        file: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The token's file holds something else; it is sent to nobody.
    #[error("{} holds no federated token: it is empty, or not a JWT", .0.display())]
    NoToken(PathBuf),
    /// The system has no randomness, or the key does not sign.
    #[error("the client assertion could not be signed")]
    Signing,
}

/// The app's own credential.
#[derive(Clone, Debug)]
pub enum ClientCredential {
    /// A shared secret, in the body as MSAL sends it.
    Secret(SecretSource),
    /// A certificate that is registered with the app, and its key.
    Certificate(Arc<ClientCertificate>),
    /// A token of a federated issuer, such as a cluster's service account token.
    FederatedToken(FederatedToken),
}

impl ClientCredential {
    /// A token that somebody renews in this file.
    pub(super) fn federated(file: PathBuf) -> Self {
        Self::FederatedToken(FederatedToken::new(file))
    }

    /// The form parameters that authenticate one token request. Secrets and tokens are read anew
    /// for each, assertions signed anew: their `jti` may be used once.
    ///
    /// # Errors
    /// The file behind it cannot be used.
    pub(super) fn parameters(
        &self,
        occasion: &Occasion<'_>,
    ) -> Result<Vec<(&'static str, SecretString)>, CredentialError> {
        let assertion = match self {
            Self::Secret(source) => return Ok(vec![("client_secret", secret(source)?)]),
            Self::Certificate(certificate) => {
                certificate.assertion(occasion).ok_or(CredentialError::Signing)?.into()
            }
            Self::FederatedToken(token) => token.read()?,
        };
        let (name, kind) = ASSERTION_TYPE;
        Ok(vec![(name, kind.to_owned().into()), (ASSERTION, assertion)])
    }

    /// Whether its file is there now. What a federated token's file holds is seen at each use, since
    /// somebody else renews it.
    ///
    /// # Errors
    /// The file behind it cannot be used.
    pub(super) fn check(&self) -> Result<(), CredentialError> {
        match self {
            Self::Secret(source) => secret(source).map(drop),
            Self::Certificate(_) => Ok(()),
            Self::FederatedToken(token) => match token.read() {
                Ok(_) | Err(CredentialError::NoToken(_)) => Ok(()),
                Err(error) => Err(error),
            },
        }
    }

    /// What it says about itself.
    pub(super) fn outlook(&self) -> Outlook {
        match self {
            Self::Secret(_) => Outlook::Secret,
            Self::Certificate(certificate) => Outlook::Certificate {
                thumbprint: certificate.thumbprint(),
                not_before: certificate.not_before(),
                not_after: certificate.not_after(),
            },
            Self::FederatedToken(token) => Outlook::FederatedToken(token.named()),
        }
    }
}

fn secret(source: &SecretSource) -> Result<SecretString, CredentialError> {
    let secret = source.read().map_err(CredentialError::Unreadable)?;
    if secret.expose_secret().is_empty() { Err(CredentialError::Empty) } else { Ok(secret) }
}

/// Reads a file that is a file: a pipe would block, and a device has no end.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let about = fs::metadata(path)?;
    if about.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    if !about.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    if about.len() > LARGEST_FILE {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    fs::read(path)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use url::Url;

    use super::*;

    #[test]
    fn a_rotated_secret_file_is_taken_over_at_the_next_use() {
        let path = std::env::temp_dir().join(format!("vestibule-secret-{}", std::process::id()));
        let credential = ClientCredential::Secret(SecretSource::File(path.clone()));
        let endpoint = Url::parse("https://login.test/t/oauth2/v2.0/token").unwrap();
        let occasion = Occasion { client_id: "c", token_endpoint: &endpoint, now: 0 };
        for secret in ["first", "second"] {
            fs::write(&path, format!("{secret}\n")).unwrap();
            let parameters = credential.parameters(&occasion).unwrap();
            let sent = parameters.iter().map(|(name, value)| (*name, value.expose_secret()));
            assert_eq!(sent.collect::<Vec<_>>(), [("client_secret", secret)]);
        }
        fs::write(&path, "\n").unwrap();
        assert!(matches!(credential.parameters(&occasion), Err(CredentialError::Empty)));
        fs::remove_file(&path).unwrap();
        assert!(matches!(credential.parameters(&occasion), Err(CredentialError::Unreadable(_))));
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let kind = |path: &str| read_file(Path::new(path)).unwrap_err().kind();
        assert_eq!(kind("/dev/zero"), io::ErrorKind::InvalidInput);
        assert_eq!(kind("/"), io::ErrorKind::IsADirectory);
        assert_eq!(kind("/nonexistent/x"), io::ErrorKind::NotFound);
    }
}
