//! What is counted: every metric with its name, labels and help, and the functions that count. Nothing else records one.
//!
//! The `metrics` facade takes them to whatever recorder the process has; the library installs none, the program does
//! (`telemetry.rs`). Labels come from small closed sets and the configuration, never from a request.

mod limit;
mod upstream;

use std::fmt;
use std::sync::Arc;

use metrics::{Counter, Gauge, Label, Unit};

pub(crate) use self::limit::{Limit, Unfit};
pub(crate) use self::upstream::{Upstream, UpstreamFailure};

/// A metric as it is declared.
#[derive(Debug)]
pub(crate) struct Metric {
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
}

/// Every metric there is.
pub(crate) const ALL: [&Metric; 20] = [
    &REQUESTS,
    &LOGINS,
    &LOGOUTS,
    &SESSIONS_ENDED,
    &REFRESHES,
    &REPLAYED_CALLS,
    &ADMIN_REFUSED,
    &LIMITED,
    &CONNECTIONS,
    &CONNECTIONS_REFUSED,
    &REQUESTS_IN_FLIGHT,
    &STORE_UNAVAILABLE,
    &STORE_BREAKER_OPEN,
    &STORE_BREAKER_OPENINGS,
    &upstream::FAILURES,
    &upstream::REPEATS,
    &upstream::CONNECTIONS,
    &upstream::ADDRESSES_AVOIDED,
    &upstream::BREAKER_OPEN,
    &upstream::BREAKER_OPENINGS,
];

const REQUESTS: Metric = Metric {
    name: "cloakroom_requests_total",
    kind: Kind::Counter,
    labels: &["frontend", "status"],
    help: "Requests answered on the public listener",
};
const LOGINS: Metric = Metric {
    name: "cloakroom_logins_total",
    kind: Kind::Counter,
    labels: &["frontend", "outcome"],
    help: "Logins that came back from the provider, by what became of them",
};
const LOGOUTS: Metric = Metric {
    name: "cloakroom_logouts_total",
    kind: Kind::Counter,
    labels: &["frontend"],
    help: "Logouts that ended a session",
};
const SESSIONS_ENDED: Metric = Metric {
    name: "cloakroom_sessions_ended_total",
    kind: Kind::Counter,
    labels: &["reason"],
    help: "Sessions ended by this process",
};
const REFRESHES: Metric = Metric {
    name: "cloakroom_refreshes_total",
    kind: Kind::Counter,
    labels: &["outcome"],
    help: "Renewals of tokens, by what became of them",
};
const REPLAYED_CALLS: Metric = Metric {
    name: "cloakroom_replayed_calls_total",
    kind: Kind::Counter,
    labels: &["frontend", "outcome"],
    help: "Calls sent once more with another token because the API refused the first, by what became of them",
};
const ADMIN_REFUSED: Metric = Metric {
    name: "cloakroom_admin_refused_total",
    kind: Kind::Counter,
    labels: &["reason"],
    help: "Requests for an operator's verb that were no operator's",
};
const LIMITED: Metric = Metric {
    name: "cloakroom_limited_total",
    kind: Kind::Counter,
    labels: &["limit"],
    help: "Requests, streams and connections that met a limit",
};
const CONNECTIONS: Metric = Metric {
    name: "cloakroom_connections",
    kind: Kind::Gauge,
    labels: &[],
    help: "Connections of clients, WebSockets among them",
};
const CONNECTIONS_REFUSED: Metric = Metric {
    name: "cloakroom_connections_refused_total",
    kind: Kind::Counter,
    labels: &["reason"],
    help: "Connections closed because what came on them is not what is spoken here",
};
const REQUESTS_IN_FLIGHT: Metric = Metric {
    name: "cloakroom_requests_in_flight",
    kind: Kind::Gauge,
    labels: &[],
    help: "Requests being answered, to the end of the answer, and open WebSockets, when this was asked",
};
const STORE_UNAVAILABLE: Metric = Metric {
    name: "cloakroom_store_unavailable_total",
    kind: Kind::Counter,
    labels: &[],
    help: "Calls that the store did not answer, or was not asked for because it is down",
};
const STORE_BREAKER_OPEN: Metric = Metric {
    name: "cloakroom_store_breaker_open",
    kind: Kind::Gauge,
    labels: &[],
    help: "1 while calls are kept off a store that is down, else 0",
};
const STORE_BREAKER_OPENINGS: Metric = Metric {
    name: "cloakroom_store_breaker_openings_total",
    kind: Kind::Counter,
    labels: &[],
    help: "Outages of the store that kept calls off it",
};

impl Metric {
    /// The handle for these values of its labels. Finding it hashes strings: whoever counts often keeps it.
    fn counter(&self, values: &[&str]) -> Counter {
        debug_assert_eq!(self.kind, Kind::Counter, "{}", self.name);
        metrics::counter!(self.name, self.labels(values))
    }

    /// The same for what goes up and down.
    fn gauge(&self, values: &[&str]) -> Gauge {
        debug_assert_eq!(self.kind, Kind::Gauge, "{}", self.name);
        metrics::gauge!(self.name, self.labels(values))
    }

    fn labels(&self, values: &[&str]) -> Vec<Label> {
        debug_assert_eq!(self.labels.len(), values.len(), "{}", self.name);
        self.labels.iter().zip(values).map(|(label, value)| Label::new(*label, (*value).to_owned())).collect()
    }
}

/// Tells the recorder what every metric is, and that no refresh happened and no limit was met yet.
pub(crate) fn describe() {
    for metric in ALL {
        match metric.kind {
            Kind::Counter => metrics::describe_counter!(metric.name, Unit::Count, metric.help),
            Kind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
        }
    }
    for outcome in [Refresh::Renewed, Refresh::Refused, Refresh::Lost, Refresh::Outage] {
        REFRESHES.counter(&[outcome.as_str()]).increment(0);
    }
    for limit in Limit::ALL {
        LIMITED.counter(&[limit.as_str()]).increment(0);
    }
}

/// Counts the requests of one frontend.
pub(crate) struct Requests([Counter; 5]);

impl Requests {
    pub(crate) fn of(frontend: &str) -> Self {
        Self(STATUSES.map(|status| REQUESTS.counter(&[frontend, status])))
    }

    /// Counts an answer.
    pub(crate) fn answered(&self, status: u16) {
        self.0[class_of(status)].increment(1);
    }
}

impl fmt::Debug for Requests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Requests")
    }
}

/// Counts an answer to a request that was for no frontend.
pub(crate) fn answered_nobody(status: u16) {
    REQUESTS.counter(&["-", STATUSES[class_of(status)]]).increment(1);
}

/// Counts a login that came back from the provider: `success`, or the slug of the error it was answered with.
pub(crate) fn login(frontend: &str, outcome: &'static str) {
    LOGINS.counter(&[frontend, outcome]).increment(1);
}

/// The outcome of a login that opened a session.
pub(crate) const SUCCESS: &str = "success";

/// Counts a logout that ended a session.
pub(crate) fn logout(frontend: &str) {
    LOGOUTS.counter(&[frontend]).increment(1);
}

/// Counts something that met a limit.
pub(crate) fn limited(limit: Limit) {
    LIMITED.counter(&[limit.as_str()]).increment(1);
}

/// Counts a connection that was closed because of what came on it.
pub(crate) fn connection_refused(why: Unfit) {
    CONNECTIONS_REFUSED.counter(&[why.as_str()]).increment(1);
}

/// Counts the connections that are there.
#[derive(Clone)]
pub(crate) struct Connections(Gauge);

impl Connections {
    pub(crate) fn new() -> Self {
        Self(CONNECTIONS.gauge(&[]))
    }

    pub(crate) fn came(&self) {
        self.0.increment(1.0);
    }

    pub(crate) fn went(&self) {
        self.0.decrement(1.0);
    }
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connections")
    }
}

/// Notes how many requests are being answered.
pub(crate) fn requests_in_flight(how_many: usize) {
    REQUESTS_IN_FLIGHT.gauge(&[]).set(u32::try_from(how_many).unwrap_or(u32::MAX));
}

/// Counts sessions that ended.
pub(crate) fn sessions_ended(reason: &'static str, how_many: usize) {
    if how_many > 0 {
        SESSIONS_ENDED.counter(&[reason]).increment(how_many as u64);
    }
}

/// What became of a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refresh {
    /// There are new tokens, and they are stored.
    Renewed,
    /// The provider says that the refresh token is dead.
    Refused,
    /// An answer was lost, and the provider takes the old token for stolen.
    Lost,
    /// Provider or store cannot be asked now.
    Outage,
}

impl Refresh {
    fn as_str(self) -> &'static str {
        match self {
            Self::Renewed => "renewed",
            Self::Refused => "refused",
            Self::Lost => "lost",
            Self::Outage => "outage",
        }
    }
}

/// Counts a renewal: once for each that asked, or could not ask, the provider; not for those who wait for it.
pub(crate) fn refreshed(outcome: Refresh) {
    REFRESHES.counter(&[outcome.as_str()]).increment(1);
}

/// What became of a call that was sent once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Replay {
    /// The API took the other token.
    Accepted,
    /// It refused that one, too.
    Refused,
    /// It did not answer.
    Failed,
}

impl Replay {
    fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// Counts a call that was sent once more with another token.
pub(crate) fn replayed(frontend: &str, outcome: Replay) {
    REPLAYED_CALLS.counter(&[frontend, outcome.as_str()]).increment(1);
}

/// Who wanted to do what operators do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Intruder {
    /// Somebody without a token, or with something else.
    NoToken,
    /// Somebody with another token.
    WrongToken,
    /// A page.
    Browser,
}

impl Intruder {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::NoToken => "no-token",
            Self::WrongToken => "wrong-token",
            Self::Browser => "browser",
        }
    }
}

/// Counts a refused request for an operator's verb.
pub(crate) fn admin_refused(who: Intruder) {
    ADMIN_REFUSED.counter(&[who.as_str()]).increment(1);
}

/// Counts what becomes of calls to the store.
pub(crate) struct Store {
    unavailable: Counter,
    open: Gauge,
    openings: Counter,
}

impl Store {
    pub(crate) fn new() -> Self {
        let (unavailable, openings) = (STORE_UNAVAILABLE.counter(&[]), STORE_BREAKER_OPENINGS.counter(&[]));
        let open = STORE_BREAKER_OPEN.gauge(&[]);
        open.set(0.0);
        Self { unavailable, open, openings }
    }

    /// Counts a call without an answer.
    pub(crate) fn unavailable(&self) {
        self.unavailable.increment(1);
    }

    /// Notes that calls are kept off the store from now on.
    pub(crate) fn opened(&self) {
        self.open.set(1.0);
        self.openings.increment(1);
    }

    /// Notes that calls reach the store again.
    pub(crate) fn closed(&self) {
        self.open.set(0.0);
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Store")
    }
}

/// Writes out what was counted, in the Prometheus text format.
#[derive(Clone)]
pub(crate) struct Exporter(pub(crate) Arc<dyn Fn() -> String + Send + Sync>);

impl fmt::Debug for Exporter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exporter")
    }
}

fn class_of(status: u16) -> usize {
    usize::from(status / 100).clamp(1, STATUSES.len()) - 1
}

const STATUSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

#[cfg(test)]
mod tests;
