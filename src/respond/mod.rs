//! How an [`Error`] is told: problem+json for calls, a page for people.
//!
//! A handler's error travels in the response's extensions; one layer, [`render`], gives it a form by what the *request* was.

pub(crate) mod page;
mod problem;
mod request_kind;

use std::borrow::Cow;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, header};

use self::page::ErrorPage;
use self::problem::Problem;
pub(crate) use self::request_kind::RequestKind;
use crate::Error;

/// What an answer needs to know of where it is given.
#[derive(Clone, Debug)]
pub(crate) struct Voice {
    /// Absolute URL of the base path, without a slash at the end: `https://shop.example/bff`.
    pub(crate) base_url: Arc<str>,
    /// Path of the login endpoint.
    pub(crate) login_url: Arc<str>,
}

impl Voice {
    /// Where to log in after this error.
    fn login_url(&self, error: &Error) -> Cow<'_, str> {
        match error {
            Error::StepUpRequired { step_up } => format!("{}?step_up={}", self.login_url, step_up.expose()).into(),
            Error::LoginExpired { login_url } => login_url.clone().into(),
            _ => (&*self.login_url).into(),
        }
    }
}

/// The name a request goes by in logs and answers: 16 hex digits.
#[derive(Clone, Copy)]
pub(crate) struct RequestId([u8; 16]);

impl RequestId {
    /// A fresh one: nobody else's here, and unlikely to be another process's. It is a name, no secret, but does not tell how many
    /// requests there were.
    pub(crate) fn fresh() -> Self {
        static NAMES: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self::of(NAMES.hash_one(NEXT.fetch_add(1, Ordering::Relaxed)).to_be_bytes())
    }

    /// As text.
    pub(crate) fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default()
    }

    fn of(bits: [u8; 8]) -> Self {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let nibble = |at: usize| if at.is_multiple_of(2) { bits[at / 2] >> 4 } else { bits[at / 2] & 15 };
        Self(std::array::from_fn(|at| DIGITS[usize::from(nibble(at))]))
    }
}

impl fmt::Debug for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.status();
        if let Self::MethodNotAllowed { allow } = &self {
            response.headers_mut().insert(header::ALLOW, allow.clone());
        }
        if matches!(self, Self::AdminTokenNeeded) {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if matches!(self, Self::TransferCodingUnknown) {
            // Where the body ends is as doubtful as what it is.
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(seconds) = self.retry_after() {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

/// Gives every error that comes out of the inner service its form.
pub(crate) async fn render(State(voice): State<Voice>, request: Request, next: Next) -> Response {
    let kind = RequestKind::of(&request);
    let id = request.extensions().get::<RequestId>().copied();
    let response = next.run(request).await;
    match response.extensions().get::<Arc<Error>>().cloned() {
        Some(error) => rendered(&error, kind, &voice, id, response),
        None => response,
    }
}

/// An error outside of every frontend, told in this voice.
pub(crate) fn told(error: Error, kind: RequestKind, voice: &Voice, id: RequestId) -> Response {
    let response = error.into_response();
    match response.extensions().get::<Arc<Error>>().cloned() {
        Some(error) => rendered(&error, kind, voice, Some(id), response),
        None => response,
    }
}

fn rendered(error: &Error, kind: RequestKind, voice: &Voice, id: Option<RequestId>, response: Response) -> Response {
    let (mut parts, _) = response.into_parts();
    let request_id = id.as_ref().map(RequestId::as_str);
    let body = match kind {
        RequestKind::Call => {
            parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
            Problem::new(error, voice, request_id).to_json()
        }
        RequestKind::Navigation => {
            page::describe_headers(&mut parts.headers);
            ErrorPage::new(error, voice, request_id).to_html()
        }
    };
    parts.headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    parts.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    parts.headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Response::from_parts(parts, Body::from(body))
}

#[cfg(test)]
mod tests;
