//! What became of everything that was tried: counted by kind, and only kinds that have a name here.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::replicas::load::Answer;
use crate::replicas::world::{LEASE, PROVIDER_TIMEOUT};

/// The kinds of outcome that are fine. What comes after a kill is fine for as long as [`AFTERMATH`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Outcome {
    LoggedIn,
    Answered,
    LoggedOut,
    /// The cookie of before a logout opens nothing.
    DeadAfterLogout,
    /// 503 while nobody knows what the killed replica had sent.
    OutageAfterKill,
    /// The connection was to the replica that was killed.
    BrokenByKill,
    /// The killed replica had an answer that nobody else will ever see.
    LostByKill,
}

/// Counts, and what had no name.
#[derive(Clone, Default)]
pub(super) struct Ledger(Arc<Mutex<Entries>>);

#[derive(Default)]
struct Entries {
    counts: BTreeMap<Outcome, u64>,
    unexpected: Vec<String>,
    kills: Vec<Instant>,
    slowest: Duration,
}

impl Ledger {
    pub(super) fn note(&self, outcome: Outcome) {
        *self.entries().counts.entry(outcome).or_default() += 1;
    }

    /// It fails the test at its end.
    pub(super) fn note_unexpected(&self, what: String) {
        self.entries().unexpected.push(what);
    }

    pub(super) fn note_kill(&self) {
        self.entries().kills.push(Instant::now());
    }

    /// Names what a call came to. Says whether the session is still of use.
    pub(super) fn judge(&self, answer: &Answer) -> bool {
        let after_kill = self.is_after_kill(answer.began, answer.took);
        let (outcome, lives) = match answer {
            answer if answer.is_good() => (Outcome::Answered, true),
            answer if answer.is_outage() && after_kill => (Outcome::OutageAfterKill, true),
            answer if answer.is_broken() && after_kill => (Outcome::BrokenByKill, true),
            answer if answer.is_ended() && after_kill => (Outcome::LostByKill, false),
            other => {
                self.note_unexpected(format!("{other:?}"));
                return false;
            }
        };
        self.note(outcome);
        let mut entries = self.entries();
        entries.slowest = entries.slowest.max(answer.took);
        lives
    }

    /// Whether a kill may have had a part in something that took from `began` on so long.
    pub(super) fn is_after_kill(&self, began: Instant, took: Duration) -> bool {
        self.entries().kills.iter().any(|kill| began < *kill + AFTERMATH && began + took >= *kill)
    }

    pub(super) fn count(&self, outcome: Outcome) -> u64 {
        self.entries().counts.get(&outcome).copied().unwrap_or_default()
    }

    /// # Panics
    /// If something had no name.
    pub(super) fn assert_all_named(&self) {
        let entries = self.entries();
        let some: Vec<_> = entries.unexpected.iter().take(5).collect();
        assert!(some.is_empty(), "{} outcomes have no name, such as {some:#?}", entries.unexpected.len());
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.entries();
        for (outcome, count) in &entries.counts {
            writeln!(f, "{:<24}{count:>10}", format!("{outcome:?}"))?;
        }
        writeln!(f, "{:<24}{:>10}", "unexpected", entries.unexpected.len())?;
        writeln!(f, "{:<24}{:>10}", "slowest call, ms", entries.slowest.as_millis())
    }
}

/// How long a kill is felt: L + D, and what the try after that may take.
const AFTERMATH: Duration = LEASE.saturating_add(PROVIDER_TIMEOUT).saturating_add(PROVIDER_TIMEOUT);
