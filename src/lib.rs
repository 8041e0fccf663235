//! Cloakroom, an OpenID Connect relying-party backend-for-frontend.

pub mod clock;
pub mod config;
pub mod frontend;
pub mod oidc;
pub mod proxy;
pub mod secret;
pub mod session;
pub mod store;
pub mod tokens;

mod tls;
