use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;
use crate::proxy::client::Client;

/// An upstream whose connections are the test's.
struct Upstream {
    address: SocketAddr,
    connections: mpsc::UnboundedReceiver<TcpStream>,
}

impl Upstream {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (accepted, connections) = mpsc::unbounded_channel();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let _ = accepted.send(connection);
            }
        });
        Self { address, connections }
    }

    fn origin(&self, client: &Client) -> Arc<Origin> {
        client.origin(Target::new(format!("http://{}/", self.address).parse().unwrap())).unwrap()
    }

    async fn accepted(&mut self) -> TcpStream {
        self.connections.recv().await.unwrap()
    }

    fn nobody_came(&mut self) -> bool {
        self.connections.try_recv().is_err()
    }

    fn request(&self) -> Request<RequestBody> {
        let target = format!("http://{}/v1/x?y", self.address);
        Request::get(target).header("host", "api").body(RequestBody::Empty).unwrap()
    }

    /// A call that is under way.
    fn calling(&self, origin: &Arc<Origin>) -> JoinHandle<Result<Bytes, CallError>> {
        let (origin, request) = (origin.clone(), self.request());
        tokio::spawn(async move { call(&origin, request).await })
    }
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
    let answer = origin.call(request, Versions::Any).await?;
    Ok(answer.into_body().collect().await.map_err(CallError::Broken)?.to_bytes())
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
        async move { origin.call(request, Versions::Any).await }
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
            origin.clone().take_back(lent);
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
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let origin = client.origin(Target::new(format!("http://{nobody}/").parse().unwrap())).unwrap();
    assert!(matches!(call(&origin, upstream.request()).await, Err(CallError::Connect(_))));
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
const NOTHING: &str = "HTTP/1.1 204 No Content\r\n\r\n";
