//! Rows as they are written, read and listed. Every blob in them is sealed.

use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;

use super::{IndexKey, SessionKey};
use crate::clock::Timestamp;

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

/// A row as it was read. Clones share its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The sealed session half.
    pub session: Bytes,
    /// The sealed tokens half.
    pub tokens: Bytes,
    /// The sealed card.
    pub card: Bytes,
    /// Counts the writes of the tokens half, from 1.
    pub tokens_version: u64,
    /// `iat` of the login's ID token.
    pub issued_at: Timestamp,
    /// The row was replaced by a newer login and answers only a little longer; its tokens may not be refreshed.
    pub retired: bool,
    /// How long the row lives from now if nothing touches it.
    pub expires_in: Duration,
}

/// What [`SessionBackend::touch`](super::SessionBackend::touch) writes beside the session half when keys have rotated.
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

/// Where a [`SessionBackend::scan`](super::SessionBackend::scan) goes on. What is in it is for the store alone; an empty one, the
/// default, starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cursor(pub String);

/// A page of a scan.
#[derive(Clone, Debug)]
pub struct Page {
    /// The rows.
    pub rows: Vec<Listed>,
    /// Where the next page starts; nothing if this was the last.
    pub next: Option<Cursor>,
}

/// A whole live row with everything but its lease, as it moves from one store to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The row.
    pub key: SessionKey,
    /// What it can be found by.
    pub terms: Vec<IndexKey>,
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
    /// When the row was written.
    pub created_at: Timestamp,
    /// When the row was last touched.
    pub touched_at: Timestamp,
    /// How long the row lives from now if nothing touches it.
    pub expires_in: Duration,
}
