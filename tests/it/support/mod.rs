//! What tests are written with.

pub(crate) mod app;
pub(crate) mod browser;
pub(crate) mod event_source;
pub(crate) mod logs;
pub(crate) mod secure;
pub(crate) mod web_socket;

pub(crate) use app::TestApp;
pub(crate) use browser::{Browser, Page, client, post};
pub(crate) use event_source::EventSource;
pub(crate) use secure::Secure;
pub(crate) use web_socket::WebSocket;
