//! Puts the browser's session within reach of handlers: its id without any I/O, and `tower_sessions::Session`, which reads on demand.
//!
//! A thin layer instead of tower-sessions' own: nothing is saved behind a handler's back, no 5xx drops a change, and a dead session's
//! cookie is left alone — removing it would delete the one another tab has just received.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderValue, header};
use tower_sessions::Session;

use super::access_log::Noted;
use crate::frontend::Frontend;
use crate::session::LoginAttempts;
use crate::store::SessionId;

/// The session id a request brought, if it is one. Says nothing about whether it lives.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionRef(pub(crate) Option<SessionId>);

/// See the module. Also removes the oldest login attempt from a browser that carries too many.
pub(crate) async fn attach(State(frontend): State<Frontend>, mut request: Request, next: Next) -> Response {
    let cookies = frontend.cookies();
    let id = cookies.session(request.headers()).and_then(SessionId::parse);
    request.extensions_mut().insert(SessionRef(id));
    let store = frontend.sessions().store();
    if let Some(id) = id {
        request.extensions_mut().insert(Session::new(Some(id.into()), Arc::new(store.clone()), None));
    }
    let trimmed = LoginAttempts::of(request.headers(), cookies, store, frontend.now()).trim();
    let mut response = next.run(request).await;
    // A new attempt may have taken the place of the oldest one.
    if let Some(removal) = trimmed.filter(|removal| !sets_the_same(&response, removal)) {
        let headers = response.headers_mut();
        headers.append(header::SET_COOKIE, removal);
        // A file of the SPA may be for everybody; this answer is not, or a shared cache would remove everybody's cookie.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response.extensions_mut().insert(Noted { frontend, session: id.map(SessionId::key) });
    response
}

fn sets_the_same(response: &Response, cookie: &HeaderValue) -> bool {
    let name = |cookie: &HeaderValue| cookie.as_bytes().split(|&byte| byte == b'=').next().map(<[u8]>::to_vec);
    response.headers().get_all(header::SET_COOKIE).iter().any(|set| name(set) == name(cookie))
}
