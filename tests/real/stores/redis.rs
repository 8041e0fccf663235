//! The store in Redis.

use std::sync::Arc;

use cloakroom::store::{RedisBackend, SessionBackend};

use crate::redis::groups::Cluster;

mod access;
mod lives;
mod outages;
mod sharing;

pub(super) async fn open(url: &str) -> Arc<dyn SessionBackend> {
    Arc::new(RedisBackend::open(url, 0).await.expect("the store opens"))
}

mod server {
    use super::*;

    async fn fresh() -> (Arc<dyn SessionBackend>, ()) {
        (crate::stores::redis().await, ())
    }

    cloakroom::store_suite!(fresh);
}

mod cluster {
    use super::*;

    async fn fresh() -> (Arc<dyn SessionBackend>, ()) {
        (open(&Cluster::shared().url()).await, ())
    }

    cloakroom::store_suite!(fresh);
}
