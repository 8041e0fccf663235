//! Single flight: many who want the same result make one piece of work, which outlives every one of them.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use tokio_util::task::TaskTracker;

/// See the module.
pub(super) struct Flights<K, T> {
    under_way: Arc<Mutex<HashMap<K, watch::Receiver<Option<T>>>>>,
    tasks: TaskTracker,
}

impl<K, T> Flights<K, T>
where
    K: Eq + Hash + Copy + Send + 'static,
    T: Clone + Send + Sync + 'static,
{
    pub(super) fn new() -> Self {
        Self { under_way: Arc::default(), tasks: TaskTracker::new() }
    }

    /// The result of the work under way for `key`, or what it has published so far; `work` starts it if there is none. `None` if it
    /// panicked, or if `work` did not want to start. Until `work` has said what it wants, nobody else starts any.
    pub(super) async fn join<F>(&self, key: K, work: impl FnOnce(Interim<T>) -> Option<F>) -> Option<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut result = {
            let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(result) = under_way.get(&key) {
                result.clone()
            } else {
                let (known, result) = watch::channel(None);
                let known = Arc::new(known);
                let work = work(Interim(known.clone()))?;
                under_way.insert(key, result.clone());
                let landing = Landing { key, under_way: self.under_way.clone() };
                self.tasks.spawn(async move {
                    let value = work.await;
                    // First off the list, then known: who comes later starts anew and sees what this one stored.
                    drop(landing);
                    known.send_replace(Some(value));
                });
                result
            }
        };
        result.wait_for(Option::is_some).await.ok()?.clone()
    }

    /// Waits until nothing is under way. New work may still start.
    pub(super) async fn drain(&self) {
        self.tasks.close();
        self.tasks.wait().await;
        self.tasks.reopen();
    }
}

/// Lets work that will take longer tell those who wait, and those who still come, how it stands.
pub(super) struct Interim<T>(Arc<watch::Sender<Option<T>>>);

impl<T> Interim<T> {
    /// What everybody gets until the work is done. Whether it is the first such word.
    pub(super) fn publish(&self, value: T) -> bool {
        self.0.send_replace(Some(value)).is_none()
    }
}

/// Takes a flight off the list when its work ends, however it ends.
struct Landing<K: Eq + Hash, T> {
    key: K,
    under_way: Arc<Mutex<HashMap<K, watch::Receiver<Option<T>>>>>,
}

impl<K: Eq + Hash, T> Drop for Landing<K, T> {
    fn drop(&mut self) {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}

impl<K, T> fmt::Debug for Flights<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Flights({} under way)", self.tasks.len())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::future::join_all;
    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn many_who_want_the_same_make_one_piece_of_work() {
        let (flights, count) = (Flights::<u8, u32>::new(), Arc::new(AtomicU32::new(0)));
        let work = |_| {
            let count = count.clone();
            Some(async move {
                tokio::task::yield_now().await;
                count.fetch_add(1, Ordering::SeqCst) + 1
            })
        };
        let results = join_all((0..100).map(|_| flights.join(1, work))).await;
        assert!(results.iter().all(|result| *result == Some(1)));
        assert_eq!(flights.join(1, work).await, Some(2), "the next one starts anew");
    }

    #[tokio::test]
    async fn the_work_outlives_everybody_who_waits() {
        let flights = Arc::new(Flights::<u8, u32>::new());
        let (go, done) = (Arc::new(Notify::new()), Arc::new(AtomicU32::new(0)));
        let waiting = {
            let (flights, go, done) = (flights.clone(), go.clone(), done.clone());
            tokio::spawn(async move {
                flights
                    .join(1, move |_| {
                        Some(async move {
                            go.notified().await;
                            done.fetch_add(1, Ordering::SeqCst)
                        })
                    })
                    .await
            })
        };
        tokio::task::yield_now().await;
        waiting.abort();
        assert!(waiting.await.is_err());
        go.notify_one();
        flights.drain().await;
        assert_eq!(done.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn work_that_panics_frees_its_place() {
        let flights = Flights::<u8, u32>::new();
        assert_eq!(flights.join(1, |_| Some(async { panic!("lost") })).await, None);
        assert_eq!(flights.join(1, |_| Some(async { 7 })).await, Some(7));
    }

    #[tokio::test]
    async fn who_may_not_start_takes_part_in_what_others_have_started() {
        let flights = Flights::<u8, u32>::new();
        let unwilling = |_| None::<std::future::Ready<u32>>;
        assert_eq!(flights.join(1, unwilling).await, None);
        let started = flights.join(1, |_| Some(async { 7 }));
        assert_eq!(tokio::join!(started, flights.join(1, unwilling)), (Some(7), Some(7)));
        assert_eq!(flights.join(1, unwilling).await, None);
    }

    #[tokio::test]
    async fn an_interim_result_serves_until_the_work_is_done() {
        let flights = Flights::<u8, u32>::new();
        let go = Arc::new(Notify::new());
        let done = go.clone();
        let work = move |interim: Interim<u32>| {
            Some(async move {
                interim.publish(1);
                done.notified().await;
                2
            })
        };
        assert_eq!(flights.join(1, work).await, Some(1));
        assert_eq!(flights.join(1, |_| Some(async { 7 })).await, Some(1), "the work is still under way");
        go.notify_one();
        flights.drain().await;
        assert_eq!(flights.join(1, |_| Some(async { 7 })).await, Some(7));
    }
}
