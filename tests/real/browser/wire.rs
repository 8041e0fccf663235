//! How requests leave a browser: to the host they name, or by the replicas of the frontend, as behind a load balancer.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderValue, Method, header};
use reqwest::Request;
use tokio::net::TcpStream;
use url::Url;

use super::{Page, client, fetch_metadata, without_fragment};

/// The way to one frontend.
#[derive(Clone)]
pub(super) struct Wire {
    http: reqwest::Client,
    frontend: Url,
    balancer: Balancer,
}

/// Replicas of a frontend that take turns. Clones are the same load balancer. One without replicas leaves requests alone.
#[derive(Clone, Default)]
pub(crate) struct Balancer(Arc<State>);

#[derive(Default)]
struct State {
    replicas: Mutex<Vec<SocketAddr>>,
    turns: AtomicUsize,
    gone: AtomicUsize,
}

/// `fetch()` of a page, with the cookies it had; may be called from many tasks at once.
#[derive(Clone)]
pub(crate) struct Fetch {
    pub(super) wire: Wire,
    pub(super) cookie: HeaderValue,
}

impl Wire {
    pub(super) fn new(frontend: Url) -> Self {
        Self { http: client(), frontend, balancer: Balancer::default() }
    }

    pub(super) fn frontend(&self) -> &Url {
        &self.frontend
    }

    pub(super) fn go_through(&mut self, balancer: Balancer) {
        self.balancer = balancer;
    }

    pub(super) fn request(&self, method: Method, url: &Url) -> reqwest::RequestBuilder {
        self.http.request(method, without_fragment(url))
    }

    /// Sends it and reads the whole answer; `url` is what the browser shows. A replica that is gone is passed over; what it may
    /// have read is sent again only if that does no harm (RFC 9110 §9.2.2).
    pub(super) async fn send(&self, url: Url, request: reqwest::RequestBuilder) -> reqwest::Result<Page> {
        let request = request.build()?;
        let replicas = self.balancer.in_turn();
        let Some((last, others)) = replicas.split_last().filter(|_| url.origin() == self.frontend.origin()) else {
            return Page::read(url, self.http.execute(request).await?).await;
        };
        for replica in others {
            let request = request.try_clone().expect("bodies are in memory");
            let is_safe = request.method().is_safe();
            match self.http.execute(readdressed(request, *replica)).await {
                Err(error) if error.is_connect() || is_safe && is_gone(*replica).await => self.balancer.note_gone(),
                answer => return Page::read(url, answer?).await,
            }
        }
        Page::read(url, self.http.execute(readdressed(request, *last)).await?).await
    }
}

impl Balancer {
    pub(crate) fn over(replicas: &[SocketAddr]) -> Self {
        let balancer = Self::default();
        balancer.replicas().extend_from_slice(replicas);
        balancer
    }

    pub(crate) fn add(&self, replica: SocketAddr) {
        self.replicas().push(replica);
    }

    pub(crate) fn remove(&self, replica: SocketAddr) {
        self.replicas().retain(|known| *known != replica);
    }

    /// How often a replica was passed over because it was gone.
    pub(crate) fn passed_over(&self) -> usize {
        self.0.gone.load(Ordering::Relaxed)
    }

    fn note_gone(&self) {
        self.0.gone.fetch_add(1, Ordering::Relaxed);
    }

    /// All of them, another one first each time.
    fn in_turn(&self) -> Vec<SocketAddr> {
        let mut replicas = self.replicas().clone();
        let first = self.0.turns.fetch_add(1, Ordering::Relaxed) % replicas.len().max(1);
        replicas.rotate_left(first);
        replicas
    }

    fn replicas(&self) -> MutexGuard<'_, Vec<SocketAddr>> {
        self.0.replicas.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl From<SocketAddr> for Balancer {
    fn from(replica: SocketAddr) -> Self {
        Self::over(&[replica])
    }
}

impl Fetch {
    /// The same by another way.
    pub(crate) fn through(mut self, balancer: impl Into<Balancer>) -> Self {
        self.wire.go_through(balancer.into());
        self
    }

    /// # Errors
    /// No connection, or one that broke off, or no answer in [`crate::LIMIT`].
    pub(crate) async fn send(&self, method: &str, path: &str) -> reqwest::Result<Page> {
        let url = self.wire.frontend().join(path).expect("a path on the frontend");
        let method: Method = method.parse().expect("a method");
        let mut request = self
            .wire
            .request(method.clone(), &url)
            .headers(fetch_metadata("cors", "empty", "same-origin"))
            .header("x-csrf", "1")
            .header(header::COOKIE, self.cookie.clone());
        if method != Method::GET {
            request = request.header(header::ORIGIN, self.wire.frontend().origin().ascii_serialization());
        }
        self.wire.send(url, request).await
    }
}

/// Whether nobody listens there any more. Who listens and does not answer is at fault.
async fn is_gone(replica: SocketAddr) -> bool {
    TcpStream::connect(replica).await.is_err()
}

/// The same request at another address; it still names its host.
fn readdressed(mut request: Request, replica: SocketAddr) -> Request {
    let host = HeaderValue::from_str(request.url().authority()).expect("a host is ASCII");
    request.headers_mut().insert(header::HOST, host);
    let url = request.url_mut();
    url.set_ip_host(replica.ip()).expect("the frontend has a host");
    url.set_port(Some(replica.port())).expect("the frontend has a port");
    request
}
