//! `GET /bff/events`: what happens to the session, as Server-Sent Events (HTML, "Server-sent events"). Never extends it.
//!
//! Browsers come back by themselves when a stream breaks off, and show no status code to the page: so what a page must know is an
//! event, also that there is no session. Every event carries the session's tag as its id. A browser that comes back names it in
//! `Last-Event-ID`, and if its session is another one by now, the page is first told what became of the old one. A page that opens a
//! new stream cannot set that header and says `?last_event_id=`.

use std::convert::Infallible;

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;
use http::request::Parts;
use http::{HeaderMap, HeaderName, header};
use serde::Serialize;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::logout::parameter;
use super::user::Session;
use crate::Error;
use crate::clock::Timestamp;
use crate::frontend::Frontend;
use crate::guard::csrf::Class;
use crate::guard::session::SessionRef;
use crate::session::{Follower, Happening, Loaded};
use crate::store::{Reason, SessionId};

/// Is cancelled when the program is told to stop.
#[derive(Clone, Debug)]
pub(super) struct Stopping(pub(super) CancellationToken);

/// The first event says how things stand. 503 only if nobody can say.
pub(super) async fn get(
    State(frontend): State<Frontend>,
    Extension(Stopping(stopping)): Extension<Stopping>,
    session: SessionRef,
    parts: Parts,
) -> Result<Response, Error> {
    Class::Headerless.check(&parts.headers, frontend.proof())?;
    let asked = parameter(parts.uri.query(), "last_event_id");
    let last = last_tag(&parts.headers).or_else(|| asked.as_deref().and_then(tag));
    let Some(id) = session.0 else {
        return Ok(answer(Body::from(ended(last.and_then(|tag| frontend.sessions().why_ended(tag))))));
    };
    let mut follower = frontend.sessions().follow(id);
    let Some(loaded) = follower.begin().await? else {
        let reason = follower.reason().await;
        return Ok(answer(Body::from(ended(reason))));
    };
    if let Some(missed) = last.and_then(|tag| missed(&frontend, &loaded, tag)) {
        return Ok(answer(Body::from(missed)));
    }
    let first = event(&loaded.key().tag(), "session", &Session::of(frontend.sessions(), &loaded));
    let heartbeat_at = frontend.now() + HEARTBEAT;
    let telling = Telling { frontend, id, follower, first: Some(first), heartbeat_at, is_over: false, stopping };
    Ok(answer(Body::from_stream(stream::unfold(telling, |mut telling| async move {
        let piece = telling.next().await?;
        Some((Ok::<_, Infallible>(piece), telling))
    }))))
}

/// One open stream. What has not been read yet is not written: it is merged in the follower.
struct Telling {
    frontend: Frontend,
    id: SessionId,
    follower: Follower,
    first: Option<Bytes>,
    heartbeat_at: Timestamp,
    is_over: bool,
    stopping: CancellationToken,
}

impl Telling {
    /// What is written next; nothing at the end.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        if self.is_over {
            return None;
        }
        let piece = tokio::select! {
            biased;
            // Without a word: the browser comes back, to somebody else.
            () = self.stopping.cancelled() => return None,
            happening = self.follower.next() => self.told(happening),
            () = self.frontend.sessions().wait_until(self.heartbeat_at) => Bytes::from_static(b":\n\n"),
        };
        self.heartbeat_at = self.frontend.now() + HEARTBEAT;
        Some(piece)
    }

    fn told(&mut self, happening: Happening) -> Bytes {
        let tag = self.id.key().tag();
        self.is_over = matches!(happening, Happening::Replaced | Happening::Ended(_));
        match happening {
            Happening::Expiring(left) => event(&tag, "expiring", &json!({ "expires_in": left.as_secs() })),
            Happening::Refreshed => event(&tag, "refreshed", &json!({})),
            Happening::TokenExpired => event(&tag, "token-expired", &json!({})),
            Happening::Replaced => replaced(""),
            Happening::Ended(reason) => ended(reason),
        }
    }
}

/// What a page has missed whose session was the one with this tag. Its id is the session that lives, so that the page comes to that one
/// next, also if it asks by a query that stays the same.
fn missed(frontend: &Frontend, now: &Loaded, tag: &str) -> Option<Bytes> {
    let live = now.key().tag();
    if live == tag {
        // It knows the session, and waits for the cookie of the next.
        return now.is_retired().then(|| replaced(&live));
    }
    let reason = frontend.sessions().why_ended(tag);
    Some(if reason.is_none() && now.succeeds(tag) { replaced(&live) } else { ended_at(&live, reason) })
}

/// The tag in `Last-Event-ID`, if it is one.
fn last_tag(headers: &HeaderMap) -> Option<&str> {
    tag(headers.get("last-event-id")?.to_str().ok()?)
}

fn tag(tag: &str) -> Option<&str> {
    (tag.len() == 16 && tag.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(tag)
}

fn replaced(id: &str) -> Bytes {
    event(id, "replaced", &json!({}))
}

fn ended(reason: Option<Reason>) -> Bytes {
    ended_at("", reason)
}

fn ended_at(id: &str, reason: Option<Reason>) -> Bytes {
    event(id, "ended", &json!({ "reason": reason.map_or("unknown", Reason::as_str) }))
}

/// One event. An empty id has the browser forget the one it has.
fn event(id: &str, name: &str, data: &impl Serialize) -> Bytes {
    // JSON has no line breaks of its own.
    let data = serde_json::to_string(data).unwrap_or_default();
    format!("id: {id}\nevent: {name}\ndata: {data}\n\n").into()
}

fn answer(body: Body) -> Response {
    const UNBUFFERED: HeaderName = HeaderName::from_static("x-accel-buffering");
    ([(header::CONTENT_TYPE, "text/event-stream"), (UNBUFFERED, "no")], body).into_response()
}

/// A comment this often keeps the connection open through proxies, and finds out whether somebody is there.
const HEARTBEAT: std::time::Duration = std::time::Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn an_event_is_four_lines() {
        assert_eq!(ended(Some(Reason::ByUser)), "id: \nevent: ended\ndata: {\"reason\":\"by-user\"}\n\n");
        assert_eq!(ended(None), "id: \nevent: ended\ndata: {\"reason\":\"unknown\"}\n\n");
        assert_eq!(event("0a", "refreshed", &json!({})), "id: 0a\nevent: refreshed\ndata: {}\n\n");
    }

    #[test]
    fn only_a_tag_is_taken_for_one() {
        let read = |text: &'static str| {
            last_tag(&HeaderMap::from_iter([("last-event-id".parse().unwrap(), HeaderValue::from_static(text))]))
                .is_some()
        };
        assert!(read("3f9a1c2e5d60b718"));
        for text in ["", "3f9a1c2e5d60b71", "3f9a1c2e5d60b7180", "3f9a1c2e5d60b71g", "3f9a1c2e 5d60b71"] {
            assert!(!read(text), "{text}");
        }
    }
}
