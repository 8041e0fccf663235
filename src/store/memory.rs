//! [`MemoryBackend`]: rows in this process, gone with it. For tests, demos and single processes whose sessions may end at a restart.
//!
//! Each verb holds one lock from start to end and never across an `.await`, so verbs run one after the other and logins cannot
//! slip past endings.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use tokio::time::Instant;

use super::signals::Signals;
use super::{
    Claimed, Cursor, Digest, Ending, Exported, IndexKey, Inserted, Lease, LeaseAfter, Limit, Listed, NewRow, Page,
    Reason, Replaced, Reseal, Result, Row, SessionBackend, SessionKey, Signal, Swapped, TOMBSTONE_LIFE, Taken, Updated,
};
use crate::clock::{Clock as _, SystemClock, Timestamp};

mod state;

use state::State;

/// Rows in memory.
pub struct MemoryBackend {
    state: Mutex<State>,
    signals: Signals,
    started_at: Timestamp,
    started: Instant,
}

impl MemoryBackend {
    /// An empty store.
    pub fn new() -> Self {
        Self {
            state: Mutex::default(),
            signals: Signals::new(),
            started_at: SystemClock.now(),
            started: Instant::now(),
        }
    }

    /// The store's clock. It only ever goes forward, at the machine's pace: nothing here outlives the process, so a corrected
    /// wall clock need not end or prolong anything. Where a test has stopped time, it stands still as all timers do.
    fn now(&self) -> Timestamp {
        self.started_at + self.started.elapsed()
    }

    /// A panic under the lock cannot leave a row half written in a way that matters more than losing all of them.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn rows_held(&self) -> usize {
        self.state().rows_held()
    }

    fn ended(&self, keys: &[SessionKey], reason: Reason) {
        for &key in keys {
            self.signals.send(Signal::Ended { key, reason });
        }
    }
}

impl Default for MemoryBackend {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryBackend").finish_non_exhaustive()
    }
}

#[async_trait]
impl SessionBackend for MemoryBackend {
    async fn insert(&self, key: SessionKey, row: &NewRow, limit: Option<&Limit>) -> Result<Inserted> {
        let mut state = self.state();
        let now = self.now();
        if state.holds(key, now) {
            return Ok(Inserted::Exists);
        }
        if state.is_ended(row, now) {
            return Ok(Inserted::Ended);
        }
        state.add(key, row, now);
        let evicted = limit.map_or_else(Vec::new, |limit| state.evict(limit, now));
        self.ended(&evicted, Reason::Limit);
        Ok(Inserted::Inserted { evicted })
    }

    async fn replace(
        &self,
        old: SessionKey,
        retire: Duration,
        key: SessionKey,
        row: &NewRow,
        limit: Option<&Limit>,
    ) -> Result<Replaced> {
        let mut state = self.state();
        let now = self.now();
        if state.holds(key, now) {
            return Ok(Replaced::Exists);
        }
        let replaced = state.retire(old, retire, now);
        if replaced.is_some() {
            self.signals.send(Signal::replaced(old, retire));
        }
        if state.is_ended(row, now) {
            return Ok(Replaced::Ended);
        }
        state.add(key, row, now);
        let evicted = limit.map_or_else(Vec::new, |limit| state.evict(limit, now));
        self.ended(&evicted, Reason::Limit);
        Ok(Replaced::Replaced { old: replaced, evicted })
    }

    async fn load(&self, key: SessionKey) -> Result<Option<Row>> {
        let now = self.now();
        Ok(self.state().present(key, now).map(|stored| stored.row(now)))
    }

    async fn touch(
        &self,
        key: SessionKey,
        live_for: Duration,
        session: &[u8],
        reseal: Option<&Reseal>,
    ) -> Result<Updated> {
        let mut state = self.state();
        let now = self.now();
        let Some(stored) = state.live(key, now) else { return Ok(Updated::Gone) };
        stored.session = Bytes::copy_from_slice(session);
        stored.touched_at = now;
        stored.expires_at = now + live_for;
        if let Some(reseal) = reseal {
            stored.card = reseal.card.clone().into();
            if let Some((version, tokens)) = &reseal.tokens
                && *version == stored.tokens_version
            {
                stored.tokens = tokens.clone().into();
            }
            state.index(key, &reseal.terms);
        }
        Ok(Updated::Updated)
    }

    async fn remove(&self, key: SessionKey, reason: Reason) -> Result<Option<Row>> {
        let mut state = self.state();
        let now = self.now();
        if !state.holds(key, now) {
            return Ok(None);
        }
        let removed = state.take(key).map(|stored| stored.row(now));
        self.ended(&[key], reason);
        Ok(removed)
    }

    async fn remove_if(&self, key: SessionKey, expected: u64, reason: Reason) -> Result<Updated> {
        let mut state = self.state();
        match state.live(key, self.now()) {
            None => return Ok(Updated::Gone),
            Some(stored) if stored.tokens_version != expected => return Ok(Updated::Moved),
            Some(_) => {}
        }
        state.take(key);
        self.ended(&[key], reason);
        Ok(Updated::Updated)
    }

    async fn end_matching(&self, ending: &Ending) -> Result<u64> {
        let mut state = self.state();
        let now = self.now();
        for tombstone in &ending.tombstones {
            state.bury(*tombstone, now + TOMBSTONE_LIFE);
        }
        let keys = state.named(ending, now);
        for &key in &keys {
            state.take(key);
        }
        self.ended(&keys, ending.reason);
        Ok(keys.len() as u64)
    }

    async fn list_matching(&self, any_of: &[IndexKey]) -> Result<Vec<Listed>> {
        Ok(self.state().carrying(any_of, self.now()).into_iter().map(|(key, stored)| stored.listed(key)).collect())
    }

    async fn scan(&self, cursor: Cursor) -> Result<Page> {
        Ok(self.state().page(&cursor, self.now()))
    }

    async fn export(&self, key: SessionKey) -> Result<Option<Exported>> {
        let now = self.now();
        Ok(self.state().live(key, now).map(|stored| stored.exported(key, now)))
    }

    async fn import(&self, row: &Exported) -> Result<bool> {
        let mut state = self.state();
        let now = self.now();
        let is_free = !state.holds(row.key, now);
        if is_free {
            state.restore(row, now);
        }
        Ok(is_free)
    }

    async fn swap_tokens(&self, key: SessionKey, expected: u64, sealed: &[u8], lease: LeaseAfter) -> Result<Swapped> {
        let mut state = self.state();
        let Some(stored) = state.live(key, self.now()) else { return Ok(Swapped::Gone) };
        if stored.tokens_version != expected {
            return Ok(Swapped::Moved);
        }
        stored.tokens = Bytes::copy_from_slice(sealed);
        stored.tokens_version += 1;
        if lease == LeaseAfter::Release {
            stored.lease = None;
        }
        self.signals.send(Signal::Refreshed { key, version: stored.tokens_version });
        Ok(Swapped::Swapped)
    }

    async fn take_lease(&self, key: SessionKey, expected: u64, ttl: Duration) -> Result<Taken> {
        let mut state = self.state();
        let now = self.now();
        let Some(stored) = state.live(key, now) else { return Ok(Taken::Gone) };
        if stored.tokens_version != expected {
            return Ok(Taken::Moved);
        }
        match stored.lease {
            Some((_, until)) if until > now => return Ok(Taken::Held(until.since(now))),
            earlier => {
                let lease = Lease::new(key, expected, earlier.is_some());
                stored.lease = Some((lease.owner, now + ttl));
                Ok(Taken::Taken(lease))
            }
        }
    }

    async fn renew_lease(&self, lease: &Lease, ttl: Duration) -> Result<Updated> {
        let mut state = self.state();
        let now = self.now();
        let Some(stored) = state.live(lease.key, now) else { return Ok(Updated::Gone) };
        match &mut stored.lease {
            Some((owner, until)) if *owner == lease.owner && *until > now && stored.tokens_version == lease.version => {
                *until = now + ttl;
                Ok(Updated::Updated)
            }
            _ => Ok(Updated::Moved),
        }
    }

    async fn release_lease(&self, lease: &Lease) -> Result<()> {
        let mut state = self.state();
        if let Some(stored) = state.live(lease.key, self.now())
            && stored.lease.take_if(|(owner, _)| *owner == lease.owner).is_some()
        {
            self.signals.send(Signal::Released { key: lease.key });
        }
        Ok(())
    }

    async fn claim(&self, digest: Digest, ttl: Duration) -> Result<Claimed> {
        Ok(self.state().claim(digest, ttl, self.now()))
    }

    async fn unclaim(&self, digest: Digest) -> Result<()> {
        self.state().claims.remove(&digest);
        Ok(())
    }

    async fn put_once(&self, digest: Digest, sealed: &[u8], ttl: Duration) -> Result<()> {
        self.state().once.insert(digest, (sealed.to_vec(), self.now() + ttl));
        Ok(())
    }

    async fn take_once(&self, digest: Digest) -> Result<Option<Vec<u8>>> {
        let kept = self.state().once.remove(&digest);
        Ok(kept.and_then(|(sealed, until)| (until > self.now()).then_some(sealed)))
    }

    async fn remove_expired(&self) -> Result<u64> {
        let (mut removed, mut from) = (0, None);
        loop {
            let step = self.state().sweep_rows(from, self.now());
            removed += step.removed;
            from = step.next;
            if from.is_none() {
                break;
            }
            tokio::task::yield_now().await;
        }
        self.state().sweep_small(self.now());
        Ok(removed)
    }

    async fn ping(&self) -> Result<()> {
        Ok(())
    }

    fn watch(&self) -> BoxStream<'static, Signal> {
        self.signals.watch()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[expect(clippy::unused_async, reason = "the shape the suite calls")]
    async fn fresh() -> (Arc<dyn SessionBackend>, ()) {
        (Arc::new(MemoryBackend::new()), ())
    }

    crate::store_suite!(fresh);
}
