//! The layers of a configuration laid over each other, with the origin of every value.
//!
//! The file comes first, variables are set on top. Nothing here knows a key; [`raw`](super::raw) does.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::findings::{Finding, Origin};
use super::path::{KeyPath, Step};

/// The merged values.
#[derive(Default)]
pub(super) struct Tree {
    pub(super) values: Table,
    origins: BTreeMap<KeyPath, Origin>,
    lines: BTreeMap<KeyPath, usize>,
}

/// A list index that leaves a gap: the list has only this many entries.
pub(super) struct Gap(pub(super) usize);

impl Tree {
    /// Reads a TOML file.
    ///
    /// # Errors
    /// All mistakes of grammar. The offending text is not repeated: it may be a secret.
    pub(super) fn from_toml(name: &str, text: &str) -> Result<Self, Vec<Finding>> {
        let (table, errors) = DeTable::parse_recoverable(text);
        let mut findings: Vec<Finding> = errors.iter().map(|error| unreadable(name, text, error)).collect();
        let parsed = text.parse::<Table>();
        // What the first pass takes and this one does not: numbers out of range.
        if let (Err(error), true) = (&parsed, findings.is_empty()) {
            findings.push(unreadable(name, text, error));
        }
        let Some(values) = parsed.ok().filter(|_| findings.is_empty()) else { return Err(findings) };
        let mut tree = Self { values, ..Self::default() };
        tree.note_table(&KeyPath::default(), table.get_ref(), &Positions { name, text });
        Ok(tree)
    }

    /// Sets a value on top of what is there.
    ///
    /// # Errors
    /// [`Gap`] if the path counts past the end of a list; then nothing was set.
    pub(super) fn set(&mut self, path: &KeyPath, value: Value, origin: Origin) -> Result<(), Gap> {
        self.drop_alternative(path);
        let before = self.values.clone();
        let set = edit(&mut self.values, |root| slot(root, path.steps()).map(|slot| *slot = value));
        set.inspect_err(|_| self.values = before)?;
        self.origins.retain(|known, _| !known.is_within(path));
        self.origins.insert(path.clone(), origin);
        Ok(())
    }

    /// The value at a path.
    pub(super) fn get(&self, path: &KeyPath) -> Option<&Value> {
        let (first, rest) = path.steps().split_first()?;
        let Step::Key(key) = first else { return None };
        rest.iter().try_fold(self.values.get(key)?, |value, step| match step {
            Step::Key(key) => value.get(key),
            Step::Index(index) => value.get(*index),
        })
    }

    /// Where a value came from; for a missing one, where the section around it came from.
    pub(super) fn origin(&self, path: &KeyPath) -> Origin {
        // A variable inside a table of the file is what changed the table.
        let mut inside = self.origins.range(path.clone()..).take_while(|(known, _)| known.is_within(path));
        let variable = inside.find_map(|(_, origin)| (!matches!(origin, Origin::File(_))).then_some(origin));
        let nearest = || path.upwards().find_map(|above| self.origins.get(&above));
        variable.or_else(nearest).cloned().unwrap_or(Origin::NotSet)
    }

    /// The line of a value in the file, or of the section around it.
    pub(super) fn line(&self, path: &KeyPath) -> Option<usize> {
        path.upwards().find_map(|above| self.lines.get(&above)).copied()
    }

    /// The path that a variable's segments mean: numbers are indexes, and names in the file may be written in capitals, with `_`
    /// for `-`.
    pub(super) fn resolve(&self, segments: &[&str]) -> KeyPath {
        segments.iter().fold(KeyPath::default(), |path, segment| {
            if let Ok(index) = segment.parse() {
                return path.index(index);
            }
            let name = segment.to_ascii_lowercase();
            let table = if path == KeyPath::default() { Some(&self.values) } else { self.table(&path) };
            let known = table.and_then(|table| table.keys().find(|key| as_variable(key) == name));
            path.key(known.map_or(&name, |known| known))
        })
    }

    fn table(&self, path: &KeyPath) -> Option<&Table> {
        self.get(path).and_then(Value::as_table)
    }

    /// A variable that names one of two alternatives replaces the other one, if that is from the file.
    fn drop_alternative(&mut self, path: &KeyPath) {
        let Some((parent, Step::Key(key))) = path.split_last() else { return };
        let Some(other) = ALTERNATIVES.iter().find_map(|(one, other)| (one == key).then_some(*other)) else { return };
        let other = parent.key(other);
        if self.get(&other).is_some() && matches!(self.origin(&other), Origin::File(_)) {
            remove(&mut self.values, &other);
        }
    }

    fn note_table(&mut self, path: &KeyPath, table: &DeTable<'_>, positions: &Positions<'_>) {
        for (key, value) in table {
            self.note(&path.key(key.get_ref()), value, positions.line(key.span().start), positions);
        }
    }

    fn note(&mut self, path: &KeyPath, value: &Spanned<DeValue<'_>>, line: usize, positions: &Positions<'_>) {
        self.lines.insert(path.clone(), line);
        self.origins.insert(path.clone(), Origin::File(positions.name.to_owned()));
        match value.get_ref() {
            DeValue::Table(table) => self.note_table(path, table, positions),
            DeValue::Array(entries) => {
                for (index, entry) in entries.iter().enumerate() {
                    self.note(&path.index(index), entry, positions.line(entry.span().start), positions);
                }
            }
            _ => {}
        }
    }
}

/// A file's name and text, to count lines in.
struct Positions<'a> {
    name: &'a str,
    text: &'a str,
}

impl Positions<'_> {
    fn line(&self, offset: usize) -> usize {
        line_of(self.text, offset)
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

fn unreadable(name: &str, text: &str, error: &toml::de::Error) -> Finding {
    let line = error.span().map(|span| line_of(text, span.start));
    Finding {
        path: line.map_or_else(|| "file".to_owned(), |line| format!("line {line}")),
        origin: Origin::File(name.to_owned()),
        message: format!("not TOML: {}", error.message()),
        line,
    }
}

/// Removes the value at a path; entries of a list become empty tables, so that the others keep their index.
pub(super) fn remove(values: &mut Table, path: &KeyPath) {
    let Some((parent, last)) = path.split_last() else { return };
    edit(values, |root| match last {
        Step::Key(key) => {
            if let Ok(Value::Table(table)) = slot(root, parent.steps()) {
                table.remove(key);
            }
        }
        Step::Index(_) => {
            if let Ok(entry) = slot(root, path.steps()) {
                *entry = Value::Table(Table::new());
            }
        }
    });
}

/// Changes the root as one value among others.
fn edit<T>(values: &mut Table, change: impl FnOnce(&mut Value) -> T) -> T {
    let mut root = Value::Table(std::mem::take(values));
    let outcome = change(&mut root);
    std::mem::swap(table_of(&mut root), values);
    outcome
}

/// The place at a path; tables and lists are made on the way, and a value in the way gives way.
fn slot<'a>(root: &'a mut Value, steps: &[Step]) -> Result<&'a mut Value, Gap> {
    let mut place = root;
    for step in steps {
        place = match step {
            Step::Key(key) => table_of(place).entry(key).or_insert_with(|| Value::Table(Table::new())),
            Step::Index(index) => entry_of(place, *index)?,
        };
    }
    Ok(place)
}

fn table_of(value: &mut Value) -> &mut Table {
    if !value.is_table() {
        *value = Value::Table(Table::new());
    }
    match value {
        Value::Table(table) => table,
        _ => unreachable!("the value was made a table above"),
    }
}

fn entry_of(value: &mut Value, index: usize) -> Result<&mut Value, Gap> {
    let length = value.as_array().map_or(0, Vec::len);
    if index > length {
        return Err(Gap(length));
    }
    if !value.is_array() {
        *value = Value::Array(Vec::new());
    }
    let Value::Array(entries) = value else { unreachable!("the value was made a list above") };
    if index == length {
        entries.push(Value::Table(Table::new()));
    }
    Ok(&mut entries[index])
}

fn as_variable(key: &str) -> String {
    key.to_ascii_lowercase().replace('-', "_")
}

/// Keys of which a table holds one.
const ALTERNATIVES: [(&str, &str); 4] = [("file", "env"), ("env", "file"), ("dir", "proxy"), ("proxy", "dir")];
