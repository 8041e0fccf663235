//! `POST /bff/backchannel-logout`: the provider tells that it has logged somebody out (OIDC Back-Channel Logout 1.0 §2.5 to §2.8).
//! No cookie, no proof of our page: the signature is the authority.

use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use serde::Serialize;
use url::form_urlencoded;

use super::whole;
use crate::Error;
use crate::frontend::Frontend;
use crate::oidc;
use crate::secret::Secret;

/// 200 with an empty body, also for a session that nobody knows and for a token that came before. 400 for a token that is not believed,
/// 503 if store or keys are not at hand: then nobody knows, and the provider may try again.
pub(super) async fn post(State(frontend): State<Frontend>, request: Request) -> Result<Response, Error> {
    let token = match token(request).await {
        Ok(token) => token,
        Err(why) => return Ok(refused(&frontend, why)),
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

/// The `logout_token` of a form (§2.5), or why there is none. Other parameters are ignored, as the specification asks.
async fn token(request: Request) -> Result<Secret<String>, &'static str> {
    if !is_form(request.headers()) {
        return Err("the body is not a form");
    }
    let form = whole(request.into_body(), LARGEST).await.map_err(|error| match error {
        Error::BodyTooLarge => "the body is too large, or broke off",
        _ => "the body did not come in time",
    })?;
    let mut tokens = form_urlencoded::parse(&form).filter(|(name, _)| name == "logout_token");
    match (tokens.next(), tokens.next()) {
        (Some((_, token)), None) => Ok(Secret::new(token.into_owned())),
        (None, _) => Err("there is no logout_token"),
        (Some(_), Some(_)) => Err("there is more than one logout_token"),
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    media_type.eq_ignore_ascii_case("application/x-www-form-urlencoded")
}

/// §2.8: the error format of RFC 6749 §5.2. The reason is for the log alone.
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
