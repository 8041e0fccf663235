//! One run from its beginning to its end, and what must be true of it.

use super::explorer::Explorer;
use super::faults::Fault;
use super::moves::Move;
use super::provider::Rotation;
use super::scenario::{Actor, Cast, Scenario, Stop, Verdict};
use crate::store::Reason;

impl Scenario {
    /// Callers, logout and touch; then what goes on without them; then a call much later on every replica and a fresh one.
    pub(super) async fn play(&self, cast: &Cast, explorer: &mut Explorer) -> Result<(), Stop> {
        let mut actors = self.actors(cast);
        cast.drive(&mut actors, explorer).await?;
        self.check_outcomes(cast, actors).await?;
        let alive: Vec<usize> = (0..self.replicas).filter(|replica| !cast.world.is_crashed(*replica)).collect();
        let mut drains: Vec<Actor> = alive.iter().map(|replica| cast.drain(*replica)).collect();
        cast.drive(&mut drains, explorer).await?;
        cast.world.inner().faults.stop();
        cast.check_revoked()?;
        for replica in alive.into_iter().chain([self.replicas]) {
            let mut probe = vec![cast.probe(replica)];
            cast.drive(&mut probe, explorer).await?;
            let verdict = probe.remove(0).task.await.expect("a probe does not panic");
            if verdict == Some(Verdict::Outage) {
                return violation("nobody gets a token any more".to_owned());
            }
        }
        cast.check_session().await?;
        self.check_end(cast)
    }

    /// Every caller has an answer that is true; and a new token if nothing went wrong.
    async fn check_outcomes(&self, cast: &Cast, actors: Vec<Actor>) -> Result<(), Stop> {
        for actor in actors.into_iter().filter(|actor| actor.is_client && !actor.left) {
            if cast.world.is_crashed(actor.replica) {
                continue;
            }
            let verdict = actor.task.await.ok().flatten();
            let inner = cast.world.inner();
            let ended = inner.outside.monitor.ended.is_some();
            match verdict {
                Some(Verdict::Token(token)) if token != "a0" => {}
                Some(Verdict::Ended) if ended => {}
                Some(Verdict::Outage) if inner.faults.count() > 0 => {}
                other => return violation(format!("a caller came to {other:?}, ended: {ended}")),
            }
        }
        Ok(())
    }

    fn check_end(&self, cast: &Cast) -> Result<(), Stop> {
        let inner = cast.world.inner();
        let (monitor, provider) = (&inner.outside.monitor, &inner.outside.provider);
        let lost = monitor.has_lost_a_token();
        let forgiving = self.rotation != Rotation::Strict;
        let one_fault = inner.faults.count() <= 1;
        match monitor.ended {
            None => {}
            Some(Reason::Logout) if self.logout.is_some() => {}
            Some(Reason::RefreshRefused) if self.grant_is_over => {}
            Some(Reason::RefreshRefused) if lost && !forgiving && !one_fault => {}
            Some(Reason::RefreshLost) if lost && !forgiving => {}
            // Nobody can tell the two apart after a fault.
            Some(Reason::RefreshLost) if self.grant_is_over && inner.faults.count() > 0 => {}
            Some(reason) => return violation(format!("the session ended: {reason:?}, token lost: {lost}")),
        }
        if provider.reuses > 0 && (forgiving || !lost) {
            return violation(format!("the provider saw {} reuses, token lost: {lost}", provider.reuses));
        }
        let expected = usize::from(!self.grant_is_over && self.logout.is_none());
        if inner.faults.count() == 0 && self.logout.is_none() && provider.grants() != expected {
            return violation(format!("{} grants for one renewal", provider.grants()));
        }
        if monitor.is_leased() {
            return violation("a lease stays".to_owned());
        }
        Ok(())
    }
}

impl Cast {
    /// After a logout no token lives that anybody could have revoked.
    fn check_revoked(&self) -> Result<(), Stop> {
        let inner = self.world.inner();
        let monitor = &inner.outside.monitor;
        let excused = inner.faults.happened(Fault::Crash) || monitor.has_lost_a_token() || monitor.logout_failed;
        let live = inner.outside.provider.live();
        if monitor.ended == Some(Reason::Logout) && !live.is_empty() && !excused {
            return violation(format!("{live:?} outlives the logout"));
        }
        Ok(())
    }

    /// The row is there unless something ended it, and holds the token that works.
    async fn check_session(&self) -> Result<(), Stop> {
        let loaded = self.unseen.load(self.id).await.expect("the store answers");
        let inner = self.world.inner();
        let outside = &inner.outside;
        match (loaded, outside.monitor.ended) {
            (None, Some(_)) => Ok(()),
            (None, None) => violation("the session is gone and nobody ended it".to_owned()),
            (Some(_), Some(reason)) => violation(format!("the session is there and was ended: {reason:?}")),
            (Some(loaded), None) => {
                let stored = loaded.tokens().refresh.as_ref().map_or("nothing", |token| token.expose());
                let live = outside.provider.live();
                // Who comes back with an answer cannot know that a later one was lost (decision 0010, "Price").
                let excused = inner.faults.happened(Fault::CutOff) && outside.monitor.has_lost_a_token();
                if excused || live.iter().any(|token| token == stored) {
                    return Ok(());
                }
                violation(format!("stored is {stored}, but {live:?} works"))
            }
        }
    }

    /// Lets things happen until everybody is done and nothing is on its way.
    async fn drive(&self, actors: &mut [Actor], explorer: &mut Explorer) -> Result<(), Stop> {
        for _ in 0..STEPS {
            self.world.settle().await;
            if let Some(what) = self.world.inner().outside.monitor.violation.take() {
                return violation(what);
            }
            let waits = |actor: &Actor| !actor.task.is_finished() && !self.world.is_crashed(actor.replica);
            let is_done = !actors.iter().any(waits);
            let clients = (0..actors.len()).filter(|at| actors[*at].is_client && waits(&actors[*at]));
            let leaving: Vec<usize> = clients.collect();
            let (moves, digest) = {
                let mut inner = self.world.inner();
                (inner.moves(&leaving), inner.digest())
            };
            let chosen = match moves.as_slice() {
                [] if is_done => return Ok(()),
                [] => Move::Pass,
                moves => moves[explorer.choose(moves.len(), digest)?],
            };
            match chosen {
                Move::Pass => self.pass().await?,
                Move::Leave(actor) => self.leave(&mut actors[actor]),
                chosen => self.world.apply(chosen),
            }
        }
        violation(format!("it does not end within {STEPS} steps"))
    }

    async fn pass(&self) -> Result<(), Stop> {
        if self.world.pass().await { Ok(()) } else { violation("everybody waits for ever".to_owned()) }
    }

    fn leave(&self, actor: &mut Actor) {
        actor.left = true;
        actor.task.abort();
        self.world.inner().faults.spend(Fault::Leave);
        self.world.report(actor.replica, "a client leaves");
    }
}

fn violation(what: String) -> Result<(), Stop> {
    Err(Stop::Violation(what))
}

/// More than any run takes.
const STEPS: usize = 5000;
