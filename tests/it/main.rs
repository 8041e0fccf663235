//! The whole product through the door its users use: a real listener, a browser, a provider and an API, all on loopback.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

mod admin;
mod admin_sessions;
mod api;
mod attacks;
mod backchannel_logout;
mod corpus;
mod csrf;
mod damage;
mod embedding;
mod events;
mod frontchannel_logout;
mod fuzz;
mod layers;
mod limits;
mod login;
mod logout;
mod metrics;
mod module;
mod own_sessions;
mod provider_change;
mod provider_outage;
mod refresh;
mod rejections;
mod reload;
mod replay;
mod rotation;
mod session;
mod sessions_command;
mod step_up;
mod store_outage;
mod stores;
mod streams;
mod traffic;
mod transcript;
mod upstream_tls;
mod upstreams;
mod what_ends_what;
