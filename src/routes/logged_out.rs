//! `GET /bff/logged-out`: with a handle the way to the provider's end-session URL, without one the way back from it.
//!
//! The provider returns a `state` (RP-Initiated Logout §2). Nothing hangs on it: this only leads to the configured page.

use axum::extract::State;
use axum::response::Response;
use http::Method;
use http::request::Parts;

use super::logout::{behind, parameter};
use super::{see_other, see_other_here};
use crate::Error;
use crate::frontend::Frontend;
use crate::guard::csrf;

pub(super) async fn get(State(frontend): State<Frontend>, parts: Parts) -> Result<Response, Error> {
    let handle = parameter(parts.uri.query(), "go").filter(|_| parts.method != Method::HEAD);
    let url = match handle {
        Some(handle) => {
            // The ID token in the address is for a window alone.
            csrf::check_navigation(&parts.headers)?;
            behind(&frontend, &handle).await?
        }
        None => None,
    };
    match url {
        Some(url) => see_other(url.expose()),
        None => see_other_here(&frontend, frontend.after_logout()),
    }
}
