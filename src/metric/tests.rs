#![cfg(feature = "server")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use metrics_exporter_prometheus::PrometheusBuilder;

use super::*;

const DOCUMENT: &str = include_str!("../../docs/operating.md");

/// What a scrape says after each function has counted once.
fn scraped() -> String {
    let recorder = PrometheusBuilder::new().build_recorder();
    metrics::with_local_recorder(&recorder, || {
        describe();
        Requests::of("shop").answered(204);
        answered_nobody(421);
        login("shop", SUCCESS);
        logout("shop");
        sessions_ended("logout", 1);
        refreshed(Refresh::Lost);
        replayed("shop", Replay::Accepted);
        admin_refused(Intruder::WrongToken);
        limited(Limit::Body);
        connection_refused(Unfit::Head);
        Connections::new().came();
        requests_in_flight(1);
        let store = Store::new();
        store.unavailable();
        store.opened();
        let upstream = Upstream::of("https://orders.internal");
        upstream.failed(UpstreamFailure::Busy);
        upstream.repeated();
        upstream.opened();
        upstream.avoided();
        upstream.down();
    });
    recorder.handle().render()
}

/// The labels of each metric in a scrape.
fn labels_in(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let series = line.rsplit_once(' ').unwrap().0;
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let labels =
            labels.trim_end_matches('}').split(',').filter_map(|label| Some(label.split_once('=')?.0.to_owned()));
        found.entry(name.to_owned()).or_default().extend(labels);
    }
    found
}

#[test]
fn what_is_recorded_is_declared_with_its_labels_and_the_other_way_round() {
    let declared = ALL.map(|metric| {
        (metric.name.to_owned(), metric.labels.iter().map(|&label| label.to_owned()).collect::<BTreeSet<_>>())
    });
    assert_eq!(labels_in(&scraped()), BTreeMap::from(declared));
}

#[test]
fn every_metric_is_described() {
    let text = scraped();
    for Metric { name, kind, help, .. } in ALL {
        assert!(text.contains(&format!("# HELP {name} {help}\n")), "{name}");
        assert!(text.contains(&format!("# TYPE {name} {}\n", format!("{kind:?}").to_lowercase())), "{name}");
        assert_eq!(*kind == Kind::Counter, name.ends_with("_total"), "{name}");
    }
}

#[test]
fn no_label_tells_who() {
    let known = ["frontend", "limit", "outcome", "reason", "status", "upstream"];
    assert!(ALL.iter().flat_map(|metric| metric.labels).all(|label| known.contains(label)));
}

#[test]
fn statuses_count_by_their_class() {
    let classes = [100, 200, 399, 421, 599, 0, 999].map(|status| STATUSES[class_of(status)]);
    assert_eq!(classes, ["1xx", "2xx", "3xx", "4xx", "5xx", "1xx", "5xx"]);
}

#[test]
fn every_metric_is_documented_and_every_documented_metric_is_there() {
    let rows = DOCUMENT.lines().filter_map(|line| line.strip_prefix("| `cloakroom_")?.split_once("` |"));
    let documented: BTreeMap<String, String> = rows
        .map(|(name, rest)| (format!("cloakroom_{name}"), rest.split('|').next().unwrap().trim().replace('`', "")))
        .collect();
    let declared = ALL.map(|metric| {
        let labels = if metric.labels.is_empty() { "–".to_owned() } else { metric.labels.join(", ") };
        (metric.name.to_owned(), labels)
    });
    assert_eq!(documented, BTreeMap::from(declared));
}

#[test]
fn nothing_is_recorded_elsewhere() {
    let mut files = Vec::new();
    collect(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), &mut files);
    assert!(files.len() > 60, "a check that finds nothing to check fails: {} files", files.len());
    for file in files {
        let (text, path) = (std::fs::read_to_string(&file).unwrap(), file.display());
        let ours = file.ends_with("src/metric.rs") || file.ends_with("src/metric/tests.rs");
        for macro_name in ["counter!(", "gauge!(", "histogram!("] {
            assert!(ours || !text.contains(macro_name), "{path} records with {macro_name}");
        }
    }
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
