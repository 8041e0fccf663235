//! What every request passes, outermost first:
//!
//! 1. [`access_log`] — the request gets its name, and one line in the log
//! 2. `app::edge` — a panic is a 500 with that name
//! 3. [`framing`] — a body that is coded in a way nobody here understands is 501
//! 4. [`forwarded`] — who really called, as far as proxies in front of us are trusted
//! 5. `frontend::select` — which frontend, by host and path; another host is 421
//! 6. `respond::render` — errors of everything further in get a form
//! 7. [`session`] — the browser's session within reach, without I/O
//! 8. [`headers`] — on our own endpoints
//! 9. [`csrf`] — called by each endpoint and route with its class; [`rate`] by those that count
//!
//! On the admin listener: [`authority`], and [`operator`] before what looks after everybody's sessions.

pub(crate) mod access_log;
pub(crate) mod authority;
pub(crate) mod csrf;
mod extract;
pub(crate) mod forwarded;
pub(crate) mod framing;
pub(crate) mod headers;
pub(crate) mod operator;
pub(crate) mod rate;
pub(crate) mod session;
