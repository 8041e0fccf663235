//! How WebSockets end, and that a connection of HTTP/2 goes on without them.

use http::Method;
use tokio::io::AsyncWriteExt as _;

use super::super::stage::{BOTH, Stage, Version, empty, in_time};
use super::{ask, frame, opened};

#[tokio::test]
async fn a_websocket_of_an_ended_session_closes_between_two_frames() {
    let mut stage = Stage::start().await;
    for version in BOTH {
        stage.log_in_anew().await;
        let (mut page, mut call) = opened(&mut stage, version).await;
        let message = frame(0x82, None, &vec![7; 100_000]);
        call.says(&message[..50_000]).await;
        page.reads(&message[..50_000]).await;
        stage.browser.fetch(Method::POST, "/bff/logout").await;
        let rest = [&message[50_000..], &frame(0x81, None, b"too late")].concat();
        let (come, _) = tokio::join!(page.rest(), call.stream.write_all(&rest));
        assert!(come == [&message[50_000..], &frame(0x88, None, &4401_u16.to_be_bytes())].concat(), "{version:?}");
        assert!(call.rest().await.is_empty());
    }
}

#[tokio::test]
async fn at_shutdown_websockets_of_http2_are_told_to_come_back_and_hold_nobody_up() {
    let mut stage = Stage::start().await;
    let (mut page, _call) = opened(&mut stage, Version::Http2).await;
    let Stage { secure, .. } = stage;
    secure.end();
    assert_eq!(page.rest().await, frame(0x88, None, &1001_u16.to_be_bytes()));
    drop(page);
    in_time(secure.ended()).await;
}

#[tokio::test]
async fn a_silent_websocket_is_closed() {
    let mut stage = Stage::with("idle_timeout = '100ms'").await;
    for version in BOTH {
        let (mut page, mut call) = opened(&mut stage, version).await;
        assert!(page.rest().await.is_empty() && call.rest().await.is_empty(), "{version:?}");
    }
}

#[tokio::test]
async fn a_page_that_goes_takes_its_websocket_with_it_and_nothing_else() {
    let mut stage = Stage::start().await;
    for version in BOTH {
        let (page, mut call) = opened(&mut stage, version).await;
        drop(page);
        assert!(call.rest().await.is_empty(), "{version:?}");
    }
    // One of two on the same connection.
    let mut client = stage.client(Version::Http2).await;
    let mut sockets = Vec::new();
    for _ in 0..2 {
        let asking = ask(&mut client, stage.call("GET", "/api/ws"));
        let (answered, call) = tokio::join!(asking, async {
            let mut call = stage.upstream.call().await;
            call.agrees().await;
            call
        });
        sockets.push((answered.socket.unwrap(), call));
    }
    let (mut page, mut call) = sockets.pop().unwrap();
    drop(sockets.pop().unwrap().0);
    page.sends(b"\x81\x80mask").await;
    call.reads(b"\x81\x80mask").await;
}

#[tokio::test]
async fn an_api_that_goes_takes_the_websocket_with_it_and_nothing_else() {
    let mut stage = Stage::start().await;
    for version in BOTH {
        let (mut page, mut call) = opened(&mut stage, version).await;
        call.says(frame(0x88, None, b"\x03\xe8")).await;
        drop(call);
        assert_eq!(page.rest().await, frame(0x88, None, b"\x03\xe8"), "{version:?}");
    }
    let mut client = stage.client(Version::Http2).await;
    let asking = ask(&mut client, stage.call("GET", "/api/ws"));
    let (answered, ()) = tokio::join!(asking, async { stage.upstream.call().await.agrees().await });
    assert!(answered.socket.unwrap().rest().await.is_empty());
    let request = stage.call("GET", "/api/x").body(empty()).unwrap();
    let (answer, _call) = tokio::join!(client.send(request), async {
        let mut call = stage.upstream.call().await;
        call.says("HTTP/1.1 204 No Content\r\n\r\n").await;
        call
    });
    assert_eq!(answer.unwrap().status(), 204);
}
