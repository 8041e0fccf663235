//! Somebody who talks to a provider as a client and as a browser does, one request at a time.

use std::collections::HashMap;

use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, LOCATION, SET_COOKIE};
use http::{HeaderMap, StatusCode};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder};
use serde_json::Value;

use super::super::*;
use crate::clock::{ManualClock, Timestamp};

pub(super) const REDIRECT: &str = "http://localhost:1/bff/callback";
pub(super) const AFTER_LOGOUT: &str = "http://localhost:1/bff/logged-out";
pub(super) const SECRET: &str = "s+c:r%t ü";
pub(super) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";

/// A provider with one confidential client, `shop`.
pub(super) struct World {
    pub(super) provider: DevProvider,
    pub(super) clock: ManualClock,
    pub(super) http: Client,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// Where it redirects to: the URL without query, and the parameters.
    pub(super) fn location(&self) -> (String, HashMap<String, String>) {
        let mut url = Url::parse(self.headers[LOCATION].to_str().unwrap()).unwrap();
        let parameters = url.query_pairs().into_owned().collect();
        url.set_query(None);
        (url.into(), parameters)
    }

    /// The cookie it sets, as it is sent back.
    pub(super) fn cookie(&self) -> String {
        self.headers[SET_COOKIE].to_str().unwrap().split(';').next().unwrap().to_owned()
    }
}

impl World {
    pub(super) async fn new() -> Self {
        let clock = ManualClock::at(Timestamp::from_unix_seconds(1_700_000_000));
        let url = |text| Url::parse(text).unwrap();
        let options = DevProviderOptions {
            clients: vec![DevClient::new("shop", SECRET, &url(REDIRECT), &url(AFTER_LOGOUT))],
            clock: Arc::new(clock.clone()),
            ..DevProviderOptions::default()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        // Whoever comes first; the second one is told that it is there.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let http = Client::builder().redirect(Policy::none()).no_proxy().build().unwrap();
        Self { provider: DevProvider::start(listener, options), clock, http }
    }

    pub(super) fn url(&self, path: &str) -> Url {
        Url::parse(self.provider.issuer()).unwrap().join(path).unwrap()
    }

    pub(super) async fn get(&self, path: &str, cookie: &str) -> Answer {
        send(self.http.get(self.url(path)).header(COOKIE, cookie)).await.unwrap()
    }

    /// Posts a form; `authorization` may be empty.
    pub(super) async fn post(
        &self,
        path: &str,
        form: &[(&str, &str)],
        authorization: &str,
    ) -> Result<Answer, reqwest::Error> {
        let request = self.form(path, form);
        send(if authorization.is_empty() { request } else { request.header(AUTHORIZATION, authorization) }).await
    }

    fn form(&self, path: &str, form: &[(&str, &str)]) -> RequestBuilder {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        self.http.post(self.url(path)).body(body).header(CONTENT_TYPE, "application/x-www-form-urlencoded")
    }

    pub(super) async fn post_with_cookie(&self, path: &str, form: &[(&str, &str)], cookie: &str) -> Answer {
        send(self.form(path, form).header(COOKIE, cookie)).await.unwrap()
    }

    /// `/authorize` with a good request, some parameters of which are replaced (or, with an empty value, left out).
    pub(super) async fn authorize(&self, changes: &[(&str, &str)]) -> Answer {
        self.authorize_with(changes, "").await
    }

    pub(super) async fn authorize_with(&self, changes: &[(&str, &str)], cookie: &str) -> Answer {
        let challenge = keys::s256(VERIFIER);
        let good = [
            ("client_id", "shop"),
            ("redirect_uri", REDIRECT),
            ("response_type", "code"),
            ("scope", "openid profile email offline_access"),
            ("state", "the state"),
            ("nonce", "n-0"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        let kept = good.iter().filter(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
        let added = changes.iter().filter(|(_, value)| !value.is_empty());
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(kept.chain(added)).finish();
        self.get(&format!("/authorize?{query}"), cookie).await
    }

    /// Logs in by the form of a login page.
    pub(super) async fn sign_in(&self, page: &Answer, username: &str, password: &str) -> Answer {
        let after = page.body.split("name=\"request\" value=\"").nth(1).unwrap();
        let handle = after.split('"').next().unwrap();
        let form = [("request", handle), ("username", username), ("password", password)];
        self.post("/login", &form, "").await.unwrap()
    }

    /// Confirms the second factor by the form of its page.
    pub(super) async fn confirm(&self, page: &Answer) -> Answer {
        let after = page.body.split("name=\"request\" value=\"").nth(1).unwrap();
        self.post("/second-factor", &[("request", after.split('"').next().unwrap())], "").await.unwrap()
    }

    pub(super) async fn code(&self) -> String {
        let page = self.authorize(&[]).await;
        self.sign_in(&page, "alice", "alice").await.location().1["code"].clone()
    }

    pub(super) async fn redeem(&self, code: &str, verifier: &str) -> Answer {
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", REDIRECT),
            ("code_verifier", verifier),
        ];
        self.token(&form).await.unwrap()
    }

    /// A whole login: the token response.
    pub(super) async fn tokens(&self) -> Value {
        let answer = self.redeem(&self.code().await, VERIFIER).await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        answer.json()
    }

    pub(super) async fn refresh(&self, refresh_token: &Value) -> Result<Answer, reqwest::Error> {
        let form = [("grant_type", "refresh_token"), ("refresh_token", refresh_token.as_str().unwrap())];
        self.token(&form).await
    }

    pub(super) async fn userinfo(&self, access_token: &Value) -> Answer {
        let bearer = format!("Bearer {}", access_token.as_str().unwrap());
        self.post("/userinfo", &[], &bearer).await.unwrap()
    }

    async fn token(&self, form: &[(&str, &str)]) -> Result<Answer, reqwest::Error> {
        let credentials = [("client_id", "shop"), ("client_secret", SECRET)];
        self.post("/token", &[form, &credentials].concat(), "").await
    }
}

/// The claims of a JWT, unchecked.
pub(super) fn claims(jwt: &Value) -> Value {
    use base64::Engine as _;
    let payload = jwt.as_str().unwrap().split('.').nth(1).unwrap();
    serde_json::from_slice(&base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

async fn send(request: RequestBuilder) -> Result<Answer, reqwest::Error> {
    let answer = request.send().await?;
    Ok(Answer { status: answer.status(), headers: answer.headers().clone(), body: answer.text().await? })
}
