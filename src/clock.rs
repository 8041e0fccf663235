//! Time as a value. Everything that judges a limit asks a [`Clock`], so tests can move time by hand.
//!
//! Stores are the exception: a row's garbage collection lives by the store's own clock (`store/mod.rs`).

use std::fmt;
use std::ops::{Add, Sub};
use std::time::{Duration, SystemTime};

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// A point in time: whole milliseconds since the Unix epoch, UTC. On the wire and at rest it is that number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const UNIX_EPOCH: Self = Self(0);

    /// From whole seconds since the epoch (a JWT `NumericDate`). Saturates.
    pub fn from_unix_seconds(seconds: i64) -> Self {
        Self(seconds.saturating_mul(1000))
    }

    /// From milliseconds since the epoch.
    pub fn from_unix_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    pub fn unix_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down (a JWT `NumericDate`).
    pub fn unix_seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// How long after `earlier` this is; zero if it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// RFC 3339 in UTC with whole seconds, as public answers show times. A time beyond year 9999 is shown as the epoch.
    pub fn rfc3339(self) -> String {
        OffsetDateTime::from_unix_timestamp(self.unix_seconds())
            .unwrap_or(OffsetDateTime::UNIX_EPOCH)
            .format(&Rfc3339)
            .unwrap_or_default()
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(millis(rhs)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(millis(rhs)))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339())
    }
}

fn millis(duration: Duration) -> i64 {
    let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    seconds.saturating_mul(1000).saturating_add(i64::from(duration.subsec_millis()))
}

/// Tells the time.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The current time.
    fn now(&self) -> Timestamp;

    /// Waits until it is `time`. Unless a clock does it in its own way, real time passes meanwhile, and nobody notices that the clock
    /// was set: who waits long looks at [`now`](Self::now) afterwards.
    fn wait_until(&self, time: Timestamp) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(time.since(self.now())))
    }
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    fn now(&self) -> Timestamp {
        // A machine that thinks it is before 1970 has sessions from the future all the same.
        Timestamp(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, millis))
    }
}

/// A clock that stands still until it is moved. Clones share their time.
#[cfg(any(test, feature = "test-util"))]
#[derive(Clone, Debug)]
pub struct ManualClock(std::sync::Arc<tokio::sync::watch::Sender<Timestamp>>);

#[cfg(any(test, feature = "test-util"))]
impl ManualClock {
    /// A clock that shows `now`.
    pub fn at(now: Timestamp) -> Self {
        Self(std::sync::Arc::new(tokio::sync::watch::Sender::new(now)))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.0.send_modify(|now| *now = *now + by);
    }

    /// Moves the clock back.
    pub fn rewind(&self, by: Duration) {
        self.0.send_modify(|now| *now = *now - by);
    }
}

#[cfg(any(test, feature = "test-util"))]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.borrow()
    }

    /// Waits until the clock was moved there.
    fn wait_until(&self, time: Timestamp) -> BoxFuture<'static, ()> {
        let mut now = self.0.subscribe();
        Box::pin(async move {
            // A clock that is gone does not move any more.
            if now.wait_for(|now| *now >= time).await.is_err() {
                std::future::pending::<()>().await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_in_whole_seconds_utc() {
        assert_eq!(Timestamp::from_unix_millis(1_700_000_000_999).rfc3339(), "2023-11-14T22:13:20Z");
    }

    #[test]
    fn a_time_that_is_not_after_is_zero_later() {
        let t = Timestamp::from_unix_seconds(100);
        assert_eq!(t.since(t + Duration::from_secs(5)), Duration::ZERO);
        assert_eq!((t + Duration::from_secs(5)).since(t), Duration::from_secs(5));
    }

    #[test]
    fn absurd_numbers_saturate() {
        assert_eq!(Timestamp::from_unix_seconds(i64::MAX) + Duration::MAX, Timestamp(i64::MAX));
        assert_eq!(Timestamp::from_unix_seconds(i64::MAX).rfc3339(), "1970-01-01T00:00:00Z");
    }

    #[tokio::test]
    async fn who_waits_for_a_manual_clock_goes_on_when_it_is_moved() {
        let clock = ManualClock::at(Timestamp::UNIX_EPOCH);
        let waiting = tokio::spawn(clock.wait_until(Timestamp::from_unix_seconds(10)));
        clock.advance(Duration::from_secs(9));
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        clock.advance(Duration::from_secs(1));
        waiting.await.unwrap();
        clock.wait_until(Timestamp::UNIX_EPOCH).await;
    }

    #[tokio::test(start_paused = true)]
    async fn any_other_clock_lets_real_time_pass() {
        #[derive(Debug)]
        struct Stopped;
        impl Clock for Stopped {
            fn now(&self) -> Timestamp {
                Timestamp::UNIX_EPOCH
            }
        }
        let started = tokio::time::Instant::now();
        Stopped.wait_until(Timestamp::from_unix_seconds(10)).await;
        assert_eq!(started.elapsed().as_secs(), 10);
    }
}
