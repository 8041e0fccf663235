//! Mixed traffic for a while, with replicas that are restarted and killed: memory stays flat, nothing is left behind, and nothing
//! happens that has no name.
//!
//! `scripts/soak` runs it for longer than half a minute: `CLOAKROOM_SOAK_SECONDS`.

mod ledger;
pub(crate) mod memory;
mod people;

use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::ledger::{Ledger, Outcome};
use self::memory::Memory;
use self::people::Person;
use crate::browser::Balancer;
use crate::provider::Settings;
use crate::replicas::store::Kind;
use crate::replicas::world::World;

/// Three replicas, dozens of people, and what is known of them.
struct Soak {
    world: World,
    balancer: Balancer,
    ledger: Ledger,
    memory: Memory,
    logs: Vec<String>,
}

mod mixed_traffic_leaves_nothing_behind {
    use super::{Kind, soak};

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn on_redis() {
        soak(Kind::Redis).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn on_postgres() {
        soak(Kind::Postgres).await;
    }
}

async fn soak(kind: Kind) {
    let length = length();
    let mut soak = Soak::start(kind, length / 3).await;
    let (stop, started) = (CancellationToken::new(), Instant::now());
    let people = soak.people(&stop);

    let interval = (length / 6).min(RESTART_EVERY);
    for disturbance in 1.. {
        soak.watch(interval.min(length.saturating_sub(started.elapsed()))).await;
        if started.elapsed() >= length {
            break;
        }
        match disturbance {
            3 => soak.kill_one().await,
            _ => soak.restart_one().await,
        }
    }
    stop.cancel();
    for person in people {
        person.await.expect("people do not panic");
    }

    soak.end().await;
}

impl Soak {
    async fn start(kind: Kind, warm_up: Duration) -> Self {
        let settings = Settings { access_token_lifetime: 4, given_consent: true, ..Settings::default() };
        let world = World::start(kind, 3, settings).await;
        let balancer = Balancer::over(&world.addresses());
        Self { world, balancer, ledger: Ledger::default(), memory: Memory::new(warm_up), logs: Vec::new() }
    }

    fn people(&self, stop: &CancellationToken) -> Vec<JoinHandle<()>> {
        let person = |nth| {
            let (url, balancer) = (self.world.url().to_owned(), self.balancer.clone());
            tokio::spawn(Person { nth, url, balancer, ledger: self.ledger.clone(), stop: stop.clone() }.live())
        };
        (0..PEOPLE).map(person).collect()
    }

    /// Samples memory for a while.
    async fn watch(&mut self, length: Duration) {
        let started = Instant::now();
        while started.elapsed() < length {
            for replica in &self.world.replicas {
                self.memory.sample(replica.id());
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    /// SIGTERM to the second replica, and a new one in its place. The first one lives as long as the test.
    async fn restart_one(&mut self) {
        let mut old = self.world.replicas.remove(1);
        assert_eq!(old.stop().await.code(), Some(0), "{}", old.log());
        self.balancer.remove(old.address);
        self.logs.push(old.log());
        self.add_one().await;
    }

    /// SIGKILL to it.
    async fn kill_one(&mut self) {
        let mut old = self.world.replicas.remove(1);
        self.ledger.note_kill();
        old.kill().await;
        self.balancer.remove(old.address);
        self.logs.push(old.log());
        self.add_one().await;
    }

    async fn add_one(&mut self) {
        let new = self.world.another_replica().await;
        self.balancer.add(new.address);
        self.world.replicas.push(new);
    }

    async fn end(mut self) {
        self.stop_all().await;
        self.tell();
        self.ledger.assert_all_named();
        for outcome in [Outcome::LoggedIn, Outcome::Answered, Outcome::LoggedOut] {
            assert!(self.ledger.count(outcome) > 0, "{outcome:?} never came to pass");
        }
        let (refused, lost) = (self.world.provider.events("grant-refused"), self.ledger.count(Outcome::LostByKill));
        assert!(refused.is_empty() || lost > 0, "the provider refused {refused:#?}");
        let errors: Vec<_> =
            self.logs.iter().flat_map(|log| log.lines()).filter(|line| line.contains(" ERROR ")).collect();
        assert!(errors.is_empty(), "{errors:#?}");
        self.memory.assert_flat(GROWTH);
    }

    /// Nobody calls any more: what is still under way would keep a replica from ending.
    async fn stop_all(&mut self) {
        for replica in &mut self.world.replicas {
            let told = Instant::now();
            assert_eq!(replica.stop().await.code(), Some(0), "{}", replica.log());
            assert!(told.elapsed() < DRAINED, "something was under way for {:?}:\n{}", told.elapsed(), replica.log());
            self.logs.push(replica.log());
        }
    }

    #[expect(clippy::print_stdout, reason = "the table is what it is run for")]
    fn tell(&self) {
        let (ledger, memory) = (&self.ledger, &self.memory);
        println!("{ledger}{:<24}{:>10}", "refreshes", self.world.provider.refreshes());
        println!("{:<24}{:>10}", "replicas passed over", self.balancer.passed_over());
        println!("{:<24}{:>10}", "grants refused", self.world.provider.events("grant-refused").len());
        println!("\n{memory}");
    }
}

#[expect(clippy::disallowed_methods, reason = "a test has no configuration but its environment")]
fn length() -> Duration {
    let told = std::env::var("CLOAKROOM_SOAK_SECONDS");
    told.map_or(LENGTH, |seconds| Duration::from_secs(seconds.parse().expect("whole seconds")))
}

const LENGTH: Duration = Duration::from_secs(30);
const PEOPLE: usize = 36;
const RESTART_EVERY: Duration = Duration::from_secs(30);
/// A replica that nobody calls is gone within this.
const DRAINED: Duration = Duration::from_secs(5);
/// In KiB, since a third of the time was over.
const GROWTH: u64 = 8 * 1024;
