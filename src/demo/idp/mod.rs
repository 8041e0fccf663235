//! A development OpenID provider: real OIDC over HTTP, on loopback only, with two users whose passwords are their names.
//!
//! `cloakroom demo` logs people in with it, and tests use it as the provider that can misbehave ([`Faults`]). It follows OIDC
//! Core, Discovery, RP-Initiated, Back-Channel and Front-Channel Logout, Form Post Response Mode, and RFC 6749, 6750, 7009, 7636, 9207.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::TcpListener;
use url::Url;

mod authorize;
mod backchannel_logout;
mod calls;
mod discovery;
mod end_session;
mod frontchannel_logout;
mod id_token;
mod keys;
mod login;
mod pages;
mod parameters;
mod response;
mod router;
mod state;
#[cfg(test)]
mod tests;
mod token;
mod userinfo;

pub use backchannel_logout::{LogoutDelivery, LogoutSignature, LogoutToken};
pub use calls::Call;
pub use keys::SigningAlgorithm;

use self::state::Memory;
use super::faults::Faults;
use super::listening::Listening;
use super::lock;
use crate::clock::{Clock, SystemClock};

/// A running development provider. Dropping it ends it.
pub struct DevProvider {
    inner: Arc<Inner>,
    address: SocketAddr,
    listening: tokio::sync::Mutex<Option<Listening>>,
}

/// How a provider is to be.
#[derive(Clone, Debug)]
pub struct DevProviderOptions {
    /// Who may ask it for logins. More can [register](DevProvider::register) later.
    pub clients: Vec<DevClient>,
    /// How long access tokens live.
    pub access_token_lifetime: Duration,
    /// What its tokens' times are told by.
    pub clock: Arc<dyn Clock>,
}

impl Default for DevProviderOptions {
    fn default() -> Self {
        Self { clients: Vec::new(), access_token_lifetime: Duration::from_mins(2), clock: Arc::new(SystemClock) }
    }
}

/// A client, as registered. URIs are compared byte for byte.
#[derive(Clone, Debug)]
pub struct DevClient {
    /// `client_id`.
    pub client_id: String,
    /// With a secret: `client_secret_basic` or `client_secret_post`, as the client likes. Without: a public client.
    pub client_secret: Option<String>,
    /// `redirect_uris`.
    pub redirect_uris: Vec<String>,
    /// `post_logout_redirect_uris`.
    pub post_logout_redirect_uris: Vec<String>,
    /// `id_token_signed_response_alg`.
    pub id_token_alg: SigningAlgorithm,
    /// `userinfo_signed_response_alg`; none: userinfo is plain JSON.
    pub userinfo_alg: Option<SigningAlgorithm>,
    /// `backchannel_logout_uri`; none: it is not told of logouts.
    pub backchannel_logout_uri: Option<String>,
    /// `backchannel_logout_session_required`: logout tokens name the session. Otherwise they name the subject alone.
    pub backchannel_logout_session_required: bool,
    /// `frontchannel_logout_uri`; none: it is not framed. Always with `iss` and `sid` (`frontchannel_logout_session_required`).
    pub frontchannel_logout_uri: Option<String>,
}

impl DevClient {
    /// A confidential client with one redirect URI and one post-logout redirect URI, ID tokens in RS256.
    pub fn new(client_id: impl Into<String>, secret: impl Into<String>, redirect: &Url, post_logout: &Url) -> Self {
        Self {
            client_id: client_id.into(),
            client_secret: Some(secret.into()),
            redirect_uris: vec![redirect.as_str().to_owned()],
            post_logout_redirect_uris: vec![post_logout.as_str().to_owned()],
            id_token_alg: SigningAlgorithm::default(),
            userinfo_alg: None,
            backchannel_logout_uri: None,
            backchannel_logout_session_required: true,
            frontchannel_logout_uri: None,
        }
    }

    /// Has it told of logouts, by logout tokens with a `sid`.
    #[must_use]
    pub fn told_of_logouts_at(mut self, uri: &Url) -> Self {
        self.backchannel_logout_uri = Some(uri.as_str().to_owned());
        self
    }

    /// Has it told of logouts by a frame in the provider's logged-out page.
    #[must_use]
    pub fn framed_at_logout(mut self, uri: &Url) -> Self {
        self.frontchannel_logout_uri = Some(uri.as_str().to_owned());
        self
    }
}

/// Somebody who can log in.
#[derive(Debug, PartialEq, Eq)]
pub struct DevUser {
    /// The name to log in with, which is the password too.
    pub username: &'static str,
    /// `sub`.
    pub subject: &'static str,
    /// `name`.
    pub name: &'static str,
    /// `given_name`.
    pub given_name: &'static str,
    /// `family_name`.
    pub family_name: &'static str,
    /// `email`.
    pub email: &'static str,
}

/// Everybody who can log in.
pub const USERS: [DevUser; 2] = [
    DevUser {
        username: "alice",
        subject: "248289761001",
        name: "Alice Adler",
        given_name: "Alice",
        family_name: "Adler",
        email: "alice@example.com",
    },
    DevUser {
        username: "bob",
        subject: "813347290552",
        name: "Bob Baker",
        given_name: "Bob",
        family_name: "Baker",
        email: "bob@example.com",
    },
];

/// `acr` of somebody who showed a password.
pub const PASSWORD: &str = "urn:cloakroom:acr:password";

/// `acr` of somebody who confirmed a second factor, too. Asked for by `acr_values`.
pub const SECOND_FACTOR: &str = "urn:cloakroom:acr:second-factor";

/// What the provider knows of a live access token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Introspection {
    /// `sub`.
    pub subject: String,
    /// `acr` of the login it came from: [`PASSWORD`] or [`SECOND_FACTOR`].
    pub acr: &'static str,
}

/// What all requests share.
struct Inner {
    issuer: String,
    /// Cookies do not know ports, so the name has to.
    cookie_name: String,
    clock: Arc<dyn Clock>,
    access_token_lifetime: Duration,
    faults: Faults,
    memory: Mutex<Memory>,
    calls: Mutex<Vec<Call>>,
}

impl DevProvider {
    /// Starts a provider on `listener`; its issuer is `http://` and the listener's address.
    ///
    /// # Panics
    /// If the listener is not on a loopback address, or outside a Tokio runtime.
    pub fn start(listener: TcpListener, options: DevProviderOptions) -> Self {
        let address = listener.local_addr().expect("a bound listener has an address");
        // Made now rather than inside the first login.
        keys::SigningKeys::of_generation(0);
        let inner = Arc::new(Inner {
            issuer: format!("http://{address}"),
            cookie_name: format!("dev-provider-{}", address.port()),
            clock: options.clock,
            access_token_lifetime: options.access_token_lifetime,
            faults: Faults::default(),
            memory: Mutex::new(Memory::with_clients(options.clients)),
            calls: Mutex::default(),
        });
        let listening = Listening::start(listener, router::router(Arc::clone(&inner)));
        Self { inner, address: listening.address(), listening: tokio::sync::Mutex::new(Some(listening)) }
    }

    /// The issuer identifier, without trailing slash.
    pub fn issuer(&self) -> &str {
        &self.inner.issuer
    }

    /// Registers a client, in place of one with the same id.
    pub fn register(&self, client: DevClient) {
        let mut memory = lock(&self.inner.memory);
        memory.clients.retain(|known| known.client_id != client.client_id);
        memory.clients.push(client);
    }

    /// The switches for misbehaviour.
    pub fn faults(&self) -> &Faults {
        &self.inner.faults
    }

    /// Every request so far, oldest first; also those of browsers, and those that failed.
    pub fn calls(&self) -> Vec<Call> {
        lock(&self.inner.calls).clone()
    }

    /// Every code, access token, refresh token and ID token handed out so far.
    pub fn issued(&self) -> Vec<String> {
        lock(&self.inner.memory).issued().to_vec()
    }

    /// New keys sign from now on; only they are published.
    pub fn rotate_keys(&self) {
        self.inner.rotate_keys();
    }

    /// Ends every single sign-on session: the next login asks for the password again. Grants live on.
    pub fn end_sso_sessions(&self) {
        lock(&self.inner.memory).sessions.clear();
    }

    /// The `sub` behind an access token that is live now.
    pub fn subject_of(&self, access_token: &str) -> Option<String> {
        self.inner.introspect(access_token).map(|behind| behind.subject)
    }

    /// What is behind an access token that is live now, as a value that outlives the borrow.
    pub fn introspection(&self) -> impl Fn(&str) -> Option<Introspection> + Send + Sync + use<> {
        let inner = Arc::clone(&self.inner);
        move |access_token| inner.introspect(access_token)
    }

    /// Takes the provider off the network: the port is free and all connections are closed when this returns. What it remembers
    /// is kept.
    pub async fn stop(&self) {
        if let Some(listening) = self.listening.lock().await.take() {
            listening.stop().await;
        }
    }

    /// Puts a stopped provider back on its port.
    ///
    /// # Errors
    /// If the port was taken meanwhile.
    pub async fn start_again(&self) -> std::io::Result<()> {
        let mut listening = self.listening.lock().await;
        if listening.is_none() {
            let listener = TcpListener::bind(self.address).await?;
            *listening = Some(Listening::start(listener, router::router(Arc::clone(&self.inner))));
        }
        Ok(())
    }
}

impl Inner {
    fn rotate_keys(&self) {
        lock(&self.memory).generation += 1;
    }

    fn introspect(&self, access_token: &str) -> Option<Introspection> {
        let now = self.clock.now();
        let memory = lock(&self.memory);
        let session = &memory.grant_of_access_token(access_token, now)?.session;
        Some(Introspection { subject: session.user.subject.to_owned(), acr: session.acr.name() })
    }
}
