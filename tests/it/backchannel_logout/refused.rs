//! Logout tokens that are not believed, and bodies that hold none: OIDC Back-Channel Logout 1.0 §2.5, §2.6.

use std::time::Duration;

use cloakroom::clock::Clock as _;
use cloakroom::demo::faults::{Endpoint, Fault, Outage};
use cloakroom::demo::idp::LogoutSignature;
use cloakroom::oidc::{IdTokenReason, LogoutTokenReason as Reason};
use http::{Method, StatusCode};
use serde_json::json;

use super::{ALICE, FORM, LOGOUT, end, endpoint, form, only_sid, tell, token};
use crate::support::{TestApp, logs, post};

/// How a form is refused: nothing in the answer says why, the log says it once, and nobody is logged out.
async fn assert_refused(app: &TestApp, why: &str, content_type: Option<&str>, body: String) {
    let lines = || logs::count(&["WARN", "a logout token was refused", why]);
    let before = lines();
    let answer = post(&endpoint(app), content_type, body).await;
    assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{why}");
    assert_eq!(answer.text(), r#"{"error":"invalid_request"}"#, "{why}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert_eq!(lines() - before, 1, "{why}");
    assert_eq!(app.sessions().await, 1, "{why}");
}

#[tokio::test]
async fn a_token_that_breaks_a_rule_ends_nothing() {
    use Reason::{
        Audience, Expired, IssuedInTheFuture, Issuer, NoEvent, NoExpiry, NoIssuedAt, Nobody, Nonce, NotAName,
        NotYetValid, Signed, Type,
    };
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let good = || token(&app).subject(ALICE).sid(&only_sid(&app));
    let in_seconds = |seconds: i64| json!(app.clock.now().unix_seconds() + seconds);
    let signed = |signature| good().signed(signature);
    let event = |name: &str, value| good().claim("events", json!({ name: value }));
    let id_token = app.provider.issued().into_iter().rfind(|issued| issued.starts_with("ey")).unwrap();
    let rows = [
        (Signed(IdTokenReason::Algorithm), signed(LogoutSignature::Unsigned)),
        (Signed(IdTokenReason::Algorithm), signed(LogoutSignature::Symmetric)),
        (Signed(IdTokenReason::Algorithm), signed(LogoutSignature::OtherAlgorithm)),
        (Signed(IdTokenReason::Signature), signed(LogoutSignature::Flipped)),
        (Type, good().typ(Some("at+jwt"))),
        (Type, good().typ(Some("secevent+jwt"))),
        (Type, good().typ(Some("dpop+jwt"))),
        (Issuer, good().claim("iss", json!("http://127.0.0.1:1"))),
        (Issuer, good().claim("iss", json!(format!("{}/", app.provider.issuer())))),
        (Issuer, good().without("iss")),
        (Audience, good().claim("aud", json!("stall"))),
        (Audience, good().claim("aud", json!(["shop", "stall"]))),
        (Audience, good().claim("aud", json!([]))),
        (Audience, good().without("aud")),
        (NoIssuedAt, good().without("iat")),
        (NoIssuedAt, good().claim("iat", json!("now"))),
        (IssuedInTheFuture, good().claim("iat", in_seconds(61))),
        (NoExpiry, good().without("exp")),
        (Expired, good().claim("exp", in_seconds(-60))),
        (NotYetValid, good().claim("nbf", in_seconds(61))),
        (Nobody, good().without("sub").without("sid")),
        (NotAName, good().claim("sub", json!(""))),
        (NotAName, good().claim("sid", json!([only_sid(&app)]))),
        (NoEvent, good().without("events")),
        (NoEvent, event("http://schemas.openid.net/event/other", json!({}))),
        (NoEvent, event(LOGOUT, json!(true))),
        (NoEvent, good().claim("events", json!([LOGOUT]))),
        (NoEvent, good().claim("events", json!(LOGOUT))),
        (Nonce, good().claim("nonce", json!("n"))),
        (Nonce, good().claim("nonce", json!(null))),
    ];
    for (reason, token) in rows {
        let why = format!("the logout token is not acceptable: {reason}");
        assert_refused(&app, &why, Some(FORM), form(&token.to_jwt())).await;
    }
    let why = |reason: Reason| format!("the logout token is not acceptable: {reason}");
    for (reason, jwt) in [
        (NoEvent, id_token.as_str()),
        (Signed(IdTokenReason::Malformed), ""),
        (Signed(IdTokenReason::Malformed), "a.b"),
        (Signed(IdTokenReason::Malformed), "eyJhbGciOiJSUzI1NiJ9.e30"),
    ] {
        assert_refused(&app, &why(reason), Some(FORM), form(jwt)).await;
    }
    app.misbehave(Fault::Endpoint(Endpoint::Jwks, Outage::ServerError));
    let invented = signed(LogoutSignature::UnknownKid).to_jwt();
    assert_eq!(post(&endpoint(&app), Some(FORM), form(&invented)).await.status, StatusCode::SERVICE_UNAVAILABLE);
    let no_key_helps = why(Signed(IdTokenReason::Algorithm));
    assert_refused(&app, &no_key_helps, Some(FORM), form(&signed(LogoutSignature::Unsigned).to_jwt())).await;
    assert!(browser.is_logged_in().await);
    // Nor is a login kept from coming to life that a logout of now would end.
    app.provider.faults().clear_all();
    app.clock.advance(Duration::from_secs(1));
    browser.log_in("/", "alice").await;
    assert!(browser.is_logged_in().await);
}

#[tokio::test]
async fn a_body_that_is_no_form_with_one_token_ends_nothing() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let good = || form(&token(&app).subject(ALICE).to_jwt());
    let twice = format!("{}&{}", good(), good());
    let large = format!("{}&padding={}", good(), "x".repeat(17 << 10));
    for (why, content_type, body) in [
        ("there is no logout_token", Some(FORM), String::new()),
        ("there is no logout_token", Some(FORM), good().replacen("logout_token", "Logout_Token", 1)),
        ("there is more than one logout_token", Some(FORM), twice),
        ("the body is too large", Some(FORM), large),
        ("the body is not a form", Some("application/jwt"), token(&app).subject(ALICE).to_jwt()),
        ("the body is not a form", Some("multipart/form-data; boundary=x"), good()),
        ("the body is not a form", None, good()),
    ] {
        assert_refused(&app, why, content_type, body).await;
    }
    let url = format!("{}?{}", endpoint(&app), good());
    assert_eq!(post(&url, Some(FORM), String::new()).await.status, StatusCode::BAD_REQUEST, "no token in the address");
    assert!(browser.is_logged_in().await);
}

#[tokio::test]
async fn other_methods_are_not_allowed() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let answer = browser.fetch(method.clone(), "/bff/backchannel-logout").await;
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method}");
        assert_eq!(answer.header("allow"), Some("POST"));
    }
}

#[tokio::test]
async fn an_unknown_key_is_looked_for_once_in_ten_seconds() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    for _ in 0..10 {
        let invented = token(&app).subject(ALICE).signed(LogoutSignature::UnknownKid);
        assert_eq!(tell(&app, &invented).await.status, StatusCode::BAD_REQUEST);
    }
    assert_eq!(app.calls("/jwks").len(), 2);
    app.provider.rotate_keys();
    assert_eq!(tell(&app, &token(&app).subject(ALICE)).await.status, StatusCode::BAD_REQUEST);
    assert!(browser.is_logged_in().await);
    app.clock.advance(Duration::from_secs(10));
    end(&app, &token(&app).subject(ALICE)).await;
    assert_eq!(app.calls("/jwks").len(), 3);
    assert!(!browser.is_logged_in().await);
}
