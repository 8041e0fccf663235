//! `/bff/callback`: where the provider's answer lands.
//!
//! The first request comes from the provider's site, so Strict cookies are not in it. It consumes nothing and answers a page that leads
//! on to the same place with `hop=1`; that request is ours, carries the session and the attempt, and ends the login.

mod finish;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::request::Parts;
use http::{HeaderValue, Method, header};
use url::form_urlencoded;

use self::finish::finish;
use super::whole;
use crate::Error;
use crate::frontend::Frontend;
use crate::guard::csrf;
use crate::guard::rate::Caller;
use crate::guard::session::SessionRef;
use crate::oidc::{AuthorizationResponse, ResponseReason};
use crate::respond::page::{self, HopPage};
use crate::session::ParkedResponse;

pub(super) async fn get(
    State(frontend): State<Frontend>,
    session: SessionRef,
    caller: Caller,
    parts: Parts,
) -> Result<Response, Error> {
    if parts.method == Method::HEAD {
        return Err(Error::LoginNeedsNavigation);
    }
    // A page of others could use up what its visitors' network may ask for, frame by frame.
    csrf::check_unframed_navigation(&parts.headers)?;
    let query = parts.uri.query().unwrap_or_default();
    match split_hop(query) {
        None => {
            caller.check(frontend.now())?;
            Ok(hop_page(&frontend, query, 1))
        }
        Some((query, hop)) => {
            let (of, headers, query) = (frontend.clone(), parts.headers.clone(), query.to_owned());
            // A code is used once, and what it brought must be stored or given back; other tabs wait for the end of it.
            let finished = async move { finish(&of, session, &headers, &query, hop).await };
            let answer = frontend.see_through(finished).await.ok_or(Error::Internal("a login panicked"))?;
            // Who brings an attempt that can be finished was counted when it began, and is never put off here.
            if brought_nothing(&answer) {
                caller.check(frontend.now())?;
            }
            Ok(answer)
        }
    }
}

/// A response by form (OAuth 2.0 Form Post Response Mode). It is parked in a cookie, and only `state` goes into the hop's URL.
pub(super) async fn post(
    State(frontend): State<Frontend>,
    caller: Caller,
    request: Request,
) -> Result<Response, Error> {
    csrf::check_unframed_navigation(request.headers())?;
    caller.check(frontend.now())?;
    let too_large = || Error::LoginResponseInvalid(ResponseReason::TooLarge);
    let form = whole(request.into_body(), LARGEST_FORM).await.map_err(|error| match error {
        Error::BodyTooLarge => too_large(),
        error => error,
    })?;
    let form = String::from_utf8(form.into()).map_err(|_| Error::LoginResponseInvalid(ResponseReason::NoState))?;
    AuthorizationResponse::parse(&form).map_err(Error::LoginResponseInvalid)?;
    let state = state_of(&form).ok_or(Error::LoginResponseInvalid(ResponseReason::NoState))?;
    let (cookies, store) = (frontend.cookies(), frontend.sessions().store());
    let parked = ParkedResponse::park(&form, &state, cookies, store, frontend.now()).ok_or_else(too_large)?;
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("state", &state).finish();
    let mut page = hop_page(&frontend, &query, 1);
    page.headers_mut().append(header::SET_COOKIE, parked);
    Ok(page)
}

/// Whether a last hop came without an attempt of this browser that could be finished.
fn brought_nothing(answer: &Response) -> bool {
    let error = answer.extensions().get::<Arc<Error>>();
    error.is_some_and(|error| matches!(**error, Error::LoginExpired { .. } | Error::LoginResponseInvalid(_)))
}

/// The page that leads to `hop`; at once the first time, a second later after that.
fn hop_page(frontend: &Frontend, query: &str, hop: u8) -> Response {
    let url = format!("{}/callback?{query}&hop={hop}", frontend.base_path());
    let seconds = u8::from(hop > 1);
    let mut response = Response::new(Body::from(page::render(&HopPage { url: &url, seconds })));
    let headers = response.headers_mut();
    page::describe_bare_headers(headers);
    if let Ok(mut refresh) = HeaderValue::try_from(format!("{seconds}; url={url}")) {
        refresh.set_sensitive(true);
        headers.insert(header::REFRESH, refresh);
    }
    response
}

/// The query without the `hop` that our own page appended, and its number.
fn split_hop(query: &str) -> Option<(&str, u8)> {
    let (query, hop) = query.rsplit_once("&hop=")?;
    Some((query, hop.parse().ok().filter(|hop| *hop >= 1)?))
}

fn state_of(parameters: &str) -> Option<String> {
    form_urlencoded::parse(parameters.as_bytes()).find(|(name, _)| name == "state").map(|(_, value)| value.into_owned())
}

const LARGEST_FORM: usize = 64 * 1024;
