//! Everything an ID token must be, in one function: OIDC Core §3.1.3.7 step by step.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::demand::Demand;
use super::error::IdTokenReason as Reason;
use super::options::{Algorithm, ProviderOptions};
use crate::clock::Timestamp;
use crate::secret;

/// What an ID token is held against.
pub(super) struct Expected<'a> {
    pub(super) provider: &'a ProviderOptions,
    pub(super) client_id: &'a str,
    pub(super) now: Timestamp,
    pub(super) nonce: Nonce<'a>,
    /// The access token that came with it.
    pub(super) access_token: &'a str,
    /// `acr_values` and `max_age` as asked for.
    pub(super) demand: Demand,
    /// The person had to authenticate after this (`prompt=login`).
    pub(super) authenticated_after: Option<Timestamp>,
    /// A refreshed token must speak of this subject.
    pub(super) subject: Option<&'a str>,
}

/// The rule for `nonce`.
pub(super) enum Nonce<'a> {
    /// It must be there and be this (a login).
    Exactly(&'a str),
    /// It may be missing; if there is one it must be this, where this is known (a refresh, OIDC Core §12.2).
    AbsentOr(Option<&'a str>),
}

/// An ID token that was believed.
#[derive(Debug)]
pub(super) struct IdToken {
    pub(super) subject: String,
    pub(super) sid: Option<String>,
    pub(super) issued_at: Timestamp,
    pub(super) auth_time: Option<Timestamp>,
    pub(super) acr: Option<String>,
    pub(super) claims: Map<String, Value>,
}

/// Checks the claims of an ID token whose signature is verified (steps 6 to 8 are `Jws::verify`; step 1 does not apply, we
/// register for no encryption).
pub(super) fn verify(claims: Map<String, Value>, expected: &Expected<'_>) -> Result<IdToken, Reason> {
    let options = expected.provider;
    let skew = options.clock_skew;
    // (2) iss is the issuer we discovered, byte for byte.
    if text(&claims, "iss") != Some(&options.issuer) {
        return Err(Reason::Issuer);
    }
    // (3) aud names us, and nobody we do not trust.
    let audiences = audiences(&claims);
    if !audiences.contains(&expected.client_id) {
        return Err(Reason::Audience);
    }
    let trusted =
        |audience: &&str| *audience == expected.client_id || options.trusted_audiences.iter().any(|t| t == audience);
    if !audiences.iter().all(trusted) {
        return Err(Reason::UntrustedAudience);
    }
    // (4) several audiences need an azp, (5) and an azp must be us.
    match claims.get("azp") {
        Some(azp) if azp.as_str() != Some(expected.client_id) => return Err(Reason::AuthorizedParty),
        None if audiences.len() > 1 => return Err(Reason::AuthorizedParty),
        _ => {}
    }
    // §2: sub is required, and a refreshed token speaks of the same person (§12.2).
    let subject = text(&claims, "sub").filter(|sub| !sub.is_empty()).ok_or(Reason::NoSubject)?.to_owned();
    if expected.subject.is_some_and(|same| same != subject) {
        return Err(Reason::OtherSubject);
    }
    // (9) exp is not over.
    if expected.now >= time(&claims, "exp").ok_or(Reason::NoExpiry)? + skew {
        return Err(Reason::Expired);
    }
    // (10) iat is required. Its age is bounded by exp and by the nonce of an attempt that lives an hour; it must not be in the future.
    let issued_at = time(&claims, "iat").ok_or(Reason::NoIssuedAt)?;
    if issued_at > expected.now + skew {
        return Err(Reason::IssuedInTheFuture);
    }
    // RFC 7519 §4.1.5; OIDC Core says nothing of it.
    if time(&claims, "nbf").is_some_and(|not_before| not_before > expected.now + skew) {
        return Err(Reason::NotYetValid);
    }
    // (11) nonce is that of the attempt.
    let nonce = text(&claims, "nonce");
    let fits = match expected.nonce {
        Nonce::Exactly(ours) => nonce.is_some_and(|nonce| secret::same(nonce.as_bytes(), ours.as_bytes())),
        // An earlier refresh may have left it out, and then nobody knows the first one any more.
        Nonce::AbsentOr(ours) => nonce.is_none() || ours.is_none() || nonce == ours,
    };
    if !fits {
        return Err(Reason::Nonce);
    }
    // (12) acr is one of those asked for, or stronger by the configured order; (13) auth_time is recent enough if we asked.
    let acr = text(&claims, "acr").map(str::to_owned);
    let auth_time = time(&claims, "auth_time");
    expected.demand.check(acr.as_deref(), auth_time, expected.now, options)?;
    if let (Some(after), Some(at)) = (expected.authenticated_after, auth_time)
        && at + skew < after
    {
        return Err(Reason::AuthTime);
    }
    // §3.1.3.6, §3.1.3.8: at_hash, where there is one, fits the access token.
    if let Some(at_hash) = claims.get("at_hash")
        && at_hash.as_str() != Some(&access_token_hash(options.id_token_alg, expected.access_token))
    {
        return Err(Reason::AccessTokenHash);
    }
    // Back-Channel Logout §2.1. An empty one names no session and would keep this one from being found by its subject alone.
    let sid = text(&claims, "sid").filter(|sid| !sid.is_empty()).map(str::to_owned);
    Ok(IdToken { subject, sid, issued_at, auth_time, acr, claims })
}

/// The left half of the access token's hash, with the hash of the ID token's algorithm.
fn access_token_hash(algorithm: Algorithm, access_token: &str) -> String {
    use Algorithm::{ES256, ES384, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512};
    let hash = match algorithm {
        RS256 | PS256 | ES256 => &digest::SHA256,
        RS384 | PS384 | ES384 => &digest::SHA384,
        // Ed25519 hashes with SHA-512.
        RS512 | PS512 | EdDSA => &digest::SHA512,
    };
    let hash = digest::digest(hash, access_token.as_bytes());
    URL_SAFE_NO_PAD.encode(&hash.as_ref()[..hash.as_ref().len() / 2])
}

pub(super) fn text<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    claims.get(name)?.as_str()
}

pub(super) fn audiences(claims: &Map<String, Value>) -> Vec<&str> {
    match claims.get("aud") {
        Some(Value::String(one)) => vec![one],
        // An entry that is no text is an audience we do not trust.
        Some(Value::Array(many)) => many.iter().map(|audience| audience.as_str().unwrap_or_default()).collect(),
        _ => Vec::new(),
    }
}

/// A `NumericDate`; fractions are cut, absurd numbers saturate.
pub(super) fn time(claims: &Map<String, Value>, name: &str) -> Option<Timestamp> {
    let value = claims.get(name)?;
    #[expect(clippy::cast_possible_truncation, reason = "a cast from f64 saturates")]
    let seconds = value.as_i64().or_else(|| value.as_f64().map(|seconds| seconds as i64))?;
    Some(Timestamp::from_unix_seconds(seconds))
}

#[cfg(test)]
mod tests;
