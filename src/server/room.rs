//! How many connections there may be. At the limit no more are accepted until one ends: clients wait in the system's queue, and none
//! that is there already is put out.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::metric::{self, Connections, Limit};

/// See the module.
#[derive(Debug)]
pub(super) struct Room {
    places: Arc<Semaphore>,
    max: usize,
    /// The limit was met, and there has not been much room since.
    crowded: AtomicBool,
    connections: Connections,
}

/// Room for one connection, which counts until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    connections: Connections,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Room {
    pub(super) fn new(max: u32) -> Self {
        let max = usize::try_from(max).unwrap_or(usize::MAX).min(Semaphore::MAX_PERMITS);
        let (places, crowded) = (Arc::new(Semaphore::new(max)), AtomicBool::new(false));
        Self { places, max, crowded, connections: Connections::new() }
    }

    /// Waits for room.
    pub(super) async fn free(&self) {
        if self.places.available_permits() > 0 {
            return self.eased();
        }
        self.full();
        // Given back at once: only who accepts takes one. It is never closed.
        let _ = self.places.acquire().await;
    }

    /// Takes some for a connection that was accepted.
    pub(super) fn take(&self) -> Place {
        self.connections.came();
        Place { connections: self.connections.clone(), _permit: Arc::clone(&self.places).try_acquire_owned().ok() }
    }

    fn full(&self) {
        if !self.crowded.swap(true, Ordering::Relaxed) {
            metric::limited(Limit::Connections);
            tracing::warn!(connections = self.max, "server.max_connections is reached; others wait until one ends");
        }
    }

    /// Said once each time, however many come and go at the limit.
    fn eased(&self) {
        let has_room = self.places.available_permits() >= self.max / 10;
        if has_room && self.crowded.load(Ordering::Relaxed) && self.crowded.swap(false, Ordering::Relaxed) {
            tracing::info!("connections are well below server.max_connections again");
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connections.went();
    }
}
