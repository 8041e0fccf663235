//! Rows on their way from one store to another.

use std::sync::Arc;
use std::time::Duration;

use super::{MINUTE, is_there, key, row, row_with, term};
use crate::clock::Timestamp;
use crate::store::{Exported, LeaseAfter, MemoryBackend, SessionBackend, Swapped, Taken};

/// A row goes to another store and comes back whole, with its version, its terms and its times, and then works like any other.
pub async fn a_row_moves_to_another_store_and_back(store: Arc<dyn SessionBackend>) {
    store.insert(key(1), &row_with(&[term(1), term(2)]), None).await.unwrap();
    store.swap_tokens(key(1), 1, b"newer", LeaseAfter::Release).await.unwrap();
    let out = store.export(key(1)).await.unwrap().unwrap();
    assert_eq!((out.tokens.as_slice(), out.tokens_version, out.terms.len()), (b"newer".as_slice(), 2, 2));
    assert!(out.expires_in <= MINUTE && out.expires_in > MINUTE / 2);
    let other = MemoryBackend::new();
    assert!(other.import(&out).await.unwrap());
    let mut back = other.export(key(1)).await.unwrap().unwrap();
    back.key = key(2);
    back.created_at = Timestamp::from_unix_seconds(5);
    assert!(store.import(&back).await.unwrap());
    let again = store.export(key(2)).await.unwrap().unwrap();
    let expected = Exported { expires_in: again.expires_in, terms: again.terms.clone(), ..back.clone() };
    assert_eq!(again, expected);
    let listed = store.list_matching(&[term(2)]).await.unwrap();
    assert_eq!(listed.len(), 2, "found by its terms like any other");
    assert!(matches!(store.take_lease(key(2), 2, MINUTE).await.unwrap(), Taken::Taken(lease) if !lease.after_expiry));
    assert_eq!(store.swap_tokens(key(2), 2, b"newest", LeaseAfter::Release).await.unwrap(), Swapped::Swapped);
}

/// What is not there, has expired or is retired is not exported.
pub async fn only_live_rows_are_exported(store: Arc<dyn SessionBackend>) {
    assert!(store.export(key(1)).await.unwrap().is_none());
    store.insert(key(1), &row(), None).await.unwrap();
    store.replace(key(1), MINUTE, key(2), &row(), None).await.unwrap();
    assert!(store.export(key(1)).await.unwrap().is_none());
    assert!(store.export(key(2)).await.unwrap().is_some());
}

/// A row that is there already is left alone.
pub async fn import_never_overwrites(store: Arc<dyn SessionBackend>) {
    store.insert(key(1), &row(), None).await.unwrap();
    let mut out = store.export(key(1)).await.unwrap().unwrap();
    out.session = b"other".to_vec();
    assert!(!store.import(&out).await.unwrap());
    assert_eq!(store.load(key(1)).await.unwrap().unwrap().session, &b"session"[..]);
    out.key = key(2);
    out.expires_in = Duration::ZERO;
    store.import(&out).await.unwrap();
    assert!(!is_there(&*store, key(2)).await, "one whose time is over is not there");
}
