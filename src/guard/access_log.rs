//! One line for each request, and the name it goes by. Queries, cookies and tokens are never in it.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderName, HeaderValue};
use tracing::Level;

use crate::Error;
use crate::frontend::Frontend;
use crate::metric;
use crate::respond::RequestId;
use crate::secret;
use crate::store::SessionKey;

/// What inner layers found out, for the line. Rides in the response's extensions.
#[derive(Clone)]
pub(crate) struct Noted {
    pub(crate) frontend: Frontend,
    pub(crate) session: Option<SessionKey>,
}

/// Names the request, counts it and writes its line when the answer's head is ready.
pub(crate) async fn log(mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id: Arc<str> = format!("{:016x}", u64::from_be_bytes(secret::random())).into();
    request.extensions_mut().insert(RequestId(id.clone()));
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = next.run(request).await;
    let error = response.extensions().get::<Arc<Error>>().cloned();
    let noted = response.extensions().get::<Noted>().cloned();
    let status = response.status().as_u16();
    noted.as_ref().map_or_else(|| metric::answered_nobody(status), |noted| noted.frontend.requests().answered(status));
    write(&Line {
        id: &id,
        method: method.as_str(),
        path: &path,
        status,
        micros: started.elapsed().as_micros(),
        frontend: noted.as_ref().map_or("-", |noted| noted.frontend.id()),
        session: noted.as_ref().and_then(|noted| noted.session).map(|key| key.tag()),
        error: error.as_deref(),
    });
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(HeaderName::from_static("x-request-id"), id);
    }
    response
}

struct Line<'a> {
    id: &'a str,
    method: &'a str,
    path: &'a str,
    status: u16,
    micros: u128,
    frontend: &'a str,
    session: Option<String>,
    error: Option<&'a Error>,
}

fn write(line: &Line<'_>) {
    let Line { id, method, path, status, micros, frontend, session, error } = line;
    let (session, slug) = (session.as_deref(), error.map(Error::slug));
    // The cause is said here and nowhere else.
    let cause = error.map(cause_of);
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(target: "cloakroom::access", id, method, path, status, micros, frontend, session, error = slug, cause)
        };
    }
    match error.map(|error| error.facts().level) {
        Some(Level::ERROR) => line!(error),
        Some(Level::WARN) => line!(warn),
        Some(Level::DEBUG) => line!(debug),
        _ => line!(info),
    }
}

/// The texts of an error and its sources. Ours hold no bodies, tokens or queries.
fn cause_of(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
