//! What every answer of our own endpoints says to caches and referrers.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderName, HeaderValue, header};

/// `Cache-Control: no-store` unless the endpoint says how it may be kept, `Referrer-Policy: no-referrer`,
/// `X-Content-Type-Options: nosniff` on every `/bff/*` answer.
pub(crate) async fn own(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(HeaderName::from_static("referrer-policy"), HeaderValue::from_static("no-referrer"));
    headers.insert(HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));
    response
}
