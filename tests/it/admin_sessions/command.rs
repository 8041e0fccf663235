//! `cloakroom sessions end` where a server answers: the built binary, over a Unix socket and over TCP.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use axum::Router;
use axum::routing::any;
use cloakroom::app::Listener;
use cloakroom::store::{MasterKey, SqliteBackend};
use http::StatusCode;
use tempfile::TempDir;
use tokio::net::TcpListener;

use super::{ALICE, TOKEN, with_token};
use crate::support::app::Setup;
use crate::support::{EventSource, TestApp};

/// A directory for a socket and a store.
pub(super) struct Place(TempDir);

impl Place {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.0.path().join("admin.sock")
    }

    /// The socket as the configuration names it.
    pub(super) fn listen(&self) -> String {
        format!("unix:{}", self.socket().display())
    }
}

/// An app whose sessions are in a file of this place.
async fn on_file(setup: Setup, place: &Place) -> TestApp {
    let file = place.0.path().join("sessions.db");
    let store = SqliteBackend::open(&file).await.unwrap();
    let setup = setup.backend(Arc::new(store)).variable("CLOAKROOM_STORE", &format!("sqlite:{}", file.display()));
    setup.variable("CLOAKROOM_KEY", MasterKey::generate().to_base64url().expose()).start().await
}

/// Exit code, standard output, standard error of `cloakroom sessions …`, told where the admin listener is.
async fn sessions(app: &TestApp, admin: &str, arguments: &[&str]) -> (i32, String, String) {
    let mut program = app.program();
    program.env("CLOAKROOM_ADMIN_LISTEN", admin).arg("sessions").args(arguments);
    ran(program).await
}

async fn ran(mut program: Command) -> (i32, String, String) {
    let output = tokio::task::spawn_blocking(move || program.output().unwrap()).await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap().trim_end().to_owned();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

fn done(what: &str) -> (i32, String, String) {
    (0, what.to_owned(), String::new())
}

#[tokio::test]
async fn a_store_in_memory_is_reached_through_its_server() {
    let (place, app) = (Place::new(), TestApp::start().await);
    let nobody = sessions(&app, &place.listen(), &["end", "--all"]).await;
    assert_eq!((nobody.0, nobody.1.as_str()), (1, ""));
    assert!(nobody.2.contains("nobody listens on unix:/") && nobody.2.contains("\"memory:\""), "{}", nobody.2);

    app.serve_operators(Listener::unix(place.socket()).await.unwrap()).await;
    let (mut alice, mut bob) = (app.logged_in("alice").await, app.logged_in("bob").await);
    let mut events = EventSource::of(&alice).await;
    let by_server = |ended: u32| done(&format!("sessions ended: {ended} (by the server at {})", place.listen()));
    assert_eq!(sessions(&app, &place.listen(), &["end", "--sub", ALICE]).await, by_server(1));
    assert_eq!(events.ended().await, "admin");
    assert!(!alice.is_logged_in().await);
    let tag = bob.user().await["session"]["tag"].as_str().unwrap().to_owned();
    assert_eq!(sessions(&app, &place.listen(), &["end", "--tag", &tag]).await, by_server(1));
    assert!(!bob.is_logged_in().await);
}

#[tokio::test]
async fn tabs_on_a_store_in_a_file_are_told_at_once_if_the_server_answers() {
    let place = Place::new();
    let app = on_file(TestApp::with(), &place).await;
    let mut alice = app.logged_in("alice").await;
    assert_eq!(
        sessions(&app, &place.listen(), &["end", "--sub", ALICE]).await,
        done("sessions ended: 1 (in the store)")
    );
    assert!(!alice.is_logged_in().await);

    app.serve_operators(Listener::unix(place.socket()).await.unwrap()).await;
    let alice = app.logged_in("alice").await;
    let mut events = EventSource::of(&alice).await;
    let by_server = done(&format!("sessions ended: 1 (by the server at {})", place.listen()));
    assert_eq!(sessions(&app, &place.listen(), &["end", "--sub", ALICE]).await, by_server);
    assert_eq!(events.ended().await, "admin");
}

#[tokio::test]
async fn over_tcp_the_token_is_sent_and_what_the_server_refuses_is_not_done_behind_its_back() {
    let place = Place::new();
    let app = on_file(with_token(), &place).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    app.serve_operators(listener).await;
    let mut alice = app.logged_in("alice").await;

    let mut program = app.program();
    program.env("CLOAKROOM_ADMIN_LISTEN", &address).env("CLOAKROOM_ADMIN_TOKEN", TOKEN.replace("0123", "4567"));
    program.args(["sessions", "end", "--all"]);
    let (exit_code, output, complaint) = ran(program).await;
    assert_eq!((exit_code, output.as_str()), (1, ""));
    assert!(complaint.starts_with(&format!("cloakroom: the server at {address} answered 401: ")), "{complaint}");
    let unknown = sessions(&app, &address, &["end", "--all", "--frontend", "shop"]).await;
    assert_eq!((unknown.0, unknown.1.as_str()), (2, ""));
    assert!(unknown.2.contains("there is default (http"), "{}", unknown.2);
    assert!(alice.is_logged_in().await);

    let (_, port) = address.rsplit_once(':').unwrap();
    let everywhere = format!("0.0.0.0:{port}");
    let ended = sessions(&app, &everywhere, &["end", "--sub", ALICE]).await;
    assert_eq!(ended, done(&format!("sessions ended: 1 (by the server at {everywhere})")));
    assert!(!alice.is_logged_in().await);

    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    assert_eq!(sessions(&app, &closed, &["end", "--all"]).await, done("sessions ended: 0 (in the store)"));
}

#[tokio::test]
async fn another_program_that_answers_is_not_taken_for_ours() {
    let app = with_token().start().await;
    let escape = r#"{"detail":"\u001b[2Jgone"}"#;
    for (status, body, said) in [
        (StatusCode::OK, "<html>", "answered, but not as cloakroom does"),
        (StatusCode::NOT_FOUND, "404 page not found", "does not know how to end sessions"),
        (StatusCode::INTERNAL_SERVER_ERROR, "oops", "answered 500: nothing that cloakroom says"),
        (StatusCode::INTERNAL_SERVER_ERROR, escape, "answered 500: [2Jgone"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let other = Router::new().fallback(any(move || async move { (status, body) }));
        let serving = tokio::spawn(async move { axum::serve(listener, other).await });
        let (exit_code, output, complaint) = sessions(&app, &address, &["end", "--all"]).await;
        assert_eq!((exit_code, output.as_str()), (1, ""));
        assert!(complaint.contains(said), "{complaint}");
        serving.abort();
    }
}

#[tokio::test]
async fn a_server_that_breaks_off_is_told() {
    let app = with_token().start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serving = tokio::spawn(async move {
        loop {
            drop(listener.accept().await);
        }
    });
    let (exit_code, output, complaint) = sessions(&app, &address, &["end", "--all"]).await;
    assert_eq!((exit_code, output.as_str()), (1, ""));
    assert!(complaint.contains("run it again"), "{complaint}");
    serving.abort();
}
