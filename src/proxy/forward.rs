//! One call: a browser's request in, the upstream's answer out, both as streams.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body;
use http_body_util::Empty;
use tokio::time::Instant;

use super::body::{self, Keep, Phase, RequestBody, ResponseBody, Upload};
use super::challenge::{self, Refusal};
use super::client::{Answer, CallError, Stage, Versions};
use super::error::Error;
use super::hops::ClientHops;
use super::replay::{Again, Forwarded, Head, Refused};
use super::route::{Route, RouteOptions, WorkerScripts};
use super::upgrade::{self, Handshake, Upgrades};
use super::{headers, path};
use crate::session::UsedSession;
use crate::tokens::Grant;

/// What a call needs to know of the frontend and connection it came in by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ForwardContext<'a> {
    /// Who called.
    pub(crate) hops: &'a ClientHops,
    /// The header that proves to us that a call comes from our page.
    pub(crate) csrf_header: &'a HeaderName,
    /// How the names of our cookies start, of every frontend on this host.
    pub(crate) own_cookies: &'a [String],
    /// Where open WebSockets are kept.
    pub(crate) upgrades: &'a Upgrades,
    /// What the answer may not outlast, if the call used one.
    pub(crate) session: Option<&'a UsedSession>,
}

/// Sends a request to the route's upstream and gives back its answer as it streams in; with the call, if the answer refuses its
/// token. The request has passed every check of the edge, and `route` was found for its path and method. Dropping the future or the
/// answer's body cancels the call.
///
/// Redirects are relayed, never followed. A WebSocket is joined in a task of `context.upgrades`.
///
/// # Errors
/// Before anything is sent: `MethodNotAllowed` (CONNECT, TRACE), `WorkerScriptRefused`, `PathRejected`, `BodyTooLarge` (declared).
/// Afterwards: `BodyTooLarge` (streamed), `RequestInterrupted`, `UpstreamUnavailable`, `UpstreamTimeout`, `UpstreamBusy`. What breaks after the
/// answer's head is an error of its body.
pub(crate) async fn forward<'a, B>(
    route: &'a Route,
    request: Request<B>,
    grant: &Grant,
    context: &'a ForwardContext<'a>,
) -> Result<Forwarded<'a>, Error>
where
    B: Body<Data = Bytes> + Send + 'static,
{
    if body::claims_to_be_empty(request.body()) {
        let (parts, body) = request.into_parts();
        body::proved_empty(body, route.options.idle_timeout).await.map_err(|_| Error::RequestInterrupted)?;
        let request = Request::from_parts(parts, Empty::<Bytes>::new());
        return Box::pin(send(route, request, grant, context)).await;
    }
    send(route, request, grant, context).await
}

async fn send<'a, B>(
    route: &'a Route,
    mut request: Request<B>,
    grant: &Grant,
    context: &'a ForwardContext<'a>,
) -> Result<Forwarded<'a>, Error>
where
    B: Body<Data = Bytes> + Send + 'static,
{
    check(route, &request)?;
    let handshake = upgrade::asked(&mut request);
    let keep = if matches!(grant, Grant::None) { Keep::Nothing } else { Keep::UntilAnswered };
    let (mut outgoing, upload) = outgoing(route, request, keep, context)?;
    if handshake.is_some() {
        upgrade::announce(outgoing.headers_mut());
    }
    let kept = (keep == Keep::UntilAnswered).then(|| Head::of(&outgoing));
    grant.attach(outgoing.headers_mut());
    let mut call = Call { route, context, asked: outgoing.uri().clone(), handshake };
    let stage = Stage::new();
    let exchange = pin!(route.upstream.connections.call(outgoing, call.versions(), &stage));
    let answer = head(exchange, &stage, upload.as_ref(), route).await?;
    let answer = call.answered(answer)?;
    Ok(call.settled(answer, kept, upload.as_deref()))
}

/// Where a call goes, and how what comes back becomes our answer.
pub(super) struct Call<'a> {
    pub(super) route: &'a Route,
    /// The upstream's address for it.
    pub(super) asked: Uri,
    context: &'a ForwardContext<'a>,
    /// The browser's end, until it is joined.
    handshake: Option<Handshake>,
}

impl<'a> Call<'a> {
    /// Which connections it may use.
    pub(super) fn versions(&self) -> Versions {
        if self.handshake.is_some() { Versions::Http1 } else { Versions::Any }
    }

    /// Makes the upstream's answer ours.
    pub(super) fn answered(&mut self, mut answer: Response<Answer>) -> Result<Response<ResponseBody>, Error> {
        let (context, options) = (self.context, &self.route.options);
        if !headers::knows_the_coding(answer.headers()) {
            return Err(Error::UpstreamUnavailable { cause: "its answer has an unknown transfer coding".to_owned() });
        }
        if answer.status() == StatusCode::NO_CONTENT {
            // RFC 9110 §8.6: without a body there is no length either.
            answer.headers_mut().remove(header::CONTENT_LENGTH);
        }
        headers::returning(answer.headers_mut(), self.route, context.own_cookies, &self.asked);
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            switch(&mut answer, self.handshake.take(), options.idle_timeout, context)?;
        }
        *answer.version_mut() = Version::HTTP_11;
        answer.extensions_mut().clear();
        Ok(answer.map(|answer| ResponseBody::new(answer, options.idle_timeout, context.session)))
    }

    /// Frees what was kept for a second try, if there will not be one.
    fn settled(self, answer: Response<ResponseBody>, kept: Option<Head>, upload: Option<&Upload>) -> Forwarded<'a> {
        let Some((head, refusal)) = kept.and_then(|head| Some((head, challenge::refusal(&answer)?))) else {
            if let Some(upload) = upload {
                upload.keep_no_longer();
            }
            return Forwarded::Answered(answer);
        };
        let body = upload.map_or_else(|| Some(Bytes::new()), Upload::take_kept);
        let body = body.filter(|_| refusal == Refusal::Token);
        let again = body.map(|body| Again { call: self, head, body });
        Forwarded::Refused(Box::new(Refused { answer, refusal, again }))
    }
}

fn check<B>(route: &Route, request: &Request<B>) -> Result<(), Error> {
    if !route.allows(request.method()) {
        return Err(Error::MethodNotAllowed { allow: route.allow().clone() });
    }
    if route.worker_scripts == WorkerScripts::Refuse && is_worker_script(request.headers()) {
        return Err(Error::WorkerScriptRefused);
    }
    Ok(())
}

/// Whether the browser would run the answer as a worker of our origin (Service Workers §4, Fetch §2.2.5 destinations).
fn is_worker_script(headers: &HeaderMap) -> bool {
    let says = |name: HeaderName, words: &[&[u8]]| {
        headers.get_all(name).iter().any(|value| words.iter().any(|word| value.as_bytes().eq_ignore_ascii_case(word)))
    };
    says(SERVICE_WORKER, &[b"script"]) || says(SEC_FETCH_DEST, &[b"serviceworker", b"sharedworker", b"worker"])
}

/// The request as the upstream sees it, all but its token, and the eye on its body.
fn outgoing<B>(
    route: &Route,
    request: Request<B>,
    keep: Keep,
    context: &ForwardContext<'_>,
) -> Result<(Request<RequestBody>, Option<Arc<Upload>>), Error>
where
    B: Body<Data = Bytes> + Send + 'static,
{
    let options = &route.options;
    let (parts, body) = request.into_parts();
    let uri = route
        .upstream
        .join(&options.path, parts.uri.path(), parts.uri.query())
        .map_err(|path::PathRejected| Error::PathRejected)?;
    let (body, upload) = RequestBody::new(body, options.max_body, options.idle_timeout, keep)
        .ok_or(Error::BodyTooLarge { limit: options.max_body })?;
    let declares_length = parts.headers.contains_key(header::CONTENT_LENGTH);
    let mut outgoing = Request::new(body);
    *outgoing.method_mut() = parts.method;
    *outgoing.uri_mut() = uri;
    *outgoing.headers_mut() = parts.headers;
    headers::outgoing(outgoing.headers_mut(), route, context);
    frame(&mut outgoing, declares_length);
    Ok((outgoing, upload))
}

/// Declares the length of the body as it was read, not as the browser's headers said: two lengths are how requests are smuggled.
fn frame(request: &mut Request<RequestBody>, declares_length: bool) {
    let Some(length) = request.body().size_hint().exact() else { return };
    let expects_length = [Method::POST, Method::PUT, Method::PATCH].contains(request.method());
    if length > 0 || declares_length || expects_length {
        request.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
}

/// Waits for the answer's head. The route's timeout counts from the end of the upload; while a body is on its way each piece has
/// the idle timeout.
pub(super) async fn head(
    mut call: Pin<&mut impl Future<Output = Result<Response<Answer>, CallError>>>,
    stage: &Stage,
    upload: Option<&Arc<Upload>>,
    route: &Route,
) -> Result<Response<Answer>, Error> {
    let options = &route.options;
    let started = Instant::now();
    loop {
        let (phase, since) = upload.map_or((Phase::Sent, started), |upload| upload.phase());
        let limit = match phase {
            Phase::AwaitingBrowser | Phase::AwaitingUpstream => options.idle_timeout,
            Phase::Unsent | Phase::Sent | Phase::Interrupted | Phase::TooLarge => options.timeout,
        };
        let deadline = since + limit;
        let outcome = tokio::time::timeout_at(deadline, call.as_mut()).await;
        let phase_now = upload.map_or((Phase::Sent, started), |upload| upload.phase());
        match outcome {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => return Err(broken(phase_now.0, &error, options)),
            Err(_) if phase_now != (phase, since) => {}
            Err(_) if phase == Phase::AwaitingBrowser => return Err(Error::RequestInterrupted),
            Err(_) => return Err(broken(phase, &route.upstream.connections.gave_up(stage), options)),
        }
    }
}

fn broken(phase: Phase, error: &CallError, options: &RouteOptions) -> Error {
    match phase {
        Phase::TooLarge => Error::BodyTooLarge { limit: options.max_body },
        Phase::Interrupted => Error::RequestInterrupted,
        Phase::Unsent | Phase::AwaitingBrowser | Phase::AwaitingUpstream | Phase::Sent => match error {
            CallError::Busy => Error::UpstreamBusy,
            CallError::Late => Error::UpstreamTimeout,
            CallError::Connect(_) | CallError::Refused(_) | CallError::Broken(_) | CallError::Down(_) => {
                Error::unavailable(error)
            }
        },
    }
}

/// Joins both ends of a WebSocket.
fn switch(
    answer: &mut Response<Answer>,
    handshake: Option<Handshake>,
    idle_timeout: Duration,
    context: &ForwardContext<'_>,
) -> Result<(), Error> {
    let Some(browser) = handshake.and_then(|handshake| handshake.accepted(answer.headers())) else {
        return Err(Error::UpstreamUnavailable { cause: "it switched protocols and was not asked to".to_owned() });
    };
    let upstream = hyper::upgrade::on(&mut *answer);
    context.upgrades.join(browser, upstream, idle_timeout, context.session.cloned());
    upgrade::announce(answer.headers_mut());
    Ok(())
}

const SERVICE_WORKER: HeaderName = HeaderName::from_static("service-worker");
const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

#[cfg(test)]
mod tests;
