//! Rows by what they carry, all rows, and rows beyond their time.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::{MINUTE, is_there, key, keys, limit, row, row_with, scan_all, term};
use crate::store::{Inserted, NewRow, Reason, Replaced, SessionBackend};

/// Index and row change together.
pub async fn terms_come_and_go_with_their_row(store: Arc<dyn SessionBackend>) {
    store.insert(key(1), &row_with(&[term(1), term(2), term(1)]), None).await.unwrap();
    for any_of in [&[term(1)][..], &[term(2)], &[term(2), term(1)], &[term(3), term(2)]] {
        let listed = store.list_matching(any_of).await.unwrap();
        assert_eq!((keys(&listed), listed[0].card.as_slice()), (vec![key(1)], b"card".as_slice()));
    }
    assert_eq!(store.list_matching(&[term(3)]).await.unwrap(), []);
    assert_eq!(store.list_matching(&[]).await.unwrap(), []);
    store.remove(key(1), Reason::Logout).await.unwrap();
    assert_eq!(store.list_matching(&[term(1), term(2)]).await.unwrap(), []);
}

/// By when they were written, not by key, and a touch changes nothing about it.
pub async fn listings_are_oldest_first(store: Arc<dyn SessionBackend>) {
    for n in [3, 1, 2] {
        store.insert(key(n), &row_with(&[term(n), term(9)]), None).await.unwrap();
    }
    store.touch(key(3), MINUTE, b"touched", None).await.unwrap();
    let listed = store.list_matching(&[term(1), term(2), term(3)]).await.unwrap();
    assert_eq!(keys(&listed), [key(3), key(1), key(2)]);
    assert!(listed.iter().all(|row| row.created_at <= row.touched_at));
    assert_eq!(keys(&store.list_matching(&[term(9)]).await.unwrap()), [key(3), key(1), key(2)]);
}

/// The new row always stays.
pub async fn the_limit_removes_the_oldest_rows(store: Arc<dyn SessionBackend>) {
    for n in [3, 2, 1] {
        store.insert(key(n), &row_with(&[term(1)]), None).await.unwrap();
    }
    store.insert(key(7), &row_with(&[term(2)]), None).await.unwrap();
    let inserted = store.insert(key(4), &row_with(&[term(1)]), Some(&limit(&[term(1)], 2))).await.unwrap();
    let Inserted::Inserted { mut evicted } = inserted else { panic!("{inserted:?}") };
    evicted.sort();
    assert_eq!(evicted, [key(2), key(3)]);
    assert_eq!(keys(&store.list_matching(&[term(1)]).await.unwrap()), [key(1), key(4)]);
    assert!(!is_there(&*store, key(3)).await);
    assert!(is_there(&*store, key(7)).await);
    let within = store.insert(key(5), &row_with(&[term(1)]), Some(&limit(&[term(1)], 3))).await.unwrap();
    assert_eq!(within, Inserted::Inserted { evicted: vec![] });
}

/// Rows from before a rotation of keys count too.
pub async fn the_limit_counts_terms_under_every_key(store: Arc<dyn SessionBackend>) {
    store.insert(key(1), &row_with(&[term(1)]), None).await.unwrap();
    let inserted = store.insert(key(2), &row_with(&[term(2)]), Some(&limit(&[term(1), term(2)], 1))).await.unwrap();
    assert_eq!(inserted, Inserted::Inserted { evicted: vec![key(1)] });
}

/// Retired rows do not count, so a login again and again pushes nobody out.
pub async fn replace_keeps_the_limit(store: Arc<dyn SessionBackend>) {
    for n in [1, 2] {
        store.insert(key(n), &row_with(&[term(1)]), None).await.unwrap();
    }
    let limit = limit(&[term(1)], 2);
    let same = store.replace(key(2), MINUTE, key(3), &row_with(&[term(1)]), Some(&limit)).await.unwrap();
    assert!(matches!(&same, Replaced::Replaced { old: Some(_), evicted } if evicted.is_empty()), "{same:?}");
    let one_more = store.replace(key(9), MINUTE, key(4), &row_with(&[term(1)]), Some(&limit)).await.unwrap();
    assert_eq!(one_more, Replaced::Replaced { old: None, evicted: vec![key(1)] });
}

/// Page after page, some perhaps twice.
pub async fn a_scan_sees_each_live_row(store: Arc<dyn SessionBackend>) {
    let numbers: Vec<u32> = (0..600).map(|n| n * 7919 % 600).collect();
    for &n in &numbers {
        store.insert(key(n), &row(), None).await.unwrap();
    }
    store.insert(key(1000), &NewRow { live_for: Duration::ZERO, ..row() }, None).await.unwrap();
    store.replace(key(0), MINUTE, key(1001), &row(), None).await.unwrap();
    let (rows, pages) = scan_all(&*store).await;
    let seen: BTreeSet<_> = keys(&rows).into_iter().collect();
    assert_eq!(seen, (1..600).chain([1001]).map(key).collect());
    assert!(pages > 1, "600 rows are too many for one page");
}

/// Thousands of rows go in steps, or have gone by themselves; rows that live stay.
pub async fn a_sweep_removes_what_has_expired_and_nothing_else(store: Arc<dyn SessionBackend>) {
    for n in 0..2000 {
        let live_for = if n % 2 == 0 { Duration::ZERO } else { MINUTE };
        store.insert(key(n), &NewRow { live_for, ..row_with(&[term(1)]) }, None).await.unwrap();
    }
    let removed = store.remove_expired().await.unwrap();
    assert!([0, 1000].contains(&removed), "{removed}");
    assert_eq!(store.remove_expired().await.unwrap(), 0);
    assert_eq!(store.list_matching(&[term(1)]).await.unwrap().len(), 1000);
}
