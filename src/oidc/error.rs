//! What can go wrong between us and a provider, as data. No variant carries a body, a token or a foreign error's text.

use std::net::IpAddr;

/// Why a call to, or an answer of, the provider did not do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The provider cannot be asked now. Somebody else's fault, and it passes.
    #[error("{cause}")]
    Unavailable {
        /// What was seen.
        cause: Outage,
        /// Whether the request may have had an effect there.
        sent: Sent,
    },
    /// The discovery document cannot be used.
    #[error("the discovery document is not acceptable: {0}")]
    Discovery(DiscoveryReason),
    /// The provider's keys cannot be used.
    #[error("the provider's keys are not acceptable: {0}")]
    Keys(KeysReason),
    /// The authorization response cannot be used.
    #[error("the authorization response is not acceptable: {0}")]
    Response(ResponseReason),
    /// The provider answered the authorization request with an error.
    #[error("the provider refused the login: {}", .0.as_str())]
    Refused(ErrorCode),
    /// The token or revocation endpoint answered with an OAuth error (RFC 6749 §5.2, RFC 7009 §2.2.1).
    #[error("the token endpoint refused: {}", .0.as_str())]
    TokenEndpoint(ErrorCode),
    /// The token endpoint's answer cannot be used.
    #[error("the token response is not acceptable: {0}")]
    TokenResponse(TokenResponseReason),
    /// The ID token is refused.
    #[error("the ID token is not acceptable: {0}")]
    IdToken(IdTokenReason),
    /// The logout token is refused.
    #[error("the logout token is not acceptable: {0}")]
    LogoutToken(LogoutTokenReason),
    /// The UserInfo answer is refused.
    #[error("the UserInfo response is not acceptable: {0}")]
    UserInfo(UserInfoReason),
}

impl Error {
    /// An outage in which nothing can have reached the provider.
    pub(super) fn unsent(cause: Outage) -> Self {
        Self::Unavailable { cause, sent: Sent::Nothing }
    }

    /// Nothing that is used up by being sent has reached the provider, so the same request may be made again.
    pub(crate) fn nothing_was_sent(&self) -> bool {
        matches!(self, Self::Unavailable { sent: Sent::Nothing, .. } | Self::Discovery(_) | Self::Keys(_))
    }

    /// The same error, where more is known about what may have had an effect.
    pub(super) fn having_sent(self, sent: Sent) -> Self {
        match self {
            Self::Unavailable { cause, .. } => Self::Unavailable { cause, sent },
            other => other,
        }
    }
}

/// Whether a request that got no usable answer may have had an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// Nothing left this machine.
    Nothing,
    /// It may have arrived.
    Perhaps,
}

/// How a provider was found unavailable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Outage {
    /// No connection: refused, no such host, TLS.
    #[error("no connection")]
    Connect,
    /// Its address is one that nobody may be called at.
    #[error("{0} is in server.denied_addresses")]
    Denied(IpAddr),
    /// No complete answer within the provider's `timeout`.
    #[error("no answer in time")]
    Timeout,
    /// The connection broke.
    #[error("the connection broke")]
    Broken,
    /// It said 5xx or 429.
    #[error("it answered {0}")]
    Status(u16),
}

/// Why a discovery document is refused (OIDC Discovery §4.3).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DiscoveryReason {
    /// The configured issuer is not a URL.
    #[error("the issuer is not a URL")]
    IssuerNotAUrl,
    /// The provider answered with this status.
    #[error("it answered {0}")]
    Status(u16),
    /// It is not the JSON that was asked for.
    #[error("it is not a provider metadata document")]
    Unreadable,
    /// It speaks for another issuer. Byte for byte, also about a trailing slash.
    #[error("it names issuer {found:?}, configured is {expected:?}")]
    Issuer {
        /// As configured.
        expected: String,
        /// As found.
        found: String,
    },
    /// It names no token endpoint.
    #[error("it names no token endpoint")]
    NoTokenEndpoint,
    /// An `https` issuer names an endpoint without TLS.
    #[error("it names an endpoint without TLS")]
    CleartextEndpoint,
    /// The document is larger than 1 MiB.
    #[error("it is too large")]
    TooLarge,
}

/// Why a provider's key set cannot be used (OIDC Core §10.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeysReason {
    /// The provider answered with this status.
    #[error("it answered {0}")]
    Status(u16),
    /// It is not a JSON Web Key Set.
    #[error("it is not a key set")]
    Unreadable,
    /// The set is larger than 1 MiB.
    #[error("it is too large")]
    TooLarge,
}

/// Why an authorization response is refused, before any call leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResponseReason {
    /// A parameter came twice (RFC 6749 §3.1).
    #[error("a parameter is repeated")]
    Repeated,
    /// No `state`.
    #[error("there is no state")]
    NoState,
    /// Neither `code` nor `error`.
    #[error("there is no code")]
    NoCode,
    /// `iss` names another provider (RFC 9207 §2.4).
    #[error("it comes from another issuer")]
    Issuer,
    /// The provider promises `iss` and did not send it (RFC 9207 §2.4).
    #[error("the promised issuer is missing")]
    NoIssuer,
    /// A form is too large to be parked in a cookie (3 KiB).
    #[error("it is too large")]
    TooLarge,
}

/// Why a token response is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenResponseReason {
    /// It is not the JSON of RFC 6749 §5.1.
    #[error("it is not a token response")]
    Unreadable,
    /// It is neither 200 nor a readable error.
    #[error("it answered {0}")]
    Status(u16),
    /// It has no ID token (OIDC Core §3.1.3.3).
    #[error("it has no ID token")]
    NoIdToken,
    /// The access token is of a type we cannot send.
    #[error("the token type is not Bearer")]
    TokenType,
    /// The access token is not something a header can carry.
    #[error("the access token has characters a header cannot carry")]
    Characters,
    /// It is larger than 1 MiB.
    #[error("it is too large")]
    TooLarge,
}

/// Why an ID token is refused (OIDC Core §3.1.3.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdTokenReason {
    /// Not a compact JWS with JSON inside.
    #[error("it is not a signed JWT")]
    Malformed,
    /// Signed with another algorithm than the pinned one; `none` and HS* are always another.
    #[error("it is not signed with the pinned algorithm")]
    Algorithm,
    /// A critical header we do not know.
    #[error("it has a critical header")]
    Critical,
    /// No key of the provider fits, also after asking for the keys anew.
    #[error("no key of the provider fits")]
    UnknownKey,
    /// The key fits, the signature does not.
    #[error("the signature is wrong")]
    Signature,
    /// `iss` is another.
    #[error("iss is another issuer")]
    Issuer,
    /// `sub` is missing or empty.
    #[error("sub is missing")]
    NoSubject,
    /// `aud` does not name us.
    #[error("aud does not name this client")]
    Audience,
    /// `aud` names somebody we do not trust.
    #[error("aud names an untrusted audience")]
    UntrustedAudience,
    /// `azp` is another client, or missing beside several audiences.
    #[error("azp is not this client")]
    AuthorizedParty,
    /// `exp` is missing.
    #[error("exp is missing")]
    NoExpiry,
    /// `exp` is over.
    #[error("it has expired")]
    Expired,
    /// `iat` is missing.
    #[error("iat is missing")]
    NoIssuedAt,
    /// `iat` is in the future.
    #[error("it is issued in the future; check both clocks")]
    IssuedInTheFuture,
    /// `nbf` is in the future.
    #[error("it is not valid yet; check both clocks")]
    NotYetValid,
    /// `nonce` is missing or another.
    #[error("nonce is not ours")]
    Nonce,
    /// `at_hash` does not fit the access token.
    #[error("at_hash does not fit the access token")]
    AccessTokenHash,
    /// `auth_time` is missing although `max_age` was asked for.
    #[error("auth_time is missing")]
    NoAuthTime,
    /// The authentication is older than `max_age`, or lies in the future.
    #[error("the authentication is older than asked for, or still to come")]
    AuthTime,
    /// `acr` is none of those asked for.
    #[error("acr is not what was asked for")]
    Acr,
    /// A refreshed ID token speaks of somebody else (OIDC Core §12.2).
    #[error("it speaks of another subject")]
    OtherSubject,
}

impl IdTokenReason {
    /// Another clock would judge otherwise.
    pub(super) fn is_of_time(self) -> bool {
        matches!(self, Self::Expired | Self::IssuedInTheFuture | Self::NotYetValid)
    }
}

/// Why a logout token is refused (OIDC Back-Channel Logout 1.0 §2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LogoutTokenReason {
    /// Its form or signature fails, for this reason.
    #[error("{0}")]
    Signed(IdTokenReason),
    /// `typ` says that it is another kind of token.
    #[error("typ is that of another kind of token")]
    Type,
    /// `iss` is another issuer, or missing.
    #[error("iss is another issuer")]
    Issuer,
    /// `aud` does not name this client, or names one we do not trust.
    #[error("aud does not name this client alone")]
    Audience,
    /// `iat` is missing.
    #[error("iat is missing")]
    NoIssuedAt,
    /// `iat` is in the future.
    #[error("it is issued in the future; check both clocks")]
    IssuedInTheFuture,
    /// `exp` is missing.
    #[error("exp is missing")]
    NoExpiry,
    /// `exp` is over.
    #[error("it has expired")]
    Expired,
    /// `nbf` is in the future.
    #[error("it is not valid yet; check both clocks")]
    NotYetValid,
    /// Neither `sub` nor `sid` is there.
    #[error("it names neither a subject nor a session")]
    Nobody,
    /// `sub` or `sid` is there and is no text, or empty.
    #[error("sub or sid is not a name")]
    NotAName,
    /// `events` does not hold the back-channel logout event.
    #[error("it is about another event")]
    NoEvent,
    /// There is a `nonce`: it may be an ID token.
    #[error("it has a nonce")]
    Nonce,
}

/// Why a UserInfo answer is refused (OIDC Core §5.3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UserInfoReason {
    /// The endpoint answered with this status.
    #[error("it answered {0}")]
    Status(u16),
    /// Neither JSON nor a JWT we can read.
    #[error("it is neither JSON nor a signed JWT")]
    Unreadable,
    /// A signed answer fails, for this reason.
    #[error("{0}")]
    Signed(IdTokenReason),
    /// `sub` is missing or not that of the ID token.
    #[error("sub is not that of the ID token")]
    Subject,
    /// It is larger than 1 MiB.
    #[error("it is too large")]
    TooLarge,
}

/// An OAuth error code that is safe to show: at most 64 characters of `a-z`, `0-9`, `_`. Anything else is `invalid_error_code`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorCode(String);

impl ErrorCode {
    pub(crate) fn new(code: &str) -> Self {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        let fits = !code.is_empty() && code.len() <= 64 && code.bytes().all(plain);
        Self(if fits { code } else { "invalid_error_code" }.to_owned())
    }

    /// The code.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The provider will not log anybody in without showing a page (OIDC Core §3.1.2.6): what a `prompt=none` login may hear.
    pub fn needs_interaction(&self) -> bool {
        matches!(
            self.as_str(),
            "login_required" | "interaction_required" | "consent_required" | "account_selection_required"
        )
    }
}
