//! What becomes of a store's verbs. A conditional one says why it did nothing: moved, gone, held, already there.

use std::time::Duration;

use super::{Row, SessionKey};
use crate::secret;

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

/// What became of [`SessionBackend::swap_tokens`](super::SessionBackend::swap_tokens).
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

/// What became of [`SessionBackend::take_lease`](super::SessionBackend::take_lease).
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

/// What became of [`SessionBackend::claim`](super::SessionBackend::claim).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// We are the first.
    First,
    /// Somebody was before us.
    Already,
}
