//! The connections to one origin.

use std::error::Error as StdError;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{Request, Response, Uri};

use super::answer::Answer;
use super::connect::Connector;
use super::lent::Lent;
use super::pools::{Choice, Idle, Pools};
use super::queue::{Grant, Place, Wish};
use super::shared::Shared;
use super::stage::{At, Stage};
use super::target::Target;
use crate::metric;
use crate::proxy::body::RequestBody;

/// Which connections a call may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Versions {
    /// Whatever the upstream speaks.
    Any,
    /// HTTP/1.1, for an upgrade.
    Http1,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// There is no connection; nothing was sent.
    #[error("cannot connect")]
    Connect(#[source] Box<dyn StdError + Send + Sync>),
    /// There is none, and that says nothing about the upstream: a rule of ours, or no more files. Nothing was sent.
    #[error("cannot connect")]
    Refused(#[source] Box<dyn StdError + Send + Sync>),
    /// The connection broke off before the answer's head.
    #[error("the connection broke off")]
    Broken(#[source] hyper::Error),
    /// Nothing has answered for a while; nothing was sent.
    #[error("not asked again so soon after: {0}")]
    Down(String),
    /// All connections that may be open are in use, and enough calls wait for one; nothing was sent.
    #[error("too many calls at the same time")]
    Busy,
    /// The answer's head did not come in time.
    #[error("no answer in time")]
    Late,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(super) target: Target,
    /// Of each address, in a row. Written under the lock of `pools`.
    pub(super) failures: Box<[AtomicU32]>,
    pub(super) counts: metric::Upstream,
    pools: Mutex<Pools>,
}

/// What became of a request on one connection.
pub(super) enum Outcome {
    Answered(Response<Answer>),
    /// Nothing of it has left.
    Unsent(Box<Request<RequestBody>>),
    Broken {
        error: hyper::Error,
        again: Option<Again>,
    },
    /// There is no connection to this address; nothing of it has left.
    Unreachable {
        address: usize,
        error: CallError,
        request: Box<Request<RequestBody>>,
    },
}

/// A request that may be sent once more.
pub(super) struct Again {
    pub(super) request: Box<Request<RequestBody>>,
    pub(super) wish: Wish,
}

/// A connection for a call.
pub(super) enum Ready {
    Link(Lent),
    Shared(Shared),
}

/// What a call goes on with.
pub(super) enum Next {
    Ready(Ready),
    /// Room for a connection to this address.
    New(usize, Place),
}

impl Ready {
    pub(super) async fn send(self, request: Box<Request<RequestBody>>, stage: &Stage) -> Outcome {
        match self {
            Self::Link(lent) => lent.send(*request, stage).await,
            Self::Shared(shared) => shared.send(request, stage).await,
        }
    }
}

impl Origin {
    pub(super) fn new(target: Target, connector: Connector) -> Self {
        let limit = usize::try_from(target.max_connections.get()).unwrap_or(usize::MAX);
        Self {
            failures: std::iter::repeat_with(AtomicU32::default).take(target.width()).collect(),
            counts: metric::Upstream::of(&target.name()),
            pools: Mutex::new(Pools::new(connector, target.width(), limit)),
            target,
        }
    }

    pub(super) fn exchange_connector(&self, connector: Connector) {
        let mut pools = self.pools();
        let left_behind = pools.exchange_connector(connector);
        // What was wrong with the connections there were is not said of those to come.
        let was_down = pools.outage.take().is_some();
        let avoided = (0..self.target.width()).filter_map(|address| pools.readmit(address)).count();
        drop(pools);
        drop(left_behind);
        self.failures.iter().for_each(|failures| failures.store(0, Ordering::Relaxed));
        (0..avoided).for_each(|_| self.counts.readmitted());
        if was_down {
            self.counts.up();
        }
    }

    /// Sends a request, whose target has the origin in it. Dropping the future or the answer cancels the call; `stage` tells how
    /// far it has come.
    ///
    /// # Errors
    /// All of [`CallError`] but `Late`. A request is sent on another connection if nothing of it has left, and once if that does no
    /// harm (`docs/decisions/0020-what-is-sent-again.md`).
    pub(crate) async fn call(
        self: &Arc<Self>,
        request: Request<RequestBody>,
        versions: Versions,
        stage: &Stage,
    ) -> Result<Response<Answer>, CallError> {
        // What is rare is boxed: the future of every call is as large as the largest way through it.
        if versions == Versions::Http1 {
            return Box::pin(self.upgrade(request, stage)).await;
        }
        let outcome = match self.idle() {
            Some(lent) => lent.send(request, stage).await,
            None => Outcome::Unsent(Box::new(request)),
        };
        match outcome {
            Outcome::Answered(answer) => Ok(answer),
            outcome => Box::pin(self.go_on(outcome, stage)).await,
        }
    }

    /// Goes on until there is an answer, or nothing more to try.
    async fn go_on(self: &Arc<Self>, mut outcome: Outcome, stage: &Stage) -> Result<Response<Answer>, CallError> {
        let (mut wish, mut failed, mut repeated) = (Wish::Any, Vec::new(), false);
        loop {
            let request = match outcome {
                Outcome::Answered(answer) => return Ok(answer),
                Outcome::Unsent(request) => request,
                Outcome::Broken { again: Some(again), .. } if !repeated => {
                    repeated = true;
                    wish = again.wish;
                    self.counts.repeated();
                    again.request
                }
                Outcome::Broken { error, .. } => return Err(CallError::Broken(error)),
                Outcome::Unreachable { address, error, request } => {
                    failed.push(address);
                    if failed.len() == self.target.width() {
                        return Err(error);
                    }
                    request
                }
            };
            outcome = match self.next(wish, &failed, stage).await? {
                Next::Ready(connection) => connection.send(request, stage).await,
                Next::New(address, place) => self.call_anew(address, place, request, stage).await,
            };
        }
    }

    /// Finds a connection, or room for one; waits for that if need be.
    pub(super) async fn next(self: &Arc<Self>, wish: Wish, failed: &[usize], stage: &Stage) -> Result<Next, CallError> {
        let mut let_through = !failed.is_empty();
        loop {
            let choice = self.pools().choose(wish, failed, &mut let_through);
            match choice.inspect_err(|error| self.refused(error))? {
                Choice::Idle(address, idle, generation) => {
                    if let Some(lent) = self.lend(address, idle, generation) {
                        return Ok(Next::Ready(Ready::Link(lent)));
                    }
                }
                Choice::Shared(address, sender) => {
                    let shared = Shared { sender, origin: self.clone(), address, reused: true };
                    return Ok(Next::Ready(Ready::Shared(shared)));
                }
                Choice::Join(opened, address) => {
                    stage.reached(At::Connecting(address));
                    match opened.wait().await {
                        Ok(sender) => {
                            let shared = Shared { sender, origin: self.clone(), address, reused: false };
                            return Ok(Next::Ready(Ready::Shared(shared)));
                        }
                        Err(error) if self.target.width() == 1 => return Err(error),
                        // It is avoided now.
                        Err(_) => {}
                    }
                }
                Choice::Open(address) => return Ok(Next::New(address, self.place())),
                Choice::Evict(idle) => drop(idle),
                Choice::Wait(granted) => {
                    stage.reached(At::Queue);
                    match granted.await {
                        Ok(Grant::Link(lent)) => return Ok(Next::Ready(Ready::Link(lent))),
                        Ok(Grant::Place(place)) => return Ok(Next::New(self.pools().address(failed), place)),
                        // Something has changed.
                        Err(_) => {}
                    }
                }
            }
        }
    }

    /// Keeps a connection for the next call.
    pub(super) fn take_back(lent: Lent) {
        let Lent { link, origin, generation, address, .. } = lent;
        let mut pools = origin.pools();
        let unwanted = pools.take_back(link, &origin, generation, address);
        let is_swept = std::mem::replace(&mut pools.is_swept, true);
        drop(pools);
        drop(unwanted);
        if !is_swept {
            tokio::spawn(origin.sweep());
        }
    }

    /// A place is free.
    pub(super) fn vacate(&self, place: Place) {
        let mut pools = self.pools();
        if pools.vacate(place) {
            self.counts.closed();
        }
    }

    /// Room for a connection, which counts already.
    fn place(self: &Arc<Self>) -> Place {
        self.counts.opened();
        Place::new(self)
    }

    /// An idle connection that is still open, if nothing is out of order.
    fn idle(self: &Arc<Self>) -> Option<Lent> {
        loop {
            let (address, idle, generation) = self.pools().take_idle()?;
            if let Some(lent) = self.lend(address, idle, generation) {
                return Some(lent);
            }
        }
    }

    /// None if it is closed, or has been idle for so long that it may be closed at any moment.
    fn lend(self: &Arc<Self>, address: usize, idle: Idle, generation: u64) -> Option<Lent> {
        let Idle { mut link, since } = idle;
        let is_good = since.elapsed() < IDLE && link.is_idle();
        is_good.then(|| Lent { link, origin: self.clone(), generation, address, reused: true })
    }

    /// Closes what nobody used for long, until nothing is idle.
    async fn sweep(self: Arc<Self>) {
        loop {
            tokio::time::sleep(IDLE).await;
            let mut pools = self.pools();
            let stale = pools.remove_stale(IDLE);
            let is_over = !pools.is_swept;
            drop(pools);
            drop(stale);
            if is_over {
                return;
            }
        }
    }

    pub(super) fn pools(&self) -> MutexGuard<'_, Pools> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The target without its origin (RFC 9112 §3.2.1).
pub(super) fn origin_form(target: &Uri) -> Uri {
    target.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")).into()
}

/// Shorter than the keep-alive of common servers (Node closes after 5 s): a request that meets the close on its way may be lost.
const IDLE: Duration = Duration::from_secs(4);

#[cfg(test)]
mod tests;
