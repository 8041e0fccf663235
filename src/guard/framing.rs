//! A body that was coded for its way here in a manner nobody understands (RFC 9112 §6.1).

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};

/// `501`, and the connection closes: where the body ends is as doubtful as what it is.
pub(crate) fn refused() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_IMPLEMENTED;
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}
