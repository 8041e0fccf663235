//! Puts the browser's session within reach of handlers: its id without any I/O, and `tower_sessions::Session`, which reads on demand.
//!
//! A thin layer instead of tower-sessions' own: nothing is saved behind a handler's back, no 5xx drops a change, and a dead session's
//! cookie is left alone — removing it would delete the one another tab has just received.

use std::sync::Arc;

use axum::response::Response;
use http::{HeaderMap, HeaderValue, Request, header};
use tower_sessions::Session;

use crate::frontend::Frontend;
use crate::session::LoginAttempts;
use crate::store::{SessionId, SessionKey};

/// The session id a request brought, if it is one. Says nothing about whether it lives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionRef(pub(crate) Option<SessionId>);

/// What a request brought in cookies of ours.
#[derive(Debug)]
pub(crate) struct Brought {
    session: SessionRef,
    /// Removes the oldest login attempt from a browser that carries too many.
    removal: Option<HeaderValue>,
}

impl Brought {
    pub(crate) fn of(frontend: &Frontend, headers: &HeaderMap) -> Self {
        let (cookies, store) = (frontend.cookies(), frontend.sessions().store());
        let session = SessionRef(cookies.session(headers).and_then(SessionId::parse));
        Self { session, removal: LoginAttempts::trim(headers, cookies, store, || frontend.now()) }
    }

    /// The session id.
    pub(crate) fn id(&self) -> SessionRef {
        self.session
    }

    /// The session's row.
    pub(crate) fn session(&self) -> Option<SessionKey> {
        self.session.0.map(SessionId::key)
    }

    /// Lets handlers extract it.
    pub(crate) fn attach<B>(&self, frontend: &Frontend, request: &mut Request<B>) {
        let extensions = request.extensions_mut();
        extensions.insert(self.session);
        if let Some(id) = self.session.0 {
            let store = Arc::new(frontend.sessions().store().clone());
            extensions.insert(Session::new(Some(id.into()), store, None));
        }
    }

    /// Adds to an answer what the browser has to change.
    pub(crate) fn finish(self, mut answer: Response) -> Response {
        // A new attempt may have taken the place of the oldest one.
        if let Some(removal) = self.removal.filter(|removal| !sets_the_same(&answer, removal)) {
            let headers = answer.headers_mut();
            headers.append(header::SET_COOKIE, removal);
            // A file of the SPA may be for everybody; this answer is not, or a shared cache would remove everybody's cookie.
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        answer
    }
}

fn sets_the_same(response: &Response, cookie: &HeaderValue) -> bool {
    let name = |cookie: &HeaderValue| cookie.as_bytes().split(|&byte| byte == b'=').next().map(<[u8]>::to_vec);
    response.headers().get_all(header::SET_COOKIE).iter().any(|set| name(set) == name(cookie))
}
