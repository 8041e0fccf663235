//! A Cloakroom that is attacked: once in the clear and once over TLS, with somebody logged in and an API that sees every byte.

use cloakroom::store::MasterKey;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::case::Version;
use super::message::Message;
use super::upstream::Upstream;
use crate::support::{Secure, TestApp};

pub(super) struct World {
    pub(super) upstream: Upstream,
    app: TestApp,
    /// The session's id, in both.
    id: String,
    secure: Secure,
}

impl World {
    pub(super) async fn start(trusted_proxies: &str) -> Self {
        let upstream = Upstream::start().await;
        let at = |path: &str| format!("upstream = 'http://{}{path}'", upstream.address);
        let key = MasterKey::generate().to_base64url().expose().clone();
        let app = TestApp::with()
            .variable("CLOAKROOM_KEY", &key)
            .variable("CLOAKROOM__SERVER__TRUSTED_PROXIES", trusted_proxies)
            .route(&format!("path = '/api'\n{}", at("/v1")))
            .route(&format!("path = '/api/admin'\nmethods = ['GET']\n{}", at("/admin")))
            .route(&format!("path = '/pub'\ntoken = 'none'\nforward_cookies = ['theme']\n{}", at("/pub")))
            .start()
            .await;
        let browser = app.logged_in("alice").await;
        let id = browser.session().unwrap().value.clone();
        let secure = Secure::start(&app).await;
        Self { upstream, app, id, secure }
    }

    fn port(&self, version: Version) -> u16 {
        match version {
            Version::Http1 => url::Url::parse(&self.app.url).unwrap().port().unwrap(),
            Version::Http2 => self.secure.address.port(),
        }
    }

    /// What braces in a file stand for.
    pub(super) fn names(&self, version: Version) -> [(&'static str, String); 7] {
        let port = self.port(version);
        let host = format!("localhost:{port}");
        let cookie = match version {
            Version::Http1 => format!("cloakroom-{port}"),
            Version::Http2 => "__Host-Http-cloakroom".to_owned(),
        };
        let session = format!("{cookie}={}", self.id);
        [
            ("ours", format!("Host: {host}\\r\\nX-CSRF: 1\\r\\nCookie: {session}")),
            ("host", host),
            ("session", session),
            ("cookie", cookie),
            ("id", self.id.clone()),
            ("upstream", self.upstream.address.to_string()),
            ("scheme", version.scheme().to_owned()),
        ]
    }

    /// Text that came out somewhere, with the names for what differs from run to run.
    pub(super) fn named(&self, text: &str, version: Version) -> String {
        let mut text = text.to_owned();
        for (name, value) in self.names(version).iter().filter(|(name, _)| !["ours", "scheme"].contains(name)) {
            text = text.replace(value, &format!("{{{name}}}"));
        }
        for token in self.app.provider.issued() {
            text = text.replace(&token, "{token}");
        }
        text
    }

    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port(Version::Http1))).await.unwrap()
    }

    pub(super) async fn connect_http2(&self) -> TlsStream<TcpStream> {
        self.secure.connect(b"h2").await
    }

    /// A request as the upstream saw it, in lines. What every call has to carry is left out, and said if it is not there.
    pub(super) fn request_lines(&self, request: &Message, version: Version) -> Vec<String> {
        let mut usual = vec![
            ("host".to_owned(), "{upstream}".to_owned()),
            ("forwarded".to_owned(), "for=127.0.0.1;proto={scheme};host=\"{host}\"".to_owned()),
            ("x-forwarded-for".to_owned(), "127.0.0.1".to_owned()),
            ("x-forwarded-proto".to_owned(), "{scheme}".to_owned()),
            ("x-forwarded-host".to_owned(), "{host}".to_owned()),
        ];
        if !request.start.contains(" /pub") {
            usual.push(("authorization".to_owned(), "Bearer {token}".to_owned()));
        }
        let scheme = version.scheme();
        let named = |(name, value): &(String, String)| {
            let value = value.replace(&format!("proto={scheme}"), "proto={scheme}");
            let value = if name == "x-forwarded-proto" { value.replace(scheme, "{scheme}") } else { value };
            (name.clone(), self.named(&value, version))
        };
        let unusual = difference(request.fields.iter().map(named).collect(), usual);
        lines(&self.named(&request.start, version), unusual, &request.body, request.is_whole)
    }

    /// What is wrong with a request that reached the upstream, whatever the client sent.
    pub(super) fn complaint(&self, request: &Message) -> Option<&'static str> {
        let [_, target, version] = request.start.split(' ').collect::<Vec<_>>()[..] else {
            return Some("no request line");
        };
        let known = ["/v1", "/admin", "/pub"]
            .iter()
            .any(|base| target.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?'])));
        let once = |name: &str| request.values(name).count() == 1;
        // An id that lost its name is nobody's, and may turn up anywhere.
        let has_ours = |cookies: &str| cookies.split(';').any(|pair| pair.trim_start().starts_with("cloakroom-"));
        let tokens = usize::from(!target.starts_with("/pub"));
        match () {
            () if !known || version != "HTTP/1.1" => Some("a target off its route"),
            () if request.values("cookie").any(has_ours) || request.values("x-csrf").next().is_some() => {
                Some("what proves something to us")
            }
            () if request.fields.iter().any(|(name, _)| name.contains(['_', ' ', '\\']) || name.is_empty()) => {
                Some("an odd name")
            }
            () if !once("host") || !once("forwarded") || !once("x-forwarded-for") => Some("our own word, not once"),
            () if request.values("host").next() != Some(&self.upstream.address.to_string()) => Some("another host"),
            () if request.values("authorization").count() != tokens => Some("too many tokens, or too few"),
            () => None,
        }
    }

    /// An answer as the browser saw it.
    pub(super) fn answer_lines(&self, answer: &Message, version: Version) -> Vec<String> {
        if let Some(problem) = problem(&answer.body) {
            return vec![format!("{} {problem}", answer.status())];
        }
        let usual = [
            ("x-content-type-options", "nosniff"),
            ("content-security-policy", "sandbox"),
            ("cache-control", "no-store"),
            ("vary", "Cookie"),
        ];
        let usual = usual.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        // Of one connection, or new each time.
        let passing = ["date", "x-request-id", "connection", "transfer-encoding"];
        let is_nothing = |(name, value): &(String, String)| name == "content-length" && value == "0";
        let kept = answer.fields.iter().filter(|field| !passing.contains(&field.0.as_str()) && !is_nothing(field));
        let named = |(name, value): &(String, String)| (name.clone(), self.named(value, version));
        let unusual = difference(kept.map(named).collect(), usual);
        lines(answer.status(), unusual, &answer.body, answer.is_whole)
    }
}

/// The fields that are not usual, and the usual ones that are not there.
fn difference(mut fields: Vec<(String, String)>, usual: Vec<(String, String)>) -> Vec<String> {
    let mut missing = Vec::new();
    for field in usual {
        match fields.iter().position(|known| *known == field) {
            Some(at) => drop(fields.remove(at)),
            None if fields.iter().any(|(name, _)| *name == field.0) => {}
            None => missing.push(format!("(no {})", field.0)),
        }
    }
    let mut fields: Vec<_> = fields.into_iter().map(|(name, value)| format!("{name}: {value}")).collect();
    fields.sort();
    fields.extend(missing);
    fields
}

fn lines(start: &str, fields: Vec<String>, body: &[u8], is_whole: bool) -> Vec<String> {
    let mut lines = vec![start.to_owned()];
    lines.extend(fields);
    if !body.is_empty() {
        lines.extend([String::new(), super::case::shown(body)]);
    }
    if !is_whole {
        lines.push("(broken off)".to_owned());
    }
    lines
}

/// The last part of a problem's type.
pub(super) fn problem(body: &[u8]) -> Option<&str> {
    let (_, rest) = str::from_utf8(body).ok()?.split_once("/bff/problems/")?;
    rest.split(['"', '<']).next()
}
