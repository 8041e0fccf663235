//! One row at a time.

use bytes::Bytes;

use std::sync::Arc;
use std::time::Duration;

use super::{MINUTE, MS, is_there, key, keys, row, row_with, term, until};
use crate::store::{Inserted, LeaseAfter, NewRow, Reason, Reseal, SessionBackend, Swapped, Taken, Updated};

/// What was written is there, at version 1.
pub async fn a_new_row_is_read_back(store: Arc<dyn SessionBackend>) {
    assert_eq!(store.load(key(1)).await.unwrap(), None);
    let row = row();
    assert_eq!(store.insert(key(1), &row, None).await.unwrap(), Inserted::Inserted { evicted: vec![] });
    let read = store.load(key(1)).await.unwrap().unwrap();
    assert_eq!((&*read.session, &*read.tokens, &*read.card), (&*row.session, &*row.tokens, &*row.card));
    assert_eq!((read.tokens_version, read.issued_at, read.retired), (1, row.issued_at, false));
    assert!(read.expires_in <= row.live_for && read.expires_in > row.live_for / 2, "{:?}", read.expires_in);
    assert!(!is_there(&*store, key(2)).await);
}

/// A key that is taken stays what it is.
pub async fn insert_never_overwrites(store: Arc<dyn SessionBackend>) {
    store.insert(key(1), &row_with(&[term(1)]), None).await.unwrap();
    let other = NewRow { session: b"other".to_vec(), ..row_with(&[term(2)]) };
    assert_eq!(store.insert(key(1), &other, None).await.unwrap(), Inserted::Exists);
    assert_eq!(store.load(key(1)).await.unwrap().unwrap().session, &b"session"[..]);
    assert_eq!(store.list_matching(&[term(2)]).await.unwrap(), []);
}

/// Swept or not, what has expired is not there.
pub async fn an_expired_row_is_gone_for_every_verb(store: Arc<dyn SessionBackend>) {
    let dead = NewRow { live_for: Duration::ZERO, ..row_with(&[term(1)]) };
    store.insert(key(1), &dead, None).await.unwrap();
    assert_eq!(store.load(key(1)).await.unwrap(), None);
    assert_eq!(store.touch(key(1), MINUTE, b"late", None).await.unwrap(), Updated::Gone);
    assert_eq!(store.swap_tokens(key(1), 1, b"late", LeaseAfter::Keep).await.unwrap(), Swapped::Gone);
    assert_eq!(store.take_lease(key(1), 1, MINUTE).await.unwrap(), Taken::Gone);
    assert_eq!(store.remove_if(key(1), 1, Reason::Logout).await.unwrap(), Updated::Gone);
    assert_eq!(store.list_matching(&[term(1)]).await.unwrap(), []);
    assert_eq!(store.scan(super::Cursor::default()).await.unwrap().rows, []);
    assert_eq!(store.remove(key(1), Reason::Logout).await.unwrap(), None);
}

/// A row disappears when its time is over, and not before.
pub async fn a_row_lives_by_the_stores_time(store: Arc<dyn SessionBackend>) {
    store.insert(key(1), &NewRow { live_for: 50 * MS, ..row() }, None).await.unwrap();
    store.insert(key(2), &row(), None).await.unwrap();
    until(async || !is_there(&*store, key(1)).await).await;
    assert!(is_there(&*store, key(2)).await);
}

/// The tokens half and the card stay as they are.
pub async fn a_touch_writes_the_session_half_alone_and_extends_the_life(store: Arc<dyn SessionBackend>) {
    store.insert(key(1), &row(), None).await.unwrap();
    assert_eq!(store.touch(key(1), 60 * MINUTE, b"touched", None).await.unwrap(), Updated::Updated);
    let read = store.load(key(1)).await.unwrap().unwrap();
    assert_eq!(
        (read.session, read.tokens, read.card),
        (Bytes::from_static(b"touched"), Bytes::from_static(b"tokens"), Bytes::from_static(b"card"))
    );
    assert_eq!(read.tokens_version, 1);
    assert!(read.expires_in > 59 * MINUTE, "{:?}", read.expires_in);
}

/// A logged-out session stays gone.
pub async fn a_late_touch_does_not_bring_a_removed_row_back(store: Arc<dyn SessionBackend>) {
    store.insert(key(1), &row_with(&[term(1)]), None).await.unwrap();
    store.remove(key(1), Reason::Logout).await.unwrap();
    let reseal = Reseal { card: b"card".to_vec(), terms: vec![term(1)], tokens: Some((1, b"tokens".to_vec())) };
    assert_eq!(store.touch(key(1), MINUTE, b"late", Some(&reseal)).await.unwrap(), Updated::Gone);
    assert!(!is_there(&*store, key(1)).await);
    assert_eq!(store.list_matching(&[term(1)]).await.unwrap(), []);
}

/// After a rotation of keys: everything anew, the version as it was.
pub async fn a_reseal_writes_card_terms_and_tokens_at_the_same_version(store: Arc<dyn SessionBackend>) {
    store.insert(key(1), &row_with(&[term(1), term(2)]), None).await.unwrap();
    let reseal =
        Reseal { card: b"new card".to_vec(), terms: vec![term(2), term(3)], tokens: Some((1, b"new tokens".to_vec())) };
    assert_eq!(store.touch(key(1), MINUTE, b"new session", Some(&reseal)).await.unwrap(), Updated::Updated);
    let read = store.load(key(1)).await.unwrap().unwrap();
    assert_eq!((read.session, read.tokens), (Bytes::from_static(b"new session"), Bytes::from_static(b"new tokens")));
    assert_eq!((read.card, read.tokens_version), (Bytes::from_static(b"new card"), 1));
    assert_eq!(store.list_matching(&[term(1)]).await.unwrap(), []);
    for term in [term(2), term(3)] {
        assert_eq!(keys(&store.list_matching(&[term]).await.unwrap()), [key(1)]);
    }
}

/// Tokens that were swapped since the row was read are not put back.
pub async fn a_reseal_leaves_newer_tokens_alone(store: Arc<dyn SessionBackend>) {
    store.insert(key(1), &row(), None).await.unwrap();
    store.swap_tokens(key(1), 1, b"rotated", LeaseAfter::Keep).await.unwrap();
    let reseal = Reseal { card: b"new card".to_vec(), terms: vec![], tokens: Some((1, b"stale".to_vec())) };
    assert_eq!(store.touch(key(1), MINUTE, b"touched", Some(&reseal)).await.unwrap(), Updated::Updated);
    let read = store.load(key(1)).await.unwrap().unwrap();
    assert_eq!(
        (read.tokens, read.tokens_version, read.card),
        (Bytes::from_static(b"rotated"), 2, Bytes::from_static(b"new card"))
    );
}

/// So that the newest refresh token can be revoked.
pub async fn remove_answers_the_newest_row(store: Arc<dyn SessionBackend>) {
    store.insert(key(1), &row_with(&[term(1)]), None).await.unwrap();
    store.swap_tokens(key(1), 1, b"rotated", LeaseAfter::Keep).await.unwrap();
    let removed = store.remove(key(1), Reason::Logout).await.unwrap().unwrap();
    assert_eq!((removed.tokens, removed.tokens_version), (Bytes::from_static(b"rotated"), 2));
    assert!(!is_there(&*store, key(1)).await);
    assert_eq!(store.list_matching(&[term(1)]).await.unwrap(), []);
    assert_eq!(store.remove(key(1), Reason::Logout).await.unwrap(), None);
}

/// A refused refresh ends a session only if nobody refreshed it meanwhile.
pub async fn remove_if_leaves_a_row_at_another_version(store: Arc<dyn SessionBackend>) {
    store.insert(key(1), &row(), None).await.unwrap();
    store.swap_tokens(key(1), 1, b"rotated", LeaseAfter::Keep).await.unwrap();
    assert_eq!(store.remove_if(key(1), 1, Reason::RefreshRefused).await.unwrap(), Updated::Moved);
    assert!(is_there(&*store, key(1)).await);
    assert_eq!(store.remove_if(key(1), 2, Reason::RefreshRefused).await.unwrap(), Updated::Updated);
    assert!(!is_there(&*store, key(1)).await);
    assert_eq!(store.remove_if(key(1), 2, Reason::RefreshRefused).await.unwrap(), Updated::Gone);
}

/// A closed tab drops the handler's future anywhere; row and terms are there together or not at all, and the store goes on.
pub async fn a_caller_that_leaves_leaves_nothing_half_done(store: Arc<dyn SessionBackend>) {
    for n in 0..60 {
        let inserting = store.clone();
        let caller = tokio::spawn(async move { inserting.insert(key(n), &row_with(&[term(1), term(2)]), None).await });
        tokio::time::sleep(Duration::from_micros(u64::from(n) * 20)).await;
        caller.abort();
        let _ = caller.await;
    }
    store.insert(key(100), &row_with(&[term(1), term(2)]), None).await.unwrap();
    // A store may finish what nobody waits for any more; soon it has.
    until(async || {
        let listed = keys(&store.list_matching(&[term(1)]).await.unwrap());
        let mut is_whole = listed == keys(&store.list_matching(&[term(2)]).await.unwrap());
        for n in 0..60 {
            is_whole &= is_there(&*store, key(n)).await == listed.contains(&key(n));
        }
        is_whole && listed.contains(&key(100))
    })
    .await;
}
