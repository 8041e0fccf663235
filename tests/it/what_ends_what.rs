//! Three sessions live side by side: ours, the grant that a refresh token stands for, and the provider's. What ends which of them, and
//! what open tabs are told: a row for each event, as the table at the top of `docs/architecture.md` has them. Every row holds on every
//! store: those that are servers have this file in `tests/real`.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cloakroom::demo::faults::{Endpoint, Fault, Outage};
use cloakroom::store::{self, Cursor, FlakyBackend, SessionBackend};
use http::{Method, Request, StatusCode, header};
use tower::ServiceExt as _;
use url::form_urlencoded;

use self::{Ours::*, ProviderSession::*, RefreshToken::*};
use crate::stores::on_each_store;
use crate::support::app::Setup;
use crate::support::{Browser, EventSource, TestApp, WebSocket, client, web_socket};

/// What becomes of the session that was here before the event, and of every stream that it has opened to an API: cut when it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ours {
    Ended,
    /// Answers for ten seconds more.
    Replaced,
    Kept,
}

/// What becomes of the refresh token it had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RefreshToken {
    /// The provider was told to forget it.
    Revoked,
    /// Nobody has it any more, and the provider was not told.
    Discarded,
    /// The provider does not take it any more, by itself.
    Gone,
    /// It renews our session's tokens.
    Renews,
    /// There was none.
    Nothing,
}

/// What becomes of the provider's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ProviderSession {
    Over,
    LivesOn,
}

/// What an open tab is told.
type Tabs = &'static str;

/// The right side of a row.
type Outcome = (Ours, RefreshToken, ProviderSession, Tabs);

/// Alice is logged in, and something happens.
struct World {
    app: TestApp,
    store: Arc<FlakyBackend>,
    /// Where it happens.
    browser: Browser,
    /// The provider's session.
    sid: String,
}

/// A tab that was open before the event.
struct Tab {
    browser: Browser,
    events: EventSource,
    socket: WebSocket,
}

impl World {
    async fn start(store: Arc<dyn SessionBackend>, setup: impl FnOnce(Setup) -> Setup) -> Self {
        let store = Arc::new(FlakyBackend::new(store));
        let routes = format!("/api={{api}},/ws={}", web_socket::serve_echo().await);
        let app = TestApp::with().backend(store.clone()).variable("CLOAKROOM_ROUTES", &routes);
        let app = setup(app).start().await;
        let browser = app.logged_in("alice").await;
        let sid = app.provider.sids_of(ALICE).remove(0);
        app.clock.advance(A_MOMENT);
        Self { app, store, browser, sid }
    }

    async fn call(&mut self) -> StatusCode {
        self.browser.fetch(Method::GET, "/api/x").await.status
    }

    /// The newest refresh token that the provider gave.
    fn refresh_token(&self) -> Option<String> {
        self.app.provider.issued().into_iter().rfind(|issued| issued.starts_with("dev-refresh-"))
    }

    async fn refresh_token_is(&mut self, before: Option<String>, ours: Ours) -> RefreshToken {
        let Some(token) = before else { return Nothing };
        if ours == Kept {
            self.app.clock.advance(ALMOST_OVER);
            let renewed = self.app.grants("refresh_token");
            assert_eq!(self.call().await, StatusCode::OK);
            assert_eq!(self.app.grants("refresh_token"), renewed + 1);
            return Renews;
        }
        if self.app.calls("/revoke").iter().any(|call| call.form_value("token") == Some(&token)) {
            assert!(!self.is_taken(&token).await);
            return Revoked;
        }
        if self.is_taken(&token).await { Discarded } else { Gone }
    }

    /// Somebody at the provider takes the grant away. A token that is used twice does so, and nobody is asked to revoke one.
    async fn revoke_elsewhere(&self) {
        let token = self.refresh_token().unwrap();
        assert!(self.is_taken(&token).await && !self.is_taken(&token).await);
    }

    /// Whether the provider would take a refresh token: it is sent by hand.
    async fn is_taken(&self, token: &str) -> bool {
        let grant = [("grant_type", "refresh_token"), ("refresh_token", token)];
        self.ask_provider("/token", &grant).await == StatusCode::OK
    }

    /// A call to the provider in our client's name.
    async fn ask_provider(&self, path: &str, fields: &[(&str, &str)]) -> StatusCode {
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let request = client().post(format!("{}{path}", self.app.provider.issuer()));
        let basic = format!("Basic {}", STANDARD.encode("shop:a+secret+of+the+shop"));
        let request = request.header(header::AUTHORIZATION, basic);
        let request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        request.body(form).send().await.unwrap().status()
    }

    fn provider_session(&self) -> ProviderSession {
        if self.app.provider.sids_of(ALICE).contains(&self.sid) { LivesOn } else { Over }
    }
}

impl Tab {
    async fn open(browser: &Browser) -> Self {
        let events = EventSource::of(browser).await;
        Self { browser: browser.tab(), events, socket: WebSocket::open(browser, "/ws").await }
    }

    /// What it is told next, apart from renewals and the time that is left. After an end there is nothing more.
    async fn told(&mut self) -> String {
        loop {
            let event = self.events.next_event().await;
            match event.name.as_str() {
                "expiring" | "refreshed" => {}
                "ended" => {
                    assert_eq!(self.events.block().await, None);
                    return format!("ended: {}", event.data["reason"].as_str().unwrap());
                }
                name => return name.to_owned(),
            }
        }
    }

    /// What was made of its session.
    async fn ours(&mut self, app: &TestApp) -> Ours {
        if !self.browser.is_logged_in().await {
            return Ended;
        }
        let tag = tag(&mut self.browser).await;
        if is_listed(app, &tag).await { Kept } else { Replaced }
    }

    /// Its stream is open as long as its session answers.
    async fn assert_stream_follows(&mut self, ours: Ours, app: &TestApp) {
        match ours {
            Ended => self.socket.closes_with(4401).await,
            Kept => self.socket.goes_on().await,
            Replaced => {
                self.socket.goes_on().await;
                // Second by second: how long the old session still answers stands in its row, which may be read only now.
                tokio::select! {
                    () = self.socket.closes_with(4401) => {}
                    () = app.eventually(|app| { app.clock.advance(A_SECOND); false }) => {}
                }
            }
        }
    }
}

async fn tag(browser: &mut Browser) -> String {
    browser.user().await["session"]["tag"].as_str().unwrap().to_owned()
}

/// Whether the store lists this session. A replaced one that still answers is in no list.
async fn is_listed(app: &TestApp, tag: &str) -> bool {
    let mut next = Some(Cursor::default());
    while let Some(at) = next {
        let page = app.backend.scan(at).await.unwrap();
        if page.rows.iter().any(|row| row.key.tag() == tag) {
            return true;
        }
        next = page.next;
    }
    false
}

/// One row.
async fn check(
    store: Arc<dyn SessionBackend>,
    setup: impl FnOnce(Setup) -> Setup,
    event: impl AsyncFnOnce(&mut World),
    expected: Outcome,
) {
    let mut world = World::start(store, setup).await;
    let (mut tab, token) = (Tab::open(&world.browser).await, world.refresh_token());
    event(&mut world).await;
    if expected.3 != NOTHING {
        // Before anything else is asked: tabs are told without it.
        assert_eq!(tab.told().await, expected.3);
    }
    let ours = tab.ours(&world.app).await;
    let provider = world.provider_session();
    if expected.1 == Revoked {
        // It happens behind the answer.
        world.app.eventually(|app| !app.calls("/revoke").is_empty()).await;
    }
    let refresh_token = world.refresh_token_is(token, ours).await;
    assert_eq!((ours, refresh_token, provider), (expected.0, expected.1, expected.2));
    tab.assert_stream_follows(ours, &world.app).await;
    if expected.3 == NOTHING {
        world.browser.fetch(Method::POST, "/bff/logout").await;
        assert_eq!(tab.told().await, "ended: logout", "the first that it hears");
    }
}

fn as_it_is(setup: Setup) -> Setup {
    setup
}

macro_rules! table {
    ($($event:ident: $setup:expr, $happens:expr => $ours:expr, $refresh_token:expr, $provider:expr, $tabs:expr;)*) => {
        $(mod $event {
            use super::*;

            async fn row(store: Arc<dyn SessionBackend>) {
                check(store, $setup, $happens, ($ours, $refresh_token, $provider, $tabs)).await;
            }

            on_each_store!(row);
        })*
    };
}

table! {
    logout: as_it_is, async |world: &mut World| {
        let answer = world.browser.fetch(Method::POST, "/bff/logout").await;
        world.browser.click(answer.json()["redirect_to"].as_str().unwrap()).await;
    } => Ended, Revoked, Over, "ended: logout";

    local_logout: as_it_is, async |world: &mut World| {
        world.browser.fetch(Method::POST, "/bff/logout?local=true").await;
    } => Ended, Revoked, LivesOn, "ended: logout";

    a_new_login_of_the_same_subject: as_it_is, async |world: &mut World| {
        world.browser.log_in("/", "alice").await;
    } => Replaced, Discarded, LivesOn, "replaced";

    // The provider has one session per browser, so it is the provider that ends alice's when bob signs in.
    a_new_login_of_another_subject: as_it_is, async |world: &mut World| {
        let page = world.browser.click("/bff/login?prompt=login").await;
        world.browser.sign_in(&page, "bob").await;
        assert_eq!(world.browser.user().await["sub"], BOB);
    } => Ended, Revoked, Over, "ended: replaced-by-other-user";

    the_access_token_ran_out_and_there_is_no_refresh_token: |setup| setup.variable("CLOAKROOM_SCOPES", "openid profile"), async |world: &mut World| {
        world.app.clock.advance(Duration::from_mins(5));
        assert_eq!(world.browser.fetch(Method::GET, "/api/x").await.problem(), "session-expired");
    } => Kept, Nothing, LivesOn, "token-expired";

    idle_limit: as_it_is, async |world: &mut World| {
        world.app.clock.advance(Duration::from_mins(30));
    } => Ended, Discarded, LivesOn, "ended: expired";

    absolute_limit: |setup| setup.variable("CLOAKROOM__SESSION__ABSOLUTE", "40m"), async |world: &mut World| {
        world.app.clock.advance(Duration::from_mins(20));
        assert!(world.browser.is_logged_in().await);
        world.app.clock.advance(Duration::from_mins(20));
    } => Ended, Discarded, LivesOn, "ended: expired";

    back_channel_logout: as_it_is, async |world: &mut World| {
        world.app.provider.log_out(ALICE).await;
    } => Ended, Discarded, Over, "ended: provider-logout";

    front_channel_logout: |setup| setup.variable("CLOAKROOM__FRONTENDS__DEFAULT__FRONTCHANNEL_LOGOUT", "true"), async |world: &mut World| {
        let who = [("iss", world.app.provider.issuer()), ("sid", &world.sid)];
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(who).finish();
        world.app.provider.end_sso_sessions();
        // In a frame of the provider's page, which our cookie does not reach.
        let frame = client().get(format!("{}/bff/frontchannel-logout?{query}", world.app.url)).send().await;
        assert_eq!(frame.unwrap().status(), StatusCode::OK);
    } => Ended, Discarded, Over, "ended: provider-logout";

    a_refresh_answered_invalid_grant: as_it_is, async |world: &mut World| {
        world.revoke_elsewhere().await;
        world.app.clock.advance(ALMOST_OVER);
        assert_eq!(world.call().await, StatusCode::UNAUTHORIZED);
    } => Ended, Gone, LivesOn, "ended: refresh-refused";

    an_answer_to_a_refresh_lost: as_it_is, async |world: &mut World| {
        world.app.provider.faults().set_times(Fault::Endpoint(Endpoint::Token, Outage::AnswerLost), 1);
        world.app.clock.advance(ALMOST_OVER);
        assert_eq!(world.call().await, StatusCode::UNAUTHORIZED);
    } => Ended, Gone, LivesOn, "ended: refresh-lost";

    ended_from_another_device: as_it_is, async |world: &mut World| {
        let tag = tag(&mut world.browser).await;
        let mut elsewhere = world.app.logged_in("alice").await;
        let answer = elsewhere.fetch(Method::DELETE, &format!("/bff/sessions/{tag}")).await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
    } => Ended, Discarded, LivesOn, "ended: by-user";

    ended_with_all_others: as_it_is, async |world: &mut World| {
        let mut elsewhere = world.app.logged_in("alice").await;
        let answer = elsewhere.fetch(Method::DELETE, "/bff/sessions?others=true").await;
        assert_eq!(answer.status, StatusCode::NO_CONTENT);
    } => Ended, Discarded, LivesOn, "ended: by-user";

    ended_by_an_operator: |setup| setup.variable("CLOAKROOM_ADMIN_TOKEN", ADMIN_TOKEN), async |world: &mut World| {
        let request = Request::delete(format!("/sessions?sub={ALICE}")).header(header::HOST, "localhost");
        let request = request.header(header::AUTHORIZATION, format!("Bearer {ADMIN_TOKEN}")).body(Body::empty());
        let Ok(answer) = world.app.admin_router().oneshot(request.unwrap()).await;
        assert_eq!(answer.status(), StatusCode::OK);
    } => Ended, Discarded, LivesOn, "ended: admin";

    too_many_sessions_of_a_subject: |setup| setup.variable("CLOAKROOM__SESSION__MAX_PER_SUBJECT", "1"), async |world: &mut World| {
        world.app.logged_in("alice").await;
    } => Ended, Discarded, LivesOn, "ended: limit";

    an_outage_of_the_provider: as_it_is, async |world: &mut World| {
        world.app.provider.stop().await;
        world.app.clock.advance(Duration::from_mins(5));
        assert_eq!(world.call().await, StatusCode::SERVICE_UNAVAILABLE);
        world.app.provider.start_again().await.unwrap();
        world.app.clock.advance(Duration::from_mins(1));
        assert_eq!(world.call().await, StatusCode::OK);
    } => Kept, Renews, LivesOn, NOTHING;

    an_outage_of_the_store: as_it_is, async |world: &mut World| {
        world.store.set(store::Outage::Unavailable);
        assert_eq!(world.call().await, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(EventSource::open(&world.browser, &[]).await.status, StatusCode::SERVICE_UNAVAILABLE);
        world.store.set(store::Outage::None);
    } => Kept, Renews, LivesOn, NOTHING;
}

const ALICE: &str = "248289761001";
const BOB: &str = "813347290552";
const ADMIN_TOKEN: &str = "an-admin-token-of-many-characters";
const NOTHING: Tabs = "nothing";
const A_SECOND: Duration = Duration::from_secs(1);
/// A login that began after the session did is a new one.
const A_MOMENT: Duration = Duration::from_secs(5);
/// Of the life of an access token.
const ALMOST_OVER: Duration = Duration::from_secs(250);
