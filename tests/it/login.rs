//! A person logs in and comes back to the page they wanted.

use cloakroom::demo::faults::Fault;
use cloakroom::demo::idp::{PASSWORD, SECOND_FACTOR};
use futures_util::future::join_all;
use http::{Method, StatusCode};
use std::time::Duration;
use url::form_urlencoded;

use crate::support::{Browser, TestApp};

#[tokio::test]
async fn a_person_logs_in_and_is_who_they_are() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    assert_eq!(browser.user().await, serde_json::json!({"authenticated": false, "login_url": "/bff/login"}));
    let page = browser.log_in("/", "alice").await;
    assert_eq!(page.url.as_str(), format!("{}/", app.url));
    let user = browser.user().await;
    assert_eq!(user["authenticated"], true);
    assert_eq!(user["sub"], "248289761001");
    assert_eq!(user["claims"]["name"], "Alice Adler");
    assert_eq!(user["claims"]["email"], "alice@example.com");
    for protocol_claim in ["sid", "nonce", "at_hash", "iss", "aud", "exp", "sub"] {
        assert!(user["claims"].get(protocol_claim).is_none(), "{protocol_claim}");
    }
    assert_eq!(app.sessions().await, 1);
}

#[tokio::test]
async fn a_deep_link_comes_back_byte_for_byte() {
    let app = TestApp::start().await;
    for return_to in ["/cart?x=1&y=%2F#/a?b=%2F", "/?q=a+b%20c", "/orders/7;v=1?next=https://evil.example/#frag"] {
        let page = app.browser().log_in(return_to, "alice").await;
        assert_eq!(page.url.as_str(), format!("{}{return_to}", app.url));
    }
}

#[tokio::test]
async fn after_the_login_neither_code_nor_state_is_left_in_any_address() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let page = browser.log_in("/cart", "alice").await;
    assert!(page.url.query().is_none());
    let last = browser.history.last().unwrap();
    assert!(!last.headers.contains_key("referer"));
    assert_eq!(page.status, StatusCode::OK);
}

#[tokio::test]
async fn the_request_to_the_provider_is_the_whole_protocol() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let answer = browser.step("/bff/login?return_to=/cart").await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    let location = url::Url::parse(answer.header("location").unwrap()).unwrap();
    let parameter =
        |name: &str| location.query_pairs().find(|(found, _)| found == name).map(|(_, value)| value.into_owned());
    assert_eq!(parameter("response_type").as_deref(), Some("code"));
    assert_eq!(parameter("code_challenge_method").as_deref(), Some("S256"));
    assert_eq!(parameter("code_challenge").unwrap().len(), 43);
    assert_eq!(parameter("redirect_uri"), Some(format!("{}/bff/callback", app.url)));
    assert_eq!(parameter("scope").as_deref(), Some("openid profile email offline_access"));
    assert!(parameter("nonce").unwrap().len() >= 43 && parameter("state").unwrap().len() >= 43);
    let again = browser.step("/bff/login").await;
    let again = url::Url::parse(again.header("location").unwrap()).unwrap();
    for name in ["state", "nonce", "code_challenge"] {
        let other = again.query_pairs().find(|(found, _)| found == name).map(|(_, value)| value.into_owned());
        assert_ne!(parameter(name), other, "{name}");
    }
}

#[tokio::test]
async fn the_first_request_of_the_callback_consumes_nothing() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let callback = browser.callback_url("/cart", "alice").await;
    for _ in 0..3 {
        let hop = browser.step_from(app.provider.issuer(), &callback).await;
        assert_eq!(hop.status, StatusCode::OK);
        assert_eq!(hop.header("content-security-policy"), Some("default-src 'none'; frame-ancestors 'none'"));
        assert_eq!(hop.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(hop.header("cache-control"), Some("no-store"));
        assert!(hop.header("refresh").unwrap().starts_with("0; url=/bff/callback?"));
        assert!(hop.header("set-cookie").is_none());
    }
    assert_eq!(app.grants("authorization_code"), 0);
    let page = browser.click(&callback).await;
    assert_eq!(page.url.path(), "/cart");
}

#[tokio::test]
async fn the_session_cookie_is_strict_and_bare() {
    let app = TestApp::start().await;
    let browser = app.logged_in("alice").await;
    let cookie = browser.session().unwrap();
    assert_eq!(cookie.same_site.as_deref(), Some("Strict"));
    assert!(cookie.http_only && !cookie.secure);
    assert_eq!((cookie.path.as_deref(), &cookie.domain, cookie.max_age), (Some("/"), &None, None));
    assert_eq!(cookie.value.len(), 22);
    let names = browser.cookies.names("localhost");
    assert_eq!(names.len(), 1, "the attempt is gone: {names:?}");
}

#[tokio::test]
async fn remember_me_outlives_the_browser() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let callback = browser.callback_url_of("/bff/login?remember=true", "alice").await;
    browser.click(&callback).await;
    let days = |seconds: i64| seconds / 86_400;
    assert_eq!(browser.session().unwrap().max_age.map(days), Some(30));
}

#[tokio::test]
async fn a_login_gives_a_new_id_whatever_the_browser_brought() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let first = browser.session().unwrap().value.clone();
    app.clock.advance(Duration::from_secs(5));
    browser.log_in("/", "alice").await;
    assert_ne!(browser.session().unwrap().value, first);
    assert_eq!(app.sessions().await, 1);
}

#[tokio::test]
async fn a_replaced_session_answers_ten_more_seconds_and_never_refreshes() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let mut old_tab = browser.tab();
    app.clock.advance(Duration::from_secs(5));
    browser.log_in("/", "alice").await;
    assert!(old_tab.is_logged_in().await);
    assert_eq!(old_tab.fetch(Method::GET, "/api/x").await.status, StatusCode::OK);
    app.clock.advance(Duration::from_secs(296));
    assert_eq!(old_tab.fetch(Method::GET, "/api/x").await.problem(), "session-expired");
    assert_eq!(app.grants("refresh_token"), 0);
    // Replacing somebody's own session does not revoke: that would end the new tokens too at many providers.
    assert!(app.calls("/revoke").is_empty());
}

#[tokio::test]
async fn another_person_in_the_same_browser_ends_the_first_ones_session() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let mut old_tab = browser.tab();
    app.provider.end_sso_sessions();
    app.clock.advance(Duration::from_secs(5));
    browser.log_in("/", "bob").await;
    assert_eq!(browser.user().await["claims"]["name"], "Bob Baker");
    assert!(!old_tab.is_logged_in().await);
    assert_eq!(old_tab.fetch(Method::GET, "/api/x").await.problem(), "session-expired");
    app.eventually(|app| app.calls("/revoke").len() == 1).await;
    assert_eq!(app.sessions().await, 1);
}

#[tokio::test]
async fn twenty_tabs_one_after_the_other_each_come_to_their_own_page() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let mut callbacks = Vec::new();
    for tab in 0..20 {
        callbacks.push((tab, browser.callback_url(&format!("/tab/{tab}#here"), "alice").await));
    }
    for (tab, callback) in callbacks {
        let page = browser.click(&callback).await;
        assert_eq!(page.url.as_str(), format!("{}/tab/{tab}#here", app.url));
    }
    assert_eq!(app.sessions().await, 1);
    assert_eq!(app.grants("authorization_code"), 1);
}

#[tokio::test]
async fn twenty_tabs_at_once_come_to_their_own_pages_with_one_session() {
    let app = TestApp::start().await;
    // All of them ask before any answer sets a cookie: each takes a slot at random, and some overwrite others.
    let mut tabs: Vec<Browser> = (0..20).map(|_| app.browser()).collect();
    let callbacks = join_all(
        tabs.iter_mut()
            .enumerate()
            .map(|(n, tab)| async move { tab.callback_url(&format!("/tab/{n}"), "alice").await }),
    )
    .await;
    let jar = tabs.iter().fold(support_jar(), |mut jar, tab| {
        jar.0.extend(tab.cookies.0.clone());
        jar
    });
    let shared = std::sync::Arc::new(std::sync::Mutex::new(jar));
    let pages = join_all(callbacks.into_iter().enumerate().map(|(n, callback)| {
        let mut tab = app.browser();
        tab.share(shared.clone());
        async move { (n, tab.click(&callback).await) }
    }))
    .await;
    for (n, page) in pages {
        assert_eq!(page.url.path(), format!("/tab/{n}"), "{} {}", page.status, page.text());
    }
    assert_eq!(app.sessions().await, 1);
}

fn support_jar() -> crate::support::browser::Jar {
    crate::support::browser::Jar::default()
}

#[tokio::test]
async fn a_replayed_callback_makes_no_second_token_call() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let callback = browser.callback_url("/cart", "alice").await;
    let mut copy = browser.tab();
    browser.click(&callback).await;
    assert_eq!(app.grants("authorization_code"), 1);
    // With the session: on to the page. Without it: a page that says so.
    assert_eq!(browser.click(&callback).await.url.path(), "/cart");
    assert_eq!(copy.click(&callback).await.page_slug(), "login-expired");
    assert_eq!(app.grants("authorization_code"), 1);
    assert_eq!(app.sessions().await, 1);
}

#[tokio::test]
async fn parallel_callbacks_with_one_state_make_one_token_call() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let callback = browser.callback_url("/cart", "alice").await;
    let mut copies: Vec<Browser> = (0..10).map(|_| browser.tab()).collect();
    join_all(copies.iter_mut().map(|copy| copy.click(&callback))).await;
    assert_eq!(app.grants("authorization_code"), 1);
    assert_eq!(app.sessions().await, 1);
}

#[tokio::test]
async fn an_old_attempt_is_over() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let callback = browser.callback_url("/cart", "alice").await;
    app.clock.advance(Duration::from_hours(1));
    let page = browser.click(&callback).await;
    assert_eq!((page.status, page.page_slug().as_str()), (StatusCode::BAD_REQUEST, "login-expired"));
    assert!(page.text().contains("/bff/login?return_to=%2Fcart"), "start again leads to the same page");
    assert_eq!(app.grants("authorization_code"), 0);
}

#[tokio::test]
async fn a_callback_in_another_browser_is_refused_before_any_call() {
    let app = TestApp::start().await;
    let callback = app.browser().callback_url("/cart", "alice").await;
    let page = app.browser().click(&callback).await;
    assert_eq!(page.page_slug(), "login-expired");
    assert_eq!(app.grants("authorization_code"), 0);
    assert_eq!(app.sessions().await, 0);
}

#[tokio::test]
async fn a_form_post_response_is_parked_until_the_hop() {
    let app = TestApp::with().variable("CLOAKROOM_RESPONSE_MODE", "form_post").start().await;
    let mut browser = app.browser();
    let page = browser.log_in("/cart#x", "alice").await;
    assert_eq!(page.url.as_str(), format!("{}/cart#x", app.url));
    let hops: Vec<_> = browser.history.iter().filter(|asked| asked.url.path() == "/bff/callback").collect();
    assert_eq!(hops[0].method, Method::POST);
    let hop = hops[1].url.query().unwrap();
    assert!(!hop.contains("code") && hop.contains("state=") && hop.ends_with("&hop=1"), "{hop}");
    assert_eq!(browser.cookies.names("localhost").len(), 1);
}

#[tokio::test]
async fn a_form_of_3_kib_is_parked_and_a_larger_one_refused() {
    let app = TestApp::with().variable("CLOAKROOM_RESPONSE_MODE", "form_post").start().await;
    let mut browser = app.browser();
    let login = browser.step("/bff/login?return_to=/cart").await;
    let request = url::Url::parse(login.header("location").unwrap()).unwrap();
    let (_, state) = request.query_pairs().find(|(name, _)| name == "state").unwrap();
    let empty =
        form_urlencoded::Serializer::new(String::new()).append_pair("state", &state).append_pair("code", "").finish();
    let room = 3 * 1024 - empty.len();
    let fits = browser.post_form("/bff/callback", &[("state", &state), ("code", &"c".repeat(room))]).await;
    assert_eq!(fits.status, StatusCode::OK);
    let parked = browser.step(fits.header("refresh").unwrap().split_once("url=").unwrap().1).await;
    assert_eq!(parked.page_slug(), "login-response-invalid", "it was found: the provider promises an issuer");
    let page = browser.post_form("/bff/callback", &[("state", &state), ("code", &"c".repeat(room + 1))]).await;
    assert_eq!(page.page_slug(), "login-response-invalid");
}

#[tokio::test]
async fn only_pages_of_this_frontend_can_be_returned_to() {
    let app = TestApp::start().await;
    for return_to in [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "/api/orders",
        "/bff/logout?sid=1",
        "/..//evil.example",
        "",
    ] {
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("return_to", return_to).finish();
        for parameter in [query.clone(), query.replace("return_to", "target_link_uri")] {
            let page = app.browser().step(&format!("/bff/login?{parameter}")).await;
            assert_eq!(page.page_slug(), "return-to-not-allowed", "{return_to}");
            assert!(page.header("set-cookie").is_none());
        }
    }
}

#[tokio::test]
async fn a_login_can_be_started_by_the_provider() {
    let app = TestApp::start().await;
    let issuer = app.provider.issuer().to_owned();
    let query = form_urlencoded::Serializer::new(String::new())
        .append_pair("iss", &issuer)
        .append_pair("target_link_uri", &format!("{}/cart#x", app.url))
        .append_pair("login_hint", "alice")
        .finish();
    let mut browser = app.browser();
    let page = browser.click_from(&issuer, &format!("/bff/login?{query}")).await;
    let page = browser.sign_in(&page, "alice").await;
    assert_eq!(page.url.as_str(), format!("{}/cart#x", app.url));
    let by_post = app.browser().post_form("/bff/login", &[("iss", &issuer)]).await;
    assert_eq!(by_post.status, StatusCode::SEE_OTHER);
    let stranger = app.browser().step("/bff/login?iss=https://evil.example").await;
    assert_eq!(stranger.page_slug(), "unknown-issuer");
}

#[tokio::test]
async fn a_login_link_sets_only_what_was_allowed() {
    let app = TestApp::start().await;
    for query in [
        "login_hint=alice",
        "ui_locales=de",
        "x=1",
        "prompt=none%20login",
        "prompt=banana",
        "max_age=soon",
        "remember=maybe",
        "prompt=",
    ] {
        let page = app.browser().step(&format!("/bff/login?{query}")).await;
        assert_eq!(page.page_slug(), "login-parameter-not-allowed", "{query}");
    }
    let allowed = app.browser().step("/bff/login?prompt=login&max_age=60&acr_values=mfa").await;
    let location = allowed.header("location").unwrap();
    for sent in ["prompt=login", "max_age=60", "acr_values=mfa"] {
        assert!(location.contains(sent), "{location}");
    }
}

#[tokio::test]
async fn a_refused_login_says_so_and_opens_nothing() {
    let app = TestApp::start().await;
    app.misbehave(Fault::AuthorizationError("access_denied"));
    let mut browser = app.browser();
    let page = browser.log_in("/", "alice").await;
    assert_eq!((page.status, page.page_slug().as_str()), (StatusCode::FORBIDDEN, "login-refused"));
    assert!(page.text().contains("access_denied"));
    assert_eq!(app.grants("authorization_code"), 0);
    assert!(browser.cookies.names("localhost").is_empty(), "the attempt is of no more use");
}

#[tokio::test]
async fn a_silent_login_that_needs_somebody_goes_back_to_the_page() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let page = browser.click("/bff/login?prompt=none&return_to=/cart%3Fx%3D1%23y").await;
    assert_eq!(page.url.as_str(), format!("{}/cart?x=1&login_error=login_required#y", app.url));
    assert_eq!(app.sessions().await, 0);
}

#[tokio::test]
async fn a_silent_login_is_answered_to_the_page_whatever_the_provider_wants_to_ask() {
    let app = TestApp::start().await;
    for code in ["login_required", "interaction_required", "consent_required", "account_selection_required"] {
        app.provider.faults().clear_all();
        app.misbehave(Fault::AuthorizationError(code));
        let mut browser = app.browser();
        let page = browser.click("/bff/login?prompt=none&return_to=/%23deep/link").await;
        assert_eq!(page.url.as_str(), format!("{}/?login_error={code}#deep/link", app.url));
        assert!(browser.cookies.names("localhost").is_empty(), "the attempt is of no more use");
    }
    app.provider.faults().clear_all();
    app.misbehave(Fault::AuthorizationError("access_denied"));
    assert_eq!(app.browser().click("/bff/login?prompt=none").await.page_slug(), "login-refused");
}

#[tokio::test]
async fn a_silent_login_that_fails_again_says_so_once() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    let mut page = browser.click("/bff/login?prompt=none&return_to=/cart%3Fx%3D1%23y").await;
    for _ in 0..3 {
        let here = format!("{}?{}#y", page.url.path(), page.url.query().unwrap());
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("return_to", &here).finish();
        page = browser.click(&format!("/bff/login?prompt=none&{query}")).await;
        assert_eq!(page.url.as_str(), format!("{}/cart?x=1&login_error=login_required#y", app.url));
    }
    let requests = browser.history.iter().filter(|asked| asked.url.path() == "/authorize").count();
    assert_eq!(requests, 4, "one for each link: nothing starts a login by itself");
}

#[tokio::test]
async fn a_silent_login_that_fails_leaves_the_session_alone() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let before = (browser.session().cloned(), browser.user().await);
    app.provider.end_sso_sessions();
    app.clock.advance(Duration::from_secs(5));
    let page = browser.click("/bff/login?prompt=none&return_to=/cart").await;
    assert_eq!(page.url.query(), Some("login_error=login_required"));
    let after = browser.user().await;
    assert_eq!((browser.session().cloned(), &after["session"]["tag"]), (before.0, &before.1["session"]["tag"]));
    assert_eq!(app.grants("authorization_code"), 1);
}

#[tokio::test]
async fn a_silent_login_of_somebody_who_is_known_asks_nothing() {
    let app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    browser.fetch(Method::POST, "/bff/logout?local=true").await;
    let page = browser.click("/bff/login?prompt=none&return_to=/cart").await;
    assert_eq!(page.url.as_str(), format!("{}/cart", app.url));
    assert!(browser.is_logged_in().await);
}

#[tokio::test]
async fn a_silent_login_by_form_comes_back_the_same_way() {
    let app = TestApp::with().variable("CLOAKROOM_RESPONSE_MODE", "form_post").start().await;
    let page = app.browser().click("/bff/login?prompt=none&return_to=/cart").await;
    assert_eq!(page.url.as_str(), format!("{}/cart?login_error=login_required", app.url));
}

#[tokio::test]
async fn a_silent_login_that_fails_holds_up_no_other_tab() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    // The older attempt gives the election its name, so both tabs stand for the same one.
    let ordinary = browser.callback_url("/ordinary", "alice").await;
    app.provider.end_sso_sessions();
    app.clock.advance(Duration::from_secs(1));
    let silent = browser.callback_url_of("/bff/login?prompt=none&return_to=/silent", "alice").await;
    assert_eq!(browser.click(&silent).await.url.query(), Some("login_error=login_required"));
    assert_eq!(browser.click(&ordinary).await.url.path(), "/ordinary");
    let hops = browser.history.iter().filter(|asked| asked.url.query().is_some_and(|query| query.contains("&hop=2")));
    assert_eq!(hops.count(), 0);
}

#[tokio::test]
async fn a_link_prompts_nobody_unless_that_was_allowed() {
    let app = TestApp::with().variable("CLOAKROOM_ALLOWED_LOGIN_PARAMETERS", "").start().await;
    for prompt in ["none", "login", "consent"] {
        let page = app.browser().step(&format!("/bff/login?prompt={prompt}")).await;
        assert_eq!(page.page_slug(), "login-parameter-not-allowed", "{prompt}");
    }
}

#[tokio::test]
async fn a_step_down_never_replaces_a_stronger_session() {
    let app = TestApp::with()
        .variable("CLOAKROOM__PROVIDERS__DEFAULT__ACR_ORDER", &format!("{PASSWORD},{SECOND_FACTOR}"))
        .start()
        .await;
    let mut browser = app.browser();
    let page = browser.click(&format!("/bff/login?acr_values={SECOND_FACTOR}")).await;
    let page = browser.sign_in(&page, "alice").await;
    browser.submit(&page, &[]).await;
    assert_eq!(browser.user().await["claims"]["acr"], SECOND_FACTOR);
    let before = browser.session().unwrap().value.clone();
    app.provider.end_sso_sessions();
    app.clock.advance(Duration::from_secs(5));
    let callback = browser.callback_url_of("/bff/login?prompt=login", "alice").await;
    let page = browser.click(&callback).await;
    assert_eq!(page.page_slug(), "login-refused");
    assert_eq!(browser.session().unwrap().value, before);
    assert!(browser.is_logged_in().await);
}

#[tokio::test]
async fn abandoned_logins_do_not_pile_up_in_the_browser() {
    let app = TestApp::start().await;
    let mut browser = app.browser();
    for n in 0..200 {
        browser.step(&format!("/bff/login?return_to=/{n}-{}", "long".repeat(50))).await;
    }
    let names = browser.cookies.names("localhost");
    let bytes: usize =
        names.iter().map(|name| name.len() + browser.cookies.of("localhost", name).unwrap().value.len()).sum();
    assert!(names.len() <= 20 && bytes <= 12 * 1024, "{} cookies, {bytes} bytes", names.len());
    assert_eq!(browser.log_in("/cart", "alice").await.url.path(), "/cart");
    assert_eq!(app.sessions().await, 1);
}

#[tokio::test]
async fn odd_characters_in_the_secret_arrive() {
    let app = TestApp::with().client_secret("s:%c r/ü+&=\"'").start().await;
    assert!(app.logged_in("alice").await.is_logged_in().await);
}

#[tokio::test]
async fn sparse_and_oddly_spelt_token_answers_are_understood() {
    let app = TestApp::start().await;
    app.misbehave(Fault::TokenWithoutExpiresIn).misbehave(Fault::TokenWithoutScope).misbehave(Fault::TokenTypeOddCase);
    let mut browser = app.logged_in("alice").await;
    assert_eq!(browser.fetch(Method::GET, "/api/x").await.status, StatusCode::OK);
    app.clock.advance(Duration::from_secs(1700));
    assert_eq!(browser.fetch(Method::GET, "/api/x").await.status, StatusCode::OK);
    assert_eq!(app.grants("refresh_token"), 0, "a token without a known end is not renewed on a guess");
}

#[tokio::test]
async fn signed_userinfo_is_believed() {
    let app = TestApp::start().await;
    app.misbehave(Fault::UserinfoSigned);
    assert_eq!(app.logged_in("alice").await.user().await["claims"]["name"], "Alice Adler");
}
