//! The tokens half: written by version, apart from the session half.

use bytes::Bytes;

use std::sync::Arc;

use futures_util::future::join_all;

use super::{MINUTE, is_there, key, row};
use crate::store::{LeaseAfter, Reason, SessionBackend, Swapped, Updated};

/// And the version counts.
pub async fn a_swap_writes_the_tokens_half_alone(store: Arc<dyn SessionBackend>) {
    store.insert(key(1), &row(), None).await.unwrap();
    assert_eq!(store.swap_tokens(key(1), 1, b"rotated", LeaseAfter::Keep).await.unwrap(), Swapped::Swapped);
    let read = store.load(key(1)).await.unwrap().unwrap();
    assert_eq!((read.session, read.tokens), (Bytes::from_static(b"session"), Bytes::from_static(b"rotated")));
    assert_eq!(read.tokens_version, 2);
    for stale in [0, 1, 3, u64::MAX] {
        assert_eq!(store.swap_tokens(key(1), stale, b"stale", LeaseAfter::Release).await.unwrap(), Swapped::Moved);
    }
    assert_eq!(store.load(key(1)).await.unwrap().unwrap().tokens, &b"rotated"[..]);
}

/// Fifty writers at one version.
pub async fn of_many_swaps_one_wins(store: Arc<dyn SessionBackend>) {
    store.insert(key(1), &row(), None).await.unwrap();
    let racers = (0..50u8).map(|n| {
        let store = store.clone();
        tokio::spawn(async move { (n, store.swap_tokens(key(1), 1, &[n], LeaseAfter::Keep).await.unwrap()) })
    });
    let outcomes: Vec<_> = join_all(racers).await.into_iter().map(Result::unwrap).collect();
    let winners: Vec<u8> =
        outcomes.iter().filter(|(_, outcome)| *outcome == Swapped::Swapped).map(|&(n, _)| n).collect();
    assert_eq!(outcomes.iter().filter(|(_, outcome)| *outcome == Swapped::Moved).count(), 49);
    let read = store.load(key(1)).await.unwrap().unwrap();
    assert_eq!((read.tokens, read.tokens_version), (winners.into(), 2));
}

/// Logout won: the caller must revoke what it got.
pub async fn a_swap_of_a_missing_row_is_gone(store: Arc<dyn SessionBackend>) {
    assert_eq!(store.swap_tokens(key(1), 1, b"late", LeaseAfter::Keep).await.unwrap(), Swapped::Gone);
    assert!(!is_there(&*store, key(1)).await);
}

/// The halves do not overwrite each other.
pub async fn touches_and_swaps_at_once_lose_nothing(store: Arc<dyn SessionBackend>) {
    store.insert(key(1), &row(), None).await.unwrap();
    let touching = store.clone();
    let touches = tokio::spawn(async move {
        for n in 0..50u8 {
            assert_eq!(touching.touch(key(1), MINUTE, &[n], None).await.unwrap(), Updated::Updated);
        }
    });
    for version in 1..=50u8 {
        let swapped = store.swap_tokens(key(1), version.into(), &[version], LeaseAfter::Keep).await.unwrap();
        assert_eq!(swapped, Swapped::Swapped);
    }
    touches.await.unwrap();
    let read = store.load(key(1)).await.unwrap().unwrap();
    assert_eq!((read.session, read.tokens, read.tokens_version), (vec![49].into(), vec![50].into(), 51));
}

/// A logout in the middle of refreshes ends them all.
pub async fn a_swap_never_brings_a_removed_row_back(store: Arc<dyn SessionBackend>) {
    store.insert(key(1), &row(), None).await.unwrap();
    let swapping = store.clone();
    let swaps = tokio::spawn(async move {
        let mut version = 1;
        while swapping.swap_tokens(key(1), version, b"rotated", LeaseAfter::Keep).await.unwrap() == Swapped::Swapped {
            version += 1;
        }
        version
    });
    super::until(async || store.load(key(1)).await.unwrap().unwrap().tokens_version > 3).await;
    let removed = store.remove(key(1), Reason::Logout).await.unwrap().unwrap();
    assert_eq!(swaps.await.unwrap(), removed.tokens_version, "the row that was removed is the newest");
    assert!(!is_there(&*store, key(1)).await);
}
