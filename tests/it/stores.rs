//! Stores that need no server, for tests that hold on every store. `tests/real/stores.rs` has the others.

use std::sync::Arc;

use cloakroom::store::{MemoryBackend, SessionBackend, SqliteBackend};
use tempfile::TempDir;

/// Makes a test of a function that is given an empty store, on each.
macro_rules! on_each_store {
    ($check:ident) => {
        #[tokio::test]
        async fn in_memory() {
            $check(crate::stores::memory()).await;
        }

        #[tokio::test]
        async fn on_sqlite() {
            let (store, _folder) = crate::stores::sqlite().await;
            $check(store).await;
        }
    };
}

pub(crate) use on_each_store;

pub(crate) fn memory() -> Arc<dyn SessionBackend> {
    Arc::new(MemoryBackend::new())
}

/// And the folder that it is in.
pub(crate) async fn sqlite() -> (Arc<dyn SessionBackend>, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteBackend::open(folder.path().join("sessions.db")).await.unwrap();
    (Arc::new(store), folder)
}
