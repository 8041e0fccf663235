//! What can happen next, and making it happen.

use std::time::Duration;

use tokio::time::Instant;

use super::call::{Call, Fate, Kind};
use super::faults::Fault;
use super::world::{Inner, World, name};
use super::{CUT_OFF, D, OUTAGE, STORE_DELAY};

/// One thing that can happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Move {
    /// A call takes its next step: it is executed, or its answer arrives.
    Step(usize),
    /// A call meets a fault.
    Fail(usize, Fault),
    /// From now on the store fails.
    StoreDown,
    /// A process dies.
    Crash(usize),
    /// A client stops waiting.
    Leave(usize),
    /// Nothing of it: time passes.
    Pass,
}

impl Inner {
    /// All that can happen now, the ordinary first. Empty if only time can pass. `leaving` are the clients that wait.
    pub(super) fn moves(&mut self, leaving: &[usize]) -> Vec<Move> {
        self.forget();
        let is_down = self.is_down();
        let mut moves: Vec<Move> = Vec::new();
        for (at, call) in self.calls.iter().enumerate() {
            if is_down && call.kind == Kind::Store && call.done.is_none() {
                moves.push(Move::Fail(at, Fault::StoreDown));
            } else {
                moves.push(Move::Step(at));
            }
        }
        if moves.is_empty() {
            return moves;
        }
        if !self.calls.iter().any(|call| call.limit().is_none()) {
            moves.push(Move::Pass);
        }
        if !is_down {
            moves.extend(self.call_faults());
        }
        // It may also come back with this call: see `step`.
        moves.extend((0..self.calls.len()).filter(|at| self.is_cut_off(*at)).map(|at| Move::Fail(at, Fault::CutOff)));
        if self.faults.may(Fault::StoreDown) && self.calls.iter().any(|call| call.kind == Kind::Store) {
            moves.push(Move::StoreDown);
        }
        if self.faults.may(Fault::Crash) {
            let busy = |replica: &usize| self.calls.iter().any(|call| call.replica == *replica && can_crash(call));
            moves.extend((0..self.replicas.len()).filter(busy).map(Move::Crash));
        }
        if self.faults.may(Fault::Leave) {
            moves.extend(leaving.iter().copied().map(Move::Leave));
        }
        moves
    }

    /// Faults that calls which are due can meet.
    fn call_faults(&self) -> Vec<Move> {
        let due = self.calls.iter().enumerate().filter(|(_, call)| call.limit().is_none());
        let kinds = due.flat_map(|(at, call)| faults_of(call).iter().map(move |fault| (at, *fault)));
        kinds.filter(|(_, fault)| self.faults.may(*fault)).map(|(at, fault)| Move::Fail(at, fault)).collect()
    }

    /// Drops calls that can have no effect any more; those that were slow for as long as they may are due.
    fn forget(&mut self) {
        let now = Instant::now();
        let is_over = |call: &Call| call.is_abandoned() && (call.done.is_some() || call.limit() <= Some(now));
        self.calls.retain(|call| !is_over(call));
        for call in &mut self.calls {
            call.slow_until.take_if(|until| *until <= now);
        }
        self.down_until.take_if(|until| *until <= now);
        self.cut_off.take_if(|(_, until)| *until <= now);
    }

    fn is_down(&self) -> bool {
        self.down_until.is_some()
    }

    /// Whether a call is on its way to a store that its process cannot reach.
    fn is_cut_off(&self, at: usize) -> bool {
        let call = &self.calls[at];
        call.kind == Kind::Store
            && call.done.is_none()
            && self.cut_off.is_some_and(|(replica, _)| replica == call.replica)
    }

    fn step(&mut self, at: usize) {
        if self.is_cut_off(at) {
            self.cut_off = None;
        }
        let call = &self.calls[at];
        let (is_first, is_heard) = (call.done.is_none(), !call.is_abandoned());
        if is_first {
            self.execute(at);
            if self.calls[at].kind == Kind::Provider && is_heard {
                self.calls[at].slow_until = None;
                return;
            }
        }
        if is_heard {
            self.answer(at, Fate::Answered);
        }
        self.calls.remove(at);
    }

    fn fail(&mut self, at: usize, fault: Fault) {
        let begins = match fault {
            Fault::StoreDown => false,
            Fault::CutOff => self.cut_off.is_none(),
            _ => true,
        };
        if begins {
            self.faults.spend(fault);
        }
        let line = format!("{} {}: {fault:?}", name(self.calls[at].replica), self.calls[at].label);
        self.tell(&line);
        match fault {
            Fault::StoreAnswerLost => self.execute(at),
            Fault::CutOff if begins => self.cut_off = Some((self.calls[at].replica, Instant::now() + CUT_OFF)),
            Fault::StoreAnswerSlow => {
                self.execute(at);
                return self.slow(at, STORE_DELAY);
            }
            Fault::StoreSlow => return self.slow(at, STORE_DELAY),
            Fault::ProviderSlow | Fault::ProviderAnswerSlow => return self.slow(at, D),
            Fault::ProviderCut => return self.answer(at, Fate::Lost),
            _ => {}
        }
        let fate = if fault == Fault::ProviderUnreachable { Fate::Refused } else { Fate::Lost };
        self.answer(at, fate);
        self.calls.remove(at);
    }

    fn slow(&mut self, at: usize, by: Duration) {
        self.calls[at].slow_until = Some(self.calls[at].at + by);
    }

    fn crash(&mut self, replica: usize) {
        self.faults.spend(Fault::Crash);
        self.tell(&format!("{} crashes", name(replica)));
        self.replicas[replica].crashed = true;
        self.outside.monitor.crashed(replica);
        self.calls.retain(|call| call.replica != replica || !call.kind.is_start());
    }
}

impl World {
    /// Makes a move. `Leave` and `Pass` are the driver's.
    pub(super) fn apply(&self, chosen: Move) {
        let mut inner = self.inner();
        match chosen {
            Move::Step(at) => inner.step(at),
            Move::Fail(at, fault) => inner.fail(at, fault),
            Move::StoreDown => {
                inner.faults.spend(Fault::StoreDown);
                inner.tell("the store is down");
                inner.down_until = Some(Instant::now() + OUTAGE);
            }
            Move::Crash(replica) => {
                inner.crash(replica);
                drop(inner);
                self.crash(replica);
            }
            Move::Leave(_) | Move::Pass => {}
        }
    }
}

fn can_crash(call: &Call) -> bool {
    !call.is_abandoned() && !call.kind.is_start()
}

fn faults_of(call: &Call) -> &'static [Fault] {
    match (call.kind, &call.done) {
        (Kind::Store, None) if call.label.starts_with("swap_tokens") => {
            &[Fault::StoreAnswerLost, Fault::StoreFails, Fault::StoreSlow, Fault::StoreAnswerSlow, Fault::CutOff]
        }
        (Kind::Store, None) => &[Fault::StoreAnswerLost, Fault::StoreFails, Fault::StoreSlow, Fault::StoreAnswerSlow],
        (Kind::Provider, None) => {
            &[Fault::ProviderBreaks, Fault::ProviderCut, Fault::ProviderUnreachable, Fault::ProviderSlow]
        }
        (Kind::Provider, Some(_)) => &[Fault::ProviderAnswerLost, Fault::ProviderAnswerSlow],
        _ => &[],
    }
}
