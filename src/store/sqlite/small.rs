//! Small things that are used once, and the sweep.

use std::time::Duration;

use super::{Done, SqliteBackend};
use crate::clock::{Clock as _, SystemClock};
use crate::store::{Claimed, Digest};

impl SqliteBackend {
    pub(super) async fn claim_digest(&self, digest: Digest, ttl: Duration) -> Done<Claimed> {
        let (mut write, now) = self.write().await?;
        let written = sqlx::query(
            "INSERT INTO claims (digest, expires_at) VALUES (?1, ?2)
             ON CONFLICT (digest) DO UPDATE SET expires_at = excluded.expires_at WHERE expires_at <= ?3",
        )
        .bind(digest.as_bytes().as_slice())
        .bind((now + ttl).unix_millis())
        .bind(now.unix_millis())
        .execute(&mut *write)
        .await?
        .rows_affected();
        write.commit().await?;
        Ok(if written == 0 { Claimed::Already } else { Claimed::First })
    }

    pub(super) async fn unclaim_digest(&self, digest: Digest) -> Done<()> {
        sqlx::query("DELETE FROM claims WHERE digest = ?1")
            .bind(digest.as_bytes().as_slice())
            .execute(&self.writer)
            .await?;
        Ok(())
    }

    pub(super) async fn put_value(&self, digest: Digest, sealed: &[u8], ttl: Duration) -> Done<()> {
        let (mut write, now) = self.write().await?;
        sqlx::query("INSERT OR REPLACE INTO kept_once (digest, sealed, expires_at) VALUES (?1, ?2, ?3)")
            .bind(digest.as_bytes().as_slice())
            .bind(sealed)
            .bind((now + ttl).unix_millis())
            .execute(&mut *write)
            .await?;
        write.commit().await?;
        Ok(())
    }

    pub(super) async fn take_value(&self, digest: Digest) -> Done<Option<Vec<u8>>> {
        let (mut write, now) = self.write().await?;
        let taken: Option<(Vec<u8>, i64)> =
            sqlx::query_as("DELETE FROM kept_once WHERE digest = ?1 RETURNING sealed, expires_at")
                .bind(digest.as_bytes().as_slice())
                .fetch_optional(&mut *write)
                .await?;
        write.commit().await?;
        Ok(taken.filter(|(_, expires_at)| *expires_at > now.unix_millis()).map(|(sealed, _)| sealed))
    }

    /// Each statement is a transaction of its own and waits for the writer in line with everybody else.
    pub(super) async fn sweep(&self) -> Done<u64> {
        let removed = self.sweep_with(SWEEP_SESSIONS).await?;
        for statement in [SWEEP_TOMBSTONES, SWEEP_CLAIMS, SWEEP_KEPT] {
            self.sweep_with(statement).await?;
        }
        Ok(removed)
    }

    async fn sweep_with(&self, statement: &'static str) -> Done<u64> {
        let mut removed = 0;
        loop {
            let now = SystemClock.now().unix_millis();
            let step = sqlx::query(statement).bind(now).bind(STEP).execute(&self.writer).await?.rows_affected();
            removed += step;
            if step < u64::from(STEP) {
                return Ok(removed);
            }
        }
    }

    /// Reads a page of the file, so that a file that went away is noticed.
    pub(super) async fn touch_file(&self) -> Done<()> {
        sqlx::query("SELECT EXISTS (SELECT 1 FROM sessions)").execute(&self.readers).await?;
        Ok(())
    }
}

/// Rows per step of a sweep: some milliseconds of the writer.
const STEP: u32 = 500;

const SWEEP_SESSIONS: &str =
    "DELETE FROM sessions WHERE nth IN (SELECT nth FROM sessions WHERE expires_at <= ?1 LIMIT ?2)";
const SWEEP_TOMBSTONES: &str =
    "DELETE FROM tombstones WHERE term IN (SELECT term FROM tombstones WHERE expires_at <= ?1 LIMIT ?2)";
const SWEEP_CLAIMS: &str =
    "DELETE FROM claims WHERE digest IN (SELECT digest FROM claims WHERE expires_at <= ?1 LIMIT ?2)";
const SWEEP_KEPT: &str =
    "DELETE FROM kept_once WHERE digest IN (SELECT digest FROM kept_once WHERE expires_at <= ?1 LIMIT ?2)";
