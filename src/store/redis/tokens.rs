//! Tokens halves and the leases on them. A lease is judged by the server's clock.

use std::time::Duration;

use super::Store;
use super::failure::{Done, read};
use super::request::{RELEASE_LEASE, RENEW_LEASE, Request, SWAP, TAKE_LEASE};
use super::signals::told;
use super::stored::millis;
use crate::store::{Lease, LeaseAfter, SessionKey, Signal, Swapped, Taken, Updated};

impl Store {
    pub(super) async fn swap(&self, key: SessionKey, expected: u64, sealed: &[u8], lease: LeaseAfter) -> Done<Swapped> {
        let version = expected.saturating_add(1);
        let request = Request::script(&SWAP, self.keys.row(key))
            .arg(expected)
            .arg(version)
            .arg(sealed)
            .arg(if lease == LeaseAfter::Release { "release" } else { "keep" })
            .arg(self.keys.channel())
            .arg(told(Signal::Refreshed { key, version }));
        Ok(match read(self.ask(request).await?)? {
            0 => Swapped::Gone,
            1 => Swapped::Swapped,
            _ => Swapped::Moved,
        })
    }

    pub(super) async fn take_lease(&self, key: SessionKey, expected: u64, ttl: Duration) -> Done<Taken> {
        let mut lease = Lease::new(key, expected, false);
        let request = Request::script(&TAKE_LEASE, self.keys.row(key)).arg(expected).arg(&lease.owner).arg(millis(ttl));
        let (code, detail): (i64, u64) = read(self.ask(request).await?)?;
        Ok(match code {
            0 => Taken::Gone,
            1 => {
                lease.after_expiry = detail == 1;
                Taken::Taken(lease)
            }
            2 => Taken::Moved,
            _ => Taken::Held(Duration::from_millis(detail)),
        })
    }

    pub(super) async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> Done<Updated> {
        let request = Request::script(&RENEW_LEASE, self.keys.row(lease.key))
            .arg(lease.version)
            .arg(&lease.owner)
            .arg(millis(ttl));
        Ok(match read(self.ask(request).await?)? {
            0 => Updated::Gone,
            1 => Updated::Updated,
            _ => Updated::Moved,
        })
    }

    pub(super) async fn release_lease(&self, lease: &Lease) -> Done<()> {
        let request = Request::script(&RELEASE_LEASE, self.keys.row(lease.key))
            .arg(&lease.owner)
            .arg(self.keys.channel())
            .arg(told(Signal::Released { key: lease.key }));
        self.ask(request).await.map(drop)
    }
}
