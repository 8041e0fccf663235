//! From untyped values to typed ones. Whatever is wrong becomes a finding with its place; reading goes on.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use toml::Value;

use super::findings::{Finding, Origin};
use super::given::Files;
use super::path::KeyPath;
use super::raw::Leaf;
use super::tree::Tree;
use super::values::{self, nearest, quoted, shown};
use super::variables::{self, Variables};
use crate::secret::Secret;

/// Everything that was given, and what has been found so far.
pub(super) struct Reader<'a> {
    pub(super) tree: &'a Tree,
    pub(super) variables: &'a Variables,
    pub(super) directory: &'a Path,
    pub(super) findings: RefCell<Vec<Finding>>,
    pub(super) weakened: RefCell<Vec<String>>,
    pub(super) files: RefCell<Files>,
}

impl<'a> Reader<'a> {
    /// A section by its path.
    pub(super) fn section(&'a self, path: KeyPath) -> Section<'a> {
        Section { reader: self, path }
    }

    /// Something is wrong at a path.
    pub(super) fn complain(&self, path: &KeyPath, message: impl Into<String>) {
        self.findings.borrow_mut().push(Finding {
            path: path.to_string(),
            origin: self.tree.origin(path),
            message: message.into(),
            line: self.tree.line(path),
        });
    }

    /// Something is weaker than the default, on purpose.
    pub(super) fn weaken(&self, path: &KeyPath, what: impl std::fmt::Display) {
        self.weakened.borrow_mut().push(format!("{path}: {what}"));
    }

    /// A path of the file system: as written, or below the working directory.
    pub(super) fn file_path(&self, text: &str) -> PathBuf {
        self.directory.join(text)
    }

    /// The path of a file that is going to be read.
    fn noted(&self, text: &str) -> PathBuf {
        let path = self.file_path(text);
        self.files.borrow_mut().note(path.clone());
        path
    }
}

/// A table of the configuration, being read.
#[derive(Clone)]
pub(super) struct Section<'a> {
    pub(super) reader: &'a Reader<'a>,
    pub(super) path: KeyPath,
}

impl Section<'_> {
    /// A table inside this one.
    pub(super) fn section(&self, key: &str) -> Self {
        Self { reader: self.reader, path: self.path.key(key) }
    }

    /// An entry of a list of tables inside this one.
    pub(super) fn entry(&self, key: &str, index: usize) -> Self {
        Self { reader: self.reader, path: self.path.key(key).index(index) }
    }

    /// Something is wrong with this key.
    pub(super) fn complain(&self, key: &str, message: impl Into<String>) {
        self.reader.complain(&self.path.key(key), message);
    }

    /// This key is weaker than its default.
    pub(super) fn weaken(&self, key: &str, what: impl std::fmt::Display) {
        self.reader.weaken(&self.path.key(key), what);
    }

    /// The name somebody chose for this section. Variables and cookie names have to carry it.
    pub(super) fn check_name(&self, name: &str) {
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
        if !plain || name.contains("__") || name.len() > 40 || !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
            let message = "a name is a letter, then letters, digits, \"-\" and single \"_\", at most 40 in all";
            self.reader.complain(&self.path, message);
        }
    }

    /// A value that must be there is not.
    pub(super) fn missing(&self, key: &str, what: &str) {
        self.complain(key, format!("{what} is missing; {}", self.remedy(key)));
    }

    /// How a missing key is set: by its variable, if there is one and nothing of this section is in a file.
    pub(super) fn remedy(&self, key: &str) -> String {
        let path = self.path.key(key);
        let in_file = matches!(self.reader.tree.origin(&path), Origin::File(_));
        match variables::name_of(&path).filter(|_| !in_file) {
            Some(variable) => format!("set {variable}"),
            None => format!("set \"{key}\""),
        }
    }

    /// Text.
    pub(super) fn text<'v>(&self, key: &str, leaf: &'v Leaf) -> Option<&'v str> {
        match leaf.0.as_ref()? {
            Value::String(text) => Some(text),
            other => self.wrong_type(key, "text in quotes", other),
        }
    }

    /// Text that means something; the parser's message is the finding.
    pub(super) fn parse<T>(&self, key: &str, leaf: &Leaf, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text(key, leaf)?;
        parse(text).map_err(|message| self.complain(key, message)).ok()
    }

    /// One of a few names.
    pub(super) fn choice<T: Copy>(&self, key: &str, leaf: &Leaf, choices: &[(&str, T)]) -> Option<T> {
        self.parse(key, leaf, |text| choose(text, choices))
    }

    /// A list of texts: a list, or one text with commas or blanks between (as variables have it). Wrong entries are left out.
    pub(super) fn list<T>(&self, key: &str, leaf: &Leaf, parse: impl Fn(&str) -> Result<T, String>) -> Option<Vec<T>> {
        let path = self.path.key(key);
        let one = |path: &KeyPath, text: &str| parse(text).map_err(|message| self.reader.complain(path, message)).ok();
        match leaf.0.as_ref()? {
            Value::String(text) => {
                let entries = text.split(|c: char| c == ',' || c.is_whitespace()).filter(|entry| !entry.is_empty());
                Some(entries.filter_map(|entry| one(&path, entry)).collect())
            }
            Value::Array(entries) => {
                let entry = |(index, entry): (usize, &Value)| match entry {
                    Value::String(text) => one(&path.index(index), text),
                    other => self.wrong_type_at(&path.index(index), "text in quotes", other),
                };
                Some(entries.iter().enumerate().filter_map(entry).collect())
            }
            other => self.wrong_type(key, "a list of texts", other),
        }
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, key: &str, leaf: &Leaf, default: bool) -> bool {
        let read = match leaf.0.as_ref() {
            None => None,
            Some(Value::Boolean(flag)) => Some(*flag),
            Some(Value::String(text)) => match text.as_str() {
                "true" => Some(true),
                "false" => Some(false),
                other => {
                    self.complain(key, format!("{} is neither true nor false", shown(other)));
                    None
                }
            },
            Some(other) => self.wrong_type(key, "true or false", other),
        };
        read.unwrap_or(default)
    }

    /// A duration longer than nothing.
    pub(super) fn duration(&self, key: &str, leaf: &Leaf, default: Duration) -> Duration {
        let positive = |text: &str| match values::duration(text)? {
            Duration::ZERO => {
                Err(format!("{text} is no time at all; leave it out for {}", values::show_duration(default)))
            }
            duration => Ok(duration),
        };
        self.measure(key, leaf, positive).unwrap_or(default)
    }

    /// A duration longer than nothing, or none.
    pub(super) fn optional_duration(&self, key: &str, leaf: &Leaf) -> Option<Duration> {
        self.measure(key, leaf, |text| match values::duration(text)? {
            Duration::ZERO => Err(format!("{text} is no time at all; leave it out for no limit")),
            duration => Ok(duration),
        })
    }

    /// A duration that may be zero.
    pub(super) fn duration_or_zero(&self, key: &str, leaf: &Leaf, default: Duration) -> Duration {
        self.measure(key, leaf, values::duration).unwrap_or(default)
    }

    /// A size in bytes.
    pub(super) fn size(&self, key: &str, leaf: &Leaf, default: u64) -> u64 {
        self.measure(key, leaf, values::size).unwrap_or(default)
    }

    /// A whole number, from 0.
    pub(super) fn number(&self, key: &str, leaf: &Leaf) -> Option<u32> {
        self.measure(key, leaf, |text| {
            text.parse().map_err(|_| format!("{} is not a whole number from 0 to {}", shown(text), u32::MAX))
        })
    }

    /// A secret: `"…"`, `{ file = "…" }` or `{ env = "…" }`. Nothing if there is none, or if there is a finding.
    pub(super) fn secret(&self, path: &KeyPath, value: &Value) -> Option<Secret<String>> {
        let secret = match value {
            Value::String(text) => Ok(Secret::from(text.as_str())),
            Value::Table(table) => self.secret_elsewhere(table),
            _ => Err(SECRET_FORMS.to_owned()),
        };
        let secret = secret.and_then(|secret| match secret.expose().as_str() {
            "" => Err("the secret is empty".to_owned()),
            _ => Ok(secret),
        });
        secret.map_err(|message| self.reader.complain(path, message)).ok()
    }

    /// A file, parsed by `read`.
    pub(super) fn file<T>(&self, key: &str, leaf: &Leaf, read: impl Fn(&Path) -> io::Result<T>) -> Option<T> {
        self.parse(key, leaf, |text| read(&self.reader.noted(text)).map_err(|error| cannot_read(text, &error)))
    }

    fn secret_elsewhere(&self, table: &toml::Table) -> Result<Secret<String>, String> {
        let mut entries = table.iter();
        let (Some((key, Value::String(name))), None) = (entries.next(), entries.next()) else {
            return Err(SECRET_FORMS.to_owned());
        };
        match key.as_str() {
            "file" => {
                let text = fs::read_to_string(self.reader.noted(name)).map_err(|error| cannot_read(name, &error))?;
                // Editors and `echo` end files with a line end that nobody means.
                Ok(Secret::from(text.trim_end_matches(['\r', '\n'])))
            }
            "env" => match self.reader.variables.get(name) {
                Some(value) => Ok(Secret::from(value)),
                None => Err(format!("there is no variable {}", shown(name))),
            },
            _ => Err(SECRET_FORMS.to_owned()),
        }
    }

    /// A value with a unit. A bare number is passed on as text, so that the message can say which unit to write.
    pub(super) fn measure<T>(&self, key: &str, leaf: &Leaf, parse: impl Fn(&str) -> Result<T, String>) -> Option<T> {
        match leaf.0.as_ref()? {
            Value::Integer(number) => parse(&number.to_string()).map_err(|message| self.complain(key, message)).ok(),
            _ => self.parse(key, leaf, parse),
        }
    }

    fn wrong_type<T>(&self, key: &str, expected: &str, found: &Value) -> Option<T> {
        self.wrong_type_at(&self.path.key(key), expected, found)
    }

    fn wrong_type_at<T>(&self, path: &KeyPath, expected: &str, found: &Value) -> Option<T> {
        self.reader.complain(path, format!("{} where {expected} is expected", describe(found)));
        None
    }
}

/// One of a few names, or what to write instead.
pub(super) fn choose<T: Copy>(text: &str, choices: &[(&str, T)]) -> Result<T, String> {
    let names = || choices.iter().map(|(name, _)| *name);
    choices.iter().find(|(name, _)| *name == text).map(|(_, choice)| *choice).ok_or_else(|| {
        match nearest(text, names()) {
            Some(name) => format!("{} is not known; did you mean \"{name}\"?", shown(text)),
            None => format!("{} is not known; there is {}", shown(text), quoted(names())),
        }
    })
}

/// A kind of value, in words. Never the value: it may be a secret in a wrong place.
pub(super) fn describe(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "text",
        Value::Integer(_) | Value::Float(_) => "a number",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a date",
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
    }
}

fn cannot_read(name: &str, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => format!("there is no file {}", shown(name)),
        kind => format!("{} cannot be read: {kind}", shown(name)),
    }
}

/// Duplicates in a list, each once.
pub(super) fn duplicates<T: Ord + Clone>(entries: impl IntoIterator<Item = T>) -> Vec<T> {
    let mut counts = BTreeMap::new();
    for entry in entries {
        *counts.entry(entry).or_insert(0) += 1;
    }
    counts.into_iter().filter(|(_, count)| *count > 1).map(|(entry, _)| entry).collect()
}

const SECRET_FORMS: &str = r#"a secret is "…", { file = "…" } or { env = "…" }"#;
