//! An `EventSource` as browsers have it: what it sends, and what it makes of the lines that come.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde_json::Value;
use tokio::time::timeout;

use super::Browser;

/// An open stream of events.
pub(crate) struct EventSource {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    answer: reqwest::Response,
    /// What has come and was not read.
    text: String,
}

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) data: Value,
}

impl EventSource {
    /// `new EventSource("/bff/events")` on a page of the browser's home site. `headers` are added, or left out if empty.
    pub(crate) async fn open(browser: &Browser, headers: &[(&str, &str)]) -> Self {
        Self::open_at(browser, browser.at("/bff/events").as_str(), headers).await
    }

    /// The same at another address of the site.
    pub(crate) async fn open_at(browser: &Browser, url: &str, headers: &[(&str, &str)]) -> Self {
        let home = browser.at("/");
        Self::connect(&browser.http, url, home.authority(), browser.cookies.header(&home, true).as_deref(), headers)
            .await
    }

    /// The same for any browser at `host` that has these cookies.
    pub(crate) async fn connect(
        http: &reqwest::Client,
        url: &str,
        host: &str,
        cookies: Option<&str>,
        headers: &[(&str, &str)],
    ) -> Self {
        let mut sent = HeaderMap::new();
        // What Chromium sends.
        let own = [
            ("host", host),
            ("accept", "text/event-stream"),
            ("cache-control", "no-cache"),
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-mode", "cors"),
            ("sec-fetch-dest", "empty"),
        ];
        let cookies = cookies.map(|cookies| ("cookie", cookies));
        for (name, value) in own.into_iter().chain(cookies).chain(headers.iter().copied()) {
            let name = HeaderName::try_from(name).unwrap();
            if value.is_empty() {
                sent.remove(name);
            } else {
                sent.insert(name, HeaderValue::try_from(value).unwrap());
            }
        }
        let answer = http.get(url).headers(sent).send().await.unwrap();
        Self { status: answer.status(), headers: answer.headers().clone(), answer, text: String::new() }
    }

    /// Opens one that is logged in, and reads how things stand.
    pub(crate) async fn of(browser: &Browser) -> Self {
        let mut events = Self::open(browser, &[]).await;
        assert_eq!(events.next().await.name, "session");
        events
    }

    /// The next event.
    pub(crate) async fn next(&mut self) -> Event {
        Event::read(&self.block().await.expect("the stream goes on"))
    }

    /// The next event, whatever silence comes before.
    pub(crate) async fn next_event(&mut self) -> Event {
        loop {
            let block = self.block().await.expect("the stream goes on");
            if block != HEARTBEAT {
                return Event::read(&block);
            }
        }
    }

    /// What comes next is a heartbeat.
    pub(crate) async fn beats(&mut self) {
        assert_eq!(self.block().await.as_deref(), Some(HEARTBEAT));
    }

    /// The next event, if it is the last.
    pub(crate) async fn last(&mut self) -> Event {
        let event = self.next_event().await;
        assert_eq!(self.block().await, None, "the stream ends");
        event
    }

    /// Why it ended; there is nothing but that.
    pub(crate) async fn ended(&mut self) -> String {
        let event = self.last().await;
        assert_eq!((event.name.as_str(), event.id.as_str()), ("ended", ""));
        event.data["reason"].as_str().unwrap().to_owned()
    }

    /// The lines up to the next empty one; none at a clean end.
    pub(crate) async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                return Some(block);
            }
            let piece = timeout(PATIENCE, self.answer.chunk()).await.expect("something comes in time");
            let Some(piece) = piece.expect("it does not break off") else {
                assert_eq!(self.text, "", "it ends with whole events");
                return None;
            };
            self.text += std::str::from_utf8(&piece).unwrap();
        }
    }

    /// Its body, of an answer that is no stream.
    pub(crate) async fn problem(self) -> Value {
        serde_json::from_slice(&self.answer.bytes().await.unwrap()).unwrap()
    }
}

impl Event {
    fn read(block: &str) -> Self {
        let field = |name: &str| {
            let line = block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            line.unwrap_or_else(|| panic!("no {name} in {block:?}")).to_owned()
        };
        Self { id: field("id"), name: field("event"), data: serde_json::from_str(&field("data")).unwrap() }
    }
}

/// A comment.
const HEARTBEAT: &str = ":";
const PATIENCE: Duration = Duration::from_secs(5);
