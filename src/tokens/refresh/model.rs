//! The renewal protocol against every order of events: the real code over a real store, in a world where every call to the store
//! and the provider happens, fails, is late or is lost as a search decides.
//!
//! `explorer` searches, `world` holds each `call` until one of `moves` lets it happen, `store` and `provider` are what is called,
//! `scenario` says who takes part, `run` what must be true. A failing test prints what happened and the choices that repeat it.

mod call;
mod clock;
mod explorer;
mod faults;
mod monitor;
mod moves;
mod provider;
mod run;
mod scenario;
mod store;
mod world;

use std::time::Duration;

use faults::{Fault, Faults};
use provider::Rotation;
use scenario::Scenario;
use store::Bug;

/// Explores with providers of both kinds; `least` runs each, or the search is broken.
fn check(least: usize, scenario: impl Fn(Scenario) -> Scenario) {
    check_with(&[Rotation::Strict, Rotation::Grace], least, scenario);
}

fn check_with(rotations: &[Rotation], least: usize, scenario: impl Fn(Scenario) -> Scenario) {
    for rotation in rotations {
        let started = std::time::Instant::now();
        let stats = scenario(Scenario::new(*rotation)).explore().unwrap_or_else(|violation| panic!("{violation}"));
        eprintln!("{rotation:?}: {stats} in {:?}", started.elapsed());
        assert!(stats.runs >= least, "only {stats}");
    }
}

fn with(most: u8, kinds: &[Fault]) -> impl Fn(Scenario) -> Scenario {
    let faults = Faults::any(most, kinds);
    move |scenario| Scenario { faults: faults.clone(), ..scenario }
}

#[test]
fn two_replicas_and_no_faults() {
    check(5, |scenario| scenario);
}

#[test]
fn three_replicas_and_no_faults() {
    check(5, |scenario| Scenario { replicas: 3, callers: vec![0, 1, 2], ..scenario });
}

#[test]
fn callers_of_one_process_share_a_renewal() {
    check(5, |scenario| Scenario { callers: vec![0, 0, 1], ..scenario });
}

#[test]
fn a_caller_comes_at_any_time() {
    check(5, |scenario| Scenario { late: true, ..scenario });
}

#[test]
fn the_holder_dies_at_every_point() {
    check(20, with(1, &[Fault::Crash]));
}

#[test]
fn any_one_answer_of_the_provider_is_lost() {
    check(20, with(1, &[Fault::ProviderAnswerLost, Fault::ProviderBreaks, Fault::ProviderUnreachable]));
}

#[test]
fn the_provider_is_slow() {
    check(20, with(1, &[Fault::ProviderSlow, Fault::ProviderAnswerSlow]));
}

#[test]
fn a_request_outlives_its_broken_connection() {
    check_with(&[Rotation::LongGrace], 20, with(1, &[Fault::ProviderCut]));
}

#[test]
fn any_one_answer_of_the_store_is_lost() {
    check(20, with(1, &[Fault::StoreAnswerLost, Fault::StoreFails]));
}

#[test]
fn the_store_is_down_for_a_while() {
    check(20, with(1, &[Fault::StoreDown]));
}

#[test]
fn an_answer_that_could_not_be_stored_gives_way_to_that_of_a_later_request() {
    // Without grace this costs the session (decision 0010, "Price").
    check_with(&[Rotation::Grace, Rotation::LongGrace], 20, with(1, &[Fault::CutOff]));
}

#[test]
fn an_answer_to_a_later_request_takes_the_place_of_an_older_one_that_was_stored_meanwhile() {
    check_with(&[Rotation::Grace], 20, with(2, &[Fault::CutOff, Fault::ProviderAnswerSlow]));
}

#[test]
fn a_lease_runs_out_under_a_slow_store() {
    check(20, with(1, &[Fault::StoreSlow, Fault::StoreAnswerSlow]));
}

#[test]
fn clients_leave_at_every_point() {
    check(5, |scenario| with(1, &[Fault::Leave])(Scenario { callers: vec![0, 0, 1], ..scenario }));
}

#[test]
fn a_logout_meets_a_renewal_at_every_point() {
    check(20, |scenario| Scenario { replicas: 3, logout: Some(2), ..scenario });
}

#[test]
fn a_logout_meets_a_renewal_and_a_fault() {
    let faults = [Fault::StoreFails, Fault::StoreAnswerLost, Fault::ProviderBreaks, Fault::Crash];
    check(20, |scenario| with(1, &faults)(Scenario { callers: vec![0], replicas: 3, logout: Some(2), ..scenario }));
}

#[test]
fn a_session_is_sealed_anew_while_its_tokens_are_renewed() {
    check(5, |scenario| Scenario { callers: vec![0], touch: Some(1), ..scenario });
}

#[test]
fn the_holder_dies_and_an_answer_of_the_provider_is_lost() {
    check(20, with(2, &[Fault::Crash, Fault::ProviderAnswerLost]));
}

#[test]
fn an_answer_of_the_provider_is_lost_and_one_of_the_store() {
    check(20, with(2, &[Fault::ProviderAnswerLost, Fault::StoreAnswerLost]));
}

#[test]
fn the_holder_dies_under_a_slow_provider() {
    // Which requests overlap does not depend on what the provider makes of them.
    check_with(&[Rotation::Strict], 20, with(2, &[Fault::Crash, Fault::ProviderSlow]));
}

#[test]
fn a_grant_that_is_over_ends_the_session() {
    check(5, |scenario| Scenario { grant_is_over: true, ..scenario });
}

#[test]
fn the_checker_finds_planted_bugs() {
    let bugs = [
        (Bug::IgnoresLeases, Faults::none()),
        (Bug::ForgetsTheDead, Faults::any(1, &[Fault::Crash])),
        (Bug::IgnoresVersions, Faults::any(1, &[Fault::StoreSlow])),
        (Bug::DropsWrites, Faults::none()),
        (Bug::ForgetsTheOrder, Faults::any(1, &[Fault::CutOff])),
    ];
    for (bug, faults) in bugs {
        let rotation = if bug == Bug::ForgetsTheOrder { Rotation::Grace } else { Rotation::Strict };
        let scenario = Scenario { bug: Some(bug), faults, ..Scenario::new(rotation) };
        let found = scenario.explore().expect_err("the bug must be found");
        eprintln!("{bug:?}: {}", found.lines().next().unwrap_or_default());
    }
}

// None is a multiple of another or of a third of it: what `select!` does with two timers that end together is left to chance, and a
// run must be the same each time.

/// How long a lease lasts.
const LEASE: Duration = Duration::from_millis(633);
/// The total deadline of a request to the provider.
const D: Duration = Duration::from_millis(1277);
/// How long a store call may take for its caller…
const STORE_TIMEOUT: Duration = Duration::from_millis(163);
/// …and in the store.
const STORE_DELAY: Duration = Duration::from_millis(521);
/// How long the store is down.
const OUTAGE: Duration = Duration::from_millis(931);
/// How long a process cannot reach the store at most: long enough for another to take over and store what it is answered.
const CUT_OFF: Duration = Duration::from_millis(3181);
/// How late somebody may begin.
const LATE: Duration = Duration::from_millis(700);
/// How long callers wait: until everything else has been given up.
const PATIENCE: Duration = Duration::from_mins(1);
/// How long renewed access tokens live.
const TOKEN_LIFE: Duration = Duration::from_hours(10);
