//! Replicas that share rows: what one does, the other sees.

use std::time::Duration;

use cloakroom::store::suite::{key, row, row_with, term};
use cloakroom::store::{
    Ending, EndingTarget, Inserted, LeaseAfter, NewRow, Reason, Replaced, Signal, Swapped, Taken, Tombstone,
};
use futures_util::StreamExt as _;
use futures_util::future::join_all;

use super::open;
use crate::redis::Server;

const MINUTE: Duration = Duration::from_mins(1);

fn ending(n: u32) -> Ending {
    Ending {
        targets: vec![EndingTarget { all_of: vec![term(n)], issued_not_after: None }],
        tombstones: vec![Tombstone { term: term(n), issued_not_after: row().issued_at }],
        reason: Reason::ProviderLogout,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_share_rows_and_hear_each_other() {
    let url = crate::redis::shared().url();
    let (one, other) = (open(&url).await, open(&url).await);
    let mut signals = one.watch();

    one.insert(key(1), &row_with(&[term(1)]), None).await.unwrap();
    assert_eq!(other.swap_tokens(key(1), 1, b"rotated", LeaseAfter::Release).await.unwrap(), Swapped::Swapped);
    other.remove(key(1), Reason::Logout).await.unwrap();

    assert_eq!(signals.next().await, Some(Signal::Refreshed { key: key(1), version: 2 }));
    assert_eq!(signals.next().await, Some(Signal::Ended { key: key(1), reason: Reason::Logout }));
    assert_eq!(one.load(key(1)).await.unwrap(), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn stores_with_different_prefixes_do_not_know_each_other() {
    let server = crate::redis::shared();
    let (one, other) = (open(&server.url()).await, open(&server.url()).await);

    one.insert(key(1), &row_with(&[term(1)]), None).await.unwrap();

    assert_eq!(other.load(key(1)).await.unwrap(), None);
    assert_eq!(other.list_matching(&[term(1)]).await.unwrap(), []);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_login_slips_past_an_ending_at_another_replica() {
    for url in [crate::redis::shared().url(), crate::redis::groups::Cluster::shared().url()] {
        let (one, other) = (open(&url).await, open(&url).await);
        for n in 0..500 {
            let (login, logout) = (one.clone(), other.clone());
            let login = tokio::spawn(async move { login.insert(key(n), &row_with(&[term(n)]), None).await.unwrap() });
            let logout = tokio::spawn(async move { logout.end_matching(&ending(n)).await.unwrap() });
            let (inserted, ended) = (login.await.unwrap(), logout.await.unwrap());
            assert!(inserted == Inserted::Ended || ended == 1, "round {n}: {inserted:?}, {ended} ended");
            assert_eq!(one.load(key(n)).await.unwrap(), None, "round {n}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_replacement_slips_past_an_ending_at_another_replica() {
    let url = crate::redis::shared().url();
    let (one, other) = (open(&url).await, open(&url).await);
    for n in 0..200 {
        let (old, new) = (key(n), key(n + 1000));
        one.insert(old, &row(), None).await.unwrap();
        let (login, logout) = (one.clone(), other.clone());
        let login = tokio::spawn(async move { login.replace(old, MINUTE, new, &row_with(&[term(n)]), None).await });
        let logout = tokio::spawn(async move { logout.end_matching(&ending(n)).await.unwrap() });
        let (replaced, ended) = (login.await.unwrap().unwrap(), logout.await.unwrap());
        assert!(replaced == Replaced::Ended || ended == 1, "round {n}: {replaced:?}, {ended} ended");
        assert_eq!(one.load(new).await.unwrap(), None, "round {n}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_fifty_takers_at_two_replicas_one_gets_the_lease() {
    let url = crate::redis::shared().url();
    let (one, other) = (open(&url).await, open(&url).await);
    for n in 0..20 {
        one.insert(key(n), &row(), None).await.unwrap();
        let takers = (0..50).map(|taker| {
            let store = if taker % 2 == 0 { one.clone() } else { other.clone() };
            tokio::spawn(async move { store.take_lease(key(n), 1, MINUTE).await.unwrap() })
        });
        let taken = join_all(takers).await;
        let holders = taken.iter().filter(|taken| matches!(taken, Ok(Taken::Taken(_)))).count();
        assert_eq!(holders, 1, "round {n}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_rows_under_one_term_are_listed_and_ended() {
    let server = Server::start();
    let store = open(&format!("redis://127.0.0.1:{}?prefix=many", server.port)).await;
    let long = Duration::from_hours(1);
    store.insert(key(0), &NewRow { live_for: long, ..row_with(&[term(1)]) }, None).await.unwrap();
    store.insert(key(0xffff_ffff), &row_with(&[term(2)]), None).await.unwrap();
    server.cli(&["eval", COPIES, "0", "99999"]);

    assert_eq!(store.list_matching(&[term(1)]).await.unwrap().len(), 100_000);
    assert_eq!(store.end_matching(&ending(1)).await.unwrap(), 100_000);

    assert_eq!(store.list_matching(&[term(1)]).await.unwrap(), []);
    assert_eq!(store.list_matching(&[term(2)]).await.unwrap().len(), 1);
    assert_eq!(server.cli(&["dbsize"]), "3", "the other row, its term, and the tombstone");
}

/// Gives row 0, which carries term 1, as many copies as it is told.
const COPIES: &str = "
    local function name(kind, n) return string.format('many:%s:{%08x%s}', kind, n, string.rep('0', 56)) end
    for n = 1, ARGV[1] do
        redis.call('COPY', name('s', 0), name('s', n))
        redis.call('ZADD', name('t', 1), 9e12, struct.pack('>I4', n) .. string.rep(string.char(0), 28))
    end";
