//! Ways in which the development provider can misbehave, one switch each, thrown at run time. With none thrown it is an honest
//! provider. `tests/it/rejections.rs` has a row for each that a relying party has to notice.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::lock;

/// The switches of one provider. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<HashMap<Fault, Left>>>);

impl Faults {
    /// Throws a switch until it is cleared.
    pub fn set(&self, fault: Fault) {
        lock(&self.0).insert(fault, Left::Always);
    }

    /// Throws a switch for the next `times` occasions.
    pub fn set_times(&self, fault: Fault, times: u32) {
        lock(&self.0).insert(fault, Left::Times(times));
    }

    /// Takes a switch back.
    pub fn clear(&self, fault: Fault) {
        lock(&self.0).remove(&fault);
    }

    /// Takes all switches back.
    pub fn clear_all(&self) {
        lock(&self.0).clear();
    }

    /// Waits until a switch is taken back, used up or not.
    pub(super) async fn cleared(&self, fault: Fault) {
        while lock(&self.0).contains_key(&fault) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Whether to misbehave like this on this occasion. Asked once per occasion: a limited switch is used up by asking.
    pub(super) fn is(&self, fault: Fault) -> bool {
        match lock(&self.0).get_mut(&fault) {
            Some(Left::Always) => true,
            Some(Left::Times(left)) if *left > 0 => {
                *left -= 1;
                true
            }
            _ => false,
        }
    }

    /// The error code that the authorization response is to carry on this occasion.
    pub(super) fn authorization_error(&self) -> Option<&'static str> {
        let code = lock(&self.0).keys().find_map(|fault| match fault {
            Fault::AuthorizationError(code) => Some(*code),
            _ => None,
        })?;
        self.is(Fault::AuthorizationError(code)).then_some(code)
    }

    /// What is to go wrong with `endpoint` on this occasion.
    pub(super) fn outage(&self, endpoint: Endpoint) -> Option<Outage> {
        Outage::ALL.into_iter().find(|outage| self.is(Fault::Endpoint(endpoint, *outage)))
    }
}

#[derive(Clone, Copy, Debug)]
enum Left {
    Always,
    Times(u32),
}

/// An endpoint that the relying party calls itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// `/.well-known/openid-configuration`
    Discovery,
    /// `/jwks`
    Jwks,
    /// `/token`
    Token,
    /// `/userinfo`
    Userinfo,
    /// `/revoke`
    Revocation,
}

impl Endpoint {
    /// The endpoint at this path.
    pub(super) fn at(path: &str) -> Option<Self> {
        Some(match path {
            "/.well-known/openid-configuration" => Self::Discovery,
            "/jwks" => Self::Jwks,
            "/token" => Self::Token,
            "/userinfo" => Self::Userinfo,
            "/revoke" => Self::Revocation,
            _ => return None,
        })
    }
}

/// How an endpoint fails as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outage {
    /// `500` with an HTML body; the request has no effect.
    ServerError,
    /// `404`; the request has no effect.
    NotFound,
    /// `200 application/json` whose body is no JSON; the request has no effect.
    Garbage,
    /// `200 application/json` of 16 MiB, endless for whoever reads it all; the request has no effect.
    TooLarge,
    /// `307` to `/redirected` on the same provider, which answers `418`; the request has no effect.
    Redirect,
    /// No answer at all, the connection stays open; the request has no effect.
    Hang,
    /// The request takes effect; its answer waits until the switch is taken back.
    Held,
    /// The connection is closed instead of an answer; the request has no effect.
    Closed,
    /// The request takes effect, then the connection is closed instead of an answer.
    AnswerLost,
}

impl Outage {
    const ALL: [Self; 9] = [
        Self::ServerError,
        Self::NotFound,
        Self::Garbage,
        Self::TooLarge,
        Self::Redirect,
        Self::Hang,
        Self::Held,
        Self::Closed,
        Self::AnswerLost,
    ];
}

/// One way to misbehave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fault {
    /// An endpoint fails as a whole.
    Endpoint(Endpoint, Outage),

    /// Discovery: `issuer` is another provider's.
    DiscoveryWrongIssuer,
    /// Discovery: no `end_session_endpoint`.
    DiscoveryWithoutEndSession,
    /// Discovery: no `revocation_endpoint`.
    DiscoveryWithoutRevocation,
    /// Discovery: no `userinfo_endpoint`.
    DiscoveryWithoutUserinfo,
    /// Discovery: a `userinfo_endpoint` at which nobody listens.
    DiscoveryDeadUserinfo,
    /// Discovery: no `authorization_response_iss_parameter_supported`. Authorization responses still carry `iss`.
    DiscoveryWithoutIssParameter,

    /// JWKS: the keys from before the last `rotate_keys`.
    JwksStale,
    /// JWKS: no key has a `kid`.
    JwksWithoutKids,
    /// JWKS: further RSA and EC keys stand before the right ones.
    JwksFurtherKeys,
    /// JWKS: keys of unknown `kty` and `crv` stand before the right ones.
    JwksUnknownKeyTypes,

    /// Authorization response: `iss` is another provider's.
    ResponseWrongIssuer,
    /// Authorization response: no `iss`, though discovery promises it.
    ResponseWithoutIssuer,
    /// Authorization response: `iss` twice.
    ResponseRepeatedIssuer,
    /// Authorization response: `state` twice.
    ResponseRepeatedState,
    /// Authorization response: `code` twice.
    ResponseRepeatedCode,
    /// Authorization response: a `state` that was never sent.
    ResponseWrongState,
    /// Authorization response: no `state`.
    ResponseWithoutState,
    /// Authorization response: neither `code` nor `error`.
    ResponseWithoutCode,
    /// Authorization response: this `error` instead of a code, as soon as the request is understood.
    AuthorizationError(&'static str),

    /// Token response: `400 invalid_grant`; the code or refresh token stays usable.
    TokenInvalidGrant,
    /// Token response: `401 invalid_client`; the code or refresh token stays usable.
    TokenInvalidClient,
    /// Token response: no `access_token`.
    TokenWithoutAccessToken,
    /// Token response: no `expires_in`.
    TokenWithoutExpiresIn,
    /// Token response: no `scope`.
    TokenWithoutScope,
    /// Token response: no `id_token`.
    TokenWithoutIdToken,
    /// Token response: `token_type` is `bEaReR`, which is as good as `Bearer`.
    TokenTypeOddCase,
    /// Token response: `token_type` is `mac`.
    TokenTypeUnknown,

    /// ID token: `iss` is another provider's.
    IdTokenWrongIssuer,
    /// ID token: no `iss`.
    IdTokenWithoutIssuer,
    /// ID token: `aud` is another client only.
    IdTokenWrongAudience,
    /// ID token: no `aud`.
    IdTokenWithoutAudience,
    /// ID token: `aud` names another client beside the right one; no `azp`.
    IdTokenExtraAudience,
    /// ID token: `aud` names another client beside the right one; `azp` is the right one.
    IdTokenExtraAudienceAzpOurs,
    /// ID token: `aud` names another client beside the right one; `azp` is the other one.
    IdTokenExtraAudienceAzpOther,
    /// ID token: `aud` is right, `azp` is another client.
    IdTokenAzpOther,
    /// ID token: no `sub`.
    IdTokenWithoutSubject,
    /// ID token: no `iat`.
    IdTokenWithoutIssuedAt,
    /// ID token: no `exp`.
    IdTokenWithoutExpiry,
    /// ID token: issued two hours and expired one hour ago.
    IdTokenExpired,
    /// ID token: issued in one hour.
    IdTokenFromTheFuture,
    /// ID token: another `nonce`.
    IdTokenWrongNonce,
    /// ID token: no `nonce`.
    IdTokenWithoutNonce,
    /// ID token: one bit of the signature is flipped, whatever the algorithm.
    IdTokenBadSignature,
    /// ID token: `alg` is `none`, no signature.
    IdTokenUnsigned,
    /// ID token: signed HS256 with the client's secret (or the empty one).
    IdTokenSymmetric,
    /// ID token: signed with a key of the other algorithm (ES256 for RS256 and the reverse), as published.
    IdTokenOtherAlgorithm,
    /// ID token: no `kid` in the header.
    IdTokenWithoutKid,
    /// ID token: a `kid` that is never published.
    IdTokenUnknownKid,
    /// Token endpoint: the keys are rotated after the code was redeemed and before the ID token is signed.
    KeysRotateDuringLogin,
    /// ID token: `at_hash` of another access token.
    IdTokenWrongAtHash,
    /// ID token: no `at_hash`, which is allowed.
    IdTokenWithoutAtHash,
    /// ID token: `auth_time` is one day old.
    IdTokenOldAuthTime,
    /// ID token: no `auth_time`.
    IdTokenWithoutAuthTime,
    /// ID token: `acr` is none that was asked for.
    IdTokenWrongAcr,
    /// ID token: no `acr`.
    IdTokenWithoutAcr,
    /// ID token: no `sid`.
    IdTokenWithoutSid,

    /// Logout token: no `sub`.
    LogoutTokenWithoutSubject,

    /// Userinfo: another `sub`.
    UserinfoOtherSubject,
    /// Userinfo: no `sub`.
    UserinfoWithoutSubject,
    /// Userinfo: a signed JWT although the client did not register for one.
    UserinfoSigned,
    /// Userinfo: a signed JWT whose key is not the provider's, under the `kid` of one that is.
    UserinfoSignedByStranger,

    /// Refresh: the answer holds the same refresh token, which stays usable.
    RefreshWithoutRotation,
    /// Refresh: the answer holds no refresh token; the old one stays usable.
    RefreshWithoutNewToken,
    /// Refresh: the ID token is about another subject.
    RefreshOtherSubject,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limited_switch_is_used_up() {
        let faults = Faults::default();
        faults.set_times(Fault::TokenInvalidGrant, 2);
        let seen: Vec<_> = (0..4).map(|_| faults.is(Fault::TokenInvalidGrant)).collect();
        assert_eq!(seen, [true, true, false, false]);
    }

    #[test]
    fn an_outage_concerns_one_endpoint() {
        let faults = Faults::default();
        faults.set(Fault::Endpoint(Endpoint::Token, Outage::Hang));
        assert_eq!(faults.outage(Endpoint::Token), Some(Outage::Hang));
        assert_eq!(faults.outage(Endpoint::Jwks), None);
    }
}
