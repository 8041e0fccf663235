//! Cloakroom, an OpenID Connect relying-party backend-for-frontend.
//!
//! A single-page app gets an opaque session cookie; access token, refresh token and ID token stay on the server. Cloakroom
//! logs people in at an OpenID provider, keeps their sessions, attaches the access token to API calls it proxies, renews
//! it before it runs out, and logs out here and at the provider. This crate is the program `cloakroom` and the library
//! behind it.
//!
//! # Embedding
//!
//! [`Cloakroom::router`] answers everything that the routes beside it do not: its endpoints below `/bff`, the proxied
//! routes, and the app's files.
//!
//! ```no_run
//! use std::net::SocketAddr;
//!
//! use cloakroom::Cloakroom;
//! use cloakroom::config::Config;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::from_environment(None)?; // the error lists everything that is wrong
//! let cloakroom = Cloakroom::builder(config).build().await?; // opens the store; the provider may be down
//! let app = axum::Router::new().route("/hello", axum::routing::get(|| async { "hello" })).merge(cloakroom.router());
//!
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//! let service = app.into_make_service_with_connect_info::<SocketAddr>(); // Cloakroom wants to know who calls
//! let stopping = cloakroom.clone();
//! let until = async move {
//!     drop(tokio::signal::ctrl_c().await);
//!     stopping.stop(); // event streams end; they would keep the server waiting
//! };
//! axum::serve(listener, service).with_graceful_shutdown(until).await?;
//! cloakroom.drain().await; // logins, logouts and renewals under way finish, so no rotated token is lost
//! # Ok(())
//! # }
//! ```
//!
//! Handlers of your own can stand inside, behind every guard: their calls must come from the app's page (the header
//! `X-CSRF`), and [`UserSession`](session::UserSession) is who is logged in. Without a session the extractor answers 401, an
//! `Option` of it is `None`; while the store is away both answer 503.
//!
//! ```no_run
//! use axum::{Router, routing::get};
//! use cloakroom::{Cloakroom, config::Config, session::UserSession};
//!
//! # async fn run(config: Config) -> Result<(), Box<dyn std::error::Error>> {
//! let hello = get(async |user: UserSession| format!("hello {}", user.subject()));
//! let cloakroom = Cloakroom::builder(config).handlers("default", Router::new().route("/hello", hello)).build().await?;
//!
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//! let until = async { drop(tokio::signal::ctrl_c().await) };
//! cloakroom.serve(listener, None, until).await?; // the second listener would be the admin's
//! # Ok(())
//! # }
//! ```
//!
//! [`Cloakroom::serve`] brings TLS, limits, the admin listener and draining. An application that serves the router itself goes
//! without these, and calls [`Cloakroom::stop`] when its end begins and [`Cloakroom::drain`] after it. Expired rows are removed
//! wherever a `Cloakroom` or its router exists. [`Cloakroom::reload`] takes over rotated keys, secrets and certificates while
//! everything runs; the program calls it on SIGHUP and when its files change.
//!
//! [`CloakroomBuilder::backend`] takes a session store of your own: anything that implements [`store::SessionBackend`] and
//! passes the public suite of the feature `test-util`.
//!
//! # Features
//!
//! | Feature | Default | Adds |
//! |---|---|---|
//! | `sqlite` | yes | the store `sqlite:PATH` |
//! | `server` | yes | the program: command line, log lines, recorder of metrics |
//! | `demo` | yes | `cloakroom demo`: a development provider, an echo API and an app, on loopback |
//! | `test-util` | no | a clock that is moved by hand, a store that fails on command, the store suite |
//!
//! `docs/architecture.md` in the repository follows the main requests through the modules.

pub mod app;
pub mod clock;
pub mod config;
pub mod frontend;
pub mod oidc;
pub mod proxy;
pub mod secret;
pub mod session;
pub mod store;
pub mod tokens;

mod denied;
mod error;
mod guard;
mod metric;
mod prefixes;
mod respond;
mod routes;
mod server;
mod tls;

/// What must hold for any bytes, for `fuzz/` and its corpus: each panics if it does not.
#[cfg(any(test, feature = "test-util"))]
#[doc(hidden)]
pub mod properties {
    pub use crate::guard::properties::forwarded;
    pub use crate::oidc::properties::{id_token, jws};
    pub use crate::proxy::properties::{challenge, cookies, path, request_headers, response_headers};
    pub use crate::session::properties::return_to;

    /// Takes the input of a target.
    pub type Property = fn(&[u8]);

    /// Each by the name of its target and of its corpus.
    pub const ALL: [(&str, Property); 9] = [
        ("challenge", challenge),
        ("cookies", cookies),
        ("forwarded", forwarded),
        ("id_token", id_token),
        ("jws", jws),
        ("path", path),
        ("request_headers", request_headers),
        ("response_headers", response_headers),
        ("return_to", return_to),
    ];
}

#[cfg(feature = "server")]
#[doc(hidden)]
pub mod cli;
#[cfg(feature = "demo")]
#[doc(hidden)]
pub mod demo;
#[cfg(feature = "test-util")]
#[doc(hidden)]
pub mod micro;
#[cfg(feature = "server")]
#[doc(hidden)]
pub mod telemetry;

pub use app::{Cloakroom, CloakroomBuilder};
pub use error::Error;
