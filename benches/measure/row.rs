//! Rows by number: which is why nobody has to remember a million keys to find them again.
//!
//! The bytes are noise, as sealed bytes are: no store can compress them.

use std::time::Duration;

use aws_lc_rs::digest;
use cloakroom::clock::Timestamp;
use cloakroom::store::{IndexKey, NewRow, SessionKey};

/// The key of the `number`th row.
pub(crate) fn key(number: u64) -> SessionKey {
    SessionKey::from_bytes(digest_of(b"key", number))
}

/// What only the `number`th row can be found by, as by its `sid`.
pub(crate) fn sid(number: u64) -> IndexKey {
    IndexKey::from_bytes(digest_of(b"sid", number))
}

/// A row of about 3 KB: 700 bytes of identity, claims and times; 2.3 KB of tokens, which is an access token and an ID token as JWTs
/// with RSA signatures, and a refresh token; and a card. Sizes vary by a quarter. Every row has a subject of its own.
pub(crate) fn row(number: u64, live_for: Duration) -> NewRow {
    let mut random = Random::new(number);
    NewRow {
        terms: vec![IndexKey::from_bytes(digest_of(b"sub", number)), sid(number)],
        session: session_half(&mut random),
        tokens: noise(&mut random, 2300),
        card: random.bytes(100),
        issued_at: ISSUED_AT,
        live_for,
    }
}

/// A session half, as a touch writes it.
pub(crate) fn session_half(random: &mut Random) -> Vec<u8> {
    noise(random, 700)
}

/// The bytes of a row that a store cannot do without.
pub(crate) fn bytes(row: &NewRow) -> u64 {
    let digests = size_of::<SessionKey>() + row.terms.len() * size_of::<IndexKey>();
    (digests + row.session.len() + row.tokens.len() + row.card.len()) as u64
}

/// SplitMix64: not secret, only different.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let words = (0..length.div_ceil(8)).map(|_| self.next().to_le_bytes());
        let mut bytes: Vec<u8> = words.flatten().collect();
        bytes.truncate(length);
        bytes
    }
}

/// `mean` bytes, more or less by up to a quarter.
fn noise(random: &mut Random, mean: u64) -> Vec<u8> {
    let length = mean - mean / 4 + random.next() % (mean / 2);
    random.bytes(usize::try_from(length).unwrap_or_default())
}

fn digest_of(kind: &[u8], number: u64) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, &[kind, &number.to_be_bytes()].concat());
    digest.as_ref().try_into().expect("SHA-256 gives 32 bytes")
}

/// Before every tombstone: no row is refused for it.
pub(crate) const ISSUED_AT: Timestamp = Timestamp::UNIX_EPOCH;
