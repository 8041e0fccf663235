//! The tokens half and the lease on it.

use std::time::Duration;

use super::rows::live;
use super::{Done, SqliteBackend};
use crate::store::{Lease, LeaseAfter, SessionKey, Signal, Swapped, Taken, Updated};

impl SqliteBackend {
    pub(super) async fn swap(&self, key: SessionKey, expected: u64, sealed: &[u8], lease: LeaseAfter) -> Done<Swapped> {
        let (mut write, now) = self.write().await?;
        let Some(live) = live(&mut write, key, now).await? else { return Ok(Swapped::Gone) };
        if live.version != expected {
            return Ok(Swapped::Moved);
        }
        let statement = match lease {
            LeaseAfter::Keep => "UPDATE sessions SET tokens = ?2, tokens_version = tokens_version + 1 WHERE nth = ?1",
            LeaseAfter::Release => {
                "UPDATE sessions SET tokens = ?2, tokens_version = tokens_version + 1,
                 lease_owner = NULL, lease_until = NULL WHERE nth = ?1"
            }
        };
        sqlx::query(statement).bind(live.nth).bind(sealed).execute(&mut *write).await?;
        write.commit().await?;
        self.signals.send(Signal::Refreshed { key, version: expected + 1 });
        Ok(Swapped::Swapped)
    }

    pub(super) async fn take(&self, key: SessionKey, expected: u64, ttl: Duration) -> Done<Taken> {
        let (mut write, now) = self.write().await?;
        let Some(live) = live(&mut write, key, now).await? else { return Ok(Taken::Gone) };
        if live.version != expected {
            return Ok(Taken::Moved);
        }
        if let Some((_, until)) = live.lease
            && until > now
        {
            return Ok(Taken::Held(until.since(now)));
        }
        let lease = Lease::new(key, expected, live.lease.is_some());
        sqlx::query("UPDATE sessions SET lease_owner = ?2, lease_until = ?3 WHERE nth = ?1")
            .bind(live.nth)
            .bind(lease.owner.as_slice())
            .bind((now + ttl).unix_millis())
            .execute(&mut *write)
            .await?;
        write.commit().await?;
        Ok(Taken::Taken(lease))
    }

    pub(super) async fn renew(&self, lease: &Lease, ttl: Duration) -> Done<Updated> {
        let (mut write, now) = self.write().await?;
        let Some(live) = live(&mut write, lease.key, now).await? else { return Ok(Updated::Gone) };
        let is_held = live.lease.is_some_and(|(owner, until)| owner == lease.owner && until > now);
        if !is_held || live.version != lease.version {
            return Ok(Updated::Moved);
        }
        sqlx::query("UPDATE sessions SET lease_until = ?2 WHERE nth = ?1")
            .bind(live.nth)
            .bind((now + ttl).unix_millis())
            .execute(&mut *write)
            .await?;
        write.commit().await?;
        Ok(Updated::Updated)
    }

    pub(super) async fn release(&self, lease: &Lease) -> Done<()> {
        let (mut write, now) = self.write().await?;
        let Some(live) = live(&mut write, lease.key, now).await? else { return Ok(()) };
        if live.lease.is_none_or(|(owner, _)| owner != lease.owner) {
            return Ok(());
        }
        sqlx::query("UPDATE sessions SET lease_owner = NULL, lease_until = NULL WHERE nth = ?1")
            .bind(live.nth)
            .execute(&mut *write)
            .await?;
        write.commit().await?;
        self.signals.send(Signal::Released { key: lease.key });
        Ok(())
    }
}
