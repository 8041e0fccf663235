//! The file of the Unix socket, as processes leave it and find it.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use cloakroom::app::Listener;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::command::Place;
use crate::support::TestApp;

/// What the socket says to a request with these header lines.
pub(super) async fn ask(place: &Place, method: &str, target: &str, lines: &str) -> String {
    said(place, format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\n{lines}connection: close\r\n\r\n")).await
}

/// The same to a request for another host.
pub(super) async fn ask_host(place: &Place, method: &str, target: &str, host: &str) -> String {
    said(place, format!("{method} {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")).await
}

async fn said(place: &Place, request: String) -> String {
    let mut stream = UnixStream::connect(place.socket()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// A process of the program; killed when dropped.
struct Process(Child);

impl Process {
    /// `cloakroom serve` on free ports and this socket.
    fn start(place: &Place) -> Self {
        let mut program = Command::new(env!("CARGO_BIN_EXE_cloakroom"));
        program
            .arg("serve")
            .env_clear()
            .envs([
                ("CLOAKROOM_URL", "http://localhost:8080"),
                ("CLOAKROOM_LISTEN", "127.0.0.1:0"),
                ("CLOAKROOM_ADMIN_LISTEN", place.listen().as_str()),
                ("CLOAKROOM_ISSUER", "https://id.example"),
                ("CLOAKROOM_CLIENT_ID", "shop"),
                ("CLOAKROOM_CLIENT_SECRET", "secret"),
                ("CLOAKROOM_STORE", "memory:"),
            ])
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        Self(program.spawn().unwrap())
    }

    /// Waits until it answers on the socket.
    async fn answers(self, place: &Place) -> Self {
        let answers = async {
            while UnixStream::connect(place.socket()).await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), answers).await.expect("it starts");
        self
    }

    /// SIGTERM; answers when it has ended.
    async fn terminate(mut self) {
        let id = self.0.id().to_string();
        assert!(Command::new("sh").args(["-c", "kill -TERM \"$0\"", &id]).status().unwrap().success());
        tokio::task::spawn_blocking(move || assert!(self.0.wait().unwrap().success())).await.unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error here means that it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn the_socket_is_its_owners_alone_and_needs_no_token() {
    let (place, app) = (Place::new(), TestApp::start().await);
    app.serve_operators(Listener::unix(place.socket()).await.unwrap()).await;
    let mode = std::fs::metadata(place.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let other = ask(&place, "GET", "/sessions?sub=x", "origin: https://evil.example\r\n").await;
    assert!(other.starts_with("HTTP/1.1 403 "), "{other}");
    let rebound = ask_host(&place, "GET", "/sessions?sub=x", "evil.example").await;
    assert!(rebound.starts_with("HTTP/1.1 421 "), "{rebound}");
    let answer = ask(&place, "GET", "/sessions?sub=x", "").await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\n[]"), "{answer}");
    for (path, said) in [("/healthz", "ok\n"), ("/readyz", "ready\n")] {
        let answer = ask(&place, "GET", path, "").await;
        assert!(answer.ends_with(said), "{answer}");
    }
}

#[tokio::test]
async fn a_killed_process_is_succeeded_and_one_that_stops_takes_its_socket_along() {
    let place = Place::new();
    drop(Process::start(&place).answers(&place).await);
    assert!(place.socket().exists(), "a killed process removes nothing");
    let second = Process::start(&place).answers(&place).await;
    assert!(ask(&place, "GET", "/healthz", "").await.ends_with("ok\n"));
    second.terminate().await;
    assert!(!place.socket().exists());
}

#[tokio::test]
async fn a_second_process_does_not_take_the_socket_of_a_living_one() {
    let place = Place::new();
    let _first = Process::start(&place).answers(&place).await;
    let mut second = Process::start(&place);
    let stderr = second.0.stderr.take().unwrap();
    let (status, said) = tokio::task::spawn_blocking(move || {
        let status = second.0.wait().unwrap();
        (status, std::io::read_to_string(stderr).unwrap())
    })
    .await
    .unwrap();
    assert_eq!(status.code(), Some(1), "{said}");
    let complaint = format!("cloakroom: cannot listen on {}: a process answers there already", place.listen());
    assert!(said.contains(&complaint), "{said}");
    assert!(ask(&place, "GET", "/healthz", "").await.ends_with("ok\n"));
}
