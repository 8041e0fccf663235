//! The file and the environment → the Options of the modules.
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::store::MasterKey;
use crate::{frontend, session};

/// Everything that was configured, checked.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Listeners, TLS, log.
    pub server: Server,
    /// Master keys: the first seals, all open. Empty only with `memory:`, which then makes a fresh one.
    pub keys: Vec<MasterKey>,
    /// Where sessions rest.
    pub store: Store,
    /// Limits and names of sessions.
    pub session: session::Options,
    /// The frontends; at least one.
    pub frontends: Vec<frontend::Options>,
    /// Every default that was weakened, in the words of `check`.
    pub weakened: Vec<String>,
}

/// `[server]`
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Server {
    /// The public listener.
    pub listen: SocketAddr,
    /// `/healthz`, `/readyz`.
    pub admin_listen: Option<SocketAddr>,
    /// Whose `Forwarded` / `X-Forwarded-*` are believed.
    pub trusted_proxies: Vec<ipnet::IpNet>,
    /// Certificate chain and key in PEM files.
    pub tls: Option<Tls>,
    /// How long requests under way may take after SIGTERM.
    pub drain: Duration,
    /// Log lines for people or machines.
    pub log: LogFormat,
    /// Further names the admin listener answers to.
    pub hosts: Vec<String>,
    /// Extra roots for provider and upstreams: PEM certificates, as read.
    pub ca_pem: Option<Arc<[u8]>>,
    /// Largest request head, in bytes.
    pub max_headers: u64,
}

/// PEM files of the public listener.
#[derive(Clone, Debug)]
pub struct Tls {
    /// Certificate chain.
    pub cert: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

/// `[store]`
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Store {
    /// `memory:`, `sqlite:PATH`.
    pub url: String,
    /// Deadline of one store call.
    pub timeout: Duration,
    /// How long a refresh lease lasts unless renewed.
    pub lease: Duration,
}
