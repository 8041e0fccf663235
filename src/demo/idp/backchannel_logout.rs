//! OIDC Back-Channel Logout 1.0 from the provider's side: right logout tokens for all clients of a session that ends, and any wrong
//! one by hand.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, header};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Map, Value, json};
use url::form_urlencoded;

use super::state::SignOnSession;
use super::{DevClient, DevProvider, Inner, keys};
use crate::demo::faults::Fault;
use crate::demo::lock;
use crate::secret;

/// A logout token in the making (§2.4): a right one unless it is told otherwise, apart from naming nobody yet.
#[derive(Clone)]
pub struct LogoutToken<'a> {
    inner: &'a Inner,
    client: DevClient,
    typ: Option<String>,
    claims: Map<String, Value>,
    signature: LogoutSignature,
}

/// How a logout token is signed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogoutSignature {
    /// As the client's ID tokens are.
    #[default]
    Right,
    /// The same, without a `kid`.
    WithoutKid,
    /// The same, under a `kid` that is never published.
    UnknownKid,
    /// One bit is flipped.
    Flipped,
    /// `alg` is `none`, and there is no signature.
    Unsigned,
    /// HS256 with the client's secret.
    Symmetric,
    /// With the provider's key of another algorithm, as published.
    OtherAlgorithm,
}

/// A logout token that was sent to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogoutDelivery {
    /// To whom.
    pub client_id: String,
    /// What it answered; none if it did not.
    pub status: Option<u16>,
}

impl DevProvider {
    /// A logout token for a client, to be changed and posted by hand.
    ///
    /// # Panics
    /// If nobody is registered by that id.
    pub fn logout_token(&self, client_id: &str) -> LogoutToken<'_> {
        let client = lock(&self.inner.memory).client(client_id).cloned();
        LogoutToken::of(&self.inner, client.unwrap_or_else(|| panic!("no client is called {client_id}")))
    }

    /// Ends all single sign-on sessions of a subject and tells the clients, as an administrator does.
    pub async fn log_out(&self, subject: &str) -> Vec<LogoutDelivery> {
        let ended = lock(&self.inner.memory).end_sessions(|_, session| session.user.subject == subject);
        self.inner.tell_clients(&ended).await
    }

    /// Ends one single sign-on session and tells the clients.
    pub async fn log_out_session(&self, sid: &str) -> Vec<LogoutDelivery> {
        let ended = lock(&self.inner.memory).end_sessions(|_, session| session.sid == sid);
        self.inner.tell_clients(&ended).await
    }

    /// The `sid`s of a subject's single sign-on sessions that live now, in no particular order.
    pub fn sids_of(&self, subject: &str) -> Vec<String> {
        let memory = lock(&self.inner.memory);
        let sessions = memory.sessions.values().filter(|session| session.user.subject == subject);
        sessions.map(|session| session.sid.clone()).collect()
    }
}

impl<'a> LogoutToken<'a> {
    fn of(inner: &'a Inner, client: DevClient) -> Self {
        let now = inner.clock.now();
        let claims = json!({
            "iss": inner.issuer,
            "aud": client.client_id,
            "iat": now.unix_seconds(),
            "exp": (now + LIFETIME).unix_seconds(),
            "jti": secret::random_token().expose(),
            "events": { EVENT: {} },
        });
        let Value::Object(claims) = claims else { unreachable!("it is written as an object") };
        Self { inner, client, typ: Some("logout+jwt".to_owned()), claims, signature: LogoutSignature::Right }
    }

    /// Names a subject.
    #[must_use]
    pub fn subject(self, subject: &str) -> Self {
        self.claim("sub", json!(subject))
    }

    /// Names a session.
    #[must_use]
    pub fn sid(self, sid: &str) -> Self {
        self.claim("sid", json!(sid))
    }

    /// Sets any claim.
    #[must_use]
    pub fn claim(mut self, name: &str, value: Value) -> Self {
        self.claims.insert(name.to_owned(), value);
        self
    }

    /// Leaves a claim out.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.claims.remove(name);
        self
    }

    /// Sets the `typ` header, or leaves it out.
    #[must_use]
    pub fn typ(mut self, typ: Option<&str>) -> Self {
        self.typ = typ.map(str::to_owned);
        self
    }

    /// Signs it so.
    #[must_use]
    pub fn signed(mut self, signature: LogoutSignature) -> Self {
        self.signature = signature;
        self
    }

    /// The token. It counts as issued: nobody may log it.
    pub fn to_jwt(&self) -> String {
        let jwt = self.sign();
        lock(&self.inner.memory).remember_issued(&jwt);
        jwt
    }

    fn sign(&self) -> String {
        use LogoutSignature::{Flipped, OtherAlgorithm, Symmetric, UnknownKid, Unsigned, WithoutKid};
        let (keys, claims) = (self.inner.keys(), Value::Object(self.claims.clone()));
        let algorithm = match self.signature {
            OtherAlgorithm => self.client.id_token_alg.other(),
            _ => self.client.id_token_alg,
        };
        match self.signature {
            Unsigned => return keys::jws(&self.header("none", None), &claims, |_| Vec::new()),
            Symmetric => {
                let secret = self.client.client_secret.as_deref().unwrap_or_default();
                return keys::jws(&self.header("HS256", None), &claims, |input| keys::hs256(secret, input));
            }
            _ => {}
        }
        let kid = match self.signature {
            WithoutKid => None,
            UnknownKid => Some("never-published".to_owned()),
            _ => Some(keys.kid(algorithm)),
        };
        keys::jws(&self.header(algorithm.name(), kid), &claims, |input| {
            let mut signature = keys.sign(algorithm, input);
            signature[0] ^= u8::from(self.signature == Flipped);
            signature
        })
    }

    fn header(&self, algorithm: &str, kid: Option<String>) -> Value {
        let mut header = Map::from_iter([("alg".to_owned(), json!(algorithm))]);
        header.extend(self.typ.clone().map(|typ| ("typ".to_owned(), json!(typ))));
        header.extend(kid.map(|kid| ("kid".to_owned(), json!(kid))));
        Value::Object(header)
    }
}

impl Inner {
    /// Sends a logout token to every client that saw one of these sessions (§2.5), to all at the same time. A client that does not
    /// answer is given up: nobody's logout waits for it.
    pub(super) async fn tell_clients(&self, ended: &[SignOnSession]) -> Vec<LogoutDelivery> {
        let mut posts = Vec::new();
        for session in ended {
            let clients = lock(&self.memory).forget_clients_of(&session.sid);
            posts.extend(clients.into_iter().filter_map(|client| self.logout_post(client, session)));
        }
        join_all(posts.into_iter().map(|(client_id, post)| async {
            let status = tokio::time::timeout(PATIENCE, post_form(post)).await.ok().flatten();
            if status != Some(200) {
                tracing::warn!(client_id, status, "a client did not take its logout token");
            }
            LogoutDelivery { client_id, status }
        }))
        .await
    }

    /// For whom, and what to post; nothing for a client that did not register for it.
    fn logout_post(&self, client: DevClient, session: &SignOnSession) -> Option<(String, Request<Full<Bytes>>)> {
        let (uri, client_id) = (client.backchannel_logout_uri.clone()?, client.client_id.clone());
        let names_the_session = client.backchannel_logout_session_required;
        let mut token = LogoutToken::of(self, client).subject(session.user.subject);
        if names_the_session {
            token = token.sid(&session.sid);
        }
        if self.faults.is(Fault::LogoutTokenWithoutSubject) {
            token = token.without("sub");
        }
        let form =
            form_urlencoded::Serializer::new(String::new()).append_pair("logout_token", &token.to_jwt()).finish();
        let post = Request::post(uri).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        Some((client_id, post.body(Full::from(form)).ok()?))
    }
}

/// The status of the answer, if there is one. No TLS: this provider stays on loopback.
async fn post_form(post: Request<Full<Bytes>>) -> Option<u16> {
    let http: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    Some(http.request(post).await.ok()?.status().as_u16())
}

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// §4: at most two minutes are recommended.
const LIFETIME: Duration = Duration::from_mins(2);
const PATIENCE: Duration = Duration::from_secs(5);
