//! `cloakroom demo`: a development provider, an echo API, the demo app and Cloakroom itself in one process, on loopback only.
//!
//! They talk real OIDC over real sockets; the provider is on `127.0.0.1` and Cloakroom on `localhost`, which are two *sites* to a
//! browser, as in real life. [`idp`], [`api`] and [`faults`] also serve our tests.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, header};
use tokio::net::TcpListener;

pub mod api;
mod assets;
mod configuration;
pub mod faults;
pub mod idp;
mod listening;
mod ports;

use self::api::{EchoApi, EchoApiOptions};
use self::configuration::Site;
use self::idp::{DevProvider, DevProviderOptions, USERS};
use crate::config::Config;

/// Everything a demo needs but Cloakroom itself: provider and API run, the port is taken, the configuration is made.
pub struct Demo {
    config: Config,
    listener: TcpListener,
    banner: Banner,
    provider: DevProvider,
    api: EchoApi,
}

/// Where the demo listens.
#[derive(Clone, Debug)]
pub struct DemoOptions {
    /// The address of all listeners; anything but loopback is refused.
    pub address: IpAddr,
    /// Port of Cloakroom itself. A taken port is replaced by a free one, here and below.
    pub port: u16,
    /// Port of the development provider.
    pub provider_port: u16,
    /// Port of the echo API.
    pub api_port: u16,
    /// The provider tells of logouts by front-channel instead of back-channel.
    pub frontchannel_logout: bool,
}

impl Default for DemoOptions {
    fn default() -> Self {
        Self {
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 8080,
            provider_port: 9000,
            api_port: 9001,
            frontchannel_logout: false,
        }
    }
}

/// Why there is no demo.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// The address is reachable from elsewhere.
    #[error("{0} is not a loopback address: the demo lets anybody in, so it stays on this machine")]
    NotLoopback(IpAddr),
    /// Neither the wanted port nor any other can be had.
    #[error("cannot listen on {0}")]
    Listen(IpAddr, #[source] io::Error),
}

impl Demo {
    /// Starts provider and API.
    ///
    /// # Errors
    /// `NotLoopback` before anything runs; `Listen` if the address is not there or has no free port.
    pub async fn start(options: DemoOptions) -> Result<Self, DemoError> {
        let address = options.address;
        if !address.is_loopback() {
            return Err(DemoError::NotLoopback(address));
        }
        let mut moved = Vec::new();
        let mut listen = async |port| {
            let (listener, had) = ports::listen(address, port).await.map_err(|e| DemoError::Listen(address, e))?;
            // Port 0 asks for any.
            moved.extend((port != 0 && had.port() != port).then_some((port, had.port())));
            Ok((listener, had))
        };
        let (listener, public) = listen(options.port).await?;
        let (provider, _) = listen(options.provider_port).await?;
        let (api, _) = listen(options.api_port).await?;

        let site = Site::on(public, options.frontchannel_logout);
        let provider =
            DevProvider::start(provider, DevProviderOptions { clients: vec![site.client()], ..Default::default() });
        let api = EchoApi::start(api, EchoApiOptions { introspect: Some(Arc::new(provider.introspection())) });
        let config = site.configuration(&provider, &api);
        let banner =
            Banner { url: site.url().to_string(), provider: provider.issuer().to_owned(), api: api.url(), moved };
        Ok(Self { config, listener, banner, provider, api })
    }

    /// What to tell whoever started it.
    pub fn banner(&self) -> &Banner {
        &self.banner
    }

    /// Runs Cloakroom by `serve` (`app::serve_on`) and answers what it answers; provider and API end with it.
    pub async fn serve<T>(self, serve: impl AsyncFnOnce(Config, TcpListener) -> T) -> T {
        let ended = serve(self.config, self.listener).await;
        self.provider.stop().await;
        self.api.stop().await;
        ended
    }
}

/// Where everything is, and what to try. `Display` is the text for the terminal.
#[derive(Clone, Debug)]
pub struct Banner {
    /// Where to point the browser.
    pub url: String,
    /// The development provider's issuer.
    pub provider: String,
    /// The echo API's base URL.
    pub api: String,
    /// Ports that were taken, each with its replacement.
    pub moved: Vec<(u16, u16)>,
}

impl fmt::Display for Banner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n  Cloakroom demo\n\n  Open      {}", self.url)?;
        let users = USERS.each_ref().map(|user| format!("{0} / {0}", user.username)).join("   or   ");
        writeln!(f, "  Log in    {users}\n")?;
        writeln!(f, "  Try       call the API; open a deep link while logged out; look for a token in the browser;")?;
        writeln!(f, "            open the vault (/api/vault), which asks for a second factor;")?;
        writeln!(f, "            log in with a second browser, and end its session from \"Your sessions\";")?;
        writeln!(f, "            wait two minutes and call again: the access token is renewed behind the counter\n")?;
        writeln!(f, "  Provider  {}   (development only: lets anybody in)", self.provider)?;
        writeln!(f, "  API       {}", self.api)?;
        for (wanted, had) in &self.moved {
            writeln!(f, "  Port      {wanted} is taken; using {had}")?;
        }
        writeln!(f, "\n  Sessions live in memory and are gone when this ends. Ctrl-C ends it.")
    }
}

/// The token of `Authorization: Bearer …` (RFC 6750 §2.1; the scheme in any case).
fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_start_matches(' '))
}

/// A lock whose data is good even if somebody panicked while holding it: every change here is one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_any_port() -> DemoOptions {
        DemoOptions { port: 0, provider_port: 0, api_port: 0, ..DemoOptions::default() }
    }

    #[tokio::test]
    async fn an_address_that_others_reach_is_refused() {
        let options = DemoOptions { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), ..on_any_port() };
        assert!(matches!(Demo::start(options).await, Err(DemoError::NotLoopback(_))));
    }

    #[tokio::test]
    async fn a_taken_port_is_replaced_and_told() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = taken.local_addr().unwrap().port();
        let demo = Demo::start(DemoOptions { port, ..on_any_port() }).await.unwrap();
        assert_eq!(demo.banner().moved[0].0, port);
        assert!(!demo.banner().url.contains(&port.to_string()));
        assert!(demo.banner().to_string().contains(&format!("{port} is taken; using ")));
    }

    #[tokio::test]
    async fn provider_and_app_are_two_sites() {
        let demo = Demo::start(on_any_port()).await.unwrap();
        assert!(demo.banner().url.starts_with("http://localhost:"));
        assert!(demo.banner().provider.starts_with("http://127.0.0.1:"));
    }
}
