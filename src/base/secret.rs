//! Secrets: text that `Debug` hides, that is wiped from memory, and that comes from the
//! configuration itself (`x`) or from a file beside it (`x_file`).

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
pub use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};

/// A secret of the configuration as typed. Prints as `[redacted]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct Secret(SecretString);

impl Secret {
    /// The secret itself, still hidden from `Debug`.
    pub fn into_inner(self) -> SecretString {
        self.0
    }

    /// The secret's text. Never print it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

/// Whether a configuration says the same as another; nobody from outside chooses either side.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for Secret {}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text.into())
    }
}

impl From<SecretString> for Secret {
    fn from(text: SecretString) -> Self {
        Self(text)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("[redacted]")
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "writeOnly": true })
    }
}

/// Where a secret is read from each time it is needed.
#[derive(Clone, Debug)]
pub enum SecretSource {
    /// Given in the configuration.
    Inline(SecretString),
    /// A file, read again at every use so that a rotated secret is taken over (one trailing
    /// newline is dropped).
    File(PathBuf),
}

impl SecretSource {
    /// The secret as it is now.
    ///
    /// # Errors
    /// The file cannot be read, or is not UTF-8.
    pub fn read(&self) -> Result<SecretString, io::Error> {
        match self {
            Self::Inline(secret) => Ok(secret.clone()),
            Self::File(path) => read_file(path),
        }
    }
}

/// Reads a secret file; one trailing newline is dropped.
///
/// # Errors
/// The file cannot be read, or is not UTF-8.
pub fn read_file(path: &Path) -> Result<SecretString, io::Error> {
    let mut text = fs::read_to_string(path)?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_prints_as_redacted_and_serializes_as_redacted() {
        let secret = Secret::from("hunter2".to_owned());
        assert!(!format!("{secret:?}").contains("hunter2"));
        assert_eq!(serde_json::to_string(&secret).unwrap(), "\"[redacted]\"");
        assert!(!format!("{:?}", SecretSource::Inline(secret.into_inner())).contains("hunter2"));
    }

    #[test]
    fn a_secret_file_loses_one_line_end_and_no_more() {
        let folder = std::env::temp_dir();
        let path = folder.join(format!("vestibule-secret-{}", std::process::id()));
        for (text, secret) in
            [("s3\n", "s3"), ("s3\r\n", "s3"), ("s3\n\n", "s3\n"), (" s3 ", " s3 "), ("s3", "s3")]
        {
            fs::write(&path, text).unwrap();
            let read = SecretSource::File(path.clone()).read().unwrap();
            assert_eq!(read.expose_secret(), secret);
        }
        fs::remove_file(&path).unwrap();
        assert!(read_file(&path).is_err());
    }
}
