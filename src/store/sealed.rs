//! [`SealedStore`]: seals what goes into a [`SessionBackend`] and opens what comes out; every call passes the breaker.
//!
//! One per frontend. Called by `session/` and `tokens/`, which know what the halves hold; this file knows where each blob belongs:
//! the row's key, the frontend, and for the tokens half its version are authenticated with it, so a blob that was copied to another
//! row or frontend, or put back at a later version, does not open.

use std::fmt;
use std::num::NonZeroU32;
use std::ops::Deref;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;

use super::keyring::{Keyring, LiveKeyring, Purpose};
use super::{
    Breaker, Claimed, Digest, IndexKey, Inserted, Lease, LeaseAfter, Limit, NewRow, Reason, Replaced, Reseal, Result,
    Row, SessionBackend, SessionId, SessionKey, Swapped, Taken, Updated,
};
use crate::clock::Timestamp;
use crate::metric;
use crate::secret::{self, Secret};

mod searching;

pub(crate) use searching::{TermEnding, TermTarget};

/// One frontend's view of the store. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct SealedStore(Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    backend: Arc<dyn SessionBackend>,
    keyring: LiveKeyring,
    scope: Scope,
    breaker: Arc<Breaker>,
}

/// Whose sessions these are. Blobs are bound to the frontend, terms to the registration at the provider.
#[derive(Clone, Debug)]
pub(crate) struct Scope {
    /// The frontend's id.
    pub(crate) frontend: String,
    /// The provider's issuer.
    pub(crate) issuer: String,
    /// Our client id there.
    pub(crate) client_id: String,
}

/// A session to be written.
#[derive(Clone, Copy)]
pub(crate) struct NewSession<'a> {
    /// The session half in clear.
    pub(crate) session: &'a [u8],
    /// The tokens half in clear.
    pub(crate) tokens: &'a [u8],
    /// The card in clear.
    pub(crate) card: &'a [u8],
    /// What the row can be found by.
    pub(crate) terms: &'a [Term<'a>],
    /// `iat` of the login's ID token.
    pub(crate) issued_at: Timestamp,
    /// How long the row lives if nothing touches it.
    pub(crate) live_for: Duration,
}

/// Something a row can be found by, within the provider and client of its frontend.
#[derive(Clone, Copy)]
pub(crate) enum Term<'a> {
    /// The subject; every row carries it.
    Subject(&'a str),
    /// The provider's session id, if its ID token had one.
    Sid(&'a str),
    /// The subject of a login without `sid`.
    SubjectWithoutSid(&'a str),
}

impl<'a> Term<'a> {
    fn kind_and_value(self) -> (&'static str, &'a str) {
        match self {
            Self::Subject(subject) => ("sub", subject),
            Self::Sid(sid) => ("sid", sid),
            Self::SubjectWithoutSid(subject) => ("sub without sid", subject),
        }
    }
}

impl Deref for SealedStore {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl SealedStore {
    /// A view of `backend`; all views of one backend share the `breaker`, which bounds their calls in time and number.
    pub(crate) fn new(
        backend: Arc<dyn SessionBackend>,
        keyring: impl Into<LiveKeyring>,
        scope: Scope,
        breaker: Arc<Breaker>,
    ) -> Self {
        Self(Arc::new(Inner { backend, keyring: keyring.into(), scope, breaker }))
    }

    /// Whose sessions it shows.
    pub(crate) fn scope(&self) -> &Scope {
        &self.scope
    }

    /// The ids of the master keys, first that of the key that seals.
    #[cfg(feature = "server")]
    pub(crate) fn key_ids(&self) -> Vec<String> {
        self.keyring.now().key_ids()
    }

    /// Writes a new session; see [`SessionBackend::insert`]. With `max_per_subject`, the oldest sessions of the same
    /// [`Term::Subject`] beyond it end.
    pub(crate) async fn insert(
        &self,
        id: &SessionId,
        new: &NewSession<'_>,
        max_per_subject: Option<NonZeroU32>,
    ) -> Result<Inserted> {
        let (row, limit) = (self.new_row(id, new), self.limit(new, max_per_subject));
        let inserted = self.bounded(self.backend.insert(id.key(), &row, limit.as_ref())).await?;
        if let Inserted::Inserted { evicted } = &inserted {
            metric::sessions_ended(Reason::Limit.as_str(), evicted.len());
        }
        Ok(inserted)
    }

    /// Writes a new session in place of `old`; see [`SessionBackend::replace`]. What comes back of the old row opens with
    /// [`open`](Self::open) and its id.
    pub(crate) async fn replace(
        &self,
        old: SessionKey,
        retire: Duration,
        id: &SessionId,
        new: &NewSession<'_>,
        max_per_subject: Option<NonZeroU32>,
    ) -> Result<Replaced> {
        let (row, limit) = (self.new_row(id, new), self.limit(new, max_per_subject));
        let replaced = self.bounded(self.backend.replace(old, retire, id.key(), &row, limit.as_ref())).await?;
        if let Replaced::Replaced { old, evicted } = &replaced {
            metric::sessions_ended(Reason::Limit.as_str(), evicted.len());
            if retire.is_zero() {
                count_ended(old.as_ref(), Reason::ReplacedByOtherUser);
            }
        }
        Ok(replaced)
    }

    /// Reads a session, retired or not: one read of the backend. Its halves are opened when they are asked for.
    pub(crate) async fn load(&self, id: &SessionId) -> Result<Option<Opened>> {
        let row = pin!(self.bounded(self.backend.load(id.key()))).await?;
        Ok(row.map(|row| self.open(id, row)))
    }

    /// A row that the backend gave for this id.
    pub(crate) fn open(&self, id: &SessionId, row: Row) -> Opened {
        Opened {
            key: id.key(),
            version: row.tokens_version,
            retired: row.retired,
            expires_in: row.expires_in,
            keys: self.keyring.generation(),
            id: *id,
            row,
            store: self.clone(),
        }
    }

    /// Writes the session half anew and extends the row's life. A row of which any part was sealed under an older key is sealed anew
    /// as a whole; `terms` are all the terms it was written with. `Corrupt` if a part that is sealed anew does not open.
    pub(crate) async fn touch(
        &self,
        opened: &Opened,
        session: &[u8],
        live_for: Duration,
        terms: &[Term<'_>],
    ) -> Result<Updated> {
        let reseal = self.reseal(opened, terms)?;
        self.write_session(&opened.id, session, live_for, reseal.as_ref()).await
    }

    /// Writes the session half anew, and what `reseal` holds beside it. Never creates.
    pub(super) async fn write_session(
        &self,
        id: &SessionId,
        session: &[u8],
        live_for: Duration,
        reseal: Option<&Reseal>,
    ) -> Result<Updated> {
        let key = id.key();
        let sealed = self.keyring.now().seal(Purpose::Session(id.as_bytes()), &self.place(&key), session);
        self.bounded(self.backend.touch(key, live_for, &sealed, reseal)).await
    }

    /// Writes the tokens half if its version is `expected`; see [`SessionBackend::swap_tokens`]. After `Unavailable` it may or may
    /// not have been written: read again.
    pub(crate) async fn swap_tokens(
        &self,
        id: &SessionId,
        expected: u64,
        tokens: &[u8],
        lease: LeaseAfter,
    ) -> Result<Swapped> {
        let Some(version) = expected.checked_add(1) else { return Ok(Swapped::Moved) };
        let sealed = self.seal_tokens(&self.keyring.now(), id, version, tokens);
        self.bounded(self.backend.swap_tokens(id.key(), expected, &sealed, lease)).await
    }

    /// Ends a session, also a retired one, and answers it as it was last, if there was one.
    pub(crate) async fn remove(&self, id: &SessionId, reason: Reason) -> Result<Option<Opened>> {
        let row = self.bounded(self.backend.remove(id.key(), reason)).await?;
        count_ended(row.as_ref(), reason);
        Ok(row.map(|row| self.open(id, row)))
    }

    /// Ends a session of which only the key is known, also a retired one. Whether there was one.
    pub(crate) async fn remove_key(&self, key: SessionKey, reason: Reason) -> Result<bool> {
        let row = self.bounded(self.backend.remove(key, reason)).await?;
        count_ended(row.as_ref(), reason);
        Ok(row.is_some())
    }

    /// Ends a session if its tokens half is still at version `expected`.
    pub(crate) async fn remove_if(&self, id: &SessionId, expected: u64, reason: Reason) -> Result<Updated> {
        let removed = self.bounded(self.backend.remove_if(id.key(), expected, reason)).await?;
        if removed == Updated::Updated {
            metric::sessions_ended(reason.as_str(), 1);
        }
        Ok(removed)
    }

    /// What rows with this term are found by: one index key per master key, oldest first.
    pub(crate) fn index_keys(&self, term: Term<'_>) -> Vec<IndexKey> {
        self.keyring.now().index_keys(&self.term_parts(term))
    }

    /// Takes the right to use this session's refresh token; see [`SessionBackend::take_lease`].
    pub(crate) async fn take_lease(&self, key: SessionKey, expected: u64, ttl: Duration) -> Result<Taken> {
        self.bounded(self.backend.take_lease(key, expected, ttl)).await
    }

    /// Extends a lease; see [`SessionBackend::renew_lease`].
    pub(crate) async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> Result<Updated> {
        self.bounded(self.backend.renew_lease(lease, ttl)).await
    }

    /// Gives a lease back.
    pub(crate) async fn release_lease(&self, lease: &Lease) -> Result<()> {
        self.bounded(self.backend.release_lease(lease)).await
    }

    /// Marks `digest` as used; the first caller wins.
    pub(crate) async fn claim(&self, digest: Digest, ttl: Duration) -> Result<Claimed> {
        self.bounded(self.backend.claim(digest, ttl)).await
    }

    /// Takes a claim back.
    pub(crate) async fn unclaim(&self, digest: Digest) -> Result<()> {
        self.bounded(self.backend.unclaim(digest)).await
    }

    /// Keeps a small value for one reader and answers the handle to take it with: 256 random bits as 43 characters of base64url.
    /// The handle is part of the key, so the store and the master key together do not open the value.
    pub(crate) async fn put_once(&self, plain: &[u8], ttl: Duration) -> Result<Secret<String>> {
        let handle = secret::random_token();
        let digest = Digest::of(handle.expose());
        let place = [digest.as_bytes(), self.scope.frontend.as_bytes()];
        let sealed = self.keyring.now().seal(Purpose::Once(handle.expose().as_bytes()), &place, plain);
        self.bounded(self.backend.put_once(digest, &sealed, ttl)).await?;
        Ok(handle)
    }

    /// Takes a value kept by [`put_once`](Self::put_once). Nothing for a handle that is unknown, used or too old.
    pub(crate) async fn take_once(&self, handle: &str) -> Result<Option<Secret<Vec<u8>>>> {
        let digest = Digest::of(handle);
        let Some(sealed) = self.bounded(self.backend.take_once(digest)).await? else { return Ok(None) };
        let place = [digest.as_bytes(), self.scope.frontend.as_bytes()];
        Ok(Some(self.keyring.now().open(Purpose::Once(handle.as_bytes()), &place, &sealed)?))
    }

    /// Seals a cookie's content for this frontend and this cookie name; base64url without padding. No I/O.
    pub(crate) fn seal_cookie(&self, name: &str, plain: &[u8]) -> Secret<String> {
        let place = [self.scope.frontend.as_bytes(), name.as_bytes()];
        Secret::new(URL_SAFE_NO_PAD.encode(self.keyring.now().seal(Purpose::Cookie, &place, plain)))
    }

    /// Opens a cookie sealed by [`seal_cookie`](Self::seal_cookie). Nothing for anything else.
    pub(crate) fn open_cookie(&self, name: &str, value: &str) -> Option<Secret<Vec<u8>>> {
        let place = [self.scope.frontend.as_bytes(), name.as_bytes()];
        self.keyring.now().open(Purpose::Cookie, &place, &URL_SAFE_NO_PAD.decode(value).ok()?).ok()
    }

    /// Whether the store answers.
    pub(crate) async fn ping(&self) -> Result<()> {
        self.bounded(self.backend.ping()).await
    }

    fn bounded<T>(&self, call: impl Future<Output = Result<T>> + Send) -> impl Future<Output = Result<T>> + Send {
        self.breaker.call(call)
    }

    fn new_row(&self, id: &SessionId, new: &NewSession<'_>) -> NewRow {
        let (key, keyring) = (id.key(), self.keyring.now());
        NewRow {
            terms: self.terms(&keyring, new.terms),
            session: keyring.seal(Purpose::Session(id.as_bytes()), &self.place(&key), new.session),
            tokens: self.seal_tokens(&keyring, id, 1, new.tokens),
            card: keyring.seal(Purpose::Card, &self.place(&key), new.card),
            issued_at: new.issued_at,
            live_for: new.live_for,
        }
    }

    fn limit(&self, new: &NewSession<'_>, max: Option<NonZeroU32>) -> Option<Limit> {
        let subject = new.terms.iter().find(|term| matches!(term, Term::Subject(_)))?;
        Some(Limit { any_of: self.index_keys(*subject), max: max? })
    }

    /// What `touch` writes beside the session half, if any part is not under the newest key.
    fn reseal(&self, opened: &Opened, terms: &[Term<'_>]) -> Result<Option<Reseal>> {
        let (row, keyring) = (&opened.row, self.keyring.now());
        if [&row.session, &row.tokens, &row.card].into_iter().all(|blob| keyring.is_current(blob)) {
            return Ok(None);
        }
        let place = self.place(&opened.key);
        let card = keyring.open(Purpose::Card, &place, &row.card)?;
        let tokens = opened.tokens()?;
        Ok(Some(Reseal {
            card: keyring.seal(Purpose::Card, &place, card.expose()),
            terms: self.terms(&keyring, terms),
            tokens: Some((opened.version, self.seal_tokens(&keyring, &opened.id, opened.version, tokens.expose()))),
        }))
    }

    fn seal_tokens(&self, keyring: &Keyring, id: &SessionId, version: u64, tokens: &[u8]) -> Vec<u8> {
        let (key, version) = (id.key(), version.to_be_bytes());
        let [row, frontend] = self.place(&key);
        keyring.seal(Purpose::Tokens(id.as_bytes()), &[row, frontend, &version], tokens)
    }

    fn terms(&self, keyring: &Keyring, terms: &[Term<'_>]) -> Vec<IndexKey> {
        terms.iter().map(|term| keyring.index_key(&self.term_parts(*term))).collect()
    }

    fn term_parts<'a>(&'a self, term: Term<'a>) -> [&'a [u8]; 4] {
        let (kind, value) = term.kind_and_value();
        [&self.scope.issuer, &self.scope.client_id, kind, value].map(str::as_bytes)
    }

    fn place<'a>(&'a self, key: &'a SessionKey) -> [&'a [u8]; 2] {
        [key.as_bytes(), self.scope.frontend.as_bytes()]
    }
}

/// A retired row is no session of its own: the one that took its place goes on.
fn count_ended(row: Option<&Row>, reason: Reason) {
    metric::sessions_ended(reason.as_str(), row.into_iter().filter(|row| !row.retired).count());
}

/// A session as it was read. `Debug` shows its tag and version.
pub(crate) struct Opened {
    /// The row's name.
    pub(crate) key: SessionKey,
    /// The version of the tokens half.
    pub(crate) version: u64,
    /// A newer login took its place; its tokens may not be refreshed.
    pub(crate) retired: bool,
    /// How long the row lives if nothing touches it. Our own limits are in the session half.
    pub(crate) expires_in: Duration,
    /// Of the keyring, when the row was read.
    keys: u64,
    id: SessionId,
    row: Row,
    store: SealedStore,
}

impl Opened {
    /// The session half in clear. `Corrupt` if it does not open.
    pub(crate) fn session(&self) -> Result<Secret<Vec<u8>>> {
        let place = self.store.place(&self.key);
        Ok(self.store.keyring.now().open(Purpose::Session(self.id.as_bytes()), &place, &self.row.session)?)
    }

    /// The tokens half in clear. `Corrupt` if it does not open.
    pub(crate) fn tokens(&self) -> Result<Secret<Vec<u8>>> {
        let version = self.version.to_be_bytes();
        let [row, frontend] = self.store.place(&self.key);
        let place = [row, frontend, &version];
        Ok(self.store.keyring.now().open(Purpose::Tokens(self.id.as_bytes()), &place, &self.row.tokens)?)
    }

    /// Whether the two are the same bytes under the same keys, so that both open to the same.
    pub(crate) fn is_same(&self, other: &Seal) -> bool {
        *other == self.seal()
    }

    /// The sealed bytes.
    pub(crate) fn seal(&self) -> Seal {
        let Row { session, tokens, .. } = &self.row;
        Seal { keys: self.keys, version: self.version, session: session.clone(), tokens: tokens.clone() }
    }
}

/// What a row was opened from.
#[derive(PartialEq, Eq)]
pub(crate) struct Seal {
    keys: u64,
    version: u64,
    session: Bytes,
    tokens: Bytes,
}

impl fmt::Debug for Opened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Opened({} at version {})", self.key.tag(), self.version)
    }
}

#[cfg(test)]
mod tests;
