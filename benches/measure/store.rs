//! `measure store URL`: one session store, as Cloakroom uses it.
//!
//! ```text
//! fill ROWS            writes the rows below this number that are missing
//! load TASKS SECONDS   reads rows at random
//! touch TASKS SECONDS  writes session halves of rows at random
//! pass ROWS            inserts rows of its own one by one, then ends each by its `sid`: {"insert": …, "end": …}
//! expire ROWS SECONDS  writes rows of its own that all run out so many seconds from now
//! sweep                reads rows at random, before and while expired rows are removed: {"quiet": …, "meanwhile": …}
//! call SECONDS         calls an API through a Cloakroom in this process over this store, one call at a time
//! ```

use std::sync::Arc;
use std::time::Duration;

use cloakroom::store::{self, Ending, EndingTarget, Inserted, NewRow, Reason, SessionBackend, Tombstone, Updated};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::program::Program;
use crate::row::{self, Random};
use crate::samples::{Samples, during, until};
use crate::{Done, row::ISSUED_AT};

pub(crate) struct Store {
    backend: Arc<dyn SessionBackend>,
    /// Rows below this number are there.
    rows: u64,
    /// Where numbers begin that no row has had yet.
    unused: u64,
    /// When the rows that were made to expire have done so.
    expired_at: Instant,
    program: Option<Program>,
}

impl Store {
    pub(crate) async fn open(url: &str) -> Done<Self> {
        let backend = store::open(&store::Options::new(url)).await?;
        // An earlier process may have left rows of its own.
        let unused = PASSING + u64::from(std::process::id()) * PASSING;
        Ok(Self { backend, rows: 0, unused, expired_at: Instant::now(), program: None })
    }

    pub(crate) async fn told(&mut self, words: &[&str]) -> Done<Value> {
        match *words {
            ["fill", rows] => self.fill(rows.parse()?).await,
            ["load", tasks, seconds] => Ok(self.load(tasks.parse()?, seconds_of(seconds)?).await?.json()),
            ["touch", tasks, seconds] => Ok(self.touch(tasks.parse()?, seconds_of(seconds)?).await?.json()),
            ["pass", rows] => self.pass(rows.parse()?).await,
            ["expire", rows, seconds] => self.expire(rows.parse()?, seconds_of(seconds)?).await,
            ["sweep"] => self.sweep().await,
            ["call", seconds] => self.call(seconds_of(seconds)?).await,
            _ => Err("unknown command".into()),
        }
    }

    async fn fill(&mut self, rows: u64) -> Done<Value> {
        let (from, started) = (self.present(rows).await?, Instant::now());
        let inserts = (from..rows).map(|number| self.insert(number, LONG));
        let bytes: u64 = stream::iter(inserts)
            .buffer_unordered(CONCURRENT)
            .try_fold(0, async |sum, row| Ok(sum + row::bytes(&row)))
            .await?;
        self.rows = rows;
        Ok(json!({ "written": rows - from, "bytes": bytes, "seconds": started.elapsed().as_secs_f64() }))
    }

    /// Below which number the rows are there, `rows` at most. Rows are written in order.
    async fn present(&self, rows: u64) -> Done<u64> {
        let (mut present, mut missing) = (0, rows + 1);
        while missing - present > 1 {
            let middle = present.midpoint(missing);
            match self.backend.load(row::key(middle - 1)).await? {
                Some(_) => present = middle,
                None => missing = middle,
            }
        }
        Ok(present)
    }

    async fn load(&self, tasks: u64, length: Duration) -> Done<Samples> {
        during(tasks, length, self.loads()).await
    }

    fn loads(&self) -> impl Fn(u64) -> futures_util::future::BoxFuture<'static, Done<()>> + Send + Sync + use<> {
        let (backend, rows) = (Arc::clone(&self.backend), self.rows);
        move |random| {
            let (backend, key) = (Arc::clone(&backend), row::key(random % rows));
            Box::pin(async move { backend.load(key).await?.map(drop).ok_or_else(|| "a row is gone".into()) })
        }
    }

    async fn touch(&self, tasks: u64, length: Duration) -> Done<Samples> {
        let (backend, rows) = (Arc::clone(&self.backend), self.rows);
        let touches = move |random| {
            let (backend, key, session) =
                (Arc::clone(&backend), row::key(random % rows), row::session_half(&mut Random::new(random)));
            async move {
                match backend.touch(key, LONG, &session, None).await? {
                    Updated::Updated => Ok(()),
                    other => Err(format!("a row is {other:?}").into()),
                }
            }
        };
        during(tasks, length, touches).await
    }

    async fn pass(&mut self, rows: u64) -> Done<Value> {
        let numbers = self.take_numbers(rows);
        let (mut inserts, mut ends) = (Vec::new(), Vec::new());
        let started = Instant::now();
        for number in numbers.clone() {
            let row = row::row(number, LONG);
            let before = Instant::now();
            inserted(self.backend.insert(row::key(number), &row, None).await?)?;
            inserts.push(before.elapsed());
        }
        let inserted_at = Instant::now();
        for number in numbers {
            let ending = ending_of(number);
            let before = Instant::now();
            let ended = self.backend.end_matching(&ending).await?;
            ends.push(before.elapsed());
            if ended != 1 {
                return Err(format!("a term with one row ended {ended}").into());
            }
        }
        let (inserting, ending) = (inserted_at - started, inserted_at.elapsed());
        Ok(json!({ "insert": Samples::new(inserts, inserting).json(), "end": Samples::new(ends, ending).json() }))
    }

    async fn expire(&mut self, rows: u64, after: Duration) -> Done<Value> {
        let (numbers, started) = (self.take_numbers(rows), Instant::now());
        self.expired_at = started + after;
        let this = &*self;
        // A life of nothing at all would be no life.
        let life = || this.expired_at.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let inserts = numbers.map(|number| async move { this.insert(number, life()).await.map(drop) });
        stream::iter(inserts).buffer_unordered(CONCURRENT).try_collect::<()>().await?;
        Ok(json!({ "written": rows, "seconds": started.elapsed().as_secs_f64() }))
    }

    async fn sweep(&self) -> Done<Value> {
        let quiet = self.load(READERS, LOOK).await?;
        tokio::time::sleep_until(self.expired_at + A_MOMENT).await;
        let (started, stop) = (Instant::now(), CancellationToken::new());
        let meanwhile = tokio::spawn(until(READERS, stop.clone(), self.loads()));
        let removed = self.backend.remove_expired().await?;
        let took = started.elapsed();
        // A store that lets its rows expire by itself does so now.
        tokio::time::sleep_until(started + LOOK).await;
        stop.cancel();
        let meanwhile = meanwhile.await??;
        Ok(json!({
            "removed": removed, "seconds": took.as_secs_f64(), "quiet": quiet.json(), "meanwhile": meanwhile.json(),
        }))
    }

    async fn call(&mut self, length: Duration) -> Done<Value> {
        let program = match self.program.take() {
            Some(program) => program,
            None => Program::start(Arc::clone(&self.backend)).await?,
        };
        let samples = program.calls(length).await;
        self.program = Some(program);
        Ok(samples?.json())
    }

    async fn insert(&self, number: u64, live_for: Duration) -> Done<NewRow> {
        let row = row::row(number, live_for);
        inserted(self.backend.insert(row::key(number), &row, None).await?)?;
        Ok(row)
    }

    fn take_numbers(&mut self, count: u64) -> std::ops::Range<u64> {
        let from = self.unused;
        self.unused += count;
        from..self.unused
    }
}

/// What a back-channel logout of one `sid` does.
fn ending_of(number: u64) -> Ending {
    let term = row::sid(number);
    Ending {
        targets: vec![EndingTarget { all_of: vec![term], issued_not_after: Some(ISSUED_AT) }],
        tombstones: vec![Tombstone { term, issued_not_after: ISSUED_AT }],
        reason: Reason::ProviderLogout,
    }
}

fn inserted(outcome: Inserted) -> Done<()> {
    match outcome {
        Inserted::Inserted { .. } => Ok(()),
        other => Err(format!("a row was not inserted: {other:?}").into()),
    }
}

fn seconds_of(text: &str) -> Done<Duration> {
    Ok(Duration::try_from_secs_f64(text.parse()?)?)
}

/// Rows that live on.
const LONG: Duration = Duration::from_hours(24);
/// Inserts at the same time.
const CONCURRENT: usize = 64;
/// Tasks that read while expired rows are removed.
const READERS: u64 = 4;
/// How long they do at least.
const LOOK: Duration = Duration::from_secs(2);
/// Stores count milliseconds, by clocks of their own.
const A_MOMENT: Duration = Duration::from_millis(50);
/// No store that is measured holds as many rows.
const PASSING: u64 = 1 << 40;
