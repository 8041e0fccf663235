//! What the fuzzer starts from, and what it found, once more: every file of `fuzz/corpus/` through the property of its target.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use cloakroom::properties;

#[test]
fn every_property_holds_for_its_corpus() {
    for (target, property) in properties::ALL {
        let files = entries(&Path::new(FUZZ).join("corpus").join(target));
        assert!(files.len() >= 10, "a corpus of {} files says little of {target}", files.len());
        for file in files {
            let bytes = std::fs::read(&file).unwrap();
            let held = std::panic::catch_unwind(|| property(&bytes));
            assert!(held.is_ok(), "{target} does not hold for {}", file.display());
        }
    }
}

#[test]
fn every_property_has_a_target_and_a_corpus() {
    let properties: BTreeSet<_> = properties::ALL.into_iter().map(|(target, _)| target.to_owned()).collect();
    for folder in ["corpus", "fuzz_targets"] {
        let names = entries(&Path::new(FUZZ).join(folder)).into_iter();
        let names: BTreeSet<_> = names.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
        assert_eq!(names, properties, "fuzz/{folder}");
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries.map(|entry| entry.unwrap().path()).collect()
}

const FUZZ: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz");
