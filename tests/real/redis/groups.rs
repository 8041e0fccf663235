//! Servers that belong together: a cluster, a primary with its replica and sentinels.

use std::process::Command;
use std::sync::OnceLock;
use std::time::Instant;

use tokio::task::JoinHandle;

use super::{Server, cli, folder, fresh_prefix};
use crate::{LIMIT, POLL, free_port};

/// Three nodes with all slots between them, without replicas.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Server>,
}

impl Cluster {
    pub(crate) fn start() -> Self {
        let nodes: Vec<Server> = (0..3).map(|_| node()).collect();
        let addresses = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port));
        let made = Command::new("redis-cli")
            .args(["--cluster", "create"])
            .args(addresses)
            .arg("--cluster-yes")
            .output()
            .expect("redis-cli runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        let cluster = Self { nodes };
        cluster.wait_for("every node serves", |node| node.cli(&["cluster", "info"]).contains("cluster_state:ok"));
        cluster
    }

    /// The one that all tests share.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Cluster> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// With a prefix that nobody else has. Names one node; it knows the others.
    pub(crate) fn url(&self) -> String {
        format!("redis-cluster://127.0.0.1:{}?prefix={}", self.nodes[0].port, fresh_prefix())
    }

    /// Gives the first node a replica, and waits until all nodes know and it has caught up.
    pub(crate) fn add_replica(&mut self) {
        let replica = node();
        let (first, new) = (&self.nodes[0], format!("127.0.0.1:{}", replica.port));
        let (address, id) = (format!("127.0.0.1:{}", first.port), first.cli(&["cluster", "myid"]));
        let words = ["--cluster", "add-node", &new, &address, "--cluster-slave", "--cluster-master-id", &id];
        let added = Command::new("redis-cli").args(words).output().expect("redis-cli runs");
        assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stdout));
        self.nodes.push(replica);
        self.wait_for("every node knows of it", |node| {
            node.cli(&["cluster", "slots"]).contains(&self.nodes[3].port.to_string())
        });
        let first = || self.nodes[0].cli(&["info", "replication"]).contains("state=online");
        self.wait_for("it has caught up", |_| first());
    }

    /// Moves some slots of the first node to the second, in the background.
    pub(crate) fn move_slots(&self, slots: u32) -> JoinHandle<()> {
        let [from, to, _] = self.nodes.as_slice() else { panic!("three nodes") };
        let id = |node: &Server| node.cli(&["cluster", "myid"]);
        let mut command = Command::new("redis-cli");
        command.args(["--cluster", "reshard", &format!("127.0.0.1:{}", from.port), "--cluster-yes"]).args([
            "--cluster-from",
            &id(from),
            "--cluster-to",
            &id(to),
            "--cluster-slots",
            &slots.to_string(),
        ]);
        tokio::task::spawn_blocking(move || {
            let moved = command.output().expect("redis-cli runs");
            assert!(moved.status.success(), "{}", String::from_utf8_lossy(&moved.stdout));
        })
    }

    fn wait_for(&self, what: &str, holds: impl Fn(&Server) -> bool) {
        let start = Instant::now();
        while !self.nodes.iter().all(&holds) {
            assert!(start.elapsed() < LIMIT, "waited in vain: {what}");
            std::thread::sleep(POLL);
        }
    }
}

fn node() -> Server {
    let bus = free_port().to_string();
    let cluster = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000", "--cluster-port", &bus];
    Server::with(&[&["--save", ""], &cluster[..]].concat())
}

/// A primary, its replica, and three sentinels that replace one by the other.
pub(crate) struct Watched {
    pub(crate) primary: Server,
    pub(crate) replica: Server,
    sentinels: Vec<Server>,
}

impl Watched {
    pub(crate) fn start() -> Self {
        let primary = Server::start();
        let replica = Server::with(&["--save", "", "--replicaof", "127.0.0.1", &primary.port.to_string()]);
        let sentinels = (0..3).map(|_| sentinel(primary.port)).collect();
        let watched = Self { primary, replica, sentinels };
        let start = Instant::now();
        while !watched.is_ready() {
            assert!(start.elapsed() < LIMIT, "the sentinels do not find each other");
            std::thread::sleep(POLL);
        }
        watched
    }

    fn is_ready(&self) -> bool {
        let knows_all = |sentinel: &Server| {
            let state = sentinel.cli(&["sentinel", "master", "main"]);
            state.contains("num-other-sentinels\n2") && state.contains("num-slaves\n1")
        };
        self.replica.cli(&["info", "replication"]).contains("master_link_status:up")
            && self.sentinels.iter().all(knows_all)
    }

    pub(crate) fn url(&self) -> String {
        let hosts: Vec<String> = self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port)).collect();
        format!("redis-sentinel://{}/main?prefix={}", hosts.join(","), fresh_prefix())
    }

    /// Lets the sentinels swap the two, with nobody dead.
    pub(crate) fn fail_over(&self) {
        cli(self.sentinels[0].port, &["sentinel", "failover", "main"]);
    }

    /// Where the first sentinel says that the primary is.
    pub(crate) fn primary_port(&self) -> u16 {
        let address = cli(self.sentinels[0].port, &["sentinel", "get-master-addr-by-name", "main"]);
        address.lines().nth(1).and_then(|port| port.parse().ok()).expect("a port comes second")
    }
}

/// Sentinels keep what they know in their configuration file.
fn sentinel(primary: u16) -> Server {
    let folder = folder();
    let file = folder.join("sentinel.conf");
    let text = format!(
        "sentinel monitor main 127.0.0.1 {primary} 2\nsentinel down-after-milliseconds main 500\n\
         sentinel failover-timeout main 3000\n"
    );
    std::fs::write(&file, text).expect("the file can be written");
    let port = free_port();
    let file = file.to_str().expect("the path is text").to_owned();
    Server::at(port, vec![file, "--sentinel".to_owned(), "--port".to_owned(), port.to_string()], folder)
}
