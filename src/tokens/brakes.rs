//! Back-off after failed renewals: of one session, and of the whole provider. In this process only.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Timestamp;
use crate::secret;
use crate::store::SessionKey;

/// What is braked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Braked {
    /// Renewals of one session.
    Session(SessionKey),
    /// All of them: the provider does not answer.
    Provider,
    /// Renewals of one session that an API asked for by refusing its token.
    Forced(SessionKey),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Brakes(Mutex<HashMap<Braked, Brake>>);

#[derive(Clone, Copy, Debug)]
struct Brake {
    failures: u32,
    until: Timestamp,
}

impl Brakes {
    /// How long a renewal of this session has to wait; nothing if it may start.
    pub(super) fn wait(&self, session: SessionKey, now: Timestamp) -> Option<Duration> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = [Braked::Provider, Braked::Session(session)];
        ours.iter().filter_map(|braked| known.get(braked)?.wait(now)).max()
    }

    /// Whether `braked` is free; if so, it is taken for `pause`.
    pub(super) fn take(&self, braked: Braked, now: Timestamp, pause: Duration) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.get(&braked).is_some_and(|brake| brake.wait(now).is_some()) {
            return false;
        }
        forget_old(&mut known, now);
        known.insert(braked, Brake { failures: 0, until: now + pause });
        true
    }

    /// Notes a failure and answers how long it brakes: a second at first, twice as long each time, half a minute at most.
    pub(super) fn failed(&self, braked: Braked, now: Timestamp) -> Duration {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        forget_old(&mut known, now);
        let brake = known.entry(braked).or_insert(Brake { failures: 0, until: now });
        // Renewals that started together fail together, and count as one.
        if brake.wait(now).is_none() {
            brake.failures += 1;
            brake.until = now + secret::jittered(pause(brake.failures));
        }
        brake.until.since(now)
    }

    /// Forgets failures: an answer came.
    pub(super) fn passed(&self, session: SessionKey) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.is_empty() {
            known.remove(&Braked::Provider);
            known.remove(&Braked::Session(session));
        }
    }
}

impl Brake {
    /// How long it still lasts. One that lasts longer than any does was set by a clock that has gone back since.
    fn wait(&self, now: Timestamp) -> Option<Duration> {
        Some(self.until.since(now)).filter(|wait| !wait.is_zero() && *wait <= LONGEST * 2)
    }
}

fn forget_old(brakes: &mut HashMap<Braked, Brake>, now: Timestamp) {
    if brakes.len() >= MANY {
        brakes.retain(|_, brake| now < brake.until + LONGEST);
    }
}

fn pause(failures: u32) -> Duration {
    let doubled = failures.saturating_sub(1).min(5);
    (SHORTEST * (1 << doubled)).min(LONGEST)
}

const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
/// Entries after which old ones are looked for.
const MANY: usize = 10_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::suite::key;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    #[test]
    fn pauses_double_up_to_half_a_minute() {
        let (brakes, mut now) = (Brakes::default(), NOW);
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            let pause = brakes.failed(Braked::Session(key(1)), now);
            let middle = Duration::from_secs(seconds);
            assert!((middle * 3 / 4..=middle * 5 / 4).contains(&pause), "{pause:?} around {middle:?}");
            assert_eq!(brakes.wait(key(1), now), Some(pause));
            now = now + pause;
            assert_eq!(brakes.wait(key(1), now), None);
        }
    }

    #[test]
    fn a_session_brakes_itself_and_a_provider_brakes_all() {
        let brakes = Brakes::default();
        brakes.failed(Braked::Session(key(1)), NOW);
        assert!(brakes.wait(key(1), NOW).is_some());
        assert_eq!(brakes.wait(key(2), NOW), None);
        brakes.failed(Braked::Provider, NOW);
        assert!(brakes.wait(key(2), NOW).is_some());
    }

    #[test]
    fn failures_at_the_same_time_count_once() {
        let brakes = Brakes::default();
        let first = brakes.failed(Braked::Provider, NOW);
        assert_eq!(brakes.failed(Braked::Provider, NOW), first);
    }

    #[test]
    fn an_answer_takes_the_brakes_off() {
        let brakes = Brakes::default();
        brakes.failed(Braked::Provider, NOW);
        brakes.failed(Braked::Session(key(1)), NOW);
        brakes.passed(key(1));
        assert_eq!(brakes.wait(key(1), NOW), None);
    }

    #[test]
    fn what_is_taken_is_free_again_when_its_time_is_over() {
        let (brakes, forced) = (Brakes::default(), Braked::Forced(key(1)));
        assert!(brakes.take(forced, NOW, LONGEST));
        assert!(!brakes.take(forced, NOW, LONGEST));
        assert_eq!(brakes.wait(key(1), NOW), None, "ordinary renewals go on");
        assert!(brakes.take(forced, NOW + LONGEST, LONGEST));
    }

    #[test]
    fn a_clock_that_goes_back_does_not_prolong_a_brake() {
        let brakes = Brakes::default();
        brakes.failed(Braked::Provider, NOW + Duration::from_hours(1));
        assert_eq!(brakes.wait(key(1), NOW), None);
    }

    #[test]
    fn old_failures_are_forgotten_before_they_pile_up() {
        let brakes = Brakes::default();
        for n in 0..u32::try_from(MANY).unwrap() {
            brakes.failed(Braked::Session(key(n)), NOW);
        }
        brakes.failed(Braked::Provider, NOW + LONGEST * 2);
        assert_eq!(brakes.0.lock().unwrap().len(), 1);
    }
}
