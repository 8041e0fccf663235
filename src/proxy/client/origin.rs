//! The connections to one origin.

use std::error::Error as StdError;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::uri::PathAndQuery;
use http::{Request, Response, Uri};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::Instant;

use super::answer::{Answer, Lent};
use super::connect::{Connector, Io, speaks_http2};
use super::link::Link;
use super::opening::Opening;
use super::target::{HttpVersion, Target};
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
    /// The connection broke off before the answer's head.
    #[error("the connection broke off")]
    Broken(#[source] hyper::Error),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Origin {
    target: Target,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    connector: Connector,
    /// Counts the connectors.
    generation: u64,
    /// HTTP/1.1 connections that nobody uses, the youngest last.
    idle: Vec<Idle>,
    /// A task removes idle ones that are too old.
    swept: bool,
    http2: Option<http2::SendRequest<RequestBody>>,
    /// Of `http2`, where nothing else is spoken.
    opening: Opening,
}

#[derive(Debug)]
struct Idle {
    link: Box<Link>,
    since: Instant,
}

impl Origin {
    pub(super) fn new(target: Target, connector: Connector) -> Self {
        let (idle, opening) = (Vec::new(), Opening::default());
        let state = State { connector, generation: 0, idle, swept: false, http2: None, opening };
        Self { target, state: Mutex::new(state) }
    }

    pub(super) fn exchange_connector(&self, connector: Connector) {
        let mut state = self.state();
        state.connector = connector;
        state.generation += 1;
        state.idle.clear();
        state.http2 = None;
        state.opening = Opening::default();
    }

    /// Sends a request, whose target has the origin in it. Dropping the future or the answer cancels the call.
    ///
    /// # Errors
    /// See [`CallError`]. A request is sent on another connection only if nothing of it has left.
    pub(crate) async fn call(
        self: &Arc<Self>,
        mut request: Request<RequestBody>,
        versions: Versions,
    ) -> Result<Response<Answer>, CallError> {
        // What is rare is boxed: the future of every call is as large as the largest way through it.
        if versions == Versions::Http1 {
            return Box::pin(self.upgrade(request)).await;
        }
        let shared = self.state().http2.clone();
        if let Some(sender) = shared {
            match Box::pin(self.call_http2(sender, request)).await {
                Ok(answer) => return answer,
                Err(unsent) => request = *unsent,
            }
        }
        let absolute = request.uri().clone();
        *request.uri_mut() = origin_form(&absolute);
        while let Some(lent) = self.idle() {
            match lent.send(request).await {
                Ok(answer) => return answer,
                Err(unsent) => request = *unsent,
            }
        }
        *request.uri_mut() = absolute;
        Box::pin(self.call_anew(request)).await
    }

    /// Sends a request on a connection that is opened for it.
    async fn call_anew(self: &Arc<Self>, mut request: Request<RequestBody>) -> Result<Response<Answer>, CallError> {
        if self.target.http_version == HttpVersion::Http2 {
            let sender = self.http2().await?;
            let unsent = self.call_http2(sender, request).await;
            return unsent.unwrap_or_else(|_| Err(closed()));
        }
        let (connector, generation) = self.connector();
        let io = connector.connect(&self.target, None, Versions::Any).await?;
        if speaks_http2(&self.target, &io) {
            let sender = self.share(io, generation).await?;
            let unsent = self.call_http2(sender, request).await;
            return unsent.unwrap_or_else(|_| Err(closed()));
        }
        *request.uri_mut() = origin_form(request.uri());
        let link = Box::new(Link::new(io).await.map_err(CallError::Broken)?);
        let lent = Lent { link, origin: self.clone(), generation };
        lent.send(request).await.unwrap_or_else(|_| Err(closed()))
    }

    /// Keeps a connection for the next call.
    pub(super) fn take_back(self: Arc<Self>, lent: Lent) {
        let mut state = self.state();
        if lent.generation != state.generation {
            return;
        }
        state.idle.push(Idle { link: lent.link, since: Instant::now() });
        if !state.swept {
            state.swept = true;
            tokio::spawn(self.clone().sweep());
        }
    }

    /// A connection for one call, which becomes another protocol.
    async fn upgrade(&self, mut request: Request<RequestBody>) -> Result<Response<Answer>, CallError> {
        *request.uri_mut() = origin_form(request.uri());
        let io = self.connector().0.connect(&self.target, None, Versions::Http1).await?;
        let link = Link::new(io).await.map_err(CallError::Broken)?;
        let answer = link.detach().send_request(request).await;
        answer.map(|answer| answer.map(Answer::shared)).map_err(CallError::Broken)
    }

    /// The request comes back if nothing of it was sent.
    async fn call_http2(
        &self,
        mut sender: http2::SendRequest<RequestBody>,
        request: Request<RequestBody>,
    ) -> Result<Result<Response<Answer>, CallError>, Box<Request<RequestBody>>> {
        if sender.ready().await.is_err() {
            self.forget_http2();
            return Err(Box::new(request));
        }
        match sender.try_send_request(request).await {
            Ok(answer) => Ok(Ok(answer.map(Answer::shared))),
            Err(mut error) => match error.take_message() {
                Some(unsent) => {
                    self.forget_http2();
                    Err(Box::new(unsent))
                }
                None => Ok(Err(CallError::Broken(error.into_error()))),
            },
        }
    }

    /// The connection to an upstream that speaks HTTP/2 only. Calls that find none wait for the same one.
    async fn http2(self: &Arc<Self>) -> Result<http2::SendRequest<RequestBody>, CallError> {
        let opened = {
            let mut state = self.state();
            if let Some(sender) = &state.http2 {
                return Ok(sender.clone());
            }
            let (origin, connector, generation) = (self.clone(), state.connector.clone(), state.generation);
            state.opening.join(|| async move {
                let io = connector.connect(&origin.target, None, Versions::Any).await?;
                origin.share(io, generation).await
            })
        };
        opened.wait().await
    }

    async fn share(&self, io: Io, generation: u64) -> Result<http2::SendRequest<RequestBody>, CallError> {
        let handshake = http2::Builder::new(TokioExecutor::new())
            .timer(TokioTimer::new())
            .keep_alive_interval(HTTP2_PING)
            // Until the upstream says how many it takes: what is too much it would refuse (RFC 9113 §5.1.2).
            .initial_max_send_streams(1)
            .adaptive_window(true)
            .handshake(io);
        let (sender, connection) = handshake.await.map_err(CallError::Broken)?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an upstream's connection broke off");
            }
        });
        let mut state = self.state();
        if generation == state.generation {
            state.http2 = Some(sender.clone());
        }
        Ok(sender)
    }

    /// The youngest idle connection that is still open.
    fn idle(self: &Arc<Self>) -> Option<Lent> {
        loop {
            let (idle, generation) = {
                let mut state = self.state();
                (state.idle.pop()?, state.generation)
            };
            let Idle { mut link, since } = idle;
            if since.elapsed() < IDLE && link.is_idle() {
                return Some(Lent { link, origin: self.clone(), generation });
            }
        }
    }

    /// Closes what nobody used for long, until nothing is idle.
    async fn sweep(self: Arc<Self>) {
        loop {
            tokio::time::sleep(IDLE).await;
            let mut state = self.state();
            state.idle.retain(|idle| idle.since.elapsed() < IDLE);
            if state.idle.is_empty() {
                state.swept = false;
                return;
            }
        }
    }

    fn connector(&self) -> (Connector, u64) {
        let state = self.state();
        (state.connector.clone(), state.generation)
    }

    /// Unless another has taken its place.
    fn forget_http2(&self) {
        self.state().http2.take_if(|sender| sender.is_closed());
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lent {
    /// The request comes back if nothing of it was sent.
    async fn send(
        mut self,
        request: Request<RequestBody>,
    ) -> Result<Result<Response<Answer>, CallError>, Box<Request<RequestBody>>> {
        match self.link.send(request).await {
            Ok(answer) => Ok(Ok(answer.map(|incoming| Answer::by(self, incoming)))),
            Err(mut error) => match error.take_message() {
                Some(unsent) => Err(Box::new(unsent)),
                None => Ok(Err(CallError::Broken(error.into_error()))),
            },
        }
    }
}

/// The target without its origin (RFC 9112 §3.2.1).
fn origin_form(target: &Uri) -> Uri {
    target.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")).into()
}

fn closed() -> CallError {
    CallError::Connect("the connection was closed as soon as it was open".into())
}

/// Shorter than the keep-alive of common servers (Node closes after 5 s): a request that meets the close on its way is lost, and
/// may not be sent twice.
const IDLE: Duration = Duration::from_secs(4);
/// Finds dead HTTP/2 connections before a call waits on one.
const HTTP2_PING: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests;
