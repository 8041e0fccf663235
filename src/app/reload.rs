//! Values that are exchanged while everything runs: master keys, client secrets, the admin token, roots, certificates of the listener
//! and for upstreams.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

use super::Cloakroom;
use crate::config::{Config, Tls};
use crate::denied::DeniedAddresses;
use crate::frontend::Frontend;
use crate::guard::operator::AdminToken;
use crate::oidc::{ClientAuth, Connections, ProviderHttp, RelyingParty};
use crate::proxy::{TrustChange, UpstreamTls};
use crate::secret::Secret;
use crate::store::{Keyring, LiveKeyring};
use crate::{proxy, tls};

/// What a reload did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Reloaded {
    /// What is used from now on. Empty if nothing of it had changed.
    pub exchanged: Vec<Exchanged>,
    /// Keys of the configuration (`session.idle`) that differ from what runs, and are only read at the start.
    pub needs_restart: Vec<String>,
}

/// Something that was exchanged. Shows no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exchanged {
    /// The master keys, by their ids (8 hex digits).
    MasterKeys {
        /// All keys in use, the one that seals first.
        used: Vec<String>,
        /// Keys that nothing opens with any more.
        gone: Vec<String>,
    },
    /// How a frontend proves to its provider who it is; the frontend's name.
    ClientAuth(String),
    /// What operators prove themselves with. They may have none any more.
    AdminToken,
    /// The roots of `server.ca_file`, for providers and upstreams.
    Roots,
    /// The listener's certificate and key.
    Certificate,
    /// What a file of some route's `upstream_tls` holds: roots, or a certificate with its key.
    UpstreamTls(PathBuf),
}

impl fmt::Display for Exchanged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MasterKeys { used, gone } => {
                write!(f, "master keys: {} (the first seals)", used.join(", "))?;
                if gone.is_empty() { Ok(()) } else { write!(f, "; gone: {}", gone.join(", ")) }
            }
            Self::ClientAuth(frontend) => write!(f, "client secret of {frontend}"),
            Self::AdminToken => f.write_str("server.admin_token"),
            Self::Roots => f.write_str("roots of server.ca_file"),
            Self::Certificate => f.write_str("the listener's certificate"),
            Self::UpstreamTls(path) => write!(f, "{} of upstream_tls", path.display()),
        }
    }
}

/// Why nothing was exchanged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReloadError {
    /// A root certificate cannot be used.
    #[error("cannot set up TLS: {0}")]
    Tls(String),
    /// The listener's certificate or key cannot be used.
    #[error("cannot use the listener's certificate: {0}")]
    Certificate(String),
    /// A file of a route's `upstream_tls` cannot be used.
    #[error("cannot use a route's upstream_tls: {0}")]
    UpstreamTls(String),
}

impl Cloakroom {
    /// Takes over what may change while everything runs: master keys, client secrets, the admin token, the roots of `server.ca_file`,
    /// the listener's certificate and key, and what is in the files of `upstream_tls`. All of it or nothing; calls under way finish with what they began with. What else
    /// differs in `config` is named and has no effect. Logs what was exchanged.
    ///
    /// A store without configured keys keeps the key it made itself, a client with a secret does not become a public one, and a
    /// listener does not begin or cease to speak TLS: these need a restart, too.
    ///
    /// Reads certificates and the system's roots, so it blocks for some milliseconds.
    ///
    /// ```no_run
    /// # use cloakroom::{Cloakroom, config::Config};
    /// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
    /// let cloakroom = Cloakroom::builder(Config::from_environment(None)?).build().await?;
    /// let router = cloakroom.router(); // is served, and whenever the operator says so:
    /// let reloaded = cloakroom.reload(Config::from_environment(None)?)?;
    /// if !reloaded.needs_restart.is_empty() {
    ///     eprintln!("not taken over: {}", reloaded.needs_restart.join(", "));
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// `Tls`, `Certificate`, `UpstreamTls`: a file does not hold what it should. Everything stays as it was.
    pub fn reload(&self, config: Config) -> Result<Reloaded, ReloadError> {
        let mut running = self.live.running();
        let fresh = self.live.prepare(&running, &config)?;
        let needs_restart = needs_restart(&running, &config);
        let exchanged = self.live.exchange(fresh);
        adopt(&mut running, config);
        for exchanged in &exchanged {
            tracing::info!("exchanged {exchanged}");
        }
        if !needs_restart.is_empty() {
            tracing::warn!(
                changed = needs_restart.join(", "),
                "what else changed in the configuration needs a restart"
            );
        }
        Ok(Reloaded { exchanged, needs_restart })
    }
}

/// The places where exchanged values go, and what is in them.
#[derive(Debug)]
pub(super) struct Live {
    keyring: LiveKeyring,
    /// By the names of their frontends.
    relying_parties: BTreeMap<String, RelyingParty>,
    upstreams: proxy::Client,
    admin_token: AdminToken,
    /// There from the moment that TLS is spoken.
    certificate: OnceLock<Arc<tls::Certificate>>,
    /// As it was at the start but for what was exchanged since.
    running: Mutex<Config>,
}

/// What differs and can be used.
struct Fresh {
    keyring: Option<Keyring>,
    auths: Vec<(String, ClientAuth)>,
    /// May be none from now on.
    admin_token: Option<Secret<String>>,
    /// For providers.
    connections: Option<Connections>,
    upstreams: TrustChange,
    certificate: Option<CertifiedKey>,
}

impl Live {
    pub(super) fn new(
        keyring: LiveKeyring,
        frontends: &[Frontend],
        upstreams: proxy::Client,
        admin_token: AdminToken,
        running: Config,
    ) -> Self {
        let relying_party = |frontend: &Frontend| (frontend.id().to_owned(), frontend.relying_party().clone());
        let relying_parties = frontends.iter().map(relying_party).collect();
        let (certificate, running) = (OnceLock::new(), Mutex::new(running));
        Self { keyring, relying_parties, upstreams, admin_token, certificate, running }
    }

    /// The ids of the master keys in use, the one that seals first.
    pub(super) fn key_ids(&self) -> Vec<String> {
        self.keyring.now().key_ids()
    }

    /// The configuration in use. Whoever holds it keeps reloads waiting.
    pub(super) fn running(&self) -> MutexGuard<'_, Config> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What speaks TLS with the certificate in use, if the listener is to.
    pub(super) fn acceptor(&self) -> Result<Option<TlsAcceptor>, tls::Error> {
        let running = self.running();
        let Some(files) = &running.server.tls else { return Ok(None) };
        let certified = tls::certified_key(&files.cert, &files.key)?;
        let certificate = self.certificate.get_or_init(|| Arc::new(tls::Certificate::new(certified)));
        Ok(Some(TlsAcceptor::from(tls::server_config(certificate.clone()))))
    }

    /// Everything that may fail happens here, before anything is exchanged.
    fn prepare(&self, running: &Config, newer: &Config) -> Result<Fresh, ReloadError> {
        let both_have_keys = !running.keys.is_empty() && !newer.keys.is_empty();
        let keyring =
            (both_have_keys && running.keys != newer.keys).then(|| Keyring::new(newer.keys.clone())).flatten();
        let auths = auths(running, newer).filter(|(_, was, is)| was != is && **is != ClientAuth::None);
        let auths = auths.map(|(id, _, is)| (id.to_owned(), is.clone())).collect();
        let roots = (running.server.ca_pem != newer.server.ca_pem).then(|| roots(running, newer)).transpose()?;
        let (tls, connections) = roots.unzip();
        let upstreams = self.upstreams.prepare(tls, |says| still_says(newer, says));
        let upstreams = upstreams.map_err(|error| ReloadError::UpstreamTls(error.to_string()))?;
        let certificate = match (&running.server.tls, &newer.server.tls) {
            (Some(_), Some(files)) => Some(certified(files)?),
            _ => None,
        };
        let in_use = |certified: &CertifiedKey| self.certificate.get().is_none_or(|known| known.is(certified));
        let certificate = certificate.filter(|certified| !in_use(certified));
        let admin_token = newer.server.admin_token.clone();
        Ok(Fresh { keyring, auths, admin_token, connections, upstreams, certificate })
    }

    /// Cannot fail half way.
    fn exchange(&self, fresh: Fresh) -> Vec<Exchanged> {
        let mut exchanged = Vec::new();
        if let Some(keyring) = fresh.keyring {
            let (before, used) = (self.key_ids(), keyring.key_ids());
            self.keyring.exchange(keyring);
            let gone: Vec<_> = before.iter().filter(|id| !used.contains(id)).cloned().collect();
            if gone.contains(&before[0]) {
                tracing::warn!(key = before[0], "the key that sealed until now is gone; sessions under it wait for it");
            }
            exchanged.push(Exchanged::MasterKeys { used, gone });
        }
        for (frontend, auth) in fresh.auths {
            if let Some(relying_party) = self.relying_parties.get(&frontend) {
                relying_party.exchange_auth(auth);
                exchanged.push(Exchanged::ClientAuth(frontend));
            }
        }
        if self.admin_token.exchange(fresh.admin_token) {
            exchanged.push(Exchanged::AdminToken);
        }
        if let Some(connections) = fresh.connections {
            for relying_party in self.relying_parties.values() {
                relying_party.exchange_connections(connections.clone());
            }
            exchanged.push(Exchanged::Roots);
        }
        exchanged.extend(self.upstreams.exchange(fresh.upstreams).into_iter().map(Exchanged::UpstreamTls));
        if let Some((certificate, certified)) = self.certificate.get().zip(fresh.certificate) {
            certificate.exchange(certified);
            exchanged.push(Exchanged::Certificate);
        }
        exchanged
    }
}

/// Notes what was exchanged: `running` is what the next reload compares with. The rest of `newer` is dropped, and the old secrets are
/// wiped.
fn adopt(running: &mut Config, newer: Config) {
    if !running.keys.is_empty() && !newer.keys.is_empty() {
        running.keys = newer.keys;
    }
    for frontend in &mut running.frontends {
        let newer = newer.frontends.iter().find(|newer| newer.id == frontend.id);
        if let Some(auth) = newer.map(|newer| &newer.client.auth).filter(|auth| **auth != ClientAuth::None) {
            frontend.client.auth = auth.clone();
        }
    }
    running.server.admin_token = newer.server.admin_token;
    running.server.ca_pem = newer.server.ca_pem;
    if running.server.tls.is_some() && newer.server.tls.is_some() {
        running.server.tls = newer.server.tls;
    }
}

fn needs_restart(running: &Config, newer: &Config) -> Vec<String> {
    let mut keys = running.given.settled_differences(&newer.given);
    if running.keys.is_empty() != newer.keys.is_empty() {
        keys.push("keys.master".to_owned());
    }
    if running.server.tls.is_some() != newer.server.tls.is_some() {
        keys.push("server.tls".to_owned());
    }
    let became_public = auths(running, newer).filter(|(_, was, is)| was != is && **is == ClientAuth::None);
    keys.extend(became_public.map(|(id, ..)| format!("frontends.{id}.client_auth.secret")));
    keys
}

/// The frontends of both configurations: the name, and how each proves who it is.
fn auths<'a>(
    running: &'a Config,
    newer: &'a Config,
) -> impl Iterator<Item = (&'a str, &'a ClientAuth, &'a ClientAuth)> {
    let find = |id: &str| newer.frontends.iter().find(|frontend| frontend.id == id);
    running.frontends.iter().filter_map(move |was| {
        let is = find(&was.id)?;
        Some((was.id.as_str(), &was.client.auth, &is.client.auth))
    })
}

/// What trusts the newer roots. Whom nobody may call stays as it was.
fn roots(running: &Config, newer: &Config) -> Result<(Arc<rustls::ClientConfig>, Connections), ReloadError> {
    let tls =
        tls::client_config(newer.server.ca_pem.as_deref()).map_err(|error| ReloadError::Tls(error.to_string()))?;
    let denied = DeniedAddresses::new(&running.server.denied_addresses);
    let connections = ProviderHttp::connections(&tls, denied).map_err(|error| ReloadError::Tls(error.to_string()))?;
    Ok((tls, connections))
}

/// Whether a route still names these files. Those that none names may be gone, and are not read again.
fn still_says(newer: &Config, says: &UpstreamTls) -> bool {
    newer.frontends.iter().flat_map(|frontend| &frontend.routes).any(|route| route.upstream_tls == *says)
}

fn certified(files: &Tls) -> Result<CertifiedKey, ReloadError> {
    tls::certified_key(&files.cert, &files.key).map_err(|error| ReloadError::Certificate(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::LoadOptions;
    use crate::store::MasterKey;

    const SECRET: &str = "client_auth = { secret = 'a secret' }";

    fn config(frontend: &str, keys: &str) -> Config {
        let toml = format!(
            "keys.master = {keys}\nstore.url = 'memory:'\nproviders.corp.issuer = 'https://id.example'\n\
             [frontends.shop]\nurl = 'https://shop.example'\nclient_id = 'shop'\n{frontend}"
        );
        Config::load(&LoadOptions::default().toml("cloakroom.toml", toml))
            .unwrap_or_else(|findings| panic!("{findings}"))
    }

    fn key(byte: u8) -> String {
        format!("['{}']", MasterKey::from_bytes([byte; 32]).to_base64url().expose())
    }

    async fn start(config: Config) -> Cloakroom {
        Cloakroom::builder(config).build().await.unwrap()
    }

    #[tokio::test]
    async fn a_client_does_not_become_public() {
        let cloakroom = start(config(SECRET, &key(1))).await;
        let reloaded = cloakroom.reload(config("allow_public_client = true", &key(1))).unwrap();
        assert_eq!(reloaded.exchanged, []);
        assert_eq!(reloaded.needs_restart, ["frontends.shop.allow_public_client", "frontends.shop.client_auth.secret"]);
        assert!(cloakroom.reload(config(SECRET, &key(1))).unwrap().exchanged.is_empty(), "the secret was kept");
    }

    #[tokio::test]
    async fn how_a_secret_is_sent_may_change() {
        let cloakroom = start(config(SECRET, &key(1))).await;
        let post = "client_auth = { secret = 'a secret', method = 'client_secret_post' }";
        let reloaded = cloakroom.reload(config(post, &key(1))).unwrap();
        assert_eq!(
            (reloaded.exchanged, reloaded.needs_restart),
            (vec![Exchanged::ClientAuth("shop".to_owned())], vec![])
        );
    }

    #[tokio::test]
    async fn a_root_that_cannot_be_used_leaves_the_keys_as_they_were() {
        let cloakroom = start(config(SECRET, &key(1))).await;
        let mut newer = config(SECRET, &key(2));
        newer.server.ca_pem =
            Some(b"-----BEGIN CERTIFICATE-----\naGVsbG8=\n-----END CERTIFICATE-----\n".as_slice().into());
        let before = cloakroom.live.key_ids();
        assert!(matches!(cloakroom.reload(newer), Err(ReloadError::Tls(_))));
        assert_eq!(cloakroom.live.key_ids(), before);
    }

    #[tokio::test]
    async fn a_frontend_that_is_new_or_gone_is_named() {
        let cloakroom = start(config(SECRET, &key(1))).await;
        let other =
            format!("{SECRET}\n[frontends.admin]\nurl = 'https://admin.example'\nclient_id = 'admin'\n{SECRET}");
        let reloaded = cloakroom.reload(config(&other, &key(1))).unwrap();
        assert_eq!(reloaded.needs_restart, ["frontends.admin.client_id", "frontends.admin.url"]);
    }
}
