//! Bodies that are larger than any memory, up and down, over HTTP/1.1 and HTTP/2: the program grows by no more than its buffers.
//!
//! A gigabyte each; `CLOAKROOM_TRAFFIC_GIGABYTES=10 cargo test --test real traffic:: -- --nocapture` makes it ten, and says how long
//! that took.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::Request;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::cloakroom::keygen;
use crate::process::Process;
use crate::{eventually, free_port};

type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;

/// The program with an API that gives and takes as much as it is told.
struct Stage {
    process: Process,
    port: u16,
    root: CertificateDer<'static>,
    _folder: tempfile::TempDir,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_bodies_stream_in_constant_memory() {
    let bytes = gigabytes() * 1_000_000_000;
    let stage = Stage::start().await;
    let authority = format!("localhost:{}", stage.port);
    for alpn in [b"http/1.1".as_slice(), b"h2"] {
        let mut client = Client::connect(&stage, alpn).await;
        // Everything that is made once has been made.
        client.call(&authority, 1_000_000, Way::Down).await;
        client.call(&authority, 1_000_000, Way::Up).await;
        for way in [Way::Down, Way::Up] {
            let (before, started) = (stage.largest(), Instant::now());
            client.call(&authority, bytes, way).await;
            let grown = stage.largest() - before;
            tell(&format!(
                "{} {way:?} {bytes} bytes {:.1?}, grown by {grown} KiB",
                alpn.escape_ascii(),
                started.elapsed()
            ));
            assert!(grown < GROWTH, "grown by {grown} KiB");
        }
    }
}

impl Stage {
    async fn start() -> Self {
        let (folder, made) =
            (tempfile::tempdir().expect("a folder"), rcgen::generate_simple_self_signed(["localhost".to_owned()]));
        let made = made.expect("a certificate");
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("it can be written");
        let port = free_port();
        write("pem", &(made.cert.pem() + &made.signing_key.serialize_pem()));
        write("cloakroom.toml", &configuration(port, api().await, &folder.path().join("pem")));
        let mut command = Command::new(env!("CARGO_BIN_EXE_cloakroom"));
        command.env_clear().current_dir(folder.path()).arg("serve").env("CLOAKROOM_KEY", keygen());
        let mut process = Process::start(&mut command);
        let log = process.lines().clone();
        eventually("the program serves", || {
            assert!(!process.is_over(), "{}", log.all().join("\n"));
            log.all().iter().any(|line| line.contains("serving")).then_some(())
        })
        .await;
        Self { process, port, root: made.cert.der().clone(), _folder: folder }
    }

    /// `VmHWM`: the most memory it ever had, in KiB.
    fn largest(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("Linux says it");
        line.split_whitespace().nth(1).and_then(|size| size.parse().ok()).expect("a number")
    }

    async fn connect(&self, alpn: &[u8]) -> TlsStream<TcpStream> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.root.clone()).expect("a certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = config.expect("versions").with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![alpn.to_vec()];
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await.expect("it listens");
        let name = "localhost".try_into().expect("a name");
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("a handshake")
    }
}

enum Client {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Down,
    Up,
}

impl Client {
    async fn connect(stage: &Stage, alpn: &[u8]) -> Self {
        let io = TokioIo::new(stage.connect(alpn).await);
        if alpn == b"h2" {
            let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.expect("a handshake");
            tokio::spawn(connection);
            return Self::Http2(sender);
        }
        let (sender, connection) = http1::handshake(io).await.expect("a handshake");
        tokio::spawn(connection);
        Self::Http1(sender)
    }

    async fn call(&mut self, authority: &str, bytes: u64, way: Way) {
        let (method, body) = match way {
            Way::Down => ("GET", Empty::new().boxed_unsync()),
            Way::Up => ("POST", zeros(bytes)),
        };
        let mut request = Request::builder().method(method).header("x-csrf", "1");
        if way == Way::Up {
            request = request.header("content-length", bytes);
        }
        let answer = match self {
            Self::Http1(sender) => {
                sender.ready().await.expect("it goes on");
                let request = request.uri(format!("/api/{bytes}")).header("host", authority);
                sender.send_request(request.body(body).expect("a request")).await
            }
            Self::Http2(sender) => {
                let request = request.uri(format!("https://{authority}/api/{bytes}"));
                sender.send_request(request.body(body).expect("a request")).await
            }
        };
        let answer = answer.expect("an answer");
        assert_eq!(answer.status(), 200);
        let expected = if way == Way::Down { bytes } else { 0 };
        assert_eq!(counted(answer.into_body()).await, expected);
    }
}

async fn counted(mut body: Incoming) -> u64 {
    let mut bytes = 0;
    while let Some(frame) = body.frame().await {
        bytes += frame.expect("it does not break off").data_ref().map_or(0, |data| data.len() as u64);
    }
    bytes
}

fn zeros(bytes: u64) -> Body {
    let piece = Bytes::from(vec![0; PIECE]);
    let pieces = (0..bytes.div_ceil(PIECE as u64)).map(move |nth| {
        let left = usize::try_from(bytes - nth * PIECE as u64).unwrap_or(PIECE);
        Ok(Frame::data(piece.slice(..left.min(PIECE))))
    });
    StreamBody::new(futures_util::stream::iter(pieces)).boxed_unsync()
}

/// An API: gives as many bytes as a GET's path says, and answers a POST when it has taken as many.
async fn api() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(converse(stream));
        }
    });
    port
}

async fn converse(mut stream: TcpStream) {
    let mut piece = vec![0; PIECE];
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { return };
            head.push(byte);
        }
        let head = String::from_utf8(head).expect("ASCII");
        let path = head.split(' ').nth(1).expect("a target");
        let mut left: u64 = path.trim_start_matches('/').parse().expect("a number");
        if head.starts_with("POST") {
            while left > 0 {
                let length = stream.read(&mut piece).await.expect("it goes on") as u64;
                assert!(0 < length && length <= left, "{length} bytes come, and {left} are missing");
                left -= length;
            }
        }
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {left}\r\n\r\n");
        stream.write_all(answer.as_bytes()).await.expect("somebody reads");
        while left > 0 {
            let now = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            stream.write_all(&piece[..now]).await.expect("somebody reads");
            left -= now as u64;
        }
    }
}

fn configuration(port: u16, api: u16, pem: &Path) -> String {
    let pem = pem.display();
    format!(
        "[store]\nurl = 'memory:'\n\
         [server]\nlisten = '127.0.0.1:{port}'\nadmin_listen = '127.0.0.1:{}'\ntls = {{ cert = '{pem}', key = '{pem}' }}\n\
         [providers.default]\nissuer = 'https://provider.invalid'\n\
         [frontends.default]\nurl = 'https://localhost:{port}'\nclient_id = 'x'\nclient_auth.secret = 'x'\n\
         [[frontends.default.routes]]\npath = '/api'\nupstream = 'http://127.0.0.1:{api}'\ntoken = 'none'\nmax_body = '1024GiB'\n",
        free_port(),
    )
}

#[expect(clippy::print_stdout, reason = "the times are what it is run for")]
fn tell(line: &str) {
    println!("{line}");
}

#[expect(clippy::disallowed_methods, reason = "a test has no configuration but its environment")]
fn gigabytes() -> u64 {
    std::env::var("CLOAKROOM_TRAFFIC_GIGABYTES").map_or(1, |text| text.parse().expect("a whole number"))
}

const PIECE: usize = 64 * 1024;
/// In KiB. Windows of HTTP/2, buffers of TLS and of hyper, each way.
const GROWTH: u64 = 16 * 1024;
