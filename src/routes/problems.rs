//! `GET /bff/problems/{slug}`: explains an error type to the person who followed its link.

use axum::body::Body;
use axum::extract::Path;
use axum::response::Response;

use crate::Error;
use crate::error::ALL;
use crate::respond::page::{self, ProblemPage};

pub(super) async fn get(Path(slug): Path<String>) -> Result<Response, Error> {
    let facts = ALL.into_iter().find(|facts| facts.slug == slug).ok_or(Error::RouteNotFound)?;
    let mut response = Response::new(Body::from(page::render(&ProblemPage::new(facts))));
    page::describe_headers(response.headers_mut());
    Ok(response)
}
