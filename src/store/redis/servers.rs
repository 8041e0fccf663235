//! [`Servers`]: one server or a cluster, asked alike.

use std::sync::Arc;

use futures_util::future::join_all;
use redis::Value;

use super::cluster::Cluster;
use super::dial::Dialer;
use super::failure::{Done, Failure};
use super::lines::Lines;
use super::place::Place;
use super::request::Request;
use super::target::{Kind, Target};

/// Whoever holds our keys.
pub(super) enum Servers {
    /// One server, or the primary its sentinels know.
    One { place: Arc<Place>, lines: Arc<Lines> },
    /// Each key is on the node of its slot.
    Cluster(Cluster),
}

impl Servers {
    /// Reads files for TLS; connects to nothing.
    pub(super) fn new(target: Target, replicas: u32) -> Done<Self> {
        let Target { servers, mut hosts, account, database, tls, .. } = target;
        let dialer = Dialer::new(tls.as_ref(), &account, database)?;
        let place = match servers {
            Kind::Cluster => return Ok(Self::Cluster(Cluster::new(hosts, dialer, replicas))),
            Kind::Server => Place::node(hosts.swap_remove(0), dialer),
            Kind::Sentinels { service, account } => {
                Place::primary_of(service, hosts, Dialer::new(tls.as_ref(), &account, 0)?, dialer)
            }
        };
        let place = Arc::new(place);
        Ok(Self::One { lines: Arc::new(Lines::new(&place, replicas)), place })
    }

    pub(super) async fn ask(&self, request: &Request) -> Done<Value> {
        match self {
            Self::One { lines, .. } => lines.ask(request, false).await,
            Self::Cluster(cluster) => cluster.ask(request).await,
        }
    }

    /// Many requests, all of them reading or all of them writing, in as few trips as it takes. Answers in the same order; the
    /// first failure is the answer to all.
    pub(super) async fn ask_all(&self, requests: Vec<Request>) -> Done<Vec<Value>> {
        let mut answers = Vec::with_capacity(requests.len());
        for batch in requests.chunks(BATCH) {
            match self {
                Self::One { lines, .. } => answers.extend(self.batch(lines, batch).await?),
                Self::Cluster(cluster) => answers.extend(self.spread(cluster, batch).await?),
            }
        }
        Ok(answers)
    }

    /// Each node its part, all at the same time.
    async fn spread(&self, cluster: &Cluster, requests: &[Request]) -> Done<Vec<Value>> {
        let mut parts: Vec<(Arc<Lines>, Vec<usize>)> = Vec::new();
        for (index, request) in requests.iter().enumerate() {
            let lines = cluster.owner(&request.key).await?;
            match parts.iter_mut().find(|(other, _)| Arc::ptr_eq(other, &lines)) {
                Some((_, indexes)) => indexes.push(index),
                None => parts.push((lines, vec![index])),
            }
        }
        let asked = parts.iter().map(async |(lines, indexes)| {
            let part: Vec<Request> = indexes.iter().map(|&index| requests[index].clone()).collect();
            self.batch(lines, &part).await
        });
        let mut answers = vec![Value::Nil; requests.len()];
        for ((_, indexes), part) in parts.iter().zip(join_all(asked).await) {
            let part = part.inspect_err(|_| cluster.doubt())?;
            for (&index, answer) in indexes.iter().zip(part) {
                answers[index] = answer;
            }
        }
        Ok(answers)
    }

    /// One trip; what the server refuses for want of a script or a slot is asked again, one by one.
    async fn batch(&self, lines: &Lines, requests: &[Request]) -> Done<Vec<Value>> {
        let mut answers = Vec::with_capacity(requests.len());
        for (request, answer) in requests.iter().zip(lines.ask_all(requests).await?) {
            answers.push(match answer {
                Err(Failure::Refused { .. }) => self.ask(request).await?,
                answer => answer?,
            });
        }
        Ok(answers)
    }

    /// Every server that holds rows. There is one at least.
    pub(super) async fn primaries(&self) -> Done<Vec<Arc<Lines>>> {
        match self {
            Self::One { lines, .. } => Ok(vec![Arc::clone(lines)]),
            Self::Cluster(cluster) => cluster.primaries().await,
        }
    }
}

/// Requests in one trip.
const BATCH: usize = 512;
