//! What can go wrong with a proxied call, below the edge.

use std::error::Error as StdError;
use std::fmt::Write as _;

use http::HeaderValue;

/// Why a call was not answered by its upstream. Carries no body and no header of either side.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Error {
    /// The path could be read differently by the upstream than by us; nothing was sent.
    #[error("the request path is ambiguous or leaves the route")]
    PathRejected,
    /// The route does not take this method; nothing was sent.
    #[error("the route does not allow this method")]
    MethodNotAllowed {
        /// The value of `Allow`.
        allow: HeaderValue,
    },
    /// A script that would run as a worker of our origin was asked for; nothing was sent.
    #[error("worker scripts are not served from routes")]
    WorkerScriptRefused,
    /// The body is larger than the route allows, by its declared length or as it streamed.
    #[error("the request body is larger than {limit} bytes")]
    BodyTooLarge {
        /// The route's limit, in bytes.
        limit: u64,
    },
    /// The browser's side of the request stalled or broke off, so there is probably nobody left to answer.
    #[error("the request body stalled or broke off")]
    RequestInterrupted,
    /// No connection, or it ended before the answer's head.
    #[error("the upstream is unavailable: {cause}")]
    UpstreamUnavailable {
        /// The texts of the error and its sources, for the log.
        cause: String,
    },
    /// The answer's head did not come in time.
    #[error("the upstream did not answer in time")]
    UpstreamTimeout,
    /// There was no connection free, and none became free in time; nothing was sent.
    #[error("all connections to the upstream are in use")]
    UpstreamBusy,
}

impl Error {
    /// Keeps the texts of a failed call. hyper's errors say where it broke, never what was in the messages.
    pub(super) fn unavailable(error: &(dyn StdError + 'static)) -> Self {
        Self::UpstreamUnavailable { cause: texts(error) }
    }
}

/// The texts of an error and its sources.
pub(super) fn texts(error: &(dyn StdError + 'static)) -> String {
    let mut texts = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let _ = write!(texts, ": {error}");
        source = error.source();
    }
    texts
}
