//! What watchers are told.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;

use super::{MINUTE, key, limit, row, row_with, term};
use crate::store::{Ending, EndingTarget, LeaseAfter, Reason, SessionBackend, Signal, Taken};

async fn next(signals: &mut BoxStream<'static, Signal>) -> Signal {
    let signal = tokio::time::timeout(Duration::from_secs(10), signals.next()).await;
    signal.expect("a signal comes").expect("watching goes on")
}

/// In the order in which it happened.
pub async fn watchers_see_what_happens_to_rows(store: Arc<dyn SessionBackend>) {
    let mut signals = store.watch();
    let limit = limit(&[term(1)], 1);
    store.insert(key(1), &row_with(&[term(1)]), None).await.unwrap();
    store.swap_tokens(key(1), 1, b"rotated", LeaseAfter::Keep).await.unwrap();
    assert_eq!(next(&mut signals).await, Signal::Refreshed { key: key(1), version: 2 });
    store.replace(key(1), MINUTE, key(2), &row_with(&[term(1)]), None).await.unwrap();
    assert_eq!(next(&mut signals).await, Signal::Replaced { key: key(1) });
    store.replace(key(2), Duration::ZERO, key(3), &row_with(&[term(1)]), None).await.unwrap();
    assert_eq!(next(&mut signals).await, Signal::Ended { key: key(2), reason: Reason::ReplacedByOtherUser });
    store.insert(key(4), &row_with(&[term(1)]), Some(&limit)).await.unwrap();
    assert_eq!(next(&mut signals).await, Signal::Ended { key: key(3), reason: Reason::Limit });
    store.remove(key(4), Reason::Logout).await.unwrap();
    assert_eq!(next(&mut signals).await, Signal::Ended { key: key(4), reason: Reason::Logout });
    store.insert(key(5), &row(), None).await.unwrap();
    store.remove_if(key(5), 1, Reason::RefreshRefused).await.unwrap();
    assert_eq!(next(&mut signals).await, Signal::Ended { key: key(5), reason: Reason::RefreshRefused });
    store.insert(key(6), &row_with(&[term(2)]), None).await.unwrap();
    let targets = vec![EndingTarget { all_of: vec![term(2)], issued_not_after: None }];
    store.end_matching(&Ending { targets, tombstones: vec![], reason: Reason::ProviderLogout }).await.unwrap();
    assert_eq!(next(&mut signals).await, Signal::Ended { key: key(6), reason: Reason::ProviderLogout });
}

/// What changes nothing tells nothing.
pub async fn a_release_is_told_once(store: Arc<dyn SessionBackend>) {
    store.insert(key(1), &row(), None).await.unwrap();
    let mut signals = store.watch();
    let Taken::Taken(lease) = store.take_lease(key(1), 1, MINUTE).await.unwrap() else { panic!("the lease is free") };
    store.release_lease(&lease).await.unwrap();
    store.release_lease(&lease).await.unwrap();
    store.swap_tokens(key(1), 9, b"stale", LeaseAfter::Keep).await.unwrap();
    store.remove(key(9), Reason::Logout).await.unwrap();
    store.remove(key(1), Reason::Logout).await.unwrap();
    assert_eq!(next(&mut signals).await, Signal::Released { key: key(1) });
    assert_eq!(next(&mut signals).await, Signal::Ended { key: key(1), reason: Reason::Logout });
}
