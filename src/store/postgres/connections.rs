//! Connections, at most [`SIZE`], each used by one call at a time.
//!
//! A call runs in a task of its own, so that a caller who leaves never drops it in the middle: the protocol stays in step, a
//! transaction is not left open, and the verbs of several steps take them all. A connection comes back only from a call that went well;
//! any other is closed, and the next call opens a new one. `sqlx`'s own pool asks the server after every call whether the connection is
//! still good, without a limit in time; that is a second way to the server for every read, and a server that went silent would keep
//! its connections.

use std::collections::VecDeque;
use std::fmt;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{Done, Failure};

/// Cheap to clone.
#[derive(Clone)]
pub(super) struct Connections {
    options: Arc<PgConnectOptions>,
    limit: Duration,
    slots: Arc<Semaphore>,
    idle: Arc<Mutex<Idle>>,
}

/// Connections at rest, the one used last at the end.
#[derive(Default)]
struct Idle {
    resting: VecDeque<Resting>,
    /// When a call failed last. A restart of the server breaks all connections at once.
    failed_at: Option<Instant>,
}

struct Resting {
    connection: PgConnection,
    since: Instant,
}

impl Connections {
    /// No call takes longer than `limit`, nor waits longer than that for its turn.
    pub(super) fn new(options: PgConnectOptions, limit: Duration) -> Self {
        Self { options: Arc::new(options), limit, slots: Arc::new(Semaphore::new(SIZE)), idle: Arc::default() }
    }

    /// Does `work` on a connection, also if the caller leaves meanwhile. Who leaves before its turn has asked for nothing.
    pub(super) async fn run<T, W>(&self, work: W) -> Done<T>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Done<T>> + Send + 'static,
    {
        let turn = timeout(self.limit, self.slots.clone().acquire_owned()).await;
        let turn = turn.map_err(|_| Failure(format!("{SIZE} other calls do not end")))?;
        let connections = self.clone();
        let call = tokio::spawn(async move {
            let _turn = turn;
            let outcome = timeout(connections.limit, connections.work(work)).await;
            let outcome = outcome.unwrap_or_else(|_| Err(Failure("no answer in time".to_owned())));
            if outcome.is_err() {
                connections.idle().failed_at = Some(Instant::now());
            }
            outcome
        });
        match call.await.map_err(tokio::task::JoinError::try_into_panic) {
            Ok(outcome) => outcome,
            Err(Ok(panic)) => resume_unwind(panic),
            Err(Err(_)) => Err(Failure("the program ends".to_owned())),
        }
    }

    async fn work<T, W>(&self, work: W) -> Done<T>
    where
        W: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Done<T>>,
    {
        let mut connection = self.ready().await?;
        let outcome = work(&mut connection).await;
        if outcome.is_ok() {
            self.idle().put(connection);
        }
        outcome
    }

    /// A connection that answers: one that was used a moment ago, one that was asked, or a new one.
    async fn ready(&self) -> Done<PgConnection> {
        loop {
            let Some((mut connection, is_sure)) = self.idle().take() else { break };
            if is_sure || matches!(timeout(ASK_LIMIT, connection.ping()).await, Ok(Ok(()))) {
                return Ok(connection);
            }
            // It rested least, so the others are no better.
            self.idle().resting.clear();
        }
        Ok(self.options.connect().await?)
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Idle {
    fn put(&mut self, connection: PgConnection) {
        let since = Instant::now();
        self.resting.push_back(Resting { connection, since });
        while self.resting.front().is_some_and(|first| since - first.since > REST) {
            self.resting.pop_front();
        }
    }

    /// The connection used last, and whether it need not be asked.
    fn take(&mut self) -> Option<(PgConnection, bool)> {
        let Resting { connection, since } = self.resting.pop_back()?;
        let is_sure = since.elapsed() < SURE && self.failed_at.is_none_or(|failed_at| failed_at < since);
        Some((connection, is_sure))
    }
}

impl fmt::Debug for Connections {
    /// Not the options: they hold the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").field("free", &self.slots.available_permits()).finish_non_exhaustive()
    }
}

/// Each connection is a process of the server, and calls are short: sixteen carry more of them than a server of sixteen cores. Five
/// replicas stay below the 100 connections that a server takes unless told otherwise.
const SIZE: usize = 16;
/// A connection that was used so recently is not asked first. After a quick restart of the server the first calls, those of one moment,
/// may fail by it; the others are then asked.
const SURE: Duration = Duration::from_secs(1);
/// How long asking may take. What does not answer was forgotten by a firewall, or its server is gone.
const ASK_LIMIT: Duration = Duration::from_millis(500);
/// Connections that nobody needed for so long are closed.
const REST: Duration = Duration::from_mins(3);
