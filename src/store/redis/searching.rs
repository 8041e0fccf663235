//! Rows by what they carry: ended, listed, limited; and all rows.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use redis::{Value, cmd};

use super::Store;
use super::failure::{Done, Failure, read};
use super::lines::Lines;
use super::request::{BURY, Request};
use super::servers::Servers;
use super::stored::{Removal, joined, millis, split};
use crate::clock::Timestamp;
use crate::store::{
    Cursor, Ending, EndingTarget, IndexKey, Limit, Listed, NewRow, Page, Reason, SessionKey, TOMBSTONE_LIFE,
};

impl Store {
    /// Tombstones first: a login that does not meet them has its row where we look for it next.
    pub(super) async fn end_matching(&self, ending: &Ending) -> Done<u64> {
        let tombstones = ending.tombstones.iter().map(|tombstone| {
            Request::script(&BURY, self.keys.tombstone(tombstone.term))
                .arg(tombstone.issued_not_after.unix_millis())
                .arg(millis(TOMBSTONE_LIFE))
        });
        self.servers.ask_all(tombstones.collect()).await?;
        let mut ended = 0;
        for target in &ending.targets {
            ended += self.end_target(target, ending.reason).await?;
        }
        Ok(ended)
    }

    async fn end_target(&self, target: &EndingTarget, reason: Reason) -> Done<u64> {
        let Some(first) = target.all_of.first() else { return Ok(0) };
        let all_of = joined(&target.all_of);
        let until = target.issued_not_after.map_or_else(String::new, |time| time.unix_millis().to_string());
        let keys = self.indexed(&[*first]).await?;
        let removals = keys
            .iter()
            .map(|&key| self.removal(key, Some(reason)).arg("any").arg("").arg(&all_of).arg(&until).arg("terms"));
        self.take_away(&keys, removals.collect()).await.map(|removed| removed.len() as u64)
    }

    /// Live rows that carry any of these terms, oldest first.
    pub(super) async fn list(&self, any_of: &[IndexKey]) -> Done<Vec<Listed>> {
        let carrying = self.carrying(any_of).await?;
        Ok(carrying.into_iter().map(|found| found.listed).collect())
    }

    /// Removes the oldest rows beyond a limit. Rows newer than the one that was just written are for whoever wrote those.
    pub(super) async fn evict(
        &self,
        limit: Option<&Limit>,
        (created, key): (&str, SessionKey),
    ) -> Done<Vec<SessionKey>> {
        let Some(limit) = limit else { return Ok(Vec::new()) };
        let created: i64 = created.parse().map_err(|_| Failure::Unexpected("a time that is no number"))?;
        let mut keys: Vec<SessionKey> = self
            .carrying(&limit.any_of)
            .await?
            .into_iter()
            .filter(|found| (found.created_micros, found.listed.key) < (created, key))
            .map(|found| found.listed.key)
            .collect();
        let stay = usize::try_from(limit.max.get() - 1).unwrap_or(usize::MAX);
        keys.truncate(keys.len().saturating_sub(stay));
        let removals = keys
            .iter()
            .map(|&key| self.removal(key, Some(Reason::Limit)).arg("live").arg("").arg("").arg("").arg("terms"));
        self.take_away(&keys, removals.collect()).await
    }

    /// Whether a tombstone is there for this row.
    pub(super) async fn is_ended(&self, row: &NewRow) -> Done<bool> {
        let look = |&term: &IndexKey| Request::read("GET", self.keys.tombstone(term));
        for tombstone in self.servers.ask_all(row.terms.iter().map(look).collect()).await? {
            let issued_not_after: Option<i64> = read(tombstone)?;
            if issued_not_after.is_some_and(|until| row.issued_at.unix_millis() <= until) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Sends removals and answers which of the rows went.
    async fn take_away(&self, keys: &[SessionKey], removals: Vec<Request>) -> Done<Vec<SessionKey>> {
        let mut removed = Vec::new();
        for (&key, answer) in keys.iter().zip(self.servers.ask_all(removals).await?) {
            if let Removal::Removed(terms) = Removal::of_terms(answer)? {
                removed.push((key, terms));
            }
        }
        self.unindex(&removed).await;
        Ok(removed.into_iter().map(|(key, _)| key).collect())
    }

    /// Forgets rows that were removed under their terms. What stays for want of an answer finds no row, and runs out.
    pub(super) async fn unindex(&self, removed: &[(SessionKey, Vec<IndexKey>)]) {
        let mut keys: HashMap<IndexKey, Vec<SessionKey>> = HashMap::new();
        for (key, terms) in removed {
            for &term in terms {
                keys.entry(term).or_default().push(*key);
            }
        }
        let forget = keys.iter().flat_map(|(&term, keys)| {
            keys.chunks(MEMBERS).map(move |keys| {
                let request = Request::write("ZREM", self.keys.term(term));
                keys.iter().fold(request, |request, key| request.arg(key.as_bytes()))
            })
        });
        if let Err(failure) = self.servers.ask_all(forget.collect()).await {
            tracing::debug!(error = %failure, "terms of removed rows stay until they run out");
        }
    }

    /// Keys under any of these terms: those of rows that carry one, and some that did.
    async fn indexed(&self, any_of: &[IndexKey]) -> Done<Vec<SessionKey>> {
        let members = |&term: &IndexKey| Request::read("ZRANGE", self.keys.term(term)).arg(0).arg(-1);
        let mut keys = BTreeSet::new();
        for members in self.servers.ask_all(any_of.iter().map(members).collect()).await? {
            keys.extend(read::<Vec<[u8; 32]>>(members)?);
        }
        Ok(keys.into_iter().map(SessionKey::from_bytes).collect())
    }

    async fn carrying(&self, any_of: &[IndexKey]) -> Done<Vec<Found>> {
        let mut found = self.live(&self.indexed(any_of).await?).await?;
        found.retain(|found| found.terms.iter().any(|term| any_of.contains(term)));
        found.sort_by_key(|found| (found.created_micros, found.listed.key));
        Ok(found)
    }

    /// Those rows of these that are live.
    async fn live(&self, keys: &[SessionKey]) -> Done<Vec<Found>> {
        let look = |&key: &SessionKey| {
            let request = Request::read("HMGET", self.keys.row(key));
            ["c", "n", "u", "r", "x"].into_iter().fold(request, Request::arg)
        };
        let answers = self.servers.ask_all(keys.iter().map(look).collect()).await?;
        let found = keys.iter().zip(answers).map(|(&key, answer)| Found::parse(key, answer));
        found.filter_map(Result::transpose).collect()
    }

    /// A page of all rows. The cursor says where on which server, and over which connection: another one may lead to another server
    /// (after a failover), where the same position is another place.
    pub(super) async fn scan(&self, cursor: &Cursor) -> Done<Page> {
        let (layout, primaries) = self.layout().await?;
        let at = match cursor.0.as_str() {
            "" => Position { layout, server: 0, connection: None, place: "0".to_owned() },
            text => Position::parse(text).ok_or(Failure::Disturbed("a cursor of another store"))?,
        };
        let Some(lines) = primaries.get(at.server).filter(|_| layout == at.layout) else {
            return Err(Failure::Disturbed("the cluster changed"));
        };
        let mut scan = cmd("SCAN");
        scan.arg(&at.place).arg("MATCH").arg(self.keys.rows()).arg("COUNT").arg(SCANNED);
        let (answer, connection) = lines.ask_server(&scan).await?;
        if at.connection.is_some_and(|before| before != connection) {
            return Err(Failure::Disturbed("the connection to Redis was lost"));
        }
        let (place, names): (String, Vec<String>) = read(answer)?;
        let keys: Vec<SessionKey> = names.iter().filter_map(|name| self.keys.row_named(name)).collect();
        let rows = self.live(&keys).await?.into_iter().map(|found| found.listed).collect();
        let next = match place.as_str() {
            "0" if at.server + 1 == primaries.len() => None,
            "0" => Some(Position { server: at.server + 1, connection: None, place, ..at }),
            _ => Some(Position { connection: Some(connection), place, ..at }),
        };
        Ok(Page { rows, next: next.map(Position::cursor) })
    }

    async fn layout(&self) -> Done<(u64, Vec<Arc<Lines>>)> {
        match &self.servers {
            Servers::One { lines, .. } => Ok((0, vec![Arc::clone(lines)])),
            Servers::Cluster(cluster) => cluster.layout().await,
        }
    }
}

/// A live row that was looked for.
struct Found {
    listed: Listed,
    created_micros: i64,
    terms: Vec<IndexKey>,
}

impl Found {
    fn parse(key: SessionKey, value: Value) -> Done<Option<Self>> {
        type Columns = (Option<Vec<u8>>, Option<i64>, Option<i64>, Option<u8>, Option<Vec<u8>>);
        let (Some(card), Some(created_micros), Some(touched_at), None, Some(terms)): Columns = read(value)? else {
            return Ok(None);
        };
        let (created_at, touched_at) =
            (Timestamp::from_unix_millis(created_micros / 1000), Timestamp::from_unix_millis(touched_at));
        let listed = Listed { key, card, created_at, touched_at };
        Ok(Some(Self { listed, created_micros, terms: split(&terms) }))
    }
}

/// Where a scan goes on.
struct Position {
    /// Which slots were where when the scan began. Rows that move meanwhile could be missed.
    layout: u64,
    server: usize,
    connection: Option<u64>,
    /// What the server calls it; `0` is its start.
    place: String,
}

impl Position {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(' ');
        let (layout, server) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
        let connection = parts.next()?.parse().ok();
        Some(Self { layout, server, connection, place: parts.next()?.to_owned() })
    }

    fn cursor(self) -> Cursor {
        let connection = self.connection.map_or_else(|| "-".to_owned(), |nth| nth.to_string());
        Cursor(format!("{} {} {connection} {}", self.layout, self.server, self.place))
    }
}

/// Members that are taken out of a set in one command.
const MEMBERS: usize = 1000;
/// How many names Redis looks at for a page.
const SCANNED: u32 = 256;
