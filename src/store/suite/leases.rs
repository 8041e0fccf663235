//! The right to use one refresh token.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::{MINUTE, MS, key, row, until};
use crate::store::{Lease, LeaseAfter, Reason, SessionBackend, Swapped, Taken, Updated};

async fn take(store: &dyn SessionBackend, version: u64, ttl: Duration) -> Lease {
    match store.take_lease(key(1), version, ttl).await.unwrap() {
        Taken::Taken(lease) => lease,
        other => panic!("{other:?}"),
    }
}

/// And is told for how long at most.
pub async fn a_second_holder_waits(store: Arc<dyn SessionBackend>) {
    store.insert(key(1), &row(), None).await.unwrap();
    let lease = take(&*store, 1, MINUTE).await;
    assert_eq!((lease.key, lease.version, lease.after_expiry), (key(1), 1, false));
    let second = store.take_lease(key(1), 1, MINUTE).await.unwrap();
    assert!(matches!(second, Taken::Held(wait) if !wait.is_zero() && wait <= MINUTE), "{second:?}");
}

/// Its holder may have sent the token, so the next one is warned.
pub async fn a_lease_that_ran_out_is_taken_over(store: Arc<dyn SessionBackend>) {
    store.insert(key(1), &row(), None).await.unwrap();
    let first = take(&*store, 1, 20 * MS).await;
    until(async || match store.take_lease(key(1), 1, MINUTE).await.unwrap() {
        Taken::Taken(second) => {
            assert!(second.after_expiry);
            assert_ne!(second.owner, first.owner);
            true
        }
        _ => false,
    })
    .await;
    assert_eq!(store.renew_lease(&first, MINUTE).await.unwrap(), Updated::Moved);
    store.release_lease(&first).await.unwrap();
    assert!(
        matches!(store.take_lease(key(1), 1, MINUTE).await.unwrap(), Taken::Held(_)),
        "a late release frees nothing"
    );
}

/// Without a warning.
pub async fn a_lease_given_back_is_free(store: Arc<dyn SessionBackend>) {
    store.insert(key(1), &row(), None).await.unwrap();
    let first = take(&*store, 1, MINUTE).await;
    store.release_lease(&first).await.unwrap();
    let second = take(&*store, 1, MINUTE).await;
    assert!(!second.after_expiry);
    assert_eq!(store.renew_lease(&first, MINUTE).await.unwrap(), Updated::Moved);
}

/// Whoever read an older version must read again.
pub async fn a_lease_is_for_one_version(store: Arc<dyn SessionBackend>) {
    assert_eq!(store.take_lease(key(1), 1, MINUTE).await.unwrap(), Taken::Gone);
    store.insert(key(1), &row(), None).await.unwrap();
    for version in [0, 2, u64::MAX] {
        assert_eq!(store.take_lease(key(1), version, MINUTE).await.unwrap(), Taken::Moved);
    }
}

/// As often as its holder likes.
pub async fn a_lease_can_be_renewed(store: Arc<dyn SessionBackend>) {
    store.insert(key(1), &row(), None).await.unwrap();
    let lease = take(&*store, 1, 10 * MINUTE).await;
    assert_eq!(store.renew_lease(&lease, 60 * MINUTE).await.unwrap(), Updated::Updated);
    let other = store.take_lease(key(1), 1, MINUTE).await.unwrap();
    assert!(matches!(other, Taken::Held(wait) if wait > 59 * MINUTE), "{other:?}");
}

/// By time, by a swap, by the end of its row.
pub async fn a_lost_lease_is_not_renewed(store: Arc<dyn SessionBackend>) {
    store.insert(key(1), &row(), None).await.unwrap();
    let expired = take(&*store, 1, Duration::ZERO).await;
    assert_eq!(store.renew_lease(&expired, MINUTE).await.unwrap(), Updated::Moved);
    let overtaken = take(&*store, 1, MINUTE).await;
    assert_eq!(store.swap_tokens(key(1), 1, b"rotated", LeaseAfter::Keep).await.unwrap(), Swapped::Swapped);
    assert_eq!(store.renew_lease(&overtaken, MINUTE).await.unwrap(), Updated::Moved);
    store.remove(key(1), Reason::Logout).await.unwrap();
    assert_eq!(store.renew_lease(&overtaken, MINUTE).await.unwrap(), Updated::Gone);
    store.release_lease(&overtaken).await.unwrap();
}

/// A kept lease goes on at the new version.
pub async fn a_swap_keeps_or_releases_the_lease(store: Arc<dyn SessionBackend>) {
    store.insert(key(1), &row(), None).await.unwrap();
    let lease = take(&*store, 1, MINUTE).await;
    store.swap_tokens(key(1), 1, b"suspect", LeaseAfter::Keep).await.unwrap();
    assert!(matches!(store.take_lease(key(1), 2, MINUTE).await.unwrap(), Taken::Held(_)));
    let lease = Lease { version: 2, ..lease };
    assert_eq!(store.renew_lease(&lease, MINUTE).await.unwrap(), Updated::Updated);
    store.swap_tokens(key(1), 2, b"rotated", LeaseAfter::Release).await.unwrap();
    assert!(!take(&*store, 3, MINUTE).await.after_expiry);
}

/// A stranger's release is no error and frees nothing.
pub async fn only_the_owner_gives_a_lease_back(store: Arc<dyn SessionBackend>) {
    store.insert(key(1), &row(), None).await.unwrap();
    let lease = take(&*store, 1, MINUTE).await;
    store.release_lease(&Lease::new(key(1), 1, false)).await.unwrap();
    assert_eq!(store.renew_lease(&Lease::new(key(1), 1, false), MINUTE).await.unwrap(), Updated::Moved);
    assert_eq!(store.renew_lease(&lease, MINUTE).await.unwrap(), Updated::Updated);
}

/// One refresh per rotation.
pub async fn of_many_takers_one_gets_the_lease(store: Arc<dyn SessionBackend>) {
    store.insert(key(1), &row(), None).await.unwrap();
    let racers = (0..50).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.take_lease(key(1), 1, MINUTE).await.unwrap() })
    });
    let outcomes: Vec<Taken> = join_all(racers).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(outcomes.iter().filter(|taken| matches!(taken, Taken::Taken(_))).count(), 1);
    assert_eq!(outcomes.iter().filter(|taken| matches!(taken, Taken::Held(_))).count(), 49);
}
