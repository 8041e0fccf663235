//! A small HTTP server on loopback that can be taken away at once, connections included, and that can hang up in the middle of
//! an answer: what the development provider and the echo API stand on.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// A running server. Dropping it ends it.
pub(super) struct Listening {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Listening {
    /// Serves `router` from now on.
    ///
    /// # Panics
    /// If the listener is not on a loopback address: what is served here lets anybody in.
    pub(super) fn start(listener: TcpListener, router: Router) -> Self {
        let address = listener.local_addr().expect("a bound listener has an address");
        assert!(address.ip().is_loopback(), "{address} is not a loopback address");
        Self { address, task: tokio::spawn(accept(listener, router)) }
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it: when this returns, the port is free and every connection is closed.
    pub(super) async fn stop(mut self) {
        self.task.abort();
        // Aborted on purpose; the error says only that.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Ends the connection a request came on, without (the rest of) an answer. In the extensions of every request.
#[derive(Clone, Debug)]
pub(super) struct HangUp(CancellationToken);

impl HangUp {
    /// Closes the connection. Never returns: the task that waits here goes down with it.
    pub(super) async fn now(&self) -> Infallible {
        self.0.cancel();
        std::future::pending().await
    }
}

async fn accept(listener: TcpListener, router: Router) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => { connections.spawn(serve(stream, router.clone())); }
                // Out of file descriptors or the like; trying again at once would spin.
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(stream: TcpStream, router: Router) {
    let hang_up = HangUp(CancellationToken::new());
    let closed = hang_up.0.clone();
    let service = hyper::service::service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(hang_up.clone());
        router.clone().oneshot(request)
    });
    let builder = Builder::new(TokioExecutor::new());
    tokio::select! {
        // A client that goes away is nothing to report.
        _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service) => {}
        () = closed.cancelled() => {}
    }
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
