//! The authorization request, and what we keep of it until the answer comes.

use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use oauth2::basic::BasicClient;
use oauth2::{AuthUrl, ClientId, CsrfToken, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope};
use serde::{Deserialize, Serialize};
use url::Url;

use super::demand::Demand;
use super::metadata::ProviderMetadata;
use super::options::{ClientOptions, ResponseMode};
use crate::clock::Timestamp;
use crate::secret::{self, Secret, exposed};

/// What a login asks of the provider beyond an identity. Empty by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// `prompt`, space separated.
    pub(crate) prompt: Option<String>,
    /// `acr_values` and `max_age`.
    pub(crate) demand: Demand,
    /// `login_hint`.
    pub(crate) login_hint: Option<String>,
    /// `ui_locales`, space separated.
    pub(crate) ui_locales: Option<String>,
}

/// What we keep of one login under way. `state`, `nonce` and PKCE verifier are derived from one seed, so this stays small.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct LoginAttempt {
    #[serde(rename = "s", with = "exposed")]
    seed: Secret<String>,
    /// When it started.
    #[serde(rename = "t")]
    pub(crate) issued_at: Timestamp,
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    prompt: Option<String>,
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    max_age_seconds: Option<u64>,
    #[serde(rename = "a", default, skip_serializing_if = "Vec::is_empty")]
    acr_values: Vec<String>,
}

impl LoginAttempt {
    /// A fresh attempt.
    pub(crate) fn new(asked: &Asked, now: Timestamp) -> Self {
        Self {
            seed: secret::random_token(),
            issued_at: now,
            prompt: asked.prompt.clone(),
            max_age_seconds: asked.demand.max_age.map(|age| age.as_secs()),
            acr_values: asked.demand.acr_values.clone(),
        }
    }

    /// `state`: 43 characters of base64url.
    pub(crate) fn state(&self) -> Secret<String> {
        self.derive("state")
    }

    /// Nothing special was asked for, so any live session is an answer.
    pub(crate) fn is_plain(&self) -> bool {
        self.prompt.is_none() && self.max_age_seconds.is_none() && self.acr_values.is_empty()
    }

    /// `prompt=none`: the answer may say that somebody would have to be asked.
    pub(crate) fn is_silent(&self) -> bool {
        self.prompts("none")
    }

    pub(super) fn forces_authentication(&self) -> bool {
        self.prompts("login")
    }

    /// What the login has to be.
    pub(crate) fn demand(&self) -> Demand {
        Demand { acr_values: self.acr_values.clone(), max_age: self.max_age_seconds.map(Duration::from_secs) }
    }

    pub(super) fn nonce(&self) -> Secret<String> {
        self.derive("nonce")
    }

    pub(super) fn code_verifier(&self) -> PkceCodeVerifier {
        PkceCodeVerifier::new(self.derive("code_verifier").expose().clone())
    }

    fn prompts(&self, value: &str) -> bool {
        self.prompt.as_deref().is_some_and(|prompt| prompt.split(' ').any(|word| word == value))
    }

    fn derive(&self, purpose: &str) -> Secret<String> {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.seed.expose().as_bytes());
        Secret::new(URL_SAFE_NO_PAD.encode(hmac::sign(&key, purpose.as_bytes())))
    }
}

/// The URL that starts a login (RFC 6749 §4.1.1, RFC 7636 §4.3, OIDC Core §3.1.2.1). `note` travels with the state.
pub(super) fn authorization_url(
    metadata: &ProviderMetadata,
    client: &ClientOptions,
    attempt: &LoginAttempt,
    asked: &Asked,
    note: Option<&str>,
) -> Url {
    let state = match note {
        Some(note) => format!("{}.{note}", attempt.state().expose()),
        None => attempt.state().expose().clone(),
    };
    let oauth = BasicClient::new(ClientId::new(client.client_id.clone()))
        .set_auth_uri(AuthUrl::from_url(metadata.authorization_endpoint.clone()))
        .set_redirect_uri(RedirectUrl::from_url(client.redirect_uri.clone()));
    let mut request = oauth
        .authorize_url(|| CsrfToken::new(state))
        .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&attempt.code_verifier()))
        .add_scopes(client.scopes.iter().cloned().map(Scope::new))
        .add_extra_param("nonce", attempt.nonce().expose().clone());
    if client.response_mode == ResponseMode::FormPost {
        request = request.add_extra_param("response_mode", "form_post");
    }
    let extra = [
        ("prompt", asked.prompt.clone()),
        ("max_age", asked.demand.max_age.map(|age| age.as_secs().to_string())),
        ("acr_values", (!asked.demand.acr_values.is_empty()).then(|| asked.demand.acr_values.join(" "))),
        ("login_hint", asked.login_hint.clone()),
        ("ui_locales", asked.ui_locales.clone()),
    ];
    for (name, value) in extra {
        if let Some(value) = value {
            request = request.add_extra_param(name, value);
        }
    }
    request.url().0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(asked: &Asked) -> LoginAttempt {
        LoginAttempt::new(asked, Timestamp::from_unix_seconds(1))
    }

    #[test]
    fn state_nonce_and_verifier_differ_and_survive_the_cookie() {
        let attempt = attempt(&Asked::default());
        let kept: LoginAttempt =
            serde_json::from_str(&serde_json::to_string(&attempt).expect("writes")).expect("reads");
        assert_eq!(attempt.state(), kept.state());
        assert_eq!(attempt.nonce(), kept.nonce());
        assert_ne!(attempt.state(), attempt.nonce());
        assert_ne!(attempt.state().expose(), attempt.code_verifier().secret());
        assert_eq!(attempt.state().expose().len(), 43);
    }

    #[test]
    fn two_attempts_share_nothing() {
        assert_ne!(attempt(&Asked::default()).state(), attempt(&Asked::default()).state());
    }

    #[test]
    fn an_attempt_that_asks_for_something_is_not_plain() {
        assert!(attempt(&Asked::default()).is_plain());
        assert!(!attempt(&Asked { prompt: Some("login".to_owned()), ..Asked::default() }).is_plain());
        let demanding = |demand| Asked { demand, ..Asked::default() };
        let (acr_values, max_age) = (vec!["mfa".to_owned()], Some(Duration::ZERO));
        assert!(!attempt(&demanding(Demand { acr_values, max_age: None })).is_plain());
        assert!(!attempt(&demanding(Demand { acr_values: Vec::new(), max_age })).is_plain());
    }
}
