//! Who waits for the end of which session: one reader of the store's signals per process, and a place for each waiting stream.
//!
//! A stream that waits costs an entry here; a call that does not wait costs nothing. What a watcher has not taken yet is merged, so a
//! slow one holds a few bytes and never misses the end. Signals tell what happens from now on: whoever begins to watch reads the row
//! *afterwards*, so that no end slips between the two.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Reason, SessionBackend, SessionKey, Signal};

/// See the module. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Watching(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    watchers: HashMap<SessionKey, Vec<Arc<Place>>>,
    ended: Ended,
}

/// Why sessions ended lately, for tabs that come back and ask.
#[derive(Default)]
struct Ended {
    /// By their tags, which is what a tab knows.
    reasons: HashMap<String, Reason>,
    /// Oldest first.
    order: VecDeque<(Instant, String)>,
}

/// What has happened to a session since its watcher looked last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct News {
    /// It was ended.
    pub(crate) ended: Option<Reason>,
    /// A newer login of the same person took its place.
    pub(crate) replaced: bool,
    /// Its tokens were renewed.
    pub(crate) refreshed: bool,
    /// Something may have been missed: read the row.
    pub(crate) doubtful: bool,
}

#[derive(Default)]
struct Place {
    news: Mutex<News>,
    arrived: Notify,
}

/// Hears what happens to one session, until it is dropped. For one task at a time.
pub(crate) struct Watcher {
    key: SessionKey,
    place: Arc<Place>,
    of: Watching,
}

impl Watching {
    /// Reads the signals of `backend` from now on, until the returned future is dropped. A channel that ends is opened again; every
    /// watcher is told that it may have missed something.
    pub(crate) fn listen(self, backend: Arc<dyn SessionBackend>) -> impl Future<Output = ()> + Send {
        let mut signals = backend.watch();
        async move {
            loop {
                while let Some(signal) = signals.next().await {
                    self.tell(signal);
                }
                tracing::warn!("the signals of the store have ended; listening again");
                // Now, because nobody hears what happens meanwhile, and again when somebody does.
                self.tell(Signal::Lost);
                tokio::time::sleep(PAUSE).await;
                signals = backend.watch();
                self.tell(Signal::Lost);
            }
        }
    }

    /// News of a session from now on. Read the row afterwards; see the module.
    pub(crate) fn watch(&self, key: SessionKey) -> Watcher {
        let place = Arc::new(Place::default());
        self.state().watchers.entry(key).or_default().push(place.clone());
        Watcher { key, place, of: self.clone() }
    }

    /// Why the session with this tag ended, if it was lately (for a minute at least, unless very many end) and this process heard of it.
    pub(crate) fn why_ended(&self, tag: &str) -> Option<Reason> {
        self.state().ended.reasons.get(tag).copied()
    }

    fn tell(&self, signal: Signal) {
        let mut state = self.state();
        let (key, news) = match signal {
            Signal::Ended { key, reason } => {
                state.ended.remember(key, reason);
                (key, News { ended: Some(reason), ..News::default() })
            }
            Signal::Replaced { key } => (key, News { replaced: true, ..News::default() }),
            Signal::Refreshed { key, .. } => (key, News { refreshed: true, ..News::default() }),
            Signal::Released { .. } => return,
            Signal::Lost => {
                let news = News { doubtful: true, ..News::default() };
                state.watchers.values().flatten().for_each(|place| place.add(news));
                return;
            }
        };
        state.watchers.get(&key).into_iter().flatten().for_each(|place| place.add(news));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ended {
    fn remember(&mut self, key: SessionKey, reason: Reason) {
        let now = Instant::now();
        while self.order.front().is_some_and(|(at, _)| now - *at > REMEMBERED) {
            self.forget_oldest();
        }
        let tag = key.tag();
        // A signal that comes twice tells nothing new.
        if self.reasons.contains_key(&tag) {
            return;
        }
        if self.order.len() >= MANY {
            self.forget_oldest();
        }
        self.reasons.insert(tag.clone(), reason);
        self.order.push_back((now, tag));
    }

    fn forget_oldest(&mut self) {
        if let Some((_, tag)) = self.order.pop_front() {
            self.reasons.remove(&tag);
        }
    }
}

impl News {
    /// Takes further news in.
    pub(crate) fn add(&mut self, news: Self) {
        self.ended = self.ended.or(news.ended);
        self.replaced |= news.replaced;
        self.refreshed |= news.refreshed;
        self.doubtful |= news.doubtful;
    }
}

impl Place {
    fn add(&self, news: News) {
        self.news.lock().unwrap_or_else(PoisonError::into_inner).add(news);
        self.arrived.notify_one();
    }
}

impl Watcher {
    /// Waits for news and takes them. Dropping the future loses none.
    pub(crate) async fn next(&self) -> News {
        loop {
            let news = std::mem::take(&mut *self.place.news.lock().unwrap_or_else(PoisonError::into_inner));
            if news != News::default() {
                return news;
            }
            self.place.arrived.notified().await;
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let mut state = self.of.state();
        if let Some(places) = state.watchers.get_mut(&self.key) {
            places.retain(|place| !Arc::ptr_eq(place, &self.place));
            if places.is_empty() {
                state.watchers.remove(&self.key);
            }
        }
    }
}

impl fmt::Debug for Watching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watching({} sessions)", self.state().watchers.len())
    }
}

/// How long the reason of an end is remembered: browsers try again within seconds.
const REMEMBERED: Duration = Duration::from_mins(1);
/// How many are remembered: some megabytes.
const MANY: usize = 65_536;
/// Before a channel that has ended is opened again.
const PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use tokio_util::task::AbortOnDropHandle;

    use super::*;
    use crate::store::suite::{key, row};
    use crate::store::{FlakyBackend, MemoryBackend};

    fn ended(n: u32) -> Signal {
        Signal::Ended { key: key(n), reason: Reason::Logout }
    }

    async fn hears_nothing(watcher: &Watcher) -> bool {
        tokio::time::timeout(REMEMBERED, watcher.next()).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn a_watcher_hears_of_its_session_only() {
        let watching = Watching::default();
        let (ours, other) = (watching.watch(key(1)), watching.watch(key(2)));
        watching.tell(Signal::Refreshed { key: key(1), version: 2 });
        watching.tell(ended(1));
        let expected = News { ended: Some(Reason::Logout), refreshed: true, ..News::default() };
        assert_eq!(ours.next().await, expected, "what was not taken yet is merged");
        assert!(hears_nothing(&other).await);
    }

    #[tokio::test(start_paused = true)]
    async fn the_reason_of_an_end_is_remembered_for_a_minute() {
        let watching = Watching::default();
        watching.tell(ended(1));
        assert_eq!(watching.why_ended(&key(1).tag()), Some(Reason::Logout));
        assert_eq!(watching.why_ended(&key(2).tag()), None);
        tokio::time::advance(2 * REMEMBERED).await;
        watching.tell(ended(2));
        assert_eq!(watching.why_ended(&key(1).tag()), None);
    }

    #[tokio::test(start_paused = true)]
    async fn many_ends_take_bounded_room() {
        let watching = Watching::default();
        for n in 0..u32::try_from(MANY).unwrap() + 10 {
            watching.tell(ended(n));
            watching.tell(ended(n));
        }
        let state = watching.state();
        assert_eq!((state.ended.order.len(), state.ended.reasons.len()), (MANY, MANY));
    }

    #[tokio::test(start_paused = true)]
    async fn a_gap_makes_every_watcher_look_for_itself() {
        let watching = Watching::default();
        let (one, two) = (watching.watch(key(1)), watching.watch(key(2)));
        watching.tell(Signal::Lost);
        assert!(one.next().await.doubtful && two.next().await.doubtful);
        assert!(hears_nothing(&watching.watch(key(3))).await, "who comes after the gap reads the row anyway");
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_leaves_nothing_behind() {
        let watching = Watching::default();
        let (one, two) = (watching.watch(key(1)), watching.watch(key(1)));
        drop(one);
        watching.tell(ended(1));
        assert!(two.next().await.ended.is_some());
        drop(two);
        assert_eq!(format!("{watching:?}"), "Watching(0 sessions)");
    }

    #[tokio::test]
    async fn a_signal_right_after_the_start_is_heard() {
        let (watching, backend) = (Watching::default(), Arc::new(MemoryBackend::new()));
        let watcher = watching.watch(key(1));
        let listening = watching.listen(backend.clone());
        backend.insert(key(1), &row(), None).await.unwrap();
        backend.remove(key(1), Reason::Admin).await.unwrap();
        let _listening = AbortOnDropHandle::new(tokio::spawn(listening));
        assert_eq!(watcher.next().await.ended, Some(Reason::Admin));
    }

    #[tokio::test(start_paused = true)]
    async fn a_channel_that_ends_is_opened_again_and_nobody_stays_deaf() {
        let backend = Arc::new(FlakyBackend::new(Arc::new(MemoryBackend::new())));
        let watching = Watching::default();
        let watcher = watching.watch(key(1));
        let _listening = AbortOnDropHandle::new(tokio::spawn(watching.listen(backend.clone())));
        backend.break_channel();
        assert!(watcher.next().await.doubtful, "nobody hears anything now");
        assert!(watcher.next().await.doubtful, "nobody heard what happened meanwhile");
        backend.insert(key(1), &row(), None).await.unwrap();
        backend.remove(key(1), Reason::Admin).await.unwrap();
        assert_eq!(watcher.next().await.ended, Some(Reason::Admin));
    }
}
