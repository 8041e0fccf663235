//! Looking after all sessions of an installation from outside: listed, ended, counted. For operators, by the admin listener or by
//! `cloakroom sessions`.
//!
//! Nobody's cookie is here, so no session is opened: what is known of one is its card, its index terms, and the times that stand in
//! clear. All of it works while replicas serve; each of their calls reads the row.

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;

#[cfg(feature = "server")]
mod stats;

#[cfg(feature = "server")]
pub(crate) use stats::{KeyRole, Stats};

use super::Device;
use super::user::Card;
use crate::store::{
    Cursor, Error, Listed, Reason, Result as StoreResult, SealedStore, SessionKey, Term, TermEnding, TermTarget,
};

/// The sessions of all frontends.
#[derive(Debug)]
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
    /// The one that goes by this tag in logs and in `/bff/user`.
    Tag(&'a str),
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

/// What is known of a live session without its cookie. Times are RFC 3339.
#[derive(Debug, Serialize)]
pub(crate) struct Known {
    /// The frontend's id.
    frontend: String,
    /// The session's public name.
    tag: String,
    /// When it began.
    created_at: String,
    /// When it was last used, to a twentieth of the idle time; by the store's clock.
    last_seen_at: String,
    /// What it was opened with, if that is known: `Firefox on Linux`.
    device: Option<Device>,
    /// Whether it outlives the browser.
    remembered: bool,
}

impl Known {
    fn new(frontend: &SealedStore, listed: &Listed, card: &Card) -> Self {
        Self {
            frontend: frontend.scope().frontend.clone(),
            tag: listed.key.tag(),
            created_at: card.created_at.rfc3339(),
            last_seen_at: listed.touched_at.rfc3339(),
            device: card.device.clone(),
            remembered: card.remember,
        }
    }
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

impl Upkeep {
    /// Of these frontends, which share a store and a key ring; at least one.
    pub(crate) fn new(frontends: Vec<SealedStore>) -> Self {
        Self { frontends }
    }

    /// The live sessions that carry `term`, by frontend, oldest first. What does not open, for want of its key or because it was
    /// damaged, is left out.
    ///
    /// # Errors
    /// `NoFrontend`, `Store`.
    pub(crate) async fn list(&self, term: Term<'_>, meant: Meant<'_>) -> Result<Vec<Known>, UpkeepError> {
        let mut known = Vec::new();
        for frontend in self.meant(meant)? {
            for listed in frontend.list_matching(term).await? {
                let card = frontend.open_card(&listed).ok().and_then(|card| Card::read(card.expose()));
                known.extend(card.map(|card| Known::new(frontend, &listed, &card)));
            }
        }
        Ok(known)
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
            // A tag is no index term, since it is derived from the row's name.
            Whose::Tag(tag) if meant.is_everywhere() => return Ok(self.end_where(|row| row.key.tag() == tag).await?),
            Whose::Tag(tag) => {
                return Ok(self.end_where(|row| row.key.tag() == tag && is_of_these(row)).await?);
            }
            // Without a name also what no frontend can read.
            Whose::Everybodys if meant.is_everywhere() => return Ok(self.end_where(|_| true).await?),
            Whose::Everybodys => return Ok(self.end_where(is_of_these).await?),
        };
        let mut ended = 0;
        for frontend in &frontends {
            ended += if meant.frontend.is_some() {
                // Terms are those of the registration, which other frontends may share. The card tells them apart.
                let listed = frontend.list_matching(term).await?;
                self.end_those(&listed, is_of_these).await?
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
            ended += self.end_those(&page.rows, &is_meant).await?;
            cursor = page.next;
        }
        Ok(ended)
    }

    async fn end_those(&self, listed: &[Listed], is_meant: impl Fn(&Listed) -> bool) -> StoreResult<u64> {
        let keys: Vec<SessionKey> = listed.iter().filter(|row| is_meant(row)).map(|row| row.key).collect();
        let ends = stream::iter(keys).map(|key| self.store().remove_key(key, Reason::Admin));
        let count = async |ended, was_there| Ok(ended + u64::from(was_there));
        ends.buffer_unordered(IN_FLIGHT).try_fold(0, count).await
    }

    /// Any frontend's view: the store is the same.
    fn store(&self) -> &SealedStore {
        &self.frontends[0]
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

/// Sessions that end at the same time. Stores with one writer have them queue, within one call's timeout.
const IN_FLIGHT: usize = 16;
