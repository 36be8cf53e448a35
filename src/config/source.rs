//! A configuration that can be read again: the same file, the environment as it was at start.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
};

use serde::Serialize;
use serde_json::Value;

use super::{Config, ConfigError, Loaded, load};
use crate::base::watched_file::Fingerprint;

/// A federated token is read at each use and renewed every hour: no reason for a new configuration.
const READ_AT_EACH_USE: &str = "federated_token_file";
/// Each round knows the files that the one before has found.
const ROUNDS: usize = 4;

/// Where a configuration comes from.
#[derive(Clone)]
pub struct Source {
    file: Option<PathBuf>,
    environment: Vec<(OsString, OsString)>,
}

/// A configuration, and what its files held when it was read.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The configuration.
    pub loaded: Loaded,
    /// The configuration file and every `*_file`, looked at before they were read: what changes
    /// meanwhile shows at the next look.
    pub files: Fingerprint,
}

impl Source {
    /// `file` as for [`load`]; the environment never changes under a running process.
    pub fn new(
        file: Option<&Path>,
        environment: impl Iterator<Item = (OsString, OsString)>,
    ) -> Self {
        Self { file: file.map(Path::to_owned), environment: environment.collect() }
    }

    /// Reads everything anew.
    ///
    /// # Errors
    /// As [`load`].
    pub fn read(&self) -> Result<Snapshot, ConfigError> {
        let mut paths: BTreeSet<PathBuf> = self.file.iter().cloned().collect();
        let mut round = 0;
        loop {
            let files = Fingerprint::of(&paths);
            let loaded = load(self.file.as_deref(), self.environment.iter().cloned())?;
            let named = loaded.files();
            round += 1;
            if named.is_subset(&paths) || round == ROUNDS {
                return Ok(Snapshot { loaded, files: files.only(&named) });
            }
            paths.extend(named);
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("file", &self.file).finish_non_exhaustive()
    }
}

impl Loaded {
    /// The configuration file, and the files that it names.
    pub fn files(&self) -> BTreeSet<PathBuf> {
        let mut files = files_of(&self.config);
        files.extend(self.file.clone());
        files
    }
}

/// Every `*_file` of a section, or of the whole [`Config`]. By the names of the keys, so that none
/// can be forgotten.
pub fn files_of(section: &impl Serialize) -> BTreeSet<PathBuf> {
    let mut files = BTreeSet::new();
    // A configuration came from text, and can be written as text.
    collect(&serde_json::to_value(section).unwrap_or_default(), &mut files);
    files
}

fn collect(value: &Value, files: &mut BTreeSet<PathBuf>) {
    match value {
        Value::Object(entries) => {
            for (key, value) in entries {
                match value {
                    Value::String(path) if key.ends_with("_file") && key != READ_AT_EACH_USE => {
                        files.insert(PathBuf::from(path));
                    }
                    other => collect(other, files),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, files)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

impl Config {
    /// What a key holds, by its path as in `/server/listen`; `None` where it holds nothing.
    pub fn value(&self, path: &str) -> Option<Value> {
        serde_json::to_value(self).ok()?.pointer(path).cloned()
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, iter};

    use super::{super::broken::SOUND, *};

    #[test]
    fn every_file_that_a_configuration_names_is_known() {
        let mut config = Config::default();
        config.entra.client_secret_file = Some("/secret".into());
        config.session.keys_file = Some("/keys".into());
        // It is read at each use, and nobody has to notice that it was renewed.
        config.entra.federated_token_file = Some("/token".into());
        config.upstream.ca_file = Some("/ca".into());
        let named: Vec<_> = files_of(&config).into_iter().collect();
        assert_eq!(named, ["/ca", "/keys", "/secret"].map(PathBuf::from));
        assert_eq!(files_of(&config.upstream), BTreeSet::from([PathBuf::from("/ca")]));
    }

    #[test]
    fn a_snapshot_knows_the_content_of_the_files_behind_the_file() {
        let folder = std::env::temp_dir().join(format!("vestibule-source-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let (file, secret) = (folder.join("proxy.toml"), folder.join("secret"));
        fs::write(&secret, "s3cret").unwrap();
        let line = SOUND.lines().find(|line| line.starts_with("client_secret")).unwrap();
        let text = SOUND.replace(line, &format!("client_secret_file = {secret:?}"));
        fs::write(&file, text).unwrap();
        let source = Source::new(Some(&file), iter::empty());
        let snapshot = source.read().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(snapshot.files, Fingerprint::of([&file, &secret]));
    }

    #[test]
    fn the_environment_is_not_printed() {
        let pair = ("VESTIBULE__ENTRA__CLIENT_SECRET".into(), "hunter2".into());
        let source = Source::new(None, iter::once(pair));
        assert!(!format!("{source:?}").contains("hunter2"));
    }
}
