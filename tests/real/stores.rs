//! Stores that are servers: the store suite on each, and a place in each for tests that hold on every store.

use std::sync::Arc;

use cloakroom::store::SessionBackend;

mod postgres;
mod redis;

/// Makes a test of a function that is given an empty store, on each. `tests/it/stores.rs` has the others.
macro_rules! on_each_store {
    ($check:ident) => {
        #[tokio::test]
        async fn on_redis() {
            $check(crate::stores::redis().await).await;
        }

        #[tokio::test]
        async fn on_postgres() {
            $check(crate::stores::postgres().await).await;
        }
    };
}

pub(crate) use on_each_store;

pub(crate) async fn redis() -> Arc<dyn SessionBackend> {
    redis::open(&crate::redis::shared().url()).await
}

pub(crate) async fn postgres() -> Arc<dyn SessionBackend> {
    postgres::open(&crate::postgres::Postgres::shared().schema().await).await
}
