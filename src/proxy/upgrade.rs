//! WebSockets: two connections that became one (RFC 6455 §4).

use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Version};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::headers::has_token;

/// The WebSockets that are open, so that they can be closed: a listener's own drain does not see them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Upgrades {
    tasks: TaskTracker,
    closing: CancellationToken,
}

impl Upgrades {
    /// Closes all of them and waits until they are closed. New ones close at once.
    pub(crate) async fn close(&self) {
        self.closing.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Carries bytes between both sides until both have ended, either breaks off, both are silent for `idle_timeout`, or
    /// [`Upgrades::close`].
    pub(super) fn join(&self, browser: OnUpgrade, upstream: OnUpgrade, idle_timeout: Duration) {
        let closing = self.closing.clone();
        self.tasks.spawn(async move {
            let carried = closing.run_until_cancelled(carry(browser, upstream, idle_timeout)).await;
            if let Some(Err(error)) = carried {
                tracing::debug!(%error, "WebSocket broke off");
            }
        });
    }
}

/// The browser's end of a WebSocket that was asked for. Anything else that `Upgrade` may name is not passed on.
pub(super) fn asked<B>(request: &mut Request<B>) -> Option<OnUpgrade> {
    let headers = request.headers();
    let is_websocket = request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && has_token(headers, &header::CONNECTION, "upgrade")
        && headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    // Without the extension the connection cannot be taken over, and the request is an ordinary one.
    is_websocket.then(|| request.extensions_mut().remove::<OnUpgrade>()).flatten()
}

/// Names the upgrade again on the next hop.
pub(super) fn announce(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
}

async fn carry(browser: OnUpgrade, upstream: OnUpgrade, idle_timeout: Duration) -> io::Result<()> {
    let (browser, upstream) = tokio::try_join!(browser, upstream).map_err(io::Error::other)?;
    let last = Mutex::new(Instant::now());
    let (mut from_browser, mut to_browser) = tokio::io::split(TokioIo::<Upgraded>::new(browser));
    let (mut from_upstream, mut to_upstream) = tokio::io::split(TokioIo::<Upgraded>::new(upstream));
    tokio::select! {
        done = async {
            tokio::try_join!(
                copy(&mut from_browser, &mut to_upstream, &last),
                copy(&mut from_upstream, &mut to_browser, &last),
            )
        } => done.map(|_| ()),
        () = silence(&last, idle_timeout) => Ok(()),
    }
}

async fn copy(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    last: &Mutex<Instant>,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = from.read(&mut buffer).await?;
        *last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        if length == 0 {
            return to.shutdown().await;
        }
        to.write_all(&buffer[..length]).await?;
        to.flush().await?;
    }
}

async fn silence(last: &Mutex<Instant>, limit: Duration) {
    loop {
        let over = *last.lock().unwrap_or_else(PoisonError::into_inner) + limit;
        if over <= Instant::now() {
            return;
        }
        tokio::time::sleep_until(over).await;
    }
}

/// Bytes carried at once, each way.
const BUFFER: usize = 16 * 1024;
