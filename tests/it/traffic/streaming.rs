//! Bodies stream: nothing is kept that the other side has not room for, and each side hears at once that the other is gone.

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;

use super::stage::{BOTH, Client, Stage, Version, empty, full, in_time, streamed};
use super::upstream::Call;

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

#[tokio::test]
async fn each_event_arrives_before_the_next_is_sent() {
    let mut stage = Stage::start().await;
    for version in BOTH {
        let mut client = stage.client(version).await;
        let (mut body, mut call) = answered(&mut stage, &mut client, CHUNKED).await;
        for nth in 0..5 {
            let event = format!("id: {nth}\ndata: now\n\n");
            call.says(format!("{:x}\r\n{event}\r\n", event.len())).await;
            assert_eq!(next(&mut body).await, event, "{version:?}");
        }
        call.says("0\r\n\r\n").await;
        ends(&mut body).await;
    }
}

#[tokio::test]
async fn each_piece_of_an_upload_arrives_before_the_next_is_sent_and_may_be_answered() {
    let mut stage = Stage::start().await;
    for version in BOTH {
        let mut client = stage.client(version).await;
        let (pieces, body) = streamed();
        let request = stage.call("POST", "/api/x").body(body).unwrap();
        let (answer, mut call) = tokio::join!(client.send(request), async {
            let mut call = stage.upstream.call().await;
            pieces.send(Bytes::from_static(b"one")).await.unwrap();
            call.reads("3\r\none\r\n").await;
            call.says(CHUNKED).await;
            call
        });
        // The answer has begun, and the upload goes on.
        let mut body = answer.unwrap().into_body();
        call.says("3\r\nuno\r\n").await;
        assert_eq!(next(&mut body).await, "uno");
        pieces.send(Bytes::from_static(b"two")).await.unwrap();
        call.reads("3\r\ntwo\r\n").await;
        drop(pieces);
        call.reads("0\r\n\r\n").await;
        call.says("3\r\ndue\r\n0\r\n\r\n").await;
        assert_eq!(next(&mut body).await, "due", "{version:?}");
        ends(&mut body).await;
    }
}

#[tokio::test]
async fn an_api_waits_for_a_client_that_does_not_read() {
    let mut stage = Stage::start().await;
    for version in BOTH {
        let mut client = stage.client(version).await;
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {ALL}\r\n\r\n");
        let (mut body, mut call) = answered(&mut stage, &mut client, &head).await;
        let (written, writing) = counted();
        let sending = tokio::spawn(async move {
            let piece = vec![7; PIECE];
            for _ in 0..ALL / PIECE {
                call.stream.write_all(&piece).await.unwrap();
                written.send(PIECE).unwrap();
            }
            call
        });
        let sent = writing.until_it_stops().await;
        assert!(sent < BOUND, "{version:?}: {sent} bytes are kept somewhere");
        let mut come = 0;
        while let Some(frame) = in_time(body.frame()).await {
            come += frame.unwrap().into_data().unwrap().len();
        }
        assert_eq!(come, ALL);
        in_time(sending).await.unwrap();
    }
}

#[tokio::test]
async fn a_client_waits_for_an_api_that_does_not_read() {
    let mut stage = Stage::with("max_body = '1GiB'").await;
    for version in BOTH {
        let mut client = stage.client(version).await;
        let (pieces, body) = streamed();
        let request = stage.call("POST", "/api/x").header("content-length", ALL).body(body).unwrap();
        let asking = tokio::spawn(async move { client.send(request).await });
        let mut call = stage.upstream.call().await;
        let (written, writing) = counted();
        tokio::spawn(async move {
            let piece = Bytes::from(vec![7; PIECE]);
            for _ in 0..ALL / PIECE {
                pieces.send(piece.clone()).await.unwrap();
                written.send(PIECE).unwrap();
            }
        });
        let sent = writing.until_it_stops().await;
        assert!(sent < BOUND, "{version:?}: {sent} bytes are kept somewhere");
        let (mut come, mut buffer) = (0, vec![0; PIECE]);
        while come < ALL {
            come += in_time(call.stream.read(&mut buffer)).await.unwrap();
        }
        assert_eq!(come, ALL);
        call.says("HTTP/1.1 204 No Content\r\n\r\n").await;
        assert_eq!(asking.await.unwrap().unwrap().status(), 204);
    }
}

#[tokio::test]
async fn an_upload_that_stands_still_holds_up_no_other_on_its_connection() {
    let mut stage = Stage::start().await;
    let mut client = stage.client(Version::Http2).await;
    let Client::Http2(sender) = &client else { unreachable!("it speaks HTTP/2") };
    let mut stuck = sender.clone();
    let (pieces, body) = streamed();
    let request = stage.call("POST", "/api/x").body(body).unwrap();
    let asking = tokio::spawn(async move { stuck.send_request(request).await });
    let _silent = stage.upstream.call().await;
    let (written, writing) = counted();
    let uploading = tokio::spawn(async move {
        while pieces.send(Bytes::from(vec![7; PIECE])).await.is_ok() {
            written.send(PIECE).unwrap();
        }
    });
    writing.until_it_stops().await;
    let request = stage.call("POST", "/api/y").body(full(vec![7; PIECE])).unwrap();
    let (answer, _call) = tokio::join!(client.send(request), async {
        let mut call = stage.upstream.call().await;
        call.reads(vec![7; PIECE]).await;
        call.says("HTTP/1.1 204 No Content\r\n\r\n").await;
        call
    });
    assert_eq!(answer.unwrap().status(), 204);
    asking.abort();
    uploading.abort();
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_the_call() {
    let mut stage = Stage::start().await;
    for version in BOTH {
        // While it waits for the answer.
        let mut client = stage.client(version).await;
        let request = stage.call("GET", "/api/x").body(empty()).unwrap();
        let asking = tokio::spawn(async move { client.send(request).await });
        let mut call = stage.upstream.call().await;
        asking.abort();
        assert!(call.rest().await.is_empty(), "{version:?}");

        // While it reads.
        let mut client = stage.client(version).await;
        let (mut body, mut call) = answered(&mut stage, &mut client, CHUNKED).await;
        call.says("1\r\nx\r\n").await;
        next(&mut body).await;
        drop(body);
        if version == Version::Http1 {
            drop(client);
        }
        call.rest().await;

        // While it sends.
        let mut client = stage.client(version).await;
        let (pieces, body) = streamed();
        let request = stage.call("POST", "/api/x").body(body).unwrap();
        let asking = tokio::spawn(async move { client.send(request).await });
        let mut call = stage.upstream.call().await;
        pieces.send(Bytes::from_static(b"half")).await.unwrap();
        call.reads("4\r\nhalf\r\n").await;
        asking.abort();
        let rest = call.rest().await;
        assert!(rest.is_empty(), "{version:?}: the API takes the half for the whole");
    }
}

#[tokio::test]
async fn one_cancelled_call_leaves_the_others_of_its_connection_alone() {
    let mut stage = Stage::start().await;
    let mut client = stage.client(Version::Http2).await;
    let (one, mut cancelled) = answered(&mut stage, &mut client, CHUNKED).await;
    let (mut other, mut call) = answered(&mut stage, &mut client, CHUNKED).await;
    drop(one);
    cancelled.rest().await;
    call.says("1\r\nx\r\n0\r\n\r\n").await;
    assert_eq!(next(&mut other).await, "x");
    ends(&mut other).await;
}

#[tokio::test]
async fn an_api_that_goes_away_leaves_no_answer_that_looks_whole() {
    let mut stage = Stage::start().await;
    for version in BOTH {
        for head in [CHUNKED, "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"] {
            let mut client = stage.client(version).await;
            let (mut body, mut call) = answered(&mut stage, &mut client, head).await;
            call.says(if head == CHUNKED { "3\r\nabc\r\n" } else { "abc" }).await;
            assert_eq!(next(&mut body).await, "abc");
            drop(call);
            let end = in_time(body.frame()).await.expect("it does not end as if it were whole");
            assert!(end.is_err(), "{version:?}");
        }
    }
}

/// An answer of which the head has come.
async fn answered(stage: &mut Stage, client: &mut Client, head: &str) -> (Incoming, Call) {
    let request = stage.call("GET", "/api/x").body(empty()).unwrap();
    let (answer, call) = tokio::join!(client.send(request), async {
        let mut call = stage.upstream.call().await;
        call.says(head).await;
        call
    });
    (answer.unwrap().into_body(), call)
}

async fn next(body: &mut Incoming) -> Bytes {
    in_time(body.frame()).await.expect("it goes on").unwrap().into_data().unwrap()
}

/// Nothing more comes. HTTP/2 may say so in a frame of its own.
async fn ends(body: &mut Incoming) {
    while let Some(frame) = in_time(body.frame()).await {
        assert!(frame.unwrap().data_ref().is_some_and(Bytes::is_empty));
    }
}

/// Bytes as they are taken from somebody.
struct Counted(mpsc::UnboundedReceiver<usize>);

fn counted() -> (mpsc::UnboundedSender<usize>, Counted) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (sender, Counted(receiver))
}

impl Counted {
    /// How many they were when nobody took any more.
    async fn until_it_stops(mut self) -> usize {
        let mut all = 0;
        while let Ok(Some(bytes)) = tokio::time::timeout(STILL, self.0.recv()).await {
            all += bytes;
        }
        // Whoever counts goes on.
        tokio::spawn(async move { while self.0.recv().await.is_some() {} });
        all
    }
}

const PIECE: usize = 64 * 1024;
const ALL: usize = 48 * 1024 * 1024;
/// What the system may keep for three connections, which grows as they are used, and some room for us.
const BOUND: usize = 24 * 1024 * 1024;
/// Nothing moves any more.
const STILL: std::time::Duration = std::time::Duration::from_millis(500);
