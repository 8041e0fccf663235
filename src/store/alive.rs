//! A sign that somebody serves from a store: a small value that each process keeps writing over. Who would move the store's rows
//! asks for it first.
//!
//! It is built of the one-time values, so a store has no verb for it. Whoever finds the sign takes it, leaves a mark instead, and
//! looks again later: only somebody who is alive has written over the mark. A sign without anybody is what a killed process left.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

#[cfg(any(test, feature = "server"))]
use super::Result;
use super::{Digest, SessionBackend};

/// Shows the sign in `backend` until `shutdown`, at once and every five seconds from then on. It stays for a while after the end: the
/// sign is everybody's, so nobody takes it along. What fails is tried again at the next turn; outages are told by those they hurt.
pub(crate) async fn show_until(backend: Arc<dyn SessionBackend>, shutdown: CancellationToken) {
    let mut turns = tokio::time::interval(EVERY);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while shutdown.run_until_cancelled(turns.tick()).await.is_some() {
        let shown = tokio::time::timeout(EVERY, backend.put_once(sign(), SIGN, LIFE));
        // Silent, see above.
        let _ = shutdown.run_until_cancelled(shown).await;
    }
}

/// Whether somebody serves from `backend`. Takes six seconds if there is a sign, whether or not somebody is behind it.
///
/// # Errors
/// `Unavailable`.
#[cfg(any(test, feature = "server"))]
pub(crate) async fn is_anybody(backend: &dyn SessionBackend) -> Result<bool> {
    if backend.take_once(sign()).await?.is_none() {
        return Ok(false);
    }
    backend.put_once(sign(), MARK, LIFE).await?;
    tokio::time::sleep(PATIENCE).await;
    let found = backend.take_once(sign()).await?;
    let is_anybody = found.is_some_and(|found| found == SIGN);
    if is_anybody {
        // Whoever asks again right away must not find nothing.
        backend.put_once(sign(), SIGN, LIFE).await?;
    }
    Ok(is_anybody)
}

/// Where the sign is.
pub(super) fn sign() -> Digest {
    Digest::of("cloakroom/alive")
}

const SIGN: &[u8] = b"";
#[cfg(any(test, feature = "server"))]
const MARK: &[u8] = b"?";

const EVERY: Duration = Duration::from_secs(5);
/// Outlasts two turns that fail.
const LIFE: Duration = Duration::from_secs(15);
/// A turn, and the time of a slow write.
#[cfg(any(test, feature = "server"))]
const PATIENCE: Duration = Duration::from_secs(6);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::suite::until;
    use crate::store::{FlakyBackend, MemoryBackend, Outage};

    /// A process that serves from a store.
    struct Process(CancellationToken, tokio::task::JoinHandle<()>);

    impl Process {
        fn on(backend: Arc<dyn SessionBackend>) -> Self {
            let shutdown = CancellationToken::new();
            Self(shutdown.clone(), tokio::spawn(show_until(backend, shutdown)))
        }

        async fn end(self) {
            self.0.cancel();
            self.1.await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_serves_is_found_each_time_one_asks() {
        let backend: Arc<dyn SessionBackend> = Arc::new(MemoryBackend::new());
        assert!(!is_anybody(&*backend).await.unwrap());
        let process = Process::on(backend.clone());
        tokio::task::yield_now().await;
        for _ in 0..3 {
            assert!(is_anybody(&*backend).await.unwrap());
        }
        process.end().await;
    }

    #[tokio::test(start_paused = true)]
    async fn who_asked_and_did_not_wait_hides_nobody() {
        let backend: Arc<dyn SessionBackend> = Arc::new(MemoryBackend::new());
        let process = Process::on(backend.clone());
        tokio::task::yield_now().await;
        let hasty = tokio::time::timeout(Duration::from_millis(1), is_anybody(&*backend)).await;
        assert!(hasty.is_err());
        assert!(is_anybody(&*backend).await.unwrap());
        process.end().await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_process_left_behind_is_nobody() {
        let backend: Arc<dyn SessionBackend> = Arc::new(MemoryBackend::new());
        backend.put_once(sign(), SIGN, LIFE).await.unwrap();
        assert!(!is_anybody(&*backend).await.unwrap());
        assert_eq!(backend.take_once(sign()).await.unwrap(), None, "and it is gone");
    }

    #[tokio::test(start_paused = true)]
    async fn the_sign_comes_back_after_an_outage() {
        let memory = Arc::new(MemoryBackend::new());
        let flaky = Arc::new(FlakyBackend::new(memory.clone()));
        flaky.set(Outage::Hangs);
        let process = Process::on(flaky.clone());
        tokio::time::sleep(EVERY * 2).await;
        assert!(memory.take_once(sign()).await.unwrap().is_none());
        flaky.set(Outage::None);
        until(async || memory.take_once(sign()).await.unwrap().is_some()).await;
        process.end().await;
    }
}
