//! A file as an answer: its kind, how long it may be kept, and nothing but headers if the browser has it already (RFC 9110 §13).

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest;
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;

use super::kind;
use crate::proxy;

/// The body of an answer with assets.
pub(crate) type Body = UnsyncBoxBody<Bytes, BodyError>;

/// Why a body broke off.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum BodyError {
    /// The file could not be read to its end.
    #[error("the file broke off")]
    File(#[source] std::io::Error),
    /// The development server's answer broke off.
    #[error(transparent)]
    DevelopmentServer(#[from] proxy::StreamError),
}

/// A file that was found.
#[derive(Debug)]
pub(super) struct File {
    content: Content,
    length: u64,
    /// None for a file on disk whose time is not known.
    etag: Option<HeaderValue>,
    modified: Option<SystemTime>,
}

/// A small file, known by its content: its time says nothing where builds are reproducible and all files have the same one.
#[derive(Clone, Debug)]
pub(crate) struct InMemory {
    bytes: Bytes,
    etag: HeaderValue,
}

#[derive(Debug)]
enum Content {
    Memory(Bytes),
    Disk(std::fs::File),
}

impl InMemory {
    /// Reads the content once, for its digest.
    pub(crate) fn new(bytes: Bytes) -> Self {
        let mut etag = "\"".to_owned();
        for byte in &digest::digest(&digest::SHA256, &bytes).as_ref()[..16] {
            let _ = write!(etag, "{byte:02x}");
        }
        etag.push('"');
        Self { bytes, etag: HeaderValue::try_from(etag).expect("hex digits in quotes are header text") }
    }

    /// The answer with it to a GET or HEAD; see [`of`].
    pub(crate) fn answer(&self, name: &str, method: &Method, asked: &HeaderMap) -> Response<Body> {
        of(name, self.clone().into(), method, asked)
    }
}

impl From<InMemory> for File {
    fn from(file: InMemory) -> Self {
        let length = file.bytes.len() as u64;
        Self { content: Content::Memory(file.bytes), length, etag: Some(file.etag), modified: None }
    }
}

impl File {
    /// A large file; its first `length` bytes are sent.
    pub(super) fn on_disk(file: std::fs::File, length: u64) -> Self {
        Self { content: Content::Disk(file), length, etag: None, modified: None }
    }

    /// Adds when it was last written.
    pub(super) fn modified(mut self, modified: Option<SystemTime>) -> Self {
        self.modified = modified;
        if let Some(since) = modified.and_then(|modified| modified.duration_since(SystemTime::UNIX_EPOCH).ok())
            && self.etag.is_none()
        {
            self.etag = HeaderValue::try_from(format!("W/\"{:x}-{:x}\"", since.as_nanos(), self.length)).ok();
        }
        self
    }

    fn last_modified(&self) -> Option<HeaderValue> {
        // A date before 1970 has no form that all of HTTP can read.
        let modified = self.modified.filter(|modified| *modified >= SystemTime::UNIX_EPOCH)?;
        HeaderValue::try_from(httpdate::fmt_http_date(modified)).ok()
    }

    fn body(self) -> Body {
        match self.content {
            Content::Memory(bytes) => Full::new(bytes).map_err(|never| match never {}).boxed_unsync(),
            Content::Disk(file) => {
                let file = tokio::fs::File::from_std(file).take(self.length);
                let pieces = ReaderStream::with_capacity(file, PIECE).map_ok(Frame::data).map_err(BodyError::File);
                StreamBody::new(pieces).boxed_unsync()
            }
        }
    }
}

/// The answer with a file. `name` says its kind and how long it is kept.
pub(super) fn of(name: &str, file: File, method: &Method, asked: &HeaderMap) -> Response<Body> {
    let mut headers = HeaderMap::new();
    let kind = kind::of(name).unwrap_or("application/octet-stream");
    let keep =
        if kind != kind::HTML && kind::is_hashed(name) { "public, max-age=31536000, immutable" } else { "no-cache" };
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(keep));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(etag) = &file.etag {
        headers.insert(header::ETAG, etag.clone());
    }
    if let Some(date) = file.last_modified() {
        headers.insert(header::LAST_MODIFIED, date);
    }
    let mut response = Response::new(Body::default());
    if is_known(&file, asked) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(file.length));
        if *method != Method::HEAD {
            *response.body_mut() = file.body();
        }
    }
    *response.headers_mut() = headers;
    response
}

/// Whether the browser has this very content (RFC 9110 §13.2.2): by tag if it names any, else by time.
fn is_known(file: &File, asked: &HeaderMap) -> bool {
    if asked.contains_key(header::IF_NONE_MATCH) {
        let Some(etag) = file.etag.as_ref().map(|etag| weak(etag.as_bytes())) else { return false };
        let names = |value: &HeaderValue| {
            // A comma inside a tag only splits it into pieces that match nothing of ours.
            value
                .as_bytes()
                .split(|&byte| byte == b',')
                .any(|tag| matches!(tag.trim_ascii(), tag if tag == b"*" || weak(tag) == etag))
        };
        return asked.get_all(header::IF_NONE_MATCH).iter().any(names);
    }
    let since =
        asked.get(header::IF_MODIFIED_SINCE).and_then(|since| httpdate::parse_http_date(since.to_str().ok()?).ok());
    // Dates have whole seconds.
    file.modified.zip(since).is_some_and(|(modified, since)| modified < since + Duration::from_secs(1))
}

/// A tag for weak comparison (RFC 9110 §8.8.3.2).
fn weak(etag: &[u8]) -> &[u8] {
    etag.strip_prefix(b"W/").unwrap_or(etag)
}

/// Bytes read from disk at once.
const PIECE: usize = 64 * 1024;
