//! The attacks of the corpus, changed at random: whatever comes of it, an upstream sees nothing but calls as they should be.
//!
//! `PROPTEST_CASES=100000 cargo test --test it corpus` tries longer. The sequence is always the same.

use std::time::Duration;

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRng, TestRunner};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::case::{self, Version};
use super::world::World;
use super::{DIRECTORY, PROBE};

#[derive(Clone, Debug)]
enum Change {
    Insert(Index, &'static str),
    Remove(Index, usize),
    Repeat(Index, usize),
    Replace(Index, u8),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let change = prop_oneof![
        (any::<Index>(), prop::sample::select(PIECES)).prop_map(|(at, piece)| Change::Insert(at, piece)),
        (any::<Index>(), 1..20_usize).prop_map(|(at, length)| Change::Remove(at, length)),
        (any::<Index>(), 1..60_usize).prop_map(|(at, length)| Change::Repeat(at, length)),
        (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Replace(at, byte)),
    ];
    prop::collection::vec(change, 1..5)
}

fn change(bytes: &mut Vec<u8>, change: &Change) {
    if bytes.is_empty() {
        return;
    }
    match change {
        Change::Insert(at, piece) => {
            let at = at.index(bytes.len());
            bytes.splice(at..at, piece.bytes());
        }
        Change::Remove(at, length) => {
            let at = at.index(bytes.len());
            bytes.drain(at..bytes.len().min(at + length));
        }
        Change::Repeat(at, length) => {
            let at = at.index(bytes.len());
            let piece = bytes[at..bytes.len().min(at + length)].to_vec();
            bytes.splice(at..at, piece);
        }
        Change::Replace(at, byte) => {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
    }
}

#[tokio::test]
async fn no_change_to_an_attack_makes_a_call_that_should_not_be() {
    let world = World::start("").await;
    let names = world.names(Version::Http1);
    let files =
        ["framing", "targets", "headers"].map(|name| std::fs::read_to_string(format!("{DIRECTORY}/{name}.txt")));
    // Of those that reach the upstream: what is refused stays refused under nearly every change.
    let cases: Vec<_> = files
        .iter()
        .flat_map(|file| case::read(file.as_ref().unwrap()))
        .filter(|case| !case.arrives.is_empty())
        .collect();
    let attacks: Vec<_> =
        cases.iter().map(|case| case::bytes(&case.sent, &names)).filter(|bytes| bytes.len() < 2000).collect();
    let config = Config::default();
    let (tries, rng) = (config.cases, TestRng::deterministic_rng(config.rng_algorithm));
    let mut runner = TestRunner::new_with_rng(config, rng);
    let probe = case::bytes(&[format!(r"\r\n{PROBE}")], &names);
    let mut reached = 0;
    for _ in 0..tries {
        let tree = (prop::sample::select(attacks.clone()), changes()).new_tree(&mut runner).unwrap();
        let (mut bytes, made) = tree.current();
        for made in &made {
            change(&mut bytes, made);
        }
        let shown = String::from_utf8_lossy(&bytes);
        let told = tokio::time::timeout(Duration::from_secs(20), told(&bytes, &probe, &world)).await;
        let told = told.unwrap_or_else(|_| panic!("neither answered nor closed:\n{shown}"));
        assert!(!told.contains("HTTP/1.1 500"), "{told}\n{shown}");
        for request in world.upstream.seen().await.iter().filter(|request| request.is_whole) {
            reached += 1;
            assert_eq!(world.complaint(request), None, "{request:?}\n{shown}");
        }
    }
    assert!(reached > tries / 20, "only {reached} of {tries} reached the upstream");
}

/// All that is answered to the bytes and to a request behind them. Where the server waits for more, the client hangs up.
async fn told(bytes: &[u8], probe: &[u8], world: &World) -> String {
    let mut stream = world.connect().await;
    // A server that refuses early may close before all of it is written.
    let _ = stream.write_all(&[bytes, probe].concat()).await;
    let mut answer = Vec::new();
    while let Ok(read) = tokio::time::timeout(PATIENCE, stream.read_buf(&mut answer)).await {
        if read.unwrap_or(0) == 0 {
            return String::from_utf8_lossy(&answer).into_owned();
        }
    }
    let _ = stream.shutdown().await;
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// Longer than an answer takes; shorter only means that fewer are tried.
const PATIENCE: Duration = Duration::from_millis(100);
/// What messages are made of, and what readers disagree about.
const PIECES: &[&str] = &[
    "\r",
    "\n",
    "\r\n",
    "\r\n\r\n",
    "\0",
    " ",
    "\t",
    "\u{b}",
    ":",
    ",",
    ";",
    "\"",
    "/",
    "//",
    "\\",
    "..",
    "%2e",
    "%2f",
    "%",
    "?",
    "#",
    "@",
    "0\r\n\r\n",
    "5\r\n",
    "chunked",
    "Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: host\r\n",
    "Connection: close\r\n",
    "Host: evil.example\r\n",
    "Authorization: Bearer x\r\n",
    "X-Forwarded-For: 10.0.0.1\r\n",
    "Forwarded: for=10.0.0.1\r\n",
    "Cookie: theme=1\r\n",
    "_",
    "GET /pub/y HTTP/1.1\r\n",
    "http://evil.example",
];
