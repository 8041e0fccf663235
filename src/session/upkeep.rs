//! Looking after all sessions of an installation from outside: counted, purged, ended. For `cloakroom sessions`.
//!
//! Nobody's cookie is here, so no session is opened: what is known of one is its card, its index terms, and the times that stand in
//! clear. All of it works while replicas serve; each of their calls reads the row.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::{Serialize, Serializer};

use super::user::Card;
use crate::clock::Timestamp;
use crate::store::{
    Cursor, Error, Listed, Reason, Result as StoreResult, SealedStore, SessionKey, Term, TermEnding, TermTarget,
    key_id_of,
};

/// The sessions of all frontends.
pub(crate) struct Upkeep {
    frontends: Vec<SealedStore>,
}

/// Which sessions to end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Whose<'a> {
    /// Those of this subject.
    Subject(&'a str),
    /// Those of this session at the provider.
    Sid(&'a str),
    /// All.
    Everybodys,
}

/// Where to end them: at frontends that are both. Nothing named means all.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Meant<'a> {
    /// The frontend's id.
    pub(crate) frontend: Option<&'a str>,
    /// The issuer of the frontend's provider.
    pub(crate) issuer: Option<&'a str>,
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpkeepError {
    /// No frontend is meant.
    #[error("no frontend is configured by that name or with that issuer; there is {0}")]
    NoFrontend(String),
    /// The store.
    #[error(transparent)]
    Store(#[from] Error),
}

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
    /// Of these frontends, which share a store and a key ring; at least one.
    pub(crate) fn new(frontends: Vec<SealedStore>) -> Self {
        Self { frontends }
    }

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

    /// Ends sessions; answers how many. Logins in flight are not kept from becoming sessions: who must not come back is locked out at
    /// the provider.
    ///
    /// # Errors
    /// `NoFrontend`: nothing has ended. `Store`: some sessions may have ended.
    pub(crate) async fn end(&self, whose: Whose<'_>, meant: Meant<'_>) -> Result<u64, UpkeepError> {
        let frontends = self.meant(meant)?;
        let is_of_these = |listed: &Listed| frontends.iter().any(|frontend| frontend.open_card(listed).is_ok());
        let term = match whose {
            Whose::Subject(subject) => Term::Subject(subject),
            Whose::Sid(sid) => Term::Sid(sid),
            // Without a name also what no frontend can read.
            Whose::Everybodys if meant.is_everywhere() => return Ok(self.end_where(|_| true).await?),
            Whose::Everybodys => return Ok(self.end_where(is_of_these).await?),
        };
        let mut ended = 0;
        for frontend in &frontends {
            ended += if meant.frontend.is_some() {
                // Terms are those of the registration, which other frontends may share. The card tells them apart.
                let listed = frontend.list_matching(term).await?;
                self.end_keys(listed.iter().filter(|listed| is_of_these(listed)).map(|listed| listed.key)).await?
            } else {
                let target = TermTarget { all_of: &[term], issued_not_after: None };
                let ending = TermEnding { targets: &[target], tombstones: &[], reason: Reason::Admin };
                frontend.end_matching(&ending).await?
            };
        }
        Ok(ended)
    }

    fn meant(&self, meant: Meant<'_>) -> Result<Vec<&SealedStore>, UpkeepError> {
        let found: Vec<_> = self.frontends.iter().filter(|frontend| meant.covers(frontend)).collect();
        if found.is_empty() {
            let known = self.frontends.iter().map(SealedStore::scope);
            let known: Vec<_> = known.map(|scope| format!("{} ({})", scope.frontend, scope.issuer)).collect();
            return Err(UpkeepError::NoFrontend(known.join(", ")));
        }
        Ok(found)
    }

    async fn end_where(&self, is_meant: impl Fn(&Listed) -> bool) -> StoreResult<u64> {
        let (mut ended, mut cursor) = (0, Some(Cursor::default()));
        while let Some(at) = cursor {
            let page = self.store().scan(at).await?;
            ended += self.end_keys(page.rows.iter().filter(|listed| is_meant(listed)).map(|listed| listed.key)).await?;
            cursor = page.next;
        }
        Ok(ended)
    }

    async fn end_keys(&self, keys: impl Iterator<Item = SessionKey>) -> StoreResult<u64> {
        let ends = stream::iter(keys).map(|key| self.store().remove_key(key, Reason::Admin));
        let count = async |ended, was_there| Ok(ended + u64::from(was_there));
        ends.buffer_unordered(IN_FLIGHT).try_fold(0, count).await
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

    /// Any frontend's view: the store is the same.
    fn store(&self) -> &SealedStore {
        &self.frontends[0]
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

impl Meant<'_> {
    fn is_everywhere(self) -> bool {
        self.frontend.is_none() && self.issuer.is_none()
    }

    fn covers(self, store: &SealedStore) -> bool {
        let scope = store.scope();
        self.frontend.is_none_or(|id| id == scope.frontend) && self.issuer.is_none_or(|issuer| issuer == scope.issuer)
    }
}

#[expect(clippy::ref_option, reason = "serde asks for it")]
fn rfc3339<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(Timestamp::rfc3339).serialize(serializer)
}

/// Sessions that end at the same time. Stores with one writer have them queue, within one call's timeout.
const IN_FLIGHT: usize = 16;
