//! What the provider remembers: login sessions, codes, grants and the tokens that hang on them. All in memory, gone with it.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::authorize::AuthorizationRequest;
use super::{DevClient, DevUser, PASSWORD, SECOND_FACTOR};
use crate::clock::Timestamp;
use crate::secret;

/// Everything the provider remembers. Strings are the secrets themselves: this is no example of how to keep them.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) clients: Vec<DevClient>,
    /// How often the keys were rotated.
    pub(super) generation: usize,
    /// Single sign-on sessions by cookie value.
    pub(super) sessions: HashMap<String, SignOnSession>,
    /// Authorization requests that wait for the login form, by handle.
    pub(super) waiting: HashMap<String, AuthorizationRequest>,
    /// Authorization requests that wait for the second factor of somebody who has shown the password, by handle.
    pub(super) halfway: HashMap<String, (AuthorizationRequest, &'static DevUser)>,
    /// ID tokens by their own text, for `id_token_hint`.
    pub(super) id_tokens: HashMap<String, IssuedIdToken>,
    /// By `sid`: ids of the clients that had a code from the session.
    visited: HashMap<String, BTreeSet<String>>,
    codes: HashMap<String, Code>,
    grants: HashMap<GrantId, Grant>,
    grants_made: u64,
    refresh_tokens: HashMap<String, RefreshToken>,
    access_tokens: HashMap<String, AccessToken>,
    issued: Vec<String>,
}

/// Somebody logged in at the provider.
#[derive(Clone)]
pub(super) struct SignOnSession {
    pub(super) user: &'static DevUser,
    pub(super) sid: String,
    pub(super) auth_time: Timestamp,
    pub(super) acr: Acr,
}

/// How strongly somebody logged in, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Acr {
    Password,
    SecondFactor,
}

impl Acr {
    pub(super) const ALL: [Self; 2] = [Self::Password, Self::SecondFactor];

    /// The value of `acr`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Password => PASSWORD,
            Self::SecondFactor => SECOND_FACTOR,
        }
    }

    /// What `acr_values` ask for: they are in order of preference, and voluntary (Core §3.1.2.1), so unknown ones are passed over.
    pub(super) fn first_known(asked: &[String]) -> Self {
        let known = |asked: &String| Self::ALL.into_iter().find(|acr| acr.name() == asked);
        asked.iter().find_map(known).unwrap_or(Self::Password)
    }
}

/// What a client was granted; lives until it is revoked.
#[derive(Clone)]
pub(super) struct Grant {
    pub(super) client_id: String,
    pub(super) session: SignOnSession,
    pub(super) scopes: Vec<String>,
    pub(super) nonce: Option<String>,
}

impl Grant {
    pub(super) fn has_scope(&self, scope: &str) -> bool {
        self.scopes.iter().any(|granted| granted == scope)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct GrantId(u64);

/// An ID token, as `id_token_hint` names it.
#[derive(Clone)]
pub(super) struct IssuedIdToken {
    pub(super) client_id: String,
    pub(super) sid: String,
}

struct Code {
    grant: Grant,
    redirect_uri: String,
    challenge: String,
    expires_at: Timestamp,
    redeemed_as: Option<GrantId>,
}

struct RefreshToken {
    grant: GrantId,
    spent: bool,
}

struct AccessToken {
    grant: GrantId,
    expires_at: Timestamp,
}

/// What a client shows to redeem a code.
pub(super) struct Redemption<'a> {
    pub(super) client_id: &'a str,
    pub(super) code: &'a str,
    pub(super) redirect_uri: &'a str,
    pub(super) code_challenge: &'a str,
    pub(super) now: Timestamp,
}

/// A code, refresh token or access token is unknown, used, expired, revoked or another client's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the grant is not valid")]
pub(super) struct InvalidGrant;

impl Memory {
    pub(super) fn with_clients(clients: Vec<DevClient>) -> Self {
        Self { clients, ..Self::default() }
    }

    pub(super) fn client(&self, client_id: &str) -> Option<&DevClient> {
        self.clients.iter().find(|client| client.client_id == client_id)
    }

    /// Ends the single sign-on sessions that are meant, by cookie value or by what they are, and answers them.
    pub(super) fn end_sessions(&mut self, is_meant: impl Fn(&str, &SignOnSession) -> bool) -> Vec<SignOnSession> {
        self.sessions.extract_if(|cookie, session| is_meant(cookie, session)).map(|(_, session)| session).collect()
    }

    /// The clients that had a code from a session.
    pub(super) fn clients_of(&self, sid: &str) -> Vec<DevClient> {
        let visited = self.visited.get(sid).into_iter().flatten();
        visited.filter_map(|client_id| self.client(client_id).cloned()).collect()
    }

    /// The same, of one that is over: nobody is told twice.
    pub(super) fn forget_clients_of(&mut self, sid: &str) -> Vec<DevClient> {
        let clients = self.clients_of(sid);
        self.visited.remove(sid);
        clients
    }

    /// A fresh code for a grant that nobody has yet.
    pub(super) fn issue_code(
        &mut self,
        grant: Grant,
        redirect_uri: String,
        code_challenge: String,
        now: Timestamp,
    ) -> String {
        let expires_at = now + CODE_LIFETIME;
        let code = self.fresh("dev-code");
        self.visited.entry(grant.session.sid.clone()).or_default().insert(grant.client_id.clone());
        self.codes.insert(
            code.clone(),
            Code { grant, redirect_uri, challenge: code_challenge, expires_at, redeemed_as: None },
        );
        code
    }

    /// Redeems a code. It is used up whether or not the rest agrees; a second use revokes what the first got (RFC 6749 §4.1.2).
    pub(super) fn redeem(&mut self, shown: &Redemption<'_>) -> Result<GrantId, InvalidGrant> {
        let code = self.codes.get_mut(shown.code).filter(|code| code.grant.client_id == shown.client_id);
        let code = code.ok_or(InvalidGrant)?;
        if let Some(grant) = code.redeemed_as {
            self.grants.remove(&grant);
            return Err(InvalidGrant);
        }
        self.grants_made += 1;
        let id = GrantId(self.grants_made);
        code.redeemed_as = Some(id);
        let agrees = code.redirect_uri == shown.redirect_uri
            && code.challenge == shown.code_challenge
            && shown.now < code.expires_at;
        if !agrees {
            return Err(InvalidGrant);
        }
        self.grants.insert(id, code.grant.clone());
        Ok(id)
    }

    /// The grant behind a client's refresh token. A spent token revokes the whole grant: somebody else has it too (RFC 9700 §4.14.2).
    pub(super) fn grant_of_refresh_token(&mut self, token: &str, client_id: &str) -> Result<GrantId, InvalidGrant> {
        let known = self.refresh_tokens.get(token).ok_or(InvalidGrant)?;
        let owner = self.grants.get(&known.grant).ok_or(InvalidGrant)?;
        if owner.client_id != client_id {
            return Err(InvalidGrant);
        }
        if known.spent {
            self.grants.remove(&known.grant);
            return Err(InvalidGrant);
        }
        Ok(known.grant)
    }

    /// A fresh refresh token for a grant.
    pub(super) fn issue_refresh_token(&mut self, grant: GrantId) -> String {
        let token = self.fresh("dev-refresh");
        self.refresh_tokens.insert(token.clone(), RefreshToken { grant, spent: false });
        token
    }

    /// Marks a refresh token as used.
    pub(super) fn spend(&mut self, token: &str) {
        if let Some(token) = self.refresh_tokens.get_mut(token) {
            token.spent = true;
        }
    }

    /// A fresh access token for a grant.
    pub(super) fn issue_access_token(&mut self, grant: GrantId, expires_at: Timestamp) -> String {
        let token = self.fresh("dev-access");
        self.access_tokens.insert(token.clone(), AccessToken { grant, expires_at });
        token
    }

    pub(super) fn remember_id_token(&mut self, id_token: &str, grant: &Grant) {
        let issued = IssuedIdToken { client_id: grant.client_id.clone(), sid: grant.session.sid.clone() };
        self.id_tokens.insert(id_token.to_owned(), issued);
        self.issued.push(id_token.to_owned());
    }

    /// A live grant.
    pub(super) fn grant(&self, id: GrantId) -> Option<&Grant> {
        self.grants.get(&id)
    }

    /// What a live access token stands for.
    pub(super) fn grant_of_access_token(&self, token: &str, now: Timestamp) -> Option<&Grant> {
        let token = self.access_tokens.get(token).filter(|token| now < token.expires_at)?;
        self.grants.get(&token.grant)
    }

    /// RFC 7009 §2.1: a refresh token takes its whole grant along, an access token goes alone. Another client's token stays.
    pub(super) fn revoke(&mut self, token: &str, client_id: &str) {
        let grants = &self.grants;
        let owned = |id: &GrantId| grants.get(id).is_some_and(|grant| grant.client_id == client_id);
        let refresh = self.refresh_tokens.get(token).map(|token| token.grant).filter(owned);
        let access = self.access_tokens.get(token).map(|token| token.grant).filter(owned);
        if let Some(grant) = refresh {
            self.grants.remove(&grant);
        }
        if access.is_some() {
            self.access_tokens.remove(token);
        }
    }

    /// Notes a token that leaves by another way than those above.
    pub(super) fn remember_issued(&mut self, token: &str) {
        self.issued.push(token.to_owned());
    }

    /// Every code and token handed out so far.
    pub(super) fn issued(&self) -> &[String] {
        &self.issued
    }

    /// A secret of a recognisable kind; remembered as issued.
    fn fresh(&mut self, kind: &str) -> String {
        let secret = format!("{kind}-{}", secret::random_token().expose());
        self.issued.push(secret.clone());
        secret
    }
}

const CODE_LIFETIME: Duration = Duration::from_mins(1);
