//! [`Breaker`]: stands between callers and a store that is down, hangs or is slow, so that calls do not pile up before it.
//!
//! *Closed*, calls pass, a bounded number at the same time. After [`THRESHOLD`] failures in a row it *opens*: calls fail at once, and
//! one call per pause passes as a probe; the first probe that is answered closes it. A probe has no state of its own, only a time
//! before which there is no other, so one that is abandoned or hangs holds nobody up.

use std::pin::pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, timeout};

use super::{Error, Result};
use crate::metric;

/// One per store and process; see the module. All calls of [`SealedStore`](super::SealedStore)s go through it.
#[derive(Debug)]
pub(crate) struct Breaker {
    timeout: Duration,
    /// Grows by one with each opening and each closing: even while closed, odd while open. Written under the lock of `outage`.
    generation: AtomicU64,
    /// In a row, while closed. Written under the lock of `outage`.
    failures: AtomicU32,
    /// Is there while open.
    outage: Mutex<Option<Outage>>,
    places: Semaphore,
    counts: metric::Store,
}

#[derive(Debug)]
struct Outage {
    since: Instant,
    /// What the store said last.
    cause: String,
    pause: Duration,
    next_probe: Instant,
}

/// Leave to call the store. An answer counts only in the generation whose call it answers: a call that began before an opening says
/// nothing about the store after it.
struct Pass<'a> {
    generation: u64,
    _place: Option<SemaphorePermit<'a>>,
}

impl Breaker {
    /// Closed. A call that takes longer than `timeout` is a failure.
    pub(crate) fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            generation: AtomicU64::new(0),
            failures: AtomicU32::new(0),
            outage: Mutex::new(None),
            places: Semaphore::new(PLACES),
            counts: metric::Store::new(),
        }
    }

    /// Makes a call to the store. It is not begun if it does not pass; a caller that leaves takes it along.
    ///
    /// # Errors
    /// Those of the call; `Unavailable` if it is late, if too many calls are under way, or at once while the breaker is open.
    pub(crate) async fn call<T>(&self, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let answer = pin!(self.pass(call)).await;
        if matches!(answer, Err(Error::Unavailable(_))) {
            self.counts.unavailable();
        }
        answer
    }

    async fn pass<T>(&self, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let pass = self.admit().await?;
        let late = |_| Err(Error::Unavailable(format!("no answer within {:?}", self.timeout)));
        let answer = pin!(timeout(self.timeout, call)).await.unwrap_or_else(late);
        match &answer {
            Err(Error::Unavailable(cause)) => self.failed(pass.generation, cause),
            Ok(_) | Err(Error::Corrupt(_)) => self.answered(pass.generation),
        }
        answer
    }

    async fn admit(&self) -> Result<Pass<'_>> {
        let generation = self.enter()?;
        if is_open(generation) {
            // The places may all be taken by calls that hang.
            return Ok(Pass { generation, _place: None });
        }
        if let Ok(place) = self.places.try_acquire() {
            return Ok(Pass { generation, _place: Some(place) });
        }
        let Ok(Ok(place)) = timeout(QUEUE.min(self.timeout), self.places.acquire()).await else {
            return Err(Error::Unavailable(format!("{PLACES} calls wait for it already")));
        };
        // It may have opened meanwhile.
        Ok(Pass { generation: self.enter()?, _place: Some(place) })
    }

    /// The generation of a call that begins now; an odd one if it is a probe.
    fn enter(&self) -> Result<u64> {
        let generation = self.generation.load(Ordering::Relaxed);
        if !is_open(generation) {
            return Ok(generation);
        }
        let mut outage = self.lock();
        if let Some(outage) = outage.as_mut() {
            let now = Instant::now();
            if now < outage.next_probe {
                return Err(Error::Unavailable(format!("not asked again so soon after: {}", outage.cause)));
            }
            outage.pause = (outage.pause * 2).min(LONGEST_PAUSE);
            outage.next_probe = now + outage.pause;
        }
        Ok(self.generation.load(Ordering::Relaxed))
    }

    fn answered(&self, generation: u64) {
        if !is_open(generation) && self.failures.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut outage = self.lock();
        if self.generation.load(Ordering::Relaxed) != generation {
            return;
        }
        self.failures.store(0, Ordering::Relaxed);
        if let Some(over) = outage.take() {
            self.generation.store(generation + 1, Ordering::Relaxed);
            self.counts.closed();
            tracing::info!(after = ?over.since.elapsed(), "the store answers again");
        }
    }

    fn failed(&self, generation: u64, cause: &str) {
        let mut outage = self.lock();
        if self.generation.load(Ordering::Relaxed) != generation {
            return;
        }
        if let Some(outage) = outage.as_mut() {
            cause.clone_into(&mut outage.cause);
            return;
        }
        if self.failures.fetch_add(1, Ordering::Relaxed) + 1 < THRESHOLD {
            return;
        }
        let since = Instant::now();
        let next_probe = since + SHORTEST_PAUSE;
        *outage = Some(Outage { since, cause: cause.to_owned(), pause: SHORTEST_PAUSE, next_probe });
        self.generation.store(generation + 1, Ordering::Relaxed);
        self.counts.opened();
        tracing::warn!(cause, "the store does not answer; until it does, it is asked at most once a second");
    }

    fn lock(&self) -> MutexGuard<'_, Option<Outage>> {
        self.outage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_open(generation: u64) -> bool {
    generation % 2 == 1
}

/// Failures in a row that open it.
const THRESHOLD: u32 = 5;
/// How many calls the store is given at the same time. Probes come on top: one per pause, each for no longer than the timeout.
pub(super) const PLACES: usize = 1024;
/// How long a call waits for a place. A burst that the store keeps up with is through by then.
const QUEUE: Duration = Duration::from_secs(1);
/// Until the first probe. Doubles with each probe up to [`LONGEST_PAUSE`].
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
/// A store that is back is noticed by the first call after that.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
