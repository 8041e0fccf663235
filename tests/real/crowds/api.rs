//! APIs that a crowd keeps busy: one that reads slowly what comes slowly and tells much, and one that never says a word.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::routing::{get, post};
use futures_util::stream;
use http::{Response, StatusCode, header};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;

/// `/body` reads to the end and answers with the length; `/large` has [`LARGE`] bytes to tell.
pub(super) struct Api {
    pub(super) url: String,
    busy: Arc<Busy>,
}

#[derive(Default)]
struct Busy {
    reading: Count,
    telling: Count,
}

/// Takes connections, and reads what comes until they are closed.
pub(super) struct Silent {
    pub(super) url: String,
    held: Count,
}

/// How many there are of something.
#[derive(Clone, Default)]
struct Count(Arc<AtomicUsize>);

/// One of them, for as long as it lives.
struct One(Count);

impl Api {
    pub(super) async fn start() -> Self {
        let (listener, url) = listen().await;
        let busy = Arc::new(Busy::default());
        let app = Router::new().route("/body", post(body)).route("/large", get(large)).with_state(Arc::clone(&busy));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, busy }
    }

    /// How many bodies have begun and not ended.
    pub(super) fn reading(&self) -> usize {
        self.busy.reading.now()
    }

    /// How many answers have begun and not ended.
    pub(super) fn telling(&self) -> usize {
        self.busy.telling.now()
    }
}

impl Silent {
    pub(super) async fn start() -> Self {
        let (listener, url) = listen().await;
        let held = Count::default();
        let count = held.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let count = count.clone();
                tokio::spawn(async move {
                    let mut heard = [0; 4096];
                    let Ok(1..) = stream.read(&mut heard).await else { return };
                    let _call = count.one();
                    while matches!(stream.read(&mut heard).await, Ok(1..)) {}
                });
            }
        });
        Self { url, held }
    }

    /// How many calls hang.
    pub(super) fn held(&self) -> usize {
        self.held.now()
    }
}

impl Count {
    fn one(&self) -> One {
        self.0.fetch_add(1, Ordering::SeqCst);
        One(self.clone())
    }

    fn now(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

impl Drop for One {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn body(State(busy): State<Arc<Busy>>, body: Body) -> Result<String, StatusCode> {
    let _reading = busy.reading.one();
    let body = axum::body::to_bytes(body, usize::MAX).await.map_err(|_| StatusCode::BAD_REQUEST)?;
    Ok(body.len().to_string())
}

async fn large(State(busy): State<Arc<Busy>>) -> Response<Body> {
    static PIECE: [u8; 64 * 1024] = [b'x'; 64 * 1024];
    let pieces = stream::unfold((0, busy.telling.one()), async |(told, telling)| {
        (told < LARGE).then(|| (Ok::<_, Infallible>(Bytes::from_static(&PIECE)), (told + PIECE.len(), telling)))
    });
    let answer = Response::builder().header(header::CONTENT_LENGTH, LARGE);
    answer.body(Body::from_stream(pieces)).expect("the head is well-formed")
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    (listener, url)
}

/// In bytes: far more than all buffers on the way hold.
pub(super) const LARGE: usize = 32 * 1024 * 1024;
