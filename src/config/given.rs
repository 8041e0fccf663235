//! What a configuration was read from: to notice when it changes, and to say which changes a running process does not take over.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use toml::Value;

use super::path::KeyPath;
use super::tree::Tree;
use crate::secret::Secret;

/// Beside every [`Config`](super::Config). Empty for one that was not read from anywhere.
#[derive(Clone, Debug, Default)]
pub(crate) struct Given {
    /// Every file that was read, and those that would have been if they were there.
    #[cfg_attr(not(feature = "server"), expect(dead_code, reason = "the program watches them"))]
    pub(crate) files: Files,
    /// The text of every value that is only read at the start. It may hold a password, as in a store's URL.
    settled: BTreeMap<String, Secret<String>>,
}

impl Given {
    pub(super) fn new(tree: &Tree, files: Files) -> Self {
        let mut given = Self { files, ..Self::default() };
        for (section, value) in &tree.values {
            given.note(&KeyPath::of(section), value);
        }
        given
    }

    /// The keys that are only read at the start and were given otherwise in `newer`: another value, or its text written in another
    /// way, or added, or left out.
    pub(crate) fn settled_differences(&self, newer: &Self) -> Vec<String> {
        let added = newer.settled.keys().filter(|key| !self.settled.contains_key(*key));
        let changed = self.settled.iter().filter(|(key, text)| newer.settled.get(*key) != Some(*text));
        let mut keys: Vec<_> = changed.map(|(key, _)| key).chain(added).cloned().collect();
        keys.sort_unstable();
        keys
    }

    fn note(&mut self, path: &KeyPath, value: &Value) {
        match value {
            _ if LIVE.contains(&path.pattern().as_str()) => {}
            Value::Table(table) => table.iter().for_each(|(key, value)| self.note(&path.key(key), value)),
            value => drop(self.settled.insert(path.to_string(), Secret::new(value.to_string()))),
        }
    }
}

/// Files as they were at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Files(BTreeMap<PathBuf, Option<Stamp>>);

impl Files {
    /// Adds a file as it is now. Comes before reading it, so that no change is missed.
    pub(super) fn note(&mut self, path: PathBuf) {
        let stamp = Stamp::of(&path);
        self.0.insert(path, stamp);
    }

    /// The same files as they are now.
    #[cfg_attr(not(feature = "server"), expect(dead_code, reason = "the program watches them"))]
    pub(crate) fn now(&self) -> Self {
        Self(self.0.keys().map(|path| (path.clone(), Stamp::of(path))).collect())
    }
}

/// What shows that a file has changed. Its content is not looked at: it may be a pipe, which gives it once.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    modified: Option<SystemTime>,
    length: u64,
    identity: [i64; 4],
}

impl Stamp {
    /// Of the file that a chain of symbolic links ends at: Kubernetes exchanges a link in the middle. Nothing if there is none.
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self { modified: metadata.modified().ok(), length: metadata.len(), identity: identity(&metadata) })
    }
}

/// Also tells files of the same length and time apart, and a change that was dated back.
#[cfg(unix)]
fn identity(metadata: &fs::Metadata) -> [i64; 4] {
    use std::os::unix::fs::MetadataExt as _;
    [metadata.dev().cast_signed(), metadata.ino().cast_signed(), metadata.ctime(), metadata.ctime_nsec()]
}

#[cfg(not(unix))]
fn identity(_: &fs::Metadata) -> [i64; 4] {
    [0; 4]
}

/// What [`Cloakroom::reload`](crate::Cloakroom::reload) takes over.
const LIVE: [&str; 7] = [
    "keys.master",
    "server.admin_token",
    "server.ca_file",
    "server.tls.cert",
    "server.tls.key",
    "frontends.NAME.client_auth.method",
    "frontends.NAME.client_auth.secret",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn given(toml: &str) -> Given {
        let tree = Tree::from_toml("cloakroom.toml", toml).unwrap_or_else(|_| panic!("{toml}"));
        Given::new(&tree, Files::default())
    }

    #[test]
    fn what_is_not_taken_over_is_named_by_its_key() {
        let before = given(
            "[server]\nlisten = '127.0.0.1:1'\ndrain = '1s'\n[frontends.shop]\nurl = 'https://a/'\n[[frontends.shop.routes]]\npath = '/a'",
        );
        let after = given(
            "[server]\nlisten = '127.0.0.1:2'\nhosts = ['x']\n[frontends.shop]\nurl = 'https://a/'\n[[frontends.shop.routes]]\npath = '/b'",
        );
        let differences = before.settled_differences(&after);
        assert_eq!(differences, ["frontends.shop.routes", "server.drain", "server.hosts", "server.listen"]);
        assert!(before.settled_differences(&before.clone()).is_empty());
    }

    #[test]
    fn what_is_taken_over_needs_no_restart() {
        let before = given("[keys]\nmaster = ['a']\n[server]\nca_file = 'a'\ntls = { cert = 'a', key = 'a' }");
        let secret = "[frontends.shop]\nclient_auth = { method = 'client_secret_post', secret = { file = 'b' } }";
        let after = given(&format!("[keys]\nmaster = [{{ file = 'b' }}]\n{secret}"));
        assert!(before.settled_differences(&after).is_empty());
    }

    #[test]
    fn a_file_that_is_written_replaced_or_gone_has_changed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let mut files = Files::default();
        files.note(path.clone());
        assert_eq!(files.now(), files, "one that is not there stays so");
        fs::write(&path, "a").unwrap();
        let written = files.now();
        assert_ne!(written, files);
        assert_eq!(written.now(), written);

        let other = directory.path().join("other");
        fs::write(&other, "b").unwrap();
        fs::rename(&other, &path).unwrap();
        let replaced = written.now();
        assert_ne!(replaced, written);
        fs::remove_file(&path).unwrap();
        assert_ne!(replaced.now(), replaced);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_that_leads_elsewhere_has_changed() {
        use std::os::unix::fs::symlink;
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for version in ["..v1", "..v2"] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("key"), version).unwrap();
        }
        // As the kubelet does: a link to a folder in the middle, exchanged by renaming.
        symlink("..v1", at("..data")).unwrap();
        symlink("..data/key", at("key")).unwrap();
        let mut files = Files::default();
        files.note(at("key"));
        symlink("..v2", at("..data_tmp")).unwrap();
        fs::rename(at("..data_tmp"), at("..data")).unwrap();
        assert_ne!(files.now(), files);
    }
}
