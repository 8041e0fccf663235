//! RP-Initiated Logout 1.0: ends the single sign-on session, tells all its clients, and sends the browser to a registered URI, or to
//! none.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use http::{HeaderMap, HeaderValue, header};
use url::Url;

use super::Inner;
use super::pages::{self, Problem};
use super::parameters::{Parameters, Repeated};
use super::state::IssuedIdToken;
use crate::demo::lock;

/// A logout request that passed every check.
struct LogoutRequest {
    hint: Option<IssuedIdToken>,
    /// Where to afterwards: registered, with `state` added.
    then: Option<String>,
    confirmed: bool,
}

/// `GET /end_session`
pub(super) async fn get(
    State(inner): State<Arc<Inner>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let query = query.unwrap_or_default();
    let mut request = inner.logout_request(&Parameters::parse(query.as_bytes()))?;
    // A link is no answer to a question.
    request.confirmed = false;
    Ok(inner.end_session(&request, &query, &headers).await)
}

/// `POST /end_session`: a request in a form, or the answer to our question (`confirmed=yes`) beside the request in the query.
pub(super) async fn post(
    State(inner): State<Arc<Inner>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let request: Vec<u8> = [query.unwrap_or_default().as_bytes(), b"&", &body].concat();
    let text = String::from_utf8_lossy(&request).into_owned();
    Ok(inner.end_session(&inner.logout_request(&Parameters::parse(&request))?, &text, &headers).await)
}

impl Inner {
    fn logout_request(&self, parameters: &Parameters) -> Result<LogoutRequest, Problem> {
        let memory = lock(&self.memory);
        // A hint counts however old the token is (§4), but only if it was issued here.
        let hint = parameters.one("id_token_hint")?.and_then(|token| memory.id_tokens.get(token)).cloned();
        let named = parameters.one("client_id")?;
        let client_id = hint.as_ref().map(|hint| hint.client_id.as_str()).or(named);
        let then = match parameters.one("post_logout_redirect_uri")? {
            None => None,
            Some(uri) => {
                let client = client_id.and_then(|id| memory.client(id)).ok_or(Problem::UnknownLogoutUri)?;
                let registered = client.post_logout_redirect_uris.iter().any(|registered| registered == uri);
                let uri = Some(uri).filter(|_| registered).ok_or(Problem::UnknownLogoutUri)?;
                Some(with_state(uri, parameters.one("state")?))
            }
        };
        Ok(LogoutRequest { hint, then, confirmed: parameters.one("confirmed")? == Some("yes") })
    }

    async fn end_session(&self, request: &LogoutRequest, as_sent: &str, headers: &HeaderMap) -> Response {
        let here = self.sign_on_session(headers);
        // §2: whoever is logged in is asked, unless the hint is about just that session.
        let hinted = request.hint.as_ref().map(|hint| hint.sid.as_str());
        if let Some(session) = here.filter(|session| hinted != Some(session.sid.as_str()) && !request.confirmed) {
            return pages::confirm_logout(session.user.name, as_sent);
        }
        let ended = self.sign_off(hinted, headers);
        let frames = self.logout_frames(&ended);
        self.tell_clients(&ended).await;
        let mut response = match &request.then {
            Some(uri) if frames.is_empty() => Redirect::to(uri).into_response(),
            then => pages::signed_out(&frames, then.as_deref()),
        };
        let removal = format!("{}=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0", self.cookie_name);
        let removal = HeaderValue::try_from(removal).expect("the name is ours");
        response.headers_mut().append(header::SET_COOKIE, removal);
        response
    }
}

fn with_state(uri: &str, state: Option<&str>) -> String {
    let Some(state) = state else { return uri.to_owned() };
    let Ok(mut url) = Url::parse(uri) else { return uri.to_owned() };
    url.query_pairs_mut().append_pair("state", state);
    url.into()
}

impl From<Repeated> for Problem {
    fn from(Repeated: Repeated) -> Self {
        Self::Repeated
    }
}
