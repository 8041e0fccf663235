//! The connections of one upstream that are open, and who waits for one: everything that is behind the one lock of an origin.
//!
//! Each address has idle connections of its own; calls go to one address after the other. One that fails is avoided for a while; if
//! all of them are, they are tried all the same, until nothing answers for so long that the upstream as a whole is *down*.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use super::backoff::Backoff;
use super::connect::Connector;
use super::lent::Lent;
use super::link::Link;
use super::once::{Opened, Opening};
use super::origin::{CallError, Origin};
use super::queue::{Given, Grant, Place, Queue, Wish};
use super::shared::Sender;

/// See the module.
#[derive(Debug)]
pub(super) struct Pools {
    connector: Connector,
    /// Counts the connectors.
    generation: u64,
    addresses: Box<[Pool]>,
    /// Is there while nothing answers.
    pub(super) outage: Option<Outage>,
    /// A task removes idle connections that are too old.
    pub(super) is_swept: bool,
    /// Whose turn it is.
    turn: usize,
    /// How many addresses are avoided.
    avoided: usize,
    /// How many places are taken.
    open: usize,
    limit: usize,
    /// Nobody is in there while a connection is idle.
    queue: Queue,
}

/// What there is of one address.
#[derive(Debug, Default)]
struct Pool {
    /// HTTP/1.1 connections that nobody uses, the youngest last.
    idle: Vec<Idle>,
    shared: Option<Sender>,
    /// Of `shared`, where nothing else is spoken.
    opening: Opening,
    /// Is there while the address is avoided.
    avoided: Option<Backoff>,
}

#[derive(Debug)]
pub(super) struct Idle {
    pub(super) link: Box<Link>,
    pub(super) since: Instant,
}

/// While it lasts, one call per pause reaches the upstream.
#[derive(Debug)]
pub(super) struct Outage {
    pub(super) backoff: Backoff,
    /// What was seen last.
    pub(super) cause: String,
}

/// What a call is to do.
#[derive(Debug)]
pub(super) enum Choice {
    /// To see whether this one is still open.
    Idle(usize, Idle, u64),
    Shared(usize, Sender),
    /// To wait for the one that another call opens for all.
    Join(Opened, usize),
    /// To open one: there is room, and it counts from now on.
    Open(usize),
    /// To close this one, which makes room.
    Evict(Idle),
    Wait(oneshot::Receiver<Grant>),
}

impl Pools {
    pub(super) fn new(connector: Connector, width: usize, limit: usize) -> Self {
        Self {
            connector,
            generation: 0,
            addresses: std::iter::repeat_with(Pool::default).take(width).collect(),
            outage: None,
            is_swept: false,
            turn: 0,
            avoided: 0,
            open: 0,
            limit,
            queue: Queue::default(),
        }
    }

    /// An idle connection of the address whose turn it is, if nothing is out of order.
    pub(super) fn take_idle(&mut self) -> Option<(usize, Idle, u64)> {
        if self.avoided > 0 || self.outage.is_some() {
            return None;
        }
        let address = self.turn;
        let idle = self.addresses[address].idle.pop()?;
        self.turn_after(address);
        Some((address, idle, self.generation))
    }

    /// What a call is to do that has not succeeded at the addresses in `failed`. `let_through` is kept over its turns: a probe is one
    /// until it is over.
    ///
    /// # Errors
    /// `Down`, if this call is no probe; `Busy`.
    pub(super) fn choose(&mut self, wish: Wish, failed: &[usize], let_through: &mut bool) -> Result<Choice, CallError> {
        if let Some(outage) = &mut self.outage
            && !*let_through
        {
            if !outage.backoff.take_probe() {
                return Err(CallError::Down(outage.cause.clone()));
            }
            *let_through = true;
        }
        let address = self.address(failed);
        let pool = &mut self.addresses[address];
        // Only a new connection shows that the address is back.
        let wish = if self.outage.is_some() || pool.avoided.is_some() { Wish::New } else { wish };
        if wish == Wish::Any {
            if let Some(sender) = pool.shared.as_ref().filter(|sender| !sender.is_full()) {
                return Ok(Choice::Shared(address, sender.clone()));
            }
            if let Some(opened) = pool.opening.under_way() {
                return Ok(Choice::Join(opened, address));
            }
            if let Some(idle) = pool.idle.pop() {
                return Ok(Choice::Idle(address, idle, self.generation));
            }
        }
        if self.open < self.limit {
            self.open += 1;
            return Ok(Choice::Open(address));
        }
        self.make_do(wish)
    }

    /// The next address that has not failed: of those that are not avoided or may be probed, if there is one.
    pub(super) fn address(&mut self, failed: &[usize]) -> usize {
        let width = self.addresses.len();
        let untried = (self.turn..self.turn + width).map(|index| index % width).filter(|index| !failed.contains(index));
        let mut second_best = None;
        for address in untried {
            if self.addresses[address].avoided.as_mut().is_none_or(Backoff::take_probe) {
                self.turn_after(address);
                return address;
            }
            second_best.get_or_insert(address);
        }
        let address = second_best.unwrap_or(self.turn);
        self.turn_after(address);
        address
    }

    /// What to do when there is no room.
    fn make_do(&mut self, wish: Wish) -> Result<Choice, CallError> {
        for (address, pool) in self.addresses.iter_mut().enumerate() {
            if wish == Wish::New {
                // It closes as soon as no call needs it.
                pool.shared = None;
            } else if let Some(sender) = &pool.shared {
                return Ok(Choice::Shared(address, sender.clone()));
            }
            if let Some(idle) = pool.idle.pop() {
                let evicts = wish == Wish::New;
                return Ok(if evicts { Choice::Evict(idle) } else { Choice::Idle(address, idle, self.generation) });
            }
        }
        self.queue.join(wish).map(Choice::Wait)
    }

    /// Takes a connection in, or gives it to who waits longest. Comes back if neither is to be: to be dropped.
    pub(super) fn take_back(
        &mut self,
        mut link: Box<Link>,
        origin: &Arc<Origin>,
        generation: u64,
        address: usize,
    ) -> Option<Box<Link>> {
        if generation != self.generation {
            return Some(link);
        }
        if !self.queue.is_empty() {
            let lent = Lent { link, origin: origin.clone(), generation, address, reused: true };
            match self.queue.give_link(lent) {
                Given::Unwanted(lent) => link = lent.link,
                Given::ToBeClosed(lent) => return Some(lent.link),
                Given::Away => return None,
            }
        }
        self.addresses[address].idle.push(Idle { link, since: Instant::now() });
        None
    }

    /// Gives a place that is free to who waits longest. Whether nobody did.
    pub(super) fn vacate(&mut self, place: Place) -> bool {
        let unwanted = self.queue.give_place(place);
        if let Some(place) = unwanted {
            place.forget();
            self.open -= 1;
            return true;
        }
        false
    }

    /// Keeps a connection for all calls, unless there is one.
    pub(super) fn share(&mut self, address: usize, generation: u64, sender: &Sender) {
        let shared = &mut self.addresses[address].shared;
        if generation == self.generation && shared.as_ref().is_none_or(|shared| shared.is_closed() || shared.is_full())
        {
            *shared = Some(sender.clone());
            self.queue.wake();
        }
    }

    /// The opening of the connection that all calls to this address share.
    pub(super) fn opening(&mut self, address: usize) -> &mut Opening {
        &mut self.addresses[address].opening
    }

    /// Unless another has taken its place.
    pub(super) fn forget_shared(&mut self, address: usize, sender: &Sender) {
        self.addresses[address].shared.take_if(|shared| shared.is_same(sender));
    }

    pub(super) fn connector(&self) -> (Connector, u64) {
        (self.connector.clone(), self.generation)
    }

    /// Opens connections with another one from now on. What was idle comes back: to be dropped.
    pub(super) fn exchange_connector(&mut self, connector: Connector) -> Vec<Idle> {
        self.connector = connector;
        self.generation += 1;
        self.clear()
    }

    /// Begins an outage. What was idle comes back: to be dropped.
    pub(super) fn stop(&mut self, cause: String) -> Vec<Idle> {
        self.outage = Some(Outage { backoff: Backoff::new(LONGEST_PAUSE), cause });
        self.queue.wake();
        self.clear()
    }

    pub(super) fn is_avoided(&self, address: usize) -> bool {
        self.addresses[address].avoided.is_some()
    }

    /// Avoids an address from now on, if there are others. What was idle there comes back: to be dropped.
    pub(super) fn avoid(&mut self, address: usize) -> Option<Vec<Idle>> {
        if self.addresses.len() == 1 || self.is_avoided(address) {
            return None;
        }
        self.avoided += 1;
        let pool = &mut self.addresses[address];
        pool.avoided = Some(Backoff::new(LONGEST_AVOIDANCE));
        Some(pool.clear())
    }

    /// Ends that. None if the address was not avoided.
    pub(super) fn readmit(&mut self, address: usize) -> Option<Backoff> {
        let backoff = self.addresses[address].avoided.take()?;
        self.avoided -= 1;
        Some(backoff)
    }

    /// Takes out the idle connections that are older: to be dropped. Notes if none is left.
    pub(super) fn remove_stale(&mut self, age: Duration) -> Vec<Idle> {
        let is_stale = |idle: &mut Idle| idle.since.elapsed() >= age;
        let stale = self.addresses.iter_mut().flat_map(|pool| pool.idle.extract_if(.., is_stale)).collect();
        self.is_swept = self.addresses.iter().any(|pool| !pool.idle.is_empty());
        stale
    }

    fn clear(&mut self) -> Vec<Idle> {
        self.addresses.iter_mut().flat_map(Pool::clear).collect()
    }

    fn turn_after(&mut self, address: usize) {
        self.turn = (address + 1) % self.addresses.len();
    }
}

#[cfg(test)]
impl Pools {
    pub(super) fn lose_shared(&mut self, address: usize) {
        self.addresses[address].shared = None;
    }

    pub(super) fn open(&self) -> usize {
        self.open
    }

    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }
}

impl Pool {
    fn clear(&mut self) -> Vec<Idle> {
        (self.shared, self.opening) = (None, Opening::default());
        std::mem::take(&mut self.idle)
    }
}

/// An upstream that is back is noticed by the first call after that.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// An address that is back is noticed by the first call after that.
const LONGEST_AVOIDANCE: Duration = Duration::from_secs(30);
