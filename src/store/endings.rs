//! How sessions end, and how everybody hears of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{IndexKey, SessionKey};
use crate::clock::Timestamp;

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

impl Reason {
    /// The same words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Logout => "logout",
            Self::ReplacedByOtherUser => "replaced-by-other-user",
            Self::Expired => "expired",
            Self::ProviderLogout => "provider-logout",
            Self::RefreshRefused => "refresh-refused",
            Self::RefreshLost => "refresh-lost",
            Self::ByUser => "by-user",
            Self::Limit => "limit",
            Self::Admin => "admin",
            Self::Unreadable => "unreadable",
        }
    }
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
