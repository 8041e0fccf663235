//! When something that failed is tried again.

use std::time::Duration;

use tokio::time::Instant;

use crate::secret;

/// Lets one call through per pause. A probe has no state of its own, only a time before which there is no other, so one that is
/// abandoned or hangs holds nobody up.
#[derive(Debug)]
pub(super) struct Backoff {
    since: Instant,
    pause: Duration,
    longest: Duration,
    next: Instant,
}

impl Backoff {
    /// Counts from now. The pause begins with [`SHORTEST`], and doubles with each probe up to `longest`.
    pub(super) fn new(longest: Duration) -> Self {
        let since = Instant::now();
        Self { since, pause: SHORTEST, longest, next: since + secret::jittered(SHORTEST) }
    }

    /// Whether a call that begins now is the next probe.
    pub(super) fn take_probe(&mut self) -> bool {
        let now = Instant::now();
        if now < self.next {
            return false;
        }
        self.pause = (self.pause * 2).min(self.longest);
        self.next = now + secret::jittered(self.pause);
        true
    }

    /// How long it has lasted.
    pub(super) fn lasted(&self) -> Duration {
        self.since.elapsed()
    }
}

const SHORTEST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pauses_double_and_each_lets_one_probe_through() {
        let mut backoff = Backoff::new(Duration::from_secs(10));
        for seconds in [1, 2, 4, 8, 10, 10] {
            let middle = Duration::from_secs(seconds);
            tokio::time::advance(middle / 2).await;
            assert!(!backoff.take_probe(), "too early for {seconds} s");
            tokio::time::advance(middle * 3 / 4).await;
            assert!(backoff.take_probe(), "late enough for {seconds} s");
            assert!(!backoff.take_probe(), "one is enough");
        }
    }
}
