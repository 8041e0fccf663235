//! The hop that ends a login: whose it is, whether it still matters, which of many goes on, and what becomes of it.

use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, header};
use url::form_urlencoded;

use super::{hop_page, state_of};
use crate::Error;
use crate::frontend::Frontend;
use crate::guard::session::SessionRef;
use crate::metric;
use crate::oidc::{self, Authenticated, AuthorizationResponse, ResponseReason};
use crate::routes::{login, see_other, see_other_here};
use crate::session::{
    Attempt, Device, EstablishError, Established, Life, Loaded, LoginAttempts, ParkedResponse, ReturnTo, Since,
    UserSession,
};
use crate::store::{Claimed, Digest, SessionId};

/// Ends a login: the request is ours and carries what this browser has. See `docs/architecture.md`, "The walks".
pub(super) async fn finish(
    frontend: &Frontend,
    session: SessionRef,
    headers: &HeaderMap,
    query: &str,
    hop: u8,
) -> Response {
    let answer = answer(frontend, session, headers, query, hop).await.unwrap_or_else(Error::into_response);
    if let Some(error) = answer.extensions().get::<Arc<Error>>() {
        metric::login(frontend.id(), error.slug());
    }
    answer
}

async fn answer(
    frontend: &Frontend,
    session: SessionRef,
    headers: &HeaderMap,
    query: &str,
    hop: u8,
) -> Result<Response, Error> {
    let sessions = frontend.sessions();
    let current = match session.0 {
        Some(id) => sessions.load(id).await?,
        None => None,
    };
    let attempts = LoginAttempts::of(headers, frontend.cookies(), sessions.store(), frontend.now());
    let callback = Callback { frontend, query, hop, current, attempts, device: Device::of(headers) };
    callback.settle(callback.received(headers)?).await
}

/// A callback that is ours.
struct Callback<'a> {
    frontend: &'a Frontend,
    query: &'a str,
    hop: u8,
    current: Option<Loaded>,
    attempts: LoginAttempts<'a>,
    device: Option<Device>,
}

/// What came, or at least whom it was for.
enum Received {
    Response {
        response: AuthorizationResponse,
        /// Removes the cookie that it was parked in.
        parked: Option<HeaderValue>,
    },
    /// A form's hop whose parked response is gone.
    StateOnly { note: Option<String> },
}

impl Callback<'_> {
    fn received(&self, headers: &HeaderMap) -> Result<Received, Error> {
        match AuthorizationResponse::parse(self.query) {
            Ok(response) => Ok(Received::Response { response, parked: None }),
            Err(ResponseReason::NoCode) => {
                let (frontend, state) = (self.frontend, state_of(self.query).unwrap_or_default());
                let (cookies, store) = (frontend.cookies(), frontend.sessions().store());
                match ParkedResponse::find(headers, &state, cookies, store, frontend.now()) {
                    Some((response, removal)) => Ok(Received::Response { response, parked: Some(removal) }),
                    None if self.query.contains('&') => Err(Error::LoginResponseInvalid(ResponseReason::NoCode)),
                    None => Ok(Received::StateOnly { note: state.split_once('.').map(|(_, note)| note.to_owned()) }),
                }
            }
            Err(reason) => Err(Error::LoginResponseInvalid(reason)),
        }
    }

    async fn settle(&self, received: Received) -> Result<Response, Error> {
        let (response, parked) = match received {
            Received::Response { response, parked } => (response, parked),
            Received::StateOnly { note } => return self.without_attempt(note.as_deref()),
        };
        let Some((slot, attempt)) = self.attempts.find(&response.state) else {
            return self.without_attempt(response.note.as_deref());
        };
        if self.is_answered(attempt) {
            let mut answer = see_other_here(self.frontend, &self.destination(attempt))?;
            self.forget(slot, parked, &mut answer);
            return Ok(answer);
        }
        // A retired session means that a newer cookie is on its way to this browser.
        let is_retired = self.current.as_ref().is_some_and(Loaded::is_retired);
        let election = if is_retired { None } else { self.elect().await? };
        if election.is_none() && self.may_wait() {
            return Ok(self.wait());
        }
        let outcome = self.log_in(attempt, response).await;
        match outcome {
            Ok(mut answer) => {
                self.forget(slot, parked, &mut answer);
                Ok(answer)
            }
            Err(Failed { mut answer, attempt_is_over }) => {
                self.step_down(election.unwrap_or_default()).await;
                if attempt_is_over {
                    self.forget(slot, parked, &mut answer);
                }
                Ok(answer)
            }
        }
    }

    async fn log_in(&self, attempt: &Attempt, response: AuthorizationResponse) -> Result<Response, Failed> {
        let (frontend, sessions) = (self.frontend, self.frontend.sessions());
        let relying_party = frontend.relying_party();
        let code = match relying_party.check_response(response).await {
            Ok(code) => code,
            Err(oidc::Error::Refused(code)) if attempt.oidc.is_silent() && code.needs_interaction() => {
                metric::login(frontend.id(), "login-refused");
                let url = self.destination(attempt).absolute_with(frontend.url(), "login_error", code.as_str());
                let answer = see_other(&url).map_err(Failed::over)?;
                return Err(Failed { answer, attempt_is_over: true });
            }
            Err(error @ oidc::Error::Refused(_)) => return Err(Failed::over(error.into())),
            // Whoever sent this, the genuine answer may still come.
            Err(error) => return Err(Failed::open(error.into())),
        };
        let state = Digest::of(attempt.oidc.state().expose());
        if sessions.store().claim(state, CLAIMED).await.map_err(Failed::of_store)? == Claimed::Already {
            return self.replayed(attempt).map_err(Failed::over);
        }
        let authenticated = match relying_party.finish_login(&attempt.oidc, &code).await {
            Ok(authenticated) => authenticated,
            Err(error) if error.nothing_was_sent() => {
                sessions.store().unclaim(state).await.map_err(Failed::of_store)?;
                return Err(Failed::open(error.into()));
            }
            Err(error) => return Err(Failed::over(error.into())),
        };
        self.establish(attempt, authenticated).await
    }

    /// The calls to the provider took long enough for the session to end, or for another tab's login to take its place: it is read again.
    async fn establish(&self, attempt: &Attempt, authenticated: Authenticated) -> Result<Response, Failed> {
        let (frontend, sessions, destination) = (self.frontend, self.frontend.sessions(), self.destination(attempt));
        let since = match &self.current {
            Some(before) => sessions.again(before, &authenticated.identity).await.map_err(Failed::of_store)?,
            None => Since::Ended,
        };
        let previous = match since {
            Since::Lives(now) => Some(now),
            Since::Ended => None,
            // The other one may be the stronger, and its cookie comes first. These tokens are dropped: revoking them would end the whole
            // grant at many providers, that session's tokens included.
            Since::Replaced => return see_other_here(frontend, &destination).map_err(Failed::over),
        };
        let (limits, device) = (attempt.limits(), self.device.clone());
        let established = sessions.establish(authenticated, limits, device, previous.as_deref()).await;
        let Established { id, user, displaced } = established.map_err(|error| match error {
            EstablishError::Store(error) => Failed::of_store(error),
            EstablishError::Overtaken => Failed::over(self.expired(Some(&destination))),
            EstablishError::Ended => Failed::over(Error::LoginEnded),
            EstablishError::Weaker => Failed::over(Error::LoginWeaker),
        })?;
        metric::login(frontend.id(), metric::SUCCESS);
        if let Some(tokens) = displaced {
            frontend.revoke_detached(tokens);
        }
        let mut answer = see_other_here(frontend, &destination).map_err(Failed::over)?;
        answer.headers_mut().append(header::SET_COOKIE, self.session_cookie(id, &user));
        Ok(answer)
    }

    fn session_cookie(&self, id: SessionId, user: &UserSession) -> HeaderValue {
        let left = user.ends_at().since(self.frontend.now());
        let life = if user.is_remembered() { Life::For(left) } else { Life::Browser };
        let cookies = self.frontend.cookies();
        cookies.set(cookies.session_name(), &id.cookie_value(), life)
    }

    /// Whether the session that lives is answer enough: somebody logged in after this login began, and the login asked for nothing
    /// special, or is a step-up to what the session has reached.
    fn is_answered(&self, attempt: &Attempt) -> bool {
        let Some(current) = self.current.as_ref().filter(|current| !current.is_retired()) else { return false };
        let suffices = if attempt.step_up {
            self.frontend.sessions().meets(&current.user, &attempt.oidc.demand())
        } else {
            attempt.oidc.is_plain() && (current.user.is_remembered() || !attempt.remember)
        };
        suffices && current.user.logged_in_at() >= attempt.oidc.issued_at
    }

    /// The attempt is unknown: used, old, of another browser, or overwritten by one of many.
    fn without_attempt(&self, note: Option<&str>) -> Result<Response, Error> {
        let destination = login::destination_of(note, self.frontend);
        if self.current.is_some() {
            let destination = destination.unwrap_or_else(|| ReturnTo::start(self.frontend.url()));
            return see_other_here(self.frontend, &destination);
        }
        // Another login of this browser is under way and may open the session any moment.
        if self.may_wait() && self.attempts.any() && destination.is_some() {
            return Ok(self.wait());
        }
        Err(self.expired(destination.as_ref()))
    }

    fn replayed(&self, attempt: &Attempt) -> Result<Response, Error> {
        let destination = self.destination(attempt);
        if self.current.is_some() {
            see_other_here(self.frontend, &destination)
        } else {
            Err(self.expired(Some(&destination)))
        }
    }

    fn expired(&self, destination: Option<&ReturnTo>) -> Error {
        let mut login_url = self.frontend.voice().login_url.to_string();
        if let Some(destination) = destination {
            let query =
                form_urlencoded::Serializer::new(String::new()).append_pair("return_to", destination.as_str()).finish();
            login_url = format!("{login_url}?{query}");
        }
        Error::LoginExpired { login_url }
    }

    fn destination(&self, attempt: &Attempt) -> ReturnTo {
        // Checked when it came in; routes may have changed since.
        self.frontend.return_to(&attempt.return_to).unwrap_or_else(|| ReturnTo::start(self.frontend.url()))
    }

    /// Of the callbacks of one browser that arrive together, one goes on. They agree on a name: that of the oldest attempt, and of the
    /// session the browser had. Once the elected one has opened a session the name is another, so the claim may stay: it keeps
    /// away those that were sent before the new cookie arrived, which come back with it.
    async fn elect(&self) -> Result<Option<Election>, Error> {
        let session = self.current.as_ref().map(Loaded::key);
        let Some(name) = self.attempts.election(session) else { return Ok(Some(Election(None))) };
        let claimed = self.frontend.sessions().store().claim(name, ELECTED).await?;
        Ok((claimed == Claimed::First).then_some(Election(Some(name))))
    }

    /// Lets the next one go on after a failure. If the store is down now, the claim runs out by itself.
    async fn step_down(&self, election: Election) {
        if let Election(Some(name)) = election {
            let _ = self.frontend.sessions().store().unclaim(name).await;
        }
    }

    fn may_wait(&self) -> bool {
        self.hop <= HOPS
    }

    fn wait(&self) -> Response {
        hop_page(self.frontend, self.query, self.hop + 1)
    }

    /// Only now a parked response goes: a callback that waits or may be made again needs it.
    fn forget(&self, slot: u8, parked: Option<HeaderValue>, answer: &mut Response) {
        for removal in parked.into_iter().chain([self.attempts.remove(slot)]) {
            answer.headers_mut().append(header::SET_COOKIE, removal);
        }
    }
}

/// The claim by which one callback goes on, to be given back if it fails. Nothing if nobody else could come.
#[derive(Default)]
struct Election(Option<Digest>);

/// A login that opened no session: what is answered, and whether its attempt is of no more use.
struct Failed {
    answer: Response,
    attempt_is_over: bool,
}

impl Failed {
    fn over(error: Error) -> Self {
        Self { answer: error.into_response(), attempt_is_over: true }
    }

    fn open(error: Error) -> Self {
        Self { answer: error.into_response(), attempt_is_over: false }
    }

    fn of_store(error: crate::store::Error) -> Self {
        Self::open(error.into())
    }
}

/// A state is remembered longer than an attempt lives.
const CLAIMED: Duration = Duration::from_mins(65);
/// Longer than a login's calls to the provider usually take; a second one after that does no harm.
const ELECTED: Duration = Duration::from_secs(30);
/// How often a callback answers the hop page again before it goes on by itself.
const HOPS: u8 = 5;
