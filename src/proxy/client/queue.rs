//! Who waits for a connection, and what they wait for.
//!
//! A place is room for one connection. It goes with the connection until that is closed, and from there to who waits longest.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use tokio::sync::oneshot;

use super::lent::Lent;
use super::origin::{CallError, Origin};

/// In the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Queue(VecDeque<Waiting>);

#[derive(Debug)]
struct Waiting {
    wish: Wish,
    granted: oneshot::Sender<Grant>,
}

/// What a call wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// Any connection.
    Any,
    /// One that is opened for it.
    New,
}

/// What one who waits is given.
#[derive(Debug)]
pub(super) enum Grant {
    Link(Lent),
    Place(Place),
}

/// What became of a connection that was free.
#[derive(Debug)]
pub(super) enum Given {
    Away,
    /// Nobody waits.
    Unwanted(Lent),
    /// Somebody waits for its place.
    ToBeClosed(Lent),
}

/// Room for one connection, which is there again when this is dropped. Not to be dropped under the lock that the queue is behind.
#[derive(Debug)]
pub(super) struct Place(Weak<Origin>);

impl Queue {
    /// Waits. What comes is an error if there is something else to look at.
    ///
    /// # Errors
    /// `Busy`: so many wait already.
    pub(super) fn join(&mut self, wish: Wish) -> Result<oneshot::Receiver<Grant>, CallError> {
        if self.0.len() >= LONGEST {
            self.0.retain(|waiting| !waiting.granted.is_closed());
        }
        if self.0.len() >= LONGEST {
            return Err(CallError::Busy);
        }
        let (granted, grant) = oneshot::channel();
        self.0.push_back(Waiting { wish, granted });
        Ok(grant)
    }

    /// Gives a connection that is free to who waits longest.
    pub(super) fn give_link(&mut self, mut lent: Lent) -> Given {
        while let Some(waiting) = self.0.pop_front() {
            if waiting.wish == Wish::New && !waiting.granted.is_closed() {
                self.0.push_front(waiting);
                return Given::ToBeClosed(lent);
            }
            match waiting.granted.send(Grant::Link(lent)) {
                Err(Grant::Link(unwanted)) => lent = unwanted,
                _ => return Given::Away,
            }
        }
        Given::Unwanted(lent)
    }

    /// Gives a place that is free to who waits longest. Comes back if nobody does.
    pub(super) fn give_place(&mut self, mut place: Place) -> Option<Place> {
        while let Some(waiting) = self.0.pop_front() {
            match waiting.granted.send(Grant::Place(place)) {
                Err(Grant::Place(unwanted)) => place = unwanted,
                _ => return None,
            }
        }
        Some(place)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Has all who wait look again.
    pub(super) fn wake(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
impl Queue {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Place {
    /// For a connection to this origin, which counts already.
    pub(super) fn new(origin: &Arc<Origin>) -> Self {
        Self(Arc::downgrade(origin))
    }

    /// Drops it, and nothing is there again.
    pub(super) fn forget(mut self) {
        self.0 = Weak::new();
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(origin) = self.0.upgrade() {
            origin.vacate(Self(std::mem::take(&mut self.0)));
        }
    }
}

/// How many may wait.
pub(super) const LONGEST: usize = 1024;
