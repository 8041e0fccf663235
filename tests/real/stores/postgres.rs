//! `PostgresBackend` on a real server: the suite, and what only several backends and a server that fails can show.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cloakroom::clock::Timestamp;
use cloakroom::store::suite::{digest, key, limit, row, row_with, term, until};
use cloakroom::store::{
    Claimed, Ending, EndingTarget, Error, Inserted, LeaseAfter, NewRow, PostgresBackend, Reason, Replaced,
    SessionBackend, Signal, Swapped, Taken, Tombstone,
};
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::BoxStream;
use sqlx::AssertSqlSafe;
use tokio::time::timeout;

use crate::postgres::Postgres;

const LIMIT: Duration = Duration::from_secs(2);
const MINUTE: Duration = Duration::from_mins(1);

async fn fresh() -> (Arc<dyn SessionBackend>, ()) {
    (open(&Postgres::shared().schema().await).await, ())
}

cloakroom::store_suite!(fresh);

async fn open(url: &str) -> Arc<PostgresBackend> {
    // On a busy machine a statement may take longer than operators would want.
    Arc::new(PostgresBackend::open(url, Duration::from_secs(20)).await.unwrap())
}

async fn two() -> [Arc<PostgresBackend>; 2] {
    let url = Postgres::shared().schema().await;
    [open(&url).await, open(&url).await]
}

fn unavailable<T: std::fmt::Debug>(outcome: Result<T, Error>) -> String {
    match outcome.unwrap_err() {
        Error::Unavailable(text) => text,
        other => panic!("{other:?}"),
    }
}

async fn next(signals: &mut BoxStream<'static, Signal>) -> Signal {
    timeout(Duration::from_secs(20), signals.next()).await.expect("a signal comes").expect("watching goes on")
}

/// Runs a statement in the schema of this URL.
async fn execute(url: &str, statement: &str) {
    let options: sqlx::postgres::PgConnectOptions = url.parse().unwrap();
    let mut connection = sqlx::ConnectOptions::connect(&options).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut connection).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_backends_share_rows_and_hear_each_other_once() {
    let [one, two] = two().await;
    let mut heard = [one.watch(), two.watch()];
    one.insert(key(1), &row(), None).await.unwrap();
    assert!(two.load(key(1)).await.unwrap().is_some());
    assert_eq!(two.insert(key(1), &row(), None).await.unwrap(), Inserted::Exists);
    assert_eq!(two.swap_tokens(key(1), 1, b"rotated", LeaseAfter::Keep).await.unwrap(), Swapped::Swapped);
    assert_eq!(one.load(key(1)).await.unwrap().unwrap().tokens, b"rotated");
    one.remove(key(1), Reason::Logout).await.unwrap();
    for signals in &mut heard {
        assert_eq!(next(signals).await, Signal::Refreshed { key: key(1), version: 2 });
        assert_eq!(next(signals).await, Signal::Ended { key: key(1), reason: Reason::Logout });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schemas_of_one_database_do_not_hear_each_other() {
    let (here, there) = (fresh().await.0, fresh().await.0);
    let mut heard = here.watch();
    for store in [&there, &here] {
        store.insert(key(1), &row(), None).await.unwrap();
    }
    there.remove(key(1), Reason::Admin).await.unwrap();
    here.remove(key(1), Reason::Logout).await.unwrap();
    assert_eq!(next(&mut heard).await, Signal::Ended { key: key(1), reason: Reason::Logout });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_login_slips_past_an_ending_of_another_process() {
    let [logins, endings] = two().await;
    let mut outcomes = BTreeSet::new();
    for n in 0..400 {
        let (new, ending) = (login(&[term(n), term(n + 1000)]), ending(term(n)));
        let (inserting, logins_of) = (logins.clone(), n % 2 == 0);
        let inserting = tokio::spawn(async move {
            if logins_of {
                return inserting.insert(key(n), &new, None).await.unwrap() == Inserted::Ended;
            }
            inserting.replace(key(n + 5000), MINUTE, key(n), &new, None).await.unwrap() == Replaced::Ended
        });
        let ended = endings.end_matching(&ending).await.unwrap();
        let was_told = inserting.await.unwrap();
        assert!(was_told || ended == 1, "round {n}: {ended} ended");
        assert!(logins.load(key(n)).await.unwrap().is_none(), "round {n}");
        outcomes.insert((was_told, ended));
    }
    assert!(outcomes.len() > 1, "both sides won at times: {outcomes:?}");
}

fn login(terms: &[cloakroom::store::IndexKey]) -> NewRow {
    NewRow { issued_at: Timestamp::from_unix_seconds(1000), ..row_with(terms) }
}

fn ending(term: cloakroom::store::IndexKey) -> Ending {
    Ending {
        targets: vec![EndingTarget { all_of: vec![term], issued_not_after: None }],
        tombstones: vec![Tombstone { term, issued_not_after: Timestamp::from_unix_seconds(1000) }],
        reason: Reason::ProviderLogout,
    }
}

/// In every order, over and over: nobody waits in a circle, and the oldest go.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logins_logouts_and_limits_at_once_do_not_stop_each_other() {
    let stores = two().await;
    let work = (0..8_u32).map(|worker| {
        let store = stores[worker as usize % 2].clone();
        tokio::spawn(async move {
            for n in 0..40 {
                let number = n * 8 + worker;
                let some = limit(&[term(1)], 3);
                store.insert(key(number), &row_with(&[term(1), term(2 + n % 3)]), Some(&some)).await.unwrap();
                store
                    .replace(key(number), MINUTE, key(10_000 + number), &row_with(&[term(1)]), Some(&some))
                    .await
                    .unwrap();
                let mut ending = ending(term(2 + number % 3));
                ending.tombstones.push(Tombstone { term: term(99), ..ending.tombstones[0] });
                if worker % 2 == 0 {
                    ending.tombstones.reverse();
                }
                ending
                    .tombstones
                    .iter_mut()
                    .for_each(|tombstone| tombstone.issued_not_after = Timestamp::from_unix_seconds(1));
                store.end_matching(&ending).await.unwrap();
                store.remove_expired().await.unwrap();
            }
        })
    });
    for worker in join_all(work).await {
        worker.unwrap();
    }
    let left = stores[0].list_matching(&[term(1)]).await.unwrap();
    assert_eq!(left.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_takers_in_two_processes_one_gets_the_lease() {
    let stores = two().await;
    for n in 0..5 {
        stores[0].insert(key(n), &row(), None).await.unwrap();
        let takers = (0..50).map(|taker| {
            let store = stores[taker % 2].clone();
            tokio::spawn(async move { store.take_lease(key(n), 1, MINUTE).await.unwrap() })
        });
        let outcomes: Vec<Taken> = join_all(takers).await.into_iter().map(Result::unwrap).collect();
        assert_eq!(outcomes.iter().filter(|taken| matches!(taken, Taken::Taken(_))).count(), 1);
        assert_eq!(outcomes.iter().filter(|taken| matches!(taken, Taken::Held(_))).count(), 49);
    }
}

/// Who waited for the row while the lease ran out gets the time of the end of the wait, and the warning.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_judged_by_the_time_after_the_wait_for_its_row() {
    let url = Postgres::shared().schema().await;
    let store = open(&url).await;
    store.insert(key(1), &row(), None).await.unwrap();
    let first = store.take_lease(key(1), 1, Duration::from_millis(200)).await.unwrap();
    assert!(matches!(first, Taken::Taken(_)), "{first:?}");
    let options: sqlx::postgres::PgConnectOptions = url.parse().unwrap();
    let mut blocker = sqlx::ConnectOptions::connect(&options).await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT FROM cloakroom_sessions FOR UPDATE").execute(&mut blocker).await.unwrap();
    let taking = store.clone();
    let taking = tokio::spawn(async move { taking.take_lease(key(1), 1, MINUTE).await.unwrap() });
    let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted";
    until(async || sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut blocker).await.unwrap() > 0).await;
    sqlx::raw_sql("SELECT pg_sleep(0.3); ROLLBACK").execute(&mut blocker).await.unwrap();
    let second = taking.await.unwrap();
    assert!(matches!(&second, Taken::Taken(lease) if lease.after_expiry), "{second:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn backends_that_start_at_once_make_the_tables_once() {
    let url = Postgres::shared().schema().await;
    let opened = join_all((0..5).map(|_| open(&url))).await;
    for (n, store) in (0..).zip(&opened) {
        store.insert(key(n), &row(), None).await.unwrap();
        assert!(opened[0].load(key(n)).await.unwrap().is_some());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_of_a_newer_version_are_unavailable() {
    let url = Postgres::shared().schema().await;
    drop(open(&url).await);
    execute(&url, "UPDATE cloakroom_schema SET version = 2").await;
    let text = unavailable(PostgresBackend::open(&url, LIMIT).await);
    assert!(text.contains("another version of Cloakroom (schema 2, this is 1)"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_schema_is_named() {
    let url = Postgres::shared().url("cloakroom", "sslmode=disable&options=-c%20search_path%3Dnowhere");
    let text = unavailable(PostgresBackend::open(&url, LIMIT).await);
    assert!(text.contains("schema"), "{text}");
}

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
