//! Small things that are used once.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::{MINUTE, MS, digest, until};
use crate::store::{Claimed, SessionBackend};

/// A state is redeemed once, however often it is sent.
pub async fn of_many_claims_one_is_first(store: Arc<dyn SessionBackend>) {
    let racers = (0..50).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.claim(digest(1), MINUTE).await.unwrap() })
    });
    let outcomes: Vec<Claimed> = join_all(racers).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(outcomes.iter().filter(|claimed| **claimed == Claimed::First).count(), 1);
    assert_eq!(store.claim(digest(2), MINUTE).await.unwrap(), Claimed::First);
}

/// When nothing was sent.
pub async fn a_claim_can_be_taken_back(store: Arc<dyn SessionBackend>) {
    assert_eq!(store.claim(digest(1), MINUTE).await.unwrap(), Claimed::First);
    store.unclaim(digest(1)).await.unwrap();
    assert_eq!(store.claim(digest(1), MINUTE).await.unwrap(), Claimed::First);
    assert_eq!(store.claim(digest(1), MINUTE).await.unwrap(), Claimed::Already);
    store.unclaim(digest(2)).await.unwrap();
}

/// Swept or not.
pub async fn a_claim_runs_out(store: Arc<dyn SessionBackend>) {
    assert_eq!(store.claim(digest(1), 20 * MS).await.unwrap(), Claimed::First);
    assert_eq!(store.claim(digest(2), Duration::ZERO).await.unwrap(), Claimed::First);
    assert_eq!(store.claim(digest(3), MINUTE).await.unwrap(), Claimed::First);
    until(async || store.claim(digest(1), MINUTE).await.unwrap() == Claimed::First).await;
    store.remove_expired().await.unwrap();
    assert_eq!(store.claim(digest(2), MINUTE).await.unwrap(), Claimed::First);
    assert_eq!(store.claim(digest(3), MINUTE).await.unwrap(), Claimed::Already);
}

/// A handle works once.
pub async fn of_many_readers_one_gets_the_value(store: Arc<dyn SessionBackend>) {
    store.put_once(digest(1), b"value", MINUTE).await.unwrap();
    store.put_once(digest(2), b"other", MINUTE).await.unwrap();
    let racers = (0..50).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.take_once(digest(1)).await.unwrap() })
    });
    let values: Vec<Vec<u8>> = join_all(racers).await.into_iter().filter_map(Result::unwrap).collect();
    assert_eq!(values, [b"value".to_vec()]);
    assert_eq!(store.take_once(digest(3)).await.unwrap(), None);
    assert_eq!(store.take_once(digest(2)).await.unwrap(), Some(b"other".to_vec()));
}

/// With its value and its time.
pub async fn a_value_is_written_over(store: Arc<dyn SessionBackend>) {
    store.put_once(digest(1), b"value", Duration::ZERO).await.unwrap();
    store.put_once(digest(1), b"", MINUTE).await.unwrap();
    assert_eq!(store.take_once(digest(1)).await.unwrap(), Some(Vec::new()));
    store.put_once(digest(1), b"value", MINUTE).await.unwrap();
    store.put_once(digest(1), b"other", MINUTE).await.unwrap();
    assert_eq!(store.take_once(digest(1)).await.unwrap(), Some(b"other".to_vec()));
    assert_eq!(store.take_once(digest(1)).await.unwrap(), None);
}

/// Swept or not.
pub async fn a_value_runs_out(store: Arc<dyn SessionBackend>) {
    store.put_once(digest(1), b"value", Duration::ZERO).await.unwrap();
    store.put_once(digest(2), b"value", Duration::ZERO).await.unwrap();
    store.put_once(digest(3), b"value", MINUTE).await.unwrap();
    assert_eq!(store.take_once(digest(1)).await.unwrap(), None);
    store.remove_expired().await.unwrap();
    assert_eq!(store.take_once(digest(2)).await.unwrap(), None);
    assert_eq!(store.take_once(digest(3)).await.unwrap(), Some(b"value".to_vec()));
}

/// Also when it is empty.
pub async fn the_store_answers(store: Arc<dyn SessionBackend>) {
    store.ping().await.unwrap();
}
