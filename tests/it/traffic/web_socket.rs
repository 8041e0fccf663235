//! WebSockets over HTTP/1.1 (RFC 6455) and over HTTP/2 (RFC 8441): the same checks, and the same bytes on the far side.

mod bytes;
mod ending;
mod opening;

use hyper::ext::Protocol;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::stage::{Client, Stage, Version, empty, in_time};
use super::upstream::Call;

/// The page's end of a WebSocket.
struct Socket(Box<dyn Stream>);

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// How a handshake was answered.
struct Answered {
    status: u16,
    headers: http::HeaderMap,
    socket: Option<Socket>,
}

/// The page's end and the API's.
async fn opened(stage: &mut Stage, version: Version) -> (Socket, Call) {
    let mut client = stage.client(version).await;
    let asking = ask(&mut client, stage.call("GET", "/api/ws"));
    let (answered, call) = tokio::join!(asking, async {
        let mut call = stage.upstream.call().await;
        call.agrees().await;
        call
    });
    (answered.socket.expect("it opens"), call)
}

/// Asks as Chromium does, from a page of ours.
async fn ask(client: &mut Client, request: http::request::Builder) -> Answered {
    let ours = format!("https://{}", request.uri_ref().unwrap().authority().unwrap());
    ask_from(client, request, Some(&ours)).await
}

async fn ask_from(client: &mut Client, mut request: http::request::Builder, origin: Option<&str>) -> Answered {
    request = request.header("sec-websocket-version", "13");
    if let Some(origin) = origin {
        request = request.header("origin", origin);
    }
    request = match client {
        Client::Http1(_) => request
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        Client::Http2(_) => request.method("CONNECT").extension(Protocol::from_static("websocket")),
    };
    let is_opened = if matches!(client, Client::Http1(_)) { 101 } else { 200 };
    let mut answer = client.send(request.body(empty()).unwrap()).await.unwrap();
    let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
    if status != is_opened {
        return Answered { status, headers, socket: None };
    }
    let upgraded = in_time(hyper::upgrade::on(&mut answer)).await.unwrap();
    Answered { status, headers, socket: Some(Socket(Box::new(TokioIo::new(upgraded)))) }
}

impl Socket {
    async fn sends(&mut self, bytes: &[u8]) {
        in_time(self.0.write_all(bytes)).await.unwrap();
        in_time(self.0.flush()).await.unwrap();
    }

    async fn reads(&mut self, expected: &[u8]) {
        assert!(self.takes(expected.len()).await == expected, "{} bytes came that are others", expected.len());
    }

    /// The next so many bytes.
    async fn takes(&mut self, length: usize) -> Vec<u8> {
        let mut come = vec![0; length];
        in_time(self.0.read_exact(&mut come)).await.unwrap();
        come
    }

    /// What comes until the end.
    async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        // A reset is an end, too.
        let _ = in_time(self.0.read_to_end(&mut rest)).await;
        rest
    }
}

/// A frame (RFC 6455 §5.2): its first byte, and the payload under this mask.
fn frame(first: u8, mask: Option<[u8; 4]>, payload: &[u8]) -> Vec<u8> {
    let masked = if mask.is_some() { 0x80 } else { 0 };
    let mut frame = vec![first];
    match payload.len() {
        length @ 0..126 => frame.push(masked + u8::try_from(length).unwrap()),
        length @ 126..65_536 => {
            frame.push(masked + 126);
            frame.extend(u16::try_from(length).unwrap().to_be_bytes());
        }
        length => {
            frame.push(masked + 127);
            frame.extend((length as u64).to_be_bytes());
        }
    }
    frame.extend(mask.unwrap_or_default().iter().take(if mask.is_some() { 4 } else { 0 }));
    frame.extend(payload.iter().zip(mask.unwrap_or_default().iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}
