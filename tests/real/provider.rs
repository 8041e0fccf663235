//! A provider: `provider.mjs` as a process, started, asked what it saw, stopped, started again; or the development provider.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use cloakroom::demo::idp::{DevClient, DevProvider, DevProviderOptions, USERS};
use http::header;
use serde_json::Value;
use tokio::net::TcpListener;
use url::{Url, form_urlencoded};

use crate::browser::client;
use crate::process::Process;
use crate::{LIMIT, POLL, eventually, free_port};

/// What the provider is, what it knows of its client, and how it behaves.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) software: Software,
    pub(crate) client_id: String,
    /// What Cloakroom is given.
    pub(crate) client_secret: String,
    /// What the provider expects.
    pub(crate) secret_at_the_provider: String,
    pub(crate) signed_userinfo: bool,
    /// Whether the provider takes the person's consent for given.
    pub(crate) given_consent: bool,
    /// In seconds.
    pub(crate) access_token_lifetime: u32,
    /// The same for tokens that come from a refresh; none: no difference.
    pub(crate) refreshed_lifetime: Option<u32>,
    /// For how many seconds a refresh token that was rotated may come again. 0: a second use ends the grant.
    pub(crate) reuse_grace: u32,
    /// Whether, and how, the client is told of logouts at the provider.
    pub(crate) tells_of_logouts: Option<Tells>,
}

/// Who made it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Software {
    /// npm `oidc-provider`. Lets everybody in, by any name.
    OidcProvider,
    /// Ours, which is not told more of how to behave than its client and [`Tells`]. It cannot be asked for events.
    Development,
}

/// Whom its logout tokens name.
#[derive(Clone, Copy)]
pub(crate) enum Tells {
    /// The session and its subject.
    Sid,
    /// The subject alone.
    Subject,
}

impl Default for Settings {
    /// A client whose id and secret change if they are not encoded as RFC 6749 §2.3.1 says.
    fn default() -> Self {
        let secret = "s3cr%t+:/&?= ~\"x".to_owned();
        Self {
            software: Software::OidcProvider,
            client_id: "shop:one+two%".to_owned(),
            client_secret: secret.clone(),
            secret_at_the_provider: secret,
            signed_userinfo: false,
            given_consent: false,
            access_token_lifetime: 300,
            refreshed_lifetime: None,
            reuse_grace: 0,
            tells_of_logouts: None,
        }
    }
}

/// A provider at a fixed port of its own, up or down.
pub(crate) struct Provider {
    pub(crate) settings: Settings,
    pub(crate) issuer: String,
    client_url: String,
    port: u16,
    running: Option<Running>,
}

enum Running {
    Process(Process),
    Development { _runs: DevProvider },
}

impl Provider {
    /// A provider that is not there yet; its client will be at `client_url`.
    pub(crate) fn down(settings: Settings, client_url: &str) -> Self {
        let port = free_port();
        let issuer = format!("http://127.0.0.1:{port}");
        Self { settings, issuer, client_url: client_url.to_owned(), port, running: None }
    }

    /// The same, reached through something else at `address`. The development provider takes its name from where it listens, and
    /// nothing can stand before it.
    pub(crate) fn behind(mut self, address: SocketAddr) -> Self {
        if self.settings.software == Software::OidcProvider {
            self.issuer = format!("http://{address}");
        }
        self
    }

    /// Where it really listens.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))
    }

    pub(crate) async fn come_up(&mut self) {
        match self.settings.software {
            Software::OidcProvider => self.start_process().await,
            Software::Development => {
                let listener = TcpListener::bind(self.address()).await.expect("the port is ours");
                let options = DevProviderOptions { clients: vec![self.client()], ..DevProviderOptions::default() };
                self.running = Some(Running::Development { _runs: DevProvider::start(listener, options) });
            }
        }
    }

    fn client(&self) -> DevClient {
        let at = |path| Url::parse(&format!("{}/bff/{path}", self.client_url)).expect("a URL");
        let Settings { client_id, secret_at_the_provider: secret, .. } = &self.settings;
        let mut client = DevClient::new(client_id, secret, &at("callback"), &at("logged-out"));
        if let Some(tells) = self.settings.tells_of_logouts {
            client = client.told_of_logouts_at(&at("backchannel-logout"));
            client.backchannel_logout_session_required = matches!(tells, Tells::Sid);
        }
        client
    }

    async fn start_process(&mut self) {
        // Now and then a Node that starts beside others never says a word; the next one does.
        for _ in 0..STARTS {
            let mut process = Process::start(&mut self.command());
            let (lines, started) = (process.lines().clone(), Instant::now());
            while started.elapsed() < LIMIT / 2 {
                if events(&lines.all()).any(|event| event["event"] == "ready") {
                    self.running = Some(Running::Process(process));
                    return;
                }
                assert!(!process.is_over(), "the provider ends (`npm ci` in tests/real?):\n{}", lines.all().join("\n"));
                tokio::time::sleep(POLL).await;
            }
        }
        panic!("the provider does not come up");
    }

    fn command(&self) -> Command {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/real");
        let userinfo = if self.settings.signed_userinfo { "signed" } else { "json" };
        let refreshed = self.settings.refreshed_lifetime.unwrap_or(self.settings.access_token_lifetime);
        let mut command = Command::new("node");
        if let Some(tells) = self.settings.tells_of_logouts {
            command.env("BACKCHANNEL", if matches!(tells, Tells::Sid) { "sid" } else { "sub" });
        }
        command
            .arg("provider.mjs")
            .current_dir(here)
            .env("PORT", self.port.to_string())
            .env("ISSUER", &self.issuer)
            .env("CLIENT_URL", &self.client_url)
            .env("CLIENT_ID", &self.settings.client_id)
            .env("CLIENT_SECRET", &self.settings.secret_at_the_provider)
            .env("USERINFO", userinfo)
            .env("CONSENT", if self.settings.given_consent { "given" } else { "ask" })
            .env("AT_TTL", self.settings.access_token_lifetime.to_string())
            .env("AT_TTL_REFRESHED", refreshed.to_string())
            .env("REUSE_GRACE", self.settings.reuse_grace.to_string());
        command
    }

    /// Ends it; its port answers nobody.
    pub(crate) fn go_down(&mut self) {
        self.running = None;
    }

    /// The `sub` of who logs in by this name.
    pub(crate) fn subject<'a>(&self, user: &'a str) -> &'a str {
        match self.settings.software {
            Software::OidcProvider => user,
            Software::Development => USERS.iter().find(|known| known.username == user).expect("it knows them").subject,
        }
    }

    /// Where people log out at the provider itself.
    pub(crate) fn end_session_url(&self) -> String {
        let path = if self.settings.software == Software::OidcProvider { "session/end" } else { "end_session" };
        format!("{}/{path}", self.issuer)
    }

    /// Everything of this kind since it came up.
    pub(crate) fn events(&self, kind: &str) -> Vec<Value> {
        let Some(Running::Process(process)) = &self.running else { panic!("no process is up that could tell") };
        events(&process.lines().all()).filter(|event| event["event"] == kind).collect()
    }

    /// Waits until there are `count` events of this kind and says them.
    pub(crate) async fn wait_for(&self, kind: &str, count: usize) -> Vec<Value> {
        eventually(kind, || Some(self.events(kind)).filter(|events| events.len() >= count)).await
    }

    /// How often a refresh token was exchanged.
    pub(crate) fn refreshes(&self) -> usize {
        self.events("grant").iter().filter(|grant| grant["grant_type"] == "refresh_token").count()
    }

    /// How often it was asked to revoke a token.
    pub(crate) fn revocations(&self) -> usize {
        self.events("request").iter().filter(|request| request["path"] == "/token/revocation").count()
    }

    /// Tries a refresh token, past everything that stands before the provider: `200`, or the error's code.
    pub(crate) async fn redeem(&self, refresh_token: &str) -> String {
        let form = form_urlencoded::Serializer::new(String::new())
            .append_pair("grant_type", "refresh_token")
            .append_pair("refresh_token", refresh_token)
            .finish();
        let encoded = |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let answer = client()
            .post(format!("http://{}/token", self.address()))
            .basic_auth(encoded(&self.settings.client_id), Some(encoded(&self.settings.client_secret)))
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form)
            .send()
            .await
            .expect("the provider answers");
        let status = answer.status();
        let told: Value = serde_json::from_str(&answer.text().await.expect("the answer is text")).expect("it is JSON");
        told["error"].as_str().map_or_else(|| status.as_u16().to_string(), str::to_owned)
    }

    /// Every token that left the provider, oldest first.
    pub(crate) fn issued(&self, kind: &str) -> Vec<String> {
        self.events("grant").iter().filter_map(|grant| Some(grant["issued"][kind].as_str()?.to_owned())).collect()
    }
}

fn events(lines: &[String]) -> impl Iterator<Item = Value> {
    lines.iter().filter_map(|line| serde_json::from_str(line).ok())
}

const STARTS: u32 = 4;
