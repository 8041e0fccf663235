//! [`Place`]: where a connection goes to, an address or whoever is primary now.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::FutureExt as _;
use futures_util::future::select_ok;
use redis::{Value, cmd};

use super::dial::{Connection, Dialer};
use super::failure::{Done, Failure, read};
use super::target::Node;

/// Where to connect to.
pub(super) struct Place {
    dialer: Dialer,
    at: At,
    connections: AtomicU64,
}

enum At {
    Node(Node),
    /// The primary of a service, as its sentinels know it.
    PrimaryOf {
        service: String,
        sentinels: Vec<Node>,
        dialer: Dialer,
    },
}

impl Place {
    pub(super) fn node(node: Node, dialer: Dialer) -> Self {
        Self { dialer, at: At::Node(node), connections: AtomicU64::new(0) }
    }

    /// `to_sentinels` is how they are reached.
    pub(super) fn primary_of(service: String, sentinels: Vec<Node>, to_sentinels: Dialer, dialer: Dialer) -> Self {
        let at = At::PrimaryOf { service, sentinels, dialer: to_sentinels };
        Self { dialer, at, connections: AtomicU64::new(0) }
    }

    /// The number of the next connection.
    pub(super) fn next(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    pub(super) async fn connect(self: Arc<Self>) -> Done<Connection> {
        match &self.at {
            At::Node(node) => self.dialer.connect(node.clone()).await,
            At::PrimaryOf { service, sentinels, dialer } => {
                let primary = sentinels.iter().map(|sentinel| self.through(sentinel, dialer, service).boxed());
                select_ok(primary).await.map(|(connection, _)| connection)
            }
        }
    }

    /// The server that a connection would lead to now.
    pub(super) async fn find(self: Arc<Self>) -> Done<Node> {
        match &self.at {
            At::Node(node) => Ok(node.clone()),
            At::PrimaryOf { .. } => Ok(self.connect().await?.node),
        }
    }

    /// Connects to the primary that one sentinel knows. It may not have heard of a failover yet, so the server is asked too.
    async fn through(&self, sentinel: &Node, to_sentinel: &Dialer, service: &str) -> Done<Connection> {
        let connection = to_sentinel.connect(sentinel.clone()).await?;
        let known = ask(connection, cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(service)).await?;
        let known: Option<(String, u16)> = read(known)?;
        let (host, port) = known.ok_or_else(|| Failure::Unsuitable("the sentinels know no such service".to_owned()))?;
        let primary = self.dialer.connect(Node { host, port }).await?;
        match ask(primary.clone(), &cmd("ROLE")).await? {
            Value::Array(role) if role.first() == Some(&Value::BulkString(b"master".to_vec())) => Ok(primary),
            _ => Err(Failure::Unreachable("no server is primary now".to_owned())),
        }
    }
}

async fn ask(mut connection: Connection, command: &redis::Cmd) -> Done<Value> {
    let answer = connection.commands.send_packed_command(command).await.map_err(|error| Failure::asking(&error))?;
    match answer {
        Value::ServerError(error) => Err(Failure::refused(&error, &connection.node)),
        value => Ok(value),
    }
}
