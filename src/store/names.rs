//! What things in a store are called: digests, so that no name says whose it is.

use std::fmt;

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
    /// A keyed digest of something a row can be found by (subject, `sid`). Made by the [`Keyring`](super::Keyring).
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

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// 32 bytes from their 64 hex digits.
pub(super) fn unhex(digits: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if digits.len() != 64 || !digits.is_ascii() {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&digits[at..at + 2], 16).ok()?;
    }
    Some(bytes)
}
