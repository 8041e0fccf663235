//! The userinfo endpoint (OIDC Core §5.3): JSON, or a signed JWT for a client that registered for it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};

use super::id_token::{other_subject, profile};
use super::{DevClient, Inner, SigningAlgorithm};
use crate::demo::faults::Fault;
use crate::demo::{bearer_token, lock};

/// `GET /userinfo`, `POST /userinfo` with a bearer token in the header (RFC 6750 §2.1).
pub(super) async fn any(State(inner): State<Arc<Inner>>, headers: HeaderMap) -> Response {
    let now = inner.clock.now();
    let granted = bearer_token(&headers).and_then(|token| {
        let memory = lock(&inner.memory);
        let grant = memory.grant_of_access_token(token, now)?.clone();
        let client = memory.client(&grant.client_id)?.clone();
        Some((grant, client))
    });
    let Some((grant, client)) = granted else {
        let challenge = [(header::WWW_AUTHENTICATE, "Bearer error=\"invalid_token\"")];
        return (StatusCode::UNAUTHORIZED, challenge).into_response();
    };
    let mut claims = profile(&grant);
    if inner.faults.is(Fault::UserinfoOtherSubject) {
        claims.insert("sub".to_owned(), json!(other_subject(&grant)));
    }
    if inner.faults.is(Fault::UserinfoWithoutSubject) {
        claims.remove("sub");
    }
    match inner.userinfo_algorithm(&client) {
        None => Json(claims).into_response(),
        Some(algorithm) => {
            // Core §5.3.2: signed answers should name who says it, to whom.
            claims.insert("iss".to_owned(), json!(inner.issuer));
            claims.insert("aud".to_owned(), json!(grant.client_id));
            let jwt = inner.sign_userinfo(algorithm, &Value::Object(claims));
            ([(header::CONTENT_TYPE, "application/jwt")], jwt).into_response()
        }
    }
}

impl Inner {
    fn userinfo_algorithm(&self, client: &DevClient) -> Option<SigningAlgorithm> {
        let unasked = self.faults.is(Fault::UserinfoSigned) || self.faults.is(Fault::UserinfoSignedByStranger);
        client.userinfo_alg.or_else(|| unasked.then_some(client.id_token_alg))
    }
}
