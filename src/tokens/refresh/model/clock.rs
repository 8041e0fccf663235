//! The clock that sessions are judged by, which follows the runtime's stopped time.

use std::time::Duration;

use tokio::time::Instant;

use crate::clock::{Clock, Timestamp};

/// The clock of all replicas.
#[derive(Clone, Copy, Debug)]
pub(super) struct SimulatedClock {
    start: Instant,
    showed: Timestamp,
}

impl SimulatedClock {
    pub(super) fn showing(now: Timestamp) -> Self {
        Self { start: Instant::now(), showed: now }
    }

    /// Time since it was set.
    pub(super) fn elapsed(self) -> Duration {
        self.start.elapsed()
    }
}

impl Clock for SimulatedClock {
    fn now(&self) -> Timestamp {
        self.showed + self.elapsed()
    }
}
