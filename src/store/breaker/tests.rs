use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::oneshot;
use tokio::time::{advance, sleep};

use super::*;
use crate::store::{FlakyBackend, MemoryBackend, Outage, SessionBackend as _};

const TIMEOUT: Duration = Duration::from_secs(2);

struct World {
    backend: Arc<FlakyBackend>,
    breaker: Arc<Breaker>,
}

impl World {
    fn new() -> Self {
        let backend = Arc::new(FlakyBackend::new(Arc::new(MemoryBackend::new())));
        Self { backend, breaker: Arc::new(Breaker::new(TIMEOUT)) }
    }

    fn with(outage: Outage) -> Self {
        let world = Self::new();
        world.backend.set(outage);
        world
    }

    /// Whether a call was answered, and whether the store was asked for it.
    async fn call(&self) -> (bool, bool) {
        let before = self.backend.calls();
        let answered = self.breaker.call(self.backend.ping()).await.is_ok();
        (answered, self.backend.calls() > before)
    }

    async fn open(&self) {
        for _ in 0..THRESHOLD {
            self.call().await;
        }
        assert!(self.is_open());
    }

    fn is_open(&self) -> bool {
        is_open(self.generation())
    }

    fn generation(&self) -> u64 {
        self.breaker.generation.load(Ordering::Relaxed)
    }

    /// A call that the test answers.
    fn held(&self) -> (oneshot::Sender<Result<()>>, tokio::task::JoinHandle<Result<()>>) {
        let (answer, answered) = oneshot::channel();
        let breaker = self.breaker.clone();
        let call = async move { breaker.call(async { answered.await.expect("the test answers") }).await };
        (answer, tokio::spawn(call))
    }
}

fn failure() -> Result<()> {
    Err(Error::Unavailable("of the test".to_owned()))
}

/// Paused time passes only while every task waits.
async fn until_all_wait() {
    sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn after_five_failures_in_a_row_calls_fail_without_the_store() {
    let world = World::with(Outage::Unavailable);
    for _ in 0..THRESHOLD {
        assert_eq!(world.call().await, (false, true));
    }
    for _ in 0..100 {
        assert_eq!(world.call().await, (false, false));
    }
    let refused = world.breaker.call(world.backend.ping()).await.unwrap_err();
    assert_eq!(refused.to_string(), "not asked again so soon after: simulated outage");
}

#[tokio::test(start_paused = true)]
async fn failures_with_answers_between_them_do_not_open_it() {
    let world = World::new();
    for _ in 0..10 {
        world.backend.set(Outage::Unavailable);
        for _ in 1..THRESHOLD {
            assert_eq!(world.call().await, (false, true));
        }
        world.backend.set(Outage::None);
        assert_eq!(world.call().await, (true, true));
    }
    assert_eq!(world.generation(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_value_that_does_not_open_is_an_answer() {
    let world = World::new();
    for _ in 0..2 * THRESHOLD {
        assert!(world.breaker.call(async { Err::<(), _>(Error::Corrupt("of the test")) }).await.is_err());
    }
    assert_eq!(world.generation(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_call_per_pause_passes_and_the_pause_grows_to_a_second() {
    let world = World::with(Outage::Unavailable);
    world.open().await;
    for pause in [100, 200, 400, 800, 1000, 1000, 1000] {
        advance(Duration::from_millis(pause - 1)).await;
        assert_eq!(world.call().await, (false, false), "{pause} ms are not over");
        advance(Duration::from_millis(1)).await;
        assert_eq!(world.call().await, (false, true), "{pause} ms are over");
        assert_eq!(world.call().await, (false, false), "one has passed");
    }
    assert_eq!(world.generation(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_back_is_noticed_within_a_second() {
    for outage in [Outage::Unavailable, Outage::Hangs] {
        let world = World::with(outage);
        let calls = (0..THRESHOLD).map(|_| world.call());
        join_all(calls).await;
        assert!(world.is_open());
        // Long enough for the longest pause, with probes that hang.
        let until = Instant::now() + Duration::from_mins(1);
        while Instant::now() < until {
            let breaker = world.breaker.clone();
            let backend = world.backend.clone();
            tokio::spawn(async move { breaker.call(backend.ping()).await });
            sleep(Duration::from_millis(50)).await;
        }
        world.backend.set(Outage::None);
        let back = Instant::now();
        while !world.call().await.0 {
            sleep(Duration::from_millis(50)).await;
        }
        assert!(back.elapsed() <= LONGEST_PAUSE + Duration::from_millis(50), "{:?}", back.elapsed());
        assert_eq!(world.generation(), 2);
        assert_eq!(world.call().await, (true, true));
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_abandoned_holds_nobody_up() {
    let world = World::with(Outage::Unavailable);
    world.open().await;
    world.backend.set(Outage::Hangs);
    advance(SHORTEST_PAUSE).await;
    let left = timeout(Duration::from_millis(1), world.breaker.call(world.backend.ping())).await;
    assert!(left.is_err(), "the caller left while it probed");
    world.backend.set(Outage::None);
    advance(LONGEST_PAUSE).await;
    assert_eq!(world.call().await, (true, true));
    assert!(!world.is_open());
}

#[tokio::test(start_paused = true)]
async fn many_that_fail_at_once_open_it_once() {
    let world = World::with(Outage::Hangs);
    join_all((0..500).map(|_| world.call())).await;
    assert_eq!((world.generation(), world.backend.calls()), (1, 500));
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_calls_of_a_store_that_hangs_are_over_soon_and_few_reach_it() {
    let world = World::with(Outage::Hangs);
    let began = Instant::now();
    let answers = join_all((0..10_000).map(|_| world.call())).await;
    assert!(answers.iter().all(|(answered, _)| !answered));
    assert!(began.elapsed() <= TIMEOUT, "{:?}", began.elapsed());
    assert_eq!(world.backend.calls(), PLACES as u64);
    join_all((0..10_000).map(|_| world.call())).await;
    assert_eq!(world.backend.calls(), PLACES as u64, "no more until a pause is over");
}

#[tokio::test(start_paused = true)]
async fn a_burst_on_a_store_that_is_slow_waits_for_places_and_passes() {
    let world = World::with(Outage::Slow);
    let answers = join_all((0..10_000).map(|_| world.call())).await;
    assert!(answers.iter().all(|(answered, _)| *answered));
    assert_eq!(world.breaker.places.available_permits(), PLACES);
}

#[tokio::test(start_paused = true)]
async fn a_late_answer_to_an_old_call_does_not_close_it() {
    let world = World::with(Outage::Unavailable);
    let (answer, old) = world.held();
    until_all_wait().await;
    world.open().await;
    answer.send(Ok(())).unwrap();
    assert!(old.await.unwrap().is_ok(), "who asked has it all the same");
    assert_eq!(world.generation(), 1);
}

#[tokio::test(start_paused = true)]
async fn late_failures_of_old_calls_do_not_open_it_again() {
    let world = World::with(Outage::Unavailable);
    let old: Vec<_> = (0..2 * THRESHOLD).map(|_| world.held()).collect();
    until_all_wait().await;
    world.open().await;
    world.backend.set(Outage::None);
    advance(SHORTEST_PAUSE).await;
    assert_eq!(world.call().await, (true, true));
    for (answer, call) in old {
        answer.send(failure()).unwrap();
        assert!(call.await.unwrap().is_err());
    }
    assert_eq!(world.generation(), 2);
}

#[tokio::test(start_paused = true)]
async fn who_waited_for_a_place_does_not_ask_a_store_that_failed_meanwhile() {
    let world = World::new();
    let holding: Vec<_> = (0..PLACES).map(|_| world.held()).collect();
    until_all_wait().await;
    let mut waiting = std::pin::pin!(world.call());
    assert!(timeout(Duration::from_millis(1), &mut waiting).await.is_err());
    for (answer, _) in holding {
        answer.send(failure()).unwrap();
    }
    assert_eq!(waiting.await, (false, false));
    assert!(world.is_open());
}
