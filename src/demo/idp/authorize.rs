//! The authorization endpoint (RFC 6749 §3.1, OIDC Core §3.1.2, RFC 7636 §4.3).
//!
//! Reading goes in two steps. Until client and redirect URI are known to belong together, an error is a page and never a redirect
//! (RFC 6749 §4.1.2.1); after that it goes back to the client.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use http::HeaderMap;

use super::pages::Problem;
use super::parameters::{Parameters, Repeated};
use super::response::{AuthorizationResponse, ResponseMode};
use super::state::{Acr, Grant, SignOnSession};
use super::{Inner, login};
use crate::clock::Timestamp;
use crate::demo::lock;

/// An authorization request that passed every check.
#[derive(Clone)]
pub(super) struct AuthorizationRequest {
    pub(super) client: Recipient,
    pub(super) login_hint: Option<String>,
    scopes: Vec<String>,
    nonce: Option<String>,
    code_challenge: String,
    prompt: Prompt,
    max_age: Option<Duration>,
    acr: Acr,
}

/// To whom the answer goes; exists only for a registered redirect URI.
#[derive(Clone)]
pub(super) struct Recipient {
    pub(super) client_id: String,
    pub(super) redirect_uri: String,
    pub(super) response_mode: ResponseMode,
    pub(super) state: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Prompt {
    WhenNeeded,
    Never,
    Always,
}

/// `GET /authorize`
pub(super) async fn get(
    State(inner): State<Arc<Inner>>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    authorize(&inner, &Parameters::parse(query.unwrap_or_default().as_bytes()), &headers)
}

/// `POST /authorize` (OIDC Core §3.1.2.1 wants both)
pub(super) async fn post(
    State(inner): State<Arc<Inner>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    authorize(&inner, &Parameters::parse(&body), &headers)
}

fn authorize(inner: &Inner, parameters: &Parameters, headers: &HeaderMap) -> Result<Response, Problem> {
    let recipient = inner.recipient(parameters)?;
    let response_mode = recipient.response_mode;
    let request = match AuthorizationRequest::read(recipient.clone(), parameters) {
        Ok(request) => request,
        Err(error) => return Ok(AuthorizationResponse::error(inner, &recipient, error).send(response_mode)),
    };
    if let Some(error) = inner.faults.authorization_error() {
        return Ok(AuthorizationResponse::error(inner, &recipient, error).send(response_mode));
    }
    let session = inner.sign_on_session(headers).filter(|session| request.is_recent_enough(session, inner.clock.now()));
    Ok(match (session, request.prompt) {
        (Some(session), Prompt::WhenNeeded | Prompt::Never) if session.acr >= request.acr => {
            inner.grant(request, session).send(response_mode)
        }
        (_, Prompt::Never) => AuthorizationResponse::error(inner, &recipient, "login_required").send(response_mode),
        // The password was shown lately; what is missing is the second factor.
        (Some(session), Prompt::WhenNeeded) => login::ask_second_factor(inner, request, session.user),
        (_, Prompt::Always) | (None, Prompt::WhenNeeded) => login::ask(inner, request, None),
    })
}

impl Inner {
    fn recipient(&self, parameters: &Parameters) -> Result<Recipient, Problem> {
        let client_id = parameters.one("client_id")?.ok_or(Problem::UnknownClient)?;
        let redirect_uri = parameters.one("redirect_uri")?.ok_or(Problem::UnknownRedirectUri)?;
        let memory = lock(&self.memory);
        let client = memory.client(client_id).ok_or(Problem::UnknownClient)?;
        // RFC 9700 §2.1: exact string matching.
        if !client.redirect_uris.iter().any(|registered| registered == redirect_uri) {
            return Err(Problem::UnknownRedirectUri);
        }
        Ok(Recipient {
            client_id: client_id.to_owned(),
            redirect_uri: redirect_uri.to_owned(),
            response_mode: match parameters.one("response_mode")? {
                Some("form_post") => ResponseMode::FormPost,
                _ => ResponseMode::Query,
            },
            state: parameters.one("state")?.map(str::to_owned),
        })
    }

    /// Answers a request with a code.
    pub(super) fn grant(&self, request: AuthorizationRequest, session: SignOnSession) -> AuthorizationResponse {
        let recipient = request.client;
        let grant =
            Grant { client_id: recipient.client_id.clone(), session, scopes: request.scopes, nonce: request.nonce };
        let (redirect_uri, now) = (recipient.redirect_uri.clone(), self.clock.now());
        let code = lock(&self.memory).issue_code(grant, redirect_uri, request.code_challenge, now);
        AuthorizationResponse::code(self, &recipient, &code)
    }
}

impl AuthorizationRequest {
    /// # Errors
    /// The `error` code for the client.
    fn read(client: Recipient, parameters: &Parameters) -> Result<Self, &'static str> {
        let one = |name| parameters.one(name).map_err(|Repeated| "invalid_request");
        let list = |name| parameters.list(name).map_err(|Repeated| "invalid_request");
        if parameters.one("request").is_ok_and(|value| value.is_some()) {
            return Err("request_not_supported");
        }
        if one("response_type")? != Some("code") {
            return Err("unsupported_response_type");
        }
        if !matches!(one("response_mode")?, None | Some("query" | "form_post")) {
            return Err("invalid_request");
        }
        let scopes = list("scope")?;
        if !scopes.iter().any(|scope| scope == "openid") {
            return Err("invalid_scope");
        }
        // RFC 9700 §2.1.1: no code without PKCE, and no method but S256. A challenge is 43 characters of base64url.
        let code_challenge = one("code_challenge")?.filter(|challenge| challenge.len() == S256_LENGTH);
        let (Some(code_challenge), Some("S256")) = (code_challenge, one("code_challenge_method")?) else {
            return Err("invalid_request");
        };
        let max_age = one("max_age")?.map(str::parse).transpose().map_err(|_| "invalid_request")?;
        Ok(Self {
            client,
            scopes,
            nonce: one("nonce")?.map(str::to_owned),
            code_challenge: code_challenge.to_owned(),
            prompt: Prompt::read(&list("prompt")?)?,
            max_age: max_age.map(Duration::from_secs),
            login_hint: one("login_hint")?.map(str::to_owned),
            acr: Acr::first_known(&list("acr_values")?),
        })
    }

    /// Whether somebody who logged in then need not do it again.
    fn is_recent_enough(&self, session: &SignOnSession, now: Timestamp) -> bool {
        self.max_age.is_none_or(|max_age| now.since(session.auth_time) <= max_age)
    }

    /// How strongly somebody has to log in.
    pub(super) fn acr(&self) -> Acr {
        self.acr
    }
}

impl Prompt {
    fn read(values: &[String]) -> Result<Self, &'static str> {
        match values {
            [] => Ok(Self::WhenNeeded),
            [only] if only == "none" => Ok(Self::Never),
            // Core §3.1.2.1: `none` with any other value is an error.
            several if several.iter().any(|value| value == "none") => Err("invalid_request"),
            several if several.iter().any(|value| value == "login" || value == "select_account") => Ok(Self::Always),
            _ => Ok(Self::WhenNeeded),
        }
    }
}

const S256_LENGTH: usize = 43;
