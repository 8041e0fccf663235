//! What a crowd stands in: the program, somebody who is logged in, and what is measured of both.

use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::api::{Api, Silent};
use super::client::Client;
use crate::browser::Browser;
use crate::process::Process;
use crate::provider::{Provider, Settings, Software};
use crate::replicas::world::Replica;
use crate::soak::memory::resident;
use crate::upstream::Upstream;
use crate::{cloakroom, eventually};

/// One process, with routes `/api` to an API that is well, `/crowd` and `/silent`.
pub(super) struct World {
    pub(super) api: Api,
    pub(super) silent: Silent,
    replica: Replica,
    url: String,
    cookies: String,
    _upstream: Upstream,
    _provider: Provider,
    _folder: TempDir,
}

impl World {
    pub(super) async fn start() -> Self {
        assert_enough_files();
        let (upstream, api, silent) = (Upstream::start().await, Api::start().await, Silent::start().await);
        let (url, folder) = (cloakroom::free_url(), cloakroom::assets());
        let mut provider = Provider::down(Settings { software: Software::Development, ..Settings::default() }, &url);
        provider.come_up().await;
        let routes = format!("/api={},/crowd={},/silent={}", upstream.url, api.url, silent.url);
        let mut command = cloakroom::among(&url, &provider, &upstream, folder.path());
        command
            .arg("serve")
            .env("CLOAKROOM_ROUTES", routes)
            .env("CLOAKROOM_LISTEN", url.replace("http://localhost", "127.0.0.1"))
            .env("CLOAKROOM_ADMIN_LISTEN", "127.0.0.1:0")
            // What waits for a disk, which other tests use at the same time, says nothing about crowds.
            .env("CLOAKROOM_STORE", "memory:")
            .env("CLOAKROOM_KEY", cloakroom::keygen());
        let replica = Replica::ready(Process::start(&mut command)).await;
        let mut browser = Browser::new(&url);
        browser.go_through(replica.address);
        browser.log_in("alice", "/").await;
        let cookies = browser.cookies();
        Self { api, silent, replica, url, cookies, _upstream: upstream, _provider: provider, _folder: folder }
    }

    /// A call of the page by who is logged in, with its blank line; `more` are further header lines.
    pub(super) fn request(&self, method: &str, path: &str, more: &str) -> String {
        self.strangers_request(method, path, &format!("Cookie: {}\r\n{more}", self.cookies))
    }

    /// The same by nobody who is known.
    pub(super) fn strangers_request(&self, method: &str, path: &str, more: &str) -> String {
        let host = self.url.trim_start_matches("http://");
        format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: {}\r\nX-CSRF: 1\r\n{more}\r\n", self.url)
    }

    pub(super) async fn connect(&self) -> Client {
        Client::connect(self.replica.address).await
    }

    pub(super) async fn connect_with(&self, bytes: &str) -> Client {
        let mut client = self.connect().await;
        client.send(bytes.as_bytes()).await;
        client
    }

    /// How many files the process has open, which connections are.
    fn files(&self) -> usize {
        let files = std::fs::read_dir(format!("/proc/{}/fd", self.replica.id())).expect("the process is there");
        files.count()
    }

    fn resident(&self) -> u64 {
        resident(self.replica.id()).expect("the process is there")
    }

    /// Somebody else's calls, one after the other, each on a connection of its own. How long each took.
    async fn calls(&self, count: usize) -> Vec<Duration> {
        let call = self.request("GET", "/api/orders", "");
        let mut took = Vec::with_capacity(count);
        for _ in 0..count {
            let began = Instant::now();
            let answer = self.connect_with(&call).await.answer().await;
            took.push(began.elapsed());
            let body = String::from_utf8_lossy(&answer.body);
            assert_eq!((answer.status, &*body), (200, "{}"), "{}", self.replica.log());
        }
        took
    }
}

/// What was there before a crowd, and how calls fare beside it.
pub(super) struct Crowd {
    name: &'static str,
    size: usize,
    files: usize,
    /// In KiB.
    resident: u64,
    alone: Vec<Duration>,
    beside: Vec<Duration>,
    /// In KiB.
    largest: u64,
}

impl Crowd {
    pub(super) async fn before(world: &World, name: &'static str) -> Self {
        let alone = world.calls(super::CALLS).await;
        let (files, resident) = (world.files(), world.resident());
        Self { name, size: 0, files, resident, alone, beside: Vec::new(), largest: resident }
    }

    /// # Panics
    /// If the process has fewer connections than a crowd of this `size` comes to.
    pub(super) fn stands(&mut self, world: &World, size: usize) {
        let files = world.files();
        assert!(
            files >= size + self.files - SPARE,
            "{files} files are open, {} were, {size} should be more",
            self.files
        );
        self.size = size;
        self.largest = self.largest.max(world.resident());
    }

    pub(super) async fn calls_beside(&mut self, world: &World, count: usize) {
        self.beside.extend(world.calls(count).await);
        self.largest = self.largest.max(world.resident());
    }

    /// Waits until nothing is left of it, tells what it cost, and ends the program.
    pub(super) async fn goes(mut self, mut world: World) {
        assert!(self.beside.len() >= super::CALLS, "only {} calls were made beside it", self.beside.len());
        eventually("the connections are gone", || (world.files() <= self.files + SPARE).then_some(())).await;
        let left = self.memory_left(&world).await;
        self.tell(left);
        assert!(left <= self.resident + LEFT, "{left} KiB are resident, {} were before", self.resident);
        assert_eq!(world.replica.stop().await.code(), Some(0), "{}", world.replica.log());
        let log = world.replica.log();
        let errors: Vec<_> = log.lines().filter(|line| line.contains(" ERROR ") || line.contains("panicked")).collect();
        assert!(errors.is_empty(), "{errors:#?}");
    }

    /// An allocator gives back what is free when it is asked for something, and not at once.
    async fn memory_left(&self, world: &World) -> u64 {
        let began = Instant::now();
        while world.resident() > self.resident + LEFT && began.elapsed() < crate::LIMIT / 2 {
            world.calls(10).await;
            tokio::time::sleep(crate::POLL).await;
        }
        world.resident()
    }

    #[expect(clippy::print_stdout, reason = "the figures are for who reads them")]
    fn tell(&mut self, left: u64) {
        println!("{} {}", self.size, self.name);
        for (calls, took) in [("alone", &mut self.alone), ("beside", &mut self.beside)] {
            took.sort_unstable();
            let (median, late) = (took[took.len() / 2], took[took.len() * 99 / 100]);
            println!("  calls {calls:<7}{:>6}   median {median:>10.1?}   p99 {late:>10.1?}", took.len());
        }
        let each = self.largest.saturating_sub(self.resident) * 1024 / self.size as u64;
        println!(
            "  KiB resident: {} before, {} at most ({each} bytes for each), {left} after",
            self.resident, self.largest
        );
    }
}

/// # Panics
/// If this process, and so the program it starts, may not have as many files as the largest crowd needs.
fn assert_enough_files() {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("Linux tells");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("it is among them");
    let soft = line.split_whitespace().nth(3).expect("a limit has a value");
    let enough = soft == "unlimited" || soft.parse::<u64>().expect("a number") >= FILES;
    assert!(
        enough,
        "{soft} open files are too few for ten thousand connections: ulimit -n {FILES}, which scripts/test does"
    );
}

const FILES: u64 = 16_384;
/// Connections that others have: to the APIs, to the provider, of calls that have just ended.
const SPARE: usize = 16;
/// In KiB: what an allocator may keep of a crowd. A leak of one buffer for each of ten thousand would be more.
const LEFT: u64 = 96 * 1024;
