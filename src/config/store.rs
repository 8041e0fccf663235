//! `[store]` and `[keys]`: where sessions rest, and what seals them.

use std::time::Duration;

use toml::Value;

use super::path::KeyPath;
use super::raw::{self, Leaf};
use super::reader::{Section, duplicates};
use super::values::shown;
use crate::secret::Secret;
use crate::store::{self, MasterKey};

/// `[store]`
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Store {
    /// `memory:`, `sqlite:PATH`, `postgres://…`, `redis://…`. It may hold a password.
    pub url: Secret<String>,
    /// Redis only: how many replicas must confirm a write before it counts.
    pub replicas_written: u32,
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
        checked(url)?;
        Ok(Self { url: url.into(), ..Self::default() })
    }

    /// The URL for people: without user, password and query.
    #[cfg(feature = "server")]
    pub(crate) fn shown(&self) -> String {
        shown(self.url.expose()).trim_matches('"').to_owned()
    }

    /// Whether sessions are gone when the process ends.
    pub fn is_memory(&self) -> bool {
        self.url.expose() == MEMORY
    }

    /// What the store is opened with.
    pub fn options(&self) -> store::Options {
        store::Options { url: self.url.clone(), replicas_written: self.replicas_written, timeout: self.timeout }
    }
}

impl Default for Store {
    fn default() -> Self {
        Self {
            url: Secret::from("sqlite:cloakroom.db"),
            replicas_written: 0,
            timeout: Duration::from_secs(2),
            lease: Duration::from_secs(5),
        }
    }
}

pub(super) fn read(raw: &raw::Store, at: &Section<'_>) -> Store {
    let default = Store::default();
    let url = url(&raw.url, at).unwrap_or(default.url);
    let replicas_written = at.number("replicas_written", &raw.replicas_written).unwrap_or(default.replicas_written);
    if replicas_written > 0 && !is_redis(url.expose()) {
        at.complain("replicas_written", "only a Redis store knows replicas; leave it out");
    }
    Store {
        url,
        replicas_written,
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

/// The store's URL, which is a secret: it may hold a password.
fn url(leaf: &Leaf, at: &Section<'_>) -> Option<Secret<String>> {
    let url = match leaf.0.as_ref()? {
        Value::String(text) => Secret::from(text.as_str()),
        elsewhere => at.secret(&at.path.key("url"), elsewhere)?,
    };
    checked(url.expose()).map_err(|message| at.complain("url", message)).ok()?;
    Some(url)
}

fn checked(text: &str) -> Result<(), String> {
    match text.split_once(':') {
        Some(("memory", "")) => Ok(()),
        Some(("memory", _)) => Err(format!("{} has more after the colon; write \"{MEMORY}\"", shown(text))),
        Some(("sqlite", path)) if is_file_path(path) => built_with("sqlite", cfg!(feature = "sqlite")),
        Some(("sqlite", _)) => Err(format!(
            "{} is not sqlite:PATH, such as \"sqlite:cloakroom.db\" or \"sqlite:/var/lib/cloakroom.db\"",
            shown(text)
        )),
        Some(("postgres" | "postgresql", _)) => postgres(text),
        Some((scheme, rest)) if REDIS.contains(&scheme) && rest.starts_with("//") => redis(text),
        _ => Err(format!(
            "{} is no store; write \"sqlite:PATH\", \"postgres://HOST/DATABASE\", \"redis://HOST\" or \"{MEMORY}\"",
            shown(text)
        )),
    }
}

#[cfg(feature = "postgres")]
fn postgres(text: &str) -> Result<(), String> {
    store::parse_postgres_url(text).map(drop).map_err(|error| error.to_string())
}

#[cfg(feature = "redis")]
fn redis(text: &str) -> Result<(), String> {
    store::RedisBackend::check_url(text)
}

#[cfg(not(feature = "redis"))]
fn redis(_: &str) -> Result<(), String> {
    built_with("redis", false)
}

#[cfg(not(feature = "postgres"))]
fn postgres(_: &str) -> Result<(), String> {
    built_with("postgres", false)
}

fn built_with(feature: &str, is_there: bool) -> Result<(), String> {
    if is_there { Ok(()) } else { Err(format!("this program was built without the feature \"{feature}\"")) }
}

fn is_redis(url: &str) -> bool {
    url.split_once(':').is_some_and(|(scheme, _)| REDIS.contains(&scheme))
}

/// A path as it is: no `//`, no in-memory database under another name, no options.
fn is_file_path(path: &str) -> bool {
    !path.is_empty() && !path.starts_with("//") && !path.starts_with(':') && !path.contains('?')
}

const MEMORY: &str = "memory:";
/// What follows the scheme is read by the store itself: with several hosts it is no URL.
const REDIS: [&str; 6] = ["redis", "rediss", "redis-sentinel", "rediss-sentinel", "redis-cluster", "rediss-cluster"];
