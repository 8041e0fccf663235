//! What is exchanged beside master keys, and how the program hears of it.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use cloakroom::app::{Exchanged, ReloadError};
use cloakroom::demo::idp::DevClient;
use cloakroom::store::MasterKey;
use http::{Method, StatusCode};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use url::Url;

use crate::support::{TestApp, logs};

/// A certificate for `localhost` that is its own root, in files.
struct Certified {
    pem: String,
    cert: PathBuf,
    key: PathBuf,
}

fn certified(directory: &Path, name: &str) -> Certified {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let certified = Certified {
        pem: made.cert.pem(),
        cert: directory.join(format!("{name}.crt")),
        key: directory.join(format!("{name}.key")),
    };
    std::fs::write(&certified.cert, &certified.pem).unwrap();
    std::fs::write(&certified.key, made.signing_key.serialize_pem()).unwrap();
    certified
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test]
async fn a_new_client_secret_is_used_from_the_next_call_on() {
    let mut app = TestApp::start().await;
    let mut browser = app.logged_in("alice").await;
    let at = |path: &str| Url::parse(&format!("{}{path}", app.url)).unwrap();
    let client = DevClient::new("shop", "another secret of the shop", &at("/bff/callback"), &at("/bff/logged-out"));
    app.provider.register(client);
    app.clock.advance(Duration::from_secs(301));
    let refused = browser.fetch(Method::GET, "/api/x").await;
    assert_eq!(refused.problem(), "provider-unavailable", "it is refused, and nobody is logged out");

    let reloaded = app.reload("CLOAKROOM_CLIENT_SECRET", "another secret of the shop").unwrap();
    assert_eq!(reloaded.exchanged, [Exchanged::ClientAuth("default".to_owned())]);
    app.clock.advance(Duration::from_secs(2)); // as long as a first failure brakes
    assert_eq!(browser.fetch(Method::GET, "/api/x").await.status, StatusCode::OK);
    assert!(app.logged_in("bob").await.is_logged_in().await);
    assert!(logs::count(&["exchanged client secret of default"]) > 0);
}

/// A server that answers every request over TLS with `{}`, and counts them.
async fn https_server(certified: &Certified) -> (String, Arc<AtomicUsize>) {
    let chain = vec![CertificateDer::from_pem_file(&certified.cert).unwrap()];
    let key = PrivateKeyDer::from_pem_file(&certified.key).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(chain, key).unwrap();
    let (acceptor, seen) = (TlsAcceptor::from(Arc::new(config)), Arc::new(AtomicUsize::new(0)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let counted = seen.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            let seen = counted.clone();
            let answer = service_fn(move |_| {
                seen.fetch_add(1, Ordering::SeqCst);
                async { Ok::<_, std::convert::Infallible>(http::Response::new("{}".to_owned())) }
            });
            let connection = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
            tokio::spawn(connection);
        }
    });
    (url, seen)
}

#[tokio::test]
async fn new_roots_are_for_providers_and_upstreams() {
    let directory = tempfile::tempdir().unwrap();
    let [ours, other] = ["ours", "other"].map(|name| certified(directory.path(), name));
    let (url, seen) = https_server(&ours).await;
    let setup = TestApp::with().variable("CLOAKROOM_CA_FILE", text(&other.cert)).variable("CLOAKROOM_ISSUER", &url);
    let mut app = setup.route(&format!("path = '/api'\ntoken = 'none'\nupstream = '{url}'")).start().await;
    let mut browser = app.browser();
    assert_eq!(browser.fetch(Method::GET, "/api/x").await.problem(), "upstream-unavailable");
    assert_eq!(browser.click("/bff/login").await.page_slug(), "provider-unavailable");
    assert_eq!(seen.load(Ordering::SeqCst), 0);

    let reloaded = app.reload("CLOAKROOM_CA_FILE", text(&ours.cert)).unwrap();
    assert_eq!((reloaded.exchanged, reloaded.needs_restart), (vec![Exchanged::Roots], vec![]));
    assert_eq!(browser.fetch(Method::GET, "/api/x").await.status, StatusCode::OK);
    app.clock.advance(Duration::from_mins(1));
    let page = browser.click("/bff/login").await;
    assert!(!page.cause().contains("connection"), "its document is read and does not fit: {}", page.cause());
    assert_eq!(seen.load(Ordering::SeqCst), 2);
}

/// Whether the app shows a certificate that is trusted by this root.
async fn shows(app: &TestApp, root: &Certified) -> bool {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(root.pem.as_bytes()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let connector = TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth()));
    let port = Url::parse(&app.url).unwrap().port().unwrap();
    let stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    connector.connect("localhost".try_into().unwrap(), stream).await.is_ok()
}

#[tokio::test]
async fn a_new_certificate_is_shown_to_who_comes_next() {
    let directory = tempfile::tempdir().unwrap();
    let [old, new] = ["old", "new"].map(|name| certified(directory.path(), name));
    let setup = TestApp::with()
        .variable("CLOAKROOM_URL", "https://localhost")
        .variable("CLOAKROOM__SERVER__TLS__CERT", text(&old.cert));
    let mut app = setup.variable("CLOAKROOM__SERVER__TLS__KEY", text(&old.key)).start().await;
    assert!(shows(&app, &old).await);

    // The usual renewal: other files under the same names.
    std::fs::copy(&new.cert, &old.cert).unwrap();
    let refused = app.reload("CLOAKROOM_CLIENT_SECRET", "new, and not used").unwrap_err();
    assert!(matches!(refused, ReloadError::Certificate(_)), "{refused}");
    assert!(shows(&app, &old).await, "the key does not fit yet");
    std::fs::copy(&new.key, &old.key).unwrap();
    let reloaded = app.reload("CLOAKROOM_CLIENT_SECRET", "a secret of the shop").unwrap();
    assert_eq!(reloaded.exchanged, [Exchanged::Certificate], "nothing was exchanged when the key did not fit");
    assert!(shows(&app, &new).await && !shows(&app, &old).await);
}

#[tokio::test]
async fn what_is_only_read_at_the_start_is_named_each_time() {
    let mut app = TestApp::with().variable("CLOAKROOM_SESSION_IDLE", "20m").start().await;
    for _ in 0..2 {
        let reloaded = app.reload("CLOAKROOM_SESSION_IDLE", "25m").unwrap();
        assert_eq!((reloaded.exchanged, reloaded.needs_restart), (vec![], vec!["session.idle".to_owned()]));
    }
    // A store that made its own key keeps it: with another one, nobody's session would open.
    let mut browser = app.logged_in("alice").await;
    let key = MasterKey::generate().to_base64url();
    let reloaded = app.reload("CLOAKROOM_KEY", key.expose()).unwrap();
    assert_eq!((reloaded.exchanged, reloaded.needs_restart.len()), (vec![], 2), "session.idle and keys.master");
    assert!(browser.is_logged_in().await);
}

/// The program itself.
struct Program {
    child: Child,
    lines: mpsc::Receiver<String>,
    _folder: TempDir,
}

impl Program {
    fn start(key: (&str, &str)) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cloakroom"));
        command.arg("serve").env_clear().env(key.0, key.1).stderr(Stdio::piped());
        // Nobody's `.env` is in a folder of its own.
        let folder = tempfile::tempdir().unwrap();
        command.current_dir(&folder);
        for (name, value) in [
            ("CLOAKROOM_URL", "http://localhost:8080"),
            ("CLOAKROOM_LISTEN", "127.0.0.1:0"),
            ("CLOAKROOM_ADMIN_LISTEN", "off"),
            ("CLOAKROOM_ISSUER", "https://id.invalid"),
            ("CLOAKROOM_CLIENT_ID", "shop"),
            ("CLOAKROOM_CLIENT_SECRET", "a secret"),
            ("CLOAKROOM_STORE", "memory:"),
        ] {
            command.env(name, value);
        }
        let mut child = command.spawn().unwrap();
        let (send, lines) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| send.send(line)));
        let program = Self { child, lines, _folder: folder };
        program.says("serving");
        program
    }

    fn hang_up(&self) {
        let sent = Command::new("sh").args(["-c", "kill -HUP \"$0\"", &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// Waits for a line with this text.
    fn says(&self, text: &str) -> String {
        let mut said = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(Duration::from_secs(20)) {
            if line.contains(text) {
                return line;
            }
            said.push(line);
        }
        panic!("no {text:?} in {said:#?}")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_program_reads_its_files_again_when_it_is_told_and_when_they_change() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys");
    let [old, new] = [(); 2].map(|()| MasterKey::generate().to_base64url().expose().clone());
    std::fs::write(&path, &old).unwrap();
    let program = Program::start(("CLOAKROOM__KEYS__MASTER__0__FILE", text(&path)));
    let first = program.says("seals");

    program.hang_up();
    program.says("nothing has changed");
    std::fs::write(&path, "no key").unwrap();
    program.hang_up();
    let refused = program.says("cannot be used; everything stays as it was");
    assert!(refused.contains("keys.master") && !refused.contains("no key"), "{refused}");

    // Nobody tells it of this one.
    std::fs::write(&path, &new).unwrap();
    let exchanged = program.says("exchanged master keys");
    let id = exchanged.split("gone: ").nth(1).unwrap();
    assert!(first.contains(id), "{first} and then {exchanged}");
    for key in [old, new] {
        assert!(!exchanged.contains(&key));
    }
}

#[test]
fn a_program_without_files_survives_a_hangup() {
    let key = MasterKey::generate().to_base64url();
    let program = Program::start(("CLOAKROOM_KEY", key.expose()));
    for _ in 0..2 {
        program.hang_up();
        program.says("nothing has changed");
    }
}
