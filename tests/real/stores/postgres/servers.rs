//! A server that restarts, stands still, asks for a password, or has much to do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cloakroom::store::suite::{digest, key, row, row_with, term, until};
use cloakroom::store::{Claimed, PostgresBackend, Reason, SessionBackend, Signal};
use futures_util::future::join_all;
use tokio::time::timeout;

use super::{LIMIT, MINUTE, execute, next, open, unavailable};
use crate::postgres::Postgres;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_takes_no_writes_does_not_answer_a_ping() {
    let url = Postgres::shared().schema().await;
    drop(open(&url).await);
    let standby = open(&url.replace("options=", "options=-c%20default_transaction_read_only%3Don%20")).await;
    assert!(unavailable(standby.ping().await).contains("no writes"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_the_server_is_over_when_it_is_over() {
    let server = Postgres::start();
    let url = server.schema().await;
    let store = Arc::new(PostgresBackend::open(&url, LIMIT).await.unwrap());
    store.insert(key(1), &row_with(&[term(1)]), None).await.unwrap();
    let loads = join_all((0..30).map(|_| store.load(key(1)))).await;
    assert!(loads.into_iter().all(|row| row.unwrap().is_some()), "many connections are open");
    let mut signals = store.watch();
    server.stop_at_once();
    assert_eq!(next(&mut signals).await, Signal::Lost);
    let text = unavailable(store.load(key(1)).await);
    assert!(!text.is_empty());
    server.start_again();
    for _ in 0..30 {
        assert!(store.load(key(1)).await.unwrap().is_some(), "every connection is replaced before it is used");
    }
    assert_eq!(next(&mut signals).await, Signal::Lost);
    store.remove(key(1), Reason::Logout).await.unwrap();
    assert_eq!(next(&mut signals).await, Signal::Ended { key: key(1), reason: Reason::Logout });
}

/// Nobody has called meanwhile, so nobody has noticed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_between_two_calls_costs_no_more_than_one() {
    let server = Postgres::start();
    let store = Arc::new(PostgresBackend::open(&server.schema().await, LIMIT).await.unwrap());
    store.insert(key(1), &row(), None).await.unwrap();
    assert!(join_all((0..30).map(|_| store.load(key(1)))).await.into_iter().all(|row| row.is_ok()));
    server.stop_at_once();
    server.start_again();
    let mut failed = 0;
    for _ in 0..30 {
        failed += u32::from(store.load(key(1)).await.is_err());
    }
    assert!(failed <= 1, "{failed} calls failed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stands_still_holds_nobody_longer_than_told() {
    let server = Postgres::start();
    let short = Duration::from_millis(500);
    let store = Arc::new(PostgresBackend::open(&server.schema().await, short).await.unwrap());
    store.insert(key(1), &row(), None).await.unwrap();
    let mut signals = store.watch();
    server.freeze();
    let start = Instant::now();
    let calls = join_all((0..60).map(|_| store.load(key(1)))).await;
    let took = start.elapsed();
    let left = timeout(Duration::from_millis(50), store.load(key(1))).await;
    let lost = next(&mut signals).await;
    server.thaw();
    assert!(calls.into_iter().all(|row| row.is_err()));
    assert!(took < 8 * short, "{took:?}");
    assert!(left.is_err(), "a caller may leave earlier");
    assert_eq!(lost, Signal::Lost);
    until(async || store.load(key(1)).await.is_ok()).await;
    assert_eq!(next(&mut signals).await, Signal::Lost);
    assert!(store.remove(key(1), Reason::Logout).await.unwrap().is_some());
    assert_eq!(next(&mut signals).await, Signal::Ended { key: key(1), reason: Reason::Logout });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_dropped_halfway_leave_a_store_that_works() {
    let url = Postgres::shared().schema().await;
    let store = open(&url).await;
    for n in 0..300_u32 {
        let calls = (0..4).map(|of: u32| {
            let store = store.clone();
            tokio::spawn(async move {
                let _ = store.claim(digest(n * 4 + of), MINUTE).await;
                let _ = store.insert(key(of), &row(), None).await;
                let _ = store.replace(key(of), MINUTE, key(100 + of), &row(), None).await;
                let _ = store.remove(key(of), Reason::Logout).await;
                let _ = store.remove(key(100 + of), Reason::Logout).await;
            })
        });
        let calls: Vec<_> = calls.collect();
        tokio::time::sleep(Duration::from_micros(u64::from(n) * 20)).await;
        calls.iter().for_each(tokio::task::JoinHandle::abort);
    }
    store.insert(key(9), &row(), None).await.unwrap();
    // Another backend sees it, so it was not written into a transaction that somebody left open.
    assert!(open(&url).await.remove(key(9), Reason::Logout).await.unwrap().is_some());
    let open_transactions = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'";
    let mut admin = Postgres::shared().admin().await;
    until(async || sqlx::query_scalar::<_, i64>(open_transactions).fetch_one(&mut admin).await.unwrap() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sweep_of_many_rows_lets_other_calls_pass() {
    let url = Postgres::shared().schema().await;
    let store = open(&url).await;
    let other = open(&url).await;
    execute(
        &url,
        "INSERT INTO cloakroom_sessions
             (key, terms, session, tokens, card, tokens_version, issued_at, created_at, touched_at, expires_at)
         SELECT sha256(n::text::bytea), ARRAY[sha256((n % 1000)::text::bytea)], 's', 't', 'c', 1, 0, 0, 0, 1
         FROM generate_series(1, 100000) AS n",
    )
    .await;
    store.insert(key(1), &row_with(&[term(1)]), None).await.unwrap();
    let sweeps = [store.clone(), other].map(|store| tokio::spawn(async move { store.remove_expired().await.unwrap() }));
    let mut calls = 0;
    while !sweeps.iter().all(tokio::task::JoinHandle::is_finished) {
        calls += 1;
        assert!(store.load(key(1)).await.unwrap().is_some());
        store.touch(key(1), MINUTE, b"touched", None).await.unwrap();
        store.insert(key(1000 + calls), &row(), None).await.unwrap();
        assert_eq!(store.claim(digest(calls), MINUTE).await.unwrap(), Claimed::First);
    }
    let mut removed = 0;
    for sweep in sweeps {
        removed += sweep.await.unwrap();
    }
    removed += store.remove_expired().await.unwrap();
    assert_eq!(removed, 100_000);
    assert!(calls > 3, "{calls} rounds of calls got through");
    assert!(store.load(key(1)).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_named_and_not_shown() {
    let url = Postgres::shared().url("cloakroom:wr0ng-pass", "sslmode=require");
    let text = unavailable(PostgresBackend::open(&url, LIMIT).await);
    assert!(text.contains("password authentication failed for user \"cloakroom\""), "{text}");
    assert!(!text.contains("wr0ng-pass"), "{text}");
    assert!(!format!("{:?}", open(&Postgres::shared().schema().await).await).contains("hunter2"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_is_as_strict_as_the_url_says() {
    let server = Postgres::shared();
    let schema = server.schema().await;
    let path = schema.split('&').next_back().unwrap();
    let url = |parameters: &str| server.url("cloakroom:hunter2", &format!("{path}&{parameters}"));
    let ca = server.ca().display().to_string();
    let trusted = format!("sslmode=verify-full&sslrootcert={ca}");
    for good in ["sslmode=require", &trusted] {
        open(&url(good)).await.ping().await.unwrap();
    }
    let elsewhere = url(&trusted).replace("127.0.0.1", "127.0.0.2");
    for bad in [url("sslmode=verify-full"), url("sslmode=verify-ca"), elsewhere] {
        let text = unavailable(PostgresBackend::open(&bad, LIMIT).await);
        assert!(text.contains("certificate") && !text.contains("hunter2"), "{text}");
    }
}

/// And so the server has no connections for others left, one day.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_is_dropped_leaves_no_connection() {
    let url = Postgres::shared().schema().await + "&application_name=dropped";
    let store = open(&url).await;
    join_all((0..20).map(|_| store.ping())).await;
    let mut admin = Postgres::shared().admin().await;
    let count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'dropped'";
    let before: i64 = sqlx::query_scalar(count).fetch_one(&mut admin).await.unwrap();
    assert!((2..=17).contains(&before), "sixteen for calls, one that listens: {before}");
    drop(store);
    until(async || sqlx::query_scalar::<_, i64>(count).fetch_one(&mut admin).await.unwrap() == 0).await;
}
