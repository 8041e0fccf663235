//! The store that replicas share, behind a gate.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use url::Url;

use crate::gate::Gate;
use crate::postgres::Postgres;
use crate::redis;

/// What kinds there are.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Redis,
    Postgres,
}

/// An empty store.
pub(crate) struct Store {
    /// What replicas are given: it leads through the gate.
    pub(crate) url: String,
    gate: Gate,
    server: Option<Server>,
}

/// One that nobody else uses.
enum Server {
    Redis(redis::Server),
    Postgres(Postgres),
}

impl Store {
    /// A part of the server that all tests share.
    pub(crate) async fn shared(kind: Kind) -> Self {
        match kind {
            Kind::Redis => Self::behind_gate(&redis::shared().url(), None),
            Kind::Postgres => Self::behind_gate(&Postgres::shared().schema().await, None),
        }
    }

    /// On a server of its own, which may be paused.
    pub(crate) async fn of_its_own(kind: Kind) -> Self {
        match kind {
            Kind::Redis => {
                let server = redis::Server::start();
                Self::behind_gate(&server.url(), Some(Server::Redis(server)))
            }
            Kind::Postgres => {
                let server = Postgres::start();
                Self::behind_gate(&server.schema().await, Some(Server::Postgres(server)))
            }
        }
    }

    fn behind_gate(url: &str, server: Option<Server>) -> Self {
        let mut url = Url::parse(url).expect("a URL");
        let gate = Gate::before(SocketAddr::from((Ipv4Addr::LOCALHOST, url.port().expect("it names a port"))));
        url.set_port(Some(gate.address.port())).expect("it has a host");
        Self { url: url.into(), gate, server }
    }

    /// From now on whatever replicas say to it arrives this much later.
    pub(crate) fn slow(&self, delay: Duration) {
        self.gate.slow(delay);
    }

    /// Breaks all connections off and refuses new ones.
    pub(crate) async fn cut_off(&mut self) {
        self.gate.shut().await;
    }

    /// Lets it be reached again.
    pub(crate) fn reconnect(&mut self) {
        self.gate.open();
    }

    /// Stops its processes: it answers nobody, and connections stay.
    pub(crate) fn pause(&self) {
        match self.own() {
            Server::Redis(server) => server.pause(),
            Server::Postgres(server) => server.freeze(),
        }
    }

    /// Lets them go on.
    pub(crate) fn resume(&self) {
        match self.own() {
            Server::Redis(server) => server.resume(),
            Server::Postgres(server) => server.thaw(),
        }
    }

    fn own(&self) -> &Server {
        self.server.as_ref().expect("what others use is not paused")
    }
}
