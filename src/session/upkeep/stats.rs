//! For `cloakroom sessions` alone: sessions counted, and those removed that are over or older than a time.

use serde::{Serialize, Serializer};

use super::{Card, Upkeep};
use crate::clock::Timestamp;
use crate::store::{Cursor, Error, Listed, Result as StoreResult, key_id_of};

/// How many sessions there are. Each live one is counted once in `frontends`, `unknown_key` or `unreadable`.
#[derive(Debug, Serialize)]
pub(crate) struct Stats {
    /// All live sessions.
    pub(crate) sessions: u64,
    /// Those that outlive the browser.
    pub(crate) remembered: u64,
    /// When the oldest began, by the store's clock.
    #[serde(serialize_with = "rfc3339")]
    pub(crate) oldest: Option<Timestamp>,
    /// When the newest began.
    #[serde(serialize_with = "rfc3339")]
    pub(crate) newest: Option<Timestamp>,
    /// By configured frontend, in the configuration's order.
    pub(crate) frontends: Vec<Counted>,
    /// By id of the master key: the ring's keys first, in its order, then keys that are not in it.
    pub(crate) keys: Vec<CountedKey>,
    /// Sealed under a key that is not in the ring, or by a newer version of this program.
    pub(crate) unknown_key: u64,
    /// Of a frontend that is not configured any more, or damaged.
    pub(crate) unreadable: u64,
}

/// Sessions of one frontend.
#[derive(Debug, Serialize)]
pub(crate) struct Counted {
    /// The frontend's id.
    pub(crate) id: String,
    pub(crate) sessions: u64,
    pub(crate) remembered: u64,
}

/// Sessions under one master key.
#[derive(Debug, Serialize)]
pub(crate) struct CountedKey {
    /// 8 hex digits.
    pub(crate) id: String,
    /// What the key does here.
    pub(crate) role: KeyRole,
    pub(crate) sessions: u64,
}

/// What a master key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum KeyRole {
    /// It is the first.
    Seals,
    /// It is another of the ring.
    Opens,
    /// It is not in the ring.
    Missing,
}

impl Upkeep {
    /// Counts all live sessions, a page at a time.
    ///
    /// # Errors
    /// `Unavailable`.
    pub(crate) async fn stats(&self) -> StoreResult<Stats> {
        let (mut stats, mut cursor) = (self.no_sessions(), Some(Cursor::default()));
        while let Some(at) = cursor {
            let page = self.store().scan(at).await?;
            page.rows.iter().for_each(|listed| self.count(listed, &mut stats));
            cursor = page.next;
        }
        Ok(stats)
    }

    /// Removes rows that have expired; answers how many.
    ///
    /// # Errors
    /// `Unavailable`.
    pub(crate) async fn purge(&self) -> StoreResult<u64> {
        self.store().remove_expired().await
    }

    /// Ends every session that began before `time`; answers how many. Needs no key that fits.
    ///
    /// # Errors
    /// `Unavailable`; some sessions may have ended.
    pub(crate) async fn end_older(&self, time: Timestamp) -> StoreResult<u64> {
        self.end_where(|listed| listed.created_at < time).await
    }

    fn no_sessions(&self) -> Stats {
        let frontends = self.frontends.iter().map(|frontend| frontend.scope().frontend.clone());
        let ids = self.store().key_ids().into_iter().enumerate();
        let role = |nth| if nth == 0 { KeyRole::Seals } else { KeyRole::Opens };
        Stats {
            sessions: 0,
            remembered: 0,
            oldest: None,
            newest: None,
            frontends: frontends.map(|id| Counted { id, sessions: 0, remembered: 0 }).collect(),
            keys: ids.map(|(nth, id)| CountedKey { id, role: role(nth), sessions: 0 }).collect(),
            unknown_key: 0,
            unreadable: 0,
        }
    }

    fn count(&self, listed: &Listed, stats: &mut Stats) {
        stats.sessions += 1;
        let began = Some(listed.created_at);
        stats.oldest = stats.oldest.or(began).min(began);
        stats.newest = stats.newest.max(began);
        if let Some(id) = key_id_of(&listed.card) {
            stats.count_key(id);
        }
        for (frontend, counted) in self.frontends.iter().zip(&mut stats.frontends) {
            match frontend.open_card(listed) {
                Ok(card) => {
                    let remembered = Card::read(card.expose()).is_some_and(|card| card.remember);
                    counted.sessions += 1;
                    counted.remembered += u64::from(remembered);
                    stats.remembered += u64::from(remembered);
                    return;
                }
                Err(Error::Unavailable(_)) => {
                    stats.unknown_key += 1;
                    return;
                }
                Err(Error::Corrupt(_)) => {}
            }
        }
        stats.unreadable += 1;
    }
}

impl Stats {
    fn count_key(&mut self, id: String) {
        match self.keys.iter_mut().find(|key| key.id == id) {
            Some(key) => key.sessions += 1,
            None => self.keys.push(CountedKey { id, role: KeyRole::Missing, sessions: 1 }),
        }
    }
}

#[expect(clippy::ref_option, reason = "serde asks for it")]
fn rfc3339<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(Timestamp::rfc3339).serialize(serializer)
}
