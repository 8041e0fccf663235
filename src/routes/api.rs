//! Everything that is no endpoint of ours: a call on a proxied route, or a file of the SPA.

use std::pin::pin;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use axum::{BoxError, Extension};

use crate::Error;
use crate::frontend::Frontend;
use crate::guard::csrf::{self, Class};
use crate::guard::session::SessionRef;
use crate::metric::{self, Replay};
use crate::oidc::Demand;
use crate::proxy::{self, ClientHops, ForwardContext, Forwarded, Refusal, Refused, ResponseBody, Upgrades};
use crate::session::UsedSession;
use crate::store::SessionId;
use crate::tokens::{Grant, TokenPolicy};

pub(super) async fn any(
    State(frontend): State<Frontend>,
    Extension(hops): Extension<ClientHops>,
    Extension(upgrades): Extension<Upgrades>,
    session: SessionRef,
    request: Request,
) -> Result<Response, Error> {
    if is_call(&frontend, request.uri().path()) {
        return Ok(call(&frontend, &upgrades, &hops, session, request).await?.map(Body::new));
    }
    Box::pin(asset(&frontend, request, &context(&frontend, &upgrades, &hops))).await
}

/// Whether a request on this path is a call on a route.
pub(crate) fn is_call(frontend: &Frontend, path: &str) -> bool {
    let is_ours = path.strip_prefix(frontend.base_path()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    !is_ours && frontend.routes().owns(path)
}

/// Makes a call on a route.
///
/// # Errors
/// Whatever keeps it from being made, or from being answered.
pub(crate) async fn call<B>(
    frontend: &Frontend,
    upgrades: &Upgrades,
    hops: &ClientHops,
    session: SessionRef,
    request: http::Request<B>,
) -> Result<http::Response<ResponseBody>, Error>
where
    B: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let route = frontend.routes().find(request.uri().path(), request.method())?;
    let options = route.options();
    Class::of_route(&options.csrf, request.method(), request.headers()).check(request.headers(), frontend.proof())?;
    let grant =
        pin!(frontend.tokens().grant(session.0, options.token, options.session_required, route.demand())).await?;
    let used = session.0.filter(|_| options.token != TokenPolicy::None || options.session_required);
    let used = used.map(|id| UsedSession::new(frontend.sessions(), id));
    let context = ForwardContext { session: used.as_ref(), ..context(frontend, upgrades, hops) };
    let answer = match (pin!(proxy::forward(route, request, &grant, &context)).await?, session.0) {
        (Forwarded::Refused(call), Some(id)) => Box::pin(refused(frontend, id, &grant, *call)).await?,
        (forwarded, _) => forwarded.into_answer(),
    };
    Ok(answer)
}

/// The API does not take the token it was given. Answers what it says to another one, if there is one and the call can be sent again.
///
/// # Errors
/// As [`demanded`], and whatever keeps the call from being answered the second time.
async fn refused(
    frontend: &Frontend,
    id: SessionId,
    used: &Grant,
    call: Refused<'_>,
) -> Result<http::Response<ResponseBody>, Error> {
    let Refused { mut answer, mut refusal, again } = call;
    if refusal == Refusal::Token {
        // Also for a call that cannot be sent again: when the page tries again, the newer token is there. Whatever keeps us from having
        // one, the API has refused this call, and that is what the page is told.
        let newer = frontend.tokens().instead_of(used, id).await.ok().flatten();
        let (Some(newer), Some(again)) = (newer, again) else { return Ok(answer) };
        let second = again.send(&newer, answer).await;
        let says = second.as_ref().map(proxy::refusal);
        let outcome = match &says {
            Ok(Some(Refusal::Token)) => Replay::Refused,
            Ok(_) => Replay::Accepted,
            Err(_) => Replay::Failed,
        };
        metric::replayed(frontend.id(), outcome);
        let Ok(Some(refused_again)) = says else { return Ok(second?) };
        (answer, refusal) = (second?, refused_again);
    }
    if let Refusal::Authentication(demand) = refusal {
        demanded(frontend, id, demand).await?;
    }
    Ok(answer)
}

/// The API demands another login than the session's.
///
/// # Errors
/// `StepUpRequired`: then this is what the page is told. An API that demands what it has been given already is left to speak for itself:
/// otherwise the page would have people log in again and again.
async fn demanded(frontend: &Frontend, id: SessionId, demand: Demand) -> Result<(), Error> {
    let sessions = frontend.sessions();
    let loaded = sessions.load(id).await?.ok_or(Error::SessionExpired)?;
    if sessions.meets_for_sure(&loaded.user, &demand) {
        return Ok(());
    }
    Err(Error::StepUpRequired { step_up: sessions.step_up(&loaded.user, demand) })
}

async fn asset(frontend: &Frontend, request: Request, context: &ForwardContext<'_>) -> Result<Response, Error> {
    let assets = frontend.assets().ok_or(Error::RouteNotFound)?;
    // A development server tells its WebSocket what the sources are.
    if csrf::is_websocket(request.headers()) {
        Class::WebSocket.check(request.headers(), frontend.proof())?;
    }
    Ok(assets.serve(request, context).await?.map(Body::new))
}

fn context<'a>(frontend: &'a Frontend, upgrades: &'a Upgrades, hops: &'a ClientHops) -> ForwardContext<'a> {
    ForwardContext {
        hops,
        csrf_header: &frontend.options().csrf_header,
        own_cookies: frontend.cookies().own_prefixes(),
        upgrades,
        session: None,
    }
}
