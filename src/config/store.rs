//! `[store]` and `[keys]`: where sessions rest, and what seals them.

use std::time::Duration;

use toml::Value;

use super::path::KeyPath;
use super::raw::{self, Leaf};
use super::reader::{Section, duplicates};
use super::values::shown;
use crate::secret::Secret;
use crate::store::MasterKey;

/// `[store]`
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Store {
    /// `memory:`, `sqlite:PATH`.
    pub url: String,
    /// Deadline of one store call.
    pub timeout: Duration,
    /// How long a refresh lease lasts unless renewed.
    pub lease: Duration,
}

impl Store {
    /// A store that is named outside the configuration; everything else is as it comes.
    ///
    /// # Errors
    /// What is wrong with the URL, without user, password and query.
    #[cfg(feature = "server")]
    pub(crate) fn named(url: &str) -> Result<Self, String> {
        Ok(Self { url: self::url(url)?, ..Self::default() })
    }

    /// The URL for people: without user, password and query.
    #[cfg(feature = "server")]
    pub(crate) fn shown(&self) -> String {
        shown(&self.url).trim_matches('"').to_owned()
    }

    /// Whether sessions are gone when the process ends.
    pub fn is_memory(&self) -> bool {
        self.url == MEMORY
    }
}

impl Default for Store {
    fn default() -> Self {
        Self { url: "sqlite:cloakroom.db".to_owned(), timeout: Duration::from_secs(2), lease: Duration::from_secs(5) }
    }
}

pub(super) fn read(raw: &raw::Store, at: &Section<'_>) -> Store {
    let default = Store::default();
    Store {
        url: at.parse("url", &raw.url, url).unwrap_or(default.url),
        timeout: at.duration("timeout", &raw.timeout, default.timeout),
        lease: at.duration("lease", &raw.lease, default.lease),
    }
}

/// Reads `keys.master`. A store that outlives the process needs one.
pub(super) fn keys(raw: &raw::Keys, at: &Section<'_>, store: &Store) -> Vec<MasterKey> {
    let Some(secrets) = secrets(&raw.master, at) else {
        if !store.is_memory() {
            let message = format!(
                "no master key; {} to what \"cloakroom keygen\" prints (only the store \"memory:\" starts without)",
                at.remedy("master")
            );
            at.complain("master", message);
        }
        return Vec::new();
    };
    if secrets.is_empty() {
        at.complain("master", "an empty list; \"cloakroom keygen\" prints a key");
    }
    let keys: Vec<MasterKey> = secrets.iter().filter_map(|(path, secret)| key(path, secret, at)).collect();
    if !duplicates(keys.iter().map(|key| key.to_base64url().expose().clone())).is_empty() {
        at.complain("master", "the same key twice; a new key joins as second, then becomes first");
    }
    keys
}

fn key(path: &KeyPath, secret: &Secret<String>, at: &Section<'_>) -> Option<MasterKey> {
    let key = MasterKey::parse(secret.expose());
    if key.is_none() {
        let message =
            "not a master key: 32 bytes as 43 characters of base64url are needed; \"cloakroom keygen\" prints one";
        at.reader.complain(path, message);
    }
    key
}

/// The secrets and their places. Nothing if none were given; the unreadable ones have become findings.
fn secrets(leaf: &Leaf, at: &Section<'_>) -> Option<Vec<(KeyPath, Secret<String>)>> {
    let path = at.path.key("master");
    let one = |path: KeyPath, value: &Value| at.secret(&path, value).map(|secret| (path, secret));
    match leaf.0.as_ref()? {
        Value::Array(entries) => {
            let places = entries.iter().enumerate().map(|(index, entry)| (path.index(index), entry));
            Some(places.filter_map(|(path, entry)| one(path, entry)).collect())
        }
        // As variables have it: commas between.
        Value::String(text) => {
            let entries = text.split(',').map(|entry| Value::String(entry.trim().to_owned()));
            Some(entries.filter_map(|entry| one(path.clone(), &entry)).collect())
        }
        other => Some(one(path, other).into_iter().collect()),
    }
}

fn url(text: &str) -> Result<String, String> {
    match text.split_once(':') {
        Some(("memory", "")) => Ok(text.to_owned()),
        Some(("memory", _)) => Err(format!("{} has more after the colon; write \"{MEMORY}\"", shown(text))),
        Some(("sqlite", path)) if is_file_path(path) => sqlite(text),
        Some(("sqlite", _)) => Err(format!(
            "{} is not sqlite:PATH, such as \"sqlite:cloakroom.db\" or \"sqlite:/var/lib/cloakroom.db\"",
            shown(text)
        )),
        Some((kind @ ("postgres" | "postgresql" | "redis" | "rediss"), _)) => {
            Err(format!("{kind} stores are not supported by this version yet; write \"sqlite:PATH\" or \"{MEMORY}\""))
        }
        _ => Err(format!("{} is no store; write \"sqlite:PATH\" or \"{MEMORY}\"", shown(text))),
    }
}

#[cfg(feature = "sqlite")]
#[expect(clippy::unnecessary_wraps, reason = "the other build refuses")]
fn sqlite(text: &str) -> Result<String, String> {
    Ok(text.to_owned())
}

#[cfg(not(feature = "sqlite"))]
fn sqlite(_: &str) -> Result<String, String> {
    Err("this program was built without the feature \"sqlite\"".to_owned())
}

/// A path as it is: no `//`, no in-memory database under another name, no options.
fn is_file_path(path: &str) -> bool {
    !path.is_empty() && !path.starts_with("//") && !path.starts_with(':') && !path.contains('?')
}

const MEMORY: &str = "memory:";
