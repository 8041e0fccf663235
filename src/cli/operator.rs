//! An operator's call to the program that serves. It tells open tabs at once whatever the store, and is the only way to one in memory.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;
use url::form_urlencoded;

use crate::config::{AdminListen, Config};
use crate::secret::Secret;

/// The admin listener of the configuration, if operators may use it.
pub(super) struct Operator<'a> {
    at: &'a AdminListen,
    token: Option<&'a Secret<String>>,
}

/// Why the server did not do it.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// There may be somebody.
    #[error("cannot be asked: {0}")]
    Unreachable(io::Error),
    /// It did not say what it did.
    #[error("the answer did not come; some sessions may have ended, so run it again: {0}")]
    Interrupted(String),
    /// It says no.
    #[error("answered {}: {}", .status.as_u16(), .detail.as_deref().unwrap_or("nothing that cloakroom says"))]
    Refused {
        status: StatusCode,
        /// In the server's words.
        detail: Option<String>,
    },
    /// It does not know the verb.
    #[error("does not know how to end sessions: it runs without server.admin_token, is older, or is another program")]
    Unknown,
    /// It is something else.
    #[error("answered, but not as cloakroom does")]
    Strange,
}

/// Status and body.
type Answer = (StatusCode, Bytes);

#[derive(Deserialize)]
struct Ended {
    ended: u64,
}

#[derive(Deserialize)]
struct Problem {
    detail: String,
}

impl<'a> Operator<'a> {
    pub(super) fn of(config: &'a Config) -> Option<Self> {
        let at = config.server.admin_listen.as_ref()?;
        let token = config.server.admin_token.as_ref();
        match at {
            // A free port, and only the server knows which.
            AdminListen::Address(address) if address.port() == 0 => None,
            AdminListen::Address(_) => token.is_some().then_some(Self { at, token }),
            #[cfg(unix)]
            AdminListen::Unix(_) => Some(Self { at, token: None }),
        }
    }

    /// Has the server end the sessions that `query` names; answers how many. Nothing if nobody listens.
    ///
    /// # Errors
    /// Somebody listens, and did not do it, or did not say so.
    pub(super) async fn end(&self, query: &[(&str, &str)]) -> Result<Option<u64>, CallError> {
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        let mut request = Request::builder()
            .method(Method::DELETE)
            .uri(format!("/sessions?{query}"))
            .header(header::HOST, "localhost");
        if let Some(token) = self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.expose()));
        }
        let request = request.body(Empty::new()).map_err(|error| CallError::Unreachable(io::Error::other(error)))?;
        let answer = match self.at {
            AdminListen::Address(address) => call(TcpStream::connect(reachable(*address)), request).await?,
            #[cfg(unix)]
            AdminListen::Unix(path) => call(tokio::net::UnixStream::connect(path), request).await?,
        };
        answer.map(ended).transpose()
    }
}

impl fmt::Display for Operator<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.at.fmt(f)
    }
}

/// Nothing if nobody listens: no port, no file, or the file of a process that is gone.
async fn call<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    connecting: impl Future<Output = io::Result<S>>,
    request: Request<Empty<Bytes>>,
) -> Result<Option<Answer>, CallError> {
    use io::ErrorKind::{ConnectionRefused, NotFound, TimedOut};
    let stream = match tokio::time::timeout(CONNECT, connecting).await.unwrap_or_else(|_| Err(TimedOut.into())) {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), ConnectionRefused | NotFound) => return Ok(None),
        Err(error) => return Err(CallError::Unreachable(error)),
    };
    let late = |_| Err(CallError::Interrupted(format!("nothing within {} minutes", ANSWER.as_secs() / 60)));
    tokio::time::timeout(ANSWER, exchange(stream, request)).await.unwrap_or_else(late).map(Some)
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Empty<Bytes>>,
) -> Result<Answer, CallError> {
    let interrupted = |error: hyper::Error| CallError::Interrupted(error.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(interrupted)?;
    let _driven = AbortOnDropHandle::new(tokio::spawn(connection));
    let (parts, body) = sender.send_request(request).await.map_err(interrupted)?.into_parts();
    let body = Limited::new(body, LARGEST).collect().await;
    let body = body.map_err(|error| CallError::Interrupted(error.to_string()))?;
    Ok((parts.status, body.to_bytes()))
}

fn ended((status, body): Answer) -> Result<u64, CallError> {
    if status == StatusCode::OK {
        return serde_json::from_slice::<Ended>(&body).map(|Ended { ended }| ended).map_err(|_| CallError::Strange);
    }
    if status == StatusCode::NOT_FOUND {
        return Err(CallError::Unknown);
    }
    // Whoever answers there may be another program; its words go to a terminal.
    let plain = |text: String| text.chars().filter(|c| !c.is_control()).collect();
    let detail = serde_json::from_slice::<Problem>(&body).ok().map(|Problem { detail }| plain(detail));
    Err(CallError::Refused { status, detail })
}

/// Where somebody who listens on every address of this machine is found.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// On this machine it takes no time.
const CONNECT: Duration = Duration::from_secs(5);
/// A million sessions end one by one.
const ANSWER: Duration = Duration::from_mins(30);
const LARGEST: usize = 64 * 1024;
