//! Who somebody is, and what else was said of them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// What a session is found by when the provider ends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Identity {
    /// `iss`.
    pub issuer: String,
    /// Our `client_id` there.
    pub client_id: String,
    /// `sub`: never empty, unique at the issuer, compared byte for byte.
    pub subject: String,
    /// `sid`: the provider's name of its own session, if it gives one.
    pub sid: Option<String>,
}

/// What ID token and UserInfo said of a person, without the claims that belong to the protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Claims(Map<String, Value>);

impl Claims {
    /// From what an ID token said. Protocol claims (`nonce`, `sid`, `at_hash`, …) are left out.
    pub(super) fn from_id_token(claims: Map<String, Value>) -> Self {
        Self(claims.into_iter().filter(|(name, _)| !PROTOCOL.contains(&name.as_str())).collect())
    }

    /// Adds what UserInfo said; it is the newer word.
    pub(super) fn merge(&mut self, userinfo: Map<String, Value>) {
        self.0.extend(
            userinfo
                .into_iter()
                .filter(|(name, _)| !PROTOCOL.contains(&name.as_str()) && name != "acr" && name != "auth_time"),
        );
    }

    /// One claim.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// All of them, as a JSON object.
    pub fn as_map(&self) -> &Map<String, Value> {
        &self.0
    }
}

/// Claims that steer the protocol and tell nobody anything about the person (OIDC Core §2, RFC 7519 §4.1).
const PROTOCOL: [&str; 13] =
    ["iss", "aud", "exp", "iat", "nbf", "jti", "nonce", "at_hash", "c_hash", "s_hash", "azp", "sid", "sub"];
