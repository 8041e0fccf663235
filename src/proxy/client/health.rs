//! Whether an upstream can be reached: which of its addresses are avoided, and when nothing is asked of it at all.
//!
//! Only a connection that cannot be opened counts. A call that takes too long, and one that the upstream hangs up on, may be that one
//! call's fault: whoever may call could have everybody else refused by it. For the same reason nothing counts that a browser does, and no
//! status of an answer.

use std::sync::atomic::Ordering;

use super::origin::{CallError, Origin};
use super::outline::Outline;
use super::stage::{At, Stage};
use crate::metric::UpstreamFailure as Failure;
use crate::proxy::error::texts;

impl Origin {
    /// An answer came.
    pub(super) fn answered(&self, address: usize) {
        if self.failures[address].load(Ordering::Relaxed) != 0 {
            self.recovered(address);
        }
    }

    #[cold]
    fn recovered(&self, address: usize) {
        let mut pools = self.pools();
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
    pub(super) fn broke(&self, outline: &Outline, error: &hyper::Error) {
        if outline.is_whole() && !error.is_user() {
            self.counts.failed(Failure::Broken);
        }
    }

    /// There is no connection to an address.
    pub(super) fn failed(&self, address: usize, error: &(dyn std::error::Error + 'static)) {
        self.counts.failed(Failure::Connect);
        let (cause, upstream) = (texts(error), self.target.name());
        let mut pools = self.pools();
        let failures = self.failures[address].load(Ordering::Relaxed).saturating_add(1);
        self.failures[address].store(failures, Ordering::Relaxed);
        let left = pools.avoid(address);
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
            CallError::Connect(_) | CallError::Refused(_) | CallError::Broken(_) | CallError::Late => {}
        }
    }

    /// A call is given up at this stage, because its time is over: why.
    pub(in crate::proxy) fn gave_up(&self, stage: &Stage) -> CallError {
        match stage.now() {
            At::Queue => {
                self.refused(&CallError::Busy);
                return CallError::Busy;
            }
            At::Connecting(address) => self.failed(address, &CallError::Late),
            At::Sent => self.counts.failed(Failure::Late),
        }
        CallError::Late
    }
}

/// Failures in a row, of each address, after which nothing is asked of an upstream.
const THRESHOLD: u32 = 5;
