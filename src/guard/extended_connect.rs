//! WebSockets over HTTP/2 (RFC 8441), made handshakes of HTTP/1.1 at the door.
//!
//! Everything behind it (the class of a request, a route's methods, the way to the upstream, an embedder's handlers) knows one form of
//! a handshake, RFC 6455 §4.1. Two forms would be two answers to the question whether a request is one, and a request that is none
//! for whoever checks it and one for whoever makes the call.

use axum::body::Body;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, StatusCode, Version};
use hyper::ext::Protocol;

use crate::secret;

/// Makes a handshake of HTTP/1.1 of a request, if it is one of RFC 8441 §5, and says whether it was. Its key is ours: HTTP/2 has none.
///
/// Other protocols stay the CONNECT that they are, which is answered by nobody.
pub(crate) fn translate<B>(request: &mut Request<B>) -> bool {
    let is_websocket = |protocol: &Protocol| protocol.as_str() == "websocket";
    if *request.method() != Method::CONNECT || !request.extensions().get().is_some_and(is_websocket) {
        return false;
    }
    *request.method_mut() = Method::GET;
    *request.version_mut() = Version::HTTP_11;
    let headers = request.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_KEY, key());
    true
}

/// The answer to such a request in the words of HTTP/2: `200` where HTTP/1.1 switches protocols. Any other success would open a
/// WebSocket that has nobody at its other end (RFC 9110 §9.3.6), so it becomes `501`.
pub(crate) fn translated(mut answer: Response) -> Response {
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        *answer.status_mut() = StatusCode::OK;
        forget(answer.headers_mut());
    } else if answer.status().is_success() {
        answer = Response::new(Body::empty());
        *answer.status_mut() = StatusCode::NOT_IMPLEMENTED;
    }
    answer
}

/// What only HTTP/1.1 says, and a length, which no tunnel has.
fn forget(headers: &mut HeaderMap) {
    for name in [header::CONNECTION, header::UPGRADE, header::SEC_WEBSOCKET_ACCEPT, header::CONTENT_LENGTH] {
        headers.remove(name);
    }
}

/// A nonce (RFC 6455 §4.1(7)).
fn key() -> HeaderValue {
    let text = STANDARD.encode(secret::random::<16>());
    HeaderValue::try_from(text).expect("base64 is visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: Method, protocol: Option<&'static str>) -> (Request<()>, bool) {
        let mut request = Request::builder().method(method).uri("https://shop.example/ws").version(Version::HTTP_2);
        if let Some(protocol) = protocol {
            request = request.extension(Protocol::from_static(protocol));
        }
        let mut request = request.header("sec-websocket-key", "theirs").body(()).unwrap();
        let is_translated = translate(&mut request);
        (request, is_translated)
    }

    #[test]
    fn a_handshake_of_http2_becomes_one_of_http1() {
        let (request, is_translated) = asked(Method::CONNECT, Some("websocket"));
        assert!(is_translated);
        assert_eq!((request.method(), request.version()), (&Method::GET, Version::HTTP_11));
        assert_eq!(request.headers()["upgrade"], "websocket");
        assert_eq!(request.headers()["connection"], "Upgrade");
        let key = STANDARD.decode(&request.headers()["sec-websocket-key"]).unwrap();
        assert_eq!((key.len(), request.headers().get_all("sec-websocket-key").iter().count()), (16, 1));
    }

    #[test]
    fn nothing_else_does() {
        for (method, protocol) in [
            (Method::CONNECT, None),
            (Method::CONNECT, Some("connect-udp")),
            (Method::CONNECT, Some("websocket2")),
            (Method::GET, Some("websocket")),
        ] {
            let (request, is_translated) = asked(method.clone(), protocol);
            assert!(!is_translated && request.method() == method, "{method} {protocol:?}");
            assert!(!request.headers().contains_key("upgrade"));
        }
    }

    #[test]
    fn only_switched_protocols_are_a_success() {
        let answered = |status: u16| {
            let mut answer = Response::new(Body::from("text"));
            *answer.status_mut() = StatusCode::from_u16(status).unwrap();
            for name in ["connection", "upgrade", "sec-websocket-accept", "content-length", "sec-websocket-protocol"] {
                answer.headers_mut().insert(name, HeaderValue::from_static("4"));
            }
            translated(answer)
        };
        let opened = answered(101);
        assert_eq!(opened.status(), 200);
        assert_eq!(
            opened.headers().keys().map(header::HeaderName::as_str).collect::<Vec<_>>(),
            ["sec-websocket-protocol"]
        );
        for (said, told) in [(200, 501), (204, 501), (206, 501), (303, 303), (401, 401), (502, 502)] {
            assert_eq!(answered(said).status(), told);
        }
    }
}
