//! Cloakroom, an OpenID Connect relying-party backend-for-frontend.
//!
//! The browser holds a ticket (an opaque session cookie); access and refresh tokens stay on the server, and API calls of the
//! single-page app are proxied with those tokens attached. This crate is the server (`cloakroom`) and the library behind it.
//!
//! Start reading at [`Cloakroom`]; `docs/architecture.md` follows the four main requests through the modules.

pub mod clock;
pub mod config;
pub mod frontend;
pub mod oidc;
pub mod proxy;
pub mod secret;
pub mod session;
pub mod store;
pub mod tokens;
