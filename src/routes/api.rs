//! Everything that is no endpoint of ours: a call on a proxied route, or a file of the SPA.

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;

use crate::Error;
use crate::frontend::Frontend;
use crate::guard::csrf::{self, Class};
use crate::guard::session::SessionRef;
use crate::proxy::{self, ClientHops, ForwardContext, Refusal, Upgrades};
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
    let context = ForwardContext {
        hops: &hops,
        csrf_header: &frontend.options().csrf_header,
        own_cookies: frontend.cookies().own_prefixes(),
        upgrades: &upgrades,
        session: None,
    };
    if !frontend.routes().owns(request.uri().path()) {
        return asset(&frontend, request, &context).await;
    }
    let route = frontend.routes().find(request.uri().path(), request.method())?;
    let options = route.options();
    Class::of_route(&options.csrf, request.method(), request.headers()).check(request.headers(), frontend.proof())?;
    let grant = frontend.tokens().grant(session.0, options.token, options.session_required, route.demand()).await?;
    let used = session.0.filter(|_| options.token != TokenPolicy::None || options.session_required);
    let used = used.map(|id| UsedSession::new(frontend.sessions(), id));
    let context = ForwardContext { session: used.as_ref(), ..context };
    let answer = proxy::forward(route, request, &grant, &context).await?;
    if let (Grant::Bearer(_), Some(id), Some(refusal)) = (&grant, session.0, proxy::refusal(&answer)) {
        refused(&frontend, id, &grant, refusal).await?;
    }
    Ok(answer.map(Body::new))
}

/// The API does not take the token it was given.
///
/// # Errors
/// The session's login is not enough for it: then this is what the page is told.
async fn refused(frontend: &Frontend, id: SessionId, grant: &Grant, refusal: Refusal) -> Result<(), Error> {
    match refusal {
        Refusal::Token => {
            // The refusal goes to the page all the same, after the renewal: when the page tries again, the newer token is there.
            let _ = frontend.tokens().instead_of(grant, id).await;
            Ok(())
        }
        Refusal::Authentication(demand) => {
            let loaded = frontend.sessions().load(id).await?.ok_or(Error::SessionExpired)?;
            Err(Error::StepUpRequired { step_up: frontend.sessions().step_up(&loaded.user, demand) })
        }
    }
}

async fn asset(frontend: &Frontend, request: Request, context: &ForwardContext<'_>) -> Result<Response, Error> {
    let assets = frontend.assets().ok_or(Error::RouteNotFound)?;
    // A development server tells its WebSocket what the sources are.
    if csrf::is_websocket(request.headers()) {
        Class::WebSocket.check(request.headers(), frontend.proof())?;
    }
    Ok(assets.serve(request, context).await?.map(Body::new))
}
