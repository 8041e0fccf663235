//! How a call reaches an API.
//!
//! `route` finds the allow-list entry, `path` and `upstream` make the address that cannot leave the upstream's base path,
//! `client` keeps connections, `headers` and `caching` decide what passes each way, `challenge` reads why an API refuses a token,
//! `forward` carries request and answer through as streams, `replay` sends a call once more with another token, and `upgrade` joins WebSockets, whose frames `frames` tells apart.
//! Knows no cookie of ours by meaning: the edge says which names are never passed; of the session behind a call it knows that
//! nothing outlasts it.

mod body;
mod bond;
mod caching;
mod challenge;
mod client;
mod cookies;
mod error;
mod forward;
mod frames;
mod headers;
mod hops;
mod location;
#[cfg(feature = "test-util")]
pub(crate) mod micro;
mod path;
#[cfg(any(test, feature = "test-util"))]
pub(crate) mod properties;
mod replay;
mod route;
mod upgrade;
mod upstream;

pub use client::{ClientCertificate, HttpVersion, UpstreamTls};
pub use route::{CsrfPolicy, RouteOptions};

pub(crate) use body::{ResponseBody, StreamError};
pub(crate) use challenge::{Refusal, refusal};
pub(crate) use client::{Client, TrustChange};
pub(crate) use error::Error;
pub(crate) use forward::{ForwardContext, forward};
pub(crate) use headers::knows_the_coding;
pub(crate) use hops::{ClientHops, Peer, Scheme, X_FORWARDED_FOR, X_FORWARDED_HOST, X_FORWARDED_PROTO};
pub(crate) use replay::{Forwarded, Refused};
pub(crate) use route::{FindError, MAX_CONNECTIONS, Route, RouteTable, RouteTableError};
pub(crate) use upgrade::Upgrades;
pub(crate) use upstream::{UpstreamError, is_host_and_port};
