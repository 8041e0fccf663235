//! A provider that rotates refresh tokens, and the way to it.

use std::sync::Arc;
use std::time::Duration;

use super::call::{Executed, Fate, Kind};
use super::world::{Outside, World};
use super::{D, TOKEN_LIFE};
use crate::clock::{Clock as _, Timestamp};
use crate::oidc::{self, AccessToken, ErrorCode, Identity, Sent, TokenSet};
use crate::secret::Secret;
use crate::tokens::refresh::TokenEndpoint;

/// What the provider does with a refresh token that was used before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Rotation {
    /// The whole grant ends (RFC 9700 §4.14.2).
    Strict,
    /// The token that was used last may be used again, and what was issued for it before is dead. Any other ends the grant.
    Grace,
    /// The same, but what was issued for it before works until one of them is used.
    LongGrace,
}

/// One grant: its refresh tokens are `r0`, `r1`, … and its access tokens `a0`, `a1`, …
#[derive(Debug, Hash)]
pub(super) struct Provider {
    rotation: Rotation,
    /// The state of each refresh token that was issued.
    issued: Vec<State>,
    /// Tokens that came back after they had been used.
    pub(super) reuses: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum State {
    Live,
    Used,
    Dead,
}

impl Provider {
    /// With one login, to which `r0` was issued.
    pub(super) fn new(rotation: Rotation) -> Self {
        Self { rotation, issued: vec![State::Live], reuses: 0 }
    }

    /// The grant ends: an administrator, a changed password, a theft.
    pub(super) fn end(&mut self) {
        self.issued.iter_mut().filter(|state| **state == State::Live).for_each(|state| *state = State::Dead);
    }

    /// The refresh tokens that work.
    pub(super) fn live(&self) -> Vec<String> {
        let live = self.issued.iter().enumerate().filter(|(_, state)| **state == State::Live);
        live.map(|(n, _)| format!("r{n}")).collect()
    }

    /// How often tokens were issued for a refresh token.
    pub(super) fn grants(&self) -> usize {
        self.issued.len() - 1
    }

    fn refresh(&mut self, token: &str, now: Timestamp) -> Option<TokenSet> {
        let n = self.number(token);
        let last_used = self.issued.iter().rposition(|state| *state == State::Used);
        match self.issued[n] {
            State::Live => {}
            State::Used if self.rotation == Rotation::Grace && last_used == Some(n) => self.end(),
            State::Used if self.rotation == Rotation::LongGrace && last_used == Some(n) => {}
            State::Dead if !self.issued.contains(&State::Live) => return None,
            State::Used | State::Dead => {
                self.reuses += 1;
                self.end();
                return None;
            }
        }
        if self.issued[n] == State::Live {
            self.end();
        }
        self.issued[n] = State::Used;
        self.issued.push(State::Live);
        Some(tokens(self.issued.len() - 1, now))
    }

    /// Ends this token, and no other: the least that RFC 7009 §2.1 asks for.
    fn revoke(&mut self, token: &str) {
        let n = self.number(token);
        self.issued[n] = State::Dead;
    }

    fn number(&self, token: &str) -> usize {
        let n = token.strip_prefix('r').and_then(|n| n.parse().ok());
        n.filter(|n| *n < self.issued.len()).unwrap_or_else(|| panic!("{token} was never issued"))
    }
}

/// The `n`th tokens of the grant, due at once if they are the first.
pub(super) fn tokens(n: usize, now: Timestamp) -> TokenSet {
    let life = if n == 0 { Duration::ZERO } else { TOKEN_LIFE };
    let access = AccessToken { value: format!("a{n}").into(), received_at: now, expires_at: Some(now + life) };
    TokenSet { access, refresh: Some(format!("r{n}").into()), id_token: None, suspect: false, asked_at: 0 }
}

/// One replica's way to the provider.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    pub(super) world: Arc<World>,
    pub(super) replica: usize,
}

impl TokenEndpoint for Endpoint {
    async fn prepare(&self) -> Result<(), oidc::Error> {
        Ok(())
    }

    async fn refresh(
        &self,
        _: &TokenSet,
        refresh_token: &Secret<String>,
        _: &Identity,
    ) -> Result<TokenSet, oidc::Error> {
        let token = refresh_token.expose().clone();
        let mut sending = self.world.sending(self.replica, &token);
        let label = format!("refresh({token})");
        let execute = move |outside: &mut Outside| {
            let answer = outside.provider.refresh(&token, outside.clock.now());
            let refresh = answer.as_ref().and_then(|tokens| tokens.refresh.as_ref());
            let label = refresh.map_or("invalid_grant", |token| token.expose()).to_owned();
            Executed { label, changed: true, answer: answer.ok_or_else(invalid_grant) }
        };
        let call = self.world.call(self.replica, Kind::Provider, label, execute, lost);
        let late = Err(unavailable(oidc::Outage::Timeout, Sent::Perhaps));
        let answer = tokio::time::timeout(D, call).await.unwrap_or(late);
        sending.is_over(answer.is_ok());
        answer
    }

    async fn revoke(&self, refresh_token: &Secret<String>) -> Result<(), oidc::Error> {
        let token = refresh_token.expose().clone();
        let label = format!("revoke({token})");
        let execute = move |outside: &mut Outside| {
            outside.provider.revoke(&token);
            Executed { label: "done".to_owned(), changed: true, answer: Ok(()) }
        };
        let call = self.world.call(self.replica, Kind::Revocation, label, execute, lost);
        tokio::time::timeout(D, call).await.unwrap_or(Err(unavailable(oidc::Outage::Timeout, Sent::Perhaps)))
    }
}

fn lost(fate: Fate) -> oidc::Error {
    match fate {
        Fate::Refused => unavailable(oidc::Outage::Connect, Sent::Nothing),
        Fate::Answered | Fate::Lost => unavailable(oidc::Outage::Broken, Sent::Perhaps),
    }
}

fn invalid_grant() -> oidc::Error {
    oidc::Error::TokenEndpoint(ErrorCode::new("invalid_grant"))
}

fn unavailable(cause: oidc::Outage, sent: Sent) -> oidc::Error {
    oidc::Error::Unavailable { cause, sent }
}
