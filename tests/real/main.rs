//! The built program among real neighbours: providers, databases, all in processes of their own.
//!
//! These tests need Node with `npm ci` in this folder, `redis-server` and PostgreSQL; `scripts/test` prepares them and runs
//! `cargo test --test real`. A plain `cargo test` leaves them out (`test = false`). A missing neighbour fails.

mod backchannel_logout;
mod browser;
mod cloakroom;
mod crowds;
mod gate;
mod idp;
mod postgres;
mod process;
mod provider;
mod redis;
mod replicas;
mod soak;
mod stores;
#[path = "../it/support/mod.rs"]
#[expect(dead_code, unused_imports, clippy::unwrap_used, reason = "shared with tests that need no neighbours")]
mod support;
mod traffic;
mod upstream;
#[path = "../it/what_ends_what.rs"]
#[expect(clippy::unwrap_used, reason = "shared with tests that need no neighbours")]
mod what_ends_what;

use std::net::{Ipv4Addr, TcpListener};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
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

/// A port that nothing listens at, and that no other test gets: it is below those that systems give to outgoing connections and to
/// whoever asks for any.
fn free_port() -> u16 {
    static NEXT: LazyLock<AtomicU32> = LazyLock::new(|| AtomicU32::new(std::process::id().wrapping_mul(613)));
    loop {
        let port = 10_000 + NEXT.fetch_add(1, Ordering::Relaxed) % 20_000;
        let port = u16::try_from(port).expect("below 30 000");
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

const LIMIT: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);
