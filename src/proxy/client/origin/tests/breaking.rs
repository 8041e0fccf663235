//! Connections that die, at each moment.

use super::*;
use crate::proxy::body::Keep;

/// Reads a request's head, and closes.
async fn die(mut connection: TcpStream, after: &str) {
    answer(&mut connection, after).await;
}

#[tokio::test]
async fn a_request_on_an_idle_connection_that_died_is_sent_once_more_on_a_new_one() {
    let mut upstream = Upstream::start().await;
    let origin = upstream.origin(&Client::for_tests());
    for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE] {
        let mut idle = upstream.serve(&origin).await;
        let called = calling(&origin, request(method.clone(), upstream.address));
        let first = answer(&mut idle, "").await;
        drop(idle);
        let mut new = upstream.accepted().await;
        let second = answer(&mut new, NOTHING).await;
        assert_eq!(called.await.unwrap().unwrap(), "", "{method}");
        assert_eq!(first, second);
        drop(new);
        while origin.idle().is_some() {}
    }
    assert_eq!(failures(&origin), [0], "a server may close what is idle");
}

#[tokio::test]
async fn a_request_that_does_something_is_never_sent_twice() {
    let mut upstream = Upstream::start().await;
    let origin = upstream.origin(&Client::for_tests());
    for method in [Method::POST, Method::PATCH, Method::from_bytes(b"BREW").unwrap()] {
        let idle = upstream.serve(&origin).await;
        let called = calling(&origin, request(method.clone(), upstream.address));
        die(idle, "").await;
        assert!(matches!(called.await.unwrap(), Err(CallError::Broken(_))), "{method}");
        assert!(upstream.nobody_came());
    }
}

#[tokio::test]
async fn a_request_with_a_body_is_never_sent_twice() {
    let mut upstream = Upstream::start().await;
    let origin = upstream.origin(&Client::for_tests());
    let idle = upstream.serve(&origin).await;
    let body = http_body_util::Full::new(Bytes::from_static(b"x"));
    let (body, _) = RequestBody::new(body, 10, Duration::from_secs(9), Keep::Nothing).unwrap();
    let called = calling(&origin, request(Method::PUT, upstream.address).map(|_| body));
    die(idle, "").await;
    assert!(matches!(called.await.unwrap(), Err(CallError::Broken(_))));
    assert!(upstream.nobody_came());
}

#[tokio::test]
async fn what_broke_off_within_an_answer_is_not_asked_again() {
    let mut upstream = Upstream::start().await;
    let origin = upstream.origin(&Client::for_tests());
    for begun in ["H", "HTTP/1.1 200 OK\r\ncontent-le", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"] {
        let idle = upstream.serve(&origin).await;
        let called = upstream.calling(&origin);
        die(idle, begun).await;
        assert!(matches!(called.await.unwrap(), Err(CallError::Broken(_))), "{begun}");
        assert!(upstream.nobody_came(), "{begun}");
    }
}

#[tokio::test]
async fn nothing_is_sent_a_third_time() {
    let mut upstream = Upstream::start().await;
    let origin = upstream.origin(&Client::for_tests());
    let idle = upstream.serve(&origin).await;
    let called = upstream.calling(&origin);
    die(idle, "").await;
    die(upstream.accepted().await, "").await;
    assert!(matches!(called.await.unwrap(), Err(CallError::Broken(_))));
    assert!(upstream.nobody_came());
    assert_eq!(failures(&origin), [0], "the upstream can be reached");
}

#[tokio::test]
async fn on_a_new_connection_that_breaks_nothing_is_sent_again() {
    let mut upstream = Upstream::start().await;
    let origin = upstream.origin(&Client::for_tests());
    for begun in ["", "HTTP/1.1 2"] {
        let called = upstream.calling(&origin);
        die(upstream.accepted().await, begun).await;
        assert!(matches!(called.await.unwrap(), Err(CallError::Broken(_))), "{begun}");
        assert!(upstream.nobody_came());
        assert_eq!(failures(&origin), [0]);
    }
    let called = upstream.calling(&origin);
    drop(upstream.accepted().await);
    called.await.unwrap().unwrap_err();
}

#[tokio::test]
async fn a_head_that_is_too_long_to_keep_is_not_sent_again() {
    let mut upstream = Upstream::start().await;
    let origin = upstream.origin(&Client::for_tests());
    let idle = upstream.serve(&origin).await;
    let mut request = upstream.request();
    request.headers_mut().insert("x-long", "x".repeat(17 * 1024).parse().unwrap());
    let called = calling(&origin, request);
    die(idle, "").await;
    assert!(matches!(called.await.unwrap(), Err(CallError::Broken(_))));
    assert!(upstream.nobody_came());
}

#[tokio::test]
async fn nothing_that_a_browser_does_counts_as_a_failure() {
    let mut upstream = Upstream::start().await;
    let origin = upstream.origin(&Client::for_tests());

    let given_up = upstream.calling(&origin);
    answer(&mut upstream.accepted().await, "").await;
    given_up.abort();
    given_up.await.unwrap_err();

    let broken_off = futures_util::stream::iter([
        Ok(http_body::Frame::data(Bytes::from_static(b"x"))),
        Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset)),
    ]);
    let (body, _) =
        RequestBody::new(http_body_util::StreamBody::new(broken_off), 10, Duration::from_secs(9), Keep::Nothing)
            .unwrap();
    let called = calling(&origin, request(Method::POST, upstream.address).map(|_| body));
    let _connection = upstream.accepted().await;
    called.await.unwrap().unwrap_err();

    // The upstream closes because the browser is slow.
    let silent = http_body_util::StreamBody::new(futures_util::stream::pending::<Result<_, std::io::Error>>());
    let (body, _) = RequestBody::new(silent, 10, Duration::from_secs(9), Keep::Nothing).unwrap();
    let called = calling(&origin, request(Method::POST, upstream.address).map(|_| body));
    die(upstream.accepted().await, "").await;
    called.await.unwrap().unwrap_err();

    let refused = upstream.calling(&origin);
    answer(&mut upstream.accepted().await, "HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n").await;
    refused.await.unwrap().unwrap();
    assert_eq!(failures(&origin), [0]);
}
