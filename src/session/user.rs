//! The session half: who somebody is, since when, and until when.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Device;
use crate::clock::Timestamp;
use crate::oidc::{Authenticated, Claims, Identity};
use crate::store::SessionKey;

/// A person's session. Holds identity and times, never a token. At rest it is sealed with the browser's own id.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct UserSession {
    identity: Identity,
    claims: Claims,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    acr: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    auth_time: Option<Timestamp>,
    issued_at: Timestamp,
    created_at: Timestamp,
    /// When a step-up took the place of the session that began at `created_at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stepped_up_at: Option<Timestamp>,
    last_seen_at: Timestamp,
    ends_at: Timestamp,
    remember: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    predecessor: Option<[u8; 32]>,
}

impl UserSession {
    pub(super) fn new(
        authenticated: Authenticated,
        remember: bool,
        now: Timestamp,
        absolute: Duration,
        predecessor: Option<SessionKey>,
    ) -> Self {
        let Authenticated { identity, claims, acr, auth_time, issued_at, tokens: _ } = authenticated;
        Self {
            identity,
            claims,
            acr,
            auth_time,
            issued_at,
            created_at: now,
            stepped_up_at: None,
            last_seen_at: now,
            ends_at: now + absolute,
            remember,
            predecessor: predecessor.map(|key| *key.as_bytes()),
        }
    }

    /// Issuer, client and subject.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// `sub`: never empty, unique at the issuer.
    pub fn subject(&self) -> &str {
        &self.identity.subject
    }

    /// What ID token and UserInfo said at login.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// The authentication context class of the login, if the provider said it.
    pub fn acr(&self) -> Option<&str> {
        self.acr.as_deref()
    }

    /// When the person authenticated at the provider, if it said so.
    pub fn auth_time(&self) -> Option<Timestamp> {
        self.auth_time
    }

    /// When this session began. A step-up leaves it as it was.
    pub fn created_at(&self) -> Timestamp {
        self.created_at
    }

    /// When it was last used, to a twentieth of the idle time.
    pub fn last_seen_at(&self) -> Timestamp {
        self.last_seen_at
    }

    /// The absolute limit.
    pub fn ends_at(&self) -> Timestamp {
        self.ends_at
    }

    /// The login asked to be remembered: the cookie outlives the browser.
    pub fn is_remembered(&self) -> bool {
        self.remember
    }

    /// When the last login of this session was done: its first, or a step-up.
    pub(crate) fn logged_in_at(&self) -> Timestamp {
        self.stepped_up_at.unwrap_or(self.created_at)
    }

    pub(super) fn sid(&self) -> Option<&str> {
        self.identity.sid.as_deref()
    }

    pub(super) fn issued_at(&self) -> Timestamp {
        self.issued_at
    }

    pub(super) fn predecessor(&self) -> Option<SessionKey> {
        self.predecessor.map(SessionKey::from_bytes)
    }

    /// Whether it belongs to the same person at the same provider and client.
    pub(super) fn is_of(&self, identity: &Identity) -> bool {
        let ours = &self.identity;
        ours.issuer == identity.issuer && ours.client_id == identity.client_id && ours.subject == identity.subject
    }

    pub(super) fn is_over(&self, now: Timestamp, idle: Duration) -> bool {
        now >= self.ends_at.min(self.idle_ends_at(idle))
    }

    /// A remembered session has its absolute limit only: it is to be there tomorrow.
    pub(super) fn idle_ends_at(&self, idle: Duration) -> Timestamp {
        if self.remember { self.ends_at } else { self.last_seen_at + idle }
    }

    /// The same login as a step-up of `previous`, whose limits and "remember me" go on.
    pub(super) fn in_place_of(self, previous: &Self) -> Self {
        let Self { created_at, ends_at, remember, .. } = *previous;
        Self { created_at, stepped_up_at: Some(self.created_at), ends_at, remember, ..self }
    }

    pub(super) fn seen_at(&self, now: Timestamp) -> Self {
        Self { last_seen_at: now, ..self.clone() }
    }

    /// What works without the cookie: sealed under the master key alone, so it does not say who the person is.
    pub(super) fn card(&self, device: Option<Device>) -> Vec<u8> {
        let Self { created_at, remember, predecessor, .. } = *self;
        let card = Card { created_at, remember, ends_at: Some(self.ends_at), device, predecessor };
        serde_json::to_vec(&card).expect("a card is plain data")
    }

    pub(super) fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a session is plain data")
    }

    pub(super) fn read(plain: &[u8]) -> Option<Self> {
        serde_json::from_slice(plain).ok()
    }
}

/// What works without the cookie; see [`UserSession::card`]. What came later may be absent.
#[derive(Serialize, Deserialize)]
pub(super) struct Card {
    pub(super) created_at: Timestamp,
    pub(super) remember: bool,
    /// The absolute limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ends_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) device: Option<Device>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    predecessor: Option<[u8; 32]>,
}

impl Card {
    /// The retired row that ends with this one.
    pub(super) fn predecessor(&self) -> Option<SessionKey> {
        self.predecessor.map(SessionKey::from_bytes)
    }

    pub(super) fn read(plain: &[u8]) -> Option<Self> {
        serde_json::from_slice(plain).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_card_of_an_older_version_is_read() {
        let card = Card::read(br#"{"created_at":1000,"remember":true}"#).unwrap();
        assert_eq!((card.created_at, card.remember), (Timestamp::from_unix_seconds(1), true));
        assert!(card.ends_at.is_none() && card.device.is_none() && card.predecessor().is_none());
    }

    #[test]
    fn a_card_of_a_newer_version_is_read() {
        assert!(Card::read(br#"{"created_at":1000,"remember":true,"shape":"round"}"#).is_some());
    }
}
