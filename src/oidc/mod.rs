//! What the specs say. Knows HTTP to providers; knows no axum, no store, no browser.
mod options;
pub use options::{Algorithm, ClientAuth, ClientOptions, ProviderOptions, ResponseMode};
