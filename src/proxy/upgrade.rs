//! WebSockets: two connections that became one (RFC 6455 §4).

use std::io;
use std::ops::Range;
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Request, Version};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::frames::Frames;
use super::headers::has_token;
use crate::session::UsedSession;

/// The WebSockets that are open, so that they can be closed: a listener's own drain does not see them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Upgrades {
    tasks: TaskTracker,
    closing: CancellationToken,
}

impl Upgrades {
    /// How many there are.
    pub(crate) fn open(&self) -> usize {
        self.tasks.len()
    }

    /// Closes all of them and waits until they are closed. New ones close at once.
    pub(crate) async fn close(&self) {
        self.closing.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Carries bytes between both sides until both have ended, either breaks off, both are silent for `idle_timeout`, the `session`
    /// that opened it ends, or [`Upgrades::close`].
    pub(super) fn join(
        &self,
        browser: OnUpgrade,
        upstream: OnUpgrade,
        idle_timeout: Duration,
        session: Option<UsedSession>,
    ) {
        let closing = self.closing.clone();
        let session_ended = async move {
            match session {
                Some(session) => session.ended().await,
                None => std::future::pending().await,
            }
        };
        let end = async move {
            tokio::select! {
                () = session_ended => SESSION_ENDED,
                () = closing.cancelled() => GOING_AWAY,
            }
        };
        self.tasks.spawn(async move {
            if let Err(error) = carry(browser, upstream, idle_timeout, end).await {
                tracing::debug!(%error, "WebSocket broke off");
            }
        });
    }
}

/// A WebSocket that was asked for.
pub(super) struct Handshake {
    browser: OnUpgrade,
    accept: String,
}

impl Handshake {
    /// The browser's end, if the upstream answers this very handshake. One that can be brought to say 101 and goes on with HTTP would
    /// otherwise take requests from the tunnel that nobody here has looked at.
    pub(super) fn accepted(self, answer: &HeaderMap) -> Option<OnUpgrade> {
        let mut accepts = answer.get_all(header::SEC_WEBSOCKET_ACCEPT).iter();
        let accepted = accepts.next().is_some_and(|accept| *accept == self.accept) && accepts.next().is_none();
        accepted.then_some(self.browser)
    }
}

/// The handshake of a request. Anything else that `Upgrade` may name is not passed on.
pub(super) fn asked<B>(request: &mut Request<B>) -> Option<Handshake> {
    let headers = request.headers();
    let mut keys = headers.get_all(header::SEC_WEBSOCKET_KEY).iter();
    let (Some(key), None) = (keys.next(), keys.next()) else { return None };
    let accept = accept(key.as_bytes());
    let is_websocket = request.method() == Method::GET
        && request.version() == Version::HTTP_11
        && has_token(headers, &header::CONNECTION, "upgrade")
        && headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"));
    // Without the extension the connection cannot be taken over, and the request is an ordinary one.
    let browser = is_websocket.then(|| request.extensions_mut().remove::<OnUpgrade>()).flatten()?;
    Some(Handshake { browser, accept })
}

/// What a server says that has understood the key (RFC 6455 §4.2.2(5.4)).
fn accept(key: &[u8]) -> String {
    let mut digest = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    digest.update(key);
    digest.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(digest.finish())
}

/// Names the upgrade again on the next hop.
pub(super) fn announce(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
}

/// `end` says with which close code the browser is left when it is over.
async fn carry(
    browser: OnUpgrade,
    upstream: OnUpgrade,
    idle_timeout: Duration,
    end: impl Future<Output = CloseCode>,
) -> io::Result<()> {
    let mut end = pin!(end);
    let mut joined = pin!(async { tokio::try_join!(browser, upstream) });
    let (both, ended) = tokio::select! {
        both = &mut joined => (both, None),
        // Also a WebSocket that has only just been opened is told why it is closed.
        code = &mut end => match tokio::time::timeout(GRACE, joined).await {
            Ok(both) => (both, Some(code)),
            Err(_) => return Ok(()),
        },
    };
    let (browser, upstream) = both.map_err(io::Error::other)?;
    let last = Mutex::new(Instant::now());
    let (mut from_browser, to_browser) = tokio::io::split(TokioIo::<Upgraded>::new(browser));
    let (from_upstream, mut to_upstream) = tokio::io::split(TokioIo::<Upgraded>::new(upstream));
    let mut down = Down::new(from_upstream, to_browser);
    let code = if let Some(code) = ended {
        code
    } else {
        tokio::select! {
            done = async {
                tokio::try_join!(copy(&mut from_browser, &mut to_upstream, &last), down.carry(&last))
            } => return done.map(|_| ()),
            () = silence(&last, idle_timeout) => return Ok(()),
            code = end => code,
        }
    };
    drop(to_upstream);
    let taking_leave = tokio::time::timeout(GRACE, down.close(code)).await;
    let mut to_browser = taking_leave.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    // With bytes of the browser unread, the system would take back what it has not sent yet.
    let rest = async {
        to_browser.shutdown().await?;
        tokio::io::copy(&mut from_browser, &mut tokio::io::sink()).await
    };
    tokio::time::timeout(GRACE, rest).await.unwrap_or(Ok(0)).map(|_| ())
}

/// The way from the upstream to the browser. Can be left and taken up again at any `.await`: what is sent is known to the byte.
struct Down<R, W> {
    from_upstream: R,
    to_browser: W,
    buffer: Vec<u8>,
    /// What of the buffer has not been sent.
    unsent: Range<usize>,
    frames: Frames,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Down<R, W> {
    fn new(from_upstream: R, to_browser: W) -> Self {
        Self { from_upstream, to_browser, buffer: vec![0; BUFFER], unsent: 0..0, frames: Frames::default() }
    }

    async fn carry(&mut self, last: &Mutex<Instant>) -> io::Result<()> {
        while self.read().await? {
            *last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            while !self.unsent.is_empty() {
                self.send(self.unsent.len()).await?;
            }
            self.to_browser.flush().await?;
        }
        self.to_browser.shutdown().await
    }

    /// Lets the frame under way end, then tells the browser that it is over (RFC 6455 §5.5.1). Drops the upstream.
    async fn close(mut self, code: CloseCode) -> io::Result<W> {
        while !self.frames.at_boundary() {
            if self.unsent.is_empty() && !self.read().await? {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mut ahead = self.frames;
            self.send(ahead.advance(&self.buffer[self.unsent.clone()])).await?;
        }
        if !self.frames.has_closed() {
            let [high, low] = code.to_be_bytes();
            self.to_browser.write_all(&[FINAL_CLOSE, 2, high, low]).await?;
        }
        self.to_browser.flush().await?;
        Ok(self.to_browser)
    }

    /// Whether there was something more.
    async fn read(&mut self) -> io::Result<bool> {
        let length = self.from_upstream.read(&mut self.buffer).await?;
        self.unsent = 0..length;
        Ok(length > 0)
    }

    /// Sends some of the next `length` bytes.
    async fn send(&mut self, length: usize) -> io::Result<()> {
        let next = &self.buffer[self.unsent.start..][..length];
        let sent = self.to_browser.write(next).await?;
        if sent == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.frames.pass(&next[..sent]);
        self.unsent.start += sent;
        Ok(())
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
/// A close frame, unfragmented and unmasked.
const FINAL_CLOSE: u8 = 0x88;
/// How long the frame under way, and then the browser's answer, may take.
const GRACE: Duration = Duration::from_millis(500);

/// Why a WebSocket is closed (RFC 6455 §7.4).
type CloseCode = u16;
/// Of the range for applications: log in again.
const SESSION_ENDED: CloseCode = 4401;
/// Come back, to somebody else.
const GOING_AWAY: CloseCode = 1001;
