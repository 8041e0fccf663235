//! Rows: written, read, touched, removed, one at a time.

use std::time::Duration;

use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::{Done, Failure, SqliteBackend};
use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::store::{IndexKey, Inserted, Limit, NewRow, Reason, Replaced, Reseal, Row, SessionKey, Signal, Updated};

impl SqliteBackend {
    pub(super) async fn insert_row(&self, key: SessionKey, row: &NewRow, limit: Option<&Limit>) -> Done<Inserted> {
        let (mut write, now) = self.write().await?;
        if present(&mut write, key, now).await?.is_some() {
            return Ok(Inserted::Exists);
        }
        if is_ended(&mut write, row, now).await? {
            return Ok(Inserted::Ended);
        }
        add(&mut write, key, row, now).await?;
        let evicted = evict(&mut write, limit, now).await?;
        write.commit().await?;
        self.ended(&evicted, Reason::Limit);
        Ok(Inserted::Inserted { evicted })
    }

    pub(super) async fn replace_row(
        &self,
        old: SessionKey,
        retire_for: Duration,
        key: SessionKey,
        row: &NewRow,
        limit: Option<&Limit>,
    ) -> Done<Replaced> {
        let (mut write, now) = self.write().await?;
        if present(&mut write, key, now).await?.is_some() {
            return Ok(Replaced::Exists);
        }
        let replaced = retire(&mut write, old, retire_for, now).await?;
        let is_ended = is_ended(&mut write, row, now).await?;
        let mut evicted = Vec::new();
        if !is_ended {
            add(&mut write, key, row, now).await?;
            evicted = evict(&mut write, limit, now).await?;
        }
        write.commit().await?;
        if replaced.is_some() {
            self.signals.send(Signal::replaced(old, retire_for));
        }
        self.ended(&evicted, Reason::Limit);
        Ok(if is_ended { Replaced::Ended } else { Replaced::Replaced { old: replaced, evicted } })
    }

    pub(super) async fn load_row(&self, key: SessionKey) -> Done<Option<Row>> {
        let mut read = self.readers.acquire().await?;
        present(&mut read, key, SystemClock.now()).await
    }

    pub(super) async fn touch_row(
        &self,
        key: SessionKey,
        live_for: Duration,
        session: &[u8],
        reseal: Option<&Reseal>,
    ) -> Done<Updated> {
        let (mut write, now) = self.write().await?;
        let Some(live) = live(&mut write, key, now).await? else { return Ok(Updated::Gone) };
        sqlx::query("UPDATE sessions SET session = ?2, touched_at = ?3, expires_at = ?4 WHERE nth = ?1")
            .bind(live.nth)
            .bind(session)
            .bind(now.unix_millis())
            .bind((now + live_for).unix_millis())
            .execute(&mut *write)
            .await?;
        if let Some(reseal) = reseal {
            write_resealed(&mut write, &live, reseal).await?;
        }
        write.commit().await?;
        Ok(Updated::Updated)
    }

    pub(super) async fn remove_row(&self, key: SessionKey, reason: Reason) -> Done<Option<Row>> {
        let (mut write, now) = self.write().await?;
        let Some(row) = present(&mut write, key, now).await? else { return Ok(None) };
        delete(&mut write, key).await?;
        write.commit().await?;
        self.ended(&[key], reason);
        Ok(Some(row))
    }

    pub(super) async fn remove_row_if(&self, key: SessionKey, expected: u64, reason: Reason) -> Done<Updated> {
        let (mut write, now) = self.write().await?;
        let Some(live) = live(&mut write, key, now).await? else { return Ok(Updated::Gone) };
        if live.version != expected {
            return Ok(Updated::Moved);
        }
        delete(&mut write, key).await?;
        write.commit().await?;
        self.ended(&[key], reason);
        Ok(Updated::Updated)
    }
}

/// What decides about a write to a row that is neither expired nor retired.
pub(super) struct Live {
    pub(super) nth: i64,
    pub(super) version: u64,
    /// Owner, and until when.
    pub(super) lease: Option<(Vec<u8>, Timestamp)>,
}

pub(super) async fn live(connection: &mut SqliteConnection, key: SessionKey, now: Timestamp) -> Done<Option<Live>> {
    type Columns = (i64, i64, Option<Vec<u8>>, Option<i64>);
    let found: Option<Columns> = sqlx::query_as(
        "SELECT nth, tokens_version, lease_owner, lease_until FROM sessions
         WHERE key = ?1 AND retired = 0 AND expires_at > ?2",
    )
    .bind(key.as_bytes().as_slice())
    .bind(now.unix_millis())
    .fetch_optional(connection)
    .await?;
    let Some((nth, version, owner, until)) = found else { return Ok(None) };
    Ok(Some(Live { nth, version: unsigned(version)?, lease: owner.zip(until.map(Timestamp::from_unix_millis)) }))
}

/// A row that has not expired.
pub(super) async fn present(connection: &mut SqliteConnection, key: SessionKey, now: Timestamp) -> Done<Option<Row>> {
    type Columns = (Vec<u8>, Vec<u8>, Vec<u8>, i64, i64, bool, i64);
    let found: Option<Columns> = sqlx::query_as(
        "SELECT session, tokens, card, tokens_version, issued_at, retired, expires_at FROM sessions
         WHERE key = ?1 AND expires_at > ?2",
    )
    .bind(key.as_bytes().as_slice())
    .bind(now.unix_millis())
    .fetch_optional(connection)
    .await?;
    let Some((session, tokens, card, version, issued_at, retired, expires_at)) = found else { return Ok(None) };
    Ok(Some(Row {
        session: session.into(),
        tokens: tokens.into(),
        card: card.into(),
        tokens_version: unsigned(version)?,
        issued_at: Timestamp::from_unix_millis(issued_at),
        retired,
        expires_in: Timestamp::from_unix_millis(expires_at).since(now),
    }))
}

/// Whether a tombstone is there for this row.
async fn is_ended(write: &mut SqliteConnection, row: &NewRow, now: Timestamp) -> Done<bool> {
    for term in &row.terms {
        let found: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM tombstones WHERE term = ?1 AND issued_not_after >= ?2 AND expires_at > ?3)",
        )
        .bind(term.as_bytes().as_slice())
        .bind(row.issued_at.unix_millis())
        .bind(now.unix_millis())
        .fetch_one(&mut *write)
        .await?;
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

pub(super) async fn add(write: &mut SqliteConnection, key: SessionKey, row: &NewRow, now: Timestamp) -> Done<()> {
    delete(write, key).await?; // one that has expired and was not swept yet
    let nth: i64 = sqlx::query(
        "INSERT INTO sessions (key, session, tokens, card, tokens_version, issued_at, created_at, touched_at, expires_at)
         VALUES (?1, ?2, ?3, ?4, 1, ?5, ?6, ?6, ?7)",
    )
    .bind(key.as_bytes().as_slice())
    .bind(row.session.as_slice())
    .bind(row.tokens.as_slice())
    .bind(row.card.as_slice())
    .bind(row.issued_at.unix_millis())
    .bind(now.unix_millis())
    .bind((now + row.live_for).unix_millis())
    .execute(&mut *write)
    .await?
    .last_insert_rowid();
    add_terms(write, nth, &row.terms).await
}

async fn add_terms(write: &mut SqliteConnection, nth: i64, terms: &[IndexKey]) -> Done<()> {
    for term in terms {
        sqlx::query("INSERT OR IGNORE INTO terms (term, nth) VALUES (?1, ?2)")
            .bind(term.as_bytes().as_slice())
            .bind(nth)
            .execute(&mut *write)
            .await?;
    }
    Ok(())
}

async fn write_resealed(write: &mut SqliteConnection, live: &Live, reseal: &Reseal) -> Done<()> {
    sqlx::query("UPDATE sessions SET card = ?2 WHERE nth = ?1")
        .bind(live.nth)
        .bind(reseal.card.as_slice())
        .execute(&mut *write)
        .await?;
    if let Some((version, tokens)) = &reseal.tokens
        && *version == live.version
    {
        sqlx::query("UPDATE sessions SET tokens = ?2 WHERE nth = ?1")
            .bind(live.nth)
            .bind(tokens.as_slice())
            .execute(&mut *write)
            .await?;
    }
    sqlx::query("DELETE FROM terms WHERE nth = ?1").bind(live.nth).execute(&mut *write).await?;
    add_terms(write, live.nth, &reseal.terms).await
}

/// Retires a live row, or removes it if it shall not answer any more. Answers it as it was.
async fn retire(
    write: &mut SqliteConnection,
    key: SessionKey,
    retire_for: Duration,
    now: Timestamp,
) -> Done<Option<Row>> {
    let Some(row) = present(write, key, now).await?.filter(|row| !row.retired) else { return Ok(None) };
    if retire_for.is_zero() {
        delete(write, key).await?;
        return Ok(Some(row));
    }
    sqlx::query("UPDATE sessions SET retired = 1, expires_at = min(expires_at, ?2) WHERE key = ?1")
        .bind(key.as_bytes().as_slice())
        .bind((now + retire_for).unix_millis())
        .execute(write)
        .await?;
    Ok(Some(row))
}

/// Removes the oldest rows beyond a limit and names them.
async fn evict(write: &mut SqliteConnection, limit: Option<&Limit>, now: Timestamp) -> Done<Vec<SessionKey>> {
    let Some(limit) = limit else { return Ok(Vec::new()) };
    let mut query = QueryBuilder::<Sqlite>::new("DELETE FROM sessions WHERE nth IN (SELECT nth FROM sessions WHERE ");
    push_carrying(&mut query, &limit.any_of);
    query.push(" AND retired = 0 AND expires_at > ").push_bind(now.unix_millis());
    query.push(" ORDER BY nth DESC LIMIT -1 OFFSET ").push_bind(i64::from(limit.max.get()));
    query.push(") RETURNING key");
    keys(query.build_query_scalar().fetch_all(write).await?)
}

async fn delete(write: &mut SqliteConnection, key: SessionKey) -> Done<()> {
    sqlx::query("DELETE FROM sessions WHERE key = ?1").bind(key.as_bytes().as_slice()).execute(write).await?;
    Ok(())
}

/// Adds `nth IN (rows that carry any of these terms)`.
pub(super) fn push_carrying(query: &mut QueryBuilder<Sqlite>, any_of: &[IndexKey]) {
    query.push("nth IN (SELECT nth FROM terms WHERE term IN (");
    let mut terms = query.separated(", ");
    for term in any_of {
        terms.push_bind(term.as_bytes().to_vec());
    }
    query.push("))");
}

pub(super) fn keys(columns: Vec<Vec<u8>>) -> Done<Vec<SessionKey>> {
    columns.into_iter().map(key).collect()
}

pub(super) fn key(column: Vec<u8>) -> Done<SessionKey> {
    let bytes = column.try_into().map_err(|_| Failure("a row's key is not 32 bytes".to_owned()))?;
    Ok(SessionKey::from_bytes(bytes))
}

fn unsigned(column: i64) -> Done<u64> {
    u64::try_from(column).map_err(|_| Failure("a row's version is negative".to_owned()))
}
