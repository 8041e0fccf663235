//! The session id: what the browser holds and nobody else.
//!
//! It is in the cookie, lends itself to derive keys, and is never at rest: rows are named by its digest (`SessionKey`).

use std::fmt;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tower_sessions::session::Id;

use super::{Digest, SessionKey};
use crate::secret::{self, Secret};

/// 128 random bits that name a session to its browser. `Debug` shows the session's tag only.
#[derive(Clone, Copy)]
pub(crate) struct SessionId {
    bits: [u8; 16],
    key: SessionKey,
}

impl SessionId {
    /// A fresh id.
    pub(crate) fn random() -> Self {
        Self::from_bits(secret::random())
    }

    /// Reads a cookie's value: exactly the 22 characters that [`cookie_value`](Self::cookie_value) writes, or nothing. Another spelling
    /// of the same bits is refused, since it would name another row.
    pub(crate) fn parse(cookie: &str) -> Option<Self> {
        let Id(bits) = cookie.parse().ok()?;
        let bits = bits.to_le_bytes();
        (spelled(bits) == cookie.as_bytes()).then(|| Self { bits, key: key_of(cookie.as_bytes()) })
    }

    /// The cookie's value: 22 characters of base64url.
    pub(crate) fn cookie_value(self) -> Secret<String> {
        Secret::new(Id::from(self).to_string())
    }

    /// The row's name: SHA-256 of the cookie's value.
    pub(crate) fn key(self) -> SessionKey {
        self.key
    }

    /// The bits that keys are derived from.
    pub(super) fn as_bytes(&self) -> &[u8; 16] {
        &self.bits
    }

    fn from_bits(bits: [u8; 16]) -> Self {
        Self { bits, key: key_of(&spelled(bits)) }
    }
}

impl PartialEq for SessionId {
    fn eq(&self, other: &Self) -> bool {
        self.bits == other.bits
    }
}

impl Eq for SessionId {}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionId(of {})", self.key().tag())
    }
}

impl From<Id> for SessionId {
    fn from(id: Id) -> Self {
        Self::from_bits(id.0.to_le_bytes())
    }
}

impl From<SessionId> for Id {
    fn from(id: SessionId) -> Self {
        Self(i128::from_le_bytes(id.bits))
    }
}

impl Digest {
    /// The digest of a text that is used once.
    pub(crate) fn of(text: &str) -> Self {
        Self::from_bytes(sha256(text.as_bytes()))
    }
}

/// The bits as a cookie spells them.
fn spelled(bits: [u8; 16]) -> [u8; LENGTH] {
    let mut text = [0; LENGTH];
    // 16 bytes are 22 characters.
    let _ = URL_SAFE_NO_PAD.encode_slice(bits, &mut text);
    text
}

fn key_of(cookie: &[u8]) -> SessionKey {
    SessionKey::from_bytes(sha256(cookie))
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest::digest(&digest::SHA256, bytes).as_ref().try_into().expect("SHA-256 gives 32 bytes")
}

const LENGTH: usize = 22;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_id_reads_what_it_writes() {
        let id = SessionId::random();
        assert_eq!(SessionId::parse(id.cookie_value().expose()), Some(id));
        assert_eq!(SessionId::from(Id::from(id)), id);
        assert_eq!(id.cookie_value().expose().len(), 22);
    }

    #[test]
    fn only_the_canonical_spelling_is_an_id() {
        assert!(SessionId::parse("AAAAAAAAAAAAAAAAAAAAAA").is_some());
        for text in [
            "",
            "AAAAAAAAAAAAAAAAAAAAAB",
            "AAAAAAAAAAAAAAAAAAAAAA==",
            "AAAAAAAAAAAAAAAAAAAAA",
            " AAAAAAAAAAAAAAAAAAAAAA",
        ] {
            assert_eq!(SessionId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn an_id_is_not_shown() {
        let id = SessionId::random();
        assert!(!format!("{id:?}").contains(id.cookie_value().expose().as_str()));
    }

    #[test]
    fn the_key_is_the_digest_of_the_cookie() {
        let key = SessionId::parse("AAAAAAAAAAAAAAAAAAAAAA").unwrap().key();
        assert_eq!(key.tag(), "8a5bdb4cc1516412");
    }

    proptest! {
        #[test]
        fn no_cookie_panics_and_each_id_has_one_spelling(text in "[A-Za-z0-9_-]{20,24}|\\PC*") {
            if let Some(id) = SessionId::parse(&text) {
                let value = id.cookie_value();
                prop_assert_eq!(value.expose(), &text);
            }
        }
    }
}
