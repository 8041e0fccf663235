//! Endings from outside, and logins that are under way meanwhile.

use std::sync::Arc;

use super::{MINUTE, is_there, key, row_with, term};
use crate::clock::Timestamp;
use crate::store::{Ending, EndingTarget, IndexKey, Inserted, NewRow, Reason, Replaced, SessionBackend, Tombstone};

fn ending(targets: &[&[IndexKey]], tombstones: &[(IndexKey, i64)]) -> Ending {
    let target = |all_of: &&[IndexKey]| EndingTarget { all_of: all_of.to_vec(), issued_not_after: None };
    let tombstone = |&(term, seconds): &(IndexKey, i64)| Tombstone {
        term,
        issued_not_after: Timestamp::from_unix_seconds(seconds),
    };
    Ending {
        targets: targets.iter().map(target).collect(),
        tombstones: tombstones.iter().map(tombstone).collect(),
        reason: Reason::ProviderLogout,
    }
}

fn row_of(seconds: i64, terms: &[IndexKey]) -> NewRow {
    NewRow { issued_at: Timestamp::from_unix_seconds(seconds), ..row_with(terms) }
}

/// The provider ended the login before it was written.
pub async fn a_tombstone_ends_logins_in_flight(store: Arc<dyn SessionBackend>) {
    assert_eq!(store.end_matching(&ending(&[], &[(term(1), 1000)])).await.unwrap(), 0);
    for (n, seconds) in [(1, 999), (2, 1000)] {
        let inserted = store.insert(key(n), &row_of(seconds, &[term(2), term(1)]), None).await.unwrap();
        assert_eq!(inserted, Inserted::Ended);
        assert!(!is_there(&*store, key(n)).await);
    }
    assert_eq!(store.list_matching(&[term(1), term(2)]).await.unwrap(), []);
    let other = store.insert(key(3), &row_of(999, &[term(2)]), None).await.unwrap();
    assert_eq!(other, Inserted::Inserted { evicted: vec![] });
}

/// Whoever logs in again after the logout is in.
pub async fn a_login_after_the_tombstone_lives(store: Arc<dyn SessionBackend>) {
    store.end_matching(&ending(&[], &[(term(1), 1000)])).await.unwrap();
    let inserted = store.insert(key(1), &row_of(1001, &[term(1)]), None).await.unwrap();
    assert_eq!(inserted, Inserted::Inserted { evicted: vec![] });
    assert!(is_there(&*store, key(1)).await);
}

/// A repeated or delayed logout takes nothing back.
pub async fn the_later_tombstone_stays(store: Arc<dyn SessionBackend>) {
    store.end_matching(&ending(&[], &[(term(1), 2000)])).await.unwrap();
    store.end_matching(&ending(&[], &[(term(1), 1000)])).await.unwrap();
    assert_eq!(store.insert(key(1), &row_of(1500, &[term(1)]), None).await.unwrap(), Inserted::Ended);
}

/// The old session does not come back for it.
pub async fn a_tombstone_ends_a_replacement_too(store: Arc<dyn SessionBackend>) {
    store.insert(key(1), &row_of(1000, &[term(2)]), None).await.unwrap();
    store.end_matching(&ending(&[], &[(term(1), 1000)])).await.unwrap();
    let replaced = store.replace(key(1), MINUTE, key(2), &row_of(1000, &[term(1)]), None).await.unwrap();
    assert_eq!(replaced, Replaced::Ended);
    assert!(!is_there(&*store, key(2)).await);
    assert!(store.load(key(1)).await.unwrap().is_none_or(|old| old.retired));
}

/// A back-channel logout with `sub` and `sid` means the sessions with both.
pub async fn an_ending_takes_rows_that_carry_all_terms_of_a_target(store: Arc<dyn SessionBackend>) {
    for (n, terms) in [(1, &[term(1), term(2)][..]), (2, &[term(1)]), (3, &[term(2)]), (4, &[term(3)]), (5, &[])] {
        store.insert(key(n), &row_with(terms), None).await.unwrap();
    }
    let both = ending(&[&[term(1), term(2)], &[term(3), term(3)], &[term(3)]], &[]);
    assert_eq!(store.end_matching(&both).await.unwrap(), 2);
    for (n, stays) in [(1, false), (2, true), (3, true), (4, false), (5, true)] {
        assert_eq!(is_there(&*store, key(n)).await, stays, "row {n}");
    }
    assert_eq!(store.end_matching(&both).await.unwrap(), 0);
}

/// A logout token ends what was there when it was made.
pub async fn an_ending_leaves_younger_logins(store: Arc<dyn SessionBackend>) {
    for (n, seconds) in [(1, 999), (2, 1000), (3, 1001)] {
        store.insert(key(n), &row_of(seconds, &[term(1)]), None).await.unwrap();
    }
    let mut ending = ending(&[&[term(1)]], &[]);
    ending.targets[0].issued_not_after = Some(Timestamp::from_unix_seconds(1000));
    assert_eq!(store.end_matching(&ending).await.unwrap(), 2);
    assert!(is_there(&*store, key(3)).await);
}

/// They still answer calls, so they must stop too.
pub async fn an_ending_takes_retired_rows(store: Arc<dyn SessionBackend>) {
    store.insert(key(1), &row_with(&[term(1)]), None).await.unwrap();
    store.replace(key(1), MINUTE, key(2), &row_with(&[term(1)]), None).await.unwrap();
    assert_eq!(store.end_matching(&ending(&[&[term(1)]], &[])).await.unwrap(), 2);
    assert!(!is_there(&*store, key(1)).await && !is_there(&*store, key(2)).await);
}

/// Nobody means everybody by naming nothing.
pub async fn an_ending_without_terms_takes_nothing(store: Arc<dyn SessionBackend>) {
    store.insert(key(1), &row_with(&[term(1)]), None).await.unwrap();
    store.insert(key(2), &row_with(&[]), None).await.unwrap();
    assert_eq!(store.end_matching(&ending(&[&[]], &[])).await.unwrap(), 0);
    assert_eq!(store.end_matching(&ending(&[], &[])).await.unwrap(), 0);
    assert!(is_there(&*store, key(1)).await && is_there(&*store, key(2)).await);
}

/// Whichever comes first, login or logout: afterwards nobody is in.
pub async fn no_login_slips_past_an_ending(store: Arc<dyn SessionBackend>) {
    for n in 0..40 {
        let (login, logout) = (store.clone(), store.clone());
        let login = tokio::spawn(async move { login.insert(key(n), &row_of(1000, &[term(n)]), None).await });
        let ending = ending(&[&[term(n)]], &[(term(n), 1000)]);
        let logout = tokio::spawn(async move { logout.end_matching(&ending).await });
        let inserted = login.await.unwrap().unwrap();
        let ended = logout.await.unwrap().unwrap();
        assert!(inserted == Inserted::Ended || ended == 1, "{inserted:?}, {ended} ended");
        assert!(!is_there(&*store, key(n)).await);
    }
}
