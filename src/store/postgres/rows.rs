//! Rows: written, read, touched, removed, one at a time.

use std::time::Duration;

use sqlx::postgres::PgConnection;

use super::tokens::with_live;
use super::{Done, Failure, duration, millis, payload, terms, updated, version};
use crate::clock::Timestamp;
use crate::store::{Inserted, Limit, NewRow, Reason, Replaced, Reseal, Row, SessionKey, Signal, Updated};

/// Three steps, each a transaction: the row, a look for tombstones, the limit. Whoever commits first and looks then sees what others
/// committed before: an ending, or another login of the same person. A crash in between leaves a row whose id nobody knows.
pub(super) async fn insert(
    connection: &mut PgConnection,
    key: SessionKey,
    row: &NewRow,
    limit: Option<&Limit>,
) -> Done<Inserted> {
    if !add(connection, key, row, None).await? {
        return Ok(Inserted::Exists);
    }
    if undo_if_ended(connection, key, row).await? {
        return Ok(Inserted::Ended);
    }
    Ok(Inserted::Inserted { evicted: evict(connection, limit).await? })
}

pub(super) async fn replace(
    connection: &mut PgConnection,
    old: SessionKey,
    retire_for: Duration,
    key: SessionKey,
    row: &NewRow,
    limit: Option<&Limit>,
) -> Done<Replaced> {
    if !add(connection, key, row, None).await? {
        return Ok(Replaced::Exists);
    }
    let is_ended = undo_if_ended(connection, key, row).await?;
    // Last: if anything fails before, the person still has the session they had, and the new row is one that nobody knows the id of.
    let old = retire(connection, old, retire_for).await?;
    if is_ended {
        return Ok(Replaced::Ended);
    }
    Ok(Replaced::Replaced { old, evicted: evict(connection, limit).await? })
}

pub(super) async fn load(connection: &mut PgConnection, key: SessionKey) -> Done<Option<Row>> {
    let found = sqlx::query_as(
        "SELECT session, tokens, card, tokens_version, issued_at, retired, expires_at - cloakroom_now()
         FROM cloakroom_sessions WHERE key = $1 AND expires_at > cloakroom_now()",
    )
    .bind(key.as_bytes())
    .fetch_optional(connection)
    .await?;
    found.map(row).transpose()
}

pub(super) async fn touch(
    connection: &mut PgConnection,
    key: SessionKey,
    live_for: Duration,
    session: &[u8],
    reseal: Option<&Reseal>,
) -> Done<Updated> {
    let tokens = reseal.and_then(|reseal| reseal.tokens.as_ref());
    let written = sqlx::query(
        "UPDATE cloakroom_sessions SET session = $2, touched_at = cloakroom_now(), expires_at = cloakroom_now() + $3,
             card = coalesce($4, card), terms = coalesce($5, terms),
             tokens = CASE WHEN tokens_version = $6 THEN $7 ELSE tokens END
         WHERE key = $1 AND NOT retired AND expires_at > cloakroom_now()",
    )
    .bind(key.as_bytes())
    .bind(session)
    .bind(millis(live_for))
    .bind(reseal.map(|reseal| reseal.card.as_slice()))
    .bind(reseal.map(|reseal| terms(&reseal.terms)))
    .bind(tokens.map(|(at, _)| version(*at)))
    .bind(tokens.map(|(_, sealed)| sealed.as_slice()))
    .execute(connection)
    .await?
    .rows_affected();
    Ok(if written == 0 { Updated::Gone } else { Updated::Updated })
}

pub(super) async fn remove(connection: &mut PgConnection, key: SessionKey, reason: Reason) -> Done<Option<Row>> {
    delete(connection, key, reason, Retired::Too).await
}

pub(super) async fn remove_if(
    connection: &mut PgConnection,
    key: SessionKey,
    expected: u64,
    reason: Reason,
) -> Done<Updated> {
    let removed: Option<bool> = sqlx::query_scalar(with_live!(
        "removed AS (
             DELETE FROM cloakroom_sessions AS s USING live
             WHERE s.key = live.key AND live.tokens_version = $2 RETURNING s.key)
         SELECT removed.key IS NOT NULL, cloakroom_tell($3 || encode(removed.key, 'hex'))
         FROM live LEFT JOIN removed USING (key)"
    ))
    .bind(key.as_bytes())
    .bind(version(expected))
    .bind(payload::ended(reason))
    .fetch_optional(connection)
    .await?;
    Ok(updated(removed))
}

/// What a row brings along that was written before, in another store.
pub(super) struct Past {
    pub(super) tokens_version: u64,
    pub(super) created_at: Timestamp,
    pub(super) touched_at: Timestamp,
}

/// Writes a new row, also in the place of one that has expired and was not swept yet. `false` if one is there.
pub(super) async fn add(
    connection: &mut PgConnection,
    key: SessionKey,
    row: &NewRow,
    past: Option<Past>,
) -> Done<bool> {
    let written = sqlx::query(
        "INSERT INTO cloakroom_sessions AS s
             (key, terms, session, tokens, card, issued_at, expires_at, tokens_version, created_at, touched_at)
         SELECT $1, $2, $3, $4, $5, $6, now + $7, coalesce($8, 1), coalesce($9, now), coalesce($10, now)
         FROM (SELECT cloakroom_now() AS now) AS clock
         ON CONFLICT (key) DO UPDATE SET nth = DEFAULT, terms = excluded.terms,
             session = excluded.session, tokens = excluded.tokens, card = excluded.card,
             tokens_version = excluded.tokens_version, lease_owner = NULL, lease_until = NULL, retired = false,
             issued_at = excluded.issued_at, created_at = excluded.created_at, touched_at = excluded.touched_at,
             expires_at = excluded.expires_at
         WHERE s.expires_at <= cloakroom_now()",
    )
    .bind(key.as_bytes())
    .bind(terms(&row.terms))
    .bind(row.session.as_slice())
    .bind(row.tokens.as_slice())
    .bind(row.card.as_slice())
    .bind(row.issued_at.unix_millis())
    .bind(millis(row.live_for))
    .bind(past.as_ref().map(|past| version(past.tokens_version)))
    .bind(past.as_ref().map(|past| past.created_at.unix_millis()))
    .bind(past.as_ref().map(|past| past.touched_at.unix_millis()))
    .execute(connection)
    .await?
    .rows_affected();
    Ok(written > 0)
}

/// Removes a row that was just written if a tombstone is there for it, and says whether it did. Tells nobody: nobody knew of it.
async fn undo_if_ended(connection: &mut PgConnection, key: SessionKey, row: &NewRow) -> Done<bool> {
    let undone = sqlx::query(
        "DELETE FROM cloakroom_sessions WHERE key = $1 AND EXISTS (
             SELECT FROM cloakroom_tombstones
             WHERE term = ANY ($2) AND issued_not_after >= $3 AND expires_at > cloakroom_now())",
    )
    .bind(key.as_bytes())
    .bind(terms(&row.terms))
    .bind(row.issued_at.unix_millis())
    .execute(connection)
    .await?
    .rows_affected();
    Ok(undone > 0)
}

/// Retires a live row, or removes it if it shall not answer any more. Answers it as it was.
async fn retire(connection: &mut PgConnection, key: SessionKey, retire_for: Duration) -> Done<Option<Row>> {
    if let Signal::Ended { reason, .. } = Signal::replaced(key, retire_for) {
        return delete(connection, key, reason, Retired::Not).await;
    }
    let retired = sqlx::query_as(
        "WITH old AS MATERIALIZED (
             SELECT * FROM cloakroom_sessions WHERE key = $1 AND NOT retired AND expires_at > cloakroom_now() FOR UPDATE),
         written AS (
             UPDATE cloakroom_sessions AS s SET retired = true, expires_at = least(s.expires_at, cloakroom_now() + $2)
             FROM old WHERE s.key = old.key RETURNING s.key)
         SELECT session, tokens, card, tokens_version, issued_at, retired, expires_at - cloakroom_now(),
             cloakroom_tell('replaced ' || encode(key, 'hex'))
         FROM old JOIN written USING (key)",
    )
    .bind(key.as_bytes())
    .bind(millis(retire_for))
    .fetch_optional(connection)
    .await?;
    retired.map(row).transpose()
}

/// Whether a deletion takes a retired row.
#[derive(PartialEq)]
enum Retired {
    Too,
    Not,
}

/// Removes a row and answers it as it was.
async fn delete(connection: &mut PgConnection, key: SessionKey, reason: Reason, retired: Retired) -> Done<Option<Row>> {
    let removed = sqlx::query_as(
        "WITH removed AS (
             DELETE FROM cloakroom_sessions WHERE key = $1 AND ($3 OR NOT retired) AND expires_at > cloakroom_now()
             RETURNING *)
         SELECT session, tokens, card, tokens_version, issued_at, retired, expires_at - cloakroom_now(),
             cloakroom_tell($2 || encode(key, 'hex'))
         FROM removed",
    )
    .bind(key.as_bytes())
    .bind(payload::ended(reason))
    .bind(retired == Retired::Too)
    .fetch_optional(connection)
    .await?;
    removed.map(row).transpose()
}

/// Removes the oldest rows beyond a limit and names them. Of two logins at once, each is there before either looks, and both find the
/// same ones to be the oldest. Rows are locked in the order of their keys, as everywhere, so that nobody waits in a circle.
async fn evict(connection: &mut PgConnection, limit: Option<&Limit>) -> Done<Vec<SessionKey>> {
    let Some(limit) = limit else { return Ok(Vec::new()) };
    let evicted: Vec<[u8; 32]> = sqlx::query_scalar(
        "WITH surplus AS MATERIALIZED (
             SELECT key FROM cloakroom_sessions WHERE terms && $1 AND NOT retired AND expires_at > cloakroom_now()
             ORDER BY nth DESC OFFSET $2),
         doomed AS MATERIALIZED (
             SELECT key FROM cloakroom_sessions WHERE key IN (SELECT key FROM surplus) ORDER BY key FOR UPDATE),
         ended AS (DELETE FROM cloakroom_sessions AS s USING doomed WHERE s.key = doomed.key RETURNING s.key)
         SELECT key, cloakroom_tell($3 || encode(key, 'hex')) FROM ended",
    )
    .bind(terms(&limit.any_of))
    .bind(i64::from(limit.max.get()))
    .bind(payload::ended(Reason::Limit))
    .fetch_all(connection)
    .await?;
    Ok(evicted.into_iter().map(SessionKey::from_bytes).collect())
}

type Columns = (Vec<u8>, Vec<u8>, Vec<u8>, i64, i64, bool, i64);

fn row((session, tokens, card, version, issued_at, retired, expires_in): Columns) -> Done<Row> {
    Ok(Row {
        session: session.into(),
        tokens: tokens.into(),
        card: card.into(),
        tokens_version: unsigned(version)?,
        issued_at: Timestamp::from_unix_millis(issued_at),
        retired,
        expires_in: duration(expires_in),
    })
}

pub(super) fn unsigned(version: i64) -> Done<u64> {
    u64::try_from(version).map_err(|_| Failure("a row's version is negative".to_owned()))
}
