//! `POST /bff/backchannel-logout`: the provider tells that it has logged somebody out (OIDC Back-Channel Logout 1.0 §2.5 to §2.8).
//! No cookie, no proof of our page: the signature is the authority.

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde::Serialize;
use url::form_urlencoded;

use super::whole;
use crate::Error;
use crate::frontend::Frontend;
use crate::oidc;

/// 200 with an empty body, also for a session that nobody knows and for a token that came before. 400 for a token that is not believed,
/// 503 if store or keys are not at hand, so that the provider tries again.
pub(super) async fn post(State(frontend): State<Frontend>, request: Request) -> Result<Response, Error> {
    let Some(token) = token(request.into_body()).await else {
        return Ok(refused(&frontend, "it is not a form with one logout_token"));
    };
    let token = match frontend.relying_party().check_logout_token(&token).await {
        Ok(token) => token,
        Err(error @ oidc::Error::LogoutToken(_)) => return Ok(refused(&frontend, &error.to_string())),
        Err(error) => return Err(error.into()),
    };
    let of = frontend.clone();
    // A provider that hangs up must not leave some of the sessions alive.
    let ended = frontend.see_through(async move { of.sessions().end_by_provider(&token).await }).await;
    let ended = ended.ok_or(Error::Internal("a logout panicked"))??;
    tracing::info!(frontend = frontend.id(), sessions = ended, "the provider logged somebody out");
    Ok(StatusCode::OK.into_response())
}

/// The `logout_token` of a form (§2.5): exactly one.
async fn token(body: Body) -> Option<String> {
    let form = whole(body, LARGEST).await.ok()?;
    let mut tokens = form_urlencoded::parse(&form).filter(|(name, _)| name == "logout_token");
    let (_, token) = tokens.next()?;
    tokens.next().is_none().then(|| token.into_owned())
}

/// §2.8: the error format of RFC 6749 §5.2.
fn refused(frontend: &Frontend, why: &str) -> Response {
    #[derive(Serialize)]
    struct Refusal {
        error: &'static str,
    }
    tracing::warn!(frontend = frontend.id(), why, "a logout token was refused");
    (StatusCode::BAD_REQUEST, Json(Refusal { error: "invalid_request" })).into_response()
}

/// A logout token is a few hundred bytes.
const LARGEST: usize = 16 << 10;
