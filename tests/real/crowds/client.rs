//! A client that sends what it is told to, byte by byte if need be, and reads when it likes.

use std::io::ErrorKind;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

/// One connection of HTTP/1.1.
pub(super) struct Client(TcpStream);

/// An answer with its length.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

impl Client {
    pub(super) async fn connect(address: SocketAddr) -> Self {
        let socket = TcpSocket::new_v4().expect("there is a file for it");
        // Who does not read should be noticed soon.
        socket.set_recv_buffer_size(256 * 1024).expect("the system sets it");
        let stream = socket.connect(address).await.expect("the program takes connections");
        stream.set_nodelay(true).expect("the system sets it");
        Self(stream)
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.expect("the connection stands");
    }

    /// The next answer, to its last byte.
    pub(super) async fn answer(&mut self) -> Answer {
        let mut read = Vec::new();
        let end = loop {
            if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
                break end;
            }
            let more = self.0.read_buf(&mut read).await.expect("the connection stands");
            assert!(more > 0, "it ends before its answer: {}", String::from_utf8_lossy(&read));
        };
        let head = String::from_utf8(read[..end].to_ascii_lowercase()).expect("a head is ASCII");
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
        let length: usize =
            length.and_then(|length| length.parse().ok()).unwrap_or_else(|| panic!("no length: {head}"));
        let mut body = read.split_off(end + 4);
        let read = body.len();
        body.resize(length, 0);
        self.0.read_exact(&mut body[read..]).await.expect("the connection stands");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("an answer has a status");
        Answer { status, body }
    }

    /// Whether it stands, and nothing has come that was not asked for.
    pub(super) fn is_open(&self) -> bool {
        self.0.try_read(&mut [0]).is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }
}
