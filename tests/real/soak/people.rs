//! One person: logs in, works, logs out, and comes back.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;

use super::ledger::{Ledger, Outcome};
use crate::browser::{Balancer, Browser};
use crate::replicas::load::{Answer, USER};
use crate::replicas::world::CALL;

/// See the module. Nobody does at random: a run can be made again.
pub(super) struct Person {
    pub(super) nth: usize,
    pub(super) url: String,
    pub(super) balancer: Balancer,
    pub(super) ledger: Ledger,
    pub(super) stop: CancellationToken,
}

impl Person {
    pub(super) async fn live(self) {
        let mut browser = self.new_browser();
        for visit in 0.. {
            if self.stop.is_cancelled() {
                return;
            }
            if !self.log_in(&mut browser).await {
                browser = self.new_browser();
                continue;
            }
            let lives = self.work(&browser, 20 + (self.nth * 7 + visit * 13) % 40).await;
            if lives && !self.stop.is_cancelled() {
                self.log_out(&mut browser, visit).await;
            }
            // Two visits in three end at the provider, too, or start in a new browser.
            if visit % 3 != 0 {
                browser = self.new_browser();
            }
        }
    }

    fn new_browser(&self) -> Browser {
        let mut browser = Browser::new(&self.url);
        browser.go_through(self.balancer.clone());
        browser
    }

    async fn log_in(&self, browser: &mut Browser) -> bool {
        let (began, name) = (Instant::now(), format!("person-{}", self.nth));
        let page = browser.try_log_in(&name, "/").await;
        let user = Answer::of(&browser.fetcher(), USER).await;
        if user.is_good() {
            self.ledger.note(Outcome::LoggedIn);
            return true;
        }
        if self.ledger.is_after_kill(began, began.elapsed()) {
            self.ledger.note(Outcome::BrokenByKill);
        } else {
            self.ledger.note_unexpected(format!("a login came to {page:?} and then {user:?}"));
        }
        false
    }

    /// Says whether the session lives on.
    async fn work(&self, browser: &Browser, turns: usize) -> bool {
        let fetch = browser.fetcher();
        for turn in 0..turns {
            if self.stop.is_cancelled() {
                return true;
            }
            // A page asks for several things at once.
            let paths: &[&str] = if turn % 4 == 0 { &[USER] } else { &[CALL, CALL, CALL] };
            let answers = join_all(paths.iter().map(|path| Answer::of(&fetch, path))).await;
            let lives: Vec<_> = answers.iter().map(|answer| self.ledger.judge(answer)).collect();
            if lives.contains(&false) {
                return false;
            }
            tokio::time::sleep(THINKING).await;
        }
        true
    }

    async fn log_out(&self, browser: &mut Browser, visit: usize) {
        let (began, before) = (Instant::now(), browser.fetcher());
        let ended = if visit.is_multiple_of(2) {
            browser.try_log_out().await.map(|page| page.status)
        } else {
            before.send("POST", "/bff/logout?local=true").await.map(|page| page.status)
        };
        let after = Answer::of(&before, CALL).await;
        if ended.as_ref().is_ok_and(http::StatusCode::is_success) && after.is_expired() {
            self.ledger.note(Outcome::LoggedOut);
            self.ledger.note(Outcome::DeadAfterLogout);
        } else if self.ledger.is_after_kill(began, began.elapsed()) {
            self.ledger.note(Outcome::BrokenByKill);
        } else {
            self.ledger.note_unexpected(format!("a logout came to {ended:?} and then {after:?}"));
        }
    }
}

const THINKING: Duration = Duration::from_millis(400);
