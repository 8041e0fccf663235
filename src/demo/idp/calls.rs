//! What was asked of the provider, for tests that say "no further call was made".

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::{Method, StatusCode, header};
use http_body_util::{BodyExt as _, Limited};

use super::Inner;
use super::parameters::Parameters;
use crate::demo::lock;

/// A request to the provider.
#[derive(Clone, Debug)]
pub struct Call {
    /// Its method.
    pub method: Method,
    /// Its path, without query.
    pub path: String,
    /// Its query parameters, decoded, in order.
    pub query: Vec<(String, String)>,
    /// Its form parameters, decoded, in order; empty if the body is no form.
    pub form: Vec<(String, String)>,
    /// Whether it had an `Authorization` header.
    pub authorization: bool,
}

impl Call {
    /// The first form parameter of this name.
    pub fn form_value(&self, name: &str) -> Option<&str> {
        self.form.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// Writes a request down and passes it on.
pub(super) async fn record(State(inner): State<Arc<Inner>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let Ok(body) = Limited::new(body, MAX_BODY).collect().await.map(http_body_util::Collected::to_bytes) else {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    };
    let is_form = parts.headers.get(header::CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(FORM));
    let form = if is_form { body.clone() } else { Bytes::new() };
    lock(&inner.calls).push(Call {
        method: parts.method.clone(),
        path: parts.uri.path().to_owned(),
        query: Parameters::parse(parts.uri.query().unwrap_or_default().as_bytes()).into_pairs(),
        form: Parameters::parse(&form).into_pairs(),
        authorization: parts.headers.contains_key(header::AUTHORIZATION),
    });
    next.run(Request::from_parts(parts, Body::from(body))).await
}

const FORM: &[u8] = b"application/x-www-form-urlencoded";
const MAX_BODY: usize = 64 * 1024;
