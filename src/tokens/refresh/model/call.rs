//! A call under way: what it does when it is let, and what its caller then learns.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::world::Outside;
use super::{D, STORE_DELAY};

/// A call under way.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) replica: usize,
    pub(super) kind: Kind,
    pub(super) label: String,
    pub(super) at: Instant,
    /// It need not happen at once, but until then.
    pub(super) slow_until: Option<Instant>,
    /// What came of it, if it was executed.
    pub(super) done: Option<String>,
    pub(super) request: Box<dyn Request>,
    pub(super) abandoned: Arc<AtomicBool>,
    /// Counts the calls of its replica.
    pub(super) number: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// Somebody begins.
    Start,
    /// Somebody begins now or later.
    LateStart,
    Store,
    /// Executed and answered in two steps.
    Provider,
    Revocation,
}

/// What the caller learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Fate {
    Answered,
    Lost,
    /// Nothing was sent.
    Refused,
}

/// What came of a call.
pub(super) struct Executed<T> {
    pub(super) label: String,
    /// Whether anything is different now.
    pub(super) changed: bool,
    pub(super) answer: T,
}

impl Kind {
    pub(super) fn is_start(self) -> bool {
        matches!(self, Self::Start | Self::LateStart)
    }
}

impl Call {
    /// Nobody waits for it any more.
    pub(super) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::SeqCst)
    }

    /// Until when it may happen, if it need not happen at once.
    pub(super) fn limit(&self) -> Option<Instant> {
        let life = if self.kind == Kind::Store { STORE_DELAY } else { D };
        self.slow_until.or_else(|| self.is_abandoned().then_some(self.at + life))
    }
}

/// A call of whatever type.
pub(super) trait Request: fmt::Debug + Send {
    fn execute(&mut self, outside: &mut Outside) -> (String, bool);
    fn answer(&mut self, fate: Fate);
}

pub(super) struct Asked<T, E, F> {
    pub(super) execute: Option<F>,
    pub(super) answer: Option<Result<T, E>>,
    pub(super) lost: fn(Fate) -> E,
    pub(super) reply: Option<oneshot::Sender<Result<T, E>>>,
}

impl<T, E, F> Request for Asked<T, E, F>
where
    T: Send,
    E: Send,
    F: FnOnce(&mut Outside) -> Executed<Result<T, E>> + Send,
{
    fn execute(&mut self, outside: &mut Outside) -> (String, bool) {
        let execute = self.execute.take().expect("a call is executed once");
        let Executed { label, changed, answer } = execute(outside);
        self.answer = Some(answer);
        (label, changed)
    }

    fn answer(&mut self, fate: Fate) {
        let Some(reply) = self.reply.take() else { return };
        let answer = match fate {
            Fate::Answered => self.answer.take().expect("a call is executed before it is answered"),
            Fate::Lost | Fate::Refused => Err((self.lost)(fate)),
        };
        let _ = reply.send(answer);
    }
}

impl<T, E, F> fmt::Debug for Asked<T, E, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Asked")
    }
}

/// Notes that nobody waits for an answer any more.
pub(super) struct Abandoning(pub(super) Arc<AtomicBool>);

impl Drop for Abandoning {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}
