//! What is remembered of a request while its answer is waited for.

use std::sync::Arc;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Uri};

use crate::proxy::body::{Phase, RequestBody, Upload};

/// Enough to send it again, but for its headers: to copy those costs more than all else a call does here
/// (`docs/decisions/0020-what-is-sent-again.md`).
#[derive(Debug)]
pub(super) struct Outline {
    method: Method,
    /// With the origin in it.
    target: Uri,
    /// None if there is no body.
    upload: Option<Arc<Upload>>,
}

impl Outline {
    pub(super) fn of(request: &Request<RequestBody>) -> Self {
        let (method, target) = (request.method().clone(), request.uri().clone());
        Self { method, target, upload: request.body().upload() }
    }

    pub(super) fn target(&self) -> &Uri {
        &self.target
    }

    pub(super) fn into_target(self) -> Uri {
        self.target
    }

    /// Whether all of it went out, as far as that was up to the browser.
    pub(super) fn is_whole(&self) -> bool {
        self.upload.as_ref().is_none_or(|upload| upload.phase().0 == Phase::Sent)
    }

    /// Whether nothing but a head is needed to send it again.
    pub(super) fn has_no_body(&self) -> bool {
        self.upload.is_none()
    }

    /// The request once more, if it does no more when it comes twice than when it comes once (RFC 9110 §9.2.2).
    pub(super) fn twice(self, headers: Option<HeaderMap>) -> Option<Box<Request<RequestBody>>> {
        if self.method.is_idempotent() { self.again(headers?) } else { None }
    }

    /// The request once more.
    pub(super) fn again(self, headers: HeaderMap) -> Option<Box<Request<RequestBody>>> {
        if !self.has_no_body() {
            return None;
        }
        let mut request = Box::new(Request::new(RequestBody::Empty));
        *request.method_mut() = self.method;
        *request.uri_mut() = self.target;
        *request.headers_mut() = headers;
        Some(request)
    }
}

/// The headers of a request that was written as these bytes. None if they are not a whole head.
pub(super) fn headers_of(written: &[u8]) -> Option<HeaderMap> {
    let head = written.strip_suffix(b"\r\n\r\n")?;
    let mut lines = head.split(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.next()?;
    lines.map(header).collect()
}

fn header(line: &[u8]) -> Option<(HeaderName, HeaderValue)> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    let name = HeaderName::from_bytes(&line[..colon]).ok()?;
    let mut value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
    value.set_sensitive(name == header::AUTHORIZATION);
    Some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_head_has_its_headers_again() {
        let headers =
            headers_of(b"GET /x HTTP/1.1\r\nhost: a\r\ncookie: b=c:d\r\ncookie: \xff\r\nempty: \r\n\r\n").unwrap();
        let found: Vec<(&str, &[u8])> = headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(found, [("host", &b"a"[..]), ("cookie", b"b=c:d"), ("cookie", b"\xff"), ("empty", b"")]);
        assert_eq!(headers_of(b"GET / HTTP/1.1\r\n\r\n"), Some(HeaderMap::new()));
    }

    #[test]
    fn what_is_not_a_whole_head_has_none() {
        for written in [&b""[..], b"\r\n\r\nGET", b"GET /x HTTP/1.1\r\nhost: a\r\n", b"GET /x HTTP/1.1\r\nhost\r\n\r\n"]
        {
            assert_eq!(headers_of(written), None, "{}", String::from_utf8_lossy(written));
        }
    }
}
