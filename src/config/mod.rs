//! The file and the environment → the Options of the modules.
//!
//! Defaults < `cloakroom.toml` < `.env` < environment. Sources are data ([`LoadOptions`]); only [`LoadOptions::from_environment`]
//! looks at the process. The way of a value: `tree` lays the sources over each other and remembers origins, `variables` says which
//! variable is which key, `raw` says which keys exist, `reader` turns values into types and collects [`Findings`], and one file
//! per section says what is right there. `docs/configuration.md` lists every key; a test keeps it so.

use std::cell::RefCell;
use std::path::Path;

use crate::store::MasterKey;
use crate::{frontend as frontends, session as sessions};

mod client;
mod conflicts;
mod findings;
mod frontend;
mod given;
mod path;
mod provider;
mod raw;
mod reader;
mod route;
mod server;
mod session;
mod sources;
mod store;
mod summary;
mod tree;
mod upstream;
mod values;
mod variables;

#[cfg(test)]
mod tests;

pub use findings::{Finding, Findings, Origin};
#[cfg(feature = "server")]
pub(crate) use given::Files;
pub(crate) use given::Given;
pub use server::{AdminListen, LogFormat, Rate, Server, Tls};
pub use sources::LoadOptions;
pub use store::Store;
pub use summary::Summary;

use path::{KeyPath, Step};
use raw::Misshapen;
use reader::Reader;
use tree::Tree;
use variables::Variables;

/// Everything that was configured, checked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Listeners, TLS, log.
    pub server: Server,
    /// Master keys: the first seals, all open. Empty only with `memory:`, which then makes a fresh one.
    pub keys: Vec<MasterKey>,
    /// Where sessions rest.
    pub store: Store,
    /// Limits and names of sessions.
    pub session: sessions::Options,
    /// The frontends; at least one.
    pub frontends: Vec<frontends::Options>,
    /// Every default that was weakened, in the words of `check`: the key, what it means, what to do instead.
    pub weakened: Vec<String>,
    /// What all this was read from.
    pub(crate) given: Given,
}

impl Config {
    /// Reads and checks a configuration. Reads the files it names (secrets, certificates), nothing else of the machine.
    ///
    /// # Errors
    /// All findings at once; only a file that cannot be read or is not TOML, or a value where a table belongs, stops reading earlier.
    pub fn load(sources: &LoadOptions) -> Result<Self, Findings> {
        if !sources.findings.is_empty() {
            return Err(Findings::new(sources.findings.clone()));
        }
        let mut findings = Vec::new();
        let variables = Variables::new(sources.dotenv.as_deref(), &sources.environment, &mut findings);
        let mut tree = match &sources.file {
            None => Tree::default(),
            Some((name, text)) => Tree::from_toml(name, text)
                .map_err(|grammar| Findings::new(findings.iter().cloned().chain(grammar).collect()))?,
        };
        variables.apply(&mut tree, &mut findings);
        let (root, unknown) = match raw::read(&tree) {
            Ok(read) => read,
            Err(misshapen) => return Err(misshapen_findings(&tree, &misshapen, findings)),
        };
        let reader = Reader {
            tree: &tree,
            variables: &variables,
            directory: &sources.directory,
            findings: RefCell::new(findings),
            weakened: RefCell::default(),
            files: RefCell::new(sources.files.clone()),
        };
        complain_about_unknown(&unknown, &reader);
        let config = read(&root, &reader);
        let findings = reader.findings.into_inner();
        if findings.is_empty() {
            let given = Given::new(&tree, reader.files.into_inner());
            Ok(Self { weakened: reader.weakened.into_inner(), given, ..config })
        } else {
            Err(Findings::new(findings))
        }
    }

    /// Reads `config` or `./cloakroom.toml`, `./.env` and the environment.
    ///
    /// # Errors
    /// As [`Config::load`]; also if a file cannot be read.
    pub fn from_environment(config: Option<&Path>) -> Result<Self, Findings> {
        Self::load(&LoadOptions::from_environment(config))
    }

    /// What was configured, for people, without secrets.
    pub fn summary(&self) -> Summary<'_> {
        Summary(self)
    }
}

fn read(root: &raw::Root, reader: &Reader<'_>) -> Config {
    let section = |name: &str| reader.section(KeyPath::of(name));
    let server = server::read(&root.server, &section("server"));
    let store = store::read(&root.store, &section("store"));
    let keys = store::keys(&root.keys, &section("keys"), &store);
    let session = session::read(&root.session, &section("session"));
    let providers = provider::read_all(&root.providers, reader);
    if root.frontends.is_empty() {
        let message = "there is no frontend; set CLOAKROOM_URL, CLOAKROOM_ISSUER, CLOAKROOM_CLIENT_ID and \
                       CLOAKROOM_CLIENT_SECRET, or write a section [frontends.NAME] (\"cloakroom demo\" needs none)";
        reader.complain(&KeyPath::of("frontends"), message);
    }
    let one = |(id, raw): (&String, &raw::Frontend)| {
        let at = reader.section(KeyPath::of("frontends").key(id));
        frontend::read(id, raw, &at, &providers, &session.cookie_name)
    };
    let frontends: Vec<_> = root.frontends.iter().filter_map(one).collect();
    conflicts::check(&server, &keys, &frontends, reader);
    Config { server, keys, store, session, frontends, weakened: Vec::new(), given: Given::default() }
}

fn complain_about_unknown(unknown: &[KeyPath], reader: &Reader<'_>) {
    for path in unknown {
        let Some((section, Step::Key(key))) = path.split_last() else { continue };
        match raw::is_later(path, reader.tree.get(path)) {
            Some(raw::Later::Harmless) => {}
            Some(raw::Later::Unsupported) => {
                reader.complain(path, format!("\"{key}\" is not supported by this version yet; leave it out"));
            }
            None => match values::nearest(key, raw::keys_of(&section).iter().copied()) {
                Some(known) => reader.complain(path, format!("unknown key; did you mean \"{known}\"?")),
                None => reader.complain(path, format!("unknown key; there is {}", known_keys(&section))),
            },
        }
    }
}

fn known_keys(section: &KeyPath) -> String {
    values::quoted(raw::keys_of(section).iter().copied())
}

fn misshapen_findings(tree: &Tree, misshapen: &[Misshapen], mut findings: Vec<Finding>) -> Findings {
    findings.extend(misshapen.iter().map(|Misshapen { path, expected }| {
        let found = tree.get(path).map_or("something else", reader::describe);
        Finding {
            path: path.to_string(),
            origin: tree.origin(path),
            message: format!("{found} where {expected} is expected"),
            line: tree.line(path),
        }
    }));
    Findings::new(findings)
}
