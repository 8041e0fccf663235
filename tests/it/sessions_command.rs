//! `cloakroom sessions`, as an operator runs it beside (or instead of) the program that serves: the built binary on the same files.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use cloakroom::clock::{Clock as _, SystemClock};
use cloakroom::session::UserSession;
use cloakroom::store::{Cursor, Listed, MasterKey, NewRow, SessionBackend, SessionKey, SqliteBackend};
use http::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::app::Setup;
use crate::support::{Browser, TestApp};

const ALICE: &str = "248289761001";
const HOUR: Duration = Duration::from_hours(1);

/// A directory for stores.
struct Stores(TempDir);

impl Stores {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn url(&self, name: &str) -> String {
        format!("sqlite:{}", self.path(name).display())
    }

    async fn open(&self, name: &str) -> Arc<dyn SessionBackend> {
        Arc::new(SqliteBackend::open(self.path(name)).await.unwrap())
    }

    /// An app on the store `a`.
    async fn app(&self, keys: &str) -> Setup {
        let setup = TestApp::with().backend(self.open("a").await);
        setup.variable("CLOAKROOM_STORE", &self.url("a")).variable("CLOAKROOM_KEY", keys)
    }

    /// The same with a second frontend below it, which shares the registration at the provider.
    async fn two_frontends(&self, keys: &str) -> TestApp {
        self.app(keys).await.second_frontend().start().await
    }
}

/// What a command came to.
struct Ran {
    exit_code: Option<i32>,
    output: String,
    complaint: String,
}

/// Runs `cloakroom sessions …`. On another thread: what this one serves goes on.
async fn sessions(app: &TestApp, arguments: &[&str]) -> Ran {
    let mut program = app.program();
    program.arg("sessions").args(arguments);
    ran(program).await
}

async fn ran(mut program: Command) -> Ran {
    let run = tokio::task::spawn_blocking(move || program.output().unwrap());
    let Output { status, stdout, stderr } = run.await.unwrap();
    let [output, complaint] = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap().trim_end().to_owned());
    Ran { exit_code: status.code(), output, complaint }
}

impl Ran {
    /// What it printed; it had nothing to complain about.
    fn done(self) -> String {
        assert_eq!((self.exit_code, self.complaint.as_str()), (Some(0), ""), "{}", self.output);
        self.output
    }

    /// Its exit code and what it complained about; it printed nothing else.
    fn refused(self) -> (i32, String) {
        assert_eq!(self.output, "", "{}", self.complaint);
        (self.exit_code.unwrap(), self.complaint)
    }
}

/// A master key that is always the same.
fn key(byte: u8) -> String {
    MasterKey::from_bytes([byte; 32]).to_base64url().expose().clone()
}

async fn stats(app: &TestApp) -> Value {
    serde_json::from_str(&sessions(app, &["stats", "--json"]).await.done()).unwrap()
}

async fn log_in_at_admin(app: &TestApp, username: &str) -> Browser {
    let mut browser = app.browser();
    let page = browser.click("/admin/bff/login").await;
    browser.sign_in(&page, username).await;
    assert!(is_logged_in_at_admin(&mut browser).await);
    browser
}

async fn is_logged_in_at_admin(browser: &mut Browser) -> bool {
    browser.fetch(Method::GET, "/admin/bff/user").await.json()["authenticated"] == true
}

/// The one session in a store.
async fn only_row(store: &dyn SessionBackend) -> Listed {
    let mut rows = store.scan(Cursor::default()).await.unwrap().rows;
    assert_eq!(rows.len(), 1);
    rows.remove(0)
}

// Stats.

#[tokio::test]
async fn stats_count_sessions_by_frontend_and_by_master_key() {
    let stores = Stores::new();
    let mut app = stores.two_frontends(&key(1)).await;
    app.logged_in("alice").await;
    log_in_at_admin(&app, "bob").await;
    app.restart(stores.open("a").await, &format!("{},{}", key(2), key(1))).await;
    let mut browser = app.browser();
    let page = browser.click("/bff/login?remember=true").await;
    browser.sign_in(&page, "bob").await;

    let with = async |keys: &str| {
        let mut program = app.program();
        program.args(["sessions", "stats", "--json"]).env("CLOAKROOM_KEY", keys);
        serde_json::from_str::<Value>(&ran(program).await.done()).unwrap()
    };
    let counted = with(&format!("{},{}", key(2), key(1))).await;
    assert_eq!((&counted["sessions"], &counted["remembered"]), (&json!(3), &json!(1)));
    let admin = json!({"id": "admin", "sessions": 1, "remembered": 0});
    let default = json!({"id": "default", "sessions": 2, "remembered": 1});
    assert_eq!(counted["frontends"], json!([admin, default]));
    let keys = counted["keys"].as_array().unwrap();
    let roles: Vec<_> = keys.iter().map(|key| (key["role"].as_str().unwrap(), key["sessions"].as_u64())).collect();
    assert_eq!(roles, [("seals", Some(1)), ("opens", Some(2))]);
    assert_eq!((&counted["unknown_key"], &counted["unreadable"]), (&json!(0), &json!(0)));
    assert!(counted["oldest"].as_str() <= counted["newest"].as_str() && counted["oldest"].is_string(), "{counted}");

    let without = with(&key(2)).await;
    assert_eq!(
        (&without["sessions"], &without["unknown_key"], &without["unreadable"]),
        (&json!(3), &json!(2), &json!(0))
    );
    assert_eq!(without["keys"][1]["id"], keys[1]["id"]);
    assert_eq!(without["keys"][1]["role"], "missing");
}

#[tokio::test]
async fn stats_say_what_is_there_in_words() {
    let stores = Stores::new();
    let app = stores.two_frontends(&key(1)).await;
    assert_eq!(stats(&app).await["oldest"], Value::Null);
    app.logged_in("alice").await;
    log_in_at_admin(&app, "bob").await;
    let mut program = app.program();
    program.args(["sessions", "stats"]);
    for name in ["URL", "CLIENT_ID", "CLIENT_AUTH__SECRET"] {
        program.env_remove(format!("CLOAKROOM__FRONTENDS__ADMIN__{name}"));
    }
    let mut said = ran(program).await.done();
    let times = said.find("began").unwrap()..said.find("frontend").unwrap();
    said.replace_range(times, "");
    insta::assert_snapshot!(said, @"
    sessions: 2 (0 remembered)
    frontend default: 1 (0 remembered)
    key cf1d8717: 2 (the first of keys.master)
    not readable, damaged or of a frontend that is not configured: 1
    ");
}

// Ending.

#[tokio::test]
async fn ending_a_subject_ends_their_sessions_whatever_the_key_and_nobody_elses() {
    let stores = Stores::new();
    let mut app = stores.app(&key(1)).await.start().await;
    let mut sealed_before = app.logged_in("alice").await;
    let mut bob = app.logged_in("bob").await;
    let keys = format!("{},{}", key(2), key(1));
    app.restart(stores.open("a").await, &keys).await;
    let mut sealed_since = app.logged_in("alice").await;
    let mut program = app.program();
    program.args(["sessions", "end", "--sub", ALICE]).env("CLOAKROOM_KEY", &keys);
    assert_eq!(ran(program).await.done(), "sessions ended: 2 (in the store)");
    for browser in [&mut sealed_before, &mut sealed_since] {
        assert_eq!(browser.fetch(Method::GET, "/api/x").await.problem(), "session-expired");
    }
    assert!(bob.is_logged_in().await);
    assert_eq!(sessions(&app, &["end", "--sub", ALICE]).await.done(), "sessions ended: 0 (in the store)");
    let mut again = app.logged_in("alice").await;
    assert!(again.is_logged_in().await, "a login afterwards is a new session");
}

#[tokio::test]
async fn ending_a_sid_ends_the_sessions_of_one_session_at_the_provider() {
    async fn sid(user: UserSession) -> String {
        user.identity().sid.clone().unwrap()
    }
    let stores = Stores::new();
    let app = stores.app(&key(1)).await.handlers(Router::new().route("/sid", get(sid))).start().await;
    let mut one = app.logged_in("alice").await;
    let mut other = app.logged_in("alice").await;
    let sid = one.fetch(Method::GET, "/sid").await.text();
    assert_eq!(sessions(&app, &["end", "--sid", &sid]).await.done(), "sessions ended: 1 (in the store)");
    assert!(!one.is_logged_in().await);
    assert!(other.is_logged_in().await);
}

#[tokio::test]
async fn ending_at_one_frontend_leaves_the_others_alone_even_if_they_share_a_registration() {
    let stores = Stores::new();
    let app = stores.two_frontends(&key(1)).await;
    let mut alice = app.logged_in("alice").await;
    let mut alice_at_admin = log_in_at_admin(&app, "alice").await;
    let mut bob_at_admin = log_in_at_admin(&app, "bob").await;
    assert_eq!(
        sessions(&app, &["end", "--sub", ALICE, "--frontend", "admin"]).await.done(),
        "sessions ended: 1 (in the store)"
    );
    assert!(!is_logged_in_at_admin(&mut alice_at_admin).await);
    assert!(alice.is_logged_in().await);
    assert_eq!(
        sessions(&app, &["end", "--all", "--frontend", "admin"]).await.done(),
        "sessions ended: 1 (in the store)"
    );
    assert!(!is_logged_in_at_admin(&mut bob_at_admin).await);
    assert!(alice.is_logged_in().await);

    let (exit_code, complaint) = sessions(&app, &["end", "--all", "--frontend", "shop"]).await.refused();
    assert_eq!(exit_code, 2);
    assert!(complaint.contains("there is admin (http") && complaint.contains(", default (http"), "{complaint}");
    let elsewhere = ["end", "--all", "--issuer", "https://elsewhere.example"];
    assert_eq!(sessions(&app, &elsewhere).await.refused().0, 2);
    let here = ["end", "--sub", ALICE, "--issuer", app.provider.issuer()];
    assert_eq!(sessions(&app, &here).await.done(), "sessions ended: 1 (in the store)");
    assert!(!alice.is_logged_in().await);
}

#[tokio::test]
async fn ending_all_ends_all_also_what_does_not_open() {
    let stores = Stores::new();
    let app = stores.app(&key(1)).await.start().await;
    let mut alice = app.logged_in("alice").await;
    for n in 0..600_u32 {
        app.backend.insert(named(n), &row(HOUR), None).await.unwrap();
    }
    assert_eq!(stats(&app).await["unreadable"], 600);
    assert_eq!(sessions(&app, &["end", "--all"]).await.done(), "sessions ended: 601 (in the store)");
    assert!(!alice.is_logged_in().await);
    assert_eq!(stats(&app).await["sessions"], 0);
}

// Purging.

#[tokio::test]
async fn purging_removes_what_has_expired() {
    let stores = Stores::new();
    let app = stores.app(&key(1)).await.start().await;
    let mut alice = app.logged_in("alice").await;
    app.backend.insert(named(1), &row(Duration::ZERO), None).await.unwrap();
    assert_eq!(sessions(&app, &["purge"]).await.done(), "expired rows removed: 1");
    assert!(alice.is_logged_in().await);
}

#[tokio::test]
async fn purging_with_a_time_ends_what_a_backup_brought_back_and_leaves_who_came_since() {
    let stores = Stores::new();
    let app = stores.app(&key(1)).await.start().await;
    let mut restored = app.logged_in("alice").await;
    let mut row = app.backend.export(only_row(&*app.backend).await.key).await.unwrap().unwrap();
    row.created_at = row.created_at - HOUR;
    app.backend.remove(row.key, cloakroom::store::Reason::Admin).await.unwrap();
    assert!(app.backend.import(&row).await.unwrap());
    assert!(restored.is_logged_in().await);
    let mut since = app.logged_in("alice").await;

    let time = (SystemClock.now() - HOUR / 2).rfc3339();
    let output = sessions(&app, &["purge", "--before", &time]).await.done();
    assert_eq!(output, format!("expired rows removed: 0\nsessions from before {time} ended: 1"));
    assert!(!restored.is_logged_in().await);
    assert!(since.is_logged_in().await);
    assert_eq!(sessions(&app, &["purge", "--before", "yesterday"]).await.refused().0, 2);
}

// Moving.

#[tokio::test]
async fn moving_to_another_store_and_back_keeps_everybody_logged_in() {
    let stores = Stores::new();
    let mut app = stores.app(&key(1)).await.start().await;
    let mut alice = app.logged_in("alice").await;
    let mut bob = app.logged_in("bob").await;
    let (a, b, c) = (stores.url("a"), stores.url("b"), stores.url("c"));
    let said = |from: &str, to: &str, copied: u64, there: u64| {
        format!("from {from} to {to}: rows copied: {copied}, already there: {there}, expired meanwhile: 0")
    };

    // The sign of the program that has ended is still there.
    app.stop().await;
    let moved = sessions(&app, &["migrate", &a, &b]).await.done();
    assert_eq!(moved, said(&a, &b, 2, 0));
    let again = sessions(&app, &["migrate", &a, &b]).await.done();
    assert_eq!(again, said(&a, &b, 0, 2));
    app.restart(stores.open("b").await, &key(1)).await;
    for browser in [&mut alice, &mut bob] {
        assert_eq!(browser.fetch(Method::GET, "/api/x").await.status, 200);
    }
    app.clock.advance(Duration::from_mins(4) + Duration::from_secs(30));
    assert_eq!(alice.fetch(Method::GET, "/api/x").await.status, 200);
    assert_eq!(app.grants("refresh_token"), 1);

    app.stop().await;
    let (exit_code, complaint) = sessions(&app, &["migrate", &b, &a]).await.refused();
    assert_eq!(exit_code, 1);
    assert!(complaint.contains("already holds session") && complaint.contains("Empty"), "{complaint}");
    let back = sessions(&app, &["migrate", &b, &c]).await.done();
    assert_eq!(back, said(&b, &c, 2, 0));
    app.restart(stores.open("c").await, &key(1)).await;
    for browser in [&mut alice, &mut bob] {
        assert_eq!(browser.fetch(Method::GET, "/api/x").await.status, 200);
    }
    assert_eq!(app.sessions().await, 2);
}

#[tokio::test]
async fn nothing_is_moved_away_under_a_running_replica() {
    let stores = Stores::new();
    let app = stores.app(&key(1)).await.start().await;
    let mut alice = app.logged_in("alice").await;
    let (a, b) = (stores.url("a"), stores.url("b"));
    for arguments in [["migrate", &a, &b], ["migrate", &b, &a]] {
        let (exit_code, complaint) = sessions(&app, &arguments).await.refused();
        assert_eq!(exit_code, 1);
        assert!(
            complaint.starts_with(&format!("cloakroom: a replica is running on {a}; stop it first")),
            "{complaint}"
        );
    }
    assert!(alice.is_logged_in().await);
    assert!(stores.open("b").await.scan(Cursor::default()).await.unwrap().rows.is_empty());
}

// What cannot be.

#[tokio::test]
async fn a_store_that_cannot_be_had_is_told_and_none_is_made_by_mistake() {
    let stores = Stores::new();
    let app = stores.app(&key(1)).await.start().await;
    let (a, missing) = (stores.url("a"), stores.url("missing"));
    let (exit_code, complaint) = sessions(&app, &["migrate", &missing, &a]).await.refused();
    assert_eq!(exit_code, 1);
    assert!(complaint.ends_with("there is no such file"), "{complaint}");
    for (store, exit_code, reason) in [
        (missing.as_str(), 1, "there is no such file"),
        ("memory:", 2, "lives in the server's process"),
        ("nowhere:", 2, "1 problem in the configuration"),
    ] {
        for command in [&["stats"][..], &["purge"], &["end", "--all"]] {
            let mut program = app.program();
            program.arg("sessions").args(command).env("CLOAKROOM_STORE", store);
            let (seen, complaint) = ran(program).await.refused();
            assert_eq!(seen, exit_code, "{command:?} {store}");
            assert!(complaint.contains(reason), "{complaint}");
        }
    }
    assert!(!stores.path("missing").exists());
}

#[tokio::test]
async fn moving_needs_two_stores_outside_any_process_and_shows_no_password() {
    let stores = Stores::new();
    let app = stores.app(&key(1)).await.start().await;
    let a = stores.url("a");
    let file = stores.path("url");
    std::fs::write(&file, "nowhere://me:hunter2@host/db?password=hunter3\n").unwrap();
    let in_file = format!("@{}", file.display());
    for (from, to, reason) in [
        (a.as_str(), a.as_str(), "the same store"),
        ("memory:", &a, "lives in the server's process"),
        (&a, "memory:", "lives in the server's process"),
        (&a, &in_file, "***@host"),
        ("@/nowhere/url", &a, "/nowhere/url: "),
    ] {
        let (exit_code, complaint) = sessions(&app, &["migrate", from, to]).await.refused();
        assert_eq!(exit_code, 2, "{complaint}");
        assert!(complaint.contains(reason) && !complaint.contains("hunter"), "{complaint}");
    }
    assert_eq!(sessions(&app, &["migrate", &a]).await.refused().0, 2);
}

/// A row that nobody can open.
fn row(live_for: Duration) -> NewRow {
    let nonsense = || vec![0; 80];
    NewRow {
        terms: vec![],
        session: nonsense(),
        tokens: nonsense(),
        card: nonsense(),
        issued_at: SystemClock.now(),
        live_for,
    }
}

fn named(n: u32) -> SessionKey {
    let mut bytes = [0; 32];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    SessionKey::from_bytes(bytes)
}
