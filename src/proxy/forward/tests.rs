use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use axum::Router;
use axum::body::Body as AxumBody;
use axum::extract::Request as Received;
use axum::response::IntoResponse as _;
use axum::routing::{any, get};
use futures_util::stream;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::super::client::Client;
use super::super::hops::Scheme;
use super::super::route::RouteTable;
use super::*;

/// Forwards on one route as the edge would.
struct Edge {
    table: RouteTable,
    grant: Grant,
    hops: ClientHops,
    csrf_header: HeaderName,
    own_cookies: Vec<String>,
    upgrades: Upgrades,
}

impl Edge {
    fn new(options: RouteOptions) -> Self {
        Self {
            table: RouteTable::new(vec![options], &Client::for_tests()).unwrap(),
            grant: Grant::None,
            hops: ClientHops {
                client: IpAddr::from([203, 0, 113, 7]),
                proxies: Vec::new(),
                scheme: Scheme::Https,
                host: Some(HeaderValue::from_static("shop.example")),
            },
            csrf_header: HeaderName::from_static("x-csrf"),
            own_cookies: vec!["__Host-Http-cloakroom".to_owned()],
            upgrades: Upgrades::default(),
        }
    }

    async fn call<B>(&self, request: Request<B>) -> Result<Response<ResponseBody>, Error>
    where
        B: Body<Data = Bytes> + Send + 'static,
    {
        let context = self.context();
        forward(&self.table.routes()[0], request, &self.grant, &context).await.map(Forwarded::into_answer)
    }

    fn context(&self) -> ForwardContext<'_> {
        ForwardContext {
            hops: &self.hops,
            csrf_header: &self.csrf_header,
            own_cookies: &self.own_cookies,
            upgrades: &self.upgrades,
            session: None,
        }
    }
}

fn options(upstream: SocketAddr) -> RouteOptions {
    RouteOptions::new("/api", format!("http://{upstream}/v1").parse().unwrap())
}

async fn upstream(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, router).into_future());
    address
}

/// Answers with the head it received and the length of the body.
async fn echo() -> SocketAddr {
    let handler = |request: Received| async move {
        let (parts, body) = request.into_parts();
        let mut head = format!("{} {}\n", parts.method, parts.uri);
        for (name, value) in &parts.headers {
            writeln!(head, "{name}: {}", value.to_str().unwrap()).unwrap();
        }
        let length = body.collect().await.unwrap().to_bytes().len();
        format!("{head}body: {length}\n")
    };
    upstream(Router::new().fallback(any(handler))).await
}

/// Accepts and reads, but says only what it is told to.
async fn raw(says: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut buffer = [0; 1024];
                let _ = stream.read(&mut buffer).await;
                let _ = stream.write_all(says.as_bytes()).await;
                while stream.read(&mut buffer).await.is_ok_and(|length| length > 0) {}
            });
        }
    });
    address
}

fn get_request(path: &str) -> Request<Empty<Bytes>> {
    Request::get(path).body(Empty::new()).unwrap()
}

/// A body of unknown length.
fn pieces(pieces: &[&'static str]) -> impl Body<Data = Bytes, Error = Infallible> + use<> {
    let frames: Vec<_> = pieces.iter().map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes())))).collect();
    StreamBody::new(stream::iter(frames))
}

async fn text(answer: Response<ResponseBody>) -> String {
    String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

const SHORT: Duration = Duration::from_millis(30);

#[tokio::test]
async fn a_call_arrives_with_the_token_and_without_our_secrets() {
    let mut edge = Edge::new(options(echo().await));
    edge.grant = Grant::Bearer(HeaderValue::from_static("Bearer token"));
    let request = Request::post("/api/orders/7?x=1")
        .header("cookie", "__Host-Http-cloakroom=id")
        .header("authorization", "Bearer mine")
        .header("x-csrf", "1")
        .header("traceparent", "00-1-2-01")
        .body(Full::new(Bytes::from_static(b"hello")))
        .unwrap();
    let answer = edge.call(request).await.unwrap();
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let seen = text(answer).await;
    assert!(seen.starts_with("POST /v1/orders/7?x=1\n"), "{seen}");
    for line in ["authorization: Bearer token\n", "traceparent: 00-1-2-01\n", "content-length: 5\n", "body: 5\n"] {
        assert!(seen.contains(line), "{seen}");
    }
    for secret in ["id", "mine", "x-csrf"] {
        assert!(!seen.contains(secret), "{seen}");
    }
}

#[tokio::test]
async fn without_a_grant_no_authorization_leaves() {
    let edge = Edge::new(options(echo().await));
    let request = Request::get("/api").header("authorization", "Bearer mine").body(Empty::new()).unwrap();
    assert!(!text(edge.call(request).await.unwrap()).await.contains("authorization"));
}

#[tokio::test]
async fn what_is_refused_reaches_no_upstream() {
    // Nothing listens there: a call would be `UpstreamUnavailable`.
    let edge = Edge::new(options("127.0.0.1:9".parse().unwrap()));
    for (request, error) in [
        (Request::get("/api/%2e%2e/x"), Error::PathRejected),
        (Request::get("/other"), Error::PathRejected),
        (Request::get("/api/sw.js").header("service-worker", "script"), Error::WorkerScriptRefused),
        (Request::get("/api/w.js").header("sec-fetch-dest", "worker"), Error::WorkerScriptRefused),
        (Request::get("/api/w.js").header("sec-fetch-dest", "sharedworker"), Error::WorkerScriptRefused),
        (Request::get("/api/w.js").header("sec-fetch-dest", "ServiceWorker"), Error::WorkerScriptRefused),
    ] {
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        assert_eq!(edge.call(request).await.unwrap_err(), error);
    }
    for method in [Method::TRACE, Method::CONNECT] {
        let request = Request::builder().method(method).uri("/api").body(Empty::<Bytes>::new()).unwrap();
        assert!(matches!(edge.call(request).await, Err(Error::MethodNotAllowed { .. })));
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_by_length_and_as_it_streams() {
    let mut options = options(echo().await);
    options.max_body = 5;
    let edge = Edge::new(options);
    let too_large = Error::BodyTooLarge { limit: 5 };
    let declared = Request::post("/api").body(Full::new(Bytes::from_static(b"123456"))).unwrap();
    assert_eq!(edge.call(declared).await.unwrap_err(), too_large);
    let streamed = Request::post("/api").body(pieces(&["123", "456"])).unwrap();
    assert_eq!(edge.call(streamed).await.unwrap_err(), too_large);
    let fits = Request::post("/api").body(pieces(&["123", "45"])).unwrap();
    assert!(text(edge.call(fits).await.unwrap()).await.contains("body: 5\n"));
}

#[tokio::test]
async fn the_length_sent_is_the_length_read() {
    let edge = Edge::new(options(echo().await));
    let request =
        Request::post("/api").header("content-length", "3").body(Full::new(Bytes::from_static(b"12345"))).unwrap();
    assert!(text(edge.call(request).await.unwrap()).await.contains("content-length: 5\n"));
    let empty = Request::post("/api").body(Empty::<Bytes>::new()).unwrap();
    assert!(text(edge.call(empty).await.unwrap()).await.contains("content-length: 0\n"));
    assert!(!text(edge.call(get_request("/api")).await.unwrap()).await.contains("content-length"));
}

#[tokio::test]
async fn an_upstream_that_cannot_be_reached_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let error = Edge::new(options(address)).call(get_request("/api")).await.unwrap_err();
    assert!(matches!(error, Error::UpstreamUnavailable { .. }), "{error:?}");
}

#[tokio::test]
async fn an_upstream_that_speaks_nonsense_is_unavailable() {
    for nonsense in
        ["220 mail ready\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"]
    {
        let error = Edge::new(options(raw(nonsense).await)).call(get_request("/api")).await.unwrap_err();
        assert!(matches!(error, Error::UpstreamUnavailable { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_in_time_is_timed_out() {
    let mut options = options(raw("").await);
    options.timeout = SHORT;
    let edge = Edge::new(options);
    assert_eq!(edge.call(get_request("/api")).await.unwrap_err(), Error::UpstreamTimeout);
    let upload = Request::post("/api").body(pieces(&["123"])).unwrap();
    assert_eq!(edge.call(upload).await.unwrap_err(), Error::UpstreamTimeout);
}

#[tokio::test]
async fn a_slow_upload_is_not_the_upstreams_fault() {
    let mut options = options(echo().await);
    options.timeout = SHORT;
    let edge = Edge::new(options);
    let slow = stream::unfold(0, |sent| async move {
        tokio::time::sleep(SHORT / 3).await;
        (sent < 10).then(|| (Ok::<_, Infallible>(Frame::data(Bytes::from_static(b"x"))), sent + 1))
    });
    let request = Request::post("/api").body(StreamBody::new(slow)).unwrap();
    assert!(text(edge.call(request).await.unwrap()).await.contains("body: 10\n"));
}

#[tokio::test]
async fn an_upload_that_stalls_or_breaks_off_is_given_up() {
    let mut options = options(echo().await);
    options.idle_timeout = SHORT;
    let edge = Edge::new(options);
    let stalled =
        Request::post("/api").body(StreamBody::new(stream::pending::<Result<Frame<Bytes>, Infallible>>())).unwrap();
    assert_eq!(edge.call(stalled).await.unwrap_err(), Error::RequestInterrupted);
    let broken = stream::iter([Ok(Frame::data(Bytes::from_static(b"x"))), Err(std::io::Error::other("gone"))]);
    let broken = Request::post("/api").body(StreamBody::new(broken)).unwrap();
    assert_eq!(edge.call(broken).await.unwrap_err(), Error::RequestInterrupted);
}

#[tokio::test]
async fn an_answer_that_stalls_is_broken_off() {
    let mut options = options(raw("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await);
    options.idle_timeout = SHORT;
    let mut body = Edge::new(options).call(get_request("/api")).await.unwrap().into_body();
    assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "half");
    assert!(matches!(body.frame().await.unwrap(), Err(super::super::StreamError::Stalled)));
}

#[tokio::test]
async fn an_answer_streams_piece_by_piece() {
    let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Bytes, Infallible>>(1);
    let body =
        std::sync::Mutex::new(Some(AxumBody::from_stream(tokio_stream::wrappers::ReceiverStream::new(receiver))));
    let body = Arc::new(body);
    let handler = move || async move { body.lock().unwrap().take().unwrap() };
    let edge = Edge::new(options(upstream(Router::new().route("/v1", get(handler))).await));
    let mut body = edge.call(get_request("/api")).await.unwrap().into_body();
    for piece in ["one", "two"] {
        sender.send(Ok(Bytes::from_static(piece.as_bytes()))).await.unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), piece);
    }
    // A browser that goes away takes the upstream's answer with it.
    drop(body);
    sender.closed().await;
}

#[tokio::test]
async fn redirects_are_relayed_with_the_routes_address() {
    let handler =
        || async { (StatusCode::FOUND, [("location", "/v1/new?x=1"), ("set-cookie", "a=1")]).into_response() };
    let edge = Edge::new(options(upstream(Router::new().route("/v1/old", get(handler))).await));
    let answer = edge.call(get_request("/api/old")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::FOUND);
    assert_eq!(answer.headers()["location"], "/api/new?x=1");
    assert!(!answer.headers().contains_key("set-cookie"));
}

/// A listener that forwards everything, since an upgrade needs a real connection.
async fn edge_listener(edge: Edge) -> (SocketAddr, Arc<Edge>) {
    let edge = Arc::new(edge);
    let shared = Arc::clone(&edge);
    let handler = move |request: Received| {
        let edge = Arc::clone(&shared);
        async move { edge.call(request).await.map(|answer| answer.map(AxumBody::new)).map_err(|_| StatusCode::BAD_GATEWAY) }
    };
    (upstream(Router::new().fallback(any(handler))).await, edge)
}

/// Agrees to a WebSocket and sends back what it gets.
async fn websocket_echo() -> SocketAddr {
    let handler = |mut request: Received| async move {
        assert!(request.headers().get("cookie").is_none());
        assert_eq!(request.headers()["authorization"], "Bearer token");
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let (mut from, mut to) = tokio::io::split(TokioIo::new(upgrade.await.unwrap()));
            let _ = tokio::io::copy(&mut from, &mut to).await;
        });
        (
            StatusCode::SWITCHING_PROTOCOLS,
            [("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-accept", ACCEPT)],
        )
    };
    upstream(Router::new().route("/v1/ws", get(handler))).await
}

/// The answer to the key `k`.
const ACCEPT: &str = "cai0HFWL7DEHZkyHxdyv1Pn3R6M=";

async fn open_websocket(edge: SocketAddr, upgrade: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(edge).await.unwrap();
    let request = format!(
        "GET /api/ws HTTP/1.1\r\nhost: localhost\r\nconnection: keep-alive, Upgrade\r\nupgrade: {upgrade}\r\n\
         cookie: __Host-Http-cloakroom=id\r\nsec-websocket-key: k\r\nsec-websocket-version: 13\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    (stream, String::from_utf8(head).unwrap().to_ascii_lowercase())
}

fn with_token(options: RouteOptions) -> Edge {
    Edge { grant: Grant::Bearer(HeaderValue::from_static("Bearer token")), ..Edge::new(options) }
}

#[tokio::test]
async fn a_websocket_passes_with_the_token_and_without_our_cookie() {
    let (address, edge) = edge_listener(with_token(options(websocket_echo().await))).await;
    let (mut stream, head) = open_websocket(address, "WebSocket").await;
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    for line in ["connection: upgrade\r\n", "upgrade: websocket\r\n", "sec-websocket-accept: "] {
        assert!(head.contains(line), "{head}");
    }
    stream.write_all(b"hello").await.unwrap();
    let mut back = [0; 5];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"hello");

    edge.upgrades.close().await;
    assert_eq!(stream.read(&mut back).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn a_silent_websocket_is_closed() {
    let mut options = options(websocket_echo().await);
    options.idle_timeout = SHORT;
    let (address, _edge) = edge_listener(with_token(options)).await;
    let (mut stream, head) = open_websocket(address, "websocket").await;
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn other_upgrades_are_not_passed_on() {
    let handler = |request: Received| async move { format!("{:?}", request.headers().get("upgrade")) };
    let upstream = upstream(Router::new().route("/v1/ws", get(handler))).await;
    let (address, _edge) = edge_listener(Edge::new(options(upstream))).await;
    let (mut stream, head) = open_websocket(address, "h2c").await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    let mut body = [0; 4];
    stream.read_exact(&mut body).await.unwrap();
    assert_eq!(&body, b"None");
}

/// Answers a POST of five bytes with `says`. Whether they are at hand before the call is settled, and afterwards; and how it is settled.
async fn settled(says: &'static str) -> (bool, bool, bool) {
    let edge = Edge::new(options(raw(says).await));
    let (route, context) = (&edge.table.routes()[0], edge.context());
    let kept = |upload: &Upload| format!("{upload:?}").contains("kept: Some");
    let request = Request::post("/api").body(Full::new(Bytes::from_static(b"hello"))).unwrap();
    let (outgoing, upload) = outgoing(route, request, Keep::UntilAnswered, &context).unwrap();
    let (head_of_it, asked) = (Head::of(&outgoing), outgoing.uri().clone());
    let mut call = Call { route, context: &context, asked, handshake: None };
    let stage = Stage::new();
    let exchange = pin!(route.upstream.connections.call(outgoing, Versions::Any, &stage));
    let answer = head(exchange, &stage, upload.as_ref(), route).await.unwrap();
    let answer = call.answered(answer).unwrap();
    let upload = upload.unwrap();
    let before = kept(&upload);
    let forwarded = call.settled(answer, Some(head_of_it), Some(&upload));
    let again = matches!(&forwarded, Forwarded::Refused(refused) if refused.again.is_some());
    (before, kept(&upload), again)
}

#[tokio::test]
async fn what_was_kept_of_a_call_is_freed_when_the_head_of_its_answer_is_there() {
    assert_eq!(settled("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n").await, (true, false, false));
    assert_eq!(settled("HTTP/1.1 401 Unauthorized\r\nContent-Length: 9\r\n\r\n").await, (true, false, false));
    let demand = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\
        WWW-Authenticate: Bearer error=\"insufficient_user_authentication\", max_age=0\r\n\r\n";
    assert_eq!(settled(demand).await, (true, false, false));
    let refusal = "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\
        WWW-Authenticate: Bearer error=\"invalid_token\"\r\n\r\n";
    assert_eq!(settled(refusal).await, (true, false, true));
}

#[tokio::test]
async fn of_a_call_without_a_token_nothing_is_kept() {
    let edge = Edge::new(options(echo().await));
    let request = Request::post("/api").body(Full::new(Bytes::from_static(b"hello"))).unwrap();
    let context = edge.context();
    let (_, upload) = outgoing(&edge.table.routes()[0], request, Keep::Nothing, &context).unwrap();
    assert!(format!("{upload:?}").contains("kept: None"));
}
