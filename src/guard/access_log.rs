//! One line for each request, and the name it goes by. Queries, cookies and tokens are never in it.

use std::sync::Arc;
use std::time::Instant;

use axum::response::Response;
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use tracing::Level;

use crate::Error;
use crate::frontend::Frontend;
use crate::metric;
use crate::respond::RequestId;
use crate::store::SessionKey;

/// A request that is being answered.
#[derive(Debug)]
pub(crate) struct Entry {
    id: RequestId,
    started: Instant,
    method: Method,
    uri: Uri,
}

impl Entry {
    /// Names the request.
    pub(crate) fn begin<B>(request: &Request<B>) -> Self {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        Self { id: RequestId::fresh(), started: Instant::now(), method, uri }
    }

    /// The request's name.
    pub(crate) fn id(&self) -> RequestId {
        self.id
    }

    /// Counts the request and writes its line when the answer's head is ready. `of` is whose it was, and the session it brought.
    pub(crate) fn end(&self, mut answer: Response, of: Option<(&Frontend, Option<SessionKey>)>) -> Response {
        let status = answer.status().as_u16();
        match of {
            Some((frontend, _)) => frontend.requests().answered(status),
            None => metric::answered_nobody(status),
        }
        let error = answer.extensions().get::<Arc<Error>>().map(|error| &**error);
        if let Some(limit) = error.and_then(Error::limit) {
            metric::limited(limit);
        }
        self.write(status, error, of);
        if let Ok(id) = HeaderValue::from_str(self.id.as_str()) {
            answer.headers_mut().insert(HeaderName::from_static("x-request-id"), id);
        }
        answer
    }

    fn write(&self, status: u16, error: Option<&Error>, of: Option<(&Frontend, Option<SessionKey>)>) {
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    target: "cloakroom::access",
                    id = self.id.as_str(),
                    method = self.method.as_str(),
                    path = self.uri.path(),
                    status,
                    micros = self.started.elapsed().as_micros(),
                    frontend = of.map_or("-", |(frontend, _)| frontend.id()),
                    session = of.and_then(|(_, session)| session).map(|key| key.tag()),
                    error = error.map(Error::slug),
                    // The cause is said here and nowhere else.
                    cause = error.map(cause_of),
                )
            };
        }
        match error.map(|error| error.facts().level) {
            Some(Level::ERROR) => line!(error),
            Some(Level::WARN) => line!(warn),
            Some(Level::DEBUG) => line!(debug),
            _ => line!(info),
        }
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
