//! The provider as a client meets it: over HTTP.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http::header::{LOCATION, SET_COOKIE};

use self::world::{AFTER_LOGOUT, Answer, REDIRECT, SECRET, VERIFIER, World, claims};
use super::*;
use crate::demo::faults::{Endpoint, Fault, Outage};

mod backchannel_logout;
mod signatures;
mod world;

#[track_caller]
fn assert_invalid_grant(answer: &Answer) {
    assert_eq!((answer.status, answer.body.as_str()), (StatusCode::BAD_REQUEST, "{\"error\":\"invalid_grant\"}"));
}

#[tokio::test]
async fn alice_logs_in() {
    let world = World::new().await;
    let page = world.authorize(&[]).await;
    let (to, parameters) = world.sign_in(&page, "alice", "alice").await.location();
    assert_eq!(to, REDIRECT);
    assert_eq!(parameters["state"], "the state");
    assert_eq!(parameters["iss"], world.provider.issuer());

    let tokens = world.redeem(&parameters["code"], VERIFIER).await.json();
    let claims = claims(&tokens["id_token"]);
    assert_eq!(claims["iss"], world.provider.issuer());
    assert_eq!(claims["aud"], "shop");
    assert_eq!(claims["nonce"], "n-0");
    assert_eq!(claims["auth_time"], 1_700_000_000);
    assert_eq!(claims["at_hash"], keys::at_hash(tokens["access_token"].as_str().unwrap()));

    let userinfo = world.userinfo(&tokens["access_token"]).await.json();
    assert_eq!((&userinfo["sub"], &userinfo["name"]), (&claims["sub"], &serde_json::json!("Alice Adler")));
}

#[tokio::test]
async fn a_wrong_password_gets_no_further() {
    let world = World::new().await;
    let page = world.authorize(&[]).await;
    let again = world.sign_in(&page, "alice", "bob").await;
    assert_eq!(again.status, StatusCode::FORBIDDEN);
    assert_eq!(world.sign_in(&again, "alice", "alice").await.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn a_login_form_is_used_once() {
    let world = World::new().await;
    let page = world.authorize(&[]).await;
    assert_eq!(world.sign_in(&page, "alice", "alice").await.status, StatusCode::SEE_OTHER);
    assert_eq!(world.sign_in(&page, "alice", "alice").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn an_unregistered_redirect_uri_is_never_redirected_to() {
    let world = World::new().await;
    for wrong in ["http://localhost:1/bff/callback/", "http://localhost:1/bff/callback?x=1", "http://evil.example/"] {
        let answer = world.authorize(&[("redirect_uri", wrong)]).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{wrong}");
        assert!(!answer.headers.contains_key(LOCATION));
    }
    assert_eq!(world.authorize(&[("client_id", "nobody")]).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn requests_that_make_no_sense_go_back_with_an_error() {
    let world = World::new().await;
    for (name, value, error) in [
        ("code_challenge", "", "invalid_request"),
        ("code_challenge", "short", "invalid_request"),
        ("code_challenge_method", "plain", "invalid_request"),
        ("response_type", "token", "unsupported_response_type"),
        ("scope", "profile", "invalid_scope"),
        ("prompt", "none login", "invalid_request"),
        ("prompt", "none", "login_required"),
        ("max_age", "soon", "invalid_request"),
    ] {
        let (to, parameters) = world.authorize(&[(name, value)]).await.location();
        assert_eq!((to.as_str(), parameters["error"].as_str()), (REDIRECT, error), "{name}={value}");
        assert_eq!(parameters["state"], "the state");
        assert!(!parameters.contains_key("code"));
    }
}

#[tokio::test]
async fn the_sign_on_cookie_saves_the_second_form() {
    let world = World::new().await;
    let page = world.authorize(&[]).await;
    let signed_in = world.sign_in(&page, "bob", "bob").await;
    let cookie = signed_in.cookie();
    let ask = async |name, value| world.authorize_with(&[(name, value)], &cookie).await.status;
    assert_eq!(ask("prompt", "none").await, StatusCode::SEE_OTHER);
    assert_eq!(ask("prompt", "login").await, StatusCode::OK);
    assert_eq!(ask("acr_values", "gold").await, StatusCode::SEE_OTHER, "nobody knows it, and it is voluntary");
    assert_eq!(ask("acr_values", "gold urn:cloakroom:acr:second-factor").await, StatusCode::OK);
    world.clock.advance(Duration::from_mins(1));
    assert_eq!(ask("max_age", "60").await, StatusCode::SEE_OTHER);
    assert_eq!(ask("max_age", "59").await, StatusCode::OK);
    world.provider.end_sso_sessions();
    assert_eq!(ask("nonce", "n-1").await, StatusCode::OK);
}

#[tokio::test]
async fn a_second_factor_is_asked_for_once_and_told() {
    let world = World::new().await;
    let second = ("acr_values", SECOND_FACTOR);
    let page = world.authorize(&[second]).await;
    let page = world.sign_in(&page, "alice", "alice").await;
    assert_eq!(page.status, StatusCode::OK, "the password alone is not enough");
    assert!(page.headers.get(SET_COOKIE).is_none());
    world.clock.advance(Duration::from_secs(7));
    let done = world.confirm(&page).await;
    let cookie = done.cookie();
    let tokens = world.redeem(&done.location().1["code"], VERIFIER).await.json();
    let told = claims(&tokens["id_token"]);
    assert_eq!((&told["acr"], &told["auth_time"]), (&SECOND_FACTOR.into(), &1_700_000_007.into()));
    assert_eq!(world.authorize_with(&[second], &cookie).await.status, StatusCode::SEE_OTHER);
    assert_eq!(world.confirm(&page).await.status, StatusCode::BAD_REQUEST, "a form is used once");
}

#[tokio::test]
async fn somebody_who_has_shown_the_password_shows_only_what_is_missing() {
    let world = World::new().await;
    let page = world.authorize(&[]).await;
    let cookie = world.sign_in(&page, "alice", "alice").await.cookie();
    let second = ("acr_values", SECOND_FACTOR);
    let page = world.authorize_with(&[second], &cookie).await;
    assert!(page.body.contains("/second-factor") && !page.body.contains("password"), "{}", page.body);
    let silent = world.authorize_with(&[second, ("prompt", "none")], &cookie).await;
    assert_eq!(silent.location().1["error"], "login_required");
    world.clock.advance(Duration::from_mins(1));
    let old = world.authorize_with(&[second, ("max_age", "59")], &cookie).await;
    assert!(old.body.contains("name=\"password\""), "{}", old.body);
}

#[tokio::test]
async fn form_post_answers_with_a_form() {
    let world = World::new().await;
    let page = world.authorize(&[("response_mode", "form_post")]).await;
    let answer = world.sign_in(&page, "alice", "alice").await;
    assert_eq!(answer.status, StatusCode::OK);
    let html = answer.body;
    assert!(html.contains(&format!("<form method=\"post\" action=\"{REDIRECT}\">")), "{html}");
    assert!(html.contains("name=\"state\" value=\"the state\""));
    assert!(html.contains("name=\"code\" value=\"dev-code-"));
}

#[tokio::test]
async fn a_code_used_twice_takes_its_tokens_along() {
    let world = World::new().await;
    let code = world.code().await;
    let tokens = world.redeem(&code, VERIFIER).await.json();
    assert_invalid_grant(&world.redeem(&code, VERIFIER).await);
    assert_eq!(world.userinfo(&tokens["access_token"]).await.status, StatusCode::UNAUTHORIZED);
    assert_invalid_grant(&world.refresh(&tokens["refresh_token"]).await.unwrap());
}

#[tokio::test]
async fn a_wrong_verifier_uses_the_code_up() {
    let world = World::new().await;
    let code = world.code().await;
    assert_invalid_grant(&world.redeem(&code, "another-verifier-that-is-long-enough-to-be-one").await);
    assert_invalid_grant(&world.redeem(&code, VERIFIER).await);
}

#[tokio::test]
async fn an_old_code_is_worth_nothing() {
    let world = World::new().await;
    let code = world.code().await;
    world.clock.advance(Duration::from_mins(1));
    assert_invalid_grant(&world.redeem(&code, VERIFIER).await);
}

#[tokio::test]
async fn a_rotated_refresh_token_used_again_ends_the_grant() {
    let world = World::new().await;
    let first = world.tokens().await;
    let second = world.refresh(&first["refresh_token"]).await.unwrap().json();
    assert_eq!(claims(&second["id_token"]).get("nonce"), None);
    assert_invalid_grant(&world.refresh(&first["refresh_token"]).await.unwrap());
    assert_invalid_grant(&world.refresh(&second["refresh_token"]).await.unwrap());
    assert_eq!(world.userinfo(&second["access_token"]).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn without_offline_access_there_is_no_refresh_token() {
    let world = World::new().await;
    let page = world.authorize(&[("scope", "openid")]).await;
    let (_, parameters) = world.sign_in(&page, "alice", "alice").await.location();
    let tokens = world.redeem(&parameters["code"], VERIFIER).await.json();
    assert_eq!(tokens.get("refresh_token"), None);
    assert_eq!(claims(&tokens["id_token"]).get("email"), None);
}

#[tokio::test]
async fn access_tokens_run_out() {
    let world = World::new().await;
    let tokens = world.tokens().await;
    let access_token = tokens["access_token"].as_str().unwrap();
    assert_eq!(world.provider.subject_of(access_token).as_deref(), Some(USERS[0].subject));
    world.clock.advance(Duration::from_mins(2));
    assert_eq!(world.provider.subject_of(access_token), None);
}

#[tokio::test]
async fn a_revoked_refresh_token_takes_its_grant_along() {
    let world = World::new().await;
    let tokens = world.tokens().await;
    let form = [("token", tokens["refresh_token"].as_str().unwrap()), ("client_id", "shop"), ("client_secret", SECRET)];
    let answer = world.post("/revoke", &form, "").await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(world.userinfo(&tokens["access_token"]).await.status, StatusCode::UNAUTHORIZED);
    assert_invalid_grant(&world.refresh(&tokens["refresh_token"]).await.unwrap());
}

#[tokio::test]
async fn basic_credentials_are_form_encoded_first() {
    let world = World::new().await;
    let form = [("grant_type", "refresh_token"), ("refresh_token", "unknown")];
    let with = async |secret: &str| {
        let credentials = STANDARD.encode(format!("shop:{secret}"));
        world.post("/token", &form, &format!("Basic {credentials}")).await.unwrap().status
    };
    let encoded: String = url::form_urlencoded::byte_serialize(SECRET.as_bytes()).collect();
    assert_eq!(with(&encoded).await, StatusCode::BAD_REQUEST);
    assert_eq!(with(SECRET).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn two_client_authentications_at_once_are_refused() {
    let world = World::new().await;
    let form = [("grant_type", "refresh_token"), ("client_id", "shop"), ("client_secret", SECRET)];
    let basic = format!("Basic {}", STANDARD.encode("shop:x"));
    assert_eq!(world.post("/token", &form, &basic).await.unwrap().json()["error"], "invalid_request");
}

#[tokio::test]
async fn end_session_goes_to_registered_addresses_only() {
    let world = World::new().await;
    let tokens = world.tokens().await;
    let hint = tokens["id_token"].as_str().unwrap();
    let end = async |parameters: &[(&str, &str)]| {
        let url = Url::parse_with_params(world.url("/end_session").as_str(), parameters).unwrap();
        world.get(url.as_str(), "").await
    };
    let good = [("id_token_hint", hint), ("post_logout_redirect_uri", AFTER_LOGOUT), ("state", "s")];
    let (to, parameters) = end(&good).await.location();
    assert_eq!((to.as_str(), parameters["state"].as_str()), (AFTER_LOGOUT, "s"));

    for wrong in ["http://localhost:1/", "http://evil.example/"] {
        let answer = end(&[("id_token_hint", hint), ("post_logout_redirect_uri", wrong)]).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(!answer.headers.contains_key(LOCATION));
    }
    let nobodys = end(&[("post_logout_redirect_uri", AFTER_LOGOUT)]).await;
    assert_eq!(nobodys.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn without_a_hint_whoever_is_signed_in_is_asked() {
    let world = World::new().await;
    let page = world.authorize(&[]).await;
    let signed_in = world.sign_in(&page, "alice", "alice").await;
    let cookie = signed_in.cookie();
    let asked = world.get("/end_session?confirmed=yes", &cookie).await.body;
    assert!(asked.contains("Log out?"), "{asked}");

    let confirmed = world.post_with_cookie("/end_session", &[("confirmed", "yes")], &cookie).await;
    assert!(confirmed.headers[SET_COOKIE].to_str().unwrap().contains("Max-Age=0"));
    let again = world.get("/end_session", &cookie).await.body;
    assert!(again.contains("Logged out"), "{again}");
}

#[tokio::test]
async fn calls_and_secrets_are_written_down() {
    let world = World::new().await;
    let tokens = world.tokens().await;
    let issued = world.provider.issued();
    for name in ["access_token", "refresh_token", "id_token"] {
        assert!(issued.iter().any(|secret| tokens[name] == **secret), "{name}");
    }
    let calls = world.provider.calls();
    let paths: Vec<_> = calls.iter().map(|call| call.path.as_str()).collect();
    assert_eq!(paths, ["/authorize", "/login", "/token"]);
    assert_eq!(calls[2].form_value("code_verifier"), Some(VERIFIER));
    assert!(!calls[2].authorization);
}

#[tokio::test]
async fn a_stopped_provider_comes_back_with_its_memory() {
    let world = World::new().await;
    let tokens = world.tokens().await;
    world.provider.stop().await;
    assert!(world.refresh(&tokens["refresh_token"]).await.unwrap_err().is_connect());
    world.provider.start_again().await.unwrap();
    assert_eq!(world.refresh(&tokens["refresh_token"]).await.unwrap().status, StatusCode::OK);
}

#[tokio::test]
async fn a_lost_answer_took_effect() {
    let world = World::new().await;
    let tokens = world.tokens().await;
    world.provider.faults().set_times(Fault::Endpoint(Endpoint::Token, Outage::AnswerLost), 1);
    assert!(world.refresh(&tokens["refresh_token"]).await.is_err());
    assert_invalid_grant(&world.refresh(&tokens["refresh_token"]).await.unwrap());
}

#[tokio::test]
async fn rotated_keys_are_published_at_once() {
    let world = World::new().await;
    let kids = async || {
        let jwks = world.get("/jwks", "").await.json();
        jwks["keys"].as_array().unwrap().iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(kids().await, ["rsa-0", "ec-0"]);
    world.provider.rotate_keys();
    assert_eq!(kids().await, ["rsa-1", "ec-1"]);
    world.provider.faults().set(Fault::JwksStale);
    assert_eq!(kids().await, ["rsa-0", "ec-0"]);
}
