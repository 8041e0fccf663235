//! An API that says what the test has it say, when the test has it say it.

use std::net::SocketAddr;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;

use super::stage::in_time;

/// See the module.
pub(super) struct Upstream {
    pub(super) address: SocketAddr,
    accepted: mpsc::UnboundedReceiver<TcpStream>,
}

/// A call, and the connection it came by.
pub(super) struct Call {
    /// Request line and header lines, as they came.
    pub(super) head: String,
    pub(super) stream: TcpStream,
}

impl Upstream {
    pub(super) fn start() -> Self {
        // Little room in the system's buffers shows sooner what is kept elsewhere.
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_send_buffer_size(SYSTEM_BUFFER).unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(64).unwrap();
        let address = listener.local_addr().unwrap();
        let (accept, accepted) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                if accept.send(stream).is_err() {
                    return;
                }
            }
        });
        Self { address, accepted }
    }

    /// The next call that comes by a connection of its own.
    pub(super) async fn call(&mut self) -> Call {
        let mut call = Call { head: String::new(), stream: in_time(self.accepted.recv()).await.unwrap() };
        call.again().await;
        call
    }

    /// Whether nobody has connected that was not taken notice of.
    pub(super) fn is_left_alone(&mut self) -> bool {
        self.accepted.try_recv().is_err()
    }
}

impl Call {
    /// The next call on this connection.
    pub(super) async fn again(&mut self) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(in_time(self.stream.read_u8()).await.expect("a call comes"));
        }
        self.head = String::from_utf8(head).unwrap();
    }

    /// The value of a header, by its name in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let named = |line: &'_ str| line.split_once(": ").is_some_and(|(known, _)| known.eq_ignore_ascii_case(name));
        self.head.lines().find(|line| named(line))?.split_once(": ").map(|(_, value)| value)
    }

    pub(super) async fn says(&mut self, text: impl AsRef<[u8]>) {
        in_time(self.stream.write_all(text.as_ref())).await.unwrap();
    }

    pub(super) async fn reads(&mut self, expected: impl AsRef<[u8]>) {
        let expected = expected.as_ref();
        assert!(self.takes(expected.len()).await == expected, "{} bytes came that are others", expected.len());
    }

    /// The next so many bytes.
    pub(super) async fn takes(&mut self, length: usize) -> Vec<u8> {
        let mut come = vec![0; length];
        in_time(self.stream.read_exact(&mut come)).await.unwrap();
        come
    }

    /// All that comes until the connection ends, in whatever way.
    pub(super) async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let _ = in_time(self.stream.read_to_end(&mut rest)).await;
        rest
    }

    /// Agrees to a WebSocket.
    pub(super) async fn agrees(&mut self) {
        self.agrees_with("").await;
    }

    /// Agrees, with these lines in the head.
    pub(super) async fn agrees_with(&mut self, lines: &str) {
        let mut digest = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
        digest.update(self.header("sec-websocket-key").unwrap().as_bytes());
        digest.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
        let accept = STANDARD.encode(digest.finish());
        let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
        self.says(format!("{head}Sec-WebSocket-Accept: {accept}\r\n{lines}\r\n")).await;
    }
}

const SYSTEM_BUFFER: u32 = 64 * 1024;
