//! What can go wrong between us and Redis, in words without addresses, names or values.

use redis::{ErrorKind, RedisError, ServerError, Value};

use super::link::RESPONSE_LIMIT;
use super::target::Node;
use crate::store::Error;

pub(super) type Done<T> = std::result::Result<T, Failure>;

/// Why something was not done, or is not known to be done.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Failure {
    /// There is no connection. Nothing was sent.
    #[error("no connection to Redis: {0}")]
    Unreachable(String),
    /// The connection broke before the answer came.
    #[error("the connection to Redis broke: {0}")]
    Broken(String),
    /// No answer in time.
    #[error("Redis did not answer within {RESPONSE_LIMIT:?}")]
    Late,
    /// The server refused, with this code. Nothing was done.
    #[error("Redis refused: {}", explained(code))]
    Refused {
        /// The first word of its answer.
        code: String,
        /// Where it sends us instead.
        elsewhere: Option<Elsewhere>,
    },
    /// It was done, but not by as many servers as it should be.
    #[error("written, but only {confirmed} of {wanted} replicas confirmed it")]
    Unconfirmed {
        /// How many replicas have it.
        confirmed: u32,
        /// How many should have.
        wanted: u32,
    },
    /// An answer in a form that was not expected.
    #[error("Redis answered with {0}")]
    Unexpected(&'static str),
    /// Something an operator must change.
    #[error("{0}")]
    Unsuitable(String),
    /// Something changed under a walk through all rows.
    #[error("{0}; start the scan again")]
    Disturbed(&'static str),
    /// The task that did it is gone: the process is ending.
    #[error("the store is closing")]
    Closing,
}

/// Another node of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Elsewhere {
    pub(super) node: Node,
    /// The slot is on its way there; the node wants to be told that we know (`ASKING`).
    pub(super) asking: bool,
}

impl Failure {
    /// What the server said instead of an answer. `from` is who said it.
    pub(super) fn refused(error: &ServerError, from: &Node) -> Self {
        let code = error.code().to_owned();
        let elsewhere = match code.as_str() {
            "MOVED" | "ASK" => elsewhere(error.details(), code == "ASK", from),
            _ => None,
        };
        Self::Refused { code, elsewhere }
    }

    /// Why no connection came about.
    pub(super) fn connecting(error: &RedisError) -> Self {
        Self::Unreachable(match error.kind() {
            ErrorKind::AuthenticationFailed => "it refuses the user or the password".to_owned(),
            ErrorKind::Io => error.to_string(),
            _ => error.code().map_or_else(|| "it does not speak as Redis does".to_owned(), explained),
        })
    }

    /// Why a connection gave no answer.
    pub(super) fn asking(error: &RedisError) -> Self {
        if error.is_timeout() { Self::Late } else { Self::Broken(error.category().to_owned()) }
    }

    /// Whether the server is another than it was, so that the connection is to be made anew: a demoted primary refuses writes.
    pub(super) fn wants_another_server(&self) -> bool {
        // Before version 7, a refusal inside a script is told with the code ERR.
        matches!(self, Self::Refused { code, .. } if ["READONLY", "MASTERDOWN", "ERR"].contains(&code.as_str()))
    }

    pub(super) fn has_code(&self, wanted: &str) -> bool {
        matches!(self, Self::Refused { code, .. } if code == wanted)
    }
}

/// `12182 10.0.0.7:7001`; the host is missing if it is the one that answers.
fn elsewhere(details: Option<&str>, asking: bool, from: &Node) -> Option<Elsewhere> {
    let (_, address) = details?.split_once(' ')?;
    let (host, port) = address.rsplit_once(':')?;
    let host = if host.is_empty() { from.host.clone() } else { host.to_owned() };
    Some(Elsewhere { node: Node { host, port: port.parse().ok()? }, asking })
}

fn explained(code: &str) -> String {
    let meaning = match code {
        "OOM" => "its memory is full; raise maxmemory",
        "MISCONF" => "it cannot write to its disk",
        "LOADING" => "it is reading its data from disk",
        "CLUSTERDOWN" => "the cluster does not serve all slots",
        "READONLY" => "it is a replica",
        "NOPERM" => "the user may not do this; the store's documentation lists what it needs",
        "NOAUTH" => "it wants a password",
        "NOREPLICAS" => "too few replicas are connected",
        "BUSY" => "a script keeps it busy",
        "ERR" => "it does not know or allow a command; version 6.2 or later is needed",
        _ => return code.to_owned(),
    };
    format!("{code}, {meaning}")
}

/// Takes an answer for what it should be.
pub(super) fn read<T: redis::FromRedisValue>(value: Value) -> Done<T> {
    redis::from_redis_value(value).map_err(|_| Failure::Unexpected("something of another kind"))
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        Self::Unavailable(failure.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirection_is_read_with_and_without_a_host() {
        let from = Node { host: "here".to_owned(), port: 1 };
        let there = |host: &str, port| Some(Elsewhere { node: Node { host: host.to_owned(), port }, asking: false });
        assert_eq!(elsewhere(Some("12182 10.0.0.7:7001"), false, &from), there("10.0.0.7", 7001));
        assert_eq!(elsewhere(Some("12182 fe80::1:7001"), false, &from), there("fe80::1", 7001));
        assert_eq!(elsewhere(Some("12182 :7001"), false, &from), there("here", 7001));
        for broken in [None, Some(""), Some("12182"), Some("12182 x"), Some("12182 x:y")] {
            assert_eq!(elsewhere(broken, false, &from), None);
        }
    }
}
