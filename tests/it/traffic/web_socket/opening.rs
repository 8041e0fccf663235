//! Handshakes: whose they are, where they may go, and what is no agreement.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::ext::Protocol;

use super::super::stage::{BOTH, Client, Stage, Version, empty};
use super::{ask, ask_from, frame};

#[tokio::test]
async fn a_websocket_of_http2_is_asked_for_as_one_of_http1() {
    let mut stage = Stage::with("methods = ['GET']").await;
    let mut client = stage.client(Version::Http2).await;
    let request = stage.bare("GET", "/api/ws?x=1").header("cookie", stage.cookie());
    let request = request.header("sec-websocket-protocol", "chat, superchat").header("sec-websocket-extensions", "x-y");
    let asking = ask(&mut client, request);
    let (answered, mut call) = tokio::join!(asking, async {
        let mut call = stage.upstream.call().await;
        call.agrees_with("Sec-WebSocket-Protocol: chat\r\nContent-Length: 3\r\nX-Ours: 1\r\n").await;
        call
    });
    assert!(call.head.starts_with("GET /v1/ws?x=1 HTTP/1.1\r\n"), "{}", call.head);
    for (name, value) in [
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "chat, superchat"),
        ("sec-websocket-extensions", "x-y"),
    ] {
        assert_eq!(call.header(name), Some(value), "{}", call.head);
    }
    assert!(call.header("authorization").unwrap().starts_with("Bearer "));
    assert_eq!(call.header("cookie"), None);
    assert_eq!(STANDARD.decode(call.header("sec-websocket-key").unwrap()).unwrap().len(), 16);
    assert_eq!((answered.status, &answered.headers["sec-websocket-protocol"]), (200, &"chat".parse().unwrap()));
    for name in ["connection", "upgrade", "sec-websocket-accept", "content-length"] {
        assert!(!answered.headers.contains_key(name), "{name}");
    }
    // Other calls go on beside it.
    let request = stage.call("GET", "/api/x").body(empty()).unwrap();
    let (answer, _other) = tokio::join!(client.send(request), async {
        let mut call = stage.upstream.call().await;
        call.says("HTTP/1.1 204 No Content\r\n\r\n").await;
        call
    });
    assert_eq!(answer.unwrap().status(), 204);
    let mut page = answered.socket.unwrap();
    call.says(frame(0x81, None, b"hi")).await;
    page.reads(&frame(0x81, None, b"hi")).await;
}

#[tokio::test]
async fn two_websockets_have_two_keys() {
    let mut stage = Stage::start().await;
    let mut client = stage.client(Version::Http2).await;
    let mut keys = Vec::new();
    for _ in 0..2 {
        let request = stage.call("GET", "/api/ws").header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        let (_, call) = tokio::join!(ask(&mut client, request), async {
            let mut call = stage.upstream.call().await;
            call.agrees().await;
            call
        });
        keys.push(call.header("sec-websocket-key").unwrap().to_owned());
    }
    assert!(keys[0] != keys[1] && !keys.contains(&"dGhlIHNhbXBsZSBub25jZQ==".to_owned()));
}

#[tokio::test]
async fn a_page_of_another_site_opens_none() {
    let mut stage = Stage::start().await;
    for version in BOTH {
        for origin in [None, Some("https://evil.example"), Some("null"), Some("https://localhost")] {
            // The header of calls proves nothing here, and neither does a cookie.
            let mut client = stage.client(version).await;
            let answered = ask_from(&mut client, stage.call("GET", "/api/ws"), origin).await;
            assert_eq!((answered.status, answered.socket.is_some()), (403, false), "{version:?} {origin:?}");
        }
        let mut client = stage.client(version).await;
        let from_a_sibling = stage.call("GET", "/api/ws").header("sec-fetch-site", "same-site");
        assert_eq!(ask(&mut client, from_a_sibling).await.status, 403);
        let mut client = stage.client(version).await;
        assert_eq!(ask(&mut client, stage.bare("GET", "/api/ws")).await.status, 401);
        let mut client = stage.client(version).await;
        assert_eq!(ask(&mut client, stage.call("GET", "/api/../ws")).await.status, 400);
    }
    assert!(stage.upstream.is_left_alone());
}

#[tokio::test]
async fn what_is_no_websocket_opens_none() {
    let stage = Stage::start().await;
    let mut client = stage.client(Version::Http2).await;
    // Ours, a file, nothing; and events, which are an answer of 200.
    for (path, status) in [("/bff/user", 403), ("/bff/events", 501), ("/index.html", 501), ("/bff/nothing", 404)] {
        let answered = ask(&mut client, stage.bare("GET", path)).await;
        assert_eq!((answered.status, answered.socket.is_some()), (status, false), "{path}");
    }
}

#[tokio::test]
async fn what_an_api_says_instead_is_no_websocket() {
    let mut stage = Stage::start().await;
    for version in BOTH {
        let http2 = version == Version::Http2;
        for (said, told) in [
            ("200 OK\r\nContent-Length: 2\r\n\r\nok", if http2 { 501 } else { 200 }),
            ("200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", if http2 { 501 } else { 200 }),
            ("204 No Content\r\n\r\n", if http2 { 501 } else { 204 }),
            ("403 Forbidden\r\nContent-Length: 2\r\n\r\nno", 403),
            ("426 Upgrade Required\r\nSec-WebSocket-Version: 13\r\nContent-Length: 0\r\n\r\n", 426),
            ("302 Found\r\nLocation: https://elsewhere.example/\r\nContent-Length: 0\r\n\r\n", 302),
            ("101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 502),
            (
                "101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                 Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo\r\n\r\n",
                502,
            ),
        ] {
            let mut client = stage.client(version).await;
            let asking = ask(&mut client, stage.call("GET", "/api/ws"));
            let (answered, _call) = tokio::join!(asking, async {
                let mut call = stage.upstream.call().await;
                call.says(format!("HTTP/1.1 {said}")).await;
                call
            });
            assert_eq!((answered.status, answered.socket.is_some()), (told, false), "{version:?} {said}");
        }
    }
}

#[tokio::test]
async fn other_protocols_are_no_way_through() {
    let mut stage = Stage::start().await;
    let mut client = stage.client(Version::Http2).await;
    let origin = format!("https://{}", stage.secure.host());
    for protocol in ["connect-udp", "connect-ip", "WebSocket", "webtransport", "h2c"] {
        let request = stage.call("CONNECT", "/api/ws").header("origin", &origin).extension(Protocol::from(protocol));
        let Client::Http2(sender) = &mut client else { unreachable!("it speaks HTTP/2") };
        let answer = sender.send_request(request.body(empty()).unwrap()).await.unwrap();
        assert_eq!(answer.status(), 405, "{protocol}");
    }
    assert!(stage.upstream.is_left_alone());
}
