//! What a renewal asks of a provider, and what an answer says about the refresh token that was sent.

use std::fmt;

use crate::oidc::{self, Identity, Outage, RelyingParty, Sent, TokenResponseReason, TokenSet};
use crate::secret::Secret;

/// The calls to the provider that a renewal makes. [`RelyingParty`]'s, and those of the model that the protocol is checked with.
pub(in crate::tokens) trait TokenEndpoint: Clone + fmt::Debug + Send + Sync + 'static {
    /// Fetches what has to be known before a refresh token can be sent. Sends none.
    fn prepare(&self) -> impl Future<Output = Result<(), oidc::Error>> + Send;

    /// See [`RelyingParty::refresh`]. One request, over within the provider's timeout.
    fn refresh(
        &self,
        tokens: &TokenSet,
        refresh_token: &Secret<String>,
        identity: &Identity,
    ) -> impl Future<Output = Result<TokenSet, oidc::Error>> + Send;

    /// See [`RelyingParty::revoke`].
    fn revoke(&self, refresh_token: &Secret<String>) -> impl Future<Output = Result<(), oidc::Error>> + Send;
}

impl TokenEndpoint for RelyingParty {
    async fn prepare(&self) -> Result<(), oidc::Error> {
        RelyingParty::prepare(self).await
    }

    async fn refresh(
        &self,
        tokens: &TokenSet,
        refresh_token: &Secret<String>,
        identity: &Identity,
    ) -> Result<TokenSet, oidc::Error> {
        RelyingParty::refresh(self, tokens, refresh_token, identity).await
    }

    async fn revoke(&self, refresh_token: &Secret<String>) -> Result<(), oidc::Error> {
        RelyingParty::revoke(self, refresh_token).await
    }
}

/// What became of a refresh token that was sent and brought no tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is dead (`invalid_grant`), or its answer speaks of somebody else. Nothing else ends a session.
    Dead,
    /// It was not used: nothing arrived, or the provider said no to something else.
    Untouched,
    /// Nobody knows: it may have been exchanged, and the answer was lost.
    Unknown,
}

impl Verdict {
    pub(super) fn of(error: &oidc::Error) -> Self {
        match error {
            oidc::Error::TokenEndpoint(code) if code.as_str() == "invalid_grant" => Self::Dead,
            oidc::Error::IdToken(_) => Self::Dead,
            oidc::Error::TokenResponse(TokenResponseReason::Status(status)) if *status < 500 => Self::Untouched,
            // RFC 6585 §4: it did not even look.
            oidc::Error::Unavailable { cause: Outage::Status(429), .. } => Self::Untouched,
            oidc::Error::Unavailable { sent: Sent::Perhaps, .. } | oidc::Error::TokenResponse(_) => Self::Unknown,
            _ => Self::Untouched,
        }
    }
}
