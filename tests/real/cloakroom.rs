//! The built program, configured by its environment alone.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::process::Process;
use crate::provider::Provider;
use crate::upstream::Upstream;
use crate::{eventually, free_port};

/// `cloakroom serve` with a SQLite store in a folder of its own.
pub(crate) struct Cloakroom {
    pub(crate) url: String,
    address: SocketAddr,
    secrets: Vec<String>,
    process: Process,
    _folder: TempDir,
}

/// What is left of the program.
pub(crate) struct Ended {
    pub(crate) exit_code: Option<i32>,
    pub(crate) log: String,
}

impl Cloakroom {
    pub(crate) async fn start(url: &str, provider: &Provider, upstream: &Upstream) -> Self {
        let folder = assets();
        let key = keygen();
        let port = url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("the URL ends with a port");
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut process = Process::start(
            among(url, provider, upstream, folder.path())
                .arg("serve")
                .env("CLOAKROOM_LISTEN", address.to_string())
                .env("CLOAKROOM_ADMIN_LISTEN", admin.to_string())
                .env("CLOAKROOM_STORE", "sqlite:sessions.db")
                .env("CLOAKROOM_KEY", &key)
                .env("CLOAKROOM_LOG_LEVEL", "trace"),
        );
        let log = process.lines().clone();
        let ready = format!("http://{admin}/readyz");
        let http = crate::browser::client();
        let answers = async {
            while !http.get(&ready).send().await.is_ok_and(|answer| answer.status().is_success()) {
                assert!(!process.is_over(), "the program does not start:\n{}", log.all().join("\n"));
                tokio::time::sleep(crate::POLL).await;
            }
        };
        tokio::time::timeout(crate::LIMIT, answers).await.expect("the program is ready in time");
        let secrets = vec![key, provider.settings.client_secret.clone()];
        Self { url: url.to_owned(), address, secrets, process, _folder: folder }
    }

    /// What it was given and must keep to itself.
    pub(crate) fn secrets(&self) -> &[String] {
        &self.secrets
    }

    pub(crate) fn terminate(&self) {
        self.process.terminate();
    }

    /// Waits until nobody new is let in.
    pub(crate) async fn closed_its_door(&self) {
        eventually("the door is closed", || TcpStream::connect(self.address).is_err().then_some(())).await;
    }

    /// Waits for the end that [`Self::terminate`] asked for.
    pub(crate) async fn ended(mut self) -> Ended {
        let status = self.process.ended().await;
        Ended { exit_code: status.code(), log: self.process.lines().all().join("\n") }
    }
}

/// The URL of a frontend that nothing listens at yet. `localhost`, while the provider is on `127.0.0.1`: another site.
pub(crate) fn free_url() -> String {
    format!("http://localhost:{}", free_port())
}

/// A folder with an app of one page.
pub(crate) fn assets() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder can be made");
    std::fs::write(folder.path().join("index.html"), "<!doctype html><title>shop</title>").expect("it can be written");
    folder
}

/// The program in `folder` with its neighbours, and without addresses, store, key and anything to do.
pub(crate) fn among(url: &str, provider: &Provider, upstream: &Upstream, folder: &Path) -> Command {
    let mut command = program();
    command
        .current_dir(folder)
        .env("CLOAKROOM_URL", url)
        .env("CLOAKROOM_ISSUER", &provider.issuer)
        .env("CLOAKROOM_CLIENT_ID", &provider.settings.client_id)
        .env("CLOAKROOM_CLIENT_SECRET", &provider.settings.client_secret)
        .env("CLOAKROOM_SCOPES", "openid profile email offline_access")
        .env("CLOAKROOM_ROUTES", format!("/api={}", upstream.url))
        .env("CLOAKROOM_ASSETS", folder);
    command
}

/// The program without a word of the environment these tests run in.
fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cloakroom"));
    command.env_clear();
    command
}

/// A master key, as the program makes it.
pub(crate) fn keygen() -> String {
    let output = program().arg("keygen").output().expect("keygen runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("a key is text").trim().to_owned()
}
