//! [`SealedStore`] as a `tower_sessions::SessionStore`: the session half alone, for the session layer.
//!
//! The record carries one value under [`USER`], the session half as JSON; tokens never travel through it. Unlike the usual stores
//! this one does not upsert: sessions are opened by the login (`SealedStore::insert`) only, and a late save of an ended session
//! leaves it ended.

use async_trait::async_trait;
use serde_json::Value;
use time::OffsetDateTime;
use tower_sessions::session::{Id, Record};
use tower_sessions::session_store;

use super::{Error, Opened, Reason, SealedStore, SessionId};
use crate::clock::{Clock as _, SystemClock, Timestamp};

/// The one key of a record's data.
pub(crate) const USER: &str = "user";

#[async_trait]
impl tower_sessions::SessionStore for SealedStore {
    /// Refuses: a session without identity and tokens does not exist.
    async fn create(&self, _record: &mut Record) -> session_store::Result<()> {
        Err(session_store::Error::Backend("sessions are opened by the login only".to_owned()))
    }

    /// Writes the session half of a session that lives; does nothing for any other.
    async fn save(&self, record: &Record) -> session_store::Result<()> {
        let user =
            record.data.get(USER).ok_or_else(|| session_store::Error::Encode(format!("no {USER:?} in the record")))?;
        let session = serde_json::to_vec(user).map_err(|error| session_store::Error::Encode(error.to_string()))?;
        let millis = record.expiry_date.unix_timestamp_nanos() / NANOS_PER_MILLI;
        let expiry = Timestamp::from_unix_millis(i64::try_from(millis).unwrap_or(i64::MAX));
        let live_for = expiry.since(SystemClock.now());
        self.write_session(&SessionId::from(record.id), &session, live_for, None)
            .await
            .map_err(|error| converted(&error))?;
        Ok(())
    }

    /// Reads the session half, also of a retired session.
    async fn load(&self, id: &Id) -> session_store::Result<Option<Record>> {
        let opened = SealedStore::load(self, &SessionId::from(*id)).await.map_err(|error| converted(&error))?;
        opened.map(|opened| record(*id, &opened)).transpose()
    }

    /// Ends the session.
    async fn delete(&self, id: &Id) -> session_store::Result<()> {
        self.remove_key(SessionId::from(*id).key(), Reason::Logout).await.map_err(|error| converted(&error))?;
        Ok(())
    }
}

fn record(id: Id, opened: &Opened) -> session_store::Result<Record> {
    let session = opened.session().map_err(|error| converted(&error))?;
    // The parser's message may quote what it read, and that is personal.
    let user: Value = serde_json::from_slice(session.expose())
        .map_err(|_| session_store::Error::Decode("the session half is not JSON".to_owned()))?;
    let expiry = SystemClock.now() + opened.expires_in;
    let expiry_date = OffsetDateTime::from_unix_timestamp_nanos(i128::from(expiry.unix_millis()) * NANOS_PER_MILLI)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH);
    Ok(Record { id, data: [(USER.to_owned(), user)].into(), expiry_date })
}

fn converted(error: &Error) -> session_store::Error {
    match error {
        Error::Unavailable(_) => session_store::Error::Backend(error.to_string()),
        Error::Corrupt(_) => session_store::Error::Decode(error.to_string()),
    }
}

const NANOS_PER_MILLI: i128 = 1_000_000;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use serde_json::json;
    use tower_sessions::SessionStore;

    use super::*;
    use crate::store::{
        Breaker, FlakyBackend, Keyring, LeaseAfter, MasterKey, MemoryBackend, NewSession, Outage, Scope,
    };

    const MINUTE: Duration = Duration::from_mins(1);

    fn store() -> (SealedStore, Arc<FlakyBackend>) {
        let backend = Arc::new(FlakyBackend::new(Arc::new(MemoryBackend::new())));
        let keyring = Arc::new(Keyring::new(vec![MasterKey::generate()]).unwrap());
        let scope =
            Scope { frontend: "shop".to_owned(), issuer: "https://id.example".to_owned(), client_id: "c".to_owned() };
        (SealedStore::new(backend.clone(), keyring, scope, Arc::new(Breaker::new(MINUTE))), backend)
    }

    async fn opened(store: &SealedStore, session: &[u8]) -> Id {
        let id = SessionId::random();
        let issued_at = Timestamp::from_unix_seconds(1000);
        let new = NewSession { session, tokens: b"tokens", card: b"", terms: &[], issued_at, live_for: MINUTE };
        store.insert(&id, &new, None).await.unwrap();
        id.into()
    }

    #[tokio::test]
    async fn a_record_holds_the_session_half_and_is_saved_back() {
        let (store, _) = store();
        let id = opened(&store, br#"{"sub":"alice"}"#).await;
        let mut record = SessionStore::load(&store, &id).await.unwrap().unwrap();
        assert_eq!(record.data, [(USER.to_owned(), json!({"sub": "alice"}))].into());
        record.data.insert(USER.to_owned(), json!({"sub": "alice", "seen": 1}));
        record.expiry_date += time::Duration::hours(1);
        store.save(&record).await.unwrap();
        let session = SealedStore::load(&store, &id.into()).await.unwrap().unwrap();
        assert_eq!(session.session().unwrap().expose().as_slice(), br#"{"seen":1,"sub":"alice"}"#);
        assert_eq!(session.tokens().unwrap().expose(), b"tokens");
        assert!(session.expires_in > 59 * MINUTE, "{:?}", session.expires_in);
    }

    #[tokio::test]
    async fn a_late_save_leaves_newer_tokens_alone_and_an_ended_session_ended() {
        let (store, _) = store();
        let id = opened(&store, b"{}").await;
        let record = SessionStore::load(&store, &id).await.unwrap().unwrap();
        store.swap_tokens(&id.into(), 1, b"rotated", LeaseAfter::Keep).await.unwrap();
        store.save(&record).await.unwrap();
        let session = SealedStore::load(&store, &id.into()).await.unwrap().unwrap();
        assert_eq!(session.tokens().unwrap().expose(), b"rotated");
        store.delete(&id).await.unwrap();
        store.save(&record).await.unwrap();
        assert!(SessionStore::load(&store, &id).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_record_never_makes_a_session() {
        let (store, _) = store();
        let data = [(USER.to_owned(), json!({}))].into();
        let mut record =
            Record { id: Id(1), data, expiry_date: OffsetDateTime::UNIX_EPOCH + time::Duration::days(36500) };
        assert!(matches!(store.create(&mut record).await, Err(session_store::Error::Backend(_))));
        store.save(&record).await.unwrap();
        assert!(SessionStore::load(&store, &record.id).await.unwrap().is_none());
        record.data.clear();
        assert!(matches!(store.save(&record).await, Err(session_store::Error::Encode(_))));
    }

    #[tokio::test]
    async fn a_retired_session_loads_and_is_not_saved() {
        let (store, _) = store();
        let old = opened(&store, b"1").await;
        let (new, issued_at) = (SessionId::random(), Timestamp::from_unix_seconds(1000));
        let session = NewSession { session: b"2", tokens: b"", card: b"", terms: &[], issued_at, live_for: MINUTE };
        store.replace(SessionId::from(old).key(), MINUTE, &new, &session, None).await.unwrap();
        let mut record = SessionStore::load(&store, &old).await.unwrap().unwrap();
        record.data.insert(USER.to_owned(), json!(3));
        store.save(&record).await.unwrap();
        assert_eq!(SessionStore::load(&store, &old).await.unwrap().unwrap().data[USER], json!(1));
    }

    #[tokio::test]
    async fn an_outage_is_a_backend_error_and_a_blob_that_does_not_open_or_parse_is_not() {
        let (store, backend) = store();
        let id = opened(&store, b"not json, but personal").await;
        let error = SessionStore::load(&store, &id).await.unwrap_err();
        assert!(matches!(&error, session_store::Error::Decode(text) if !text.contains("personal")), "{error}");
        backend.set(Outage::Unavailable);
        assert!(matches!(SessionStore::load(&store, &id).await, Err(session_store::Error::Backend(_))));
        assert!(matches!(converted(&Error::Corrupt("")), session_store::Error::Decode(_)));
    }
}
