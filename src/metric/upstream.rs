//! What is counted of upstreams.

use std::fmt;

use metrics::{Counter, Gauge};

use super::{Kind, Metric};

/// Why a call to an upstream, or one of its connections, failed or was not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UpstreamFailure {
    /// There is no connection to an address.
    Connect,
    /// A new connection broke off before the answer's head.
    Broken,
    /// The answer's head did not come in time.
    Late,
    /// The call was not begun: the upstream is known to be down.
    Down,
    /// The call was not begun: no connection was free.
    Busy,
}

/// Counts what becomes of calls to one upstream.
pub(crate) struct Upstream {
    failures: [Counter; 5],
    repeats: Counter,
    connections: Gauge,
    avoided: Gauge,
    open: Gauge,
    openings: Counter,
}

impl Upstream {
    /// By its origin. What several have in common is added up.
    pub(crate) fn of(origin: &str) -> Self {
        let gauge = |metric: &Metric| {
            let gauge = metric.gauge(&[origin]);
            gauge.increment(0.0);
            gauge
        };
        Self {
            failures: ["connect", "broken", "late", "down", "busy"].map(|reason| FAILURES.counter(&[origin, reason])),
            repeats: REPEATS.counter(&[origin]),
            connections: gauge(&CONNECTIONS),
            avoided: gauge(&ADDRESSES_AVOIDED),
            open: gauge(&BREAKER_OPEN),
            openings: BREAKER_OPENINGS.counter(&[origin]),
        }
    }

    /// Counts a failure.
    pub(crate) fn failed(&self, failure: UpstreamFailure) {
        self.failures[failure as usize].increment(1);
    }

    /// Counts a request that is sent once more.
    pub(crate) fn repeated(&self) {
        self.repeats.increment(1);
    }

    /// Notes a connection more.
    pub(crate) fn opened(&self) {
        self.connections.increment(1.0);
    }

    /// Notes a connection less.
    pub(crate) fn closed(&self) {
        self.connections.decrement(1.0);
    }

    /// Notes that calls are kept off an address from now on.
    pub(crate) fn avoided(&self) {
        self.avoided.increment(1.0);
    }

    /// Notes that they are not any more.
    pub(crate) fn readmitted(&self) {
        self.avoided.decrement(1.0);
    }

    /// Notes that calls are kept off the upstream from now on.
    pub(crate) fn down(&self) {
        self.open.increment(1.0);
        self.openings.increment(1);
    }

    /// Notes that calls reach the upstream again.
    pub(crate) fn up(&self) {
        self.open.decrement(1.0);
    }
}

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Upstream")
    }
}

pub(super) const FAILURES: Metric = Metric {
    name: "cloakroom_upstream_failures_total",
    kind: Kind::Counter,
    labels: &["upstream", "reason"],
    help: "Connections and calls to an upstream that failed, or were not begun",
};
pub(super) const REPEATS: Metric = Metric {
    name: "cloakroom_upstream_repeats_total",
    kind: Kind::Counter,
    labels: &["upstream"],
    help: "Requests sent once more because their connection broke off before the answer",
};
pub(super) const CONNECTIONS: Metric = Metric {
    name: "cloakroom_upstream_connections",
    kind: Kind::Gauge,
    labels: &["upstream"],
    help: "Connections to an upstream, idle ones included",
};
pub(super) const ADDRESSES_AVOIDED: Metric = Metric {
    name: "cloakroom_upstream_addresses_avoided",
    kind: Kind::Gauge,
    labels: &["upstream"],
    help: "Addresses of an upstream that calls are kept off because they failed",
};
pub(super) const BREAKER_OPEN: Metric = Metric {
    name: "cloakroom_upstream_breaker_open",
    kind: Kind::Gauge,
    labels: &["upstream"],
    help: "1 while calls are kept off an upstream that does not answer, else 0",
};
pub(super) const BREAKER_OPENINGS: Metric = Metric {
    name: "cloakroom_upstream_breaker_openings_total",
    kind: Kind::Counter,
    labels: &["upstream"],
    help: "Outages of an upstream that kept calls off it",
};
