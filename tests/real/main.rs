//! The built program among real neighbours: providers, databases, all in processes of their own.
//!
//! These tests need Node with `npm ci` in this folder, `redis-server` and PostgreSQL; `scripts/test` prepares them and runs
//! `cargo test --test real`. A plain `cargo test` leaves them out (`test = false`). A missing neighbour fails.

mod backchannel_logout;
mod browser;
mod cloakroom;
mod events;
mod gate;
mod idp;
mod postgres;
mod process;
mod provider;
mod redis;
mod replicas;
mod soak;
mod stores;
mod upstream;

use std::net::{Ipv4Addr, TcpListener};
use std::time::{Duration, Instant};

/// Asks until there is something, for at most [`LIMIT`].
///
/// # Panics
/// If there is nothing in time; `what` says what was waited for.
async fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(start.elapsed() < LIMIT, "waited in vain: {what}");
        tokio::time::sleep(POLL).await;
    }
}

/// A port that nothing listens at.
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port is free");
    listener.local_addr().expect("it is bound").port()
}

const LIMIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
