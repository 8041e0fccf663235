//! Cloakroom, an OpenID Connect relying-party backend-for-frontend.

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

mod error;
mod guard;
mod respond;
mod routes;
mod server;
mod tls;

pub use app::{Cloakroom, CloakroomBuilder};
pub use error::Error;
