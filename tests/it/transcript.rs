//! Our `Browser` against the real Chromium: the same logins, request by request, on what our checks look at.
//!
//! `data/chromium-login.json` was recorded by `tests/e2e`. Requests to the provider and those for a page's own files are not in it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;

use crate::support::browser::Asked;
use crate::support::{Browser, TestApp};

#[tokio::test]
async fn our_browser_sends_what_chromium_sends() {
    let mut recorded: BTreeMap<String, Vec<Request>> =
        serde_json::from_str(include_str!("data/chromium-login.json")).unwrap();
    let app = TestApp::start().await;
    let mut browser = app.browser();

    let page = browser.click(LINK).await;
    browser.sign_in(&page, "alice").await;
    assert_eq!(sent(&mut browser), recorded.remove("interactive: link on the page, form at the provider").unwrap());

    app.clock.advance(Duration::from_secs(5));
    browser.click(LINK).await;
    assert_eq!(
        sent(&mut browser),
        recorded.remove("silent: link on the page, the provider sends straight back").unwrap()
    );

    app.clock.advance(Duration::from_secs(5));
    browser.open(LINK).await;
    let typed = "typed: address in the address bar, the provider sends straight back";
    assert_eq!(sent(&mut browser), recorded.remove(typed).unwrap());
    assert!(recorded.is_empty(), "nothing compares {:?}", recorded.keys());
}

/// What a request tells about where it comes from.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(from = "Recorded")]
struct Request {
    line: String,
    /// Names of the query's parameters.
    query: Vec<String>,
    /// `Sec-Fetch-*`, and `Origin` where there is one.
    headers: BTreeMap<String, String>,
    /// Kinds of our cookies.
    cookies: Vec<String>,
}

/// As in the file, which has more headers.
#[derive(Deserialize)]
struct Recorded {
    method: String,
    path: String,
    query: Vec<String>,
    headers: BTreeMap<String, String>,
    cookies: Vec<String>,
}

impl From<Recorded> for Request {
    fn from(recorded: Recorded) -> Self {
        let Recorded { method, path, query, mut headers, mut cookies } = recorded;
        headers.retain(|name, _| name.starts_with("sec-fetch-") || name == "origin");
        cookies.sort();
        Self { line: format!("{method} {path}"), query, headers, cookies }
    }
}

/// What the browser has sent to the app since it was last asked.
fn sent(browser: &mut Browser) -> Vec<Request> {
    let home = browser.home.origin();
    browser.history.drain(..).filter(|asked| asked.url.origin() == home).map(|asked| recorded(&asked).into()).collect()
}

fn recorded(asked: &Asked) -> Recorded {
    let headers = asked.headers.iter().map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    let cookies = asked.headers.get("cookie").map_or("", |cookies| cookies.to_str().unwrap());
    Recorded {
        method: asked.method.to_string(),
        path: asked.url.path().to_owned(),
        query: asked.url.query_pairs().map(|(name, _)| name.into_owned()).collect(),
        headers: headers.collect(),
        cookies: cookies.split("; ").filter(|cookie| !cookie.is_empty()).map(kind).collect(),
    }
}

fn kind(cookie: &str) -> String {
    let (name, _) = cookie.split_once('=').unwrap();
    let kind = if name.contains("-login.") { "login attempt" } else { "session" };
    kind.to_owned()
}

const LINK: &str = "/bff/login?return_to=%2Forders";
