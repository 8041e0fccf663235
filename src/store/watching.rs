//! Who waits for the end of which session: one reader of the store's signals per process, and a place for each waiting stream.
//!
//! A stream that waits costs an entry here; a call that does not wait costs nothing. What a watcher has not taken yet is merged, so a
//! slow one holds a few bytes and never misses the end.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::{Reason, SessionBackend, SessionKey, Signal};

/// See the module. Clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Watching(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    watchers: HashMap<SessionKey, Vec<Arc<Place>>>,
    /// Ended lately, oldest first: for streams that begin to wait only after they have lasted a while.
    ended: VecDeque<(Instant, SessionKey, Reason)>,
    /// When signals were missed last.
    lost: Option<Instant>,
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

/// Hears what happens to one session, until it is dropped.
pub(crate) struct Watcher {
    key: SessionKey,
    place: Arc<Place>,
    of: Watching,
}

impl Watching {
    /// Reads the signals of `backend` until the returned future is dropped.
    pub(crate) async fn listen(self, backend: Arc<dyn SessionBackend>) {
        let mut signals: BoxStream<'static, Signal> = backend.watch();
        while let Some(signal) = signals.next().await {
            self.tell(signal);
        }
    }

    /// News of a session from `since` on; `since` may be up to [`REMEMBERED`] ago.
    pub(crate) fn watch(&self, key: SessionKey, since: Instant) -> Watcher {
        let place = Arc::new(Place::default());
        let mut state = self.state();
        state.watchers.entry(key).or_default().push(place.clone());
        let ended = state.ended.iter().rev().find(|(_, ended, _)| *ended == key).map(|&(_, _, reason)| reason);
        let forgotten = since.elapsed() > REMEMBERED || state.ended.front().is_some_and(|_| state.ended.len() == MANY);
        let doubtful = forgotten || state.lost.is_some_and(|lost| lost >= since);
        place.add(News { ended, doubtful, ..News::default() });
        Watcher { key, place, of: self.clone() }
    }

    /// Why a session ended, if it was lately.
    pub(crate) fn ended(&self, key: SessionKey) -> Option<Reason> {
        self.state().ended.iter().rev().find(|(_, ended, _)| *ended == key).map(|&(_, _, reason)| reason)
    }

    fn tell(&self, signal: Signal) {
        let mut state = self.state();
        let (key, news) = match signal {
            Signal::Ended { key, reason } => {
                state.remember(key, reason);
                (key, News { ended: Some(reason), ..News::default() })
            }
            Signal::Replaced { key } => (key, News { replaced: true, ..News::default() }),
            Signal::Refreshed { key, .. } => (key, News { refreshed: true, ..News::default() }),
            Signal::Released { .. } => return,
            Signal::Lost => {
                state.lost = Some(Instant::now());
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

impl State {
    fn remember(&mut self, key: SessionKey, reason: Reason) {
        let now = Instant::now();
        while self.ended.len() >= MANY || self.ended.front().is_some_and(|(at, ..)| now - *at > REMEMBERED) {
            self.ended.pop_front();
        }
        self.ended.push_back((now, key, reason));
    }
}

impl Place {
    fn add(&self, news: News) {
        if news == News::default() {
            return;
        }
        let mut all = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        *all = News {
            ended: all.ended.or(news.ended),
            replaced: all.replaced || news.replaced,
            refreshed: all.refreshed || news.refreshed,
            doubtful: all.doubtful || news.doubtful,
        };
        drop(all);
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

/// How long the end of a session is remembered.
pub(crate) const REMEMBERED: Duration = Duration::from_mins(1);
/// How many ends are remembered: some megabytes.
const MANY: usize = 65_536;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::suite::key;

    fn ended(n: u32) -> Signal {
        Signal::Ended { key: key(n), reason: Reason::Logout }
    }

    #[tokio::test(start_paused = true)]
    async fn a_watcher_hears_of_its_session_only() {
        let watching = Watching::default();
        let (ours, other) = (watching.watch(key(1), Instant::now()), watching.watch(key(2), Instant::now()));
        watching.tell(Signal::Refreshed { key: key(1), version: 2 });
        watching.tell(ended(1));
        let expected = News { ended: Some(Reason::Logout), refreshed: true, ..News::default() };
        assert_eq!(ours.next().await, expected, "what was not taken yet is merged");
        assert!(tokio::time::timeout(REMEMBERED, other.next()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn an_end_before_the_first_look_is_heard_of() {
        let (watching, before) = (Watching::default(), Instant::now());
        watching.tell(ended(1));
        tokio::time::advance(REMEMBERED / 2).await;
        assert_eq!(watching.watch(key(1), before).next().await.ended, Some(Reason::Logout));
        tokio::time::advance(REMEMBERED).await;
        assert!(watching.watch(key(1), before).next().await.doubtful, "too long ago to know");
    }

    #[tokio::test(start_paused = true)]
    async fn a_gap_makes_every_watcher_look_for_itself() {
        let (watching, before) = (Watching::default(), Instant::now());
        let ours = watching.watch(key(1), before);
        watching.tell(Signal::Lost);
        assert!(ours.next().await.doubtful);
        assert!(watching.watch(key(2), before).next().await.doubtful);
        tokio::time::advance(Duration::from_millis(1)).await;
        let later = watching.watch(key(3), Instant::now());
        assert!(tokio::time::timeout(REMEMBERED, later.next()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_leaves_nothing_behind() {
        let watching = Watching::default();
        let (one, two) = (watching.watch(key(1), Instant::now()), watching.watch(key(1), Instant::now()));
        drop(one);
        watching.tell(ended(1));
        assert!(two.next().await.ended.is_some());
        drop(two);
        assert_eq!(format!("{watching:?}"), "Watching(0 sessions)");
    }

    #[tokio::test(start_paused = true)]
    async fn many_ends_take_bounded_room_and_cause_doubt() {
        let watching = Watching::default();
        for n in 0..u32::try_from(MANY).unwrap() + 10 {
            watching.tell(ended(n));
        }
        assert_eq!(watching.state().ended.len(), MANY);
        assert!(watching.watch(key(0), Instant::now()).next().await.doubtful);
    }
}
