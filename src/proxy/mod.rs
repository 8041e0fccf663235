//! How a call reaches an API.
mod route;
pub use route::{CsrfPolicy, RouteOptions};
