//! The effective configuration as TOML, secrets redacted: what `vestibule check` prints.

use super::{Config, Loaded};

impl Loaded {
    /// The effective configuration as TOML. Secrets read `[redacted]`; apart from them it means
    /// the same when it is read again.
    ///
    /// # Errors
    /// Never for a configuration that was loaded: every value came from TOML.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        let mut sources = Vec::new();
        sources.extend(self.file.as_ref().map(|file| file.display().to_string()));
        sources.extend(self.variables.iter().cloned());
        if sources.is_empty() {
            sources.push("defaults alone".to_owned());
        }
        // A name may hold anything: quoted and escaped, it stays on its line.
        let sources: Vec<String> = sources.iter().map(|source| format!("{source:?}")).collect();
        let body = self.config.to_toml()?;
        Ok(format!("# Effective configuration, from {}\n\n{body}", sources.join(", ")))
    }
}

impl Config {
    /// As TOML, secrets redacted.
    ///
    /// # Errors
    /// Never for a configuration that was loaded: every value came from TOML.
    pub fn to_toml(&self) -> Result<String, toml::ser::Error> {
        toml::to_string_pretty(self)
    }
}
