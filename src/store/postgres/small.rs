//! Small things that are used once, the sweep, and whether the server answers.

use std::time::Duration;

use sqlx::postgres::PgConnection;

use super::{Done, Failure, millis};
use crate::store::{Claimed, Digest};

pub(super) async fn claim(connection: &mut PgConnection, digest: Digest, ttl: Duration) -> Done<Claimed> {
    let written = sqlx::query(
        "INSERT INTO cloakroom_claims AS c (digest, expires_at) VALUES ($1, cloakroom_now() + $2)
         ON CONFLICT (digest) DO UPDATE SET expires_at = excluded.expires_at WHERE c.expires_at <= cloakroom_now()",
    )
    .bind(digest.as_bytes())
    .bind(millis(ttl))
    .execute(connection)
    .await?
    .rows_affected();
    Ok(if written == 0 { Claimed::Already } else { Claimed::First })
}

pub(super) async fn unclaim(connection: &mut PgConnection, digest: Digest) -> Done<()> {
    sqlx::query("DELETE FROM cloakroom_claims WHERE digest = $1").bind(digest.as_bytes()).execute(connection).await?;
    Ok(())
}

pub(super) async fn put(connection: &mut PgConnection, digest: Digest, sealed: &[u8], ttl: Duration) -> Done<()> {
    sqlx::query(
        "INSERT INTO cloakroom_kept_once (digest, sealed, expires_at) VALUES ($1, $2, cloakroom_now() + $3)
         ON CONFLICT (digest) DO UPDATE SET sealed = excluded.sealed, expires_at = excluded.expires_at",
    )
    .bind(digest.as_bytes())
    .bind(sealed)
    .bind(millis(ttl))
    .execute(connection)
    .await?;
    Ok(())
}

pub(super) async fn take(connection: &mut PgConnection, digest: Digest) -> Done<Option<Vec<u8>>> {
    let taken: Option<(Vec<u8>, bool)> = sqlx::query_as(
        "DELETE FROM cloakroom_kept_once WHERE digest = $1 RETURNING sealed, expires_at > cloakroom_now()",
    )
    .bind(digest.as_bytes())
    .fetch_optional(connection)
    .await?;
    Ok(taken.and_then(|(sealed, is_live)| is_live.then_some(sealed)))
}

/// Removes at most [`STEP`] of what has expired; how many.
pub(super) async fn sweep(connection: &mut PgConnection, statement: &'static str) -> Done<u64> {
    Ok(sqlx::query(statement).execute(connection).await?.rows_affected())
}

/// Fails also on a server that would refuse every write: one that was primary and is not any more.
pub(super) async fn ping(connection: &mut PgConnection) -> Done<()> {
    let is_read_only: bool =
        sqlx::query_scalar("SELECT current_setting('transaction_read_only')::boolean").fetch_one(connection).await?;
    if is_read_only {
        return Err(Failure("the server takes no writes".to_owned()));
    }
    Ok(())
}

macro_rules! step {
    () => {
        500
    };
}

/// Rows per step of a sweep: some milliseconds, then the locks are free.
pub(super) const STEP: u64 = step!();

/// What another replica has in hand is left to it. Order and limit are there in plain numbers, or the planner would read the table from
/// end to end, expecting that a third of it has expired.
macro_rules! sweep_of {
    ($table:literal, $key:literal) => {
        concat!(
            "DELETE FROM ",
            $table,
            " WHERE ",
            $key,
            " = ANY (ARRAY(
                 SELECT ",
            $key,
            " FROM ",
            $table,
            " WHERE expires_at <= (SELECT cloakroom_now())
                 ORDER BY expires_at LIMIT ",
            step!(),
            " FOR UPDATE SKIP LOCKED))"
        )
    };
}

pub(super) const SWEEP_SESSIONS: &str = sweep_of!("cloakroom_sessions", "key");
pub(super) const SWEEP_SMALL: [&str; 3] = [
    sweep_of!("cloakroom_tombstones", "term"),
    sweep_of!("cloakroom_claims", "digest"),
    sweep_of!("cloakroom_kept_once", "digest"),
];
