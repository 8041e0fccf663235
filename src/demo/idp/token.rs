//! The token endpoint (RFC 6749 §3.2, OIDC Core §3.1.3, §12) and revocation (RFC 7009).

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};

use super::id_token::{IdToken, Occasion};
use super::parameters::{Parameters, Repeated};
use super::state::{GrantId, InvalidGrant, Redemption};
use super::{DevClient, Inner, keys};
use crate::demo::faults::Fault;
use crate::demo::lock;
use crate::secret;

/// What the token endpoint answers if not with tokens (RFC 6749 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenError {
    InvalidRequest,
    InvalidClient,
    InvalidGrant,
    UnsupportedGrantType,
}

/// `POST /token`
pub(super) async fn post(
    State(inner): State<Arc<Inner>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, TokenError> {
    let form = Parameters::parse(&body);
    let client = inner.authenticate(&headers, &form)?;
    if inner.faults.is(Fault::TokenInvalidClient) {
        return Err(TokenError::InvalidClient);
    }
    if inner.faults.is(Fault::TokenInvalidGrant) {
        return Err(TokenError::InvalidGrant);
    }
    match form.one("grant_type")? {
        Some("authorization_code") => inner.redeem_code(&client, &form),
        Some("refresh_token") => inner.refresh(&client, &form),
        Some(_) => Err(TokenError::UnsupportedGrantType),
        None => Err(TokenError::InvalidRequest),
    }
}

/// `POST /revoke`: also an unknown token is answered 200 (RFC 7009 §2.2).
pub(super) async fn revoke(
    State(inner): State<Arc<Inner>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode, TokenError> {
    let form = Parameters::parse(&body);
    let client = inner.authenticate(&headers, &form)?;
    let token = form.one("token")?.ok_or(TokenError::InvalidRequest)?;
    lock(&inner.memory).revoke(token, &client.client_id);
    Ok(StatusCode::OK)
}

impl Inner {
    /// Client authentication (RFC 6749 §2.3.1): `client_secret_basic`, `client_secret_post`, or none for a public client; never two.
    fn authenticate(&self, headers: &HeaderMap, form: &Parameters) -> Result<DevClient, TokenError> {
        let (posted_id, posted_secret) = (form.one("client_id")?, form.one("client_secret")?);
        let (client_id, client_secret) = match headers.get(header::AUTHORIZATION) {
            None => {
                let id = posted_id.ok_or(TokenError::InvalidClient)?;
                (id.to_owned(), posted_secret.map(str::to_owned))
            }
            Some(value) => {
                let (id, secret) = basic(value.as_bytes()).ok_or(TokenError::InvalidClient)?;
                if posted_secret.is_some() || posted_id.is_some_and(|posted| posted != id) {
                    return Err(TokenError::InvalidRequest);
                }
                (id, Some(secret))
            }
        };
        let memory = lock(&self.memory);
        let client = memory.client(&client_id).ok_or(TokenError::InvalidClient)?;
        let proven = match (&client.client_secret, &client_secret) {
            (Some(registered), Some(shown)) => secret::same(registered.as_bytes(), shown.as_bytes()),
            (None, None) => true,
            _ => false,
        };
        if proven { Ok(client.clone()) } else { Err(TokenError::InvalidClient) }
    }

    fn redeem_code(&self, client: &DevClient, form: &Parameters) -> Result<Json<Value>, TokenError> {
        let shown = Redemption {
            client_id: &client.client_id,
            code: form.one("code")?.ok_or(TokenError::InvalidRequest)?,
            redirect_uri: form.one("redirect_uri")?.ok_or(TokenError::InvalidGrant)?,
            code_challenge: &keys::s256(form.one("code_verifier")?.ok_or(TokenError::InvalidGrant)?),
            now: self.clock.now(),
        };
        let grant = lock(&self.memory).redeem(&shown)?;
        if self.faults.is(Fault::KeysRotateDuringLogin) {
            self.rotate_keys();
        }
        let mut answer = self.tokens(client, grant, Occasion::Login)?;
        let mut memory = lock(&self.memory);
        if memory.grant(grant).is_some_and(|grant| grant.has_scope("offline_access")) {
            answer["refresh_token"] = json!(memory.issue_refresh_token(grant));
        }
        Ok(Json(answer))
    }

    fn refresh(&self, client: &DevClient, form: &Parameters) -> Result<Json<Value>, TokenError> {
        let shown = form.one("refresh_token")?.ok_or(TokenError::InvalidRequest)?;
        // Rotation in one step: of two requests with the same token the later one finds it spent.
        let (grant, refresh_token) = {
            let mut memory = lock(&self.memory);
            let grant = memory.grant_of_refresh_token(shown, &client.client_id)?;
            let next = if self.faults.is(Fault::RefreshWithoutRotation) {
                Some(shown.to_owned())
            } else if self.faults.is(Fault::RefreshWithoutNewToken) {
                None
            } else {
                memory.spend(shown);
                Some(memory.issue_refresh_token(grant))
            };
            (grant, next)
        };
        let mut answer = self.tokens(client, grant, Occasion::Refresh)?;
        if let Some(refresh_token) = refresh_token {
            answer["refresh_token"] = json!(refresh_token);
        }
        Ok(Json(answer))
    }

    /// Access token and ID token for a grant.
    fn tokens(&self, client: &DevClient, id: GrantId, occasion: Occasion) -> Result<Value, TokenError> {
        let (grant, access_token) = {
            let mut memory = lock(&self.memory);
            let grant = memory.grant(id).cloned().ok_or(TokenError::InvalidGrant)?;
            (grant, memory.issue_access_token(id, self.clock.now() + self.access_token_lifetime))
        };
        let id_token = IdToken { client, grant: &grant, access_token: &access_token, occasion }.sign(self);
        lock(&self.memory).remember_id_token(&id_token, &grant);
        let mut answer = json!({
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": self.access_token_lifetime.as_secs(),
            "scope": grant.scopes.join(" "),
            "id_token": id_token,
        });
        self.misbehave(&mut answer);
        Ok(answer)
    }

    fn misbehave(&self, answer: &mut Value) {
        if self.faults.is(Fault::TokenTypeOddCase) {
            answer["token_type"] = json!("bEaReR");
        }
        if self.faults.is(Fault::TokenTypeUnknown) {
            answer["token_type"] = json!("mac");
        }
        let left_out = [
            (Fault::TokenWithoutAccessToken, "access_token"),
            (Fault::TokenWithoutExpiresIn, "expires_in"),
            (Fault::TokenWithoutScope, "scope"),
            (Fault::TokenWithoutIdToken, "id_token"),
        ];
        if let Some(members) = answer.as_object_mut() {
            members.retain(|name, _| !left_out.iter().any(|(fault, member)| name == member && self.faults.is(*fault)));
        }
    }
}

/// The two halves of HTTP Basic credentials, each of them form-urlencoded (RFC 6749 §2.3.1).
fn basic(authorization: &[u8]) -> Option<(String, String)> {
    let (scheme, credentials) = std::str::from_utf8(authorization).ok()?.split_once(' ')?;
    let decoded = STANDARD.decode(credentials.trim()).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    let (id, secret) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some((form_decoded(id), form_decoded(secret)))
}

fn form_decoded(text: &str) -> String {
    let spaced = text.replace('+', " ");
    percent_encoding::percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

impl TokenError {
    fn code(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::UnsupportedGrantType => "unsupported_grant_type",
        }
    }
}

impl From<Repeated> for TokenError {
    fn from(Repeated: Repeated) -> Self {
        Self::InvalidRequest
    }
}

impl From<InvalidGrant> for TokenError {
    fn from(InvalidGrant: InvalidGrant) -> Self {
        Self::InvalidGrant
    }
}

impl IntoResponse for TokenError {
    fn into_response(self) -> Response {
        let body = Json(json!({ "error": self.code() }));
        match self {
            Self::InvalidClient => {
                let challenge = [(header::WWW_AUTHENTICATE, "Basic realm=\"development provider\"")];
                (StatusCode::UNAUTHORIZED, challenge, body).into_response()
            }
            _ => (StatusCode::BAD_REQUEST, body).into_response(),
        }
    }
}
