//! Files whose change matters, told by what they hold.
//!
//! Contents are compared, through symlinks: Kubernetes swaps a mounted `ConfigMap` by a link to
//! another folder, after which a watch on the file itself sees nothing any more; mounts by
//! `subPath` and network file systems report no changes at all.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, ErrorKind, Read},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Beyond any configuration, key or bundle of certificates; what is longer is told by its length.
const LONGEST: u64 = 4 << 20;

/// What a set of files holds, as hashes: keys among them cannot be read back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint(BTreeMap<PathBuf, Contents>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Contents {
    Hash([u8; 32]),
    /// A pipe or a device: reading it would block, or take its bytes from whoever needs them.
    NoFile,
    TooLong(u64),
    Unreadable(ErrorKind),
}

impl Fingerprint {
    /// Reads the files as they are now. One that cannot be read is part of the answer.
    pub fn of<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Self {
        let contents = |path: &PathBuf| (path.clone(), Contents::of(path));
        Self(paths.into_iter().map(contents).collect())
    }

    /// The files.
    pub fn paths(&self) -> impl Iterator<Item = &PathBuf> {
        self.0.keys()
    }

    /// The same without the files that are not in `paths`.
    #[must_use]
    pub fn only(mut self, paths: &BTreeSet<PathBuf>) -> Self {
        self.0.retain(|path, _| paths.contains(path));
        self
    }

    /// The files that differ, or that only one of both knows.
    pub fn differing(&self, other: &Self) -> BTreeSet<PathBuf> {
        let all = self.0.keys().chain(other.0.keys());
        all.filter(|path| self.0.get(*path) != other.0.get(*path)).cloned().collect()
    }
}

impl Contents {
    fn of(path: &Path) -> Self {
        Self::read(path).unwrap_or_else(|error| Self::Unreadable(error.kind()))
    }

    fn read(path: &Path) -> io::Result<Self> {
        // Before it is opened: opening a pipe waits for somebody to write.
        let about = path.metadata()?;
        if !about.is_file() {
            return Ok(Self::NoFile);
        }
        let mut bytes = Zeroizing::new(Vec::new());
        File::open(path)?.take(LONGEST + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > LONGEST {
            return Ok(Self::TooLong(about.len()));
        }
        Ok(Self::Hash(Sha256::digest(&*bytes).into()))
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    fn folder(name: &str) -> PathBuf {
        let folder =
            std::env::temp_dir().join(format!("vestibule-watched-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn a_change_shows_whatever_the_times_and_lengths_say() {
        let file = folder("change").join("a");
        fs::write(&file, "one").unwrap();
        let modified = file.metadata().unwrap().modified().unwrap();
        let first = Fingerprint::of([&file]);
        assert_eq!(first, Fingerprint::of([&file]));
        fs::write(&file, "two").unwrap();
        File::options().write(true).open(&file).unwrap().set_modified(modified).unwrap();
        let second = Fingerprint::of([&file]);
        assert_eq!(first.differing(&second), BTreeSet::from([file]));
    }

    #[test]
    fn a_swapped_link_two_links_away_is_a_change() {
        let folder = folder("links");
        for (version, text) in [("v1", "one"), ("v2", "two")] {
            fs::create_dir(folder.join(version)).unwrap();
            fs::write(folder.join(version).join("proxy.toml"), text).unwrap();
        }
        symlink("v1", folder.join("..data")).unwrap();
        let file = folder.join("proxy.toml");
        symlink("..data/proxy.toml", &file).unwrap();
        let first = Fingerprint::of([&file]);
        symlink("v2", folder.join("..tmp")).unwrap();
        fs::rename(folder.join("..tmp"), folder.join("..data")).unwrap();
        assert_ne!(first, Fingerprint::of([&file]));
    }

    #[test]
    fn a_file_that_goes_or_comes_is_a_change_and_a_folder_is_no_file() {
        let folder = folder("gone");
        let file = folder.join("a");
        let missing = Fingerprint::of([&file]);
        assert_eq!(missing, Fingerprint::of([&file]));
        fs::write(&file, "").unwrap();
        assert_ne!(missing, Fingerprint::of([&file]));
        let about = Fingerprint::of([&folder, &file]);
        assert_eq!(about.0.get(&folder), Some(&Contents::NoFile));
        let only = about.only(&BTreeSet::from([file.clone()]));
        assert_eq!(only.paths().collect::<Vec<_>>(), [&file]);
    }

    #[test]
    fn nothing_of_a_secret_file_is_in_its_fingerprint() {
        let file = folder("secret").join("a");
        fs::write(&file, "hunter2").unwrap();
        assert!(!format!("{:?}", Fingerprint::of([&file])).contains("hunter2"));
    }
}
