//! The protocol as verbs: a provider and our registration there.

use std::sync::Arc;

use arc_swap::ArcSwap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};
use url::Url;

use super::authorization::{Asked, LoginAttempt, authorization_url};
use super::claims::{Claims, Identity};
use super::demand::Demand;
use super::error::{Error, IdTokenReason, LogoutTokenReason as Reason, Sent, TokenResponseReason};
use super::http::Connections;
use super::id_token::{self, Expected, IdToken, Nonce};
use super::jws::Jws;
use super::logout::{self, LogoutToken};
use super::metadata::{self, ProviderMetadata};
use super::options::{ClientAuth, ClientOptions};
use super::provider::{self, Provider};
use super::response::AuthorizationResponse;
use super::token_set::TokenSet;
use super::{end_session, token_endpoint, userinfo};
use crate::clock::Timestamp;
use crate::secret::Secret;

/// A [`Provider`] and what we are to it. Clones share both.
#[derive(Clone, Debug)]
pub(crate) struct RelyingParty {
    provider: Arc<Provider>,
    client: Arc<ArcSwap<ClientOptions>>,
}

/// The result of a login: proved, not yet stored.
#[derive(Debug)]
pub(crate) struct Authenticated {
    pub(crate) identity: Identity,
    pub(crate) claims: Claims,
    pub(crate) acr: Option<String>,
    pub(crate) auth_time: Option<Timestamp>,
    /// `iat` of the ID token.
    pub(crate) issued_at: Timestamp,
    pub(crate) tokens: TokenSet,
}

impl RelyingParty {
    pub(crate) fn new(provider: Arc<Provider>, client: ClientOptions) -> Self {
        Self { provider, client: Arc::new(ArcSwap::from_pointee(client)) }
    }

    /// Proves from now on in another way who we are. Calls under way go on with the old one.
    pub(crate) fn exchange_auth(&self, auth: ClientAuth) {
        let mut client = ClientOptions::clone(&self.client());
        client.auth = auth;
        self.client.store(Arc::new(client));
    }

    /// Calls the provider from now on through other connections. Calls under way go on.
    pub(crate) fn exchange_connections(&self, connections: Connections) {
        self.provider.http.exchange_connections(connections);
    }

    /// The issuer, as configured.
    pub(crate) fn issuer(&self) -> &str {
        &self.provider.options.issuer
    }

    /// Where to send the browser, and what to keep until it comes back. `note` is base64url and comes back with the response.
    ///
    /// # Errors
    /// `Unavailable`, `Discovery`: the provider's metadata cannot be had. Nothing is kept.
    pub(crate) async fn begin_login(&self, asked: &Asked, note: Option<&str>) -> Result<(Url, LoginAttempt), Error> {
        let metadata = self.provider.metadata().await?;
        let attempt = LoginAttempt::new(asked, self.provider.clock.now());
        Ok((authorization_url(&metadata, &self.client(), &attempt, asked, note), attempt))
    }

    /// Judges a response to `attempt`: who sent it, and whether it brings a code. No call to the token endpoint is made.
    ///
    /// # Errors
    /// `Response`, `Refused`; `Unavailable` or `Discovery` if the metadata are not at hand and cannot be had.
    pub(crate) async fn check_response(&self, response: AuthorizationResponse) -> Result<Secret<String>, Error> {
        let metadata = self.provider.metadata().await?;
        response.code(self.issuer(), metadata.promises_issuer)
    }

    /// Exchanges the code for tokens and checks what came back. Nothing is stored.
    ///
    /// # Errors
    /// `Unavailable` if the provider cannot be asked within its timeout (per call); `Discovery` and `Keys` if metadata or keys cannot
    /// be used; `TokenEndpoint` and `TokenResponse` if it does not give tokens; `IdToken` if a check of OIDC Core §3.1.3.7 fails;
    /// `UserInfo` if it does not agree.
    pub(crate) async fn finish_login(
        &self,
        attempt: &LoginAttempt,
        code: &Secret<String>,
    ) -> Result<Authenticated, Error> {
        let provider = &self.provider;
        let metadata = provider.metadata().await?;
        // A code can be sent once, so everything else that can be missing is fetched before.
        provider.await_keys().await?;
        let sent_at = provider.clock.now();
        let tokens = token_endpoint::redeem(&provider.http, &metadata, &self.client(), code, attempt, sent_at).await?;
        // The code is spent, whatever becomes of the calls that follow.
        self.authenticate(attempt, &metadata, tokens).await.map_err(|error| error.having_sent(Sent::Perhaps))
    }

    /// Finds out who the tokens speak of.
    async fn authenticate(
        &self,
        attempt: &LoginAttempt,
        metadata: &ProviderMetadata,
        tokens: TokenSet,
    ) -> Result<Authenticated, Error> {
        let IdToken { subject, sid, issued_at, auth_time, acr, claims } = self.check_login(attempt, &tokens).await?;
        let mut claims = Claims::from_id_token(claims);
        let client = self.client();
        if client.userinfo
            && let Some(endpoint) = &metadata.userinfo_endpoint
        {
            let access_token = &tokens.access.value;
            claims.merge(userinfo::fetch(&self.provider, endpoint, &client.client_id, access_token, &subject).await?);
        }
        let identity = Identity { issuer: self.issuer().to_owned(), client_id: client.client_id.clone(), subject, sid };
        Ok(Authenticated { identity, claims, acr, auth_time, issued_at, tokens })
    }

    /// Has the metadata at hand when this returns, so that a following [`refresh`](Self::refresh) is one request.
    ///
    /// # Errors
    /// `Unavailable`, `Discovery`.
    pub(crate) async fn prepare(&self) -> Result<(), Error> {
        self.provider.metadata().await.map(drop)
    }

    /// Asks for a new access token. What the answer leaves out is taken from `tokens`.
    ///
    /// A returned ID token is held against `identity` and the last one, with the keys at hand; no further call is made
    /// (OIDC Core §12.2; it came straight from the token endpoint).
    ///
    /// # Errors
    /// As [`finish_login`](Self::finish_login), without `Keys` and `UserInfo`. `TokenEndpoint(invalid_grant)` alone says that the
    /// refresh token is dead.
    pub(crate) async fn refresh(
        &self,
        tokens: &TokenSet,
        refresh_token: &Secret<String>,
        identity: &Identity,
    ) -> Result<TokenSet, Error> {
        let provider = &self.provider;
        let metadata = provider.metadata().await?;
        let sent_at = provider.clock.now();
        let mut answer =
            token_endpoint::refresh(&provider.http, &metadata, &self.client(), refresh_token, sent_at).await?;
        if let Some(id_token) = &answer.id_token {
            let nonce = tokens.id_token.as_ref().and_then(|last| nonce_of(last.expose()));
            match self.check_refreshed(id_token, &answer, nonce.as_deref(), identity) {
                Ok(()) => {}
                // Two clocks disagree. The token is a mere hint for logout; a session is not ended for that.
                Err(reason) if reason.is_of_time() => {
                    tracing::warn!(%reason, "a refreshed ID token is left aside");
                    answer.id_token = None;
                }
                Err(reason) => {
                    self.forget(answer.refresh.as_ref()).await;
                    return Err(Error::IdToken(reason));
                }
            }
        }
        Ok(tokens.renewed(answer))
    }

    /// Revokes what will not be used. A failure is logged: the token then lives until it runs out.
    pub(crate) async fn forget(&self, refresh_token: Option<&Secret<String>>) {
        if let Some(refresh_token) = refresh_token
            && let Err(error) = self.revoke(refresh_token).await
        {
            tracing::warn!(%error, "a refresh token could not be revoked and lives until it runs out");
        }
    }

    /// Tells the provider to forget a refresh token. A provider without a revocation endpoint is told nothing.
    ///
    /// # Errors
    /// `Unavailable`, `Discovery`; `TokenEndpoint` if it refuses, `TokenResponse` if it does so unreadably.
    pub(crate) async fn revoke(&self, refresh_token: &Secret<String>) -> Result<(), Error> {
        let metadata = self.provider.metadata().await?;
        match &metadata.revocation_endpoint {
            Some(endpoint) => {
                token_endpoint::revoke(&self.provider.http, endpoint, &self.client(), refresh_token).await
            }
            None => Ok(()),
        }
    }

    /// Judges a logout token (Back-Channel Logout §2.6).
    ///
    /// # Errors
    /// `LogoutToken`; `Unavailable`, `Discovery` or `Keys` if the key is not at hand and cannot be had: then it is not judged.
    pub(crate) async fn check_logout_token(&self, compact: &Secret<String>) -> Result<LogoutToken, Error> {
        let signed = |reason| Error::LogoutToken(Reason::Signed(reason));
        let jws = Jws::parse(compact.expose()).map_err(signed)?;
        if !logout::is_type_acceptable(jws.typ()) {
            return Err(Error::LogoutToken(Reason::Type));
        }
        let claims = self.provider.verify(&jws, signed).await.map_err(|error| match error {
            // Newer keys could judge it (without a kid a rotation looks like a wrong signature), and they cannot be had now.
            Error::LogoutToken(Reason::Signed(found)) if provider::may_be_rotated(found, &jws) => {
                self.provider.keys_outage().unwrap_or(error)
            }
            error => error,
        })?;
        let (options, now) = (&self.provider.options, self.provider.clock.now());
        logout::check(&claims, options, &self.client().client_id, now).map_err(Error::LogoutToken)
    }

    /// Where the provider ends its own session (RP-Initiated Logout §2). `None` if it has no such endpoint, or if its metadata are
    /// not at hand: logging out does not wait for a provider.
    pub(crate) fn end_session_url(
        &self,
        id_token_hint: Option<&Secret<String>>,
        state: &Secret<String>,
    ) -> Option<Secret<String>> {
        let endpoint = self.provider.metadata_at_hand()?.end_session_endpoint.clone()?;
        Some(end_session::request(endpoint, id_token_hint, &self.client(), state))
    }

    /// The origins, as browsers write them, whose pages send people here: those of the issuer and, if the metadata are at hand, of the
    /// endpoints that people see.
    pub(crate) fn provider_origins(&self) -> Vec<String> {
        metadata::origins_of_pages(self.issuer(), self.provider.metadata_at_hand().as_deref())
    }

    /// Whether a page of this origin can be the provider's. Nobody knows while the provider's metadata are not at hand.
    pub(crate) fn may_have_pages_at(&self, origin: &str) -> bool {
        self.provider.metadata_at_hand().is_none() || self.provider_origins().iter().any(|known| known == origin)
    }

    /// Our registration as it is now.
    fn client(&self) -> Arc<ClientOptions> {
        self.client.load_full()
    }

    async fn check_login(&self, attempt: &LoginAttempt, tokens: &TokenSet) -> Result<IdToken, Error> {
        let compact = tokens.id_token.as_ref().ok_or(Error::TokenResponse(TokenResponseReason::NoIdToken))?;
        let jws = Jws::parse(compact.expose()).map_err(Error::IdToken)?;
        let claims = self.provider.verify(&jws, Error::IdToken).await?;
        let nonce = attempt.nonce();
        let expected = Expected {
            provider: &self.provider.options,
            client_id: &self.client().client_id,
            now: self.provider.clock.now(),
            nonce: Nonce::Exactly(nonce.expose()),
            access_token: tokens.access.value.expose(),
            demand: attempt.demand(),
            authenticated_after: attempt.forces_authentication().then_some(attempt.issued_at),
            subject: None,
        };
        id_token::verify(claims, &expected).map_err(Error::IdToken)
    }

    fn check_refreshed(
        &self,
        compact: &Secret<String>,
        answer: &TokenSet,
        nonce: Option<&str>,
        identity: &Identity,
    ) -> Result<(), IdTokenReason> {
        let jws = Jws::parse(compact.expose())?;
        let claims = match self.provider.verify_at_hand(&jws) {
            Some(verified) => verified?,
            // §3.1.3.7(6): TLS vouches for what comes straight from the token endpoint.
            None => jws.unverified_payload()?,
        };
        let expected = Expected {
            provider: &self.provider.options,
            client_id: &self.client().client_id,
            now: self.provider.clock.now(),
            nonce: Nonce::AbsentOr(nonce),
            access_token: answer.access.value.expose(),
            demand: Demand::default(),
            authenticated_after: None,
            subject: Some(&identity.subject),
        };
        id_token::verify(claims, &expected).map(drop)
    }
}

/// The nonce of an ID token that was checked when it came.
fn nonce_of(compact: &str) -> Option<String> {
    let payload = URL_SAFE_NO_PAD.decode(compact.split('.').nth(1)?).ok()?;
    let claims: Map<String, Value> = serde_json::from_slice(&payload).ok()?;
    claims.get("nonce")?.as_str().map(str::to_owned)
}
