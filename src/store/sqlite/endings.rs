//! Rows by what they carry: ended, listed, scanned.

use std::collections::BTreeSet;

use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::rows::{key, keys, push_carrying};
use super::{Done, SqliteBackend};
use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::store::names::{hex, unhex};
use crate::store::{Cursor, Ending, EndingTarget, IndexKey, Listed, Page, SessionKey, TOMBSTONE_LIFE, Tombstone};

impl SqliteBackend {
    pub(super) async fn end_rows(&self, ending: &Ending) -> Done<u64> {
        let (mut write, now) = self.write().await?;
        for tombstone in &ending.tombstones {
            bury(&mut write, tombstone, now).await?;
        }
        let mut ended = Vec::new();
        for target in &ending.targets {
            ended.extend(delete_target(&mut write, target, now).await?);
        }
        write.commit().await?;
        self.ended(&ended, ending.reason);
        Ok(ended.len() as u64)
    }

    pub(super) async fn list_rows(&self, any_of: &[IndexKey]) -> Done<Vec<Listed>> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT key, card, created_at, touched_at FROM sessions WHERE ");
        push_carrying(&mut query, any_of);
        query.push(" AND retired = 0 AND expires_at > ").push_bind(SystemClock.now().unix_millis());
        query.push(" ORDER BY nth");
        let rows: Vec<Columns> = query.build_query_as().fetch_all(&self.readers).await?;
        rows.into_iter().map(listed).collect()
    }

    /// In key order. The cursor is the last key in hex.
    pub(super) async fn page(&self, cursor: &Cursor) -> Done<Page> {
        let after = unhex(&cursor.0).map_or_else(Vec::new, |key| key.to_vec()); // no key is before the empty one
        let rows: Vec<Columns> = sqlx::query_as(
            "SELECT key, card, created_at, touched_at FROM sessions
             WHERE key > ?1 AND retired = 0 AND expires_at > ?2 ORDER BY key LIMIT ?3",
        )
        .bind(after)
        .bind(SystemClock.now().unix_millis())
        .bind(PAGE)
        .fetch_all(&self.readers)
        .await?;
        let rows: Vec<Listed> = rows.into_iter().map(listed).collect::<Done<_>>()?;
        let is_full = i64::try_from(rows.len()).is_ok_and(|length| length == PAGE);
        let next = rows.last().filter(|_| is_full).map(|last| Cursor(hex(last.key.as_bytes())));
        Ok(Page { rows, next })
    }
}

async fn bury(write: &mut SqliteConnection, tombstone: &Tombstone, now: Timestamp) -> Done<()> {
    sqlx::query(
        "INSERT INTO tombstones (term, issued_not_after, expires_at) VALUES (?1, ?2, ?3)
         ON CONFLICT (term) DO UPDATE SET
             issued_not_after = max(issued_not_after, excluded.issued_not_after), expires_at = excluded.expires_at",
    )
    .bind(tombstone.term.as_bytes().as_slice())
    .bind(tombstone.issued_not_after.unix_millis())
    .bind((now + TOMBSTONE_LIFE).unix_millis())
    .execute(write)
    .await?;
    Ok(())
}

/// Removes the rows of one target, retired ones too, and names them.
async fn delete_target(write: &mut SqliteConnection, target: &EndingTarget, now: Timestamp) -> Done<Vec<SessionKey>> {
    let all_of: BTreeSet<IndexKey> = target.all_of.iter().copied().collect();
    let mut query =
        QueryBuilder::<Sqlite>::new("DELETE FROM sessions WHERE nth IN (SELECT nth FROM terms WHERE term IN (");
    let mut terms = query.separated(", ");
    for term in &all_of {
        terms.push_bind(term.as_bytes().to_vec());
    }
    let count = i64::try_from(all_of.len()).unwrap_or(i64::MAX);
    query.push(") GROUP BY nth HAVING count(*) = ").push_bind(count);
    query.push(") AND expires_at > ").push_bind(now.unix_millis());
    if let Some(issued_not_after) = target.issued_not_after {
        query.push(" AND issued_at <= ").push_bind(issued_not_after.unix_millis());
    }
    query.push(" RETURNING key");
    keys(query.build_query_scalar().fetch_all(write).await?)
}

type Columns = (Vec<u8>, Vec<u8>, i64, i64);

fn listed((column, card, created_at, touched_at): Columns) -> Done<Listed> {
    Ok(Listed {
        key: key(column)?,
        card,
        created_at: Timestamp::from_unix_millis(created_at),
        touched_at: Timestamp::from_unix_millis(touched_at),
    })
}

/// Rows per page of a scan.
const PAGE: i64 = 256;
