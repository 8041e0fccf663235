//! [`Cluster`]: which node holds which key (Redis Cluster specification: key distribution, redirection).
//!
//! A command is sent again only if the answer says that it was not carried out. What may have been carried out fails, as everywhere
//! else: `claim` must not be told that somebody was before us when that was our own first attempt.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::select_ok;
use redis::{Value, cmd};

use super::dial::Dialer;
use super::failure::{Done, Elsewhere, Failure, read};
use super::lines::Lines;
use super::place::Place;
use super::request::Request;
use super::target::Node;

/// The nodes of a cluster, by slot.
pub(super) struct Cluster {
    seeds: Vec<Node>,
    dialer: Dialer,
    replicas: u32,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    lines: HashMap<Node, Arc<Lines>>,
    map: Arc<Map>,
    is_stale: bool,
}

/// First and last slot, and the primary that holds them.
#[derive(Debug, Default, PartialEq, Eq)]
struct Map(Vec<(u16, u16, Node)>);

impl Map {
    fn owner(&self, slot: u16) -> Option<&Node> {
        self.0.iter().find(|(first, last, _)| (*first..=*last).contains(&slot)).map(|(_, _, node)| node)
    }

    fn primaries(&self) -> BTreeSet<&Node> {
        self.0.iter().map(|(_, _, node)| node).collect()
    }
}

impl Cluster {
    pub(super) fn new(seeds: Vec<Node>, dialer: Dialer, replicas: u32) -> Self {
        let known = Known { is_stale: true, ..Known::default() };
        Self { seeds, dialer, replicas, known: Mutex::new(known) }
    }

    pub(super) async fn ask(&self, request: &Request) -> Done<Value> {
        let mut elsewhere: Option<Elsewhere> = None;
        let mut attempts = 0;
        loop {
            let lines = match &elsewhere {
                Some(elsewhere) => self.lines(&elsewhere.node),
                None => self.owner(&request.key).await?,
            };
            let asking = elsewhere.as_ref().is_some_and(|elsewhere| elsewhere.asking);
            let failure = match lines.ask(request, asking).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            attempts += 1;
            elsewhere = match &failure {
                _ if attempts == ATTEMPTS => return Err(failure),
                Failure::Refused { elsewhere: Some(there), .. } => {
                    if !there.asking {
                        self.doubt();
                    }
                    Some(there.clone())
                }
                _ if failure.has_code("TRYAGAIN") => {
                    tokio::time::sleep(PAUSE).await;
                    elsewhere
                }
                // Nothing was sent; another node may hold the slot by now.
                Failure::Unreachable(_) if attempts == 1 => {
                    self.doubt();
                    None
                }
                _ => {
                    self.doubt();
                    return Err(failure);
                }
            };
        }
    }

    /// Something went wrong that another map may put right.
    pub(super) fn doubt(&self) {
        self.know(|known| known.is_stale = true);
    }

    /// Who holds a key.
    pub(super) async fn owner(&self, key: &str) -> Done<Arc<Lines>> {
        let map = self.map().await?;
        let Some(node) = map.owner(slot(key)) else {
            self.doubt();
            return Err(Failure::Refused { code: "CLUSTERDOWN".to_owned(), elsewhere: None });
        };
        Ok(self.lines(node))
    }

    pub(super) async fn primaries(&self) -> Done<Vec<Arc<Lines>>> {
        let map = self.map().await?;
        Ok(map.primaries().into_iter().map(|node| self.lines(node)).collect())
    }

    fn lines(&self, node: &Node) -> Arc<Lines> {
        let open = || Arc::new(Lines::new(&Arc::new(Place::node(node.clone(), self.dialer.clone())), self.replicas));
        self.know(|known| Arc::clone(known.lines.entry(node.clone()).or_insert_with(open)))
    }

    pub(super) fn dialer(&self) -> &Dialer {
        &self.dialer
    }

    /// The map as it is known, or anew if something said that it is out of date. If nobody answers, the old one is better than none.
    async fn map(&self) -> Done<Arc<Map>> {
        let (map, is_stale) = self.know(|known| (Arc::clone(&known.map), known.is_stale));
        if !is_stale {
            return Ok(map);
        }
        match self.newest_map().await {
            Err(failure) if map.0.is_empty() => Err(failure),
            Err(_) => Ok(map),
            Ok(map) => Ok(map),
        }
    }

    /// The map's fingerprint, and the primaries in the order of their addresses.
    pub(super) async fn layout(&self) -> Done<(u64, Vec<Arc<Lines>>)> {
        let map = self.newest_map().await?;
        let mut hasher = DefaultHasher::new();
        map.0.hash(&mut hasher);
        Ok((hasher.finish(), map.primaries().into_iter().map(|node| self.lines(node)).collect()))
    }

    /// Some node to hear signals from; all nodes pass them on to each other.
    pub(super) async fn ear(&self, nth: usize) -> Done<Node> {
        let map = self.newest_map().await?;
        map.primaries()
            .iter()
            .cycle()
            .nth(nth)
            .map(|&node| node.clone())
            .ok_or(Failure::Unexpected("a cluster without nodes"))
    }

    /// Asks all nodes we know of; the first answer counts.
    async fn newest_map(&self) -> Done<Arc<Map>> {
        let mut nodes: BTreeSet<Node> = self.seeds.iter().cloned().collect();
        nodes.extend(self.know(|known| known.map.primaries().into_iter().cloned().collect::<Vec<_>>()));
        let asked = nodes.iter().map(|node| self.map_of(node).boxed());
        let (map, _) = select_ok(asked).await?;
        let map = Arc::new(map);
        self.know(|known| {
            known.map = Arc::clone(&map);
            known.is_stale = false;
            // Connections to nodes that have left are closed once nobody uses them.
            known.lines.retain(|node, _| self.seeds.contains(node) || map.primaries().contains(node));
        });
        Ok(map)
    }

    async fn map_of(&self, node: &Node) -> Done<Map> {
        let (answer, _) = self.lines(node).ask_server(cmd("CLUSTER").arg("SLOTS")).await?;
        let ranges: Vec<Vec<Value>> = read(answer)?;
        let ranges = ranges.into_iter().map(|range| self::range(range, node)).collect::<Done<Vec<_>>>()?;
        if ranges.is_empty() {
            return Err(Failure::Refused { code: "CLUSTERDOWN".to_owned(), elsewhere: None });
        }
        Ok(Map(ranges))
    }

    fn know<T>(&self, with: impl FnOnce(&mut Known) -> T) -> T {
        with(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// First slot, last slot, primary, replicas; a node is host, port and more. A node that does not know its own name leaves it out.
fn range(range: Vec<Value>, from: &Node) -> Done<(u16, u16, Node)> {
    let mut parts = range.into_iter();
    let mut next = || parts.next().ok_or(Failure::Unexpected("a range of slots without a node"));
    let (first, last) = (read(next()?)?, read(next()?)?);
    let mut node = read::<Vec<Value>>(next()?)?.into_iter();
    let host: Option<String> = read(node.next().unwrap_or(Value::Nil))?;
    let port = read(node.next().unwrap_or(Value::Nil))?;
    let host = host.filter(|host| !host.is_empty()).unwrap_or_else(|| from.host.clone());
    Ok((first, last, Node { host, port }))
}

/// CRC16 (XMODEM) of what is between the first braces, modulo 16384. Our keys always have something there.
fn slot(key: &str) -> u16 {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or(key, |(tag, _)| tag);
    let crc = tag.bytes().fold(0_u16, |crc, byte| {
        (0..8)
            .fold(crc ^ (u16::from(byte) << 8), |crc, _| if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 })
    });
    crc % 16384
}

/// How often a command is sent that was not carried out: over two redirections, and a slot that is on its way.
const ATTEMPTS: u32 = 5;
const PAUSE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_the_slot_of_its_tag() {
        // The specification's own check value, and what a server answers to CLUSTER KEYSLOT.
        assert_eq!(slot("123456789"), 0x31C3);
        assert_eq!(slot("cloakroom:s:{123456789}"), 0x31C3);
        assert_eq!(slot("user1000"), slot("{user1000}.following"));
    }
}
