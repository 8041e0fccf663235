//! A panic in a handler is our fault and a 500, not a closed connection.

use std::panic::AssertUnwindSafe;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use futures_util::FutureExt as _;

use crate::Error;
use crate::respond::{self, RequestId, RequestKind, Voice};

/// Answers for a handler that panicked. What it panicked with is the panic hook's to tell, never the browser's.
pub(crate) async fn catch(State(voice): State<Voice>, request: Request, next: Next) -> Response {
    let (kind, id) = (RequestKind::of(&request), request.extensions().get::<RequestId>().cloned());
    // Nothing that outlives the request is left half changed: shared state changes in single steps.
    let caught = AssertUnwindSafe(next.run(request)).catch_unwind().await;
    caught.unwrap_or_else(|_| respond::told(Error::Internal("a handler panicked"), kind, &voice, id.as_ref()))
}
