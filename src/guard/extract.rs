//! Extractors for handlers, ours and an embedder's.

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use http::request::Parts;
use tower_sessions::Session;
use tower_sessions::session::Error as SessionError;
use tower_sessions::session_store;

use super::session::SessionRef;
use crate::Error;
use crate::frontend::Frontend;
use crate::session::UserSession;
use crate::store::{self, USER};

impl<S: Sync> FromRequestParts<S> for SessionRef {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        parts.extensions.get().copied().ok_or(Error::Internal("a handler stands outside the session layer"))
    }
}

/// The live session; without one the request is answered 401.
impl<S: Sync> FromRequestParts<S> for UserSession {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Error> {
        let brought_one = SessionRef::from_request_parts(parts, state).await?.0.is_some();
        let none = if brought_one { Error::SessionExpired } else { Error::NotAuthenticated };
        <Self as OptionalFromRequestParts<S>>::from_request_parts(parts, state).await?.ok_or(none)
    }
}

/// The live session, if there is one.
impl<S: Sync> OptionalFromRequestParts<S> for UserSession {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>, Error> {
        let frontend = parts.extensions.get::<Frontend>().cloned();
        let frontend = frontend.ok_or(Error::Internal("a handler stands outside the session layer"))?;
        let Some(session) = parts.extensions.get::<Session>() else { return Ok(None) };
        match session.get::<Self>(USER).await {
            Ok(user) => Ok(user.filter(|user| frontend.sessions().is_live(user))),
            // What does not open is ended, and that is done where whole sessions are read.
            Err(SessionError::SerdeJson(_) | SessionError::Store(session_store::Error::Decode(_))) => {
                let id = SessionRef::from_request_parts(parts, state).await?.0;
                let Some(id) = id else { return Ok(None) };
                Ok(frontend.sessions().load(id).await?.map(|loaded| UserSession::clone(&loaded.user)))
            }
            Err(SessionError::Store(session_store::Error::Backend(cause) | session_store::Error::Encode(cause))) => {
                Err(store::Error::Unavailable(cause).into())
            }
        }
    }
}
