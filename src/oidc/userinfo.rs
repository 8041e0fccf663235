//! The UserInfo endpoint (OIDC Core §5.3): JSON or a signed JWT, believed only if it speaks of the same person.

use http::{StatusCode, header};
use serde_json::{Map, Value};
use url::Url;

use super::error::{Error, IdTokenReason, UserInfoReason};
use super::jws::Jws;
use super::provider::Provider;
use crate::secret::Secret;

/// Asks who the access token belongs to.
///
/// # Errors
/// `Unavailable`; `Discovery` or `Keys` if a signed answer needs keys that cannot be had; `UserInfo`, also if `sub` is not `subject`
/// (§5.3.2).
pub(super) async fn fetch(
    provider: &Provider,
    endpoint: &Url,
    client_id: &str,
    access_token: &Secret<String>,
    subject: &str,
) -> Result<Map<String, Value>, Error> {
    let unreadable = || Error::UserInfo(UserInfoReason::Unreadable);
    let request = http::Request::get(endpoint.as_str())
        .header(header::AUTHORIZATION, format!("Bearer {}", access_token.expose()))
        .header(header::ACCEPT, "application/json, application/jwt")
        .body(Vec::new())
        .map_err(|_| unreadable())?;
    let response =
        provider.http.send(request).await.map_err(|error| error.or(Error::UserInfo(UserInfoReason::TooLarge)))?;
    if response.status() != StatusCode::OK {
        return Err(Error::UserInfo(UserInfoReason::Status(response.status().as_u16())));
    }
    let content_type =
        response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_jwt =
        content_type.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/jwt"));
    let claims: Map<String, Value> = if is_jwt {
        let compact = std::str::from_utf8(response.body()).map_err(|_| unreadable())?;
        let claims = provider.verify(&Jws::parse(compact.trim()).map_err(signed)?, signed).await?;
        addressed_to_us(&claims, &provider.options.issuer, client_id)?;
        claims
    } else {
        serde_json::from_slice(response.body()).map_err(|_| unreadable())?
    };
    if claims.get("sub").and_then(Value::as_str) != Some(subject) {
        return Err(Error::UserInfo(UserInfoReason::Subject));
    }
    Ok(claims)
}

/// §5.3.2: a signed answer should say `iss` and `aud`. What it says must be right.
fn addressed_to_us(claims: &Map<String, Value>, issuer: &str, client_id: &str) -> Result<(), Error> {
    if claims.get("iss").is_some_and(|found| found != issuer) {
        return Err(signed(IdTokenReason::Issuer));
    }
    let names_us = |audience: &Value| match audience {
        Value::Array(many) => many.iter().any(|one| one == client_id),
        one => one == client_id,
    };
    if claims.get("aud").is_some_and(|audience| !names_us(audience)) {
        return Err(signed(IdTokenReason::Audience));
    }
    Ok(())
}

fn signed(reason: IdTokenReason) -> Error {
    Error::UserInfo(UserInfoReason::Signed(reason))
}
