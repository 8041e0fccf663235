//! The documentation, the example file and `.env.example` say what the program reads, no more and no less.

use std::collections::BTreeSet;

use toml::{Table, Value};

use super::{Config, KEY, LoadOptions, load};
use crate::config::path::KeyPath;
use crate::config::{raw, variables};

const DOCUMENT: &str = include_str!("../../../docs/configuration.md");
const EXAMPLE: &str = include_str!("../../../deploy/cloakroom.example.toml");
const DOTENV: &str = include_str!("../../../.env.example");

/// The first cells of the document's tables that are code and satisfy a test.
fn documented(is_one: fn(&str) -> bool) -> BTreeSet<String> {
    let cells = DOCUMENT.lines().filter_map(|line| line.strip_prefix("| `")?.split_once('`'));
    let found: BTreeSet<String> = cells.map(|(cell, _)| cell.to_owned()).filter(|cell| is_one(cell)).collect();
    assert!(found.len() > 10, "the tables were not found");
    found
}

fn is_variable(cell: &str) -> bool {
    cell.starts_with("CLOAKROOM_")
}

fn is_key(cell: &str) -> bool {
    cell.contains('.') && !cell.contains(['/', ' '])
}

fn keys_in(path: &KeyPath, value: &Value, keys: &mut BTreeSet<String>) {
    let known = raw::all_keys();
    match value {
        _ if known.contains(&path.pattern()) => drop(keys.insert(path.pattern())),
        Value::Table(table) => table.iter().for_each(|(key, value)| keys_in(&path.key(key), value, keys)),
        Value::Array(entries) => {
            entries.iter().enumerate().for_each(|(index, value)| keys_in(&path.index(index), value, keys));
        }
        _ => drop(keys.insert(path.pattern())),
    }
}

#[test]
fn every_key_is_documented_and_every_documented_key_is_read() {
    assert_eq!(documented(is_key), raw::all_keys());
}

#[test]
fn every_variable_is_documented_and_every_documented_variable_is_read() {
    let names: BTreeSet<String> = variables::names().map(str::to_owned).collect();
    assert_eq!(documented(is_variable), names);
}

#[test]
fn the_example_file_shows_every_key_and_no_other() {
    let mut keys = BTreeSet::new();
    keys_in(&KeyPath::default(), &Value::Table(EXAMPLE.parse::<Table>().unwrap()), &mut keys);
    assert_eq!(keys, raw::all_keys());
}

#[test]
fn the_example_file_lacks_only_the_files_it_names() {
    let directory = tempfile::tempdir().unwrap();
    let pem = "-----BEGIN CERTIFICATE-----\n";
    for (name, content) in [
        ("cloakroom.key", KEY),
        ("shop", "hunter2"),
        ("admin", "0123456789abcdef0123456789abcdef"),
        ("tls.crt", pem),
        ("tls.key", pem),
        ("ca.pem", pem),
    ] {
        std::fs::write(directory.path().join(name), content).unwrap();
    }
    let here = directory.path().to_str().unwrap();
    let text = EXAMPLE.replace("/run/secrets", here).replace("/srv/shop", here).replace("/etc/cloakroom", here);
    let config =
        load(&LoadOptions::default().toml("cloakroom.example.toml", text).variable("STAFF_CLIENT_SECRET", "hunter2"));
    assert_eq!(config.weakened.len(), 1, "csrf = \"origin\", to show it: {:?}", config.weakened);
}

/// As `cp .env.example .env && cloakroom serve` does.
#[test]
fn the_example_environment_starts_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(directory.path().join("static/demo")).unwrap();
    let config = load(&LoadOptions::default().directory(directory.path()).dotenv(DOTENV));
    assert_eq!(config.frontends[0].provider.issuer, "https://demo.duendesoftware.com");
    assert!(config.weakened.is_empty(), "{:?}", config.weakened);
}

/// A block of `#CLOAKROOM_…` lines per provider, switched on over the active lines.
#[test]
fn the_blocks_of_the_example_environment_load() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(directory.path().join("static/demo")).unwrap();
    let blocks: Vec<&str> = DOTENV.split("\n\n").filter(|block| block.contains("#CLOAKROOM_ISSUER=")).collect();
    assert_eq!(blocks.len(), 4, "Keycloak, Auth0, Entra ID, Google");
    for block in blocks {
        let lines = block.lines().filter_map(|line| line.strip_prefix('#').filter(|line| is_variable(line)));
        let dotenv = lines.fold(DOTENV.to_owned(), |text, line| text + "\n" + line);
        if let Err(findings) = Config::load(&LoadOptions::default().directory(directory.path()).dotenv(dotenv)) {
            panic!("{block}\n{findings}");
        }
    }
}

#[test]
fn every_variable_is_in_the_example_environment() {
    for name in variables::names() {
        assert!(DOTENV.lines().any(|line| line.trim_start_matches('#').starts_with(&format!("{name}="))), "{name}");
    }
}
