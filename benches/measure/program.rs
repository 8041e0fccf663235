//! A Cloakroom in this process over the store that is measured, with everything around it: how the number of sessions is felt by
//! somebody who calls an API.

use std::sync::Arc;
use std::time::Duration;

use cloakroom::Cloakroom;
use cloakroom::config::{Config, LoadOptions};
use cloakroom::demo::idp::{DevProvider, SigningAlgorithm};
use cloakroom::store::SessionBackend;
use tokio::net::TcpListener;

use crate::Done;
use crate::browser::{Browsers, Session};
use crate::neighbours::{self, CLIENT_ID, CLIENT_SECRET};
use crate::samples::{Samples, during};

pub(crate) struct Program {
    browsers: Browsers,
    sessions: Arc<[Session]>,
    _provider: DevProvider,
}

impl Program {
    /// Starts everything and logs some people in.
    pub(crate) async fn start(backend: Arc<dyn SessionBackend>) -> Done<Self> {
        let [listener, provider, api] = [listen().await?, listen().await?, listen().await?];
        let url = format!("http://localhost:{}", listener.local_addr()?.port());
        let upstream = format!("http://{}", api.local_addr()?);
        neighbours::serve_api(api);
        let provider = neighbours::provider(provider, &url, SigningAlgorithm::ES256, Duration::from_hours(24))?;
        let config = config(&url, provider.issuer(), &upstream)?;
        let built = Cloakroom::builder(config).backend(backend).build().await?;
        tokio::spawn(built.serve(listener, None, std::future::pending()));
        let mut browsers = Browsers::new(&url)?;
        browsers.sign_on().await?;
        let mut sessions = Vec::new();
        for _ in 0..SESSIONS {
            sessions.push(browsers.log_in().await?);
        }
        Ok(Self { browsers, sessions: sessions.into(), _provider: provider })
    }

    /// Calls an API, each time as another of the people.
    pub(crate) async fn calls(&self, length: Duration) -> Done<Samples> {
        let (browsers, sessions) = (self.browsers.clone(), Arc::clone(&self.sessions));
        let calls = move |random: u64| {
            let (browsers, sessions) = (browsers.clone(), Arc::clone(&sessions));
            async move {
                let nth = usize::try_from(random).unwrap_or_default() % sessions.len();
                browsers.call(&sessions[nth]).await
            }
        };
        during(1, length, calls).await
    }
}

async fn listen() -> Done<TcpListener> {
    Ok(TcpListener::bind("127.0.0.1:0").await?)
}

fn config(url: &str, issuer: &str, api: &str) -> Done<Config> {
    let variables = [
        ("CLOAKROOM_URL", url),
        ("CLOAKROOM_ISSUER", issuer),
        ("CLOAKROOM_CLIENT_ID", CLIENT_ID),
        ("CLOAKROOM_CLIENT_SECRET", CLIENT_SECRET),
        ("CLOAKROOM_ID_TOKEN_ALG", "ES256"),
        ("CLOAKROOM_SCOPES", "openid profile email offline_access"),
        ("CLOAKROOM_ROUTES", &format!("/api={api}")),
        ("CLOAKROOM__SERVER__LOGIN_RATE", "off"),
        ("CLOAKROOM_STORE", "memory:"), // instead of which the builder gets ours
    ];
    let sources =
        variables.into_iter().fold(LoadOptions::default(), |sources, (name, value)| sources.variable(name, value));
    Config::load(&sources).map_err(|findings| findings.to_string().into())
}

/// So many that no call finds the row of the one before.
const SESSIONS: usize = 64;
