//! What must hold for whatever bytes a browser or an upstream sends: run by proptest, by the fuzzer and over its corpus (`fuzz/`).
//!
//! Each property reads the input as somebody else would, and not with the code it judges.

mod challenge;
mod cookies;
mod headers;
mod path;

use std::sync::LazyLock;

use http::header::{HeaderMap, HeaderName, HeaderValue};

pub use self::challenge::challenge;
pub use self::cookies::cookies;
pub use self::headers::{request_headers, response_headers};
pub use self::path::path;
use super::client::Client;
use super::route::{CsrfPolicy, Route, RouteOptions, RouteTable};
use crate::tokens::TokenPolicy;

/// Lines of `name: value`, as a server would have read them; what can be no header is passed over.
pub(crate) fn head(bytes: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let Some(end) = line.iter().position(|byte| *byte == b':') else { continue };
        let value = HeaderValue::from_bytes(line[end + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(&line[..end]), value) {
            // More than a map holds, no server hands on.
            let _ = headers.try_append(name, value);
        }
    }
    headers
}

/// The members of a comma-separated header, in lower case.
fn members(headers: &HeaderMap, name: &HeaderName) -> Vec<Vec<u8>> {
    let lines = headers.get_all(name).into_iter();
    lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(|member| lower(member.trim_ascii()))
        .collect()
}

fn lower(bytes: &[u8]) -> Vec<u8> {
    bytes.to_ascii_lowercase()
}

/// Routes that differ in everything a header or path could come through by.
static ROUTES: LazyLock<Routes> = LazyLock::new(|| {
    let table = |routes| RouteTable::new(routes, &Client::for_tests()).expect("the routes are well-formed");
    let at = |path: &str, upstream: &str| RouteOptions::new(path, upstream.parse().expect("a URL"));
    let mut open = at("/api/open", "http://o.internal:8080");
    open.token = TokenPolicy::None;
    open.methods = vec![http::Method::GET, http::Method::POST];
    open.forward_cookies = names(&["theme"]);
    open.response_cookies = names(&["theme"]);
    open.csrf = CsrfPolicy::Origin { reason: "images".to_owned(), documents: true };
    let mut shared = at("/api/shared", "https://o.internal/base/");
    shared.shared_cache = true;
    // Configured by somebody who wants ours to pass; `config` would not let them.
    shared.forward_cookies = names(&[OWN, OWN_LOGIN, "theme"]);
    shared.response_cookies = names(&[OWN, OWN_LOGIN, "theme"]);
    Routes {
        several: table(vec![
            at("/api", "https://o.internal/base/v1"),
            open,
            shared,
            at("/api/admin", "https://o.internal/admin"),
        ]),
        all: table(vec![at("/", "https://o.internal/base/v1")]),
    }
});

struct Routes {
    several: RouteTable,
    /// One route for every path.
    all: RouteTable,
}

impl Routes {
    fn each(&self) -> impl Iterator<Item = &Route> {
        self.several.routes().iter().chain(self.all.routes())
    }
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// How the names of our cookies start.
const OWN: &str = "__Host-Http-cloakroom";
const OWN_LOGIN: &str = "__Host-Http-cloakroom-login.3";
