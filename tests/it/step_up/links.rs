//! Links to a step-up: who can make them, and what they do in the wrong hands.

use super::*;

async fn refused_link(browser: &mut Browser, link: &str) {
    let page = browser.step(link).await;
    assert_eq!(
        (page.status, page.page_slug().as_str()),
        (StatusCode::BAD_REQUEST, "login-parameter-not-allowed"),
        "{link}"
    );
    assert!(page.header("set-cookie").is_none());
}

#[tokio::test]
async fn a_link_needs_no_allowed_parameter_and_takes_no_other() {
    let app = ordered().start().await;
    let mut browser = app.logged_in("alice").await;
    let login_url = demanded(&mut browser, VAULT).await;
    for further in ["acr_values=a", "max_age=1", "prompt=none", "remember=true", "remember=false", "x=1"] {
        refused_link(&mut browser, &format!("{login_url}&{further}")).await;
    }
    let (_, value) = login_url.split_once('?').unwrap();
    refused_link(&mut browser, &format!("{login_url}&{value}")).await;
    let app = ordered().variable("CLOAKROOM_ALLOWED_LOGIN_PARAMETERS", "").start().await;
    let mut browser = app.logged_in("alice").await;
    let login_url = demanded(&mut browser, VAULT).await;
    assert_eq!(asked(&mut browser, &login_url).await, pairs(&[("acr_values", SECOND_FACTOR)]));
    let foreign = browser.step(&format!("{login_url}&return_to=https://evil.example/")).await;
    assert_eq!(foreign.page_slug(), "return-to-not-allowed");
}

#[tokio::test]
async fn a_link_cannot_be_made_up_or_kept() {
    let app = ordered().start().await;
    let mut browser = app.logged_in("alice").await;
    let login_url = demanded(&mut browser, VAULT).await;
    let (path, value) = login_url.split_once('=').unwrap();
    let mut flipped = value.to_owned();
    flipped.replace_range(40..41, if &value[40..41] == "A" { "B" } else { "A" });
    for forged in ["", "x", "!", "e30", &flipped, &value[1..], &format!("{value}A"), &"A".repeat(5000)] {
        refused_link(&mut browser, &format!("{path}={forged}")).await;
    }
    // Sealed by the same key for something else.
    let start = browser.step("/bff/login?return_to=/cart").await;
    let request = Url::parse(start.header("location").unwrap()).unwrap();
    let state = request.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    refused_link(&mut browser, &format!("{path}={}", state.split_once('.').unwrap().1)).await;
    app.clock.advance(Duration::from_secs(3599));
    assert_eq!(browser.step(&login_url).await.status, StatusCode::SEE_OTHER);
    app.clock.advance(Duration::from_secs(1));
    refused_link(&mut browser, &login_url).await;
}

#[tokio::test]
async fn a_link_of_one_frontend_is_nothing_to_another() {
    let app = ordered()
        .variable("CLOAKROOM__FRONTENDS__ADMIN__URL", "{url}/admin/")
        .variable("CLOAKROOM__FRONTENDS__ADMIN__CLIENT_ID", "shop")
        .variable("CLOAKROOM__FRONTENDS__ADMIN__ALLOW_PUBLIC_CLIENT", "true")
        .start()
        .await;
    let mut browser = app.logged_in("alice").await;
    let login_url = demanded(&mut browser, VAULT).await;
    refused_link(&mut browser, &format!("/admin{login_url}")).await;
}

#[tokio::test]
async fn a_link_of_somebody_else_asks_for_more_and_gives_nothing() {
    let app = ordered().start().await;
    let mut bob = app.browser();
    let callback = bob.callback_url_of("/bff/login?remember=true", "bob").await;
    bob.click(&callback).await;
    app.clock.advance(20 * MINUTE);
    let mut alice = app.logged_in("alice").await;
    let before = alice.user().await["session"].clone();
    let login_url = demanded(&mut bob, VAULT).await;
    let page = alice.click_from("https://evil.example", &login_url).await;
    confirm(&mut alice, page).await;
    let after = alice.user().await;
    assert_eq!(after["claims"]["name"], "Alice Adler");
    assert_eq!(after["claims"]["acr"], SECOND_FACTOR);
    assert_eq!(after["session"]["expires_at"], before["expires_at"], "her own limits, not his");
    assert_eq!(alice.session().unwrap().max_age, None, "she is not remembered for it");
    assert!(bob.is_logged_in().await);
}

#[tokio::test]
async fn a_link_without_a_session_is_an_ordinary_login() {
    let app = ordered().start().await;
    let mut somebody = app.logged_in("alice").await;
    let login_url = demanded(&mut somebody, VAULT).await;
    let mut browser = app.browser();
    step_up(&mut browser, &login_url, "/vault").await;
    assert!(passes(&mut browser, VAULT).await);
    assert_eq!(app.sessions().await, 2);
}
