//! What an API may demand by its challenge (RFC 9470), and what it may not.

use super::*;

/// A call that the API answers with 401 and a challenge with these parameters.
pub(super) fn saying(parameters: &str) -> String {
    challenged_by(&format!("Bearer error=\"insufficient_user_authentication\", {parameters}"))
}

/// A call that the API answers with 401 and this challenge.
fn challenged_by(challenge: &str) -> String {
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("www-authenticate", challenge).finish();
    format!("/api/status/401?{query}")
}

#[tokio::test]
async fn the_page_is_told_by_us_and_not_by_the_api() {
    let app = ordered().start().await;
    let mut browser = app.logged_in("alice").await;
    let path = saying("error_description=\"phone 555-1234\", acr_values=\"a b\", max_age=\"60\"") + "&x-theirs=1";
    let refused = browser.fetch(Method::GET, &path).await;
    assert_eq!(refused.problem(), "step-up-required");
    assert!(!refused.text().contains("555-1234"), "{}", refused.text());
    for theirs in ["www-authenticate", "x-theirs", "content-security-policy"] {
        assert_eq!(refused.header(theirs), None, "{theirs}");
    }
    assert_eq!(refused.header("cache-control"), Some("no-store"));
    assert!(refused.header("set-cookie").is_none());
    let login_url = refused.json()["login_url"].as_str().unwrap().to_owned();
    assert_eq!(asked(&mut browser, &login_url).await, pairs(&[("max_age", "60"), ("acr_values", "a b")]));
    assert_eq!(app.grants("refresh_token"), 0, "the token itself was good");
}

#[tokio::test]
async fn a_person_who_opens_the_address_gets_a_page_with_the_link() {
    let route = "path = '/api'\ncsrf = 'origin'\ncsrf_reason = 'downloads'";
    let app = ordered().route(route).start().await;
    let mut browser = app.logged_in("alice").await;
    let page = browser.step(VAULT).await;
    assert_eq!((page.status, page.page_slug().as_str()), (StatusCode::UNAUTHORIZED, "step-up-required"));
    assert!(page.text().contains("<a class=\"button\" href=\"/bff/login?step_up="), "{}", page.text());
}

#[tokio::test]
async fn a_websocket_that_is_refused_for_the_login_says_so() {
    let app = ordered().start().await;
    let mut browser = app.logged_in("alice").await;
    assert_eq!(web_socket(&mut browser, VAULT).await.problem(), "step-up-required");
}

#[tokio::test]
async fn a_challenge_that_makes_no_sense_stays_the_apis_own_answer() {
    let app = ordered().start().await;
    let mut browser = app.logged_in("alice").await;
    let huge = format!("acr_values=\"{}\"", "a".repeat(300));
    let longer = format!("acr_values=\"a\", realm=\"{}\"", "a".repeat(9000));
    for parameters in [
        "realm=\"nothing is asked for\"",
        "acr_values=\"\"",
        "acr_values=\"a\\\"b\"",
        "acr_values=\"a\tb\"",
        "acr_values=\"\u{e9}\"",
        "acr_values=\"a\", acr_values=\"b\"",
        "acr_values=\"a",
        "max_age=\"-1\"",
        "max_age=\"99999999999\"",
        "acr_values=\"a\", max_age=\"soon\"",
        &huge,
        &longer,
    ] {
        let answer = browser.fetch(Method::GET, &saying(parameters)).await;
        assert_eq!((answer.status, answer.header("content-type")), (StatusCode::UNAUTHORIZED, None), "{parameters}");
    }
    for challenge in [
        "Basic error=\"insufficient_user_authentication\", acr_values=\"a\"",
        "Bearer error=\"insufficient_scope\", acr_values=\"a\"",
        "Bearer realm=\"error=\\\"insufficient_user_authentication\\\", acr_values=a\"",
    ] {
        let answer = browser.fetch(Method::GET, &challenged_by(challenge)).await;
        assert_eq!((answer.status, answer.header("content-type")), (StatusCode::UNAUTHORIZED, None), "{challenge}");
    }
    let forbidden = saying("acr_values=\"a\"").replace("401", "403");
    assert_eq!(browser.fetch(Method::GET, &forbidden).await.status, StatusCode::FORBIDDEN);
}

/// A call that is answered with the API's own 401, whatever it demands.
async fn is_left_to_the_api(browser: &mut Browser, parameters: &str) {
    let answer = browser.fetch(Method::GET, &saying(parameters)).await;
    assert_eq!((answer.status, answer.header("content-type")), (StatusCode::UNAUTHORIZED, None), "{parameters}");
}

#[tokio::test]
async fn an_api_that_demands_what_it_has_does_not_have_people_log_in_for_ever() {
    let app = ordered().start().await;
    let mut browser = app.logged_in("alice").await;
    app.clock.advance(Duration::from_secs(3));
    is_left_to_the_api(&mut browser, "max_age=\"3600\"").await;
    is_left_to_the_api(&mut browser, "max_age=\"0\"").await;
    is_left_to_the_api(&mut browser, &format!("acr_values=\"{PASSWORD}\"")).await;
    let login_url = demanded(&mut browser, VAULT).await;
    step_up(&mut browser, &login_url, "/").await;
    app.clock.advance(MINUTE);
    // As strong as it gets, whether the API can see it or not.
    for acr in [PASSWORD, SECOND_FACTOR] {
        is_left_to_the_api(&mut browser, &format!("acr_values=\"{acr}\"")).await;
    }
    let login_url = demanded(&mut browser, &saying("max_age=\"0\"")).await;
    step_up(&mut browser, &login_url, "/").await;
    is_left_to_the_api(&mut browser, "max_age=\"0\"").await;
}

#[tokio::test]
async fn a_provider_that_grants_every_acr_does_not_have_people_log_in_for_ever() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    // The provider's word for whatever it is asked for.
    let anything = "acr_values=\"urn:cloakroom:acr:not-asked-for\"";
    let login_url = demanded(&mut browser, &saying(anything)).await;
    app.misbehave(Fault::IdTokenWrongAcr);
    step_up(&mut browser, &login_url, "/").await;
    assert_eq!(browser.user().await["claims"]["acr"], "urn:cloakroom:acr:not-asked-for");
    is_left_to_the_api(&mut browser, anything).await;
}

#[tokio::test]
async fn a_login_that_the_provider_made_of_an_old_one_is_not_recent() {
    let app = ordered().start().await;
    let mut browser = app.logged_in("alice").await;
    app.clock.advance(10 * MINUTE);
    let callback = browser.callback_url("/", "alice").await;
    browser.click(&callback).await;
    demanded(&mut browser, &saying("max_age=\"300\"")).await;
}

#[tokio::test]
async fn nothing_but_the_demand_reaches_the_provider() {
    let app = ordered().start().await;
    let mut browser = app.logged_in("alice").await;
    for acr in ["a&prompt=none", "x%0d%0aLocation:%20https://evil.example", "#", "?&redirect_uri=https://evil.example"]
    {
        let login_url = demanded(&mut browser, &saying(&format!("acr_values=\"{acr}\""))).await;
        assert_eq!(asked(&mut browser, &login_url).await, pairs(&[("acr_values", acr)]));
        let location = browser.step(&login_url).await.header("location").unwrap().to_owned();
        let names: Vec<_> = Url::parse(&location).unwrap().query_pairs().map(|(name, _)| name.into_owned()).collect();
        assert!(!names.contains(&"prompt".to_owned()), "{location}");
        assert_eq!(names.iter().filter(|name| *name == "redirect_uri").count(), 1, "{location}");
    }
}

#[tokio::test]
async fn a_call_without_a_token_demands_nothing_of_anybody() {
    let route = "path = '/api'\ntoken = 'none'\nsession = 'required'";
    let app = ordered().route(route).start().await;
    let mut browser = app.logged_in("alice").await;
    let answer = browser.fetch(Method::GET, &saying("acr_values=\"a\"")).await;
    assert_eq!((answer.status, answer.header("content-type")), (StatusCode::UNAUTHORIZED, None));
}
