//! Follows one session to its end: what its tabs are told, and when streams that it opened must break off.
//!
//! Signals of the store come at once. The row is read when they may have been missed, and when a limit is reached, since another tab
//! may have moved it; and now and then all the same, for ends that no signal tells (by a program that only shares the store's file).

use std::time::Duration;

use super::{Loaded, Sessions};
use crate::clock::Timestamp;
use crate::secret;
use crate::store::{self, News, Reason, SessionId, SessionKey, Watcher};

/// See the module. Never extends the session.
pub(crate) struct Follower {
    sessions: Sessions,
    id: SessionId,
    watcher: Watcher,
    /// Heard or read, and not told yet. An end stays.
    news: News,
    seen: Seen,
    /// When the row is read the next time.
    look_at: Timestamp,
}

/// What is known from the row.
#[derive(Default)]
struct Seen {
    /// When the session is over if nobody uses it; none before the row was read.
    over_at: Option<Timestamp>,
    /// The absolute limit, which nothing moves.
    ends_at: Option<Timestamp>,
    /// A newer login took its place; the row goes at `over_at`.
    retired: bool,
    /// The next of [`WARNINGS`].
    warning: Option<Duration>,
    /// Is to be told.
    expires_in: Option<Duration>,
    token: Token,
}

/// The access token of a session that cannot renew it.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Token {
    #[default]
    Lives,
    RanOut,
    Told,
}

/// The session that a call has used. What the call opens lasts no longer.
#[derive(Clone, Debug)]
pub(crate) struct UsedSession {
    sessions: Sessions,
    id: SessionId,
}

/// Something that happened to a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Happening {
    /// It has this long left: told once at each of [`WARNINGS`], unless somebody uses it.
    Expiring(Duration),
    /// Its tokens were renewed.
    Refreshed,
    /// A newer login of the same person took its place. Calls that are under way have some seconds before [`Self::Ended`].
    Replaced,
    /// Its access token has run out, and there is no way to renew it.
    TokenExpired,
    /// It is over. Without a reason if nobody remembers.
    Ended(Option<Reason>),
}

impl UsedSession {
    pub(crate) fn new(sessions: &Sessions, id: SessionId) -> Self {
        Self { sessions: sessions.clone(), id }
    }

    /// Waits for the session's end. A retired one ends with its row.
    pub(crate) async fn ended(self) {
        let mut follower = self.sessions.follow(self.id);
        while !matches!(follower.next().await, Happening::Ended(_)) {}
    }
}

impl Follower {
    pub(super) fn new(sessions: Sessions, id: SessionId) -> Self {
        // Before the row is read, so that no end slips between.
        let watcher = sessions.watching.watch(id.key());
        let look_at = Timestamp::UNIX_EPOCH;
        Self { sessions, id, watcher, news: News::default(), seen: Seen::default(), look_at }
    }

    /// Reads the session, if it lives.
    ///
    /// # Errors
    /// `Unavailable`.
    pub(crate) async fn begin(&mut self) -> Result<Option<Loaded>, store::Error> {
        let loaded = self.sessions.load(self.id).await?;
        if let Some(loaded) = &loaded {
            self.learn(loaded);
        }
        Ok(loaded)
    }

    /// Waits for what happens next. Dropping the future loses nothing. After `Ended` there is nothing but that.
    pub(crate) async fn next(&mut self) -> Happening {
        loop {
            if let Some(happening) = self.untold() {
                return happening;
            }
            if self.sessions.now() < self.look_at {
                tokio::select! {
                    news = self.watcher.next() => self.hear(news),
                    () = self.sessions.wait_until(self.look_at) => {}
                }
            // Rare and large: whoever waits should not hold the room for it.
            } else if let Some(ended) = Box::pin(self.look()).await {
                return ended;
            }
        }
    }

    /// Why a session ended that is not there any more. Its signal may be a little later than its end.
    pub(crate) async fn reason(&mut self) -> Option<Reason> {
        if let Some(known) = self.sessions.why_ended(&self.key().tag()) {
            return Some(known);
        }
        if self.seen.over_at.is_some_and(|over| over <= self.sessions.now()) {
            return Some(Reason::Expired);
        }
        let told = async {
            while self.news.ended.is_none() {
                self.news.add(self.watcher.next().await);
            }
        };
        let _ = tokio::time::timeout(SIGNALS_TAKE, told).await;
        self.news.ended
    }

    fn key(&self) -> SessionKey {
        self.id.key()
    }

    fn untold(&mut self) -> Option<Happening> {
        if let Some(reason) = self.news.ended {
            return Some(Happening::Ended(Some(reason)));
        }
        if std::mem::take(&mut self.news.replaced) {
            return Some(Happening::Replaced);
        }
        if std::mem::take(&mut self.news.refreshed) {
            return Some(Happening::Refreshed);
        }
        if self.seen.token == Token::RanOut {
            self.seen.token = Token::Told;
            return Some(Happening::TokenExpired);
        }
        self.seen.expires_in.take().map(Happening::Expiring)
    }

    fn hear(&mut self, mut news: News) {
        let now = self.sessions.now();
        if std::mem::take(&mut news.doubtful) {
            self.look_at = self.look_at.min(now + self.spread());
        }
        if self.seen.retired {
            news.replaced = false;
        } else if news.replaced {
            // How long it still lives stands in the row.
            self.seen.retired = true;
            self.look_at = now;
        }
        self.news.add(news);
    }

    /// Reads the row. The end, if it is that.
    async fn look(&mut self) -> Option<Happening> {
        let now = self.sessions.now();
        let is_past = |limit: Option<Timestamp>| limit.is_some_and(|limit| limit <= now);
        if self.seen.retired && is_past(self.seen.over_at) {
            return Some(Happening::Ended(None));
        }
        match self.sessions.load(self.id).await {
            Ok(Some(loaded)) => {
                self.learn(&loaded);
                None
            }
            Ok(None) => Some(Happening::Ended(self.reason().await)),
            Err(_) if is_past(self.seen.ends_at) => Some(Happening::Ended(Some(Reason::Expired))),
            Err(_) => {
                self.look_at = now + TRY_AGAIN + self.spread();
                None
            }
        }
    }

    fn learn(&mut self, loaded: &Loaded) {
        let (now, seen) = (self.sessions.now(), &mut self.seen);
        let mut over_at = self.sessions.over_at(&loaded.user);
        if loaded.is_retired() {
            over_at = over_at.min(now + loaded.opened.expires_in);
            self.news.replaced |= !seen.retired;
            seen.retired = true;
        }
        let left = over_at.since(now);
        if !seen.retired && seen.warning.is_some_and(|warning| left <= warning) {
            seen.expires_in = Some(left);
        }
        seen.warning = WARNINGS.into_iter().find(|warning| *warning < left);
        let access = &loaded.tokens().access;
        let token_ends = access.expires_at.filter(|_| loaded.tokens().refresh.is_none());
        if seen.token == Token::Lives && token_ends.is_some() && access.is_over(now) {
            seen.token = Token::RanOut;
        }
        (seen.over_at, seen.ends_at) = (Some(over_at), Some(loaded.user.ends_at()));
        let warn_at = seen.warning.map(|warning| over_at - warning);
        let token_ends = token_ends.filter(|_| seen.token == Token::Lives);
        let soonest = [Some(over_at), warn_at, token_ends].into_iter().flatten().min();
        // Not all at the same time, also if one gap in the signals has brought all of them here together.
        let [random] = secret::random();
        let look_again = LOOK_AGAIN * 3 / 4 + LOOK_AGAIN / 4 * u32::from(random) / 255;
        self.look_at = (now + look_again).min(soonest.unwrap_or(over_at));
    }

    /// Streams that have missed something look one after the other, and not all at once. Keys are digests, so they are evenly spread.
    fn spread(&self) -> Duration {
        SPREAD * u32::from(self.key().as_bytes()[0]) / 256
    }
}

/// How long before the end tabs are told of it, the longest first.
const WARNINGS: [Duration; 2] = [Duration::from_mins(2), Duration::from_secs(30)];
/// Between two looks at the row if there is no reason for one.
const LOOK_AGAIN: Duration = Duration::from_mins(1);
/// After a look that the store did not answer.
const TRY_AGAIN: Duration = Duration::from_secs(1);
const SPREAD: Duration = Duration::from_millis(500);
/// A signal is rarely later than this.
const SIGNALS_TAKE: Duration = Duration::from_millis(250);
