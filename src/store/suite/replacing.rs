//! A login on top of a session.

use bytes::Bytes;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::{MINUTE, MS, is_there, key, keys, row, row_with, term, until};
use crate::store::{Inserted, LeaseAfter, NewRow, Reason, Replaced, SessionBackend, Swapped, Taken, Updated};

/// Requests under way with the old cookie still get an answer, but change nothing.
pub async fn the_new_row_is_there_and_the_old_one_answers_load_only(store: Arc<dyn SessionBackend>) {
    store.insert(key(1), &row_with(&[term(1)]), None).await.unwrap();
    let before = store.load(key(1)).await.unwrap().unwrap();
    let replaced = store.replace(key(1), MINUTE, key(2), &row_with(&[term(1)]), None).await.unwrap();
    let Replaced::Replaced { old: Some(old), evicted } = replaced else { panic!("{replaced:?}") };
    assert_eq!((old.tokens, old.retired, evicted), (before.tokens, false, vec![]));
    assert!(store.load(key(1)).await.unwrap().unwrap().retired);
    assert!(!store.load(key(2)).await.unwrap().unwrap().retired);
    assert_eq!(store.touch(key(1), MINUTE, b"late", None).await.unwrap(), Updated::Gone);
    assert_eq!(store.swap_tokens(key(1), 1, b"late", LeaseAfter::Keep).await.unwrap(), Swapped::Gone);
    assert_eq!(store.take_lease(key(1), 1, MINUTE).await.unwrap(), Taken::Gone);
    assert_eq!(store.remove_if(key(1), 1, Reason::RefreshRefused).await.unwrap(), Updated::Gone);
    assert_eq!(keys(&store.list_matching(&[term(1)]).await.unwrap()), [key(2)]);
    let read = store.load(key(1)).await.unwrap().unwrap();
    assert_eq!((read.session, read.tokens), (Bytes::from_static(b"session"), Bytes::from_static(b"tokens")));
}

/// When its time is over, not before; and never later than it would have.
pub async fn a_retired_row_disappears(store: Arc<dyn SessionBackend>) {
    store.insert(key(1), &row(), None).await.unwrap();
    store.insert(key(3), &NewRow { live_for: 50 * MS, ..row() }, None).await.unwrap();
    store.replace(key(1), 50 * MS, key(2), &row(), None).await.unwrap();
    store.replace(key(3), MINUTE, key(4), &row(), None).await.unwrap();
    until(async || !is_there(&*store, key(1)).await && !is_there(&*store, key(3)).await).await;
    assert!(is_there(&*store, key(2)).await && is_there(&*store, key(4)).await);
}

/// A logout takes the predecessor too.
pub async fn a_retired_row_can_be_removed(store: Arc<dyn SessionBackend>) {
    store.insert(key(1), &row(), None).await.unwrap();
    store.replace(key(1), MINUTE, key(2), &row(), None).await.unwrap();
    assert!(store.remove(key(1), Reason::Logout).await.unwrap().unwrap().retired);
    assert!(!is_there(&*store, key(1)).await);
}

/// Somebody else logged in: the first person's session is over, and comes back for its tokens to be revoked.
pub async fn without_a_time_to_retire_the_old_row_is_removed(store: Arc<dyn SessionBackend>) {
    store.insert(key(1), &row_with(&[term(1)]), None).await.unwrap();
    let replaced = store.replace(key(1), Duration::ZERO, key(2), &row_with(&[term(2)]), None).await.unwrap();
    assert!(matches!(replaced, Replaced::Replaced { old: Some(_), .. }), "{replaced:?}");
    assert!(!is_there(&*store, key(1)).await);
    assert!(is_there(&*store, key(2)).await);
}

/// The login counts all the same.
pub async fn an_old_row_that_is_gone_is_no_error(store: Arc<dyn SessionBackend>) {
    let replaced = store.replace(key(1), MINUTE, key(2), &row(), None).await.unwrap();
    assert_eq!(replaced, Replaced::Replaced { old: None, evicted: vec![] });
    assert!(!is_there(&*store, key(1)).await);
    assert!(is_there(&*store, key(2)).await);
}

/// Its time is not extended, and it is not answered twice.
pub async fn a_retired_row_is_not_replaced_again(store: Arc<dyn SessionBackend>) {
    store.insert(key(1), &row(), None).await.unwrap();
    store.replace(key(1), 50 * MS, key(2), &row(), None).await.unwrap();
    let again = store.replace(key(1), MINUTE, key(3), &row(), None).await.unwrap();
    assert_eq!(again, Replaced::Replaced { old: None, evicted: vec![] });
    until(async || !is_there(&*store, key(1)).await).await;
}

/// Neither the row that is there nor the one to be replaced is changed.
pub async fn replace_never_overwrites(store: Arc<dyn SessionBackend>) {
    store.insert(key(1), &row(), None).await.unwrap();
    store.insert(key(2), &row(), None).await.unwrap();
    let other = NewRow { session: b"other".to_vec(), ..row() };
    assert_eq!(store.replace(key(1), MINUTE, key(2), &other, None).await.unwrap(), Replaced::Exists);
    assert_eq!(store.load(key(2)).await.unwrap().unwrap().session, &b"session"[..]);
    assert!(!store.load(key(1)).await.unwrap().unwrap().retired);
}

/// Two tabs log in at once.
pub async fn of_many_replacements_one_gets_the_old_row(store: Arc<dyn SessionBackend>) {
    assert_eq!(store.insert(key(1), &row(), None).await.unwrap(), Inserted::Inserted { evicted: vec![] });
    let racers = (2..22).map(|n| {
        let store = store.clone();
        tokio::spawn(async move { store.replace(key(1), MINUTE, key(n), &row(), None).await })
    });
    let winners = join_all(racers)
        .await
        .into_iter()
        .filter(|outcome| matches!(outcome, Ok(Ok(Replaced::Replaced { old: Some(_), .. }))));
    assert_eq!(winners.count(), 1);
}
