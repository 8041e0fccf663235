//! What things are called in Redis. The part in braces decides the slot.

use crate::store::names::{hex, unhex};
use crate::store::{Digest, IndexKey, SessionKey};

/// What every name begins with.
#[derive(Clone, Debug)]
pub(super) struct Keys(pub(super) String);

impl Keys {
    pub(super) fn row(&self, key: SessionKey) -> String {
        self.name('s', key.as_bytes())
    }

    /// The rows that carry a term.
    pub(super) fn term(&self, term: IndexKey) -> String {
        self.name('t', term.as_bytes())
    }

    pub(super) fn tombstone(&self, term: IndexKey) -> String {
        self.name('d', term.as_bytes())
    }

    pub(super) fn claim(&self, digest: Digest) -> String {
        self.name('c', digest.as_bytes())
    }

    pub(super) fn once(&self, digest: Digest) -> String {
        self.name('o', digest.as_bytes())
    }

    /// The channel that signals are told on.
    pub(super) fn channel(&self) -> String {
        format!("{}:signals", self.0)
    }

    /// A pattern that every row's name has and no other name.
    pub(super) fn rows(&self) -> String {
        format!("{}:s:{{*", self.0)
    }

    /// The row that has this name.
    pub(super) fn row_named(&self, name: &str) -> Option<SessionKey> {
        let digits = name.strip_prefix(self.0.as_str())?.strip_prefix(":s:{")?.strip_suffix('}')?;
        Some(SessionKey::from_bytes(unhex(digits)?))
    }

    fn name(&self, kind: char, bytes: &[u8; 32]) -> String {
        format!("{}:{kind}:{{{}}}", self.0, hex(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_known_by_its_name() {
        let (keys, key) = (Keys("shop".to_owned()), SessionKey::from_bytes([0x5a; 32]));
        assert_eq!(keys.row_named(&keys.row(key)), Some(key));
        for other in [
            "shop:s:{}",
            "shop:s:{zz}",
            &keys.row(key).replace("shop", "bar"),
            &keys.term(IndexKey::from_bytes([1; 32])),
        ] {
            assert_eq!(keys.row_named(other), None, "{other}");
        }
    }
}
