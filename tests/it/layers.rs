//! Who may import whom: only downward (`docs/architecture.md`, "Layers").

use std::path::{Path, PathBuf};

/// Modules by layer, lowest first. Those of one layer do not know each other, except along `SIDEWAYS`.
const LAYERS: [&[&str]; 9] = [
    &["clock", "denied", "metric", "prefixes", "secret", "tls"],
    &["oidc", "store"],
    &["session", "tokens"],
    &["proxy"],
    &["frontend"],
    &["error", "respond", "guard", "routes"],
    &["config"],
    &["app", "server"],
    &["cli", "telemetry", "demo", "main", "lib", "micro"],
];

/// Arrows that are meant: inside a layer, and the two upward ones that `docs/architecture.md` explains.
const SIDEWAYS: [(&str, &str); 14] = [
    ("tokens", "session"),
    ("respond", "error"),
    ("guard", "error"),
    ("guard", "respond"),
    ("routes", "error"),
    ("routes", "respond"),
    ("routes", "guard"),
    ("app", "server"),
    ("cli", "telemetry"),
    ("cli", "demo"),
    ("demo", "telemetry"),
    ("main", "cli"),
    // A frontend is the state of the edge and carries what the edge needs of it.
    ("frontend", "respond"),
    ("frontend", "guard"),
];

#[test]
fn imports_go_down() {
    let mut files = Vec::new();
    collect(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), &mut files);
    assert!(files.len() > 60, "a check that finds nothing to check fails: {} files", files.len());
    let mut arrows = 0;
    for file in files {
        let from = module_of(&file);
        for to in imports(&std::fs::read_to_string(&file).unwrap()) {
            arrows += 1;
            let down = layer(&from) > layer(&to);
            assert!(
                from == to || down || SIDEWAYS.contains(&(from.as_str(), to.as_str())),
                "{}: {from} imports {to}",
                file.display()
            );
        }
    }
    assert!(arrows > 150, "only {arrows} imports found");
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn module_of(file: &Path) -> String {
    let below = file.strip_prefix(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).unwrap();
    below.components().next().unwrap().as_os_str().to_str().unwrap().trim_end_matches(".rs").to_owned()
}

/// The first segments of `crate::…` paths, grouped imports included. Tests inside modules may look anywhere.
fn imports(text: &str) -> Vec<String> {
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let mut found = Vec::new();
    for part in text.split("crate::").skip(1) {
        if let Some(group) = part.strip_prefix('{') {
            let group = group.split("};").next().unwrap_or_default();
            found.extend(group.split(',').filter_map(|name| first_word(name.trim())));
        } else {
            found.extend(first_word(part));
        }
    }
    found.retain(|name| LAYERS.iter().any(|layer| layer.contains(&name.as_str())));
    found
}

fn first_word(text: &str) -> Option<String> {
    let word: String = text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!word.is_empty()).then_some(word)
}

fn layer(module: &str) -> usize {
    LAYERS.iter().position(|layer| layer.contains(&module)).unwrap_or_else(|| panic!("{module} is in no layer"))
}
