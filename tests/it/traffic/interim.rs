//! `100 Continue` towards the browser (RFC 9110 §10.1.1), and whatever `1xx` an API says before its answer (§15.2).

use http::StatusCode;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::stage::{BOTH, Stage, empty, full, in_time};

#[tokio::test]
async fn a_client_that_waits_for_100_gets_it_once_the_body_is_wanted() {
    let mut stage = Stage::start().await;
    let mut client = stage.connect().await;
    let head = stage.head("POST /api/x HTTP/1.1", &["Expect: 100-continue", "Content-Length: 5"]);
    client.write_all(head.as_bytes()).await.unwrap();
    let mut call = stage.upstream.call().await;
    assert_eq!((call.header("expect"), call.header("content-length")), (None, Some("5")));
    let mut interim = [0; CONTINUE.len()];
    in_time(client.read_exact(&mut interim)).await.unwrap();
    assert_eq!(&interim, CONTINUE);
    client.write_all(b"hello").await.unwrap();
    call.reads("hello").await;
    call.says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
    assert!(head_of(&mut client).await.starts_with("HTTP/1.1 200 OK\r\n"));
    in_time(client.read_exact(&mut [0; 2])).await.unwrap();

    // The connection is in step: what follows is the next request.
    client.write_all(stage.head("GET /api/y HTTP/1.1", &["Connection: close"]).as_bytes()).await.unwrap();
    call.again().await;
    assert!(call.head.starts_with("GET /v1/y "));
    call.says("HTTP/1.1 204 No Content\r\n\r\n").await;
    assert!(head_of(&mut client).await.starts_with("HTTP/1.1 204 "));
}

#[tokio::test]
async fn a_refused_call_is_never_told_to_go_on_and_ends_its_connection() {
    let mut stage = Stage::with("max_body = '1KiB'").await;
    let whole = stage.head("POST /api/x HTTP/1.1", &["Expect: 100-continue", "Content-Length: 1025"]);
    let without = |start: &str, head: &str| -> String {
        head.split_inclusive("\r\n").filter(|line| !line.starts_with(start)).collect()
    };
    let small = whole.replace("1025", "1024");
    for (head, status) in [
        (whole, "413 Payload Too Large"),
        (without("X-CSRF", &small), "403 Forbidden"),
        (without("Cookie", &small), "401 Unauthorized"),
    ] {
        let mut client = stage.connect().await;
        client.write_all(head.as_bytes()).await.unwrap();
        let mut said = Vec::new();
        // How the connection ends is no matter.
        let _ = in_time(client.read_to_end(&mut said)).await;
        let said = String::from_utf8(said).unwrap();
        assert!(said.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{said}");
        assert_eq!(said.matches("HTTP/1.1").count(), 1, "{said}");
    }
    assert!(stage.upstream.is_left_alone());
}

#[tokio::test]
async fn an_upstream_that_refuses_early_is_heard_before_the_body_is_sent() {
    let mut stage = Stage::start().await;
    for version in BOTH {
        let mut client = stage.client(version).await;
        let (_pieces, body) = super::stage::streamed();
        let request = stage.call("POST", "/api/x").body(body).unwrap();
        let (answer, _call) = tokio::join!(client.send(request), async {
            let mut call = stage.upstream.call().await;
            call.says("HTTP/1.1 422 Unprocessable Content\r\nContent-Length: 0\r\n\r\n").await;
            call
        });
        assert_eq!(answer.unwrap().status(), 422, "{version:?}");
    }
}

#[tokio::test]
async fn interim_answers_of_an_api_go_no_further_and_disturb_nothing() {
    let mut stage = Stage::start().await;
    for version in BOTH {
        let mut client = stage.client(version).await;
        let request = stage.call("POST", "/api/x").body(full("hello")).unwrap();
        let (answer, _call) = tokio::join!(client.send(request), async {
            let mut call = stage.upstream.call().await;
            for interim in ["100 Continue", "102 Processing", "103 Early Hints\r\nLink: </a.js>; rel=preload", "199 x"]
            {
                call.says(format!("HTTP/1.1 {interim}\r\nSet-Cookie: a=b\r\nContent-Length: 7\r\n\r\n")).await;
            }
            call.reads("hello").await;
            call.says("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await;
            call
        });
        let answer = answer.unwrap();
        assert_eq!(answer.status(), 200, "{version:?}");
        assert!(!answer.headers().contains_key("link") && !answer.headers().contains_key("set-cookie"));
        assert_eq!(in_time(answer.into_body().collect()).await.unwrap().to_bytes(), "ok");
    }
}

#[tokio::test]
async fn an_api_that_says_nothing_but_1xx_has_the_routes_timeout() {
    let mut stage = Stage::with("timeout = '100ms'").await;
    for version in BOTH {
        let mut client = stage.client(version).await;
        let request = stage.call("GET", "/api/x").body(empty()).unwrap();
        let (answer, ()) = tokio::join!(client.send(request), async {
            let mut call = stage.upstream.call().await;
            let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.js>\r\n\r\n".repeat(100);
            // Until nobody listens.
            while in_time(call.stream.write_all(hints.as_bytes())).await.is_ok() {}
        });
        assert_eq!(answer.unwrap().status(), StatusCode::GATEWAY_TIMEOUT, "{version:?}");
    }
}

#[tokio::test]
async fn an_interim_answer_is_not_the_answer() {
    let mut stage = Stage::start().await;
    let mut client = stage.client(super::stage::Version::Http2).await;
    let request = stage.call("GET", "/api/x").body(empty()).unwrap();
    let (answer, ()) = tokio::join!(client.send(request), async {
        stage.upstream.call().await.says("HTTP/1.1 103 Early Hints\r\n\r\n").await;
    });
    assert_eq!(answer.unwrap().status(), StatusCode::BAD_GATEWAY);
}

/// A head, to its empty line.
async fn head_of(client: &mut (impl tokio::io::AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(in_time(client.read_u8()).await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

const CONTINUE: &[u8; 25] = b"HTTP/1.1 100 Continue\r\n\r\n";
