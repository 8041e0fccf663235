//! `GET /bff/user`: who is logged in. Anonymous is an answer, not an error.

use axum::Json;
use axum::extract::State;
use http::request::Parts;
use serde::Serialize;
use serde_json::{Map, Value};
use url::form_urlencoded;

use crate::Error;
use crate::clock::Timestamp;
use crate::frontend::Frontend;
use crate::guard::csrf::Class;
use crate::guard::session::SessionRef;
use crate::session::{Loaded, Sessions, Touch};

pub(super) async fn get(
    State(frontend): State<Frontend>,
    session: SessionRef,
    parts: Parts,
) -> Result<Json<User>, Error> {
    Class::Data.check(&parts.headers, frontend.proof())?;
    let sessions = frontend.sessions();
    let mut loaded = match session.0 {
        Some(id) => sessions.load(id).await?,
        None => None,
    };
    if let Some(loaded) = &mut loaded
        && touch_of(parts.uri.query()) == Touch::Extend
    {
        sessions.touch(loaded).await?;
    }
    Ok(Json(User::of(&frontend, loaded.as_ref())))
}

/// The answer, logged in or not.
#[derive(Debug, Serialize)]
pub(super) struct User {
    authenticated: bool,
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    person: Option<Person>,
    login_url: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    logout_url: Option<String>,
}

#[derive(Debug, Serialize)]
struct Person {
    sub: String,
    claims: Map<String, Value>,
    session: Session,
}

/// A live session as pages see it.
#[derive(Debug, Serialize)]
pub(super) struct Session {
    tag: String,
    created_at: String,
    expires_at: String,
    idle_expires_at: String,
    /// Seconds: the smaller of what idle and absolute limit leave.
    expires_in: u64,
}

impl User {
    fn of(frontend: &Frontend, loaded: Option<&Loaded>) -> Self {
        let login_url = frontend.voice().login_url.to_string();
        let Some(loaded) = loaded else {
            return Self { authenticated: false, person: None, login_url, logout_url: None };
        };
        let user = &loaded.user;
        let session = Session::of(frontend.sessions(), loaded);
        let logout_url = Some(format!("{}/logout?sid={}", frontend.base_path(), session.tag));
        let person = Person { sub: user.subject().to_owned(), claims: user.claims().as_map().clone(), session };
        Self { authenticated: true, person: Some(person), login_url, logout_url }
    }
}

impl Session {
    pub(super) fn of(sessions: &Sessions, loaded: &Loaded) -> Self {
        let user = &loaded.user;
        Self {
            tag: loaded.key().tag(),
            created_at: user.created_at().rfc3339(),
            expires_at: user.ends_at().rfc3339(),
            idle_expires_at: Timestamp::rfc3339(sessions.idle_ends_at(user)),
            expires_in: sessions.time_left(user).as_secs(),
        }
    }
}

fn touch_of(query: Option<&str>) -> Touch {
    let asks_not_to = |(name, value): (_, _)| name == "slide" && value == "false";
    if form_urlencoded::parse(query.unwrap_or_default().as_bytes()).any(asks_not_to) {
        Touch::Leave
    } else {
        Touch::Extend
    }
}
