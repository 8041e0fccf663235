//! One file per endpoint, one function per method. A handler parses the request, calls one verb, and shapes the answer.

mod admin_sessions;
mod api;
mod backchannel_logout;
mod callback;
mod events;
mod frontchannel_logout;
mod health;
mod logged_out;
mod login;
mod logout;
mod module;
mod problems;
mod sessions;
mod user;

use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{MethodRouter, delete, get, post};
use http::{HeaderValue, StatusCode, header};
use tokio_util::sync::CancellationToken;

pub(crate) use api::{call, is_call};
pub(crate) use health::{Operators, Readiness, admin};

use crate::Error;
use crate::frontend::Frontend;
use crate::guard;
use crate::guard::csrf::Class;
use crate::guard::rate::{Allowance, Limited};
use crate::metric::Limit;
use crate::proxy::Upgrades;
use crate::respond;
use crate::session::ReturnTo;

/// Everything one frontend answers. `handlers` are an embedder's; every call of them is of the class *data*.
/// Once `stopping`, nothing is kept open that has no end of its own.
pub(crate) fn frontend(
    frontend: &Frontend,
    upgrades: &Upgrades,
    stopping: &CancellationToken,
    logins: &LoginLimits,
    handlers: Router,
) -> Router {
    let base = frontend.base_path();
    let own = frontchannel_logout(frontend)
        .route(&format!("{base}/login"), login(logins))
        .route(&format!("{base}/callback"), callback(logins))
        .route(&format!("{base}/user"), only("GET, HEAD", get(user::get)))
        .route(&format!("{base}/events"), events(stopping))
        .route(&format!("{base}/sessions"), sessions())
        .route(&format!("{base}/sessions/{{tag}}"), only("DELETE", delete(sessions::delete)))
        .route(&format!("{base}/logout"), only("GET, POST", get(logout::get).post(logout::post)))
        .route(&format!("{base}/backchannel-logout"), only("POST", post(backchannel_logout::post)))
        .route(&format!("{base}/cloakroom.js"), module::script(&frontend.options().csrf_header))
        .route(&format!("{base}/cloakroom.d.ts"), module::types())
        .route(&format!("{base}/logged-out"), only("GET, HEAD", get(logged_out::get)))
        .route(&format!("{base}/problems/{{slug}}"), only("GET, HEAD", get(problems::get)))
        .route(base, axum::routing::any(nothing))
        .route(&format!("{base}/"), axum::routing::any(nothing))
        .route(&format!("{base}/{{*rest}}"), axum::routing::any(nothing))
        .layer(from_fn(guard::headers::own));
    let handlers = handlers.layer(from_fn_with_state(frontend.clone(), data));
    own.merge(handlers.with_state(()))
        .fallback(api::any)
        .layer(from_fn_with_state(frontend.voice().clone(), respond::render))
        .layer(axum::Extension(frontend.clone()))
        .layer(axum::Extension(upgrades.clone()))
        .with_state(frontend.clone())
}

/// How often one client may begin to log in, and come back from the provider, counted apart and for all frontends together.
#[derive(Clone, Debug)]
pub(crate) struct LoginLimits {
    begin: Limited,
    come_back: Limited,
}

impl LoginLimits {
    /// Without an allowance there is no limit.
    pub(crate) fn new(allowance: Option<Allowance>) -> Self {
        let limited = || Limited::new(Limit::LoginRate, allowance);
        Self { begin: limited(), come_back: limited() }
    }
}

fn login(limits: &LoginLimits) -> MethodRouter<Frontend> {
    only("GET, POST", get(login::get).post(login::post)).layer(axum::Extension(limits.begin.clone()))
}

fn callback(limits: &LoginLimits) -> MethodRouter<Frontend> {
    only("GET, POST", get(callback::get).post(callback::post)).layer(axum::Extension(limits.come_back.clone()))
}

/// Not there unless it was asked for: like any path that leads nowhere.
fn frontchannel_logout(frontend: &Frontend) -> Router<Frontend> {
    if !frontend.options().frontchannel_logout {
        return Router::new();
    }
    let limited = Limited::new(Limit::FrontchannelLogoutRate, Some(frontchannel_logout::ALLOWANCE));
    let endpoint = only("GET", get(frontchannel_logout::get)).layer(axum::Extension(limited));
    Router::new().route(&format!("{}/frontchannel-logout", frontend.base_path()), endpoint)
}

fn events(stopping: &CancellationToken) -> MethodRouter<Frontend> {
    only("GET, HEAD", get(events::get)).layer(axum::Extension(events::Stopping(stopping.clone())))
}

fn sessions() -> MethodRouter<Frontend> {
    only("GET, HEAD, DELETE", get(sessions::get).delete(sessions::delete_others))
}

/// Other methods are 405 with this `Allow`. It names HEAD only where a HEAD is answered like the GET; the others refuse it.
fn only(allow: &'static str, methods: MethodRouter<Frontend>) -> MethodRouter<Frontend> {
    methods.fallback(move || async move { Error::MethodNotAllowed { allow: HeaderValue::from_static(allow) } })
}

/// Lets through what proves to come from our page.
async fn data(State(frontend): State<Frontend>, request: Request, next: Next) -> Result<Response, Error> {
    Class::Data.check(request.headers(), frontend.proof())?;
    Ok(next.run(request).await)
}

async fn nothing(_: Request) -> Error {
    Error::RouteNotFound
}

/// The whole body of a form. A server that waited for the rest for ever would be held up by whoever never sends it.
///
/// # Errors
/// `BodyTooLarge`, also if it broke off; `RequestInterrupted`.
async fn whole(body: Body, largest: usize) -> Result<Bytes, Error> {
    let read = tokio::time::timeout(FORM_TIME, to_bytes(body, largest)).await;
    read.map_err(|_| Error::RequestInterrupted)?.map_err(|_| Error::BodyTooLarge)
}

/// `303` to a place that may hold what no log should.
fn see_other(location: &str) -> Result<Response, Error> {
    let mut location = HeaderValue::try_from(location).map_err(|_| Error::Internal("a location is not plain ASCII"))?;
    location.set_sensitive(true);
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SEE_OTHER;
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

/// `303` to a checked place on the frontend.
fn see_other_here(frontend: &Frontend, place: &ReturnTo) -> Result<Response, Error> {
    see_other(&place.absolute(frontend.url()))
}

/// Forms are small.
const FORM_TIME: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_form_that_never_ends_is_given_up() {
        let pieces = stream::once(async { Ok::<_, std::io::Error>("state=") });
        let body = Body::from_stream(futures_util::StreamExt::chain(pieces, stream::pending()));
        assert!(matches!(whole(body, 1024).await, Err(Error::RequestInterrupted)));
        assert!(matches!(whole(Body::from("12345"), 4).await, Err(Error::BodyTooLarge)));
        assert_eq!(whole(Body::from("1234"), 4).await.ok().as_deref(), Some(&b"1234"[..]));
    }
}
