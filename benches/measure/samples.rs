//! How long things took.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::Done;
use crate::row::Random;

/// Durations of one kind of operation, and how long all of them took together.
pub(crate) struct Samples {
    nanos: Vec<u64>,
    took: Duration,
}

impl Samples {
    pub(crate) fn new(durations: impl IntoIterator<Item = Duration>, took: Duration) -> Self {
        let mut nanos: Vec<u64> = durations.into_iter().map(nanos).collect();
        nanos.sort_unstable();
        Self { nanos, took }
    }

    /// `count`, `rate` (per second), `seconds`, and in microseconds `p50`, `p99`, `max`.
    pub(crate) fn json(&self) -> Value {
        let seconds = self.took.as_secs_f64();
        json!({
            "count": self.nanos.len(),
            "rate": as_float(self.nanos.len() as u64) / seconds,
            "seconds": seconds,
            "p50": self.percentile(50),
            "p99": self.percentile(99),
            "max": self.percentile(100),
        })
    }

    fn percentile(&self, percent: usize) -> f64 {
        let at = (self.nanos.len() * percent / 100).min(self.nanos.len().saturating_sub(1));
        self.nanos.get(at).map_or(0.0, |&nanos| as_float(nanos) / 1000.0)
    }
}

/// Does the same thing over and over in `tasks` tasks, for this long. Each turn gets a random number.
pub(crate) async fn during<W>(
    tasks: u64,
    length: Duration,
    work: impl Fn(u64) -> W + Send + Sync + 'static,
) -> Done<Samples>
where
    W: Future<Output = Done<()>> + Send + 'static,
{
    let stop = CancellationToken::new();
    let (timer, over) = (stop.clone(), tokio::time::sleep(length));
    tokio::spawn(async move {
        over.await;
        timer.cancel();
    });
    until(tasks, stop, work).await
}

/// The same, until `stop`.
pub(crate) async fn until<W>(
    tasks: u64,
    stop: CancellationToken,
    work: impl Fn(u64) -> W + Send + Sync + 'static,
) -> Done<Samples>
where
    W: Future<Output = Done<()>> + Send + 'static,
{
    let (work, started) = (Arc::new(work), Instant::now());
    let repeated = (0..tasks).map(|task| tokio::spawn(repeat(task, stop.clone(), Arc::clone(&work))));
    let repeated: Vec<_> = repeated.collect();
    let mut durations = Vec::new();
    for task in repeated {
        durations.extend(task.await??);
    }
    Ok(Samples::new(durations, started.elapsed()))
}

async fn repeat<W>(task: u64, stop: CancellationToken, work: Arc<impl Fn(u64) -> W>) -> Done<Vec<Duration>>
where
    W: Future<Output = Done<()>>,
{
    let (mut random, mut durations) = (Random::new(task), Vec::new());
    while !stop.is_cancelled() {
        let work = work(random.next());
        let started = Instant::now();
        work.await?;
        durations.push(started.elapsed());
        // A store in memory never waits, and would let no other task have a turn.
        tokio::task::coop::consume_budget().await;
    }
    Ok(durations)
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[expect(clippy::cast_precision_loss, reason = "figures for people have a few digits")]
fn as_float(number: u64) -> f64 {
    number as f64
}
