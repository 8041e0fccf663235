//! A WebSocket as far as the way between its ends goes: the browser's end, and an API that sends back what comes.

use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, ToSocketAddrs};
use tokio::time::timeout;

use super::Browser;

/// The browser's end.
pub(crate) struct WebSocket(TcpStream);

impl WebSocket {
    /// Opens one on a page of the browser's home site.
    pub(crate) async fn open(browser: &Browser, path: &str) -> Self {
        let mut socket = Self::ask_for(browser, path).await;
        socket.opens().await;
        socket
    }

    /// Sends what Chromium sends, and waits for nothing.
    pub(crate) async fn ask_for(browser: &Browser, path: &str) -> Self {
        let (home, cookies) = (browser.home.authority(), browser.cookies.header(&browser.home, true).unwrap());
        Self::ask_at(home, home, &cookies, path).await
    }

    /// The same by way of another address.
    pub(crate) async fn ask_at(address: impl ToSocketAddrs, host: &str, cookies: &str, path: &str) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nCookie: {cookies}\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        Self(stream)
    }

    /// It is agreed to.
    pub(crate) async fn opens(&mut self) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(timeout(PATIENCE, self.0.read_u8()).await.expect("it is answered").unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 101 "), "{}", String::from_utf8_lossy(&head));
    }

    /// A frame goes to [`echo`] and comes back.
    pub(crate) async fn goes_on(&mut self) {
        self.0.write_all(FRAME).await.unwrap();
        self.reads(FRAME).await;
    }

    /// These bytes come.
    pub(crate) async fn reads(&mut self, bytes: &[u8]) {
        let mut come = vec![0; bytes.len()];
        timeout(PATIENCE, self.0.read_exact(&mut come)).await.expect("it comes").unwrap();
        assert_eq!(come, bytes);
    }

    /// What comes until the end.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // A reset is an end, too.
        let _ = timeout(PATIENCE, self.0.read_to_end(&mut rest)).await.expect("it ends");
        rest
    }

    /// It ends with a close frame, and nothing but that.
    pub(crate) async fn closes_with(&mut self, code: u16) {
        let [high, low] = code.to_be_bytes();
        assert_eq!(self.rest().await, [0x88, 2, high, low]);
    }
}

/// An API that agrees to every WebSocket, and its URL.
pub(crate) async fn serve_echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(echo)).await });
    url
}

/// The API's end: agrees, and sends every byte back.
pub(crate) async fn echo(mut request: Request) -> Response {
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let (mut from, mut to) = tokio::io::split(TokioIo::new(upgrade.await.unwrap()));
        // However it ends.
        let _ = tokio::io::copy(&mut from, &mut to).await;
    });
    agreed()
}

/// The answer that makes two connections one.
pub(crate) fn agreed() -> Response {
    let headers = [("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-accept", ACCEPT)];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

/// The answer to the key `k`.
const ACCEPT: &str = "cai0HFWL7DEHZkyHxdyv1Pn3R6M=";
/// A whole text frame.
const FRAME: &[u8] = b"\x81\x02hi";
const PATIENCE: Duration = Duration::from_secs(5);
