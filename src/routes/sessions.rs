//! `/bff/sessions`: the caller's own sessions, to be looked at and ended. None of it extends the session that asks.
//!
//! No answer writes the cookie, also if the session that asks is the one that ends: that is for the logout alone.

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use http::StatusCode;
use http::request::Parts;
use serde::Serialize;

use super::logout::parameter;
use crate::Error;
use crate::frontend::Frontend;
use crate::guard::csrf::Class;
use crate::guard::session::SessionRef;
use crate::session::{Loaded, OwnSession};

pub(super) async fn get(
    State(frontend): State<Frontend>,
    session: SessionRef,
    parts: Parts,
) -> Result<Json<Vec<Session>>, Error> {
    let caller = caller(&frontend, session, &parts).await?;
    let own = frontend.sessions().own(&caller).await?;
    Ok(Json(own.iter().map(Session::of).collect()))
}

/// Ends all but the caller's, and only if it says so: a tag that got lost on the way must not end everything.
pub(super) async fn delete_others(
    State(frontend): State<Frontend>,
    session: SessionRef,
    parts: Parts,
) -> Result<StatusCode, Error> {
    let caller = ender(&frontend, session, &parts).await?;
    if parameter(parts.uri.query(), "others").as_deref() != Some("true") {
        let why = "others=true is missing, which ends all sessions but this one; one is ended by its tag in the path";
        return Err(Error::SelectionInvalid { why: why.to_owned() });
    }
    let of = frontend.clone();
    // A tab that closes must not leave some of them alive.
    let ended = frontend.see_through(async move { of.sessions().end_others(&caller).await }).await;
    ended.ok_or(Error::Internal("an ending panicked"))??;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends one. One that is somebody else's is 404 like one that never was.
pub(super) async fn delete(
    State(frontend): State<Frontend>,
    session: SessionRef,
    tag: Result<Path<String>, PathRejection>,
    parts: Parts,
) -> Result<StatusCode, Error> {
    let caller = ender(&frontend, session, &parts).await?;
    let Path(tag) = tag.map_err(|_| Error::RouteNotFound)?;
    let of = frontend.clone();
    let ended = frontend.see_through(async move { of.sessions().end_own(&caller, &tag).await }).await;
    let was_there = ended.ok_or(Error::Internal("an ending panicked"))??;
    if was_there { Ok(StatusCode::NO_CONTENT) } else { Err(Error::RouteNotFound) }
}

/// An entry of the list.
#[derive(Debug, Serialize)]
pub(super) struct Session {
    tag: String,
    created_at: String,
    last_seen_at: String,
    /// `null` if nothing is known of it.
    device: Option<String>,
    current: bool,
}

impl Session {
    fn of(own: &OwnSession) -> Self {
        Self {
            tag: own.tag(),
            created_at: own.created_at.rfc3339(),
            last_seen_at: own.last_seen_at.rfc3339(),
            device: own.device.as_ref().map(|device| device.as_str().to_owned()),
            current: own.is_current,
        }
    }
}

/// The live session that asks to end some. Not a retired one: it knows the session that took its place, but not what took the place of
/// that one, and would end the very session that the person is in.
async fn ender(frontend: &Frontend, session: SessionRef, parts: &Parts) -> Result<Loaded, Error> {
    let caller = caller(frontend, session, parts).await?;
    if caller.is_retired() { Err(Error::SessionExpired) } else { Ok(caller) }
}

/// The live session that asks, also a retired one.
async fn caller(frontend: &Frontend, session: SessionRef, parts: &Parts) -> Result<Loaded, Error> {
    Class::Data.check(&parts.headers, frontend.proof())?;
    let id = session.0.ok_or(Error::NotAuthenticated)?;
    frontend.sessions().load(id).await?.ok_or(Error::SessionExpired)
}
