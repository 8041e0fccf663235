//! `CLOAKROOM_…` variables, from the environment and from `.env`: the short form, which describes one frontend named `default`, and
//! the long form (`CLOAKROOM__FRONTENDS__SHOP__URL`) for every key.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::findings::{Finding, Origin};
use super::path::KeyPath;
use super::tree::{Gap, Tree};
use super::values::nearest;

/// All variables there are, with their origin. Also those of other programs: `{ env = "…" }` may name them.
#[derive(Default)]
pub(super) struct Variables(BTreeMap<String, (String, Origin)>);

impl Variables {
    /// Lays the environment over `.env`.
    pub(super) fn new(
        dotenv: Option<&str>,
        environment: &BTreeMap<String, String>,
        findings: &mut Vec<Finding>,
    ) -> Self {
        let mut variables = BTreeMap::new();
        for line in dotenvy::from_read_iter(dotenv.unwrap_or_default().as_bytes()) {
            match line {
                Ok((name, value)) => {
                    let origin = Origin::DotEnv(name.clone());
                    variables.insert(name, (value, origin));
                }
                Err(error) => findings.push(unreadable_line(dotenv.unwrap_or_default(), &error)),
            }
        }
        for (name, value) in environment {
            variables.insert(name.clone(), (value.clone(), Origin::Variable(name.clone())));
        }
        Self(variables)
    }

    /// A variable's value.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|(value, _)| value.as_str())
    }

    /// Sets every variable of ours on top of the file.
    pub(super) fn apply(&self, tree: &mut Tree, findings: &mut Vec<Finding>) {
        let short = self.apply_short(tree, findings);
        self.apply_long(tree, &short, findings);
    }

    /// The short form. Answers which paths it set, by which variable.
    fn apply_short(&self, tree: &mut Tree, findings: &mut Vec<Finding>) -> BTreeMap<KeyPath, &'static str> {
        let mut set: BTreeMap<KeyPath, &'static str> = BTreeMap::new();
        for Short { name, path, form } in SHORT {
            let Some((value, origin)) = self.0.get(*name) else { continue };
            let path = KeyPath::of(path);
            if let Some(other) = set.get(&path) {
                findings.push(twice(&path, origin, other));
                continue;
            }
            match form.value(value) {
                Ok(value) => {
                    // A short path holds no index, so it leaves no gap.
                    let _ = tree.set(&path, value, origin.clone());
                    set.insert(path, name);
                }
                Err(message) => findings.push(finding(&path, origin, message)),
            }
        }
        set
    }

    fn apply_long(&self, tree: &mut Tree, short: &BTreeMap<KeyPath, &'static str>, findings: &mut Vec<Finding>) {
        let mut long = Vec::new();
        for (name, (value, origin)) in &self.0 {
            let Some(rest) = name.strip_prefix("CLOAKROOM_") else { continue };
            match rest.strip_prefix('_') {
                Some(keys) if keys.split("__").all(|key| !key.is_empty()) => {
                    long.push((tree.resolve(&keys.split("__").collect::<Vec<_>>()), value, origin));
                }
                None if SHORT.iter().any(|short| short.name == name) || is_of_kubernetes(rest, value) => {}
                _ => findings.push(unknown(name, origin)),
            }
        }
        // In the order of their paths: entry 2 of a list comes before entry 10.
        long.sort_by(|(one, ..), (other, ..)| one.cmp(other));
        for (path, value, origin) in long {
            if let Some((_, other)) = short.iter().find(|(set, _)| overlaps(set, &path)) {
                findings.push(twice(&path, origin, other));
            } else if let Err(Gap(length)) = tree.set(&path, Value::String(value.clone()), origin.clone()) {
                findings.push(finding(
                    &path,
                    origin,
                    format!("the list has {length} entries so far; count on from {length}"),
                ));
            }
        }
    }
}

/// The short name of a key, if it has one.
pub(super) fn name_of(path: &KeyPath) -> Option<&'static str> {
    SHORT.iter().find(|short| KeyPath::of(short.path) == *path).map(|short| short.name)
}

/// Whether two paths name the same value. A short routes list may be added to, but not have its `path` or `upstream` replaced.
fn overlaps(short: &KeyPath, long: &KeyPath) -> bool {
    let same = long.is_within(short) || short.is_within(long);
    let adds_to_route = long.pattern().starts_with("frontends.NAME.routes[].")
        && !["path", "upstream"].iter().any(|key| long.pattern().ends_with(&format!("].{key}")));
    same && !adds_to_route
}

/// Kubernetes tells every pod about a service named `cloakroom` in variables of this form.
fn is_of_kubernetes(rest: &str, value: &str) -> bool {
    let numbered = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
    let address = value.starts_with("tcp://") || value.starts_with("udp://");
    matches!(rest, "SERVICE_HOST" | "SERVICE_PORT")
        || rest.starts_with("SERVICE_PORT_")
        || rest.strip_prefix("PORT_").is_some_and(numbered)
        || (rest == "PORT" && address)
}

fn twice(path: &KeyPath, origin: &Origin, other: &str) -> Finding {
    finding(path, origin, format!("also given by {other}; leave one of them out"))
}

fn unknown(name: &str, origin: &Origin) -> Finding {
    let message = match nearest(name, SHORT.iter().map(|short| short.name)) {
        Some(known) => format!("unknown variable; did you mean {known}?"),
        None => "unknown variable; every key is CLOAKROOM__SECTION__KEY".to_owned(),
    };
    Finding { path: name.to_owned(), origin: origin.clone(), message, line: None }
}

fn finding(path: &KeyPath, origin: &Origin, message: String) -> Finding {
    Finding { path: path.to_string(), origin: origin.clone(), message, line: None }
}

fn unreadable_line(text: &str, error: &dotenvy::Error) -> Finding {
    let line = match error {
        // What it calls the line may be its value alone.
        dotenvy::Error::LineParse(content, _) => {
            let content = content.lines().next().unwrap_or_default().trim();
            text.lines().position(|line| !content.is_empty() && line.contains(content))
        }
        _ => None,
    };
    Finding {
        path: line.map_or_else(|| "file".to_owned(), |line| format!("line {}", line + 1)),
        origin: Origin::File(".env".to_owned()),
        message: "cannot be read; write NAME=value, with quotes around a value with blanks, \"$\" or \"#\"".to_owned(),
        line: None,
    }
}

/// One variable of the short form.
struct Short {
    name: &'static str,
    path: &'static str,
    form: Form,
}

/// What a short variable's text stands for.
#[derive(Clone, Copy)]
enum Form {
    /// The value itself.
    Plain,
    /// The file that holds it.
    File,
    /// The files that hold the entries, comma separated.
    Files,
    /// `path=upstream`, comma separated.
    Routes,
    /// A directory, or the URL of a development server.
    Assets,
}

impl Form {
    fn value(self, text: &str) -> Result<Value, String> {
        Ok(match self {
            Self::Plain => Value::String(text.to_owned()),
            Self::File => table([("file", text)]),
            Self::Files => Value::Array(entries(text).map(|file| table([("file", file)])).collect()),
            Self::Assets if text.contains("://") => table([("proxy", text)]),
            Self::Assets => table([("dir", text)]),
            Self::Routes => Value::Array(entries(text).map(route).collect::<Result<_, _>>()?),
        })
    }
}

fn entries(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|entry| !entry.is_empty())
}

fn route(entry: &str) -> Result<Value, String> {
    let (path, upstream) = entry.split_once('=').ok_or_else(|| {
        format!("{} is not path=upstream, such as \"/api=https://api.example.com\"", super::values::shown(entry))
    })?;
    Ok(table([("path", path.trim()), ("upstream", upstream.trim())]))
}

fn table<const N: usize>(entries: [(&str, &str); N]) -> Value {
    let entries = entries.map(|(key, value)| (key.to_owned(), Value::String(value.to_owned())));
    Value::Table(entries.into_iter().collect::<Table>())
}

const fn short(name: &'static str, path: &'static str, form: Form) -> Short {
    Short { name, path, form }
}

/// All of them. The first of two for one path is the one that remedies name.
const SHORT: &[Short] = &[
    short("CLOAKROOM_URL", "frontends.default.url", Form::Plain),
    short("CLOAKROOM_LISTEN", "server.listen", Form::Plain),
    short("CLOAKROOM_ADMIN_LISTEN", "server.admin_listen", Form::Plain),
    short("CLOAKROOM_ADMIN_TOKEN", "server.admin_token", Form::Plain),
    short("CLOAKROOM_ADMIN_TOKEN_FILE", "server.admin_token", Form::File),
    short("CLOAKROOM_ISSUER", "providers.default.issuer", Form::Plain),
    short("CLOAKROOM_CLIENT_ID", "frontends.default.client_id", Form::Plain),
    short("CLOAKROOM_CLIENT_SECRET", "frontends.default.client_auth.secret", Form::Plain),
    short("CLOAKROOM_CLIENT_SECRET_FILE", "frontends.default.client_auth.secret", Form::File),
    short("CLOAKROOM_SCOPES", "frontends.default.scopes", Form::Plain),
    short("CLOAKROOM_ROUTES", "frontends.default.routes", Form::Routes),
    short("CLOAKROOM_ASSETS", "frontends.default.assets", Form::Assets),
    short("CLOAKROOM_STORE", "store.url", Form::Plain),
    short("CLOAKROOM_STORE_FILE", "store.url", Form::File),
    short("CLOAKROOM_KEY", "keys.master", Form::Plain),
    short("CLOAKROOM_KEY_FILE", "keys.master", Form::Files),
    short("CLOAKROOM_SESSION_IDLE", "session.idle", Form::Plain),
    short("CLOAKROOM_SESSION_ABSOLUTE", "session.absolute", Form::Plain),
    short("CLOAKROOM_ID_TOKEN_ALG", "providers.default.id_token_alg", Form::Plain),
    short("CLOAKROOM_RESPONSE_MODE", "frontends.default.response_mode", Form::Plain),
    short("CLOAKROOM_USERINFO", "frontends.default.userinfo", Form::Plain),
    short("CLOAKROOM_ALLOWED_LOGIN_PARAMETERS", "frontends.default.allowed_login_parameters", Form::Plain),
    short("CLOAKROOM_CA_FILE", "server.ca_file", Form::Plain),
    short("CLOAKROOM_LOG_LEVEL", "server.log_level", Form::Plain),
];

/// The names of the short form.
#[cfg(test)]
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    SHORT.iter().map(|short| short.name)
}
