//! Makes ID tokens (OIDC Core §2) and signed userinfo (§5.3.2): right ones, and each kind of wrong one.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::discovery::OTHER_ISSUER;
use super::keys::{self, SigningAlgorithm, SigningKeys};
use super::state::Grant;
use super::{DevClient, Inner, USERS};
use crate::demo::faults::Fault;
use crate::demo::lock;

/// An ID token to be made.
pub(super) struct IdToken<'a> {
    pub(super) client: &'a DevClient,
    pub(super) grant: &'a Grant,
    pub(super) access_token: &'a str,
    pub(super) occasion: Occasion,
}

/// What an ID token is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occasion {
    Login,
    Refresh,
}

impl IdToken<'_> {
    /// The signed token.
    pub(super) fn sign(&self, inner: &Inner) -> String {
        let mut claims = self.claims(inner);
        self.change(inner, &mut claims);
        leave_out(inner, &mut claims);
        inner.sign(self.client, &Value::Object(claims))
    }

    fn claims(&self, inner: &Inner) -> Map<String, Value> {
        let session = &self.grant.session;
        let now = inner.clock.now();
        let mut claims = profile(self.grant);
        claims.insert("iss".to_owned(), json!(inner.issuer));
        claims.insert("aud".to_owned(), json!(self.client.client_id));
        claims.insert("iat".to_owned(), json!(now.unix_seconds()));
        claims.insert("exp".to_owned(), json!((now + LIFETIME).unix_seconds()));
        claims.insert("auth_time".to_owned(), json!(session.auth_time.unix_seconds()));
        claims.insert("acr".to_owned(), json!(session.acr.name()));
        claims.insert("sid".to_owned(), json!(session.sid));
        claims.insert("at_hash".to_owned(), json!(keys::at_hash(self.access_token)));
        // Core §12.2: a refreshed ID token should have no nonce.
        if let (Occasion::Login, Some(nonce)) = (self.occasion, &self.grant.nonce) {
            claims.insert("nonce".to_owned(), json!(nonce));
        }
        claims
    }

    fn change(&self, inner: &Inner, claims: &mut Map<String, Value>) {
        let ours = self.client.client_id.as_str();
        let now = inner.clock.now();
        let hour = Duration::from_hours(1);
        let both = json!([ours, OTHER_CLIENT]);
        let changes = [
            (Fault::IdTokenWrongIssuer, vec![("iss", json!(OTHER_ISSUER))]),
            (Fault::IdTokenWrongAudience, vec![("aud", json!(OTHER_CLIENT))]),
            (Fault::IdTokenExtraAudience, vec![("aud", both.clone())]),
            (Fault::IdTokenExtraAudienceAzpOurs, vec![("aud", both.clone()), ("azp", json!(ours))]),
            (Fault::IdTokenExtraAudienceAzpOther, vec![("aud", both), ("azp", json!(OTHER_CLIENT))]),
            (Fault::IdTokenAzpOther, vec![("azp", json!(OTHER_CLIENT))]),
            (
                Fault::IdTokenExpired,
                vec![("iat", json!((now - hour - hour).unix_seconds())), ("exp", json!((now - hour).unix_seconds()))],
            ),
            (
                Fault::IdTokenFromTheFuture,
                vec![("iat", json!((now + hour).unix_seconds())), ("exp", json!((now + hour + hour).unix_seconds()))],
            ),
            (Fault::IdTokenWrongNonce, vec![("nonce", json!("not-the-nonce-that-was-sent"))]),
            (Fault::IdTokenWrongAtHash, vec![("at_hash", json!(keys::at_hash("another access token")))]),
            (Fault::IdTokenOldAuthTime, vec![("auth_time", json!((now - 24 * hour).unix_seconds()))]),
            (Fault::IdTokenWrongAcr, vec![("acr", json!("urn:cloakroom:acr:not-asked-for"))]),
        ];
        let changes = changes.into_iter().filter(|(fault, _)| inner.faults.is(*fault)).flat_map(|(_, changes)| changes);
        claims.extend(changes.map(|(name, value)| (name.to_owned(), value)));
        if self.occasion == Occasion::Refresh && inner.faults.is(Fault::RefreshOtherSubject) {
            claims.insert("sub".to_owned(), json!(other_subject(self.grant)));
        }
    }
}

/// What a grant's scopes say about its user (Core §5.4).
pub(super) fn profile(grant: &Grant) -> Map<String, Value> {
    let user = grant.session.user;
    let mut claims = Map::from_iter([("sub".to_owned(), json!(user.subject))]);
    let mut add = |name: &str, value: Value| claims.insert(name.to_owned(), value);
    if grant.has_scope("profile") {
        add("name", json!(user.name));
        add("given_name", json!(user.given_name));
        add("family_name", json!(user.family_name));
        add("preferred_username", json!(user.username));
    }
    if grant.has_scope("email") {
        add("email", json!(user.email));
        add("email_verified", json!(true));
    }
    claims
}

/// The `sub` of somebody else.
pub(super) fn other_subject(grant: &Grant) -> &'static str {
    let somebody_else = USERS.iter().find(|user| *user != grant.session.user);
    somebody_else.map_or("nobody", |user| user.subject)
}

impl Inner {
    fn sign(&self, client: &DevClient, claims: &Value) -> String {
        let keys = self.keys();
        let mut algorithm = client.id_token_alg;
        if self.faults.is(Fault::IdTokenUnsigned) {
            return keys::jws(&json!({"alg": "none", "typ": "JWT"}), claims, |_| Vec::new());
        }
        if self.faults.is(Fault::IdTokenSymmetric) {
            let secret = client.client_secret.as_deref().unwrap_or_default();
            return keys::jws(&json!({"alg": "HS256", "typ": "JWT"}), claims, |input| keys::hs256(secret, input));
        }
        if self.faults.is(Fault::IdTokenOtherAlgorithm) {
            algorithm = algorithm.other();
        }
        let mut header = json!({"alg": algorithm.name(), "typ": "JWT", "kid": keys.kid(algorithm)});
        if self.faults.is(Fault::IdTokenUnknownKid) {
            header["kid"] = json!("never-published");
        }
        if self.faults.is(Fault::IdTokenWithoutKid) {
            header = json!({"alg": algorithm.name(), "typ": "JWT"});
        }
        let flip = u8::from(self.faults.is(Fault::IdTokenBadSignature));
        keys::jws(&header, claims, |input| {
            let mut signature = keys.sign(algorithm, input);
            signature[SIGNATURE_BYTE] ^= flip;
            signature
        })
    }

    /// A JWT about a user, for the userinfo endpoint.
    pub(super) fn sign_userinfo(&self, algorithm: SigningAlgorithm, claims: &Value) -> String {
        let keys = self.keys();
        let header = json!({"alg": algorithm.name(), "kid": keys.kid(algorithm)});
        let signer = if self.faults.is(Fault::UserinfoSignedByStranger) {
            SigningKeys::of_generation(lock(&self.memory).generation + 1)
        } else {
            keys
        };
        keys::jws(&header, claims, |input| signer.sign(algorithm, input))
    }

    /// The keys that sign now.
    pub(super) fn keys(&self) -> std::sync::Arc<SigningKeys> {
        SigningKeys::of_generation(lock(&self.memory).generation)
    }
}

fn leave_out(inner: &Inner, claims: &mut Map<String, Value>) {
    let left_out = [
        (Fault::IdTokenWithoutIssuer, "iss"),
        (Fault::IdTokenWithoutAudience, "aud"),
        (Fault::IdTokenWithoutSubject, "sub"),
        (Fault::IdTokenWithoutIssuedAt, "iat"),
        (Fault::IdTokenWithoutExpiry, "exp"),
        (Fault::IdTokenWithoutNonce, "nonce"),
        (Fault::IdTokenWithoutAtHash, "at_hash"),
        (Fault::IdTokenWithoutAuthTime, "auth_time"),
        (Fault::IdTokenWithoutAcr, "acr"),
        (Fault::IdTokenWithoutSid, "sid"),
    ];
    for (fault, name) in left_out {
        if inner.faults.is(fault) {
            claims.remove(name);
        }
    }
}

const OTHER_CLIENT: &str = "another-client";
const LIFETIME: Duration = Duration::from_mins(5);
/// Any byte of the signature: RS256 has 256, ES256 has 64.
const SIGNATURE_BYTE: usize = 20;
