//! Rows by what they carry: ended, listed, scanned.

use std::collections::BTreeMap;

use sqlx::postgres::PgConnection;
use sqlx::{Postgres, QueryBuilder};

use super::{Done, millis, payload, terms};
use crate::clock::Timestamp;
use crate::store::names::{hex, unhex};
use crate::store::{
    Cursor, Ending, EndingTarget, IndexKey, Listed, Page, Reason, SessionKey, TOMBSTONE_LIFE, Tombstone,
};

/// Two steps, each a transaction: tombstones, then rows. A login that the second does not see was committed after the first, and
/// finds the tombstone.
pub(super) async fn end(connection: &mut PgConnection, ending: &Ending) -> Done<u64> {
    bury(connection, &ending.tombstones).await?;
    // An empty list would name every row.
    let targets: Vec<_> = ending.targets.iter().filter(|target| !target.all_of.is_empty()).collect();
    if targets.is_empty() {
        return Ok(0);
    }
    delete(connection, &targets, ending.reason).await
}

pub(super) async fn list(connection: &mut PgConnection, any_of: &[IndexKey]) -> Done<Vec<Listed>> {
    let rows: Vec<Columns> = sqlx::query_as(
        "SELECT key, card, created_at, touched_at FROM cloakroom_sessions
         WHERE terms && $1 AND NOT retired AND expires_at > cloakroom_now() ORDER BY nth",
    )
    .bind(terms(any_of))
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(listed).collect())
}

/// In key order. The cursor is the last key in hex.
pub(super) async fn page(connection: &mut PgConnection, cursor: &Cursor) -> Done<Page> {
    let after = unhex(&cursor.0).map_or_else(Vec::new, |key| key.to_vec()); // no key is before the empty one
    let rows: Vec<Columns> = sqlx::query_as(
        "SELECT key, card, created_at, touched_at FROM cloakroom_sessions
         WHERE key > $1 AND NOT retired AND expires_at > cloakroom_now() ORDER BY key LIMIT $2",
    )
    .bind(after)
    .bind(PAGE)
    .fetch_all(connection)
    .await?;
    let rows: Vec<Listed> = rows.into_iter().map(listed).collect();
    let is_full = i64::try_from(rows.len()).is_ok_and(|length| length == PAGE);
    let next = rows.last().filter(|_| is_full).map(|last| Cursor(hex(last.key.as_bytes())));
    Ok(Page { rows, next })
}

/// Of two tombstones on one term the later stays. They are written in the order of their terms, so that nobody waits in a circle.
async fn bury(connection: &mut PgConnection, tombstones: &[Tombstone]) -> Done<()> {
    let mut latest: BTreeMap<IndexKey, Timestamp> = BTreeMap::new();
    for Tombstone { term, issued_not_after } in tombstones {
        let known = latest.entry(*term).or_insert(*issued_not_after);
        *known = (*known).max(*issued_not_after);
    }
    if latest.is_empty() {
        return Ok(());
    }
    let issued_not_after: Vec<i64> = latest.values().map(|time| time.unix_millis()).collect();
    sqlx::query(
        "INSERT INTO cloakroom_tombstones AS t (term, issued_not_after, expires_at)
         SELECT term, issued_not_after, cloakroom_now() + $3 FROM unnest($1, $2) AS new (term, issued_not_after)
         ON CONFLICT (term) DO UPDATE SET
             issued_not_after = greatest(t.issued_not_after, excluded.issued_not_after), expires_at = excluded.expires_at",
    )
    .bind(terms(&latest.into_keys().collect::<Vec<_>>()))
    .bind(issued_not_after)
    .bind(millis(TOMBSTONE_LIFE))
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes the rows of all targets, retired ones too. They are locked in the order of their keys, so that nobody waits in a circle.
async fn delete(connection: &mut PgConnection, targets: &[&EndingTarget], reason: Reason) -> Done<u64> {
    let mut query = QueryBuilder::<Postgres>::new(
        "WITH doomed AS MATERIALIZED (
             SELECT key FROM cloakroom_sessions WHERE expires_at > cloakroom_now() AND (false",
    );
    for target in targets {
        query.push(" OR (terms @> ").push_bind(terms(&target.all_of));
        if let Some(issued_not_after) = target.issued_not_after {
            query.push(" AND issued_at <= ").push_bind(issued_not_after.unix_millis());
        }
        query.push(")");
    }
    query.push(
        ") ORDER BY key FOR UPDATE),
         ended AS (DELETE FROM cloakroom_sessions AS s USING doomed WHERE s.key = doomed.key RETURNING s.key)
         SELECT key, cloakroom_tell(",
    );
    query.push_bind(payload::ended(reason)).push(" || encode(key, 'hex')) FROM ended");
    Ok(query.build().fetch_all(connection).await?.len() as u64)
}

type Columns = ([u8; 32], Vec<u8>, i64, i64);

fn listed((key, card, created_at, touched_at): Columns) -> Listed {
    Listed {
        key: SessionKey::from_bytes(key),
        card,
        created_at: Timestamp::from_unix_millis(created_at),
        touched_at: Timestamp::from_unix_millis(touched_at),
    }
}

/// Rows per page of a scan.
const PAGE: i64 = 256;
