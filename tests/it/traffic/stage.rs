//! Somebody who is logged in, with clients of both versions of HTTP.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use cloakroom::store::MasterKey;
use http::{Method, Request, Response, request};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::client::TlsStream;
use tokio_stream::wrappers::ReceiverStream;

use super::upstream::Upstream;
use crate::support::{Browser, Secure, TestApp};

/// See the module. The route is `/api`.
pub(super) struct Stage {
    pub(super) secure: Secure,
    pub(super) upstream: Upstream,
    pub(super) browser: Browser,
    app: TestApp,
    cookie: String,
}

/// What a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    Http1,
    Http2,
}

pub(super) const BOTH: [Version; 2] = [Version::Http1, Version::Http2];

/// One connection.
pub(super) enum Client {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

impl Stage {
    pub(super) async fn start() -> Self {
        Self::with("").await
    }

    /// With these keys for the route.
    pub(super) async fn with(route: &str) -> Self {
        let upstream = Upstream::start();
        let app = TestApp::with()
            .variable("CLOAKROOM_KEY", MasterKey::generate().to_base64url().expose())
            .route(&format!("path = '/api'\nupstream = 'http://{}/v1'\n{route}", upstream.address));
        let app = app.start().await;
        let browser = app.logged_in("alice").await;
        let cookie = cookie(&browser);
        Self { secure: Secure::start(&app).await, upstream, browser, app, cookie }
    }

    /// From now on with another session.
    pub(super) async fn log_in_anew(&mut self) {
        self.browser = self.app.logged_in("alice").await;
        self.cookie = cookie(&self.browser);
    }

    /// The session's cookie.
    pub(super) fn cookie(&self) -> &str {
        &self.cookie
    }

    pub(super) async fn client(&self, version: Version) -> Client {
        match version {
            Version::Http1 => {
                let stream = TokioIo::new(self.connect().await);
                let (sender, connection) = http1::handshake(stream).await.unwrap();
                tokio::spawn(connection.with_upgrades());
                Client::Http1(sender)
            }
            Version::Http2 => {
                let stream = TokioIo::new(self.secure.connect(b"h2").await);
                let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
                tokio::spawn(connection);
                Client::Http2(sender)
            }
        }
    }

    /// A connection for HTTP/1.1 by hand.
    pub(super) async fn connect(&self) -> TlsStream<TcpStream> {
        self.secure.connect(b"http/1.1").await
    }

    /// A call of the page's.
    pub(super) fn call(&self, method: &str, path: &str) -> request::Builder {
        self.bare(method, path).header("x-csrf", "1").header("cookie", &self.cookie)
    }

    /// A request that proves nothing.
    pub(super) fn bare(&self, method: &str, path: &str) -> request::Builder {
        let method: Method = method.parse().unwrap();
        Request::builder().method(method).uri(format!("https://{}{path}", self.secure.host()))
    }

    /// The head of a call of the page's, with these lines.
    pub(super) fn head(&self, start: &str, lines: &[&str]) -> String {
        let mut head = format!("{start}\r\nHost: {}\r\nX-CSRF: 1\r\nCookie: {}\r\n", self.secure.host(), self.cookie);
        for line in lines {
            write!(head, "{line}\r\n").unwrap();
        }
        head + "\r\n"
    }
}

impl Client {
    pub(super) async fn send(&mut self, mut request: Request<Body>) -> hyper::Result<Response<Incoming>> {
        match self {
            Self::Http1(sender) => {
                let uri = request.uri().clone();
                request.headers_mut().insert("host", uri.authority().unwrap().as_str().parse().unwrap());
                *request.uri_mut() = uri.path_and_query().unwrap().clone().into();
                in_time(sender.ready()).await?;
                in_time(sender.send_request(request)).await
            }
            Self::Http2(sender) => in_time(sender.send_request(request)).await,
        }
    }
}

fn cookie(browser: &Browser) -> String {
    format!("__Host-Http-cloakroom={}", browser.session().unwrap().value)
}

pub(super) fn empty() -> Body {
    full(Bytes::new())
}

pub(super) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed_unsync()
}

/// A body whose pieces the test sends, one at a time.
pub(super) fn streamed() -> (mpsc::Sender<Bytes>, Body) {
    let (sender, pieces) = mpsc::channel(1);
    let frames = tokio_stream::StreamExt::map(ReceiverStream::new(pieces), |piece| Ok(Frame::data(piece)));
    (sender, StreamBody::new(frames).boxed_unsync())
}

/// Waits, but not for ever.
pub(super) async fn in_time<T>(waiting: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("it takes too long")
}
