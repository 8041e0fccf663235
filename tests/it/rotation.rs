//! Master keys rotate while people work: nobody is logged out, and nobody notices.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use cloakroom::Cloakroom;
use cloakroom::app::{Exchanged, Reloaded};
use cloakroom::config::{Config, LoadOptions};
use cloakroom::store::{Cursor, Keyring, MasterKey};
use http::{HeaderMap, Method, Request, StatusCode};
use tokio::sync::RwLock;
use tokio::task::JoinHandle;
use tower::ServiceExt as _;

use crate::support::{Browser, TestApp};

/// More than a twentieth of the idle time, so that the next use of a session writes it. Two of them and an access token is due.
const TOUCH_DUE: Duration = Duration::from_secs(130);

fn fresh_key() -> String {
    MasterKey::generate().to_base64url().expose().clone()
}

fn id_of(key: &str) -> String {
    Keyring::new(vec![MasterKey::parse(key).unwrap()]).unwrap().key_ids().remove(0)
}

async fn app_with_key(key: &str) -> TestApp {
    TestApp::with().variable("CLOAKROOM_KEY", key).start().await
}

/// Has an app use these keys from now on.
fn rotate(app: &mut TestApp, keys: &[&str]) -> Reloaded {
    app.reload("CLOAKROOM_KEY", &keys.join(",")).unwrap()
}

/// The ids of the keys that anything in the store is sealed under.
async fn ids_at_rest(app: &TestApp) -> Vec<String> {
    let mut ids = Vec::new();
    for listed in app.backend.scan(Cursor::default()).await.unwrap().rows {
        let Some(row) = app.backend.load(listed.key).await.unwrap() else { continue };
        // A format byte, then the key's id.
        let id_in = |blob: &[u8]| format!("{:08x}", u32::from_be_bytes(blob[1..5].try_into().unwrap()));
        ids.extend([&row.session, &row.tokens, &row.card].map(|blob| id_in(blob)));
    }
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// People at work, until they are told to stop. Whoever is not served as usual panics.
#[derive(Default)]
struct Load {
    stop: Arc<AtomicBool>,
    /// Held while somebody logs in: a code lives for a minute, and time leaps.
    arriving: Arc<RwLock<()>>,
    workers: Vec<(Arc<AtomicUsize>, JoinHandle<()>)>,
}

/// One worker's side of it.
struct Shift {
    stop: Arc<AtomicBool>,
    rounds: Arc<AtomicUsize>,
}

impl Shift {
    /// Counts a round that begins.
    fn goes_on(&self) -> bool {
        self.rounds.fetch_add(1, Ordering::SeqCst);
        !self.stop.load(Ordering::SeqCst)
    }
}

/// Uses one session all the time.
async fn stay(mut browser: Browser, shift: Shift) {
    while shift.goes_on() {
        assert!(browser.is_logged_in().await);
        assert_eq!(browser.fetch(Method::GET, "/api/x").await.status, StatusCode::OK);
    }
}

/// Logs in and out.
async fn come_and_go(mut browser: Browser, arriving: Arc<RwLock<()>>, shift: Shift) {
    while shift.goes_on() {
        let time_stays = arriving.read().await;
        let page = browser.log_in("/cart", "alice").await;
        assert_eq!(page.url.path(), "/cart", "{}", page.text());
        drop(time_stays);
        assert_eq!(browser.fetch(Method::GET, "/api/x").await.status, StatusCode::OK);
        assert_eq!(browser.fetch(Method::POST, "/bff/logout").await.status, StatusCode::OK);
    }
}

impl Load {
    async fn start(app: &TestApp) -> Self {
        let mut load = Self::default();
        for number in 0..24 {
            let mut browser = app.browser();
            let login = if number % 4 == 0 { "/bff/login?remember=true" } else { "/bff/login" };
            let callback = browser.callback_url_of(login, ["alice", "bob"][number % 2]).await;
            browser.click(&callback).await;
            load.add(|shift| stay(browser, shift));
        }
        for _ in 0..3 {
            let arriving = load.arriving.clone();
            load.add(|shift| come_and_go(app.browser(), arriving, shift));
        }
        load
    }

    fn add<W: Future<Output = ()> + Send + 'static>(&mut self, work: impl FnOnce(Shift) -> W) {
        let rounds = Arc::new(AtomicUsize::new(0));
        let worker = tokio::spawn(work(Shift { stop: self.stop.clone(), rounds: rounds.clone() }));
        self.workers.push((rounds, worker));
    }

    /// Waits until everybody has begun and finished a round after now.
    async fn another_round(&self) {
        let before: Vec<_> = self.workers.iter().map(|(rounds, _)| rounds.load(Ordering::SeqCst)).collect();
        for ((rounds, worker), before) in self.workers.iter().zip(before) {
            while rounds.load(Ordering::SeqCst) < before + 2 {
                assert!(!worker.is_finished(), "somebody was not served");
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }

    async fn end(self) {
        self.stop.store(true, Ordering::SeqCst);
        for (_, worker) in self.workers {
            worker.await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rotating_twice_under_load_loses_nobody() {
    let keys = [fresh_key(), fresh_key(), fresh_key()];
    let mut app = app_with_key(&keys[0]).await;
    let load = Load::start(&app).await;
    for pair in keys.windows(2) {
        let [old, new] = pair else { unreachable!("windows of two") };
        for ring in [&[old.as_str(), new][..], &[new, old], &[new]] {
            rotate(&mut app, ring);
            // What was under way is over, then everybody's session is written, then their tokens are renewed, too.
            load.another_round().await;
            let nobody_arrives = load.arriving.write().await;
            app.clock.advance(TOUCH_DUE);
            drop(nobody_arrives);
            load.another_round().await;
            if ring[0] == new {
                assert_eq!(ids_at_rest(&app).await, [id_of(new)], "everything is sealed anew");
            }
        }
    }
    let sessions = app.sessions().await;
    load.end().await;
    assert!((24..=27).contains(&sessions), "{sessions} sessions");
    assert!(app.grants("refresh_token") >= 2 * 24, "tokens were renewed meanwhile");
}

#[tokio::test]
async fn the_report_names_keys_by_their_ids() {
    let (old, new) = (fresh_key(), fresh_key());
    let mut app = app_with_key(&old).await;
    let used = vec![id_of(&new), id_of(&old)];
    let reloaded = rotate(&mut app, &[&new, &old]);
    assert_eq!(reloaded.exchanged, [Exchanged::MasterKeys { used: used.clone(), gone: vec![] }]);
    assert_eq!(rotate(&mut app, &[&new, &old]).exchanged, [], "nothing has changed");
    let reloaded = rotate(&mut app, &[&new]);
    assert_eq!(reloaded.exchanged, [Exchanged::MasterKeys { used: used[..1].to_vec(), gone: used[1..].to_vec() }]);
    let told = reloaded.exchanged[0].to_string();
    assert_eq!(told, format!("master keys: {} (the first seals); gone: {}", used[0], used[1]));
    assert!(reloaded.needs_restart.is_empty());
}

#[tokio::test]
async fn what_was_begun_under_the_old_key_is_finished_after_a_rotation() {
    let (old, new) = (fresh_key(), fresh_key());
    let mut app = app_with_key(&old).await;
    let mut arriving = app.browser();
    let callback = arriving.callback_url("/cart#x", "alice").await;

    // A login whose attempt is lost finds its way by the destination that travels with the state.
    let mut returning = app.logged_in("bob").await;
    let session = returning.cookies.clone();
    let lost = returning.callback_url("/orders", "bob").await;
    returning.cookies = session;

    let mut leaving = app.logged_in("alice").await;
    let handle = leaving.fetch(Method::POST, "/bff/logout").await.json()["redirect_to"].as_str().unwrap().to_owned();

    rotate(&mut app, &[&new, &old]);
    assert_eq!(arriving.click(&callback).await.url.as_str(), format!("{}/cart#x", app.url));
    assert!(arriving.is_logged_in().await);
    assert_eq!(returning.click(&lost).await.url.path(), "/orders");
    let left = leaving.step(&handle).await;
    assert!(left.header("location").unwrap().starts_with(&format!("{}/end_session?", app.provider.issuer())));
}

#[tokio::test]
async fn a_response_that_was_parked_under_the_old_key_is_found_after_a_rotation() {
    let (old, new) = (fresh_key(), fresh_key());
    let setup = TestApp::with().variable("CLOAKROOM_RESPONSE_MODE", "form_post").variable("CLOAKROOM_KEY", &old);
    let mut app = setup.start().await;
    let mut browser = app.browser();
    let login = browser.step("/bff/login?return_to=/cart").await;
    let request = url::Url::parse(login.header("location").unwrap()).unwrap();
    let (_, state) = request.query_pairs().find(|(name, _)| name == "state").unwrap();
    let parked = browser.post_form("/bff/callback", &[("state", &state), ("error", "access_denied")]).await;
    rotate(&mut app, &[&new, &old]);
    let found = browser.step(parked.header("refresh").unwrap().split_once("url=").unwrap().1).await;
    assert_eq!(found.page_slug(), "login-response-invalid");
    assert!(found.cause().contains("issuer"), "it was read: {}", found.cause());
}

#[tokio::test]
async fn a_key_that_goes_too_early_ends_nobody() {
    let (old, new) = (fresh_key(), fresh_key());
    let mut app = app_with_key(&old).await;
    let mut browser = app.logged_in("alice").await;
    let session = browser.session().cloned();
    let reloaded = rotate(&mut app, &[&new]);
    assert_eq!(reloaded.exchanged, [Exchanged::MasterKeys { used: vec![id_of(&new)], gone: vec![id_of(&old)] }]);
    for (method, path) in [(Method::GET, "/bff/user"), (Method::GET, "/api/x"), (Method::POST, "/bff/logout")] {
        let page = browser.fetch(method, path).await;
        assert_eq!((page.status, page.problem().as_str()), (StatusCode::SERVICE_UNAVAILABLE, "unavailable"), "{path}");
    }
    let cause = browser.fetch(Method::GET, "/bff/user").await.cause();
    assert!(cause.contains(&id_of(&old)), "the log names the key: {cause}");
    assert_eq!((browser.session().cloned(), app.sessions().await), (session, 1));
    rotate(&mut app, &[&new, &old]);
    assert!(browser.is_logged_in().await);
}

/// A second Cloakroom over the store of a [`TestApp`].
struct Replica {
    cloakroom: Cloakroom,
    sources: LoadOptions,
}

impl Replica {
    async fn of(app: &TestApp, key: &str) -> Self {
        let (cloakroom, sources) = app.replica(&[("CLOAKROOM_KEY", key)]).await;
        Self { cloakroom, sources }
    }

    fn rotate(&self, keys: &[&str]) {
        let config = Config::load(&self.sources.clone().variable("CLOAKROOM_KEY", keys.join(","))).unwrap();
        self.cloakroom.reload(config).unwrap();
    }

    /// What a browser's call is answered here.
    async fn answer(&self, browser: &Browser, method: Method, path: &str) -> (StatusCode, HeaderMap, Vec<u8>) {
        let home = &browser.home;
        let names = browser.cookies.names("localhost");
        let cookies =
            names.iter().map(|name| format!("{name}={}", browser.cookies.of("localhost", name).unwrap().value));
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", format!("localhost:{}", home.port().unwrap()))
            .header("origin", home.origin().ascii_serialization())
            .header("sec-fetch-site", "same-origin")
            .header("sec-fetch-mode", "cors")
            .header("x-csrf", "1")
            .header("cookie", cookies.collect::<Vec<_>>().join("; "))
            .extension(ConnectInfo(SocketAddr::from(([127, 0, 0, 1], 1))))
            .body(Body::empty());
        let answer = self.cloakroom.router().oneshot(request.unwrap()).await.unwrap();
        let (head, body) = answer.into_parts();
        (head.status, head.headers, axum::body::to_bytes(body, 1 << 20).await.unwrap().to_vec())
    }

    async fn serves(&self, browser: &Browser) {
        let (status, _, body) = self.answer(browser, Method::GET, "/bff/user").await;
        let user: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!((status, &user["authenticated"]), (StatusCode::OK, &true.into()), "{user}");
        assert_eq!(self.answer(browser, Method::GET, "/api/x").await.0, StatusCode::OK);
    }
}

#[tokio::test]
async fn replicas_that_rotate_one_after_the_other_serve_everybody() {
    let (old, new) = (fresh_key(), fresh_key());
    let mut app = app_with_key(&old).await;
    let other = Replica::of(&app, &old).await;
    let mut browsers = Vec::new();
    for ring in [&[old.as_str(), &new][..], &[&new, &old], &[&new]] {
        browsers.push(app.logged_in("alice").await);
        rotate(&mut app, ring);
        for rotated in [false, true] {
            if rotated {
                other.rotate(ring);
            }
            browsers.push(app.logged_in("bob").await);
            for browser in &mut browsers {
                app.clock.advance(TOUCH_DUE / 4);
                assert!(browser.is_logged_in().await);
                other.serves(browser).await;
                assert_eq!(browser.fetch(Method::GET, "/api/x").await.status, StatusCode::OK);
            }
        }
        // Everybody is seen once more by replicas that agree, before the next step is made.
        app.clock.advance(TOUCH_DUE);
        for browser in &browsers {
            other.serves(browser).await;
        }
    }
    assert_eq!(ids_at_rest(&app).await, [id_of(&new)]);
    assert_eq!(app.sessions().await, browsers.len());
}

#[tokio::test]
async fn a_replica_that_does_not_know_a_key_yet_is_unavailable_and_heals() {
    let (old, new) = (fresh_key(), fresh_key());
    let mut app = app_with_key(&old).await;
    let behind = Replica::of(&app, &old).await;
    rotate(&mut app, &[&new, &old]);
    let mut browser = app.logged_in("alice").await;
    for (method, path) in [(Method::GET, "/bff/user"), (Method::GET, "/api/x"), (Method::POST, "/bff/logout")] {
        let (status, headers, _) = behind.answer(&browser, method, path).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert_eq!(headers["retry-after"], "2");
        assert!(!headers.contains_key("set-cookie"), "cookies stay");
    }
    assert!(browser.is_logged_in().await, "the session is untouched");
    behind.rotate(&[&old, &new]);
    behind.serves(&browser).await;
}
