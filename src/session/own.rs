//! One's own sessions: those of one person at one frontend, seen and ended from any of them.
//!
//! Only the caller's cookie is here. The others are found by their subject and known by their cards; their tokens do not open, so
//! they are discarded with the row and not revoked.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};

use super::user::Card;
use super::{Device, Loaded, Sessions};
use crate::clock::Timestamp;
use crate::store::{self, Reason, SessionKey, Term};

/// A session of the caller's own, as its card and its row tell of it.
#[derive(Debug)]
pub(crate) struct OwnSession {
    pub(crate) created_at: Timestamp,
    /// When it was last used, to a twentieth of the idle time, by the store's clock.
    pub(crate) last_seen_at: Timestamp,
    pub(crate) device: Option<Device>,
    /// It is the caller's, or took its place.
    pub(crate) is_current: bool,
    key: SessionKey,
    predecessor: Option<SessionKey>,
    remember: bool,
    ends_at: Option<Timestamp>,
}

impl Sessions {
    /// The caller's live sessions at this frontend, oldest first.
    ///
    /// # Errors
    /// `Unavailable`.
    pub(crate) async fn own(&self, caller: &Loaded) -> store::Result<Vec<OwnSession>> {
        let now = self.now();
        let is_over = |own: &OwnSession| {
            let idle_ends = (!own.remember).then(|| own.last_seen_at + self.options.idle);
            [own.ends_at, idle_ends].into_iter().flatten().any(|end| end <= now)
        };
        let mut own = self.find_own(caller).await?;
        // The row outlives its limits a little.
        own.retain(|own| own.is_current || !is_over(own));
        Ok(own)
    }

    /// Ends the caller's session with this tag, which may be the caller's current one. Whether there was one: a session of somebody
    /// else, or at another frontend, is looked for no more than one that never was.
    ///
    /// # Errors
    /// `Unavailable`: it has not ended, or nobody knows.
    pub(crate) async fn end_own(&self, caller: &Loaded, tag: &str) -> store::Result<bool> {
        let own = self.find_own(caller).await?;
        match own.iter().find(|own| own.tag() == tag) {
            Some(own) => self.end_one(own, caller).await,
            None => Ok(false),
        }
    }

    /// Ends all of the caller's sessions at this frontend but the current one; answers how many. A login that is under way meanwhile
    /// becomes a session.
    ///
    /// # Errors
    /// `Unavailable`; some may have ended.
    pub(crate) async fn end_others(&self, caller: &Loaded) -> store::Result<u64> {
        let others = self.find_own(caller).await?.into_iter().filter(|own| !own.is_current);
        let ends = stream::iter(others).map(async |own| self.end_one(&own, caller).await);
        let count = async |ended, was_there| Ok(ended + u64::from(was_there));
        ends.buffer_unordered(IN_FLIGHT).try_fold(0, count).await
    }

    /// Also those that are past a limit: whether they are is judged by two clocks here, and ending one does no harm.
    async fn find_own(&self, caller: &Loaded) -> store::Result<Vec<OwnSession>> {
        let mut own = Vec::new();
        for row in self.store.list_matching(Term::Subject(caller.user.subject())).await? {
            match self.store.open_card(&row) {
                Ok(card) => own.extend(Card::read(card.expose()).map(|card| OwnSession {
                    created_at: card.created_at,
                    last_seen_at: row.touched_at,
                    is_current: row.key == caller.key() || card.predecessor() == Some(caller.key()),
                    key: row.key,
                    predecessor: card.predecessor(),
                    remember: card.remember,
                    ends_at: card.ends_at,
                    device: card.device,
                })),
                // Frontends that share a registration share its terms; a card opens at its own frontend only.
                Err(store::Error::Corrupt(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(own)
    }

    async fn end_one(&self, own: &OwnSession, by: &Loaded) -> store::Result<bool> {
        // First, so that who is told of an outage here still has the session to end.
        if let Some(predecessor) = own.predecessor {
            self.store.remove_key(predecessor, Reason::ByUser).await?;
        }
        let was_there = self.store.remove_key(own.key, Reason::ByUser).await?;
        if was_there {
            tracing::info!(session = %own.tag(), by = %by.key().tag(), "session ended by its owner");
        }
        Ok(was_there)
    }
}

impl OwnSession {
    pub(crate) fn tag(&self) -> String {
        self.key.tag()
    }
}

/// Sessions that end at the same time. Stores with one writer have them queue, within one call's timeout.
const IN_FLIGHT: usize = 16;
