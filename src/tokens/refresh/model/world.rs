//! The simulated world: every call to the store and the provider waits here until the search lets it happen.
//!
//! Nothing happens by itself: a call is executed, answered, lost or delayed by a [`Move`](super::moves::Move). All else that runs
//! is a function of the answers and of time, which stands still while anything prompt can happen.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::panic::resume_unwind;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::call::{Abandoning, Asked, Call, Executed, Fate, Kind, Request};
use super::clock::SimulatedClock;
use super::faults::Faults;
use super::monitor::Monitor;
use super::provider::Provider;
use crate::store::SessionBackend;

/// See the module.
#[derive(Debug)]
pub(super) struct World {
    inner: Mutex<Inner>,
    woken: Notify,
    crashes: Vec<CancellationToken>,
    clock: SimulatedClock,
}

/// What the moves work on.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) outside: Outside,
    pub(super) calls: Vec<Call>,
    pub(super) replicas: Vec<Replica>,
    pub(super) faults: Faults,
    /// Until when every store call fails.
    pub(super) down_until: Option<Instant>,
    /// The process that cannot reach the store, and until when at most.
    pub(super) cut_off: Option<(usize, Instant)>,
    pub(super) trace: Vec<String>,
    pub(super) clock: SimulatedClock,
    /// Counts what came from inside, so that the driver notices it.
    arrivals: u64,
}

/// Store and provider.
#[derive(Debug)]
pub(super) struct Outside {
    pub(super) backend: Arc<dyn SessionBackend>,
    pub(super) provider: Provider,
    pub(super) monitor: Monitor,
    pub(super) clock: SimulatedClock,
    /// Digest of all that changed them.
    changes: DefaultHasher,
}

/// A process.
#[derive(Debug, Default)]
pub(super) struct Replica {
    pub(super) crashed: bool,
    calls: u32,
    /// Digest of all that it has seen, and when.
    history: DefaultHasher,
}

impl World {
    pub(super) fn new(
        backend: Arc<dyn SessionBackend>,
        provider: Provider,
        replicas: usize,
        faults: Faults,
        clock: SimulatedClock,
    ) -> Arc<Self> {
        let outside = Outside { backend, provider, monitor: Monitor::default(), clock, changes: DefaultHasher::new() };
        let inner = Inner {
            outside,
            calls: Vec::new(),
            replicas: (0..replicas).map(|_| Replica::default()).collect(),
            faults,
            down_until: None,
            cut_off: None,
            trace: Vec::new(),
            clock,
            arrivals: 0,
        };
        let crashes = (0..replicas).map(|_| CancellationToken::new()).collect();
        Arc::new(Self { inner: Mutex::new(inner), woken: Notify::new(), crashes, clock })
    }

    pub(super) fn clock(&self) -> SimulatedClock {
        self.clock
    }

    pub(super) fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("nothing panics under this lock")
    }

    /// Makes a call and waits for what becomes of it. Ends the task if its process crashes.
    pub(super) async fn call<T, E, F>(
        &self,
        replica: usize,
        kind: Kind,
        label: String,
        execute: F,
        lost: fn(Fate) -> E,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: Send + 'static,
        F: FnOnce(&mut Outside) -> Executed<Result<T, E>> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let request = Asked { execute: Some(execute), answer: None, lost, reply: Some(reply) };
        let abandoned = self.arrive(replica, kind, label, Box::new(request));
        let _guard = Abandoning(abandoned);
        match self.crashes[replica].run_until_cancelled(answer).await {
            Some(Ok(answer)) => answer,
            Some(Err(_)) | None => resume_unwind(Box::new("crashed")),
        }
    }

    /// Waits until the search lets somebody begin.
    pub(super) async fn start(&self, replica: usize, kind: Kind, label: &str) {
        let execute = |_: &mut Outside| Executed { label: "goes".to_owned(), changed: false, answer: Ok::<_, ()>(()) };
        let _ = self.call(replica, kind, label.to_owned(), execute, |_| ()).await;
    }

    fn arrive(&self, replica: usize, kind: Kind, label: String, request: Box<dyn Request>) -> Arc<AtomicBool> {
        if self.crashes[replica].is_cancelled() {
            resume_unwind(Box::new("crashed"));
        }
        let mut inner = self.inner();
        let abandoned = Arc::new(AtomicBool::new(false));
        inner.note(replica, &label);
        let who = &mut inner.replicas[replica];
        who.calls += 1;
        let call = Call {
            replica,
            kind,
            label,
            at: Instant::now(),
            slow_until: (kind == Kind::LateStart).then(|| Instant::now() + super::LATE),
            done: None,
            request,
            abandoned: abandoned.clone(),
            number: who.calls,
        };
        inner.calls.push(call);
        drop(inner);
        self.woken.notify_one();
        abandoned
    }

    /// Notes what somebody came to.
    pub(super) fn report(&self, replica: usize, what: &str) {
        let mut inner = self.inner();
        if !inner.replicas[replica].crashed {
            inner.note(replica, what);
            let line = format!("{} {what}", name(replica));
            inner.tell(&line);
        }
        drop(inner);
        self.woken.notify_one();
    }

    /// Lets everything run that can, until all that is left are calls and timers.
    pub(super) async fn settle(&self) {
        loop {
            let before = self.inner().arrivals;
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
            if self.inner().arrivals == before {
                return;
            }
        }
    }

    /// Lets time pass until something arrives or a slow call's time is over. Whether anything did.
    pub(super) async fn pass(&self) -> bool {
        let (before, limit) = {
            let inner = self.inner();
            (inner.arrivals, inner.calls.iter().filter_map(Call::limit).filter(|limit| *limit > Instant::now()).min())
        };
        let arrival = async {
            while self.inner().arrivals == before {
                self.woken.notified().await;
            }
        };
        let forever = Instant::now() + FOREVER;
        tokio::select! {
            biased;
            () = arrival => true,
            () = tokio::time::sleep_until(limit.unwrap_or(forever)) => limit.is_some(),
        }
    }

    /// Kills a process: its tasks end, what it has sent stays on its way.
    pub(super) fn crash(&self, replica: usize) {
        self.crashes[replica].cancel();
    }

    pub(super) fn is_crashed(&self, replica: usize) -> bool {
        self.crashes[replica].is_cancelled()
    }
}

impl Inner {
    /// Adds to what a replica has seen.
    pub(super) fn note(&mut self, replica: usize, what: &str) {
        let now = self.clock.elapsed();
        (now, what).hash(&mut self.replicas[replica].history);
        self.arrivals += 1;
    }

    /// Adds a line to the trace.
    pub(super) fn tell(&mut self, line: &str) {
        self.trace.push(format!("{:>6} ms  {line}", self.clock.elapsed().as_millis()));
    }

    /// Executes a call.
    pub(super) fn execute(&mut self, at: usize) {
        let call = &mut self.calls[at];
        let (label, changed) = call.request.execute(&mut self.outside);
        if changed {
            (self.clock.elapsed(), call.replica, &call.label, &label).hash(&mut self.outside.changes);
        }
        let line = format!("{} {} → {label}", name(call.replica), call.label);
        if call.kind == Kind::Provider {
            self.outside.monitor.issued(call.replica, &label, call.is_abandoned());
        }
        call.done = Some(label);
        self.tell(&line);
    }

    /// Tells the caller what became of a call.
    pub(super) fn answer(&mut self, at: usize, fate: Fate) {
        let call = &mut self.calls[at];
        call.request.answer(fate);
        let (replica, label) = (call.replica, call.label.clone());
        let heard = if fate == Fate::Answered { call.done.clone() } else { None };
        if fate != Fate::Answered || call.kind == Kind::Provider {
            let line = format!("{} {label}: {fate:?}", name(replica));
            self.tell(&line);
        }
        self.note(replica, &format!("{label} {fate:?} {heard:?}"));
    }

    /// Digest of everything that decides what can happen from here on.
    pub(super) fn digest(&self) -> u64 {
        let mut digest = DefaultHasher::new();
        let cut_off = self.cut_off.map(|(replica, _)| replica);
        (self.clock.elapsed(), &self.faults, self.down_until.is_some(), cut_off, self.outside.changes.finish())
            .hash(&mut digest);
        for replica in &self.replicas {
            (replica.crashed, replica.history.finish()).hash(&mut digest);
        }
        let state = |call: &Call| {
            (call.replica, call.number, call.slow_until.is_some(), call.done.is_some(), call.is_abandoned())
        };
        let mut calls: Vec<_> = self.calls.iter().map(state).collect();
        calls.sort_unstable();
        calls.hash(&mut digest);
        digest.finish()
    }
}

/// How the trace calls a replica.
pub(super) fn name(replica: usize) -> char {
    char::from(b'A' + u8::try_from(replica).expect("there are few replicas"))
}

/// Longer than anything waits.
const FOREVER: Duration = Duration::from_mins(20);
