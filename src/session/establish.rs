//! How a login becomes a session: a fresh id, and what it takes the place of.

use std::time::Duration;

use super::{Device, Loaded, Sessions, UserSession, terms, tokens_of};
use crate::oidc::{Authenticated, TokenSet};
use crate::secret::Secret;
use crate::store::{self, Inserted, NewSession, Reason, Replaced, SessionId};

/// A session that was just opened.
#[derive(Debug)]
pub(crate) struct Established {
    pub(crate) id: SessionId,
    pub(crate) user: UserSession,
    /// Tokens of somebody else's session that this one took the place of: to be revoked.
    pub(crate) displaced: Option<TokenSet>,
}

/// Why a login did not become a session.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EstablishError {
    /// The provider ended this login meanwhile.
    #[error("the provider ended this login meanwhile")]
    Ended,
    /// The session that lives is of a stronger `acr`.
    #[error("the login is weaker than the session it would replace")]
    Weaker,
    /// `previous` has ended or was replaced since it was read.
    #[error("the session it would replace has ended or was replaced meanwhile")]
    Overtaken,
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// What the limits of a new session and its "remember me" are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limits {
    /// They start now.
    Anew {
        /// "Remember me" was asked for.
        remember: bool,
    },
    /// Those of the session it takes the place of, if there is one and it is the same person's: a step-up. If not, they start now, and
    /// nobody is remembered.
    Kept,
}

impl Sessions {
    /// Opens a session for somebody who was authenticated, under a fresh id; `device` goes on its card. A `previous` session of the same
    /// person retires; one of somebody else ends at once, and its tokens come back to be revoked.
    ///
    /// # Errors
    /// `Ended`, `Weaker`, `Overtaken`: there is no new session, and `previous` is as it was (`Weaker`), retired (`Ended`), or whatever it
    /// had become (`Overtaken`). `Store`.
    pub(crate) async fn establish(
        &self,
        authenticated: Authenticated,
        limits: Limits,
        device: Option<Device>,
        previous: Option<&Loaded>,
    ) -> Result<Established, EstablishError> {
        let same_person = previous.is_some_and(|previous| previous.user.is_of(&authenticated.identity));
        if same_person
            && previous.is_some_and(|previous| self.is_weaker(authenticated.acr.as_deref(), previous.user.acr()))
        {
            return Err(EstablishError::Weaker);
        }
        let predecessor = previous.filter(|_| same_person).map(|previous| previous.opened.key);
        let remember = limits == Limits::Anew { remember: true };
        let absolute = if remember { self.options.remember_absolute } else { self.options.absolute };
        let tokens = authenticated.tokens.clone();
        let mut user = UserSession::new(authenticated, remember, self.now(), absolute, predecessor);
        if let (Limits::Kept, true, Some(previous)) = (limits, same_person, previous) {
            user = user.in_place_of(&previous.user);
        }
        let id = SessionId::random();
        let displaced = self.write_new(id, &user, (&tokens, &user.card(device)), previous, same_person).await?;
        tracing::info!(session = %id.key().tag(), replaced = previous.is_some(), "session established");
        Ok(Established { id, user, displaced })
    }

    async fn write_new(
        &self,
        id: SessionId,
        user: &UserSession,
        (tokens, card): (&TokenSet, &[u8]),
        previous: Option<&Loaded>,
        same_person: bool,
    ) -> Result<Option<TokenSet>, EstablishError> {
        let session = user.write();
        let tokens = Secret::new(serde_json::to_vec(tokens).expect("tokens are plain data"));
        let (terms, limit) = (terms(user), self.options.max_per_subject);
        let new = NewSession {
            session: &session,
            tokens: tokens.expose(),
            card,
            terms: &terms,
            issued_at: user.issued_at(),
            live_for: self.row_life(user),
        };
        let Some(previous) = previous else {
            return match self.store.insert(&id, &new, limit).await? {
                Inserted::Inserted { .. } => Ok(None),
                Inserted::Ended => Err(EstablishError::Ended),
                Inserted::Exists => Err(id_collision()),
            };
        };
        let retire = if same_person { RETIRE } else { Duration::ZERO };
        match self.store.replace(previous.opened.key, retire, &id, &new, limit).await? {
            // Whoever ended it, or logged in anew, meant it: nothing of it goes on in a session that was begun before.
            Replaced::Replaced { old: None, .. } if same_person && !previous.is_retired() => {
                self.store.remove(&id, Reason::Logout).await?;
                Err(EstablishError::Overtaken)
            }
            Replaced::Replaced { old, .. } => {
                Ok(old.filter(|_| !same_person).and_then(|row| tokens_of(&self.store.open(&previous.id, row))))
            }
            Replaced::Ended => Err(EstablishError::Ended),
            Replaced::Exists => Err(id_collision()),
        }
    }

    fn is_weaker(&self, new: Option<&str>, old: Option<&str>) -> bool {
        let rank = |acr: Option<&str>| self.provider.rank(acr?);
        rank(new) < rank(old)
    }
}

fn id_collision() -> EstablishError {
    EstablishError::Store(store::Error::Unavailable("two random ids were the same".to_owned()))
}

/// How long API calls that are under way with the old id may still use it.
const RETIRE: Duration = Duration::from_secs(10);
