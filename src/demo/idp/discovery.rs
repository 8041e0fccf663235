//! What the provider says about itself: OIDC Discovery §4, RFC 8414, RFC 9207 §3, and its public keys.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::Inner;
use super::keys::SigningKeys;
use super::state::Acr;
use crate::demo::faults::Fault;
use crate::demo::lock;

/// `GET /.well-known/openid-configuration`
pub(super) async fn configuration(State(inner): State<Arc<Inner>>) -> Json<Value> {
    let mut metadata = metadata(&inner.issuer);
    let left_out = [
        (Fault::DiscoveryWithoutEndSession, "end_session_endpoint"),
        (Fault::DiscoveryWithoutRevocation, "revocation_endpoint"),
        (Fault::DiscoveryWithoutUserinfo, "userinfo_endpoint"),
        (Fault::DiscoveryWithoutIssParameter, "authorization_response_iss_parameter_supported"),
    ];
    if let Some(members) = metadata.as_object_mut() {
        members.retain(|name, _| !left_out.iter().any(|(fault, member)| name == member && inner.faults.is(*fault)));
    }
    if inner.faults.is(Fault::DiscoveryDeadUserinfo) {
        metadata["userinfo_endpoint"] = json!(DEAD);
    }
    if inner.faults.is(Fault::DiscoveryWrongIssuer) {
        metadata["issuer"] = json!(OTHER_ISSUER);
    }
    Json(metadata)
}

/// `GET /jwks`
pub(super) async fn jwks(State(inner): State<Arc<Inner>>) -> Json<Value> {
    let current = lock(&inner.memory).generation;
    let published = if inner.faults.is(Fault::JwksStale) { current.saturating_sub(1) } else { current };
    let mut keys = Vec::new();
    if inner.faults.is(Fault::JwksUnknownKeyTypes) {
        keys.push(json!({"kty": "OKP", "crv": "Fantasy", "x": "AA", "use": "sig", "kid": "fantasy"}));
        keys.push(json!({"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA", "use": "sig", "kid": "akp"}));
    }
    if inner.faults.is(Fault::JwksFurtherKeys) {
        keys.extend(SigningKeys::of_generation(published + 1).jwks());
    }
    keys.extend(SigningKeys::of_generation(published).jwks());
    if inner.faults.is(Fault::JwksWithoutKids) {
        keys.iter_mut().filter_map(Value::as_object_mut).for_each(|key| {
            key.remove("kid");
        });
    }
    Json(json!({ "keys": keys }))
}

fn metadata(issuer: &str) -> Value {
    json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"),
        "userinfo_endpoint": format!("{issuer}/userinfo"),
        "jwks_uri": format!("{issuer}/jwks"),
        "revocation_endpoint": format!("{issuer}/revoke"),
        "end_session_endpoint": format!("{issuer}/end_session"),
        "authorization_response_iss_parameter_supported": true,
        "backchannel_logout_supported": true,
        "backchannel_logout_session_supported": true,
        "frontchannel_logout_supported": true,
        "frontchannel_logout_session_supported": true,
        "response_types_supported": ["code"],
        "response_modes_supported": ["query", "form_post"],
        "grant_types_supported": ["authorization_code", "refresh_token"],
        "code_challenge_methods_supported": ["S256"],
        "acr_values_supported": Acr::ALL.map(Acr::name),
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256", "ES256"],
        "userinfo_signing_alg_values_supported": ["RS256", "ES256"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
        "revocation_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "prompt_values_supported": ["none", "login"],
        "claims_supported": [
            "sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "at_hash", "sid", "acr",
            "name", "given_name", "family_name", "preferred_username", "email", "email_verified",
        ],
    })
}

/// The issuer that wrong answers name.
pub(super) const OTHER_ISSUER: &str = "http://127.0.0.1:1";

/// Port 1 of loopback: connections are refused.
const DEAD: &str = "http://127.0.0.1:1/userinfo";
