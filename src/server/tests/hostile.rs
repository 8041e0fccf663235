//! Clients that want to hold or use up what others need. Each test ends by a condition: the connection is closed, or somebody else is
//! served beside it.

use metrics::with_local_recorder;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use super::*;

/// A client that writes until it is closed on, and reads all the while. Answers the reason it is sent away with (RFC 9113 §7).
async fn flood(server: &Running, root: &str, piece: Vec<u8>) -> Option<u8> {
    let (mut incoming, mut write) = tokio::io::split(connect_tls(server, root, b"h2").await);
    let writing = tokio::spawn(async move {
        write.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await?;
        write.write_all(&frame(SETTINGS, 0, 0, &[])).await?;
        loop {
            write.write_all(&piece).await?;
        }
        #[expect(unreachable_code, reason = "says what the question marks give")]
        io::Result::Ok(())
    });
    let mut reason = None;
    while let Some((kind, _, payload)) = read(&mut incoming).await {
        if kind == GOAWAY {
            reason = payload.get(7).copied();
        }
    }
    drop(incoming);
    assert!(writing.await.unwrap().is_err());
    reason
}

async fn is_served(server: &Running, root: &str) -> bool {
    ask(&mut connect_tls(server, root, b"http/1.1").await, GET).await.contains("scheme: Https")
}

/// A frame: its type, flags and payload; none at the end.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<(u8, u8, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let mut payload = vec![0; usize::from(head[1]) << 8 | usize::from(head[2])];
    stream.read_exact(&mut payload).await.ok()?;
    Some((head[3], head[4], payload))
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    bytes.extend_from_slice(&[kind, flags]);
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// The head of `GET https://localhost/`, by the static table (RFC 7541, Appendix A).
const REQUEST: &[u8] = b"\x82\x84\x87\x01\x09localhost";
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ENHANCE_YOUR_CALM: u8 = 11;

/// CVE-2023-44487.
#[tokio::test]
async fn who_opens_streams_only_to_reset_them_is_sent_away() {
    let (server, root) = start_tls(peer_echo(), limits()).await;
    let reset = |stream| {
        let cancel = frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
        [frame(HEADERS, END_HEADERS | END_STREAM, stream, REQUEST), cancel].concat()
    };
    let piece = (0..20_000).flat_map(|request| reset(2 * request + 1)).collect();
    assert_eq!(flood(&server, &root, piece).await, Some(ENHANCE_YOUR_CALM));
    assert!(is_served(&server, &root).await);
}

/// CVE-2024-27316 and its kin.
#[tokio::test]
async fn a_head_of_endless_continuations_is_sent_away() {
    let (server, root) = start_tls(peer_echo(), limits()).await;
    let mut piece = frame(HEADERS, END_STREAM, 1, REQUEST);
    for _ in 0..1000 {
        // A literal field, never the last.
        piece.extend(frame(CONTINUATION, 0, 1, b"\x00\x01x\x01y"));
    }
    assert_eq!(flood(&server, &root, piece).await, Some(ENHANCE_YOUR_CALM));
    assert!(is_served(&server, &root).await);
}

/// CVE-2019-9512, CVE-2019-9515: each has to be answered, and nobody takes the answers.
#[tokio::test]
async fn who_asks_without_end_and_reads_no_answer_is_given_up() {
    let short = Limits { write_timeout: Duration::from_millis(50), ..limits() };
    let (server, root) = start_tls(peer_echo(), short).await;
    for piece in [frame(PING, 0, 0, &[0; 8]).repeat(1000), frame(SETTINGS, 0, 0, &[]).repeat(1000)] {
        let mut stream = connect_tls(&server, &root, b"h2").await;
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
        while stream.write_all(&piece).await.is_ok() {}
        assert!(is_served(&server, &root).await);
    }
}

#[tokio::test]
async fn an_http2_connection_that_asks_for_nothing_is_closed_and_one_under_way_is_not() {
    let (router, reached, go) = slow();
    let (server, root) = start_tls(router, Limits { http2_idle: Duration::from_millis(20), ..limits() }).await;
    let mut stream = connect_tls(&server, &root, b"h2").await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    stream.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 1, REQUEST)).await.unwrap();
    reached.notified().await;
    let (mut goes, mut answer) = (false, Vec::new());
    while let Some((kind, flags, payload)) = read(&mut stream).await {
        match kind {
            GOAWAY if !goes => {
                goes = true;
                go.notify_one();
            }
            PING if flags & ACK == 0 => stream.write_all(&frame(PING, ACK, 0, &payload)).await.unwrap(),
            DATA => answer.extend(payload),
            _ => {}
        }
    }
    assert!(goes);
    assert_eq!(answer, b"done");
}

#[tokio::test]
async fn a_thousand_heads_that_drip_hold_nobody_up() {
    let server = start(peer_echo(), None, limits()).await;
    let mut slow = Vec::new();
    for _ in 0..1000 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nhost: loc").await.unwrap();
        slow.push(stream);
    }
    for _ in 0..10 {
        for stream in &mut slow {
            stream.write_all(b"a").await.unwrap();
        }
        assert!(ask(&mut TcpStream::connect(server.address).await.unwrap(), GET).await.contains("scheme: Http"));
    }
}

#[tokio::test]
async fn no_more_are_accepted_than_may_be_there_until_one_goes() {
    let server = start(peer_echo(), None, Limits { max_connections: 2, ..limits() }).await;
    let keep_alive = "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let mut there = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(keep_alive.as_bytes()).await.unwrap();
        assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
        there.push(stream);
    }
    let mut waiting = TcpStream::connect(server.address).await.unwrap();
    waiting.write_all(GET.as_bytes()).await.unwrap();
    // Those that are there are served as before, and the one that waits is not.
    there[0].write_all(keep_alive.as_bytes()).await.unwrap();
    assert!(there[0].read(&mut [0; 1024]).await.unwrap() > 0);
    assert!(waiting.read(&mut [0; 1]).now_or_never().is_none());
    there.pop();
    let mut answer = Vec::new();
    waiting.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200 "));
}

/// A server of its own thread, whose counts nobody else adds to.
fn counted(limits: Limits, client: impl AsyncFnOnce(Running, PrometheusHandle)) {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    with_local_recorder(&recorder, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let server = start(peer_echo(), None, limits).await;
            client(server, handle).await;
        });
    });
}

async fn until(handle: &PrometheusHandle, series: &str) {
    let counted = async {
        while !handle.render().contains(series) {
            tokio::task::yield_now().await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(10), counted).await;
    assert!(in_time.is_ok(), "{series} is not in\n{}", handle.render());
}

#[test]
fn what_the_library_answers_by_itself_is_counted() {
    counted(limits(), async |server, handle| {
        let large = format!("GET / HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\r\n", "x".repeat(24 * 1024));
        let many = format!("GET / HTTP/1.1\r\nhost: localhost\r\n{}\r\n", "x: y\r\n".repeat(101));
        for (bytes, status) in [(large.as_str(), "431"), (&many, "431"), ("\x16\x03\x01\r\n\r\n", "400")] {
            let answer = ask(&mut TcpStream::connect(server.address).await.unwrap(), bytes).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        }
        until(&handle, "cloakroom_limited_total{limit=\"max_headers\"} 2\n").await;
        until(&handle, "cloakroom_connections_refused_total{reason=\"head\"} 1\n").await;
        until(&handle, "cloakroom_connections 0\n").await;
    });
}

#[test]
fn a_head_that_takes_too_long_is_counted_and_an_idle_client_is_not() {
    counted(Limits { head_timeout: Duration::from_millis(30), ..limits() }, async |server, handle| {
        let keep_alive = "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";
        for says in [keep_alive, "", "GET / HTTP/1.1\r\nhost:"] {
            ask(&mut TcpStream::connect(server.address).await.unwrap(), says).await;
        }
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(keep_alive.as_bytes()).await.unwrap();
        assert!(stream.read(&mut [0; 1024]).await.unwrap() > 0);
        ask(&mut stream, "GET / HT").await;
        until(&handle, "cloakroom_connections 0\n").await;
        until(&handle, "cloakroom_limited_total{limit=\"head_timeout\"} 2\n").await;
    });
}

#[test]
fn a_client_that_reads_no_answer_is_counted() {
    counted(Limits { write_timeout: Duration::from_millis(50), ..limits() }, async |server, handle| {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let piece = "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(1000);
        while stream.write_all(piece.as_bytes()).await.is_ok() {}
        until(&handle, "cloakroom_limited_total{limit=\"write_timeout\"} 1\n").await;
    });
}

#[tokio::test]
async fn http2_streams_that_nobody_reads_are_reset_and_counted_and_other_clients_go_on() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _installed = metrics::set_default_local_recorder(&recorder);
    let go = Arc::new(Notify::new());
    let told = Arc::clone(&go);
    let events = move || async move {
        let first = stream::once(async { Ok::<_, Infallible>("one") });
        Body::from_stream(first.chain(stream::once(async move {
            told.notified().await;
            Ok("two")
        })))
    };
    let router = peer_echo().route("/events", get(events));
    let short = Limits { write_timeout: Duration::from_millis(50), ..limits() };
    let (server, root) = start_tls(router, short).await;

    let stream = TokioIo::new(connect_tls(&server, &root, b"h2").await);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get("https://localhost/events").body(Body::empty()).unwrap();
    let mut body = sender.send_request(request).await.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "one");

    let mut stream = connect_tls(&server, &root, b"h2").await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
    // SETTINGS_INITIAL_WINDOW_SIZE.
    stream.write_all(&frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0])).await.unwrap();
    for request in 0..HTTP2_STREAMS {
        stream.write_all(&frame(HEADERS, END_HEADERS | END_STREAM, 2 * request + 1, REQUEST)).await.unwrap();
    }
    stream.flush().await.unwrap();
    let mut reset = 0;
    while reset < HTTP2_STREAMS {
        let (kind, _, _) = read(&mut stream).await.unwrap();
        assert_ne!(kind, DATA);
        reset += u32::from(kind == RST_STREAM);
    }
    until(&recorder.handle(), "cloakroom_limited_total{limit=\"write_timeout\"} 128\n").await;
    go.notify_one();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "two");
}
