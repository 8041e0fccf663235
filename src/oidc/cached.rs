//! A value fetched from a provider: kept while it is good, fetched once for all who wait, and never fetched in a loop.
//!
//! The fetch runs in a task of its own, so a browser that leaves does not stop it for the others. A failure is remembered with a
//! growing pause: callers inside the pause get the same error at once, and the last good value serves on where there is one.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};

use super::error::{Error, Outage};
use crate::clock::{Clock, Timestamp};

type Fetch<T> = Arc<dyn Fn() -> BoxFuture<'static, Result<T, Error>> + Send + Sync>;
type Flight<T> = Shared<BoxFuture<'static, Result<Arc<T>, Error>>>;

/// See the module.
pub(super) struct Cached<T> {
    /// Whose and what it is, for the log.
    what: Arc<str>,
    fetch: Fetch<T>,
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<State<T>>>,
}

struct State<T> {
    good: Option<(Arc<T>, Timestamp)>,
    failed: Option<Failure>,
    flight: Option<Flight<T>>,
    demanded_at: Option<Timestamp>,
}

struct Failure {
    error: Error,
    at: Timestamp,
    pause: Duration,
}

impl<T: Send + Sync + 'static> Cached<T> {
    /// Nothing is fetched before the first call.
    pub(super) fn new(what: String, clock: Arc<dyn Clock>, fetch: Fetch<T>) -> Self {
        let state = State { good: None, failed: None, flight: None, demanded_at: None };
        Self { what: what.into(), fetch, clock, state: Arc::new(Mutex::new(state)) }
    }

    /// The value, fetched if there is none yet. One older than [`FRESH`] is returned as it is and renewed behind the caller's back.
    ///
    /// # Errors
    /// That of the fetch; within the pause after a failure, the remembered one.
    pub(super) async fn get(&self) -> Result<Arc<T>, Error> {
        let flight = {
            let mut state = self.lock();
            let now = self.clock.now();
            match &state.good {
                Some((value, at)) => {
                    let value = value.clone();
                    if now.since(*at) > FRESH && state.pausing(now).is_none() {
                        drop(self.join(&mut state));
                    }
                    return Ok(value);
                }
                None => match state.pausing(now) {
                    Some(error) => return Err(error),
                    None => self.join(&mut state),
                },
            }
        };
        flight.await
    }

    /// What is there now, without a fetch.
    pub(super) fn peek(&self) -> Option<Arc<T>> {
        self.lock().good.as_ref().map(|(value, _)| value.clone())
    }

    /// The value fetched anew because the one at hand lacks something. At most once per [`BRAKE`], whoever asks; in between, and
    /// if the fetch fails, the value at hand.
    pub(super) async fn demand_newer(&self) -> Option<Arc<T>> {
        let flight = {
            let mut state = self.lock();
            let now = self.clock.now();
            if state.demanded_at.is_some_and(|at| now.since(at) < BRAKE) || state.pausing(now).is_some() {
                // A fetch somebody else demanded a moment ago may still be under way, and is as good as ours.
                state.flight.clone()
            } else {
                state.demanded_at = Some(now);
                Some(self.join(&mut state))
            }
        };
        match flight {
            Some(flight) => flight.await.ok().or_else(|| self.peek()),
            None => self.peek(),
        }
    }

    /// Why there is nothing newer than the value at hand, within the pause after a failed fetch.
    pub(super) fn outage(&self) -> Option<Error> {
        self.lock().pausing(self.clock.now())
    }

    /// Joins the fetch under way, or starts one.
    fn join(&self, state: &mut State<T>) -> Flight<T> {
        if let Some(flight) = &state.flight {
            return flight.clone();
        }
        let (what, shared, clock, fetch) = (self.what.clone(), self.state.clone(), self.clock.clone(), (self.fetch)());
        let task = tokio::spawn(async move {
            let result = fetch.await.map(Arc::new);
            shared.lock().unwrap_or_else(PoisonError::into_inner).landed(&what, &result, clock.now());
            result
        });
        // A fetch that panics is an outage for those who wait; the next caller starts another.
        let state_if_lost = self.state.clone();
        let flight = async move {
            task.await.unwrap_or_else(|_| {
                state_if_lost.lock().unwrap_or_else(PoisonError::into_inner).flight = None;
                Err(Error::unsent(Outage::Broken))
            })
        };
        let flight = flight.boxed().shared();
        state.flight = Some(flight.clone());
        flight
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> State<T> {
    fn pausing(&self, now: Timestamp) -> Option<Error> {
        let failure = self.failed.as_ref()?;
        (now.since(failure.at) < failure.pause).then(|| failure.error.clone())
    }

    fn landed(&mut self, what: &str, result: &Result<Arc<T>, Error>, now: Timestamp) {
        self.flight = None;
        match result {
            Ok(value) => {
                self.good = Some((value.clone(), now));
                self.failed = None;
            }
            Err(error) => {
                tracing::warn!(what, %error, "could not fetch from the provider");
                let pause = self.failed.as_ref().map_or(FIRST_PAUSE, |failure| (failure.pause * 2).min(LONGEST_PAUSE));
                self.failed = Some(Failure { error: error.clone(), at: now, pause });
                // The pause is the brake now: as soon as it is over, who needs a newer value may ask again.
                self.demanded_at = None;
            }
        }
    }
}

impl<T> fmt::Debug for Cached<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cached(..)")
    }
}

/// After this a value is renewed in the background.
const FRESH: Duration = Duration::from_hours(1);
/// Between two fetches that a missing key asks for.
const BRAKE: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::clock::ManualClock;

    fn counting(clock: &ManualClock, outcome: fn(u32) -> Result<u32, Error>) -> (Cached<u32>, Arc<AtomicU32>) {
        let calls = Arc::new(AtomicU32::new(0));
        let counter = calls.clone();
        let fetch: Fetch<u32> = Arc::new(move || {
            let n = counter.fetch_add(1, Ordering::SeqCst) + 1;
            async move {
                tokio::task::yield_now().await;
                outcome(n)
            }
            .boxed()
        });
        (Cached::new("numbers of p".to_owned(), Arc::new(clock.clone()), fetch), calls)
    }

    fn clock() -> ManualClock {
        ManualClock::at(Timestamp::from_unix_seconds(1_000_000))
    }

    #[tokio::test]
    async fn many_who_wait_make_one_fetch() {
        let (cached, calls) = counting(&clock(), Ok);
        let results = futures_util::future::join_all((0..50).map(|_| cached.get())).await;
        assert!(results.iter().all(|r| r.as_deref() == Ok(&1)));
        assert_eq!(calls.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_broken_provider_is_not_hammered() {
        let clock = clock();
        let (cached, calls) = counting(&clock, |_| Err(Error::unsent(Outage::Connect)));
        for _ in 0..100 {
            assert_eq!(cached.get().await, Err(Error::unsent(Outage::Connect)));
        }
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        clock.advance(FIRST_PAUSE);
        let _ = cached.get().await;
        clock.advance(FIRST_PAUSE);
        let _ = cached.get().await;
        assert_eq!(calls.load(Ordering::SeqCst), 2, "the second pause is longer");
    }

    #[tokio::test]
    async fn a_missing_key_asks_once_per_brake() {
        let clock = clock();
        let (cached, calls) = counting(&clock, Ok);
        let _ = cached.get().await;
        for _ in 0..100 {
            let _ = cached.demand_newer().await;
        }
        assert_eq!(calls.load(Ordering::SeqCst), 2);
        clock.advance(BRAKE);
        assert_eq!(cached.demand_newer().await.as_deref(), Some(&3));
    }

    #[tokio::test]
    async fn a_demand_that_failed_is_made_again_as_soon_as_the_pause_is_over() {
        let clock = clock();
        let fails_once = |n| if n == 2 { Err(Error::unsent(Outage::Connect)) } else { Ok(n) };
        let (cached, _) = counting(&clock, fails_once);
        let _ = cached.get().await;
        assert_eq!(cached.demand_newer().await.as_deref(), Some(&1));
        clock.advance(FIRST_PAUSE);
        assert_eq!(cached.outage(), None);
        assert_eq!(cached.demand_newer().await.as_deref(), Some(&3));
    }

    #[tokio::test]
    async fn the_last_good_value_outlives_an_outage() {
        let clock = clock();
        let (cached, _) = counting(&clock, |n| if n == 1 { Ok(1) } else { Err(Error::unsent(Outage::Connect)) });
        let _ = cached.get().await;
        clock.advance(FRESH * 2);
        assert_eq!(cached.get().await.as_deref(), Ok(&1));
        assert_eq!(cached.demand_newer().await.as_deref(), Some(&1));
        assert_eq!(cached.outage(), Some(Error::unsent(Outage::Connect)));
    }
}
