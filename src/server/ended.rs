//! What a connection's end tells: a limit that was met, or something that is not HTTP.
//!
//! hyper answers some of these itself, with a status and nothing more: there is no request yet that could be named or asked what it
//! wants to be answered in.

use std::error::Error as _;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::metric::{self, Limit, Unfit};

/// What a connection has shown of its client, seen from both of its ends.
#[derive(Debug, Default)]
pub(super) struct Signs {
    /// Bytes came since we last wrote some.
    pub(super) spoke: AtomicBool,
    /// A request came since somebody last looked.
    pub(super) asked: AtomicBool,
}

impl Signs {
    /// Is over when no request has come for `limit`; looks once in that time, so at the latest after twice as long.
    pub(super) async fn idle(&self, limit: Duration) {
        loop {
            tokio::time::sleep(limit).await;
            if !self.asked.swap(false, Ordering::Relaxed) {
                return;
            }
        }
    }
}

/// Counts why a connection broke off.
pub(super) fn count_http1(error: &hyper::Error, signs: &Signs) {
    if error.is_parse_too_large() {
        metric::limited(Limit::Headers);
    } else if error.is_parse() {
        metric::connection_refused(Unfit::Head);
    } else if error.is_timeout() && signs.spoke.load(Ordering::Relaxed) {
        // Who has said nothing since the last answer is merely idle.
        metric::limited(Limit::HeadTimeout);
    }
}

/// The same for HTTP/2, where too large a head is answered on its stream by the library, which tells nobody.
pub(super) fn count_http2(error: &hyper::Error) {
    let broke_off = error.source().is_some_and(<dyn std::error::Error>::is::<io::Error>);
    if !broke_off && !error.is_timeout() {
        metric::connection_refused(Unfit::Http2);
    }
}
