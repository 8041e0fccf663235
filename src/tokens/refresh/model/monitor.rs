//! Watches what the replicas do to the provider and the store, and knows what became of every token that was issued.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::D;
use super::world::{World, name};
use crate::store::Reason;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Monitor {
    /// What must never happen, and did.
    pub(super) violation: Option<String>,
    /// Why the session ended.
    pub(super) ended: Option<Reason>,
    /// Whoever logged out does not know what the row held.
    pub(super) logout_failed: bool,
    sends: Vec<Send>,
    lease: Option<Holder>,
    issued: Vec<Issued>,
}

/// A request that carries a refresh token, from when it leaves until it cannot have an effect any more.
#[derive(Debug)]
struct Send {
    replica: usize,
    token: String,
    at: Instant,
    over_at: Option<Instant>,
}

/// Who holds the lease, as the store sees it.
#[derive(Debug)]
struct Holder {
    replica: usize,
    owner: [u8; 16],
    until: Instant,
}

/// A refresh token on its way into the store.
#[derive(Debug)]
struct Issued {
    replica: usize,
    fate: TokenFate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TokenFate {
    /// The answer is on its way.
    Sent,
    /// The replica has it.
    Heard,
    Stored,
    /// Nobody will ever hear of it.
    Lost,
}

impl Monitor {
    /// A replica may send a token only under a lease, and only when no other request can still use the same token.
    fn sending(&mut self, replica: usize, token: &str) -> usize {
        let now = Instant::now();
        let overlaps = |send: &&Send| send.token == token && send.over_at.is_none_or(|over| over > now);
        if let Some(send) = self.sends.iter().find(overlaps) {
            self.violate(format!("{} sends {token} while {} still does", name(replica), name(send.replica)));
        } else if !self.lease.as_ref().is_some_and(|lease| lease.replica == replica && lease.until > now) {
            self.violate(format!("{} sends {token} without the lease", name(replica)));
        }
        self.sends.push(Send { replica, token: token.to_owned(), at: now, over_at: None });
        self.sends.len() - 1
    }

    /// The provider answered a refresh with this.
    pub(super) fn issued(&mut self, replica: usize, answer: &str, abandoned: bool) {
        if answer.starts_with('r') {
            let fate = if abandoned { TokenFate::Lost } else { TokenFate::Sent };
            self.issued.push(Issued { replica, fate });
        }
    }

    fn settle_tokens(&mut self, replica: usize, from: TokenFate, to: TokenFate) {
        let theirs = self.issued.iter_mut().filter(|issued| issued.replica == replica && issued.fate == from);
        theirs.for_each(|issued| issued.fate = to);
    }

    pub(super) fn crashed(&mut self, replica: usize) {
        self.settle_tokens(replica, TokenFate::Sent, TokenFate::Lost);
        self.settle_tokens(replica, TokenFate::Heard, TokenFate::Lost);
    }

    pub(super) fn leased(&mut self, replica: usize, owner: [u8; 16], ttl: Duration) {
        self.lease = Some(Holder { replica, owner, until: Instant::now() + ttl });
    }

    pub(super) fn lease_renewed(&mut self, owner: [u8; 16], ttl: Duration) {
        if let Some(lease) = self.lease.as_mut().filter(|lease| lease.owner == owner) {
            lease.until = Instant::now() + ttl;
        }
    }

    pub(super) fn lease_released(&mut self, owner: [u8; 16]) {
        self.lease.take_if(|lease| lease.owner == owner);
    }

    pub(super) fn swapped(&mut self, replica: usize, released: bool) {
        self.settle_tokens(replica, TokenFate::Heard, TokenFate::Stored);
        if released {
            self.lease = None;
        }
    }

    pub(super) fn ended(&mut self, reason: Reason) {
        self.lease = None;
        self.ended.get_or_insert(reason);
    }

    pub(super) fn violate(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    /// Whether a token that the provider issued can never be heard of.
    pub(super) fn has_lost_a_token(&self) -> bool {
        self.issued.iter().any(|issued| issued.fate == TokenFate::Lost)
    }

    pub(super) fn is_leased(&self) -> bool {
        self.lease.as_ref().is_some_and(|lease| lease.until > Instant::now())
    }
}

impl World {
    /// Notes that a token leaves; what comes back notes that the request is over.
    pub(super) fn sending(self: &Arc<Self>, replica: usize, token: &str) -> Sending {
        let which = self.inner().outside.monitor.sending(replica, token);
        Sending { world: self.clone(), replica, which, over: false }
    }
}

/// A request under way.
pub(super) struct Sending {
    world: Arc<World>,
    replica: usize,
    which: usize,
    over: bool,
}

impl Sending {
    /// The caller knows that the request is over, and with `heard` has its tokens.
    pub(super) fn is_over(&mut self, heard: bool) {
        self.over = true;
        let monitor = &mut self.world.inner().outside.monitor;
        monitor.sends[self.which].over_at = Some(Instant::now());
        let fate = if heard { TokenFate::Heard } else { TokenFate::Lost };
        monitor.settle_tokens(self.replica, TokenFate::Sent, fate);
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        if !self.over {
            let monitor = &mut self.world.inner().outside.monitor;
            let send = &mut monitor.sends[self.which];
            send.over_at = Some(send.at + D);
            monitor.settle_tokens(self.replica, TokenFate::Sent, TokenFate::Lost);
        }
    }
}
