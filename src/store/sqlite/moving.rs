//! Rows on their way from one store to another.

use super::rows::{add, present};
use super::{Done, Failure, SqliteBackend};
use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::store::{Exported, IndexKey, NewRow, SessionKey};

impl SqliteBackend {
    pub(super) async fn export_row(&self, key: SessionKey) -> Done<Option<Exported>> {
        let mut read = self.readers.begin().await?; // one state of the file for both statements
        let Some(row) = present(&mut read, key, SystemClock.now()).await?.filter(|row| !row.retired) else {
            return Ok(None);
        };
        let (nth, created_at, touched_at): (i64, i64, i64) =
            sqlx::query_as("SELECT nth, created_at, touched_at FROM sessions WHERE key = ?1")
                .bind(key.as_bytes().as_slice())
                .fetch_one(&mut *read)
                .await?;
        let terms: Vec<Vec<u8>> = sqlx::query_scalar("SELECT term FROM terms WHERE nth = ?1 ORDER BY term")
            .bind(nth)
            .fetch_all(&mut *read)
            .await?;
        Ok(Some(Exported {
            key,
            terms: terms.into_iter().map(term).collect::<Done<_>>()?,
            session: row.session.into(),
            tokens: row.tokens.into(),
            card: row.card.into(),
            tokens_version: row.tokens_version,
            issued_at: row.issued_at,
            created_at: Timestamp::from_unix_millis(created_at),
            touched_at: Timestamp::from_unix_millis(touched_at),
            expires_in: row.expires_in,
        }))
    }

    pub(super) async fn import_row(&self, row: &Exported) -> Done<bool> {
        let (mut write, now) = self.write().await?;
        if present(&mut write, row.key, now).await?.is_some() {
            return Ok(false);
        }
        let new = NewRow {
            terms: row.terms.clone(),
            session: row.session.clone(),
            tokens: row.tokens.clone(),
            card: row.card.clone(),
            issued_at: row.issued_at,
            live_for: row.expires_in,
        };
        add(&mut write, row.key, &new, now).await?;
        let version = i64::try_from(row.tokens_version).map_err(|_| Failure("a version is too large".to_owned()))?;
        sqlx::query("UPDATE sessions SET tokens_version = ?2, created_at = ?3, touched_at = ?4 WHERE key = ?1")
            .bind(row.key.as_bytes().as_slice())
            .bind(version)
            .bind(row.created_at.unix_millis())
            .bind(row.touched_at.unix_millis())
            .execute(&mut *write)
            .await?;
        write.commit().await?;
        Ok(true)
    }
}

fn term(column: Vec<u8>) -> Done<IndexKey> {
    let bytes = column.try_into().map_err(|_| Failure("a term is not 32 bytes".to_owned()))?;
    Ok(IndexKey::from_bytes(bytes))
}
