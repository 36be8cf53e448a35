//! How we prove to Microsoft that we are the app.

use std::io;

use crate::base::secret::{ExposeSecret, SecretSource, SecretString};

/// Why the credential could not be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// Its file is gone or not readable.
    #[error("the client secret cannot be read")]
    Unreadable(#[source] io::Error),
    /// Its file is empty.
    #[error("the client secret is empty")]
    Empty,
}

/// The app's own credential.
#[derive(Clone, Debug)]
pub enum ClientCredential {
    /// A shared secret, in the body as MSAL sends it.
    Secret(SecretSource),
}

impl ClientCredential {
    /// The form parameters that authenticate one token request, read anew for each.
    ///
    /// # Errors
    /// The file behind it cannot be used.
    pub(super) fn parameters(&self) -> Result<Vec<(&'static str, SecretString)>, CredentialError> {
        match self {
            Self::Secret(source) => {
                let secret = source.read().map_err(CredentialError::Unreadable)?;
                if secret.expose_secret().is_empty() {
                    return Err(CredentialError::Empty);
                }
                Ok(vec![("client_secret", secret)])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_rotated_secret_file_is_taken_over_at_the_next_use() {
        let path = std::env::temp_dir().join(format!("vestibule-secret-{}", std::process::id()));
        let credential = ClientCredential::Secret(SecretSource::File(path.clone()));
        for secret in ["first", "second"] {
            fs::write(&path, format!("{secret}\n")).unwrap();
            let parameters = credential.parameters().unwrap();
            let sent = parameters.iter().map(|(name, value)| (*name, value.expose_secret()));
            assert_eq!(sent.collect::<Vec<_>>(), [("client_secret", secret)]);
        }
        fs::write(&path, "\n").unwrap();
        assert!(matches!(credential.parameters(), Err(CredentialError::Empty)));
        fs::remove_file(&path).unwrap();
        assert!(matches!(credential.parameters(), Err(CredentialError::Unreadable(_))));
    }
}
