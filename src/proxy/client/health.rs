//! Whether an upstream answers: which of its addresses are avoided, and when nothing is asked of it at all.
//!
//! Nothing that a browser can do alone counts against an upstream: not a call it gives up, not a body that it breaks off, and no
//! answer, whatever its status.

use std::sync::atomic::Ordering;

use super::origin::{CallError, Origin};
use super::outline::Outline;
use super::stage::{At, Stage};
pub(super) use crate::metric::UpstreamFailure as Failure;
use crate::proxy::error::texts;

impl Origin {
    /// An answer came.
    pub(super) fn answered(&self, address: usize, reused: bool) {
        if self.failures[address].load(Ordering::Relaxed) != 0 {
            self.recovered(address, reused);
        }
    }

    #[cold]
    fn recovered(&self, address: usize, reused: bool) {
        let mut pools = self.pools();
        // A connection from before does not show that another one can be had.
        if reused && (pools.is_avoided(address) || pools.outage.is_some()) {
            return;
        }
        self.failures[address].store(0, Ordering::Relaxed);
        let (readmitted, over) = (pools.readmit(address), pools.outage.take());
        drop(pools);
        let upstream = self.target.name();
        if let Some(avoided) = readmitted {
            self.counts.readmitted();
            let address = self.target.address(address).map(ToString::to_string);
            tracing::info!(upstream, address, after = ?avoided.lasted(), "an upstream's address answers again");
        }
        if let Some(outage) = over {
            self.counts.up();
            tracing::info!(upstream, after = ?outage.backoff.lasted(), "an upstream answers again");
        }
    }

    /// A connection broke off before the answer's head, and had not been idle before.
    pub(super) fn broke(&self, address: usize, outline: &Outline, error: &hyper::Error) {
        if outline.is_whole() && !error.is_user() {
            self.failed(address, Failure::Broken, error);
        }
    }

    /// Counts a failure of an address.
    pub(super) fn failed(&self, address: usize, failure: Failure, error: &(dyn std::error::Error + 'static)) {
        self.counts.failed(failure);
        let (cause, upstream) = (texts(error), self.target.name());
        let mut pools = self.pools();
        let failures = self.failures[address].load(Ordering::Relaxed).saturating_add(1);
        self.failures[address].store(failures, Ordering::Relaxed);
        // One call that takes too long may be the call's fault.
        let is_bad = failure != Failure::Late || failures >= THRESHOLD;
        let left = if is_bad { pools.avoid(address) } else { None };
        let mut stopped = None;
        if let Some(outage) = &mut pools.outage {
            outage.cause.clone_from(&cause);
        } else if self.failures.iter().all(|failures| failures.load(Ordering::Relaxed) >= THRESHOLD) {
            stopped = Some(pools.stop(cause.clone()));
        }
        drop(pools);
        if left.is_some() {
            self.counts.avoided();
            let address = self.target.address(address).map(ToString::to_string);
            tracing::warn!(upstream, address, cause, "an address of an upstream is avoided for a while");
        }
        if stopped.is_some() {
            self.counts.down();
            tracing::warn!(
                upstream,
                cause,
                "an upstream does not answer; until it does, it is asked at most once a second"
            );
        }
    }

    /// A call was not let through.
    pub(super) fn refused(&self, error: &CallError) {
        match error {
            CallError::Busy => self.counts.failed(Failure::Busy),
            CallError::Down(_) => self.counts.failed(Failure::Down),
            CallError::Connect(_) | CallError::Broken(_) | CallError::Late => {}
        }
    }

    /// A call is given up at this stage, because its time is over: why.
    pub(in crate::proxy) fn gave_up(&self, stage: &Stage) -> CallError {
        match stage.now() {
            At::Queue => {
                self.refused(&CallError::Busy);
                return CallError::Busy;
            }
            At::Connecting(address) => self.failed(address, Failure::Connect, &CallError::Late),
            At::Sent(address) => self.failed(address, Failure::Late, &CallError::Late),
        }
        CallError::Late
    }
}

/// Failures in a row, of each address, after which nothing is asked of an upstream; and answers in a row that come too late, after
/// which an address is avoided.
const THRESHOLD: u32 = 5;
