//! What the specs say. Knows HTTP to providers; knows no axum, no store, no browser.
//!
//! `relying_party.rs` holds the verbs in the order of a login; each other file is one thing they use. Types of the `openidconnect`
//! and `oauth2` crates do not leave this module.

mod authorization;
mod cached;
mod claims;
mod demand;
mod end_session;
mod error;
mod http;
mod id_token;
mod jws;
mod logout;
mod metadata;
mod options;
#[cfg(any(test, feature = "test-util"))]
pub(crate) mod properties;
mod provider;
mod relying_party;
mod response;
mod token_endpoint;
mod token_set;
mod userinfo;

pub use claims::{Claims, Identity};
pub use error::{
    DiscoveryReason, Error, ErrorCode, IdTokenReason, KeysReason, LogoutTokenReason, Outage, ResponseReason, Sent,
    TokenResponseReason, UserInfoReason,
};
pub use options::{Algorithm, ClientAuth, ClientOptions, ProviderOptions, ResponseMode};

pub(crate) use authorization::{Asked, LoginAttempt};
pub(crate) use demand::Demand;
pub(crate) use http::{Connections, ProviderHttp};
pub(crate) use logout::{LoggedOut, LogoutToken};
pub(crate) use provider::Provider;
pub(crate) use relying_party::{Authenticated, RelyingParty};
pub(crate) use response::AuthorizationResponse;
#[cfg(any(test, feature = "test-util"))]
pub(crate) use token_set::AccessToken;
pub(crate) use token_set::TokenSet;
