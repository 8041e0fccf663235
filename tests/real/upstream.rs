//! An API that remembers who called it lately and with what, can be held, and agrees to WebSockets.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Request, State};
use axum::routing::any;
use http::HeaderMap;
use tokio::sync::Semaphore;

use crate::eventually;
use crate::support::web_socket;

/// A server below `/v1` that answers everything with `{}`; `/v1/held` waits until [`Upstream::release`], `/v1/ws` is a WebSocket.
pub(crate) struct Upstream {
    pub(crate) url: String,
    seen: Arc<Seen>,
}

/// A call as it reached the API.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// Path and query.
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
}

struct Seen {
    calls: Mutex<VecDeque<Call>>,
    gate: Semaphore,
}

impl Upstream {
    pub(crate) async fn start() -> Self {
        let seen = Arc::new(Seen { calls: Mutex::default(), gate: Semaphore::new(0) });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let url = format!("http://{}/v1", listener.local_addr().expect("it is bound"));
        let app = Router::new().route("/v1/ws", any(web_socket::echo)).fallback(answer).with_state(Arc::clone(&seen));
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, seen }
    }

    pub(crate) fn last_call(&self) -> Call {
        self.seen.calls().back().cloned().expect("the API was called")
    }

    /// The access tokens of the calls so far.
    pub(crate) fn bearers(&self) -> Vec<String> {
        self.seen.calls().iter().map(Call::bearer).collect()
    }

    /// Waits until a call to this path and query has arrived.
    pub(crate) async fn arrived(&self, target: &str) {
        eventually(target, || self.seen.calls().iter().any(|call| call.target == target).then_some(())).await;
    }

    /// Lets one held call go on.
    pub(crate) fn release(&self) {
        self.seen.gate.add_permits(1);
    }
}

impl Call {
    /// The access token that came with it.
    pub(crate) fn bearer(&self) -> String {
        let value = self.headers.get("authorization").expect("the call carries a token");
        value.to_str().ok().and_then(|value| value.strip_prefix("Bearer ")).expect("a bearer token").to_owned()
    }
}

impl Seen {
    fn calls(&self) -> std::sync::MutexGuard<'_, VecDeque<Call>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn answer(State(seen): State<Arc<Seen>>, request: Request) -> &'static str {
    let target = request.uri().to_string();
    let held = target == "/v1/held";
    {
        let mut calls = seen.calls();
        if calls.len() == REMEMBERED {
            calls.pop_front();
        }
        calls.push_back(Call { target, headers: request.headers().clone() });
    }
    if held {
        seen.gate.acquire().await.expect("the gate is never closed").forget();
    }
    "{}"
}

const REMEMBERED: usize = 10_000;
