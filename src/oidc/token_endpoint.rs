//! The token endpoint (RFC 6749 §4.1.3, §5, §6), the revocation endpoint (RFC 7009), and who we are there.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderValue, StatusCode, header};
use oauth2::basic::{
    BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse, BasicTokenType,
};
use oauth2::{
    AuthType, AuthorizationCode, ClientId, ClientSecret, EndpointNotSet, EndpointSet, ExtraTokenFields, HttpRequest,
    RedirectUrl, RefreshToken, RequestTokenError, StandardRevocableToken, StandardTokenResponse, TokenResponse as _,
    TokenUrl,
};
use serde::{Deserialize, Serialize};
use url::{Url, form_urlencoded};

use super::authorization::LoginAttempt;
use super::error::{Error, ErrorCode, TokenResponseReason};
use super::http::{HttpError, ProviderHttp};
use super::metadata::ProviderMetadata;
use super::options::{ClientAuth, ClientOptions};
use super::token_set::{AccessToken, TokenSet};
use crate::clock::Timestamp;
use crate::secret::{Secret, exposed};

/// Redeems a code. `now` is the time the answer's lifetimes count from: before the request, so that they are never too long.
///
/// # Errors
/// `Unavailable`, `TokenEndpoint`, `TokenResponse`.
pub(super) async fn redeem(
    http: &ProviderHttp,
    metadata: &ProviderMetadata,
    client: &ClientOptions,
    code: &Secret<String>,
    attempt: &LoginAttempt,
    now: Timestamp,
) -> Result<TokenSet, Error> {
    let oauth = oauth_client(metadata, client).set_redirect_uri(RedirectUrl::from_url(client.redirect_uri.clone()));
    let request =
        oauth.exchange_code(AuthorizationCode::new(code.expose().clone())).set_pkce_verifier(attempt.code_verifier());
    read(request.request_async(http).await, now)
}

/// Renews an access token. The answer holds only what the provider sent.
///
/// # Errors
/// `Unavailable`, `TokenEndpoint`, `TokenResponse`.
pub(super) async fn refresh(
    http: &ProviderHttp,
    metadata: &ProviderMetadata,
    client: &ClientOptions,
    refresh_token: &Secret<String>,
    now: Timestamp,
) -> Result<TokenSet, Error> {
    let oauth = oauth_client(metadata, client);
    let refresh_token = RefreshToken::new(refresh_token.expose().clone());
    read(oauth.exchange_refresh_token(&refresh_token).request_async(http).await, now)
}

/// Tells the provider to forget a refresh token (RFC 7009 §2.1).
///
/// # Errors
/// `Unavailable`; `TokenEndpoint` if it refuses, `TokenResponse` if it does so unreadably.
pub(super) async fn revoke(
    http: &ProviderHttp,
    endpoint: &Url,
    client: &ClientOptions,
    refresh_token: &Secret<String>,
) -> Result<(), Error> {
    let unreadable = Error::TokenResponse(TokenResponseReason::Unreadable);
    let request = revocation(endpoint, client, refresh_token).map_err(|_| unreadable.clone())?;
    let response = http.send(request).await.map_err(|error| error.or(unreadable))?;
    if response.status() == StatusCode::OK {
        return Ok(());
    }
    Err(match serde_json::from_slice::<Refusal>(response.body()) {
        Ok(refusal) => Error::TokenEndpoint(ErrorCode::new(&refusal.error)),
        Err(_) => Error::TokenResponse(TokenResponseReason::Status(response.status().as_u16())),
    })
}

/// An error answer (RFC 6749 §5.2), as far as it matters here.
#[derive(Deserialize)]
struct Refusal {
    error: String,
}

fn revocation(endpoint: &Url, client: &ClientOptions, refresh_token: &Secret<String>) -> http::Result<HttpRequest> {
    let mut form = form_urlencoded::Serializer::new(String::new());
    form.append_pair("token", refresh_token.expose()).append_pair("token_type_hint", "refresh_token");
    let mut request = http::Request::post(endpoint.as_str())
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .header(header::ACCEPT, "application/json");
    match &client.auth {
        ClientAuth::SecretBasic(secret) => {
            request = request.header(header::AUTHORIZATION, basic(&client.client_id, secret));
        }
        ClientAuth::SecretPost(secret) => {
            form.append_pair("client_id", &client.client_id).append_pair("client_secret", secret.expose());
        }
        ClientAuth::None => {
            form.append_pair("client_id", &client.client_id);
        }
    }
    request.body(form.finish().into_bytes())
}

/// `client_secret_basic`: both halves are form-encoded first (RFC 6749 §2.3.1).
fn basic(client_id: &str, secret: &Secret<String>) -> HeaderValue {
    let encode = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let credentials = STANDARD.encode(format!("{}:{}", encode(client_id), encode(secret.expose())));
    let mut value = HeaderValue::from_str(&format!("Basic {credentials}")).expect("base64 is plain ASCII");
    value.set_sensitive(true);
    value
}

fn oauth_client(metadata: &ProviderMetadata, client: &ClientOptions) -> OauthClient {
    let oauth = oauth2::Client::new(ClientId::new(client.client_id.clone()))
        .set_token_uri(TokenUrl::from_url(metadata.token_endpoint.clone()));
    match &client.auth {
        ClientAuth::SecretBasic(secret) => {
            oauth.set_client_secret(ClientSecret::new(secret.expose().clone())).set_auth_type(AuthType::BasicAuth)
        }
        ClientAuth::SecretPost(secret) => {
            oauth.set_client_secret(ClientSecret::new(secret.expose().clone())).set_auth_type(AuthType::RequestBody)
        }
        ClientAuth::None => oauth.set_auth_type(AuthType::RequestBody),
    }
}

/// The crate's errors carry response bodies, so they end here.
fn read(
    result: Result<TokenResponse, RequestTokenError<HttpError, BasicErrorResponse>>,
    now: Timestamp,
) -> Result<TokenSet, Error> {
    let response = result.map_err(|error| match error {
        RequestTokenError::ServerResponse(refusal) => Error::TokenEndpoint(ErrorCode::new(refusal.error().as_ref())),
        RequestTokenError::Request(error) => error.or(Error::TokenResponse(TokenResponseReason::TooLarge)),
        RequestTokenError::Parse(..) | RequestTokenError::Other(_) => {
            Error::TokenResponse(TokenResponseReason::Unreadable)
        }
    })?;
    if *response.token_type() != BasicTokenType::Bearer {
        return Err(Error::TokenResponse(TokenResponseReason::TokenType));
    }
    let value = response.access_token().secret();
    // RFC 6750 §2.1; anything else could not be sent as a header.
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Error::TokenResponse(TokenResponseReason::Characters));
    }
    Ok(TokenSet {
        access: AccessToken {
            value: Secret::new(value.clone()),
            received_at: now,
            expires_at: response.expires_in().map(|lifetime| now + lifetime),
        },
        refresh: response.refresh_token().map(|token| Secret::new(token.secret().clone())),
        id_token: response.extra_fields().id_token.clone(),
        suspect: false,
        asked_at: 0,
    })
}

#[derive(Debug, Serialize, Deserialize)]
struct IdTokenField {
    #[serde(with = "exposed::option", default)]
    id_token: Option<Secret<String>>,
}

impl ExtraTokenFields for IdTokenField {}

type TokenResponse = StandardTokenResponse<IdTokenField, BasicTokenType>;

type OauthClient = oauth2::Client<
    BasicErrorResponse,
    TokenResponse,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_characters_in_id_and_secret_are_form_encoded_before_base64() {
        let value = basic("shop:1", &Secret::from("s%c r/ü+&"));
        let decoded = STANDARD.decode(value.as_bytes().strip_prefix(b"Basic ").expect("scheme")).expect("base64");
        assert_eq!(String::from_utf8_lossy(&decoded), "shop%3A1:s%25c+r%2F%C3%BC%2B%26");
    }
}
