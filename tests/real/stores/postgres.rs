//! `PostgresBackend` on a real server: the suite, and what only several backends can show.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use cloakroom::clock::Timestamp;
use cloakroom::store::suite::{key, limit, row, row_with, term, until};
use cloakroom::store::{
    Ending, EndingTarget, Error, Inserted, LeaseAfter, NewRow, PostgresBackend, Reason, Replaced, SessionBackend,
    Signal, Swapped, Taken, Tombstone,
};
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::BoxStream;
use sqlx::AssertSqlSafe;
use tokio::time::timeout;

use crate::postgres::Postgres;

mod servers;

const LIMIT: Duration = Duration::from_secs(2);
const MINUTE: Duration = Duration::from_mins(1);

async fn fresh() -> (Arc<dyn SessionBackend>, ()) {
    (crate::stores::postgres().await, ())
}

cloakroom::store_suite!(fresh);

pub(super) async fn open(url: &str) -> Arc<PostgresBackend> {
    // On a busy machine a statement may take longer than operators would want.
    Arc::new(PostgresBackend::open(url, Duration::from_secs(20)).await.expect("the store opens"))
}

async fn two() -> [Arc<PostgresBackend>; 2] {
    let url = Postgres::shared().schema().await;
    [open(&url).await, open(&url).await]
}

fn unavailable<T: std::fmt::Debug>(outcome: Result<T, Error>) -> String {
    match outcome.expect_err("the store does not answer") {
        Error::Unavailable(text) => text,
        other => panic!("{other:?}"),
    }
}

async fn next(signals: &mut BoxStream<'static, Signal>) -> Signal {
    timeout(Duration::from_secs(20), signals.next()).await.expect("a signal comes").expect("watching goes on")
}

/// Runs a statement in the schema of this URL.
async fn execute(url: &str, statement: &str) {
    let options: sqlx::postgres::PgConnectOptions = url.parse().expect("a URL");
    let mut connection = sqlx::ConnectOptions::connect(&options).await.expect("the server answers");
    let done = sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut connection).await;
    done.expect("the statement is sound");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_backends_share_rows_and_hear_each_other_once() {
    let [one, two] = two().await;
    let mut heard = [one.watch(), two.watch()];
    one.insert(key(1), &row(), None).await.unwrap();
    assert!(two.load(key(1)).await.unwrap().is_some());
    assert_eq!(two.insert(key(1), &row(), None).await.unwrap(), Inserted::Exists);
    assert_eq!(two.swap_tokens(key(1), 1, b"rotated", LeaseAfter::Keep).await.unwrap(), Swapped::Swapped);
    assert_eq!(one.load(key(1)).await.unwrap().unwrap().tokens, &b"rotated"[..]);
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
