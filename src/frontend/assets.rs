//! The SPA's own files: from a directory, from the program itself, or from a development server.
//!
//! A path without a file is the SPA's own route and answered with `index.html`, but only where a page is wanted: a script or image
//! that is missing is a 404, and so is a `fetch` to a path that no route has.

mod directory;
mod kind;
mod response;

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::BodyExt as _;

use self::directory::Directory;
pub(crate) use self::response::InMemory;
use self::response::{Body, BodyError, File};
use super::{AssetsOptions, EmbeddedFile};
use crate::proxy::{self, Client, ForwardContext, Forwarded, Route};
use crate::tokens::Grant;

/// Where the SPA's files come from, ready to serve.
#[derive(Debug)]
pub(crate) struct Assets {
    /// The frontend's path, without trailing slash: what is stripped from a request's path to name a file.
    mount: String,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Directory(Directory),
    Embedded(HashMap<&'static str, InMemory>),
    DevelopmentServer(Box<Route>),
}

/// Why assets cannot be served at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Error {
    /// The directory is not there, or may not be read.
    #[error("the directory {path} cannot be read: {source}", path = path.display())]
    Directory {
        /// As configured.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// There is no `index.html` to answer the SPA's own routes with.
    #[error("{path} holds no index.html", path = path.display())]
    NoIndex {
        /// As configured; `embedded` for files of the program.
        path: PathBuf,
    },
    /// The URL of the development server cannot be called.
    #[error("the development server's URL cannot be used: {reason}")]
    DevelopmentServer {
        /// What is wrong with it.
        reason: proxy::UpstreamError,
    },
}

/// Why a request was not answered with a file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum Refusal {
    /// There is no such file, and no page is wanted in its place.
    #[error("there is no such file")]
    NotFound,
    /// Neither GET nor HEAD; `Allow` is [`ALLOW`].
    #[error("assets are only read")]
    MethodNotAllowed,
    /// The file is there and cannot be read.
    #[error("the file cannot be read: {kind}")]
    Unreadable {
        /// What the system says.
        kind: std::io::ErrorKind,
    },
    /// The development server did not answer.
    #[error(transparent)]
    DevelopmentServer(proxy::Error),
}

/// The value of `Allow` that goes with [`Refusal::MethodNotAllowed`].
pub(crate) const ALLOW: http::HeaderValue = http::HeaderValue::from_static("GET, HEAD");

impl Assets {
    /// Looks once that the files are there. `mount` is the path of the frontend's URL.
    ///
    /// # Errors
    /// `Directory`, `NoIndex`: nothing that could be served. `DevelopmentServer`: its URL has more than origin and path.
    pub(crate) fn new(options: &AssetsOptions, mount: &str, client: &Client) -> Result<Self, Error> {
        let source = match options {
            AssetsOptions::Dir(path) => Source::Directory(Directory::new(path)?),
            AssetsOptions::Embedded(files) => Source::Embedded(embedded(files)?),
            AssetsOptions::Proxy(url) => {
                let route = Route::development_server(url.clone(), client)
                    .map_err(|reason| Error::DevelopmentServer { reason })?;
                Source::DevelopmentServer(Box::new(route))
            }
        };
        Ok(Self { mount: mount.trim_end_matches('/').to_owned(), source })
    }

    /// Answers with a file, its absence (`304`), the SPA's index, or what the development server says (WebSockets included, which
    /// is how it announces changes). Nothing of the session is looked at or passed on.
    ///
    /// # Errors
    /// See [`Refusal`]; the edge renders it.
    pub(crate) async fn serve<B>(
        &self,
        request: Request<B>,
        context: &ForwardContext<'_>,
    ) -> Result<Response<Body>, Refusal>
    where
        B: http_body::Body<Data = Bytes> + Send + 'static,
    {
        if *request.method() != Method::GET && *request.method() != Method::HEAD {
            return Err(Refusal::MethodNotAllowed);
        }
        if let Source::DevelopmentServer(route) = &self.source {
            let answer = proxy::forward(route, request, &Grant::None, context).await.map(Forwarded::into_answer);
            return answer
                .map(|answer| answer.map(|body| body.map_err(BodyError::DevelopmentServer).boxed_unsync()))
                .map_err(Refusal::DevelopmentServer);
        }
        // The body is not read, and may not be shared between threads while a file is.
        let (parts, _) = request.into_parts();
        let (name, file) = self.find(parts.uri.path(), &parts.headers).await?;
        Ok(response::of(&name, file, &parts.method, &parts.headers))
    }

    /// The file a path means, under the name that says its kind.
    async fn find(&self, path: &str, headers: &HeaderMap) -> Result<(String, File), Refusal> {
        let rest = path.strip_prefix(self.mount.as_str()).ok_or(Refusal::NotFound)?;
        let name = file_name(rest).ok_or(Refusal::NotFound)?;
        let is_page = wants_page(&name, headers);
        let name = if name.is_empty() || name.ends_with('/') { name + INDEX } else { name };
        if let Some(file) = self.open(&name).await? {
            return Ok((name, file));
        }
        if !is_page {
            return Err(Refusal::NotFound);
        }
        let index = self.open(INDEX).await?.ok_or(Refusal::NotFound)?;
        Ok((INDEX.to_owned(), index))
    }

    async fn open(&self, name: &str) -> Result<Option<File>, Refusal> {
        match &self.source {
            Source::Directory(directory) => directory.open(name).await,
            Source::Embedded(files) => Ok(files.get(name).cloned().map(File::from)),
            Source::DevelopmentServer(_) => Ok(None),
        }
    }
}

/// The relative name a path means: decoded once, `/` between segments. `None` if a segment could mean anything but a file of that
/// name: dots in front (hidden files, `..`; but `.well-known`, RFC 8615), separators, control characters, no UTF-8.
fn file_name(path: &str) -> Option<String> {
    if path.is_empty() {
        return Some(String::new());
    }
    let mut name = String::with_capacity(path.len());
    for (at, segment) in path.strip_prefix('/')?.split('/').enumerate() {
        let segment = percent_encoding::percent_decode_str(segment).decode_utf8().ok()?;
        let is_hidden = segment.starts_with('.') && !(at == 0 && segment == ".well-known");
        if is_hidden || segment.contains(['/', '\\']) || segment.chars().any(char::is_control) {
            return None;
        }
        if at > 0 {
            name.push('/');
        }
        name.push_str(&segment);
    }
    // `//` names no file, and as a prefix of a host it is no path either.
    (!name.starts_with('/') && !name.contains("//")).then_some(name)
}

/// Whether a missing file may be a route of the SPA. A person's navigation may end in `john.doe`; a known extension is a file.
fn wants_page(name: &str, headers: &HeaderMap) -> bool {
    let last = name.rsplit('/').next().unwrap_or_default();
    match headers.get("sec-fetch-mode") {
        Some(mode) => mode == "navigate" && kind::of(last).is_none_or(|kind| kind == kind::HTML),
        None => !last.contains('.'),
    }
}

fn embedded(files: &'static [EmbeddedFile]) -> Result<HashMap<&'static str, InMemory>, Error> {
    let files: HashMap<_, _> =
        files.iter().map(|file| (file.path, InMemory::new(Bytes::from_static(file.content)))).collect();
    if files.contains_key(INDEX) { Ok(files) } else { Err(Error::NoIndex { path: Path::new("embedded").to_owned() }) }
}

const INDEX: &str = "index.html";

#[cfg(test)]
mod tests;
