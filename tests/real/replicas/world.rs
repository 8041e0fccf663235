//! Several processes of the program over one store, with one provider and one API.

use std::net::SocketAddr;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::load::Answer;
use super::store::{Kind, Store};
use super::token_gate::TokenGate;
use crate::browser::{Browser, Fetch, client};
use crate::gate::Gate;
use crate::process::Process;
use crate::provider::{Provider, Settings};
use crate::upstream::Upstream;
use crate::{cloakroom, eventually};

/// Everything a scenario plays in.
pub(crate) struct World {
    pub(crate) replicas: Vec<Replica>,
    pub(crate) provider: Provider,
    /// Before the provider: refuses connections.
    pub(crate) provider_gate: Gate,
    /// Behind that: stops a refresh.
    pub(crate) token_gate: TokenGate,
    pub(crate) store: Store,
    pub(crate) upstream: Upstream,
    url: String,
    key: String,
    folder: TempDir,
    variables: Variables,
}

/// How replicas are configured beside what they all have in common.
pub(crate) type Variables = &'static [(&'static str, &'static str)];

/// One process of the program.
pub(crate) struct Replica {
    pub(crate) address: SocketAddr,
    admin: SocketAddr,
    process: Process,
    is_killed: bool,
}

impl World {
    /// `count` replicas, all of them ready.
    pub(crate) async fn start(kind: Kind, count: usize, settings: Settings) -> Self {
        Self::over(Store::shared(kind).await, count, settings).await
    }

    /// The same over a store that a test has chosen.
    pub(crate) async fn over(store: Store, count: usize, settings: Settings) -> Self {
        Self::configured(store, count, settings, &[]).await
    }

    /// The same with replicas that a test has configured.
    pub(crate) async fn configured(store: Store, count: usize, settings: Settings, variables: Variables) -> Self {
        let (url, upstream) = (cloakroom::free_url(), Upstream::start().await);
        let provider = Provider::down(settings, &url);
        let token_gate = TokenGate::before(provider.address()).await;
        let provider_gate = Gate::before(token_gate.address);
        let mut provider = provider.behind(provider_gate.address);
        provider.come_up().await;
        let (key, folder) = (cloakroom::keygen(), cloakroom::assets());
        let replicas = Vec::new();
        let mut world =
            Self { replicas, provider, provider_gate, token_gate, store, upstream, url, key, folder, variables };
        // Where the provider looks for its client.
        let public = world.url.replace("http://localhost", "127.0.0.1");
        world.replicas.push(world.replica_at(&public).await);
        while world.replicas.len() < count {
            world.replicas.push(world.another_replica().await);
        }
        world
    }

    /// One more process over the same store, at an address of its own.
    pub(crate) async fn another_replica(&self) -> Replica {
        self.replica_at("127.0.0.1:0").await
    }

    async fn replica_at(&self, listen: &str) -> Replica {
        Replica::ready(Process::start(self.program().arg("serve").env("CLOAKROOM_LISTEN", listen))).await
    }

    /// The program as the replicas are configured, with nothing to do yet.
    pub(crate) fn program(&self) -> Command {
        let mut command = cloakroom::among(&self.url, &self.provider, &self.upstream, self.folder.path());
        command
            .env("CLOAKROOM_ADMIN_LISTEN", "127.0.0.1:0")
            .env("CLOAKROOM_STORE", &self.store.url)
            .env("CLOAKROOM_KEY", &self.key)
            .env("CLOAKROOM_LOG_LEVEL", "cloakroom=debug,info")
            // Everybody comes from one address.
            .env("CLOAKROOM__SERVER__LOGIN_RATE", "off")
            .env("CLOAKROOM__STORE__LEASE", seconds(LEASE))
            .env("CLOAKROOM__PROVIDERS__DEFAULT__TIMEOUT", seconds(PROVIDER_TIMEOUT))
            .envs(self.variables.iter().copied());
        command
    }

    /// A browser that is logged in by the first replica.
    pub(crate) async fn logged_in(&self, user: &str) -> Browser {
        self.logged_in_by(0, user).await
    }

    /// The same by another one.
    pub(crate) async fn logged_in_by(&self, replica: usize, user: &str) -> Browser {
        let mut browser = Browser::new(&self.url);
        browser.go_through(self.replicas[replica].address);
        browser.log_in(user, "/").await;
        assert_eq!(browser.user().await["sub"], self.provider.subject(user));
        browser
    }

    /// Where browsers believe they are.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.replicas.iter().map(|replica| replica.address).collect()
    }

    /// An API call by one replica.
    pub(crate) async fn call(&self, fetch: &Fetch, replica: usize) -> Answer {
        Answer::of(&fetch.clone().through(self.replicas[replica].address), CALL).await
    }

    /// Waits until the first access token of everybody who is logged in has run out.
    pub(crate) async fn tokens_run_out(&self) {
        // The replicas count from when a token came, which was before this.
        tokio::time::sleep(Duration::from_secs(self.provider.settings.access_token_lifetime.into())).await;
    }

    /// Calls by one replica until there is an answer `wanted`, for at most `limit`, and says all of them.
    pub(crate) async fn call_until(
        &self,
        fetch: &Fetch,
        replica: usize,
        limit: Duration,
        wanted: impl Fn(&Answer) -> bool,
    ) -> Vec<Answer> {
        let (start, mut answers) = (Instant::now(), Vec::new());
        loop {
            let answer = self.call(fetch, replica).await;
            let found = wanted(&answer);
            answers.push(answer);
            if found {
                return answers;
            }
            assert!(start.elapsed() < limit, "not within {limit:?}: {answers:#?}\n{}", self.logs());
            tokio::time::sleep(crate::POLL).await;
        }
    }

    /// What the replicas that are there have logged.
    pub(crate) fn logs(&self) -> String {
        self.replicas.iter().map(Replica::log).collect::<Vec<_>>().join("\n--- another replica\n")
    }

    /// One session has ended, because an answer was lost, and somebody can see it.
    pub(crate) async fn assert_one_refresh_lost(&self) {
        assert_eq!(self.counted("cloakroom_refreshes_total{outcome=\"lost\"}").await, 1, "{}", self.logs());
        assert_eq!(self.counted("cloakroom_sessions_ended_total{reason=\"refresh-lost\"}").await, 1);
        assert_eq!(self.counted("cloakroom_sessions_ended_total").await, 1, "no other session has ended");
    }

    /// No session has ended: not by the replicas that are there.
    pub(crate) async fn assert_nobody_lost(&self) {
        assert_eq!(self.counted("cloakroom_sessions_ended_total").await, 0, "{}", self.logs());
    }

    /// What the replicas that are there have counted under all names that begin like this, together.
    async fn counted(&self, name: &str) -> u64 {
        let mut sum = 0;
        for replica in self.replicas.iter().filter(|replica| !replica.is_killed) {
            let counts = replica.metrics().await;
            let values =
                counts.lines().filter(|line| line.starts_with(name)).filter_map(|line| line.rsplit(' ').next());
            sum += values.map(|value| value.parse::<u64>().expect("a count")).sum::<u64>();
        }
        sum
    }

    /// So many refresh tokens were exchanged, and not one more.
    pub(crate) async fn assert_refreshes(&self, count: usize) {
        // What the provider says may arrive after what it answered.
        eventually("the refreshes", || (self.provider.refreshes() >= count).then_some(())).await;
        assert_eq!(self.provider.refreshes(), count, "{}", self.logs());
    }

    /// No refresh token came twice, and none was refused.
    pub(crate) fn assert_nothing_refused(&self) {
        for kind in ["grant-refused", "reuse-allowed", "broken"] {
            assert_eq!(self.provider.events(kind), [] as [Value; 0], "{}", self.logs());
        }
    }
}

impl Replica {
    /// A process that was just started, once it listens.
    pub(crate) async fn ready(mut process: Process) -> Self {
        let lines = process.lines().clone();
        let addresses = eventually("the program listens", || {
            let lines = lines.all();
            assert!(!process.is_over(), "the program does not start:\n{}", lines.join("\n"));
            let said = |words: &str| lines.iter().find_map(|line| listening(line, words));
            said(" serving ").zip(said(" answering health checks"))
        });
        let (address, admin) = addresses.await;
        Self { address, admin, process, is_killed: false }
    }

    async fn metrics(&self) -> String {
        let answer = client().get(format!("http://{}/metrics", self.admin)).send().await.expect("it is there");
        answer.text().await.expect("metrics are text")
    }

    /// What an operator asks of it; how many there were.
    pub(crate) async fn end_sessions_of(&self, subject: &str, admin_token: &str) -> u64 {
        let url = format!("http://{}/sessions?sub={subject}", self.admin);
        let answer = client().delete(url).bearer_auth(admin_token).send().await.expect("it is there");
        let told: Value = serde_json::from_str(&answer.text().await.expect("it is text")).expect("it is JSON");
        told["ended"].as_u64().unwrap_or_else(|| panic!("{told}"))
    }

    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// SIGKILL: it can do nothing more.
    pub(crate) async fn kill(&mut self) {
        self.process.kill().await;
        self.is_killed = true;
    }

    /// SIGTERM, and the wait until it is over.
    pub(crate) async fn stop(&mut self) -> ExitStatus {
        self.process.terminate();
        self.process.ended().await
    }

    pub(crate) fn log(&self) -> String {
        self.process.lines().all().join("\n")
    }
}

/// The address in the line that has these words.
fn listening(line: &str, words: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once(words)?;
    rest.split_once("listen=")?.1.split_whitespace().next()?.parse().ok()
}

fn seconds(duration: Duration) -> String {
    format!("{}s", duration.as_secs())
}

/// L: how long a replica has a refresh token for itself unless it says more.
pub(crate) const LEASE: Duration = Duration::from_secs(1);
/// D: how long one call to the provider may take.
pub(crate) const PROVIDER_TIMEOUT: Duration = Duration::from_secs(3);
/// How soon everything is well again after an outage, without a restart.
pub(crate) const RECOVERED: Duration = Duration::from_secs(15);
/// A call that needs a token.
pub(crate) const CALL: &str = "/api/orders";
