//! Removes what has expired, in the background. Run by `app`, one task per process.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Error, Result, SessionBackend};
use crate::secret;

/// Sweeps `backend` about once a minute until `shutdown`. A failure is logged once, not once a minute, and never ends the task.
pub(crate) async fn sweep_until(backend: Arc<dyn SessionBackend>, shutdown: CancellationToken) {
    sweep_every(EVERY, &*backend, shutdown).await;
}

async fn sweep_every(every: Duration, backend: &dyn SessionBackend, shutdown: CancellationToken) {
    let mut was_failing = false;
    while shutdown.run_until_cancelled(tokio::time::sleep(pause(every))).await.is_some() {
        let Some(outcome) = shutdown.run_until_cancelled(sweep(backend)).await else { break };
        match &outcome {
            Ok(0) => {}
            Ok(removed) => tracing::debug!(removed, "expired sessions removed"),
            Err(error) if !was_failing => tracing::warn!(%error, "expired sessions cannot be removed"),
            Err(_) => {}
        }
        was_failing = outcome.is_err();
    }
}

async fn sweep(backend: &dyn SessionBackend) -> Result<u64> {
    let late = |_| Err(Error::Unavailable(format!("a sweep took longer than {LIMIT:?}")));
    tokio::time::timeout(LIMIT, backend.remove_expired()).await.unwrap_or_else(late)
}

/// Between three and five quarters of `every`, so that replicas which were started together do not sweep together.
fn pause(every: Duration) -> Duration {
    let [random] = secret::random();
    every * 3 / 4 + every / 2 * u32::from(random) / 255
}

const EVERY: Duration = Duration::from_mins(1);
/// The time of one sweep; what it leaves is for the next.
const LIMIT: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::NewRow;
    use crate::store::suite::{key, row, until};
    use crate::store::{FlakyBackend, MemoryBackend, Outage};

    #[test]
    fn the_pause_stays_near_its_length() {
        for _ in 0..1000 {
            let pause = pause(EVERY);
            assert!((EVERY * 3 / 4..=EVERY * 5 / 4).contains(&pause), "{pause:?}");
        }
    }

    #[tokio::test]
    async fn sweeping_goes_on_after_an_outage_and_stops_at_shutdown() {
        let memory = Arc::new(MemoryBackend::new());
        let backend = Arc::new(FlakyBackend::new(memory.clone()));
        memory.insert(key(1), &NewRow { live_for: Duration::ZERO, ..row() }, None).await.unwrap();
        backend.set(Outage::Unavailable);
        let shutdown = CancellationToken::new();
        let (swept, stop) = (backend.clone(), shutdown.clone());
        let task = tokio::spawn(async move { sweep_every(Duration::from_millis(2), &*swept, stop).await });
        until(async || backend.calls() >= 3).await;
        assert_eq!(memory.rows_held(), 1);
        backend.set(Outage::None);
        until(async || memory.rows_held() == 0).await;
        shutdown.cancel();
        task.await.unwrap();
    }
}
