//! Logging in at the provider itself: its login form and its single sign-on cookie.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, header};

use super::authorize::AuthorizationRequest;
use super::pages::{self, Problem};
use super::parameters::Parameters;
use super::state::{Acr, SignOnSession};
use super::{DevUser, Inner, USERS};
use crate::demo::lock;
use crate::secret;

/// Shows the login form; `refused` is the user name that was just tried in vain.
pub(super) fn ask(inner: &Inner, request: AuthorizationRequest, refused: Option<&str>) -> Response {
    let username = refused.map(str::to_owned).or_else(|| request.login_hint.clone()).unwrap_or_default();
    let client_id = request.client.client_id.clone();
    let handle = secret::random_token();
    lock(&inner.memory).waiting.insert(handle.expose().clone(), request);
    pages::login(handle.expose(), &client_id, &username, refused.is_some())
}

/// Shows the form for the second factor of somebody who has shown the password.
pub(super) fn ask_second_factor(inner: &Inner, request: AuthorizationRequest, user: &'static DevUser) -> Response {
    let client_id = request.client.client_id.clone();
    let handle = secret::random_token();
    lock(&inner.memory).halfway.insert(handle.expose().clone(), (request, user));
    pages::second_factor(handle.expose(), &client_id, user.name)
}

/// `POST /login`: the form comes back with `request`, `username` and `password`.
pub(super) async fn post(
    State(inner): State<Arc<Inner>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let form = Parameters::parse(&body);
    let handle = form.one("request")?.unwrap_or_default();
    let request = lock(&inner.memory).waiting.remove(handle).ok_or(Problem::LoginOver)?;
    let username = form.one("username")?.unwrap_or_default();
    // User names double as passwords.
    let user = USERS.iter().find(|user| user.username == username);
    let Some(user) = user.filter(|user| form.one("password") == Ok(Some(user.username))) else {
        return Ok(ask(&inner, request, Some(username)));
    };
    Ok(match request.acr() {
        Acr::Password => inner.signed_in(request, user, Acr::Password, &headers),
        Acr::SecondFactor => ask_second_factor(&inner, request, user),
    })
}

/// `POST /second-factor`: the form comes back with `request`.
pub(super) async fn post_second_factor(
    State(inner): State<Arc<Inner>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let form = Parameters::parse(&body);
    let handle = form.one("request")?.unwrap_or_default();
    let (request, user) = lock(&inner.memory).halfway.remove(handle).ok_or(Problem::LoginOver)?;
    Ok(inner.signed_in(request, user, Acr::SecondFactor, &headers))
}

impl Inner {
    fn signed_in(
        &self,
        request: AuthorizationRequest,
        user: &'static DevUser,
        acr: Acr,
        headers: &HeaderMap,
    ) -> Response {
        let (cookie, session) = self.sign_on(user, acr, headers);
        let response_mode = request.client.response_mode;
        let mut response = self.grant(request, session).send(response_mode);
        response.headers_mut().append(header::SET_COOKIE, cookie);
        response
    }

    /// The single sign-on session that the browser's cookie names.
    pub(super) fn sign_on_session(&self, headers: &HeaderMap) -> Option<SignOnSession> {
        let cookie = self.cookie(headers)?;
        lock(&self.memory).sessions.get(&cookie).cloned()
    }

    /// Ends the single sign-on sessions with this `sid`, and that of the browser's cookie.
    pub(super) fn sign_off(&self, sid: Option<&str>, headers: &HeaderMap) -> Vec<SignOnSession> {
        let here = self.cookie(headers);
        lock(&self.memory)
            .end_sessions(|cookie, session| sid == Some(session.sid.as_str()) || here.as_deref() == Some(cookie))
    }

    fn sign_on(&self, user: &'static DevUser, acr: Acr, headers: &HeaderMap) -> (HeaderValue, SignOnSession) {
        let before = self.sign_on_session(headers).filter(|session| session.user == user);
        self.sign_off(None, headers);
        let session = SignOnSession {
            user,
            // Proving it anew is still the same session of the same person.
            sid: before.map_or_else(|| secret::random_token().expose().clone(), |session| session.sid),
            auth_time: self.clock.now(),
            acr,
        };
        let value = secret::random_token();
        let cookie = format!("{}={}; Path=/; HttpOnly; SameSite=Lax", self.cookie_name, value.expose());
        lock(&self.memory).sessions.insert(value.expose().clone(), session.clone());
        (HeaderValue::try_from(cookie).expect("the name is ours and the value is base64url"), session)
    }

    fn cookie(&self, headers: &HeaderMap) -> Option<String> {
        let cookies = headers.get_all(header::COOKIE).into_iter().filter_map(|line| line.to_str().ok());
        cookies
            .flat_map(|line| line.split("; "))
            .filter_map(|pair| pair.split_once('='))
            .find_map(|(name, value)| (name == self.cookie_name).then(|| value.to_owned()))
    }
}
