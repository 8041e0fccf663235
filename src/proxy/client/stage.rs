//! How far a call has come.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Written by the call; read by whoever gives it up, to know whose fault it is.
#[derive(Debug)]
pub(in crate::proxy) struct Stage(AtomicUsize);

/// See [`Stage`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// It waits for a connection to be free.
    Queue,
    /// A connection to the address with this index is being opened.
    Connecting(usize),
    /// It waits for the answer.
    Sent,
}

impl Stage {
    /// Of a call that has not begun.
    pub(in crate::proxy) fn new() -> Self {
        Self(AtomicUsize::new(QUEUE))
    }

    pub(super) fn reached(&self, at: At) {
        let code = match at {
            At::Queue => QUEUE,
            At::Sent => SENT,
            At::Connecting(address) => address,
        };
        self.0.store(code, Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> At {
        match self.0.load(Ordering::Relaxed) {
            QUEUE => At::Queue,
            SENT => At::Sent,
            address => At::Connecting(address),
        }
    }
}

const QUEUE: usize = usize::MAX;
const SENT: usize = usize::MAX - 1;
