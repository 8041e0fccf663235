//! The tokens half and the lease on it. One statement per verb: it locks the row, decides, writes and tells.

use std::time::Duration;

use sqlx::postgres::PgConnection;

use super::{Done, millis, version};
use crate::store::{Lease, LeaseAfter, SessionKey, Swapped, Taken, Updated};

/// The row `$1`, locked, if it is neither expired nor retired, and the time `now`. Two steps, because the clock is read after the
/// wait for the lock: who holds a lease depends on it.
macro_rules! with_live {
    ($rest:literal) => {
        concat!(
            "WITH found AS MATERIALIZED (
                 SELECT key, tokens_version, lease_owner, lease_until, retired, expires_at
                 FROM cloakroom_sessions WHERE key = $1 FOR UPDATE),
             live AS MATERIALIZED (
                 SELECT * FROM (SELECT *, cloakroom_now() AS now FROM found) AS timed WHERE NOT retired AND expires_at > now), ",
            $rest
        )
    };
}
pub(super) use with_live; // `remove_if` decides by the version too

pub(super) async fn swap(
    connection: &mut PgConnection,
    key: SessionKey,
    expected: u64,
    sealed: &[u8],
    lease: LeaseAfter,
) -> Done<Swapped> {
    let swapped: Option<bool> = sqlx::query_scalar(with_live!(
        "swapped AS (
             UPDATE cloakroom_sessions AS s SET tokens = $3, tokens_version = s.tokens_version + 1,
                 lease_owner = CASE WHEN $4 THEN NULL ELSE s.lease_owner END,
                 lease_until = CASE WHEN $4 THEN NULL ELSE s.lease_until END
             FROM live WHERE s.key = live.key AND live.tokens_version = $2 RETURNING s.key, s.tokens_version)
         SELECT s.key IS NOT NULL, cloakroom_tell('refreshed ' || s.tokens_version || ' ' || encode(s.key, 'hex'))
         FROM live LEFT JOIN swapped AS s USING (key)"
    ))
    .bind(key.as_bytes())
    .bind(version(expected))
    .bind(sealed)
    .bind(lease == LeaseAfter::Release)
    .fetch_optional(connection)
    .await?;
    Ok(match swapped {
        None => Swapped::Gone,
        Some(false) => Swapped::Moved,
        Some(true) => Swapped::Swapped,
    })
}

pub(super) async fn take(connection: &mut PgConnection, key: SessionKey, expected: u64, ttl: Duration) -> Done<Taken> {
    let lease = Lease::new(key, expected, false);
    let found: Option<(bool, bool, Option<i64>)> = sqlx::query_as(with_live!(
        "taken AS (
             UPDATE cloakroom_sessions AS s SET lease_owner = $3, lease_until = live.now + $4
             FROM live WHERE s.key = live.key AND live.tokens_version = $2
                 AND (live.lease_until IS NULL OR live.lease_until <= live.now) RETURNING s.key)
         SELECT live.tokens_version = $2, taken.key IS NOT NULL, live.lease_until - live.now
         FROM live LEFT JOIN taken USING (key)"
    ))
    .bind(key.as_bytes())
    .bind(version(expected))
    .bind(lease.owner)
    .bind(millis(ttl))
    .fetch_optional(connection)
    .await?;
    Ok(match found {
        None => Taken::Gone,
        Some((false, ..)) => Taken::Moved,
        Some((true, true, earlier)) => Taken::Taken(Lease { after_expiry: earlier.is_some(), ..lease }),
        Some((true, false, left)) => Taken::Held(super::duration(left.unwrap_or_default())),
    })
}

pub(super) async fn renew(connection: &mut PgConnection, lease: &Lease, ttl: Duration) -> Done<Updated> {
    let renewed: Option<bool> = sqlx::query_scalar(with_live!(
        "renewed AS (
             UPDATE cloakroom_sessions AS s SET lease_until = live.now + $4
             FROM live WHERE s.key = live.key AND live.tokens_version = $2
                 AND live.lease_owner = $3 AND live.lease_until > live.now RETURNING s.key)
         SELECT renewed.key IS NOT NULL FROM live LEFT JOIN renewed USING (key)"
    ))
    .bind(lease.key.as_bytes())
    .bind(version(lease.version))
    .bind(lease.owner)
    .bind(millis(ttl))
    .fetch_optional(connection)
    .await?;
    Ok(super::updated(renewed))
}

pub(super) async fn release(connection: &mut PgConnection, lease: &Lease) -> Done<()> {
    sqlx::query(
        "WITH released AS (
             UPDATE cloakroom_sessions SET lease_owner = NULL, lease_until = NULL
             WHERE key = $1 AND lease_owner = $2 AND NOT retired AND expires_at > cloakroom_now() RETURNING key)
         SELECT cloakroom_tell('released ' || encode(key, 'hex')) FROM released",
    )
    .bind(lease.key.as_bytes())
    .bind(lease.owner)
    .execute(connection)
    .await?;
    Ok(())
}
