//! Several tabs that step up, and a store that is away at the wrong moment.

use std::sync::Mutex;

use cloakroom::demo::faults::{self, Endpoint};
use cloakroom::store::{FlakyBackend, MemoryBackend, Outage};
use futures_util::future::join_all;

use super::*;

#[tokio::test]
async fn twenty_tabs_that_step_up_make_one_new_session() {
    let app = ordered().start().await;
    let mut browser = app.logged_in("alice").await;
    let mut login_urls = Vec::new();
    for _ in 0..20 {
        login_urls.push(demanded(&mut browser, VAULT).await);
    }
    let mut callbacks = Vec::new();
    for (n, login_url) in login_urls.iter().enumerate() {
        let login = format!("{login_url}&return_to=/tab/{n}");
        callbacks.push(browser.callback_url_of(&login, "alice").await);
    }
    let (before, jar) = (app.grants("authorization_code"), Arc::new(Mutex::new(browser.cookies.clone())));
    let pages = join_all(callbacks.into_iter().map(|callback| {
        let mut tab = app.browser();
        tab.share(jar.clone());
        async move { tab.click(&callback).await }
    }))
    .await;
    for (n, page) in pages.iter().enumerate() {
        assert_eq!(page.url.path(), format!("/tab/{n}"), "{} {}", page.status, page.text());
    }
    assert_eq!(app.grants("authorization_code"), before + 1);
    assert_eq!(app.sessions().await, 1);
}

#[tokio::test]
async fn a_step_up_that_another_tab_has_made_is_not_made_again() {
    let app = ordered().start().await;
    let mut browser = app.logged_in("alice").await;
    let login_url = demanded(&mut browser, VAULT).await;
    let first = browser.callback_url_of(&format!("{login_url}&return_to=/one"), "alice").await;
    let second = browser.callback_url_of(&format!("{login_url}&return_to=/two"), "alice").await;
    assert_eq!(browser.click(&first).await.url.path(), "/one");
    let (after, codes) = (browser.session().cloned(), app.grants("authorization_code"));
    assert_eq!(browser.click(&second).await.url.path(), "/two");
    assert_eq!((browser.session().cloned(), app.grants("authorization_code")), (after, codes));
    assert!(passes(&mut browser, VAULT).await);
}

#[tokio::test]
async fn a_step_up_is_not_answered_by_a_login_that_came_before_it() {
    let app = ordered().start().await;
    let mut browser = app.logged_in("alice").await;
    let login_url = demanded(&mut browser, VAULT).await;
    step_up(&mut browser, &login_url, "/").await;
    app.clock.advance(MINUTE);
    let before = browser.session().cloned();
    step_up(&mut browser, &login_url, "/").await;
    assert_ne!(browser.session().cloned(), before, "who asks for a new token gets one");
}

#[tokio::test]
async fn an_ordinary_login_under_way_is_answered_by_a_step_up() {
    let app = ordered().start().await;
    let mut browser = app.logged_in("alice").await;
    app.clock.advance(MINUTE);
    let plain = browser.callback_url("/plain", "alice").await;
    let login_url = demanded(&mut browser, VAULT).await;
    step_up(&mut browser, &login_url, "/").await;
    let before = browser.session().cloned();
    assert_eq!(browser.click(&plain).await.url.path(), "/plain");
    assert_eq!(browser.session().cloned(), before);
}

/// Has a callback wait for the provider's tokens, while `meanwhile` happens.
async fn while_tokens_are_on_their_way<T>(
    app: &TestApp,
    mut tab: Browser,
    callback: String,
    meanwhile: impl Future<Output = T>,
) -> (Page, T) {
    let (held, before) = (Fault::Endpoint(Endpoint::Token, faults::Outage::Held), app.grants("authorization_code"));
    app.misbehave(held);
    let waiting = tokio::spawn(async move { tab.click(&callback).await });
    app.eventually(|app| app.grants("authorization_code") > before).await;
    let happened = meanwhile.await;
    app.provider.faults().clear_all();
    (waiting.await.unwrap(), happened)
}

#[tokio::test]
async fn a_session_that_its_owner_ends_meanwhile_is_not_brought_back_by_a_step_up() {
    let app = ordered().start().await;
    let mut browser = app.browser();
    let callback = browser.callback_url_of("/bff/login?remember=true", "alice").await;
    browser.click(&callback).await;
    let session = browser.user().await["session"].clone();
    app.clock.advance(MINUTE);
    let mut elsewhere = app.logged_in("alice").await;
    let login_url = demanded(&mut browser, VAULT).await;
    let callback = browser.callback_url_of(&format!("{login_url}&return_to=/vault"), "alice").await;
    let (mut tab, jar) = (browser.tab(), Arc::new(Mutex::new(browser.cookies.clone())));
    tab.share(jar.clone());
    let path = format!("/bff/sessions/{}", session["tag"].as_str().unwrap());
    let ended = elsewhere.fetch(Method::DELETE, &path);
    let (page, ended) = while_tokens_are_on_their_way(&app, tab, callback, ended).await;
    assert_eq!((ended.status, page.url.path()), (StatusCode::NO_CONTENT, "/vault"));
    browser.share(jar);
    let user = browser.user().await;
    assert_eq!(user["claims"]["acr"], SECOND_FACTOR);
    assert_ne!(user["session"]["created_at"], session["created_at"], "an ordinary login");
    assert_eq!(browser.session().unwrap().max_age, None, "of somebody who is not remembered");
}

#[tokio::test]
async fn a_store_that_is_away_costs_neither_the_session_nor_the_step_up() {
    let backend = Arc::new(FlakyBackend::new(Arc::new(MemoryBackend::new())));
    let app = ordered().backend(backend.clone()).start().await;
    let mut browser = app.logged_in("alice").await;
    let login_url = demanded(&mut browser, VAULT).await;
    let callback = browser.callback_url_of(&format!("{login_url}&return_to=/vault"), "alice").await;
    let before = browser.session().cloned();
    backend.set(Outage::Unavailable);
    assert_eq!(browser.click(&callback).await.page_slug(), "unavailable");
    assert_eq!(browser.fetch(Method::GET, VAULT).await.problem(), "unavailable");
    assert_eq!(browser.session().cloned(), before);
    backend.set(Outage::None);
    let back =
        tokio::time::timeout(Duration::from_secs(5), async { while !passes(&mut browser, "/bff/user").await {} });
    back.await.expect("the store is back, and nobody notices");
    assert_eq!(browser.click(&callback).await.url.path(), "/vault");
    assert!(passes(&mut browser, VAULT).await);
    assert_eq!(app.sessions().await, 1);
}
