//! Servers that die, hang, come back, or hand over to others.

use std::time::{Duration, Instant};

use cloakroom::store::suite::{key, row, row_with, term};
use cloakroom::store::{Cursor, LeaseAfter, Reason, RedisBackend, SessionBackend, Signal, Swapped};
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::BoxStream;

use crate::LIMIT;
use crate::redis::groups::{Cluster, Watched};
use crate::redis::{Server, until};

/// What a call may take when the server says nothing: a connection, an answer, and a slow machine.
const BOUND: Duration = Duration::from_secs(8);

async fn heard(signals: &mut BoxStream<'static, Signal>, wanted: Signal) {
    let hearing = async { while signals.next().await.expect("watching goes on") != wanted {} };
    tokio::time::timeout(LIMIT, hearing).await.expect("the signal comes");
}

async fn works_again(store: &RedisBackend, n: u32) {
    until("a row can be written", async || store.insert(key(n), &row_with(&[term(1)]), None).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_restarted_is_found_again() {
    let mut server = Server::start();
    let store = RedisBackend::open(&server.url(), 0).await.unwrap();
    let mut signals = store.watch();

    server.kill();
    assert!(store.load(key(1)).await.is_err());
    server.start_again();

    works_again(&store, 1).await;
    heard(&mut signals, Signal::Lost).await;
    store.swap_tokens(key(1), 1, b"rotated", LeaseAfter::Keep).await.unwrap();
    heard(&mut signals, Signal::Refreshed { key: key(1), version: 2 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_fails_calls_in_time_and_leaves_nothing_behind() {
    let server = Server::start();
    let store = RedisBackend::open(&server.url(), 0).await.unwrap();
    store.insert(key(1), &row(), None).await.unwrap();
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();

    server.pause();
    for _ in 0..3 {
        let start = Instant::now();
        let row = row_with(&[term(1)]);
        let calls = join_all((0..200).map(|n| store.insert(key(n), &row, None))).await;
        assert!(calls.iter().all(Result::is_err));
        assert!(start.elapsed() < BOUND, "{:?}", start.elapsed());
    }
    until("no task is left", async || tasks() <= before + 5).await;
    server.resume();

    until("the row is read", async || store.load(key(1)).await.is_ok_and(|row| row.is_some())).await;
    let start = Instant::now();
    store.load(key(1)).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(1), "nothing is in the way of a call");
}

/// A caller with less patience than ours does not keep a dead connection alive.
#[tokio::test(flavor = "multi_thread")]
async fn callers_that_leave_early_do_not_keep_a_hanging_connection() {
    let server = Server::start();
    let store = RedisBackend::open(&server.url(), 0).await.unwrap();
    let connections = |server: &Server| server.cli(&["info", "clients"]);
    assert!(connections(&server).contains("connected_clients:3"), "commands, signals, redis-cli");

    server.pause();
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(3) {
        let impatient = tokio::time::timeout(Duration::from_millis(50), store.load(key(1)));
        assert!(!matches!(impatient.await, Ok(Ok(_))), "the server says nothing");
    }
    server.resume();

    until("calls work", async || store.ping().await.is_ok()).await;
    until("old connections are gone", async || connections(&server).contains("connected_clients:3")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_named_at_once() {
    let error = RedisBackend::open("redis://:hidden@127.0.0.1:1", 0).await.unwrap_err().to_string();
    assert!(error.contains("no connection to Redis") && !error.contains("hidden"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_refuses_writes_and_still_ends_sessions() {
    let server = Server::start();
    let store = RedisBackend::open(&server.url(), 0).await.unwrap();
    store.insert(key(1), &row(), None).await.unwrap();

    server.cli(&["config", "set", "maxmemory", "1"]);

    let error = store.insert(key(2), &row(), None).await.unwrap_err().to_string();
    assert!(error.contains("OOM"), "{error}");
    assert!(store.load(key(1)).await.unwrap().is_some());
    assert!(store.remove(key(1), Reason::Logout).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_primary_is_followed_by_its_replica() {
    let mut servers = Watched::start();
    let store = RedisBackend::open(&servers.url(), 0).await.unwrap();
    let mut signals = store.watch();
    store.insert(key(1), &row_with(&[term(1)]), None).await.unwrap();
    until("the replica has it", async || servers.replica.cli(&["dbsize"]) == "2").await;

    servers.primary.kill();

    works_again(&store, 2).await;
    heard(&mut signals, Signal::Lost).await;
    until("the sentinels know it", async || servers.primary_port() == servers.replica.port).await;
    assert!(store.load(key(1)).await.unwrap().is_some());
    store.swap_tokens(key(1), 1, b"rotated", LeaseAfter::Keep).await.unwrap();
    heard(&mut signals, Signal::Refreshed { key: key(1), version: 2 }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_becomes_a_replica_is_left() {
    let servers = Watched::start();
    let store = RedisBackend::open(&servers.url(), 0).await.unwrap();
    store.insert(key(1), &row(), None).await.unwrap();
    let old = servers.primary_port();

    servers.fail_over();

    until("another is primary", async || servers.primary_port() != old).await;
    works_again(&store, 2).await;
    until("the new primary has it", async || servers.replica.cli(&["info", "replication"]).contains("role:master"))
        .await;
    assert!(store.load(key(2)).await.unwrap().is_some());
}

/// Without sentinels somebody else moves the address; what refuses writes as a replica is connected to anew.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_was_a_replica_for_a_while_is_written_to_again() {
    let (server, other) = (Server::start(), Server::start());
    let store = RedisBackend::open(&server.url(), 0).await.unwrap();

    server.cli(&["replicaof", "127.0.0.1", &other.port.to_string()]);
    let error = store.insert(key(1), &row(), None).await.unwrap_err().to_string();
    assert!(error.contains("READONLY"), "{error}");
    server.cli(&["replicaof", "no", "one"]);

    works_again(&store, 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_node_that_is_restarted_is_found_again() {
    let mut cluster = Cluster::start();
    let store = RedisBackend::open(&cluster.url(), 0).await.unwrap();
    let mut signals = store.watch();

    for node in &mut cluster.nodes {
        node.kill();
    }
    assert!(store.insert(key(1), &row(), None).await.is_err());
    for node in &mut cluster.nodes {
        node.start_again();
    }

    until("every slot is served", async || {
        let row = row();
        let inserts = (0..50).map(|n| store.insert(key(n), &row, None));
        join_all(inserts).await.iter().all(Result::is_ok)
    })
    .await;
    heard(&mut signals, Signal::Lost).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_cluster_primary_is_followed_by_its_replica() {
    let mut cluster = Cluster::start();
    cluster.add_replica();
    let store = RedisBackend::open(&cluster.url(), 0).await.unwrap();
    let row = row_with(&[term(1)]);
    for n in 0..50 {
        store.insert(key(n), &row, None).await.unwrap();
    }
    let size = |node: &Server| node.cli(&["dbsize"]);
    until("the replica has it all", async || size(&cluster.nodes[3]) == size(&cluster.nodes[0])).await;

    cluster.nodes[0].kill();

    until("every slot is served", async || {
        let inserts = (100..150).map(|n| store.insert(key(n), &row, None));
        join_all(inserts).await.iter().all(Result::is_ok)
    })
    .await;
    until("calls that take many trips work", async || store.list_matching(&[term(1)]).await.is_ok()).await;
    for n in 0..50 {
        assert!(store.load(key(n)).await.unwrap().is_some(), "row {n}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_says_when_it_could_miss_rows() {
    let server = Server::start();
    let store = RedisBackend::open(&server.url(), 0).await.unwrap();
    for n in 0..1000 {
        store.insert(key(n), &row(), None).await.unwrap();
    }
    let page = store.scan(Cursor::default()).await.unwrap();
    let next = page.next.expect("there is more than a page");

    server.cli(&["client", "kill", "type", "normal"]);

    until("the connection is back", async || store.ping().await.is_ok()).await;
    let error = store.scan(next).await.unwrap_err().to_string();
    assert!(error.contains("start the scan again"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_dropped_leaves_the_server_alone() {
    let server = Server::start();
    let store = RedisBackend::open(&server.url(), 0).await.unwrap();
    let mut signals = store.watch();

    drop(store);

    assert_eq!(signals.next().await, None);
    until("only redis-cli is connected", async || server.cli(&["info", "clients"]).contains("connected_clients:1"))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_found_while_their_slots_move() {
    let cluster = Cluster::start();
    let store = RedisBackend::open(&cluster.url(), 0).await.unwrap();
    let rows = 0..200;
    for n in rows.clone() {
        store.insert(key(n), &row_with(&[term(1)]), None).await.unwrap();
    }

    let moving = cluster.move_slots(3000);
    let mut version = 1;
    while !moving.is_finished() {
        for n in rows.clone() {
            let swapped = store.swap_tokens(key(n), version, b"rotated", LeaseAfter::Keep).await;
            assert_eq!(swapped.unwrap(), Swapped::Swapped, "row {n}");
        }
        version += 1;
    }

    moving.await.expect("the slots have moved");
    assert!(version > 1, "rows were written meanwhile");
    assert_eq!(store.list_matching(&[term(1)]).await.unwrap().len(), rows.len());
}
