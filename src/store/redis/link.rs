//! [`Link`]: a connection that is made anew when it is of no use any more.
//!
//! A connection that breaks, does not answer in time, or leads to a server that has become a replica is dropped; the next call makes
//! a new one. All callers wait for the same attempt, and after a failed one all fail at once for a moment: an outage costs each call
//! at most [`CONNECT_LIMIT`] and [`RESPONSE_LIMIT`], and what waited is forgotten with its connection.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use redis::{Cmd, Pipeline, Value};
use tokio::time::{Instant, timeout};

use super::dial::Connection;
use super::failure::{Done, Failure};
use super::place::Place;

/// One connection at a time to one place.
pub(super) struct Link {
    place: Arc<Place>,
    current: Mutex<Option<Current>>,
}

/// The newest connection, or the attempt at it.
#[derive(Clone)]
struct Current {
    nth: u64,
    attempt: Shared<BoxFuture<'static, Result<Connection, Failed>>>,
}

#[derive(Clone)]
struct Failed {
    failure: Failure,
    at: Instant,
}

impl Link {
    pub(super) fn new(place: Arc<Place>) -> Self {
        Self { place, current: Mutex::default() }
    }

    /// Sends commands in one go and answers what each of them got. An error among the answers is the caller's to see.
    pub(super) async fn send(&self, commands: &[Cmd]) -> Done<Answers> {
        let (nth, mut connection) = self.connection().await?;
        let mut pipeline = Pipeline::with_capacity(commands.len());
        for command in commands {
            pipeline.add_command(command.clone());
        }
        let answers = connection.commands.send_packed_commands(&pipeline, 0, commands.len()).await;
        let values = answers.map_err(|error| {
            self.forget(nth);
            Failure::asking(&error)
        })?;
        let refused = |value: &Value| matches!(value, Value::ServerError(error) if Failure::refused(error, &connection.node).wants_another_server());
        if values.iter().any(refused) {
            self.forget(nth);
        }
        let from = connection.node;
        Ok(Answers { nth, values: values.into_iter().map(|value| answer(value, &from)).collect() })
    }

    async fn connection(&self) -> Done<(u64, Connection)> {
        loop {
            let Current { nth, attempt } = self.current();
            match attempt.await {
                Ok(connection) => return Ok((nth, connection)),
                Err(Failed { failure, at }) if at.elapsed() < PAUSE => return Err(failure),
                Err(_) => self.forget(nth),
            }
        }
    }

    fn current(&self) -> Current {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let place = &self.place;
        current
            .get_or_insert_with(|| {
                // Counted per place, so that a number stands for one connection of this link.
                let nth = place.next();
                let task = tokio::spawn(timeout(CONNECT_LIMIT, Arc::clone(place).connect()));
                let attempt = task.map(|outcome| {
                    let failure = match outcome {
                        Ok(Ok(Ok(connection))) => return Ok(connection),
                        Ok(Ok(Err(failure))) => failure,
                        Ok(Err(_)) => Failure::Unreachable(format!("none within {CONNECT_LIMIT:?}")),
                        Err(_) => Failure::Closing,
                    };
                    Err(Failed { failure, at: Instant::now() })
                });
                Current { nth, attempt: attempt.boxed().shared() }
            })
            .clone()
    }

    /// New callers get a new connection.
    pub(super) fn renew(&self) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The connection with this number is not for new callers. Those that wait for an answer of it still may get one.
    fn forget(&self, nth: u64) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.as_ref().is_some_and(|current| current.nth == nth) {
            *current = None;
        }
    }
}

/// What a connection answered.
pub(super) struct Answers {
    /// Which connection it was.
    pub(super) nth: u64,
    /// One answer per command, in their order.
    pub(super) values: Vec<Done<Value>>,
}

fn answer(value: Value, from: &super::target::Node) -> Done<Value> {
    match value {
        Value::ServerError(error) => Err(Failure::refused(&error, from)),
        value => Ok(value),
    }
}

/// How long an answer may take. Callers have a limit of their own; this one tells a dead connection from a slow one.
pub(super) const RESPONSE_LIMIT: Duration = Duration::from_secs(2);
/// How long a connection may take, with looking for the primary, TLS and login.
pub(super) const CONNECT_LIMIT: Duration = Duration::from_secs(2);
/// How long nobody tries again after a failed attempt.
const PAUSE: Duration = Duration::from_millis(100);
