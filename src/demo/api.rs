//! An API that tells what reached it: the upstream of `cloakroom demo` and of our tests.
//!
//! Its answers go to a browser, so they never hold a token: an `Authorization` header is described, not shown. Tests read the true
//! requests from [`EchoApi::requests`].

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::digest;
use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, Request, State};
use axum::middleware::{self, Next};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use futures_util::{Stream, StreamExt as _, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::idp::{Introspection, SECOND_FACTOR};
use super::listening::Listening;
use super::{bearer_token, lock};

/// A running echo API. Dropping it ends it.
pub struct EchoApi {
    inner: Arc<Inner>,
    address: SocketAddr,
    listening: tokio::sync::Mutex<Option<Listening>>,
}

/// How an echo API is to be.
#[derive(Clone, Default)]
pub struct EchoApiOptions {
    /// Tells what is behind a live access token. Without it no token is known, and `/me` and `/vault` are always 401.
    pub introspect: Option<Introspect>,
}

/// From an access token to what is behind it, if it is live.
pub type Introspect = Arc<dyn Fn(&str) -> Option<Introspection> + Send + Sync>;

/// The head of a request, as it arrived: with the true `Authorization` and `Cookie`.
#[derive(Clone, Debug)]
pub struct ReceivedRequest {
    /// Its method.
    pub method: Method,
    /// Its target: path and query.
    pub uri: Uri,
    /// Its headers.
    pub headers: HeaderMap,
}

struct Inner {
    options: EchoApiOptions,
    requests: Mutex<Vec<ReceivedRequest>>,
}

impl EchoApi {
    /// Starts an API on `listener`.
    ///
    /// # Panics
    /// If the listener is not on a loopback address, or outside a Tokio runtime.
    pub fn start(listener: TcpListener, options: EchoApiOptions) -> Self {
        let inner = Arc::new(Inner { options, requests: Mutex::default() });
        let listening = Listening::start(listener, router(Arc::clone(&inner)));
        Self { inner, address: listening.address(), listening: tokio::sync::Mutex::new(Some(listening)) }
    }

    /// Its base URL, without trailing slash.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request so far, oldest first.
    pub fn requests(&self) -> Vec<ReceivedRequest> {
        lock(&self.inner.requests).clone()
    }

    /// Takes the API off the network: the port is free and all connections are closed when this returns.
    pub async fn stop(&self) {
        if let Some(listening) = self.listening.lock().await.take() {
            listening.stop().await;
        }
    }

    /// Puts a stopped API back on its port.
    ///
    /// # Errors
    /// If the port was taken meanwhile.
    pub async fn start_again(&self) -> std::io::Result<()> {
        let mut listening = self.listening.lock().await;
        if listening.is_none() {
            let listener = TcpListener::bind(self.address).await?;
            *listening = Some(Listening::start(listener, router(Arc::clone(&self.inner))));
        }
        Ok(())
    }
}

fn router(inner: Arc<Inner>) -> Router {
    Router::new()
        .route("/me", any(me))
        .route("/vault", any(vault))
        .route("/sse", get(events))
        .route("/slow", any(slow))
        .route("/status/{code}", any(status))
        .route("/redirect", any(redirect))
        .route("/headers", any(headers))
        .route("/big", get(big))
        .route("/echo-body", any(echo_body))
        .fallback(echo)
        .layer(middleware::from_fn_with_state(Arc::clone(&inner), record))
        .with_state(inner)
}

async fn record(State(inner): State<Arc<Inner>>, request: Request, next: Next) -> Response {
    lock(&inner.requests).push(ReceivedRequest {
        method: request.method().clone(),
        uri: request.uri().clone(),
        headers: request.headers().clone(),
    });
    next.run(request).await
}

/// Anything else: what arrived, as JSON.
async fn echo(
    State(inner): State<Arc<Inner>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Json<Value> {
    Json(inner.describe(&method, &uri, &headers, &body))
}

/// `/me`: the same for a token that is live, else 401 (RFC 6750 §3).
async fn me(State(inner): State<Arc<Inner>>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    match inner.behind_token(&headers) {
        Some(_) => Json(inner.describe(&method, &uri, &headers, &body)).into_response(),
        None => unknown_token(&headers),
    }
}

/// `/vault`: the same for a token that came from a login with [`SECOND_FACTOR`], else a demand for one (RFC 9470 §3).
async fn vault(State(inner): State<Arc<Inner>>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    match inner.behind_token(&headers) {
        Some(behind) if behind.acr == SECOND_FACTOR => {
            Json(inner.describe(&method, &uri, &headers, &body)).into_response()
        }
        Some(_) => challenged(&format!(
            "Bearer error=\"insufficient_user_authentication\", \
             error_description=\"The vault opens to a second factor\", acr_values=\"{SECOND_FACTOR}\""
        )),
        None => unknown_token(&headers),
    }
}

fn unknown_token(headers: &HeaderMap) -> Response {
    challenged(match bearer_token(headers) {
        Some(_) => "Bearer error=\"invalid_token\"",
        None => "Bearer",
    })
}

fn challenged(challenge: &str) -> Response {
    (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, challenge)]).into_response()
}

impl Inner {
    fn behind_token(&self, headers: &HeaderMap) -> Option<Introspection> {
        let introspect = self.options.introspect.as_deref()?;
        introspect(bearer_token(headers)?)
    }

    fn describe(&self, method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Value {
        let hash = digest::digest(&digest::SHA256, body);
        let hash = hash.as_ref().iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        json!({
            "method": method.as_str(),
            "path": uri.path(),
            "query": uri.query(),
            "subject": self.behind_token(headers).map(|behind| behind.subject),
            "headers": described(headers),
            "body": { "length": body.len(), "sha256": hash },
        })
    }
}

/// Header names with their values, several joined by a comma; `Authorization` only by scheme and length.
fn described(headers: &HeaderMap) -> BTreeMap<&str, String> {
    let mut described = BTreeMap::<_, String>::new();
    for (name, value) in headers {
        let text = String::from_utf8_lossy(value.as_bytes());
        let text = match text.split_once(' ') {
            Some((scheme, credentials)) if name == header::AUTHORIZATION => {
                format!("{scheme} <redacted, {} characters>", credentials.chars().count())
            }
            None if name == header::AUTHORIZATION => format!("<redacted, {} characters>", text.chars().count()),
            _ => text.into_owned(),
        };
        described.entry(name.as_str()).and_modify(|before| *before = format!("{before}, {text}")).or_insert(text);
    }
    described
}

#[derive(Deserialize)]
struct Events {
    #[serde(default = "three")]
    count: usize,
    #[serde(default = "second")]
    ms: u64,
}

/// `/sse?count=3&ms=1000`: events `tick` with data `1`, `2`, …, the first at once, then `ms` milliseconds apart.
async fn events(Query(events): Query<Events>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let pause = Duration::from_millis(events.ms);
    Sse::new(stream::iter(1..=events.count).then(move |number| async move {
        if number > 1 {
            tokio::time::sleep(pause).await;
        }
        Ok(Event::default().event("tick").data(number.to_string()))
    }))
}

#[derive(Deserialize)]
struct Slow {
    #[serde(default = "second")]
    ms: u64,
}

/// `/slow?ms=1000`: an empty 200 after that time.
async fn slow(Query(slow): Query<Slow>) -> StatusCode {
    tokio::time::sleep(Duration::from_millis(slow.ms)).await;
    StatusCode::OK
}

/// `/status/{code}?name=value`: that status, with these headers; for example `/status/401?www-authenticate=…`.
async fn status(Path(code): Path<u16>, Query(wanted): Query<Vec<(String, String)>>) -> Response {
    match StatusCode::from_u16(code) {
        Ok(code) => (code, header_map(&wanted)).into_response(),
        Err(_) => StatusCode::BAD_REQUEST.into_response(),
    }
}

#[derive(Deserialize)]
struct Target {
    to: String,
}

/// `/redirect?to=…`: 302 to there.
async fn redirect(Query(target): Query<Target>) -> Response {
    let location = header_map(&[("location".to_owned(), target.to)]);
    (StatusCode::FOUND, location).into_response()
}

/// `/headers?name=value&…`: 200 with these response headers, repeated ones too.
async fn headers(Query(wanted): Query<Vec<(String, String)>>) -> Response {
    (header_map(&wanted), "the headers you asked for\n").into_response()
}

#[derive(Deserialize)]
struct Big {
    bytes: u64,
}

/// `/big?bytes=…`: that many bytes, made as they are read.
async fn big(Query(big): Query<Big>) -> Body {
    let pieces = stream::unfold(big.bytes, |left| async move {
        let length = left.min(PIECE.len() as u64);
        let piece = &PIECE[..usize::try_from(length).unwrap_or(PIECE.len())];
        (length > 0).then(|| (Ok::<_, Infallible>(Bytes::from_static(piece)), left - length))
    });
    Body::from_stream(pieces)
}

/// `/echo-body`: the body comes back as it arrives, with its type.
async fn echo_body(headers: HeaderMap, body: Body) -> Response {
    let mut response = Response::new(body);
    if let Some(content_type) = headers.get(header::CONTENT_TYPE) {
        response.headers_mut().insert(header::CONTENT_TYPE, content_type.clone());
    }
    response
}

/// Those that are headers at all.
fn header_map(wanted: &[(String, String)]) -> HeaderMap {
    let parsed = wanted
        .iter()
        .filter_map(|(name, value)| Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?)));
    parsed.fold(HeaderMap::new(), |mut headers, (name, value)| {
        headers.append(name, value);
        headers
    })
}

impl fmt::Debug for EchoApiOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EchoApiOptions").field("introspect", &self.introspect.is_some()).finish()
    }
}

fn three() -> usize {
    3
}

fn second() -> u64 {
    1000
}

static PIECE: [u8; 16 * 1024] = [b'.'; 16 * 1024];

#[cfg(test)]
mod tests {
    use super::super::idp::PASSWORD;
    use super::*;

    #[test]
    fn a_token_is_described_and_not_shown() {
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static("Bearer coat-number-7"))]);
        assert_eq!(described(&headers)["authorization"], "Bearer <redacted, 13 characters>");
        let headers = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static("coat-number-7"))]);
        assert_eq!(described(&headers)["authorization"], "<redacted, 13 characters>");
    }

    async fn api() -> (EchoApi, reqwest::Client) {
        let introspect: Introspect = Arc::new(|token| {
            let acr = ["coat", "strong coat"].into_iter().zip([PASSWORD, SECOND_FACTOR]);
            let acr = acr.into_iter().find_map(|(known, acr)| (known == token).then_some(acr))?;
            Some(Introspection { subject: "alice".to_owned(), acr })
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        // Whoever comes first; the second one is told that it is there.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy().build().unwrap();
        (EchoApi::start(listener, EchoApiOptions { introspect: Some(introspect) }), http)
    }

    #[tokio::test]
    async fn me_is_for_live_tokens_only() {
        let (api, http) = api().await;
        let me = async |token| http.get(api.url() + "/me").bearer_auth(token).send().await.unwrap();
        assert_eq!(me("other").await.status(), StatusCode::UNAUTHORIZED);
        let answer = me("coat").await.text().await.unwrap();
        assert!(answer.contains("\"subject\":\"alice\"") && !answer.contains("Bearer coat"), "{answer}");
        assert_eq!(api.requests()[1].headers[header::AUTHORIZATION], "Bearer coat");
    }

    #[tokio::test]
    async fn the_vault_asks_for_a_second_factor() {
        let (api, http) = api().await;
        let vault = async |token| http.get(api.url() + "/vault").bearer_auth(token).send().await.unwrap();
        let refused = vault("coat").await;
        assert_eq!(refused.status(), StatusCode::UNAUTHORIZED);
        let challenge = refused.headers()[header::WWW_AUTHENTICATE].to_str().unwrap();
        assert!(challenge.contains("error=\"insufficient_user_authentication\""), "{challenge}");
        assert!(challenge.contains("acr_values=\"urn:cloakroom:acr:second-factor\""), "{challenge}");
        assert_eq!(vault("strong coat").await.status(), StatusCode::OK);
        assert!(vault("other").await.headers()[header::WWW_AUTHENTICATE].to_str().unwrap().contains("invalid_token"));
    }

    #[tokio::test]
    async fn answers_are_as_ordered() {
        let (api, http) = api().await;
        let get = async |path: &str| http.get(api.url() + path).send().await.unwrap();
        let status = get("/status/418?x-a=1&x-a=2").await;
        assert_eq!(status.status(), StatusCode::IM_A_TEAPOT);
        assert_eq!(status.headers().get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(get("/headers?set-cookie=a%3Db").await.headers()[header::SET_COOKIE], "a=b");
        assert_eq!(
            get("/redirect?to=https%3A%2F%2Fexample.com%2F").await.headers()[header::LOCATION],
            "https://example.com/"
        );
        assert_eq!(get("/big?bytes=40000").await.bytes().await.unwrap().len(), 40_000);
        assert_eq!(get("/slow?ms=1").await.status(), StatusCode::OK);
        let events = get("/sse?count=2&ms=1").await.text().await.unwrap();
        assert_eq!(events, "event: tick\ndata: 1\n\nevent: tick\ndata: 2\n\n");
        let echoed = http
            .post(api.url() + "/echo-body")
            .header("content-type", "text/x-coat")
            .body("green")
            .send()
            .await
            .unwrap();
        assert_eq!(echoed.headers()[header::CONTENT_TYPE], "text/x-coat");
        assert_eq!(echoed.text().await.unwrap(), "green");
    }

    #[test]
    fn repeated_headers_are_all_named() {
        let wanted = ["a", "b"].map(|value| ("x-many".to_owned(), value.to_owned()));
        assert_eq!(described(&header_map(&wanted))["x-many"], "a, b");
    }
}
