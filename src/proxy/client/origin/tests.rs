use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;
use crate::proxy::client::Client;

mod addresses;
mod breaking;
mod http2;
mod places;

/// A server whose connections are the test's.
struct Upstream {
    address: SocketAddr,
    connections: mpsc::UnboundedReceiver<TcpStream>,
    /// Stops accepting.
    listening: JoinHandle<()>,
}

impl Upstream {
    async fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap()).await
    }

    async fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let (accepted, connections) = mpsc::unbounded_channel();
        let address = listener.local_addr().unwrap();
        let listening = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let _ = accepted.send(connection);
            }
        });
        Self { address, connections, listening }
    }

    fn origin(&self, client: &Client) -> Arc<Origin> {
        client.origin(target(self.address)).unwrap()
    }

    async fn accepted(&mut self) -> TcpStream {
        self.connections.recv().await.unwrap()
    }

    fn nobody_came(&mut self) -> bool {
        self.connections.try_recv().is_err()
    }

    fn request(&self) -> Request<RequestBody> {
        request(Method::GET, self.address)
    }

    /// A call that is under way.
    fn calling(&self, origin: &Arc<Origin>) -> JoinHandle<Result<Bytes, CallError>> {
        calling(origin, self.request())
    }

    /// Answers one call on a new connection, and leaves that idle.
    async fn serve(&mut self, origin: &Arc<Origin>) -> TcpStream {
        let served = self.calling(origin);
        let mut connection = self.accepted().await;
        answer(&mut connection, OK).await;
        assert_eq!(served.await.unwrap().unwrap(), "ok");
        connection
    }
}

fn target(address: SocketAddr) -> Target {
    let origin = format!("http://{address}/").parse().unwrap();
    Target::new(origin)
}

/// Connections to these addresses in place of the name's.
fn behind_a_name(addresses: &[SocketAddr]) -> Target {
    let addresses = addresses.iter().map(|address| address.to_string().parse().unwrap()).collect();
    let origin = "http://orders.invalid/".parse().unwrap();
    Target { addresses, ..Target::new(origin) }
}

/// Where nobody listens.
async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

fn request(method: Method, address: SocketAddr) -> Request<RequestBody> {
    let target = format!("http://{address}/v1/x?y");
    Request::builder().method(method).uri(target).header("host", "api").body(RequestBody::Empty).unwrap()
}

fn calling(origin: &Arc<Origin>, request: Request<RequestBody>) -> JoinHandle<Result<Bytes, CallError>> {
    let origin = origin.clone();
    tokio::spawn(async move { call(&origin, request).await })
}

/// Reads a request's head, and answers.
async fn answer(connection: &mut TcpStream, bytes: &str) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(connection.read_u8().await.unwrap());
    }
    connection.write_all(bytes.as_bytes()).await.unwrap();
    String::from_utf8(head).unwrap()
}

/// Makes a call to its end.
async fn call(origin: &Arc<Origin>, request: Request<RequestBody>) -> Result<Bytes, CallError> {
    let answer = origin.call(request, Versions::Any, &Stage::new()).await?;
    Ok(answer.into_body().collect().await.map_err(CallError::Broken)?.to_bytes())
}

fn failures(origin: &Origin) -> Vec<u32> {
    origin.failures.iter().map(|failures| failures.load(Ordering::Relaxed)).collect()
}

/// Lets time pass for those who look at it, and for nobody who waits.
async fn later(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn one_connection_serves_one_call_after_another() {
    let mut upstream = Upstream::start().await;
    let origin = upstream.origin(&Client::for_tests());
    let first = upstream.calling(&origin);
    let mut connection = upstream.accepted().await;
    let head = answer(&mut connection, OK).await;
    assert!(head.starts_with("GET /v1/x?y HTTP/1.1\r\n"), "{head}");
    assert_eq!(first.await.unwrap().unwrap(), "ok");
    let (second, _) = tokio::join!(call(&origin, upstream.request()), answer(&mut connection, CHUNKED));
    assert_eq!(second.unwrap(), "ok");
    let (third, _) = tokio::join!(call(&origin, upstream.request()), answer(&mut connection, NOTHING));
    assert_eq!(third.unwrap(), "");
    assert!(upstream.nobody_came());
}

#[tokio::test]
async fn an_answer_that_nobody_reads_on_closes_its_connection() {
    let mut upstream = Upstream::start().await;
    let origin = upstream.origin(&Client::for_tests());
    let begun = tokio::spawn({
        let (origin, request) = (origin.clone(), upstream.request());
        async move { origin.call(request, Versions::Any, &Stage::new()).await }
    });
    let mut connection = upstream.accepted().await;
    answer(&mut connection, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
    drop(begun.await.unwrap().unwrap());
    assert_eq!(connection.read(&mut [0; 1]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn a_call_that_is_given_up_closes_its_connection() {
    let mut upstream = Upstream::start().await;
    let origin = upstream.origin(&Client::for_tests());
    let waiting = upstream.calling(&origin);
    let mut connection = upstream.accepted().await;
    answer(&mut connection, "").await;
    waiting.abort();
    assert_eq!(connection.read(&mut [0; 1]).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn a_connection_that_was_closed_while_nobody_used_it_costs_no_call() {
    let mut upstream = Upstream::start().await;
    let origin = upstream.origin(&Client::for_tests());
    for _ in 0..3 {
        let made = upstream.calling(&origin);
        let mut connection = upstream.accepted().await;
        answer(&mut connection, OK).await;
        assert_eq!(made.await.unwrap().unwrap(), "ok");
        drop(connection);
        // Until the system has told.
        while let Some(lent) = origin.idle() {
            Origin::take_back(lent);
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn what_trusted_other_roots_is_left_behind() {
    let mut upstream = Upstream::start().await;
    let client = Client::for_tests();
    let origin = upstream.origin(&client);
    for _ in 0..2 {
        let made = upstream.calling(&origin);
        let mut connection = upstream.accepted().await;
        answer(&mut connection, OK).await;
        assert_eq!(made.await.unwrap().unwrap(), "ok");
        let other = crate::tls::client_config(None).unwrap();
        client.exchange(client.prepare(Some(other), |_| true).unwrap());
        assert_eq!(connection.read(&mut [0; 1]).await.unwrap_or(0), 0, "it is closed at once");
    }
}

#[tokio::test]
async fn a_connection_that_cannot_be_had_is_told_from_one_that_breaks() {
    let mut upstream = Upstream::start().await;
    let client = Client::for_tests();
    let origin = upstream.origin(&client);
    let broken = upstream.calling(&origin);
    answer(&mut upstream.accepted().await, "").await;
    assert!(matches!(broken.await.unwrap(), Err(CallError::Broken(_))));
    let nobody = nobody().await;
    let origin = client.origin(target(nobody)).unwrap();
    assert!(matches!(call(&origin, upstream.request()).await, Err(CallError::Connect(_))));
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
const NOTHING: &str = "HTTP/1.1 204 No Content\r\n\r\n";
