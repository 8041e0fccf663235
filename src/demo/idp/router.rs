//! The provider's table of paths, and the outages that befall an endpoint as a whole.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{Html, IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use http::{HeaderValue, StatusCode, header};

use super::{Inner, authorize, calls, discovery, end_session, login, token, userinfo};
use crate::demo::faults::{Endpoint, Fault, Outage};
use crate::demo::listening::HangUp;

pub(super) fn router(inner: Arc<Inner>) -> Router {
    Router::new()
        .route("/.well-known/openid-configuration", get(discovery::configuration))
        .route("/jwks", get(discovery::jwks))
        .route("/authorize", get(authorize::get).post(authorize::post))
        .route("/login", post(login::post))
        .route("/second-factor", post(login::post_second_factor))
        .route("/token", post(token::post))
        .route("/revoke", post(token::revoke))
        .route("/userinfo", get(userinfo::any).post(userinfo::any))
        .route("/end_session", get(end_session::get).post(end_session::post))
        .route("/redirected", axum::routing::any(|| async { StatusCode::IM_A_TEAPOT }))
        .layer(middleware::from_fn_with_state(Arc::clone(&inner), outages))
        .layer(middleware::from_fn_with_state(Arc::clone(&inner), calls::record))
        .layer(middleware::map_response(uncached))
        .with_state(inner)
}

/// Codes, tokens and login pages are for one answer only (RFC 6749 §5.1).
async fn uncached(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

async fn outages(
    State(inner): State<Arc<Inner>>,
    Extension(hang_up): Extension<HangUp>,
    request: Request,
    next: Next,
) -> Response {
    let endpoint = Endpoint::at(request.uri().path());
    let outage = endpoint.and_then(|endpoint| inner.faults.outage(endpoint));
    match outage {
        None => next.run(request).await,
        Some(Outage::ServerError) => (StatusCode::INTERNAL_SERVER_ERROR, Html("<h1>oops</h1>")).into_response(),
        Some(Outage::NotFound) => StatusCode::NOT_FOUND.into_response(),
        Some(Outage::Garbage) => json_body(Body::from("{\"issuer\": tru")),
        Some(Outage::TooLarge) => json_body(Body::from(vec![b' '; TOO_LARGE])),
        Some(Outage::Redirect) => (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, "/redirected")]).into_response(),
        Some(Outage::Hang) => std::future::pending().await,
        Some(held @ Outage::Held) => {
            let answer = next.run(request).await;
            if let Some(endpoint) = endpoint {
                inner.faults.cleared(Fault::Endpoint(endpoint, held)).await;
            }
            answer
        }
        Some(Outage::Closed) => match hang_up.now().await {},
        Some(Outage::AnswerLost) => {
            next.run(request).await;
            match hang_up.now().await {}
        }
    }
}

fn json_body(body: Body) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

const TOO_LARGE: usize = 16 * 1024 * 1024;
