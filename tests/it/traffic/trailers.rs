//! Trailers (RFC 9110 §6.5): an answer's pass if they say nothing that belongs into a head; a request's never do.

use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt as _;

use super::stage::{BOTH, Stage, Version, empty, in_time};

const ANSWER: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\
    Trailer: grpc-status, Set-Cookie\r\nTrailer: server-timing, not a name, content-length\r\n\r\n\
    3\r\nabc\r\n0\r\nGrpc-Status: 0\r\nServer-Timing: db;dur=5\r\n\
    Set-Cookie: evil=1\r\nContent-Length: 9\r\nAuthorization: Bearer x\r\nX-Accel-Redirect: /x\r\n\r\n";

#[tokio::test]
async fn what_an_answer_says_at_its_end_arrives() {
    let mut stage = Stage::start().await;
    for version in BOTH {
        let mut client = stage.client(version).await;
        let request = stage.call("GET", "/api/x").header("te", "trailers").body(empty()).unwrap();
        let (answer, mut call) = tokio::join!(client.send(request), async {
            let mut call = stage.upstream.call().await;
            assert_eq!(call.header("te"), Some("trailers"));
            call.says(ANSWER).await;
            call
        });
        let answer = answer.unwrap();
        if version == Version::Http1 {
            assert_eq!(answer.headers()["trailer"], "grpc-status, server-timing");
        }
        let collected = in_time(answer.into_body().collect()).await.unwrap();
        let trailers = collected.trailers().cloned().unwrap();
        assert_eq!(collected.to_bytes(), "abc");
        let expected = [("grpc-status", "0"), ("server-timing", "db;dur=5")];
        let expected: HeaderMap = expected
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
            .into_iter()
            .collect();
        assert_eq!(trailers, expected, "{version:?}");

        // The connection is good for another call.
        let request = stage.call("GET", "/api/y").body(empty()).unwrap();
        let (answer, ()) = tokio::join!(client.send(request), async {
            call.again().await;
            call.says("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await;
        });
        assert_eq!(answer.unwrap().status(), 204);
    }
}

#[tokio::test]
async fn a_client_of_http1_that_did_not_ask_for_trailers_gets_a_whole_answer_without() {
    let mut stage = Stage::start().await;
    let mut client = stage.client(Version::Http1).await;
    let request = stage.call("GET", "/api/x").body(empty()).unwrap();
    let (answer, ()) = tokio::join!(client.send(request), async { stage.upstream.call().await.says(ANSWER).await });
    let collected = in_time(answer.unwrap().into_body().collect()).await.unwrap();
    assert!(collected.trailers().is_none());
    assert_eq!(collected.to_bytes(), "abc");
}

#[tokio::test]
async fn trailers_that_belong_into_a_head_leave_an_answer_whole() {
    let mut stage = Stage::start().await;
    for version in BOTH {
        let mut client = stage.client(version).await;
        let request = stage.call("GET", "/api/x").header("te", "trailers").body(empty()).unwrap();
        let (answer, ()) = tokio::join!(client.send(request), async {
            let head =
                "HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\nTrailer: Set-Cookie\r\n\r\n";
            stage.upstream.call().await.says(format!("{head}1\r\nx\r\n0\r\nSet-Cookie: a=b\r\n\r\n")).await;
        });
        let answer = answer.unwrap();
        assert!(!answer.headers().contains_key("trailer"));
        let collected = in_time(answer.into_body().collect()).await.unwrap();
        assert!(collected.trailers().is_none_or(HeaderMap::is_empty), "{version:?}");
        assert_eq!(collected.to_bytes(), "x");
    }
}
