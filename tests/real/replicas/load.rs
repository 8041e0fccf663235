//! Calls in numbers, and what became of each.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::{StatusCode, header};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::world::CALL;
use crate::browser::{Fetch, Page};

/// One call and its end.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) began: Instant,
    pub(super) took: Duration,
    /// What came, or that the connection failed.
    pub(super) page: Result<Page, reqwest::Error>,
}

/// The replicas that calls are spread over, as a load balancer knows them.
#[derive(Clone)]
pub(super) struct Balancer(Arc<Mutex<Vec<SocketAddr>>>);

/// Calls that go on until they are told to stop.
pub(super) struct Load {
    stop: CancellationToken,
    callers: Vec<JoinHandle<Vec<Answer>>>,
}

impl Answer {
    /// A `GET` by whatever replica `fetch` goes through.
    pub(super) async fn of(fetch: &Fetch, path: &str) -> Self {
        let began = Instant::now();
        let page = fetch.send("GET", path).await;
        Self { began, took: began.elapsed(), page }
    }

    pub(super) fn status(&self) -> Option<StatusCode> {
        self.page.as_ref().ok().map(|page| page.status)
    }

    /// What was asked for, with the person known.
    pub(super) fn is_good(&self) -> bool {
        let anonymous = |page: &Page| page.url.path() == USER && !page.body.contains("\"authenticated\":true");
        self.page.as_ref().is_ok_and(|page| page.status == StatusCode::OK && !anonymous(page))
    }

    /// An honest outage: 503, when to come again, and no word about cookies.
    pub(super) fn is_outage(&self) -> bool {
        self.page.as_ref().is_ok_and(|page| {
            page.status == StatusCode::SERVICE_UNAVAILABLE
                && page.headers.contains_key(header::RETRY_AFTER)
                && !page.headers.contains_key(header::SET_COOKIE)
        })
    }

    /// The session is over: 401 and its reason.
    pub(super) fn is_expired(&self) -> bool {
        let page = self.page.as_ref();
        page.is_ok_and(|page| page.status == StatusCode::UNAUTHORIZED && page.body.contains("/session-expired\""))
    }

    /// Nobody was there to take the connection.
    fn is_refused(&self) -> bool {
        self.page.as_ref().is_err_and(reqwest::Error::is_connect)
    }
}

impl Balancer {
    pub(super) fn over(replicas: &[SocketAddr]) -> Self {
        Self(Arc::new(Mutex::new(replicas.to_vec())))
    }

    pub(super) fn replace(&self, old: SocketAddr, new: SocketAddr) {
        let mut replicas = self.replicas();
        replicas.retain(|replica| *replica != old);
        replicas.push(new);
    }

    /// A `GET` by the replica whose turn it is, or by the next one that takes the connection.
    pub(super) async fn call(&self, turn: usize, fetch: &Fetch, path: &str) -> Answer {
        let mut replicas = self.replicas().clone();
        let length = replicas.len();
        replicas.rotate_left(turn % length);
        let mut answer = None;
        for replica in replicas {
            let tried = Answer::of(&fetch.clone().through(replica), path).await;
            if !tried.is_refused() {
                return tried;
            }
            answer = Some(tried);
        }
        answer.expect("there are replicas")
    }

    fn replicas(&self) -> MutexGuard<'_, Vec<SocketAddr>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Load {
    /// Every browser calls API and `/bff/user` in turn, by one replica after the other.
    pub(super) fn start(browsers: &[Fetch], balancer: &Balancer) -> Self {
        let stop = CancellationToken::new();
        let caller = |(nth, fetch): (usize, &Fetch)| {
            let (stop, fetch, balancer) = (stop.clone(), fetch.clone(), balancer.clone());
            tokio::spawn(async move {
                let mut answers = Vec::new();
                while !stop.is_cancelled() {
                    let turn = nth + answers.len();
                    let path = if turn % 2 == 0 { CALL } else { USER };
                    answers.push(balancer.call(turn / 2, &fetch, path).await);
                    tokio::time::sleep(PAUSE).await;
                }
                answers
            })
        };
        let callers = browsers.iter().enumerate().map(caller).collect();
        Self { stop, callers }
    }

    /// Waits for the calls under way and says what became of all, oldest first.
    pub(super) async fn stop(self) -> Vec<Answer> {
        self.stop.cancel();
        let mut answers = Vec::new();
        for caller in self.callers {
            answers.extend(caller.await.expect("a caller does not panic"));
        }
        answers.sort_by_key(|answer| answer.began);
        answers
    }
}

/// # Panics
/// If one of them is not `fine`.
pub(super) fn assert_each(answers: &[Answer], what: &str, fine: impl Fn(&Answer) -> bool) {
    let others: Vec<_> = answers.iter().filter(|answer| !fine(answer)).collect();
    assert!(others.is_empty(), "{} of {} are not {what}, such as {:#?}", others.len(), answers.len(), others[0]);
}

/// Who is logged in.
pub(super) const USER: &str = "/bff/user";
/// Between two calls of one browser.
const PAUSE: Duration = Duration::from_millis(50);
