//! `GET /bff/frontchannel-logout`: a page of the provider's frames this to tell that somebody has logged out there (OIDC Front-Channel
//! Logout 1.0 §2). Our Strict cookie does not reach a frame, so the session is found by its `sid`, which is all the authority there is.

use std::time::Duration;

use axum::extract::State;
use axum::response::{Html, IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, header};
use url::{Url, form_urlencoded};

use crate::Error;
use crate::frontend::Frontend;
use crate::guard::csrf;
use crate::guard::rate::{Allowance, Caller};

/// 200 whether anybody knows the session or not. What follows is of no interest to the frame: nobody reads the page.
pub(super) async fn get(State(frontend): State<Frontend>, caller: Caller, parts: Parts) -> Result<Response, Error> {
    if parts.method == Method::HEAD {
        return Err(Error::LoginNeedsNavigation);
    }
    csrf::check_navigation(&parts.headers)?;
    // Before it counts: pages of others must not use up what a whole network behind one address may ask.
    if !may_be_framed_by(&frontend, &parts.headers) {
        return Err(Error::LogoutRequestInvalid("the page that asks is not the provider's"));
    }
    let sid = session_named(parts.uri.query(), frontend.relying_party().issuer())?;
    caller.check(frontend.now())?;
    let of = frontend.clone();
    // The provider's page may leave, and take its frame along, before the store has answered.
    let ended = frontend.see_through(async move { of.sessions().end_by_frontchannel(&sid).await }).await;
    let ended = ended.ok_or(Error::Internal("a logout panicked"))??;
    tracing::info!(frontend = frontend.id(), sessions = ended, "a page of the provider logged somebody out");
    let mut answer = Html(PAGE).into_response();
    answer.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy(&frontend)?);
    Ok(answer)
}

/// The `sid`, if `iss` is ours (§2: both are there if one is; without them nobody is meant). Other parameters may be part of the
/// registered URI.
fn session_named(query: Option<&str>, issuer: &str) -> Result<String, Error> {
    let only = |name: &'static str| {
        let mut values =
            form_urlencoded::parse(query.unwrap_or_default().as_bytes()).filter(|(found, _)| found == name);
        match (values.next(), values.next()) {
            (Some((_, value)), None) => Ok(value.into_owned()),
            _ => Err(Error::LogoutRequestInvalid("iss or sid is missing, or there twice")),
        }
    };
    let (iss, sid) = (only("iss")?, only("sid")?);
    if iss != issuer {
        return Err(Error::LogoutRequestInvalid("iss is not our provider"));
    }
    if sid.is_empty() || sid.len() > LONGEST_SID {
        return Err(Error::LogoutRequestInvalid("sid is empty or too long"));
    }
    Ok(sid)
}

/// `Referer` holds at least the origin of the page, unless that page wants nobody to know it.
fn may_be_framed_by(frontend: &Frontend, headers: &HeaderMap) -> bool {
    let Some(referer) = headers.get(header::REFERER) else { return true };
    let page = referer.to_str().ok().and_then(|referer| Url::parse(referer).ok());
    page.is_some_and(|page| frontend.relying_party().may_have_pages_at(&page.origin().ascii_serialization()))
}

/// The page may be shown in the provider's and nowhere else.
fn policy(frontend: &Frontend) -> Result<HeaderValue, Error> {
    let origins = frontend.relying_party().provider_origins().join(" ");
    let policy = format!("default-src 'none'; frame-ancestors {origins}");
    HeaderValue::try_from(policy).map_err(|_| Error::Internal("an origin is not plain ASCII"))
}

const PAGE: &str = "<!doctype html><title>Logged out</title>";
/// Providers use some forty characters.
const LONGEST_SID: usize = 1024;
/// An office behind one address that goes home at five, and far from what would wear out a store.
pub(super) const ALLOWANCE: Allowance = Allowance { at_once: 100, then_every: Duration::from_millis(500) };
