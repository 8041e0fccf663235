//! `POST /bff/logout` and the `sid` link: end our session, have the newest refresh token forgotten, and go on to the provider's.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, header};
use serde::{Deserialize, Serialize};
use url::form_urlencoded;

use super::{see_other, see_other_here};
use crate::Error;
use crate::clock::Timestamp;
use crate::frontend::Frontend;
use crate::guard::csrf::{self, Class};
use crate::guard::session::SessionRef;
use crate::metric;
use crate::secret::{self, Secret, exposed};
use crate::store::{self, Reason};

/// With the custom header it is a call and is answered in JSON, where no token may be: the provider's URL waits behind a one-time
/// handle. Without it it is a form, and goes there at once; a script that forgot the header does not.
pub(super) async fn post(
    State(frontend): State<Frontend>,
    session: SessionRef,
    parts: Parts,
) -> Result<Response, Error> {
    let headers = &parts.headers;
    let is_call = headers.contains_key(&frontend.options().csrf_header);
    let is_form = !is_call && csrf::is_navigation(headers);
    let class = if is_form { Class::HeaderlessUnsafe } else { Class::Data };
    class.check(headers, frontend.proof())?;
    let ended = end(&frontend, session, is_local(&parts)).await?;
    let answer = match (&ended, is_call) {
        (None, true) => Json(Answer { redirect_to: frontend.after_logout().as_str().to_owned() }).into_response(),
        (None, false) => see_other_here(&frontend, frontend.after_logout())?,
        (Some(url), true) => Json(Answer { redirect_to: behind_handle(&frontend, url).await? }).into_response(),
        (Some(url), false) => see_other(url.expose())?,
    };
    Ok(forgetting(&frontend, answer))
}

/// The link that `/bff/user` gives out. Only the session it names can be ended by it.
pub(super) async fn get(
    State(frontend): State<Frontend>,
    session: SessionRef,
    parts: Parts,
) -> Result<Response, Error> {
    if parts.method == Method::HEAD {
        return Err(Error::LoginNeedsNavigation);
    }
    csrf::check_navigation(&parts.headers)?;
    let named = parameter(parts.uri.query(), "sid").unwrap_or_default();
    let ours = session.0.ok_or(Error::LogoutLinkNotYours)?.key().tag();
    if !secret::same(named.as_bytes(), ours.as_bytes()) {
        return Err(Error::LogoutLinkNotYours);
    }
    let answer = match end(&frontend, session, is_local(&parts)).await? {
        Some(url) => see_other(url.expose())?,
        None => see_other_here(&frontend, frontend.after_logout())?,
    };
    Ok(forgetting(&frontend, answer))
}

#[derive(Serialize)]
struct Answer {
    redirect_to: String,
}

/// What waits behind a handle.
#[derive(Serialize, Deserialize)]
struct Waiting {
    #[serde(with = "exposed")]
    url: Secret<String>,
    until: Timestamp,
}

/// Ends the browser's session, also if the browser does not wait for it. Answers where the provider ends its own, if there is such a
/// place and it was asked for.
async fn end(frontend: &Frontend, session: SessionRef, is_local: bool) -> Result<Option<Secret<String>>, Error> {
    let of = frontend.clone();
    let ended = frontend.see_through(async move { end_here(&of, session, is_local).await }).await;
    ended.ok_or(Error::Internal("a logout panicked"))?
}

async fn end_here(frontend: &Frontend, session: SessionRef, is_local: bool) -> Result<Option<Secret<String>>, Error> {
    let (sessions, Some(id)) = (frontend.sessions(), session.0) else { return Ok(None) };
    let Some(loaded) = sessions.load(id).await? else {
        // It may be of the provider that this frontend had before; its tokens are not for the one it has now.
        if sessions.end_unloaded(id, Reason::Logout).await? {
            metric::logout(frontend.id());
        }
        return Ok(None);
    };
    let tokens = sessions.end(&loaded, Reason::Logout).await?.unwrap_or_else(|| loaded.tokens().clone());
    metric::logout(frontend.id());
    let id_token = tokens.id_token.clone();
    frontend.revoke_detached(tokens);
    if is_local {
        return Ok(None);
    }
    Ok(frontend.relying_party().end_session_url(id_token.as_ref(), &secret::random_token()))
}

async fn behind_handle(frontend: &Frontend, url: &Secret<String>) -> Result<String, Error> {
    let waiting = Waiting { url: url.clone(), until: frontend.now() + HANDLE };
    let plain = Secret::new(serde_json::to_vec(&waiting).map_err(|_| Error::Internal("a handle cannot be written"))?);
    // The session is ended by now. If the store cannot keep the handle, our own logout is still whole.
    Ok(match frontend.sessions().store().put_once(plain.expose(), HANDLE).await {
        Ok(handle) => format!("{}/logged-out?go={}", frontend.base_path(), handle.expose()),
        Err(error) => {
            tracing::warn!(%error, "the provider's session was not ended");
            frontend.after_logout().as_str().to_owned()
        }
    })
}

/// The provider's URL behind a handle, if it is unused and young. One that does not open is used up, as if it had never been.
pub(super) async fn behind(frontend: &Frontend, handle: &str) -> Result<Option<Secret<String>>, Error> {
    let plain = match frontend.sessions().store().take_once(handle).await {
        Ok(Some(plain)) => plain,
        Ok(None) => return Ok(None),
        Err(error @ store::Error::Corrupt(_)) => {
            tracing::error!(%error, "the provider's session was not ended");
            return Ok(None);
        }
        Err(error) => return Err(error.into()),
    };
    let waiting: Option<Waiting> = serde_json::from_slice(plain.expose()).ok();
    Ok(waiting.filter(|waiting| frontend.now() < waiting.until).map(|waiting| waiting.url))
}

/// Has the browser forget the session, and the pages that it fetched or made ahead while there was one
/// (`docs/decisions/0016-what-a-logout-clears.md`).
fn forgetting(frontend: &Frontend, mut answer: Response) -> Response {
    let cookies = frontend.cookies();
    let headers: &mut HeaderMap = answer.headers_mut();
    headers.append(header::SET_COOKIE, cookies.remove(cookies.session_name()));
    headers.insert("clear-site-data", FETCHED_AHEAD);
    answer
}

/// Whether the provider's session is to be left alone.
fn is_local(parts: &Parts) -> bool {
    parameter(parts.uri.query(), "local").as_deref() == Some("true")
}

pub(super) fn parameter(query: Option<&str>, name: &str) -> Option<String> {
    form_urlencoded::parse(query?.as_bytes()).find(|(found, _)| found == name).map(|(_, value)| value.into_owned())
}

const FETCHED_AHEAD: HeaderValue = HeaderValue::from_static("\"prefetchCache\", \"prerenderCache\"");
const HANDLE: Duration = Duration::from_mins(1);
