//! Rows: written, read, touched, removed, one at a time.
//!
//! Terms are kept under their own keys, so on other nodes of a cluster, and there is no step that changes both. The order makes up for
//! it: a row's terms are there before the row is, and outlive it. Whoever finds a row by a term looks at the row, whose own list of
//! terms decides.

use std::time::Duration;

use super::Store;
use super::failure::{Done, Failure, read};
use super::request::{INDEX, INSERT, READ, REMOVE, RETIRE, Request, TOUCH};
use super::signals::told;
use super::stored::{Removal, Stored, joined, millis, split};
use crate::store::{
    Exported, IndexKey, Inserted, Limit, NewRow, Reason, Replaced, Reseal, Row, SessionKey, Signal, Updated,
};

impl Store {
    /// Row, then tombstones, as the seam's order wants it. If we die in between, a row stays that nobody knows the id of: the cookie
    /// would have come with our answer.
    pub(super) async fn insert(&self, key: SessionKey, row: &NewRow, limit: Option<&Limit>) -> Done<Inserted> {
        let Some(created) = self.add(key, row, &Times::now()).await? else { return Ok(Inserted::Exists) };
        if self.is_ended(row).await? {
            self.remove_quietly(key).await?;
            return Ok(Inserted::Ended);
        }
        Ok(Inserted::Inserted { evicted: self.evict(limit, (&created, key)).await? })
    }

    /// The new row comes first. If we die before `old` retires, the person still has the session they had, and the new row is one
    /// that nobody knows the id of. The other way round they would have neither.
    pub(super) async fn replace(
        &self,
        old: SessionKey,
        retire: Duration,
        key: SessionKey,
        row: &NewRow,
        limit: Option<&Limit>,
    ) -> Done<Replaced> {
        let Some(created) = self.add(key, row, &Times::now()).await? else { return Ok(Replaced::Exists) };
        let is_ended = self.is_ended(row).await?;
        if is_ended {
            self.remove_quietly(key).await?;
        }
        let old = self.retire(old, retire).await?;
        if is_ended {
            return Ok(Replaced::Ended);
        }
        // The old row is retired; a limit that cannot be kept now is no reason to log somebody out.
        let evicted = self.evict(limit, (&created, key)).await.unwrap_or_else(|failure| {
            tracing::warn!(%failure, "too many sessions of one subject may be left");
            Vec::new()
        });
        Ok(Replaced::Replaced { old, evicted })
    }

    pub(super) async fn load(&self, key: SessionKey) -> Done<Option<Row>> {
        Ok(self.read(key).await?.map(Stored::row))
    }

    pub(super) async fn export(&self, key: SessionKey) -> Done<Option<Exported>> {
        Ok(self.read(key).await?.filter(|stored| !stored.retired).map(|stored| stored.exported(key)))
    }

    pub(super) async fn import(&self, row: &Exported) -> Done<bool> {
        let new = NewRow {
            terms: row.terms.clone(),
            session: row.session.clone(),
            tokens: row.tokens.clone(),
            card: row.card.clone(),
            issued_at: row.issued_at,
            live_for: row.expires_in,
        };
        let times = Times {
            version: row.tokens_version,
            created: Some(row.created_at.unix_millis().saturating_mul(1000)),
            touched: Some(row.touched_at.unix_millis()),
        };
        Ok(self.add(row.key, &new, &times).await?.is_some())
    }

    /// Terms are extended before the row is. They are the row's own: if somebody gave it others meanwhile, those are extended too.
    /// Terms that a re-sealing leaves behind run out by themselves; taking them away could meet another replica that, with an older
    /// ring, has just put them back.
    pub(super) async fn touch(
        &self,
        key: SessionKey,
        live_for: Duration,
        session: &[u8],
        reseal: Option<&Reseal>,
    ) -> Done<Updated> {
        for _ in 0..ATTEMPTS {
            let terms = match reseal {
                Some(reseal) => joined(&reseal.terms),
                None => {
                    match read::<Option<Vec<u8>>>(self.ask(Request::read("HGET", self.keys.row(key)).arg("x")).await?)?
                    {
                        Some(terms) => terms,
                        None => return Ok(Updated::Gone),
                    }
                }
            };
            self.index(key, &split(&terms), live_for).await?;
            let request = Request::script(&TOUCH, self.keys.row(key)).arg(millis(live_for)).arg(session).arg(&terms);
            let request = match reseal {
                None => request.arg("keep"),
                Some(Reseal { card, tokens, .. }) => {
                    let (version, tokens) = tokens
                        .as_ref()
                        .map_or((String::new(), &[][..]), |(version, tokens)| (version.to_string(), tokens));
                    request.arg("reseal").arg(card).arg(version).arg(tokens)
                }
            };
            match read(self.ask(request).await?)? {
                0 => return Ok(Updated::Gone),
                1 => return Ok(Updated::Updated),
                _ => {}
            }
        }
        Err(Failure::Unexpected("other terms each time a row was touched"))
    }

    pub(super) async fn remove(&self, key: SessionKey, reason: Reason) -> Done<Option<Row>> {
        let request = self.removal(key, Some(reason)).arg("any").arg("").arg("").arg("").arg("row");
        let Removal::Removed(stored) = Removal::of_row(self.ask(request).await?)? else { return Ok(None) };
        self.unindex(&[(key, stored.terms.clone())]).await;
        Ok(Some(stored.row()))
    }

    pub(super) async fn remove_if(&self, key: SessionKey, expected: u64, reason: Reason) -> Done<Updated> {
        let request = self.removal(key, Some(reason)).arg("live").arg(expected).arg("").arg("").arg("terms");
        match Removal::of_terms(self.ask(request).await?)? {
            Removal::Gone => Ok(Updated::Gone),
            Removal::Kept => Ok(Updated::Moved),
            Removal::Removed(terms) => {
                self.unindex(&[(key, terms)]).await;
                Ok(Updated::Updated)
            }
        }
    }

    /// Takes a row back that nobody has heard of.
    async fn remove_quietly(&self, key: SessionKey) -> Done<()> {
        let request = self.removal(key, None).arg("any").arg("").arg("").arg("").arg("terms");
        if let Removal::Removed(terms) = Removal::of_terms(self.ask(request).await?)? {
            self.unindex(&[(key, terms)]).await;
        }
        Ok(())
    }

    /// The beginning of a request to remove a row; what it must be like follows.
    pub(super) fn removal(&self, key: SessionKey, reason: Option<Reason>) -> Request {
        let message = reason.map(|reason| told(Signal::Ended { key, reason })).unwrap_or_default();
        Request::script(&REMOVE, self.keys.row(key)).arg(self.keys.channel()).arg(message)
    }

    async fn retire(&self, key: SessionKey, retire: Duration) -> Done<Option<Row>> {
        let request = Request::script(&RETIRE, self.keys.row(key))
            .arg(millis(retire))
            .arg(self.keys.channel())
            .arg(told(Signal::replaced(key, retire)));
        let stored = Stored::parse(self.ask(request).await?)?;
        if let Some(stored) = stored.as_ref().filter(|_| retire.is_zero()) {
            self.unindex(&[(key, stored.terms.clone())]).await;
        }
        Ok(stored.map(Stored::row))
    }

    /// Terms, then the row. Answers when it was created, in microseconds; nothing if there was one.
    async fn add(&self, key: SessionKey, row: &NewRow, times: &Times) -> Done<Option<String>> {
        self.index(key, &row.terms, row.live_for).await?;
        let number = |number: Option<i64>| number.map_or_else(String::new, |number| number.to_string());
        let request = Request::script(&INSERT, self.keys.row(key))
            .arg(&row.session)
            .arg(&row.tokens)
            .arg(&row.card)
            .arg(times.version)
            .arg(row.issued_at.unix_millis())
            .arg(millis(row.live_for))
            .arg(joined(&row.terms))
            .arg(number(times.created))
            .arg(number(times.touched));
        read(self.ask(request).await?)
    }

    async fn index(&self, key: SessionKey, terms: &[IndexKey], live_for: Duration) -> Done<()> {
        let life = millis(live_for.saturating_add(MARGIN));
        let request = |&term: &IndexKey| Request::script(&INDEX, self.keys.term(term)).arg(key.as_bytes()).arg(life);
        self.servers.ask_all(terms.iter().map(request).collect()).await?;
        Ok(())
    }

    async fn read(&self, key: SessionKey) -> Done<Option<Stored>> {
        Stored::parse(self.ask(Request::script(&READ, self.keys.row(key))).await?)
    }
}

/// What a row that is moved here brings with it, and a new one does not.
struct Times {
    version: u64,
    /// In microseconds.
    created: Option<i64>,
    /// In milliseconds.
    touched: Option<i64>,
}

impl Times {
    fn now() -> Self {
        Self { version: 1, created: None, touched: None }
    }
}

/// How much longer than its row a term stays: for the time between the two writes, and for nodes whose clocks differ.
const MARGIN: Duration = Duration::from_mins(5);
/// How often a touch looks at the terms again that somebody else changes under it.
const ATTEMPTS: u32 = 3;
