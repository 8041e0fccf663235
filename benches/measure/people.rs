//! `measure browsers URL PROVIDER API ALG SECONDS`: people at the Cloakroom that runs, or will run, at URL, and what they need:
//! the development provider (port PROVIDER; ID tokens signed with ALG; access tokens that live SECONDS) and an API (port API).
//!
//! ```text
//! login COUNT TASKS    that many logins, as many at a time as there are tasks
//! storm CALLS          waits until every access token has run out; then so many calls at once in every session, and the same again
//!                      with the new tokens: {"due": …, "fresh": …, "sessions": …, "grants": …}; times count from the first call
//! connect COUNT        opens connections, makes one call on each, and keeps them
//! events COUNT         opens streams of `/bff/events` on connections of their own, for the sessions in turn, and keeps them
//! ```

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use cloakroom::demo::idp::{DevProvider, SigningAlgorithm};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::Done;
use crate::browser::{self, Browsers, Session};
use crate::neighbours;
use crate::samples::Samples;

pub(crate) struct People {
    browsers: Browsers,
    frontend: SocketAddr,
    provider: DevProvider,
    access_tokens_live: Duration,
    /// When the youngest access token was received, at the latest.
    received_at: Instant,
    signed_on: bool,
    sessions: Vec<Session>,
    kept: Vec<TcpStream>,
}

impl People {
    pub(crate) async fn start([url, provider, api, algorithm, lifetime]: [&str; 5]) -> Done<Self> {
        let algorithm = match algorithm {
            "RS256" => SigningAlgorithm::RS256,
            "ES256" => SigningAlgorithm::ES256,
            _ => return Err("the algorithm is RS256 or ES256".into()),
        };
        let access_tokens_live = Duration::from_secs(lifetime.parse()?);
        neighbours::serve_api(TcpListener::bind((Ipv4Addr::LOCALHOST, api.parse()?)).await?);
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, provider.parse()?)).await?;
        Ok(Self {
            browsers: Browsers::new(url)?,
            frontend: browser::address(url)?,
            provider: neighbours::provider(listener, url, algorithm, access_tokens_live)?,
            access_tokens_live,
            received_at: Instant::now(),
            signed_on: false,
            sessions: Vec::new(),
            kept: Vec::new(),
        })
    }

    pub(crate) async fn told(&mut self, words: &[&str]) -> Done<Value> {
        match *words {
            ["login", count, tasks] => Ok(self.log_in(count.parse()?, tasks.parse()?).await?.json()),
            ["storm", calls] => self.storm(calls.parse()?).await,
            ["connect", count] => {
                let user = "/bff/user HTTP/1.1\r\nX-CSRF: 1\r\n".to_owned();
                self.connect(count.parse()?, |_| user.clone(), "\r\n\r\n").await
            }
            ["events", count] => {
                let everybody = self.sessions.clone();
                let events = |nth: usize| {
                    let cookie = String::from_utf8_lossy(everybody[nth % everybody.len()].as_bytes()).into_owned();
                    format!("/bff/events HTTP/1.1\r\nSec-Fetch-Site: same-origin\r\nCookie: {cookie}\r\n")
                };
                self.connect(count.parse()?, events, "event: session").await
            }
            _ => Err("unknown command".into()),
        }
    }

    async fn log_in(&mut self, count: usize, tasks: usize) -> Done<Samples> {
        if !self.signed_on {
            self.browsers.sign_on().await?;
            self.signed_on = true;
        }
        let started = Instant::now();
        let logins = (0..count).map(|_| async {
            let before = Instant::now();
            Done::Ok((self.browsers.log_in().await?, before.elapsed()))
        });
        let logins: Vec<_> = stream::iter(logins).buffer_unordered(tasks).try_collect().await?;
        let took = started.elapsed();
        let (sessions, durations): (Vec<_>, Vec<_>) = logins.into_iter().unzip();
        self.sessions.extend(sessions);
        self.received_at = Instant::now();
        Ok(Samples::new(durations, took))
    }

    async fn storm(&mut self, calls: usize) -> Done<Value> {
        tokio::time::sleep_until(self.received_at + self.access_tokens_live + SECOND).await;
        let before = self.grants();
        let due = self.burst(calls).await?;
        self.received_at = Instant::now();
        let grants = self.grants() - before;
        let fresh = self.burst(calls).await?;
        if self.grants() - before != grants {
            return Err("tokens ran out too early".into());
        }
        Ok(json!({ "due": due.json(), "fresh": fresh.json(), "sessions": self.sessions.len(), "grants": grants }))
    }

    /// Every call of every session at once.
    async fn burst(&self, calls: usize) -> Done<Samples> {
        let started = Instant::now();
        let everybody: Arc<[Session]> = self.sessions.clone().into();
        let asked = (0..everybody.len() * calls).map(|nth| {
            let (browsers, everybody) = (self.browsers.clone(), Arc::clone(&everybody));
            tokio::spawn(async move {
                browsers.call(&everybody[nth % everybody.len()]).await?;
                Done::Ok(started.elapsed())
            })
        });
        let asked: Vec<_> = asked.collect();
        let mut durations = Vec::new();
        for call in asked {
            durations.push(call.await??);
        }
        Ok(Samples::new(durations, started.elapsed()))
    }

    /// Refresh tokens exchanged so far, or tried.
    fn grants(&self) -> usize {
        self.provider.calls().iter().filter(|call| call.form_value("grant_type") == Some("refresh_token")).count()
    }

    /// `call` is the head of the nth request from its path on, and `until` what its answer is read for.
    async fn connect(&mut self, count: usize, call: impl Fn(usize) -> String, until: &str) -> Done<Value> {
        for nth in 0..count {
            let request = format!("GET {}Host: localhost:{}\r\n\r\n", call(nth), self.frontend.port());
            let mut connection = TcpStream::connect(self.frontend).await?;
            connection.write_all(request.as_bytes()).await?;
            let (mut answer, mut come) = ([0; 4096], String::new());
            while !come.contains(until) {
                let read = connection.read(&mut answer).await?;
                come += &String::from_utf8_lossy(&answer[..read]);
                if read == 0 || !come.starts_with("HTTP/1.1 200") {
                    return Err(format!("an answer begins with {come:?}").into());
                }
            }
            self.kept.push(connection);
        }
        Ok(json!({ "open": self.kept.len() }))
    }
}

/// Tokens count whole seconds.
const SECOND: Duration = Duration::from_secs(1);
