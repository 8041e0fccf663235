//! What every request passes, outermost first:
//!
//! 1. [`access_log`] — the request gets its name, and one line in the log
//! 2. `app::edge` — a panic is a 500 with that name
//! 3. [`in_flight`] — one request more than can be answered at once is 503
//! 4. [`head`] — too large a head is 431, a body that is coded in a way nobody here understands 501
//! 5. [`forwarded`] — who really called, as far as proxies in front of us are trusted
//! 6. `frontend::select` — which frontend, by host and path; another host is 421
//! 7. [`extended_connect`] — a WebSocket over HTTP/2 looks like any other
//! 8. `respond::render` — errors of everything further in get a form
//! 9. [`session`] — the browser's session within reach, without I/O
//! 10. [`headers`] — on our own endpoints
//! 11. [`csrf`] — called by each endpoint and route with its class; [`rate`] by those that count
//!
//! On the admin listener: [`authority`], and [`operator`] before what looks after everybody's sessions.

pub(crate) mod access_log;
pub(crate) mod authority;
pub(crate) mod csrf;
pub(crate) mod extended_connect;
mod extract;
pub(crate) mod forwarded;
pub(crate) mod head;
pub(crate) mod headers;
pub(crate) mod in_flight;
pub(crate) mod operator;
#[cfg(any(test, feature = "test-util"))]
pub(crate) mod properties;
pub(crate) mod rate;
pub(crate) mod session;
