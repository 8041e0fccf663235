//! Redis servers of the tests' own: one that all tests share, and such that a test may ill-treat.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use crate::{LIMIT, POLL, free_port};

pub(crate) mod groups;

/// A server on loopback. It ends with its owner, also if that is killed.
pub(crate) struct Server {
    pub(crate) port: u16,
    folder: PathBuf,
    arguments: Vec<String>,
    running: Option<Running>,
}

/// The server's process, and the shell that watches over it: it reads a pipe that only we hold, and ends the server when nobody does.
struct Running {
    shell: Child,
    pid: String,
}

impl Server {
    /// A server with nothing in it.
    pub(crate) fn start() -> Self {
        Self::with(&["--save", ""])
    }

    /// The same with other arguments; each is a word of the command line. It is up when this returns.
    pub(crate) fn with(arguments: &[&str]) -> Self {
        Self::listening(&["--port"], arguments)
    }

    /// The same speaking TLS only.
    pub(crate) fn with_tls(arguments: &[&str]) -> Self {
        Self::listening(&["--port", "0", "--tls-port"], arguments)
    }

    /// `at` comes before the number of its port.
    fn listening(at: &[&str], arguments: &[&str]) -> Self {
        let port = free_port();
        let number = port.to_string();
        let words = [at, &[number.as_str()], arguments].concat();
        Self::at(port, words.iter().map(ToString::to_string).collect(), folder())
    }

    /// One that listens where its arguments say, and works in this folder.
    fn at(port: u16, arguments: Vec<String>, folder: PathBuf) -> Self {
        let mut server = Self { port, folder, arguments, running: None };
        server.start_again();
        server
    }

    /// Starts it on the same port and in the same folder as before.
    pub(crate) fn start_again(&mut self) {
        let mut shell = Command::new("sh")
            .args(["-c", WATCH, "redis-server"])
            .args(&self.arguments)
            .args(["--bind", "127.0.0.1", "--dir"])
            .arg(&self.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("sh runs");
        let mut pid = String::new();
        let output = shell.stdout.take().expect("stdout is piped");
        BufReader::new(output).read_line(&mut pid).expect("the shell tells the server's pid");
        self.running = Some(Running { shell, pid: pid.trim().to_owned() });
        let start = Instant::now();
        while !self.answers() {
            assert!(start.elapsed() < LIMIT, "redis-server does not start");
            std::thread::sleep(POLL);
        }
    }

    /// Whether it says anything at all, be it that it wants a password.
    fn answers(&self) -> bool {
        std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok()
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.signal("KILL");
        self.running = None;
    }

    /// SIGSTOP: it keeps its connections and says nothing.
    pub(crate) fn pause(&self) {
        self.signal("STOP");
    }

    /// SIGCONT.
    pub(crate) fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let pid = &self.running.as_ref().expect("the server runs").pid;
        let sent = Command::new("kill").args(["-s", name, pid]).status().expect("kill runs");
        assert!(sent.success(), "SIG{name} reaches the server");
    }

    /// Its URL with a prefix that nobody else has.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}?prefix={}", self.port, fresh_prefix())
    }

    /// Asks it by the program that comes with it.
    ///
    /// # Panics
    /// If it refuses.
    pub(crate) fn cli(&self, words: &[&str]) -> String {
        cli(self.port, words)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.running = None;
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The server that all tests share; each with a prefix of its own.
pub(crate) fn shared() -> &'static Server {
    static SHARED: OnceLock<Server> = OnceLock::new();
    SHARED.get_or_init(Server::start)
}

pub(crate) fn fresh_prefix() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("test-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

pub(crate) fn cli(port: u16, words: &[&str]) -> String {
    let output = Command::new("redis-cli")
        .args(["-e", "-h", "127.0.0.1", "-p", &port.to_string()])
        .args(words)
        .output()
        .expect("redis-cli runs");
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert!(output.status.success(), "{words:?}: {text} {}", String::from_utf8_lossy(&output.stderr));
    text
}

/// A folder below `target`, which a test that is killed leaves behind.
fn folder() -> PathBuf {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder can be made").keep()
}

/// Waits until `condition` holds.
///
/// # Panics
/// If it does not in time; `what` says what was waited for.
pub(crate) async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < LIMIT, "waited in vain: {what}");
        tokio::time::sleep(POLL).await;
    }
}

/// Runs the server in the background, tells its pid, and kills it once our end of the pipe is closed.
const WATCH: &str = r#"redis-server "$@" </dev/null >/dev/null 2>&1 & echo $!; cat >/dev/null; kill -9 $! 2>/dev/null; wait $! 2>/dev/null"#;
