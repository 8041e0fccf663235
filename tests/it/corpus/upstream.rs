//! An API that writes down every byte it is sent, and answers what it is told to.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::message::{self, Message};

/// See the module. It lives as long as the test.
pub(super) struct Upstream {
    pub(super) address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    seen: Mutex<Vec<Message>>,
    script: Mutex<Option<Script>>,
    /// Connections with something on them that is no whole request yet.
    halfway: AtomicUsize,
}

/// What the next request is answered with.
pub(super) struct Script {
    pub(super) says: Vec<u8>,
    pub(super) closes: bool,
}

impl Upstream {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, shared) = (listener.local_addr().unwrap(), Arc::new(Shared::default()));
        let serving = shared.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serving.clone().connection(stream));
            }
        });
        Self { address, shared }
    }

    pub(super) fn next_says(&self, script: Script) {
        *self.shared.script.lock().unwrap() = Some(script);
    }

    /// All it has seen since it was asked last, once nothing is halfway.
    pub(super) async fn seen(&self) -> Vec<Message> {
        let settled = async {
            while self.shared.halfway.load(Ordering::SeqCst) > 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), settled).await.expect("a request stays halfway");
        std::mem::take(&mut *self.shared.seen.lock().unwrap())
    }
}

impl Shared {
    async fn connection(self: Arc<Self>, mut stream: TcpStream) {
        let (mut pending, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
        loop {
            let length = stream.read(&mut buffer).await.unwrap_or(0);
            if length > 0 && pending.is_empty() {
                self.halfway.fetch_add(1, Ordering::SeqCst);
            }
            pending.extend_from_slice(&buffer[..length]);
            let had_something = !pending.is_empty();
            while let Some((request, used)) = message::first(&pending, length == 0, false) {
                pending.drain(..used);
                self.seen.lock().unwrap().push(request);
                let script = self.script.lock().unwrap().take();
                let closes = script.as_ref().is_some_and(|script| script.closes);
                let says = script.map_or(OK.to_vec(), |script| script.says);
                if stream.write_all(&says).await.is_err() || closes {
                    self.halfway.fetch_sub(1, Ordering::SeqCst);
                    return;
                }
            }
            if had_something && pending.is_empty() {
                self.halfway.fetch_sub(1, Ordering::SeqCst);
            }
            if length == 0 {
                return;
            }
        }
    }
}

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
