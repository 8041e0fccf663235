//! [`Lines`]: our connections to one server.

use std::sync::Arc;

use redis::{Cmd, Value, cmd};

use super::failure::{Done, Failure, read};
use super::link::{Answers, Link};
use super::place::Place;
use super::request::Request;

/// Connections to one server. Where replicas must confirm writes, these have a connection of their own: `WAIT` holds up all that
/// comes after it on the same one, and reads shall not stand in that queue.
pub(super) struct Lines {
    reads: Link,
    writes: Option<Confirmed>,
}

struct Confirmed {
    link: Link,
    replicas: u32,
}

impl Lines {
    pub(super) fn new(place: &Arc<Place>, replicas: u32) -> Self {
        let writes = (replicas > 0).then(|| Confirmed { link: Link::new(Arc::clone(place)), replicas });
        Self { reads: Link::new(Arc::clone(place)), writes }
    }

    /// One request. With `asking`, at a node that its slot is on the way to.
    pub(super) async fn ask(&self, request: &Request, asking: bool) -> Done<Value> {
        let answer = self.one(request.command(), request.writes, asking).await;
        match answer {
            Err(failure) if failure.has_code("NOSCRIPT") => {
                self.one(request.whole_command(), request.writes, asking).await
            }
            answer => answer,
        }
    }

    async fn one(&self, command: Cmd, writes: bool, asking: bool) -> Done<Value> {
        let commands = if asking { vec![cmd("ASKING"), command] } else { vec![command] };
        let mut answers = self.send(commands, writes).await?;
        answers.pop().unwrap_or(Err(Failure::Unexpected("nothing")))
    }

    /// Requests in one go, all of them reading or all of them writing; one answer for each.
    pub(super) async fn ask_all(&self, requests: &[Request]) -> Done<Vec<Done<Value>>> {
        let writes = requests.iter().any(|request| request.writes);
        self.send(requests.iter().map(Request::command).collect(), writes).await
    }

    /// A command that has no key, and which connection answered it.
    pub(super) async fn ask_server(&self, command: &Cmd) -> Done<(Value, u64)> {
        let Answers { nth, mut values } = self.reads.send(std::slice::from_ref(command)).await?;
        let answer = values.pop().unwrap_or(Err(Failure::Unexpected("nothing")))?;
        Ok((answer, nth))
    }

    async fn send(&self, mut commands: Vec<Cmd>, writes: bool) -> Done<Vec<Done<Value>>> {
        let Some(confirmed) = self.writes.as_ref().filter(|_| writes) else {
            return Ok(self.reads.send(&commands).await?.values);
        };
        // On the same connection: it waits for what this connection has written.
        commands.push(cmd("WAIT").arg(confirmed.replicas).arg(WAIT_MILLIS).take());
        let mut answers = confirmed.link.send(&commands).await?.values;
        if answers.iter().any(|answer| answer.as_ref().is_err_and(Failure::wants_another_server)) {
            self.reads.renew(); // it leads to the same server, which answers reads as if nothing had happened
        }
        let count: u32 = read(answers.pop().unwrap_or(Err(Failure::Unexpected("nothing")))?)?;
        // A refused command has written nothing, and is told as refused.
        if count < confirmed.replicas && answers.iter().any(Result::is_ok) {
            return Err(Failure::Unconfirmed { confirmed: count, wanted: confirmed.replicas });
        }
        Ok(answers)
    }
}

/// How long replicas have to confirm; less than an answer may take.
const WAIT_MILLIS: u32 = 1000;
