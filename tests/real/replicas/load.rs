//! Calls in numbers, and what became of each.

use std::time::{Duration, Instant};

use http::{StatusCode, header};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::world::CALL;
use crate::browser::{Balancer, Fetch, Page};

/// One call and its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) began: Instant,
    pub(crate) took: Duration,
    /// What came, or that the connection failed.
    pub(crate) page: Result<Page, reqwest::Error>,
}

/// Calls that go on until they are told to stop.
pub(crate) struct Load {
    stop: CancellationToken,
    callers: Vec<JoinHandle<Vec<Answer>>>,
}

impl Answer {
    /// A `GET` by whatever replica `fetch` goes through.
    pub(crate) async fn of(fetch: &Fetch, path: &str) -> Self {
        let began = Instant::now();
        let page = fetch.send("GET", path).await;
        Self { began, took: began.elapsed(), page }
    }

    /// What was asked for, with the person known.
    pub(crate) fn is_good(&self) -> bool {
        self.page.as_ref().is_ok_and(|page| page.status == StatusCode::OK) && !self.is_anonymous()
    }

    /// There was a session, and nobody knows of it any more.
    pub(crate) fn is_ended(&self) -> bool {
        self.is_expired() || self.is_anonymous()
    }

    /// No whole answer.
    pub(crate) fn is_broken(&self) -> bool {
        self.page.is_err()
    }

    fn is_anonymous(&self) -> bool {
        let anonymous = |page: &Page| page.url.path() == USER && !page.body.contains("\"authenticated\":true");
        self.page.as_ref().is_ok_and(|page| page.status == StatusCode::OK && anonymous(page))
    }

    /// An honest outage: 503, when to come again, and no word about cookies.
    pub(crate) fn is_outage(&self) -> bool {
        self.page.as_ref().is_ok_and(|page| {
            page.status == StatusCode::SERVICE_UNAVAILABLE
                && page.headers.contains_key(header::RETRY_AFTER)
                && !page.headers.contains_key(header::SET_COOKIE)
        })
    }

    /// The session is over: 401 and its reason.
    pub(crate) fn is_expired(&self) -> bool {
        let page = self.page.as_ref();
        page.is_ok_and(|page| page.status == StatusCode::UNAUTHORIZED && page.body.contains("/session-expired\""))
    }
}

impl Load {
    /// Every browser calls API and `/bff/user` in turn, by one replica after the other.
    pub(crate) fn start(browsers: &[Fetch], balancer: &Balancer) -> Self {
        let stop = CancellationToken::new();
        let caller = |(nth, fetch): (usize, &Fetch)| {
            let (stop, fetch) = (stop.clone(), fetch.clone().through(balancer.clone()));
            tokio::spawn(async move {
                let mut answers = Vec::new();
                while !stop.is_cancelled() {
                    let path = if (nth + answers.len()) % 2 == 0 { CALL } else { USER };
                    answers.push(Answer::of(&fetch, path).await);
                    tokio::time::sleep(PAUSE).await;
                }
                answers
            })
        };
        let callers = browsers.iter().enumerate().map(caller).collect();
        Self { stop, callers }
    }

    /// Waits for the calls under way and says what became of all, oldest first.
    pub(crate) async fn stop(self) -> Vec<Answer> {
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
pub(crate) fn assert_each(answers: &[Answer], what: &str, fine: impl Fn(&Answer) -> bool) {
    let others: Vec<_> = answers.iter().filter(|answer| !fine(answer)).collect();
    assert!(others.is_empty(), "{} of {} are not {what}, such as {:#?}", others.len(), answers.len(), others[0]);
}

/// Who is logged in.
pub(crate) const USER: &str = "/bff/user";
/// Between two calls of one browser.
const PAUSE: Duration = Duration::from_millis(50);
