//! What a configuration is read from.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::findings::{Finding, Origin};
use super::given::Files;

/// The sources of a configuration, as data. No `Debug`: variables hold secrets.
///
/// ```
/// use cloakroom::config::{Config, LoadOptions};
///
/// let findings = Config::load(&LoadOptions::default().toml("cloakroom.toml", "[store]\nuri = 'memory:'")).unwrap_err();
/// assert!(findings.to_string().contains(r#"unknown key; did you mean "url"?"#));
/// ```
#[derive(Clone, Default)]
#[must_use]
pub struct LoadOptions {
    pub(super) directory: PathBuf,
    pub(super) file: Option<(String, String)>,
    pub(super) dotenv: Option<String>,
    pub(super) environment: BTreeMap<String, String>,
    /// The files that the texts come from.
    pub(super) files: Files,
    /// What went wrong before anything could be read.
    pub(super) findings: Vec<Finding>,
}

impl LoadOptions {
    /// What this process was given: `config` or else `./cloakroom.toml` if it exists, `./.env` if it exists, the environment. What
    /// cannot be read becomes a finding of [`Config::load`](super::Config::load).
    pub fn from_environment(config: Option<&Path>) -> Self {
        let mut sources = Self::default();
        let file = config.unwrap_or(Path::new("cloakroom.toml"));
        if let Some(text) = sources.read(file, config.is_some()) {
            sources.file = Some((file.display().to_string(), text));
        }
        sources.dotenv = sources.read(Path::new(".env"), false);
        for (name, value) in std::env::vars_os() {
            match (name.into_string(), value.into_string()) {
                (Ok(name), Ok(value)) => drop(sources.environment.insert(name, value)),
                (Ok(name), Err(_)) if name.starts_with("CLOAKROOM_") => {
                    sources.complain(&name, Origin::Variable(name.clone()), "is not UTF-8");
                }
                // Variables of other programs are none of our business.
                _ => {}
            }
        }
        sources
    }

    /// The directory that relative paths start from. Default: the working directory.
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = directory.into();
        self
    }

    /// The text of a configuration file and the name it has in findings.
    pub fn toml(mut self, name: impl Into<String>, text: impl Into<String>) -> Self {
        self.file = Some((name.into(), text.into()));
        self
    }

    /// The text of `.env`.
    pub fn dotenv(mut self, text: impl Into<String>) -> Self {
        self.dotenv = Some(text.into());
        self
    }

    /// A variable of the environment.
    pub fn variable(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    fn read(&mut self, path: &Path, must_exist: bool) -> Option<String> {
        self.files.note(path.to_owned());
        match fs::read_to_string(path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == ErrorKind::NotFound && !must_exist => None,
            Err(error) => {
                let name = path.display().to_string();
                let message = match error.kind() {
                    ErrorKind::NotFound => "there is no such file".to_owned(),
                    kind => format!("cannot be read: {kind}"),
                };
                self.complain("file", Origin::File(name), &message);
                None
            }
        }
    }

    fn complain(&mut self, path: &str, origin: Origin, message: &str) {
        self.findings.push(Finding { path: path.to_owned(), origin, message: message.to_owned(), line: None });
    }
}
