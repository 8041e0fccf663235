mod rotation;

use super::*;
use crate::store::{Error, FlakyBackend, MasterKey, MemoryBackend, Outage};

const MINUTE: Duration = Duration::from_mins(1);
const TERMS: &[Term<'static>] = &[Term::Subject("alice"), Term::Sid("s1")];

fn ring(masters: &[u8]) -> Arc<Keyring> {
    let masters = masters.iter().map(|&byte| MasterKey::from_bytes([byte; 32])).collect();
    Arc::new(Keyring::new(masters).unwrap())
}

fn scope(frontend: &str) -> Scope {
    Scope { frontend: frontend.to_owned(), issuer: "https://id.example".to_owned(), client_id: "shop".to_owned() }
}

fn breaker() -> Arc<Breaker> {
    Arc::new(Breaker::new(MINUTE))
}

fn store_on(backend: &Arc<dyn SessionBackend>, masters: &[u8]) -> SealedStore {
    SealedStore::new(backend.clone(), ring(masters), scope("shop"), breaker())
}

fn memory() -> Arc<dyn SessionBackend> {
    Arc::new(MemoryBackend::new())
}

fn new_session() -> NewSession<'static> {
    NewSession {
        session: b"who",
        tokens: b"what",
        card: b"card",
        terms: TERMS,
        issued_at: Timestamp::from_unix_seconds(1000),
        live_for: MINUTE,
    }
}

async fn opened(store: &SealedStore) -> SessionId {
    let id = SessionId::random();
    let inserted = store.insert(&id, &new_session(), None).await.unwrap();
    assert_eq!(inserted, Inserted::Inserted { evicted: vec![] });
    id
}

fn is_corrupt<T>(outcome: Result<T>) -> bool {
    matches!(outcome.err(), Some(Error::Corrupt(_)))
}

fn is_unavailable<T>(outcome: Result<T>) -> bool {
    matches!(outcome.err(), Some(Error::Unavailable(_)))
}

/// The session half in clear.
async fn session_of(store: &SealedStore, id: &SessionId) -> Result<Secret<Vec<u8>>> {
    store.load(id).await?.expect("a row").session()
}

/// Writes a row as it was read under another key.
async fn copy(backend: &Arc<dyn SessionBackend>, row: Row, to: &SessionId) {
    let row = NewRow {
        terms: vec![],
        session: row.session.into(),
        tokens: row.tokens.into(),
        card: row.card.into(),
        issued_at: row.issued_at,
        live_for: MINUTE,
    };
    backend.insert(to.key(), &row, None).await.unwrap();
}

#[tokio::test]
async fn a_session_is_read_back_with_its_id_only() {
    let store = store_on(&memory(), &[1]);
    let id = opened(&store).await;
    let session = store.load(&id).await.unwrap().unwrap();
    assert_eq!(
        (session.session().unwrap().expose().as_slice(), session.tokens().unwrap().expose().as_slice()),
        (&b"who"[..], &b"what"[..])
    );
    assert_eq!((session.key, session.version, session.retired), (id.key(), 1, false));
    assert!(store.load(&SessionId::random()).await.unwrap().is_none());
}

#[tokio::test]
async fn a_dump_and_the_master_key_open_no_half_without_the_id() {
    let backend = memory();
    let id = opened(&store_on(&backend, &[1])).await;
    let row = backend.load(id.key()).await.unwrap().unwrap();
    let (key, ring) = (id.key(), ring(&[1]));
    let place: [&[u8]; 2] = [key.as_bytes(), b"shop"];
    let version = 1u64.to_be_bytes();
    let tokens_place = [place[0], place[1], &version];
    for guess in [SessionId::random(), SessionId::parse("AAAAAAAAAAAAAAAAAAAAAA").unwrap()] {
        let bits = guess.as_bytes();
        assert!(ring.open(Purpose::Session(bits), &place, &row.session).is_err());
        assert!(ring.open(Purpose::Tokens(bits), &tokens_place, &row.tokens).is_err());
    }
    assert!(ring.open(Purpose::Card, &place, &row.session).is_err());
    assert_eq!(ring.open(Purpose::Card, &place, &row.card).unwrap().expose(), b"card", "the card is for us");
    assert!(ring.open(Purpose::Session(id.as_bytes()), &place, &row.session).is_ok(), "with the id it opens");
}

#[tokio::test]
async fn a_blob_moved_to_another_row_or_half_is_corrupt() {
    let backend = memory();
    let store = store_on(&backend, &[1]);
    let id = opened(&store).await;
    let row = backend.load(id.key()).await.unwrap().unwrap();

    let other = SessionId::random();
    copy(&backend, row.clone(), &other).await;
    assert!(is_corrupt(session_of(&store, &other).await));

    backend.remove(id.key(), Reason::Admin).await.unwrap();
    let swapped = Row { session: row.tokens.clone(), tokens: row.session.clone(), ..row };
    copy(&backend, swapped, &id).await;
    assert!(is_corrupt(session_of(&store, &id).await));
}

#[tokio::test]
async fn a_session_of_another_frontend_is_corrupt() {
    let backend = memory();
    let id = opened(&store_on(&backend, &[1])).await;
    let admin = SealedStore::new(backend, ring(&[1]), scope("admin"), breaker());
    assert!(is_corrupt(session_of(&admin, &id).await));
}

#[tokio::test]
async fn old_tokens_put_back_at_a_later_version_are_corrupt() {
    let backend = memory();
    let store = store_on(&backend, &[1]);
    let id = opened(&store).await;
    let old = backend.load(id.key()).await.unwrap().unwrap().tokens;
    assert_eq!(store.swap_tokens(&id, 1, b"rotated", LeaseAfter::Keep).await.unwrap(), Swapped::Swapped);
    let session = store.load(&id).await.unwrap().unwrap();
    assert_eq!((session.version, session.tokens().unwrap().expose().as_slice()), (2, &b"rotated"[..]));
    backend.swap_tokens(id.key(), 2, &old, LeaseAfter::Keep).await.unwrap();
    let session = store.load(&id).await.unwrap().unwrap();
    assert_eq!(session.session().unwrap().expose().as_slice(), b"who");
    assert!(is_corrupt(session.tokens()));
}

#[tokio::test]
async fn a_flipped_bit_is_corrupt_and_an_unknown_key_is_unavailable() {
    let backend = memory();
    let store = store_on(&backend, &[1]);
    let id = opened(&store).await;
    assert!(is_unavailable(session_of(&store_on(&backend, &[2]), &id).await));
    let row = backend.remove(id.key(), Reason::Admin).await.unwrap().unwrap();
    let mut session = row.session.to_vec();
    *session.last_mut().unwrap() ^= 1;
    let row = Row { session: session.into(), ..row };
    copy(&backend, row, &id).await;
    assert!(is_corrupt(session_of(&store, &id).await));
    assert!(is_corrupt(store.remove(&id, Reason::Unreadable).await.unwrap().unwrap().session()));
    assert!(store.load(&id).await.unwrap().is_none(), "it has ended all the same");
}

#[tokio::test]
async fn removing_what_was_sealed_under_a_key_not_known_here_is_no_outage() {
    let backend = memory();
    let id = opened(&store_on(&backend, &[1])).await;
    let behind = store_on(&backend, &[2]);
    assert!(is_unavailable(session_of(&behind, &id).await));
    assert!(is_unavailable(behind.remove(&id, Reason::Logout).await.unwrap().unwrap().tokens()));
    assert!(behind.load(&id).await.unwrap().is_none());
}

#[tokio::test]
async fn after_a_rotation_a_touch_seals_the_whole_row_anew() {
    let backend = memory();
    let id = opened(&store_on(&backend, &[1])).await;
    let rotated = store_on(&backend, &[2, 1]);
    let session = rotated.load(&id).await.unwrap().unwrap();
    assert_eq!(rotated.touch(&session, b"who else", MINUTE, TERMS).await.unwrap(), Updated::Updated);

    let without_the_old_key = store_on(&backend, &[2]);
    let session = without_the_old_key.load(&id).await.unwrap().unwrap();
    assert_eq!(
        (session.session().unwrap().expose().as_slice(), session.tokens().unwrap().expose().as_slice()),
        (&b"who else"[..], &b"what"[..])
    );
    assert_eq!(session.version, 1);
    let listed = backend.list_matching(&without_the_old_key.index_keys(Term::Sid("s1"))).await.unwrap();
    let (key, ring) = (id.key(), ring(&[2]));
    let card = ring.open(Purpose::Card, &[key.as_bytes(), b"shop"], &listed[0].card).unwrap();
    assert_eq!((listed[0].key, card.expose().as_slice()), (key, &b"card"[..]));
}

#[tokio::test]
async fn terms_are_found_before_and_after_a_rotation() {
    let backend = memory();
    let (before, after) = (store_on(&backend, &[1]), store_on(&backend, &[2, 1]));
    let (old, new) = (opened(&before).await, opened(&after).await);
    let listed = backend.list_matching(&after.index_keys(Term::Subject("alice"))).await.unwrap();
    assert_eq!(listed.iter().map(|row| row.key).collect::<Vec<_>>(), [old.key(), new.key()]);
    assert_eq!(backend.list_matching(&after.index_keys(Term::Subject("bob"))).await.unwrap(), []);
    let one = NonZeroU32::new(1);
    let inserted = after.insert(&SessionId::random(), &new_session(), one).await.unwrap();
    assert_eq!(inserted, Inserted::Inserted { evicted: vec![old.key(), new.key()] });
}

#[tokio::test]
async fn a_touch_without_a_rotation_writes_the_session_half_alone() {
    let backend = memory();
    let store = store_on(&backend, &[1]);
    let id = opened(&store).await;
    let before = backend.load(id.key()).await.unwrap().unwrap();
    let session = store.load(&id).await.unwrap().unwrap();
    assert_eq!(store.touch(&session, b"who else", MINUTE, &[]).await.unwrap(), Updated::Updated);
    let after = backend.load(id.key()).await.unwrap().unwrap();
    assert_eq!((after.tokens, after.card), (before.tokens, before.card));
    assert_eq!(backend.list_matching(&store.index_keys(Term::Sid("s1"))).await.unwrap().len(), 1);
    assert_eq!(store.load(&id).await.unwrap().unwrap().session().unwrap().expose().as_slice(), b"who else");
}

#[tokio::test]
async fn terms_tell_kinds_issuers_and_clients_apart() {
    let backend = memory();
    let store = store_on(&backend, &[1]);
    let other = Scope { client_id: "other".to_owned(), ..scope("shop") };
    let other = SealedStore::new(backend.clone(), ring(&[1]), other, breaker());
    let terms = [Term::Subject("x"), Term::Sid("x"), Term::SubjectWithoutSid("x"), Term::Subject("y")];
    let keys: std::collections::BTreeSet<IndexKey> =
        terms.iter().flat_map(|term| [store.index_keys(*term), other.index_keys(*term)]).flatten().collect();
    assert_eq!(keys.len(), 2 * terms.len());
}

#[cfg(feature = "server")]
#[tokio::test]
async fn an_ending_finds_rows_and_logins_by_their_terms_under_every_key() {
    let backend = memory();
    let (before, after) = (store_on(&backend, &[1]), store_on(&backend, &[2, 1]));
    let ids = [opened(&before).await, opened(&after).await];
    let other = Scope { client_id: "other".to_owned(), ..scope("shop") };
    let other = SealedStore::new(backend.clone(), ring(&[2, 1]), other, breaker());
    let elsewhere = opened(&other).await;
    let end = async |all_of: &[Term<'_>], tombstones: &[(Term<'_>, Timestamp)]| {
        let target = TermTarget { all_of, issued_not_after: Some(Timestamp::from_unix_seconds(1000)) };
        let ending = TermEnding { targets: &[target], tombstones, reason: Reason::ProviderLogout };
        after.end_matching(&ending).await.unwrap()
    };
    for all_of in [&[][..], &[Term::Sid("s2")], &[Term::Subject("bob"), Term::Sid("s1")]] {
        assert_eq!(end(all_of, &[]).await, 0);
    }
    assert_eq!(end(TERMS, &[(Term::Sid("s1"), Timestamp::from_unix_seconds(1005))]).await, 2);
    for id in ids {
        assert!(after.load(&id).await.unwrap().is_none());
    }
    assert!(other.load(&elsewhere).await.unwrap().is_some(), "another registration's terms are others");
    for replica in [before, after] {
        assert_eq!(replica.insert(&SessionId::random(), &new_session(), None).await.unwrap(), Inserted::Ended);
    }
}

#[cfg(feature = "server")]
#[tokio::test]
async fn a_card_opens_for_its_frontend_alone() {
    use crate::store::Cursor;
    let backend = memory();
    let store = store_on(&backend, &[1]);
    opened(&store).await;
    let listed = store.list_matching(Term::Subject("alice")).await.unwrap();
    assert_eq!(store.scan(Cursor::default()).await.unwrap().rows, listed);
    assert_eq!(store_on(&backend, &[2, 1]).open_card(&listed[0]).unwrap().expose(), b"card");
    assert!(is_unavailable(store_on(&backend, &[2]).open_card(&listed[0])));
    let admin = SealedStore::new(backend.clone(), ring(&[1]), scope("admin"), breaker());
    assert!(is_corrupt(admin.open_card(&listed[0])));
    assert_eq!(admin.list_matching(Term::Subject("alice")).await.unwrap(), listed, "they share a registration");
}

#[tokio::test]
async fn what_was_replaced_opens_with_its_id() {
    let store = store_on(&memory(), &[1]);
    let (old, new) = (opened(&store).await, SessionId::random());
    let replaced = store.replace(old.key(), Duration::ZERO, &new, &new_session(), None).await.unwrap();
    let Replaced::Replaced { old: Some(row), .. } = replaced else { panic!("{replaced:?}") };
    assert_eq!(store.open(&old, row).tokens().unwrap().expose(), b"what");
    assert!(store.load(&old).await.unwrap().is_none());
    assert!(store.load(&new).await.unwrap().is_some());
}

#[tokio::test]
async fn removing_answers_the_newest_tokens() {
    let store = store_on(&memory(), &[1]);
    let id = opened(&store).await;
    store.swap_tokens(&id, 1, b"rotated", LeaseAfter::Keep).await.unwrap();
    assert_eq!(store.remove_if(&id, 1, Reason::RefreshRefused).await.unwrap(), Updated::Moved);
    let removed = store.remove(&id, Reason::Logout).await.unwrap().unwrap();
    assert_eq!(removed.tokens().unwrap().expose(), b"rotated");
    assert!(!store.remove_key(id.key(), Reason::Logout).await.unwrap());
    assert_eq!(store.swap_tokens(&id, 2, b"late", LeaseAfter::Keep).await.unwrap(), Swapped::Gone);
}

#[tokio::test]
async fn a_value_is_taken_once_with_its_handle_on_its_frontend() {
    let backend = memory();
    let store = store_on(&backend, &[1]);
    let handle = store.put_once(b"value", MINUTE).await.unwrap();
    assert!(store.take_once("guess").await.unwrap().is_none());
    assert_eq!(store.take_once(handle.expose()).await.unwrap().unwrap().expose(), b"value");
    assert!(store.take_once(handle.expose()).await.unwrap().is_none());

    let handle = store.put_once(b"value", MINUTE).await.unwrap();
    let admin = SealedStore::new(backend, ring(&[1]), scope("admin"), breaker());
    assert!(is_corrupt(admin.take_once(handle.expose()).await));
}

#[tokio::test]
async fn a_cookie_opens_under_its_name_on_its_frontend_only() {
    let (store, backend) = (store_on(&memory(), &[1]), memory());
    let value = store.seal_cookie("attempt-1", b"content");
    assert!(value.expose().bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)));
    assert_eq!(store.open_cookie("attempt-1", value.expose()).unwrap().expose(), b"content");
    assert!(store_on(&backend, &[2, 1]).open_cookie("attempt-1", value.expose()).is_some());
    assert!(store.open_cookie("attempt-2", value.expose()).is_none());
    assert!(
        SealedStore::new(backend, ring(&[1]), scope("admin"), breaker())
            .open_cookie("attempt-1", value.expose())
            .is_none()
    );
    for garbage in ["", "A", "====", "AQ", &value.expose()[1..]] {
        assert!(store.open_cookie("attempt-1", garbage).is_none(), "{garbage}");
    }
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_unavailable_after_the_timeout() {
    let flaky = Arc::new(FlakyBackend::new(memory()));
    let store = || {
        let breaker = Arc::new(Breaker::new(Duration::from_millis(20)));
        SealedStore::new(flaky.clone(), ring(&[1]), scope("shop"), breaker)
    };
    let id = opened(&store()).await;
    for outage in [Outage::Hangs, Outage::Unavailable] {
        flaky.set(outage);
        assert!(is_unavailable(store().load(&id).await));
        assert!(is_unavailable(store().insert(&id, &new_session(), None).await));
        assert!(is_unavailable(store().swap_tokens(&id, 1, b"lost", LeaseAfter::Keep).await));
        assert!(is_unavailable(store().claim(Digest::of("state"), MINUTE).await));
        assert!(is_unavailable(store().put_once(b"value", MINUTE).await));
        assert!(is_unavailable(store().ping().await));
    }
    flaky.set(Outage::LosesAnswers);
    assert!(is_unavailable(store().swap_tokens(&id, 1, b"rotated", LeaseAfter::Keep).await));
    flaky.set(Outage::None);
    assert_eq!(store().load(&id).await.unwrap().unwrap().tokens().unwrap().expose(), b"rotated");
}

#[tokio::test]
async fn views_of_one_store_share_its_breaker() {
    let flaky = Arc::new(FlakyBackend::new(memory()));
    let breaker = breaker();
    let view = |frontend| SealedStore::new(flaky.clone(), ring(&[1]), scope(frontend), breaker.clone());
    let (shop, admin) = (view("shop"), view("admin"));
    flaky.set(Outage::Unavailable);
    for _ in 0..10 {
        assert!(is_unavailable(shop.ping().await));
    }
    let asked = flaky.calls();
    assert!(is_unavailable(admin.ping().await));
    assert_eq!(flaky.calls(), asked);
}

#[cfg(feature = "sqlite")]
#[tokio::test]
async fn no_secret_is_in_the_files_or_in_debug() {
    use crate::store::{Cursor, SqliteBackend};
    const MARKER: &str = "marker-a-token-would-have";
    let dir = tempfile::tempdir().unwrap();
    let backend: Arc<dyn SessionBackend> = Arc::new(SqliteBackend::open(dir.path().join("sessions.db")).await.unwrap());
    let store = store_on(&backend, &[1]);
    let id = SessionId::random();
    let marker = MARKER.as_bytes();
    let terms = [Term::Subject(MARKER), Term::Sid(MARKER)];
    let new = NewSession { session: marker, tokens: marker, card: marker, terms: &terms, ..new_session() };
    store.insert(&id, &new, None).await.unwrap();
    store.swap_tokens(&id, 1, marker, LeaseAfter::Keep).await.unwrap();
    let session = store.load(&id).await.unwrap().unwrap();
    store.touch(&session, marker, MINUTE, &terms).await.unwrap();
    let handle = store.put_once(marker, MINUTE).await.unwrap();
    store.claim(Digest::of(MARKER), MINUTE).await.unwrap();

    let cookie = id.cookie_value();
    let secrets = [marker, cookie.expose().as_bytes(), id.as_bytes(), handle.expose().as_bytes(), &[1; 32]];
    let mut seen = 0;
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        seen += bytes.windows(32).filter(|window| window == id.key().as_bytes()).count();
        for secret in secrets {
            assert!(!bytes.windows(secret.len()).any(|window| window == secret));
        }
    }
    assert!(seen > 0, "the row is in the files");
    let shown = format!("{store:?} {session:?} {:?}", backend.scan(Cursor::default()).await.unwrap());
    assert!(!shown.contains(MARKER) && !shown.contains(cookie.expose().as_str()));
}
