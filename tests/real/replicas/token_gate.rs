//! A place between the replicas and their provider where one refresh can be stopped, before or after the provider sees it.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

/// Passes HTTP on to the provider.
pub(crate) struct TokenGate {
    pub(crate) address: SocketAddr,
    desk: Arc<Desk>,
    passing: JoinHandle<()>,
}

/// Where a refresh is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// The provider has not seen it.
    Request,
    /// The provider has answered; nobody has seen the answer.
    Answer,
}

/// One refresh that is, or will be, stopped. Dropped, it goes on.
pub(crate) struct Hold {
    stage: watch::Receiver<Stage>,
    go: Option<oneshot::Sender<Verdict>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Awaited,
    Stopped,
    Over,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Pass,
    Lose,
}

struct Desk {
    http: reqwest::Client,
    provider: SocketAddr,
    next: Mutex<Option<Stop>>,
}

/// The other end of a [`Hold`].
struct Stop {
    at: At,
    stage: watch::Sender<Stage>,
    told: oneshot::Receiver<Verdict>,
}

impl TokenGate {
    pub(crate) async fn before(provider: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let desk = Arc::new(Desk { http: crate::browser::client(), provider, next: Mutex::default() });
        let passing = tokio::spawn(serve(listener, Arc::clone(&desk)));
        Self { address, desk, passing }
    }

    /// Stops the next refresh that comes; those after it pass.
    pub(crate) fn stop_next(&self, at: At) -> Hold {
        let (stage, told) = (watch::Sender::new(Stage::Awaited), oneshot::channel());
        let hold = Hold { stage: stage.subscribe(), go: Some(told.0) };
        *self.desk.next() = Some(Stop { at, stage, told: told.1 });
        hold
    }
}

impl Drop for TokenGate {
    fn drop(&mut self) {
        self.passing.abort();
    }
}

impl Hold {
    /// Waits until a refresh is stopped here.
    pub(crate) async fn reached(&mut self) {
        self.wait_for(Stage::Stopped).await;
    }

    /// Waits until whoever sent it has gone away.
    pub(crate) async fn abandoned(&mut self) {
        self.wait_for(Stage::Over).await;
    }

    pub(crate) fn release(mut self) {
        self.tell(Verdict::Pass);
    }

    /// Breaks the connection off without a word.
    pub(crate) fn lose(mut self) {
        self.tell(Verdict::Lose);
    }

    async fn wait_for(&mut self, stage: Stage) {
        let reached = tokio::time::timeout(crate::LIMIT, self.stage.wait_for(|now| *now == stage)).await;
        // The other end is dropped after its last word.
        let _ = reached.unwrap_or_else(|_| panic!("no refresh is {stage:?} in time"));
    }

    fn tell(&mut self, verdict: Verdict) {
        // It may be gone: the sender was killed.
        let _ = self.go.take().is_some_and(|go| go.send(verdict).is_ok());
    }
}

impl Stop {
    async fn hold(&mut self, here: At) -> Verdict {
        if self.at != here {
            return Verdict::Pass;
        }
        self.stage.send_replace(Stage::Stopped);
        (&mut self.told).await.unwrap_or(Verdict::Pass)
    }
}

impl Drop for Stop {
    fn drop(&mut self) {
        self.stage.send_replace(Stage::Over);
    }
}

/// The sender gets no answer, and its connection ends.
#[derive(Debug, thiserror::Error)]
#[error("the answer is lost")]
struct Lost;

impl Desk {
    async fn pass(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Lost> {
        let (mut head, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| Lost)?.to_bytes();
        let is_refresh = head.uri.path() == "/token" && contains(&body, b"grant_type=refresh_token");
        let mut stop = if is_refresh { self.next().take() } else { None };
        if let Some(stop) = &mut stop
            && stop.hold(At::Request).await == Verdict::Lose
        {
            return Err(Lost);
        }
        let url = format!("http://{}{}", self.provider, head.uri);
        // `Host` stays: the provider's documents name the address it was asked at.
        for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::CONTENT_LENGTH] {
            head.headers.remove(name);
        }
        let request = self.http.request(head.method, url).headers(head.headers).body(body);
        let answer = read(request).await.map_err(|_| Lost)?;
        if let Some(stop) = &mut stop
            && stop.hold(At::Answer).await == Verdict::Lose
        {
            return Err(Lost);
        }
        Ok(answer)
    }

    fn next(&self) -> std::sync::MutexGuard<'_, Option<Stop>> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read(request: reqwest::RequestBuilder) -> reqwest::Result<Response<Full<Bytes>>> {
    let answer = request.send().await?;
    let (status, mut headers) = (answer.status(), answer.headers().clone());
    for name in [header::CONNECTION, header::TRANSFER_ENCODING] {
        headers.remove(name);
    }
    let mut passed = Response::new(Full::new(answer.bytes().await?));
    (*passed.status_mut(), *passed.headers_mut()) = (status, headers);
    Ok(passed)
}

async fn serve(listener: TcpListener, desk: Arc<Desk>) {
    // Dropped with this task, and all connections with it.
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                let desk = Arc::clone(&desk);
                let service = service_fn(move |request| {
                    let desk = Arc::clone(&desk);
                    async move { desk.pass(request).await }
                });
                let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                // A lost answer ends it with an error, as intended.
                connections.spawn(async move { drop(connection.await) });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

fn contains(body: &[u8], words: &[u8]) -> bool {
    body.windows(words.len()).any(|window| window == words)
}
