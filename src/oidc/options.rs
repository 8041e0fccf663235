//! What is known of a provider and of our registration there before anything is asked. Valid by construction of `config`.

use std::time::Duration;

use openidconnect::core::CoreJwsSigningAlgorithm;
use url::Url;

use crate::secret::Secret;

/// A provider, as configured.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ProviderOptions {
    /// Its name in the configuration.
    pub name: String,
    /// The issuer identifier, byte for byte as the provider's documents and tokens say it.
    pub issuer: String,
    /// Leeway for `exp`, `iat`, `nbf`, `auth_time`.
    pub clock_skew: Duration,
    /// The one algorithm ID tokens (and signed UserInfo answers) may be signed with.
    pub id_token_alg: Algorithm,
    /// Further audiences an ID token may name beside us.
    pub trusted_audiences: Vec<String>,
    /// Authentication context classes, weakest first.
    pub acr_order: Vec<String>,
    /// Total deadline of one call.
    pub timeout: Duration,
}

impl ProviderOptions {
    /// A provider with the defaults of `docs/configuration.md`.
    pub fn new(name: impl Into<String>, issuer: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            issuer: issuer.into(),
            clock_skew: Duration::from_mins(1),
            id_token_alg: Algorithm::RS256,
            trusted_audiences: Vec::new(),
            acr_order: Vec::new(),
            timeout: Duration::from_secs(10),
        }
    }

    /// Where an `acr` stands in `acr_order`; nothing if it is not there.
    pub(crate) fn rank(&self, acr: &str) -> Option<usize> {
        self.acr_order.iter().position(|known| known == acr)
    }
}

/// Our registration at a provider.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ClientOptions {
    /// `client_id`.
    pub client_id: String,
    /// How we prove at the token endpoint that we are that client.
    pub auth: ClientAuth,
    /// Scopes asked for; contains `openid`.
    pub scopes: Vec<String>,
    /// `redirect_uri`, registered byte for byte.
    pub redirect_uri: Url,
    /// `post_logout_redirect_uri`, registered byte for byte.
    pub post_logout_redirect_uri: Url,
    /// How the authorization response reaches us.
    pub response_mode: ResponseMode,
    /// Ask the UserInfo endpoint at login.
    pub userinfo: bool,
}

impl ClientOptions {
    /// A registration with the defaults of `docs/configuration.md`.
    pub fn new(
        client_id: impl Into<String>,
        auth: ClientAuth,
        redirect_uri: Url,
        post_logout_redirect_uri: Url,
    ) -> Self {
        Self {
            client_id: client_id.into(),
            auth,
            scopes: ["openid", "profile", "offline_access"].map(str::to_owned).to_vec(),
            redirect_uri,
            post_logout_redirect_uri,
            response_mode: ResponseMode::Query,
            userinfo: true,
        }
    }
}

/// Client authentication at the token endpoint (OIDC Core §9, RFC 6749 §2.3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientAuth {
    /// A public client: PKCE only.
    None,
    /// `client_secret_basic`.
    SecretBasic(Secret<String>),
    /// `client_secret_post`.
    SecretPost(Secret<String>),
}

/// `response_mode` (OAuth 2.0 Multiple Response Types §2.1, Form Post Response Mode).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResponseMode {
    /// Parameters in the query of the redirect URI.
    Query,
    /// Parameters in a form that the browser posts.
    FormPost,
}

/// Signature algorithms an ID token may be pinned to (RFC 7518 §3.1, RFC 8037). `none` and HS* are not among them on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the registered names say it")]
pub enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::EdDSA,
    ];

    /// The registered name, as in a JWS header's `alg`.
    pub fn name(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
        }
    }

    /// The algorithm with this registered name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|algorithm| algorithm.name() == name)
    }

    pub(super) fn jws(self) -> CoreJwsSigningAlgorithm {
        match self {
            Self::RS256 => CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
            Self::RS384 => CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
            Self::RS512 => CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
            Self::PS256 => CoreJwsSigningAlgorithm::RsaSsaPssSha256,
            Self::PS384 => CoreJwsSigningAlgorithm::RsaSsaPssSha384,
            Self::PS512 => CoreJwsSigningAlgorithm::RsaSsaPssSha512,
            Self::ES256 => CoreJwsSigningAlgorithm::EcdsaP256Sha256,
            Self::ES384 => CoreJwsSigningAlgorithm::EcdsaP384Sha384,
            Self::EdDSA => CoreJwsSigningAlgorithm::EdDsa,
        }
    }
}
