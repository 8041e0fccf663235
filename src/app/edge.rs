//! What stands before all frontends: gives a request its name, finds out who called and whom for, and has that frontend answer.
//!
//! Calls on proxied routes go straight to the proxy, past the router that leads to endpoints and files: they are nearly all there is.

use std::fmt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use axum::body::{Body, Bytes};
use axum::extract::ConnectInfo;
use axum::response::Response;
use axum::{BoxError, Router};
use http::Request;
use hyper::body::Incoming;
use tokio_util::sync::DropGuard;
use tower::ServiceExt as _;

use crate::Error;
use crate::frontend::{Frontend, FrontendTable, Selected};
use crate::guard::access_log::Entry;
use crate::guard::head::HeadLimits;
use crate::guard::in_flight::InFlight;
use crate::guard::session::Brought;
use crate::guard::{extended_connect, forwarded};
use crate::proxy::{ClientHops, Peer, Scheme, Upgrades};
use crate::respond::{self, RequestKind};
use crate::routes;
use crate::server::{Answer, Sender};
use crate::store::SessionKey;

/// See the module.
pub(super) struct Edge {
    pub(super) frontends: FrontendTable<Site>,
    pub(super) trusted: Arc<[ipnet::IpNet]>,
    /// For requests that are no frontend's.
    pub(super) voice: respond::Voice,
    pub(super) upgrades: Upgrades,
    pub(super) head_limits: HeadLimits,
    pub(super) in_flight: Arc<InFlight>,
    /// Expired rows are removed, others are told that the store is in use, and its signals are heard, as long as anybody is served.
    pub(super) _serving: DropGuard,
}

/// A frontend and what answers for it.
pub(super) struct Site {
    pub(super) frontend: Frontend,
    /// Endpoints, an embedder's handlers, files; and calls on routes, where a handler may stand before one.
    pub(super) router: Router,
    pub(super) has_handlers: bool,
}

impl Edge {
    /// Answers a request, whatever it is, and logs it.
    pub(super) async fn answer<B>(self: Arc<Self>, peer: Option<Peer>, request: Request<B>) -> Response
    where
        B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let (entry, kind) = (Entry::begin(&request), RequestKind::of(&request));
        // Nothing that outlives the request is left half changed: shared state changes in single steps. What it panicked with is the
        // panic hook's to tell, never the browser's.
        let mut answered = pin!(self.answered(peer, kind, &entry, request));
        let caught = poll_fn(|cx| {
            let polled = catch_unwind(AssertUnwindSafe(|| answered.as_mut().poll(cx)));
            polled.unwrap_or(Poll::Ready(Err(Error::Internal("a handler panicked"))))
        });
        let answered = caught.await;
        let (answer, of) = answered.unwrap_or_else(|error| (respond::told(error, kind, &self.voice, entry.id()), None));
        entry.end(answer, of)
    }

    /// Also answers whose request it was, and which session it brought. Futures are large: here and on the rest of a call's way they are
    /// pinned where they are made (`pin!`), because a plain `.await` moves them once more.
    async fn answered<B>(
        &self,
        peer: Option<Peer>,
        kind: RequestKind,
        entry: &Entry,
        mut request: Request<B>,
    ) -> Result<(Response, Option<Whose<'_>>), Error>
    where
        B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let place = self.in_flight.enter()?;
        self.head_limits.check(&request)?;
        let peer = peer.ok_or(Error::Internal("the listener does not say who called"))?;
        let hops = forwarded::resolve(peer, &request, &self.trusted);
        let site = match self.frontends.select(hops.host(), request.uri().path()) {
            Selected::Frontend(site) => site,
            Selected::NoPath => return Err(Error::RouteNotFound),
            Selected::NoHost => return Err(Error::MisdirectedRequest),
        };
        let frontend = &site.frontend;
        let is_extended_connect = extended_connect::translate(&mut request);
        let brought = Brought::of(frontend, request.headers());
        let session = brought.session();
        let answer = if !site.has_handlers && routes::is_call(frontend, request.uri().path()) {
            let answer = pin!(routes::call(frontend, &self.upgrades, &hops, brought.id(), request)).await;
            answer.map(|answer| answer.map(|body| Body::new(place.until_end_of(body))))
        } else {
            let answer = Box::pin(site.answer(hops, &brought, entry, request)).await;
            Ok(answer.map(|body| Body::new(place.until_end_of(body))))
        };
        let answer = answer.unwrap_or_else(|error| respond::told(error, kind, frontend.voice(), entry.id()));
        let answer = if is_extended_connect { extended_connect::translated(answer) } else { answer };
        Ok((brought.finish(answer), Some((frontend, session))))
    }
}

/// The frontend that a request was for, and the session it brought.
type Whose<'s> = (&'s Frontend, Option<SessionKey>);

impl Site {
    async fn answer<B>(&self, hops: ClientHops, brought: &Brought, entry: &Entry, mut request: Request<B>) -> Response
    where
        B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        brought.attach(&self.frontend, &mut request);
        request.extensions_mut().insert(hops);
        request.extensions_mut().insert(entry.id());
        self.router.clone().oneshot(request.map(Body::new)).await.unwrap_or_else(|never| match never {})
    }
}

impl fmt::Debug for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.frontends.iter().map(|site| site.frontend.id())).finish()
    }
}

impl Answer for Arc<Edge> {
    fn answer(self, sender: Sender, request: Request<Incoming>) -> impl Future<Output = Response> + Send {
        let peer = match sender {
            Sender::Peer(peer) => Some(peer),
            #[cfg(unix)]
            Sender::OverSocket => None,
        };
        Edge::answer(self, peer, request)
    }

    async fn end(&self) {
        self.upgrades.close().await;
    }
}

/// Who called, as an embedder's listener says.
pub(super) fn peer_of<B>(request: &Request<B>) -> Option<Peer> {
    let info = request.extensions().get::<ConnectInfo<SocketAddr>>()?;
    Some(Peer { address: info.0, scheme: Scheme::Http })
}
