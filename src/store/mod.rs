//! Where session rows rest. This layer knows bytes and keys, not what is in them.
//!
//! One row per session with two halves: the *session half* (who) and the *tokens half* (what they may do), written apart, so that no
//! late write of one can undo the other. Backends implement [`SessionBackend`] and see sealed bytes only; `SealedStore` seals
//! and opens them. `docs/architecture.md` has the table of what is sealed with what.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::secret;

#[cfg(any(test, feature = "test-util"))]
mod flaky;
mod keyring;
mod memory;
mod sealed;
mod session_id;
mod session_store;
mod signals;
#[cfg(feature = "sqlite")]
mod sqlite;
#[cfg(any(test, feature = "test-util"))]
pub mod suite;
mod sweep;

#[cfg(any(test, feature = "test-util"))]
pub use flaky::{FlakyBackend, Outage};
pub use keyring::{Keyring, MasterKey};
pub use memory::MemoryBackend;
pub(crate) use sealed::{NewSession, Opened, Scope, SealedStore, Term};
pub(crate) use session_id::SessionId;
pub(crate) use session_store::USER;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteBackend;
pub(crate) use sweep::sweep_until;

/// The result of a store call.
pub type Result<T> = std::result::Result<T, Error>;

/// A place where session rows rest. Values are opaque and already sealed; keys are digests; lifetimes are durations from now, by
/// the store's own clock. A row whose time is over is not there, swept or not.
///
/// Every verb is atomic by itself, also when its caller leaves in the middle: it then has happened as a whole or not at all. No verb
/// creates a row but `insert` and `replace`: a late write never brings an ended session back. A *retired* row (see
/// [`replace`](Self::replace)) still answers `load` until its time is over, and `remove` and `end_matching` take it; for all other
/// verbs it is gone.
#[async_trait]
pub trait SessionBackend: fmt::Debug + Send + Sync + 'static {
    /// Writes a new row and its terms. Never overwrites.
    ///
    /// If one of the row's terms has a tombstone with `issued_not_after >= row.issued_at`, no row stays and the answer is
    /// [`Inserted::Ended`]. With a `limit`, the oldest live rows beyond it are removed (reason [`Reason::Limit`]) and named.
    ///
    /// Logins race with [`end_matching`](Self::end_matching), and one of the two must notice the other. A store that runs one writing
    /// transaction after the other has that for nothing. In any other store each side first commits what it writes and then looks,
    /// in a new statement, for what the other side wrote: `insert` commits the row, looks for tombstones and undoes itself.
    async fn insert(&self, key: SessionKey, row: &NewRow, limit: Option<&Limit>) -> Result<Inserted>;

    /// Writes a new row in place of `old`, in one step. `old` retires for `retire`: it answers `load` with `retired` set, and
    /// nothing else, until then; with a zero `retire` it is removed (reason [`Reason::ReplacedByOtherUser`]). A missing or already
    /// retired `old` is no error. Tombstones and `limit` are as in [`insert`](Self::insert); if a tombstone matches, the new row
    /// does not stay, and `old` is retired or gone all the same.
    async fn replace(
        &self,
        old: SessionKey,
        retire: Duration,
        key: SessionKey,
        row: &NewRow,
        limit: Option<&Limit>,
    ) -> Result<Replaced>;

    /// Reads a row: both halves, card, version, in one read.
    async fn load(&self, key: SessionKey) -> Result<Option<Row>>;

    /// Writes the session half anew and extends the row's life to `live_for` from now. Never creates. With `reseal`, also writes
    /// the card, replaces the index terms (new ones are added before old ones go), and writes the tokens half if its version is
    /// still the one given.
    async fn touch(
        &self,
        key: SessionKey,
        live_for: Duration,
        session: &[u8],
        reseal: Option<&Reseal>,
    ) -> Result<Updated>;

    /// Removes a row (also a retired one) and returns it as it was last, so that its newest refresh token can be revoked.
    async fn remove(&self, key: SessionKey, reason: Reason) -> Result<Option<Row>>;

    /// Removes a row if its tokens half is still at version `expected`.
    async fn remove_if(&self, key: SessionKey, expected: u64, reason: Reason) -> Result<Updated>;

    /// Ends every row that an [`Ending`] names, retired ones too, and keeps its tombstones for [`TOMBSTONE_LIFE`], so that a login
    /// in flight does not come to life after it; see [`insert`](Self::insert) for the order. Of two tombstones on one term the later
    /// `issued_not_after` stays. Answers how many rows were removed.
    async fn end_matching(&self, ending: &Ending) -> Result<u64>;

    /// Live rows that carry any of these terms, oldest first.
    async fn list_matching(&self, any_of: &[IndexKey]) -> Result<Vec<Listed>>;

    /// All live rows, a page at a time, in key order.
    async fn scan(&self, cursor: Cursor) -> Result<Page>;

    /// Writes the tokens half if its version is `expected`; the version then is `expected + 1`. The version alone decides, not who
    /// holds the lease. A lease that is kept goes on at the new version.
    async fn swap_tokens(&self, key: SessionKey, expected: u64, sealed: &[u8], lease: LeaseAfter) -> Result<Swapped>;

    /// Takes the right to use this row's refresh token for `ttl`, if the tokens half is at version `expected` and nobody holds it.
    async fn take_lease(&self, key: SessionKey, expected: u64, ttl: Duration) -> Result<Taken>;

    /// Extends a lease to `ttl` from now, if its owner holds it, its time has not run out, and the tokens half is at its version.
    /// Otherwise it is lost: `Moved`, or `Gone` with its row.
    async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> Result<Updated>;

    /// Gives a lease back, if its owner holds it. A lease that is not held any more is no error and tells nobody.
    async fn release_lease(&self, lease: &Lease) -> Result<()>;

    /// Marks `digest` as used for `ttl`. The first caller wins.
    async fn claim(&self, digest: Digest, ttl: Duration) -> Result<Claimed>;

    /// Takes a claim back, so that the same digest can be claimed again.
    async fn unclaim(&self, digest: Digest) -> Result<()>;

    /// Keeps a small value for one reader.
    async fn put_once(&self, digest: Digest, sealed: &[u8], ttl: Duration) -> Result<()>;

    /// Takes a value kept by [`put_once`](Self::put_once): the first caller gets it, later ones nothing.
    async fn take_once(&self, digest: Digest) -> Result<Option<Vec<u8>>>;

    /// Removes what has expired: rows, claims, values, tombstones. Works in small steps that do not block other callers for long.
    /// Sends no signal: whoever watches a row knows when its time is over. Answers how many rows were removed.
    async fn remove_expired(&self) -> Result<u64>;

    /// Whether the store answers.
    async fn ping(&self) -> Result<()>;

    /// What happens to rows, as it happens, from every replica that shares this store. A slow reader may miss signals; it then sees
    /// [`Signal::Lost`].
    fn watch(&self) -> BoxStream<'static, Signal>;
}

/// Why a store call did not work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store cannot be reached, does not answer in time, or holds something newer than this program reads.
    #[error("{0}")]
    Unavailable(String),
    /// A blob does not open under its own key: flipped, moved, or written by somebody else.
    #[error("a stored value does not open: {0}")]
    Corrupt(&'static str),
}

macro_rules! digest_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            /// From its 32 bytes.
            pub fn from_bytes(bytes: [u8; 32]) -> Self {
                Self(bytes)
            }

            /// Its 32 bytes.
            pub fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({}…)"), hex(&self.0[..4]))
            }
        }
    };
}

digest_type! {
    /// The name of a row: SHA-256 of the session id. The id itself is never at rest.
    SessionKey
}
digest_type! {
    /// A keyed digest of something a row can be found by (subject, `sid`). Made by the [`Keyring`].
    IndexKey
}
digest_type! {
    /// The name of a small thing that is used once: SHA-256 of a `state`, of a logout handle.
    Digest
}

impl SessionKey {
    /// The session's public tag: the first 16 hex digits. Safe to show and to log.
    pub fn tag(&self) -> String {
        hex(&self.0[..8])
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A row to be written. Tokens start at version 1.
#[derive(Clone, Debug)]
pub struct NewRow {
    /// What the row can be found by.
    pub terms: Vec<IndexKey>,
    /// The sealed session half.
    pub session: Vec<u8>,
    /// The sealed tokens half.
    pub tokens: Vec<u8>,
    /// The sealed card.
    pub card: Vec<u8>,
    /// `iat` of the login's ID token, which tombstones are compared with.
    pub issued_at: Timestamp,
    /// How long the row lives if nothing touches it.
    pub live_for: Duration,
}

/// A row as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The sealed session half.
    pub session: Vec<u8>,
    /// The sealed tokens half.
    pub tokens: Vec<u8>,
    /// The sealed card.
    pub card: Vec<u8>,
    /// Counts the writes of the tokens half, from 1.
    pub tokens_version: u64,
    /// `iat` of the login's ID token.
    pub issued_at: Timestamp,
    /// The row was replaced by a newer login and answers only a little longer; its tokens may not be refreshed.
    pub retired: bool,
    /// How long the row lives from now if nothing touches it.
    pub expires_in: Duration,
}

/// What [`SessionBackend::touch`] writes beside the session half when keys have rotated.
#[derive(Clone, Debug)]
pub struct Reseal {
    /// The card under the newest key.
    pub card: Vec<u8>,
    /// All terms under the newest key.
    pub terms: Vec<IndexKey>,
    /// The tokens half under the newest key, and the version it was read at. Re-sealing does not change the version.
    pub tokens: Option<(u64, Vec<u8>)>,
}

/// At most `max` live rows may carry any of these terms.
#[derive(Clone, Debug)]
pub struct Limit {
    /// The subject's term under every key: rows sealed before a rotation count too.
    pub any_of: Vec<IndexKey>,
    /// How many rows stay, the new one included.
    pub max: NonZeroU32,
}

/// What became of an insert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// The row is there; these were removed to keep the limit.
    Inserted {
        /// Rows removed to keep the limit.
        evicted: Vec<SessionKey>,
    },
    /// A tombstone was there: the provider ended this login meanwhile. Nothing is left.
    Ended,
    /// A row with this key is there already. Nothing was changed.
    Exists,
}

/// What became of a replacement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replaced {
    /// The new row is there.
    Replaced {
        /// The replaced row as it was before it retired, if there was a live one.
        old: Option<Row>,
        /// Rows removed to keep the limit.
        evicted: Vec<SessionKey>,
    },
    /// A tombstone was there for the new row. The old one is retired or gone.
    Ended,
    /// A row with the new key is there already. Nothing was changed.
    Exists,
}

/// What became of a conditional change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Updated {
    /// Done.
    Updated,
    /// The row is there, but not in the expected state.
    Moved,
    /// The row is not there (or retired).
    Gone,
}

/// What became of [`SessionBackend::swap_tokens`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swapped {
    /// Written; the version is now `expected + 1`.
    Swapped,
    /// Somebody else wrote since.
    Moved,
    /// The row is not there (or retired).
    Gone,
}

/// What happens to the lease when tokens are swapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseAfter {
    /// It stays as it is.
    Keep,
    /// It is given back in the same step.
    Release,
}

/// The right to use one row's refresh token for a while.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The row.
    pub key: SessionKey,
    /// The version it was taken at.
    pub version: u64,
    /// Random name of the holder.
    pub owner: [u8; 16],
    /// It was taken over from a holder whose time ran out, who may have sent the token.
    pub after_expiry: bool,
}

impl Lease {
    /// A lease with a fresh random owner, for a backend to write down.
    pub fn new(key: SessionKey, version: u64, after_expiry: bool) -> Self {
        Self { key, version, owner: secret::random(), after_expiry }
    }
}

/// What became of [`SessionBackend::take_lease`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It is ours.
    Taken(Lease),
    /// Somebody holds it for at most this long.
    Held(Duration),
    /// The tokens are at another version: read again.
    Moved,
    /// The row is not there (or retired).
    Gone,
}

/// What became of [`SessionBackend::claim`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// We are the first.
    First,
    /// Somebody was before us.
    Already,
}

/// What to end, and what to end if it arrives late.
#[derive(Clone, Debug)]
pub struct Ending {
    /// Rows that carry all terms of any target go.
    pub targets: Vec<EndingTarget>,
    /// Written before rows are removed.
    pub tombstones: Vec<Tombstone>,
    /// What the ended sessions' tabs are told.
    pub reason: Reason,
}

/// One kind of row to end.
#[derive(Clone, Debug)]
pub struct EndingTarget {
    /// A row must carry all of these. An empty list names no row.
    pub all_of: Vec<IndexKey>,
    /// Rows of logins younger than this stay; one of exactly this time goes.
    pub issued_not_after: Option<Timestamp>,
}

/// Ends logins that are not yet in the store.
#[derive(Clone, Copy, Debug)]
pub struct Tombstone {
    /// Logins whose row carries this term…
    pub term: IndexKey,
    /// …and whose ID token is not younger than this do not come to life.
    pub issued_not_after: Timestamp,
}

/// How long tombstones are kept: longer than a login attempt lives.
pub const TOMBSTONE_LIFE: Duration = Duration::from_mins(75);

/// Why a session ended, in the words its tabs are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Reason {
    /// The person logged out.
    Logout,
    /// Somebody else logged in in the same browser.
    ReplacedByOtherUser,
    /// Idle or absolute limit.
    Expired,
    /// Back-channel or front-channel logout.
    ProviderLogout,
    /// The provider refused the refresh token (`invalid_grant`).
    RefreshRefused,
    /// The answer to a refresh was lost, and the provider has no grace.
    RefreshLost,
    /// Ended by its owner from another session.
    ByUser,
    /// Too many sessions of one subject.
    Limit,
    /// Ended by an operator.
    Admin,
    /// The row does not open: flipped, moved or sealed by somebody else.
    Unreadable,
}

/// A row in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The row.
    pub key: SessionKey,
    /// Its sealed card.
    pub card: Vec<u8>,
    /// When the row was written, by the store's clock.
    pub created_at: Timestamp,
    /// When the row was last touched, by the store's clock.
    pub touched_at: Timestamp,
}

/// Where a [`SessionBackend::scan`] goes on: after this key, or from the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor(pub Option<SessionKey>);

/// A page of a scan.
#[derive(Clone, Debug)]
pub struct Page {
    /// The rows.
    pub rows: Vec<Listed>,
    /// Where the next page starts; nothing if this was the last.
    pub next: Option<Cursor>,
}

/// What happened to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Signal {
    /// The row was ended.
    Ended {
        /// The row.
        key: SessionKey,
        /// Why.
        reason: Reason,
    },
    /// The row was retired by a newer login of the same person.
    Replaced {
        /// The row.
        key: SessionKey,
    },
    /// The tokens half was written.
    Refreshed {
        /// The row.
        key: SessionKey,
        /// Its new version.
        version: u64,
    },
    /// A lease was given back without a new version.
    Released {
        /// The row.
        key: SessionKey,
    },
    /// Signals may have been missed; read again what matters.
    Lost,
}

impl Signal {
    /// What `replace` tells about the old row: it retired, or it was ended at once.
    pub fn replaced(old: SessionKey, retire: Duration) -> Self {
        if retire.is_zero() {
            Self::Ended { key: old, reason: Reason::ReplacedByOtherUser }
        } else {
            Self::Replaced { key: old }
        }
    }
}

/// Opens the store that `url` names: `memory:`, `sqlite:PATH` (a file, created if it is missing).
///
/// # Errors
/// `Unavailable` if it cannot be opened, or if this build has no such store; the text says which.
#[cfg_attr(not(feature = "sqlite"), expect(clippy::unused_async, reason = "stores that are files or servers wait"))]
pub async fn open(url: &str) -> Result<Arc<dyn SessionBackend>> {
    match url.split_once(':') {
        Some(("memory", "")) => Ok(Arc::new(MemoryBackend::new())),
        #[cfg(feature = "sqlite")]
        Some(("sqlite", path)) => Ok(Arc::new(SqliteBackend::open(path).await?)),
        _ => Err(Error::Unavailable(format!("this build knows {KNOWN_URLS}"))),
    }
}

#[cfg(feature = "sqlite")]
const KNOWN_URLS: &str = "`memory:` and `sqlite:PATH`";
#[cfg(not(feature = "sqlite"))]
const KNOWN_URLS: &str = "`memory:`";
