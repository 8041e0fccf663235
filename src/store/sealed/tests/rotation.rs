//! Which key a row is under while keys rotate, and replicas with them.

use super::*;

/// Touches a session and asserts that its whole row opens without the old key afterwards.
async fn touch_seals_all_under_2(backend: &Arc<dyn SessionBackend>, id: &SessionId, tokens: &[u8]) {
    let rotated = store_on(backend, &[2, 1]);
    let session = rotated.load(id).await.unwrap().unwrap();
    rotated.touch(&session, b"who else", MINUTE, TERMS).await.unwrap();
    let row = backend.load(id.key()).await.unwrap().unwrap();
    assert!([&row.session, &row.tokens, &row.card].into_iter().all(|blob| ring(&[2]).is_current(blob)));
    let session = store_on(backend, &[2]).load(id).await.unwrap().unwrap();
    assert_eq!(
        (session.session().unwrap().expose().as_slice(), session.tokens().unwrap().expose().as_slice()),
        (&b"who else"[..], tokens)
    );
    let terms = store_on(backend, &[2]).index_keys(Term::Sid("s1"));
    assert!(backend.list_matching(&terms).await.unwrap().iter().any(|row| row.key == id.key()));
}

#[tokio::test]
async fn a_row_of_which_one_half_is_new_already_is_sealed_anew_as_a_whole() {
    let backend = memory();
    let (before, rotated) = (store_on(&backend, &[1]), store_on(&backend, &[2, 1]));
    let session_is_new = opened(&before).await;
    rotated.write_session(&session_is_new, b"who", MINUTE, None).await.unwrap();
    touch_seals_all_under_2(&backend, &session_is_new, b"what").await;

    let tokens_are_new = opened(&before).await;
    rotated.swap_tokens(&tokens_are_new, 1, b"renewed", LeaseAfter::Keep).await.unwrap();
    touch_seals_all_under_2(&backend, &tokens_are_new, b"renewed").await;
}

#[tokio::test]
async fn tokens_that_a_replica_behind_has_renewed_are_sealed_anew() {
    let backend = memory();
    let (behind, rotated) = (store_on(&backend, &[1, 2]), store_on(&backend, &[2, 1]));
    let id = opened(&rotated).await;
    behind.swap_tokens(&id, 1, b"renewed", LeaseAfter::Keep).await.unwrap();
    touch_seals_all_under_2(&backend, &id, b"renewed").await;
}

#[tokio::test]
async fn a_reseal_that_meets_a_renewal_keeps_the_renewed_tokens() {
    let backend = memory();
    let id = opened(&store_on(&backend, &[1])).await;
    let rotated = store_on(&backend, &[2, 1]);
    let read_before = rotated.load(&id).await.unwrap().unwrap();
    rotated.swap_tokens(&id, 1, b"renewed", LeaseAfter::Keep).await.unwrap();
    assert_eq!(rotated.touch(&read_before, b"who", MINUTE, TERMS).await.unwrap(), Updated::Updated);
    touch_seals_all_under_2(&backend, &id, b"renewed").await;
}

#[tokio::test]
async fn a_ring_that_is_exchanged_is_used_by_every_view_at_once() {
    let backend = memory();
    let live = LiveKeyring::from(ring(&[1]));
    let view = |name| SealedStore::new(backend.clone(), live.clone(), scope(name), breaker());
    let (shop, admin) = (view("shop"), view("admin"));
    let (hers, his) = (opened(&shop).await, opened(&admin).await);
    let read_before = shop.load(&hers).await.unwrap().unwrap();
    live.exchange(Keyring::new(vec![MasterKey::from_bytes([2; 32])]).unwrap());
    assert!(is_unavailable(session_of(&shop, &hers).await) && is_unavailable(session_of(&admin, &his).await));
    assert!(is_unavailable(read_before.tokens()));
    live.exchange(Keyring::new(vec![MasterKey::from_bytes([2; 32]), MasterKey::from_bytes([1; 32])]).unwrap());
    assert_eq!(read_before.tokens().unwrap().expose(), b"what");
    assert!(admin.load(&his).await.unwrap().is_some());
}
