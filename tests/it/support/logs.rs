//! Everything the program logs during the tests, so that it can be searched for secrets.

use std::io::Write;
use std::sync::{Mutex, OnceLock, PoisonError};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static INSTALLED: OnceLock<()> = OnceLock::new();

/// Starts to capture, at a level finer than anybody runs in production.
pub(crate) fn capture() {
    INSTALLED.get_or_init(|| {
        let filter = EnvFilter::new("debug,cloakroom=trace");
        tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false).with_writer(Captured).init();
    });
}

/// Panics if a secret was logged. Says which kind, not which.
pub(crate) fn assert_holds_none_of(secrets: impl IntoIterator<Item = (String, String)>) {
    let log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    let log = String::from_utf8_lossy(&log).into_owned();
    for (what, secret) in secrets {
        assert!(secret.len() < 8 || !log.contains(&secret), "the log holds {what}");
    }
}

/// Why a request was answered with an error: the `cause` in its line of the access log.
pub(crate) fn cause_of(request_id: &str) -> Option<String> {
    let log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    let log = String::from_utf8_lossy(&log);
    let id = format!("id=\"{request_id}\"");
    let line = log.lines().find(|line| line.contains("cloakroom::access: ") && line.contains(&id));
    let line = line.unwrap_or_else(|| panic!("no line for the request {request_id}"));
    // Written as a Rust string literal, and last.
    line.split_once(" cause=").map(|(_, cause)| serde_json::from_str(cause).expect("plain text"))
}

/// How many lines hold all of these.
pub(crate) fn count(parts: &[&str]) -> usize {
    let log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    let log = String::from_utf8_lossy(&log);
    log.lines().filter(|line| parts.iter().all(|part| line.contains(part))).count()
}

#[derive(Clone, Copy)]
struct Captured;

impl Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Captured {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        *self
    }
}
