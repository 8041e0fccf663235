//! A browser as far as logins go: cookies with their prefixes and SameSite, redirects, Refresh, forms, Fetch Metadata.
//!
//! `tests/it/data/chromium-login.json` is what the real Chromium sent in the same login; `transcript.rs` compares.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use url::{Url, form_urlencoded};

use super::logs;

/// See the module. One browser has one cookie jar and is on one site: `home`.
pub(crate) struct Browser {
    pub(crate) home: Url,
    pub(crate) cookies: Jar,
    /// Everything it asked for, in order.
    pub(crate) history: Vec<Asked>,
    /// What it says it is, if it says so.
    pub(crate) user_agent: Option<&'static str>,
    /// A jar that several tabs use at the same time; `cookies` is then the last it saw.
    shared: Option<Arc<Mutex<Jar>>>,
    pub(crate) http: reqwest::Client,
}

/// A request it made.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
}

/// An answer, where the browser came to rest.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) url: Url,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Page {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("not JSON: {}", self.text()))
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Why it is an error, as the log says.
    pub(crate) fn cause(&self) -> String {
        let id = self.header("x-request-id").expect("every answer has an id");
        logs::cause_of(id).unwrap_or_else(|| panic!("the request {id} is no error in the log"))
    }

    /// The last part of a problem's type.
    pub(crate) fn problem(&self) -> String {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.text());
        let problem = self.json();
        assert_eq!(problem["status"], self.status.as_u16());
        problem["type"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()
    }

    /// The slug an error page shows.
    pub(crate) fn page_slug(&self) -> String {
        assert_eq!(self.header("content-type"), Some("text/html; charset=utf-8"), "{}", self.text());
        let text = self.text();
        let shown = text.split("<dt>Error</dt><dd>").nth(1).unwrap_or_else(|| panic!("no error in {text}"));
        let (status, slug) = shown.split('<').next().unwrap().split_once(' ').unwrap();
        assert_eq!(status, self.status.as_str());
        slug.to_owned()
    }
}

/// Cookies by host and name. Ports do not count, as in browsers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Jar(pub BTreeMap<(String, String), Cookie>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cookie {
    pub(crate) value: String,
    pub(crate) secure: bool,
    pub(crate) http_only: bool,
    pub(crate) same_site: Option<String>,
    pub(crate) path: Option<String>,
    pub(crate) domain: Option<String>,
    pub(crate) max_age: Option<i64>,
}

impl Jar {
    pub(crate) fn names(&self, host: &str) -> Vec<String> {
        self.0.keys().filter(|(of, _)| of == host).map(|(_, name)| name.clone()).collect()
    }

    pub(crate) fn of(&self, host: &str, name: &str) -> Option<&Cookie> {
        self.0.get(&(host.to_owned(), name.to_owned()))
    }

    /// Keeps what a `Set-Cookie` says, if a browser would (RFC 6265bis §5.7).
    fn store(&mut self, url: &Url, header: &str) {
        let mut parts = header.split(';').map(str::trim);
        let (name, value) = parts.next().and_then(|pair| pair.split_once('=')).expect("a cookie has a name");
        let mut cookie = Cookie {
            value: value.to_owned(),
            secure: false,
            http_only: false,
            same_site: None,
            path: None,
            domain: None,
            max_age: None,
        };
        for attribute in parts {
            let (key, value) = attribute.split_once('=').unwrap_or((attribute, ""));
            match key.to_ascii_lowercase().as_str() {
                "secure" => cookie.secure = true,
                "httponly" => cookie.http_only = true,
                "samesite" => cookie.same_site = Some(value.to_owned()),
                "path" => cookie.path = Some(value.to_owned()),
                "domain" => cookie.domain = Some(value.to_owned()),
                "max-age" => cookie.max_age = Some(value.parse().unwrap()),
                other => panic!("unexpected cookie attribute {other}"),
            }
        }
        let host_only = cookie.secure && cookie.domain.is_none() && cookie.path.as_deref() == Some("/");
        let prefix_holds =
            (!name.starts_with("__Host-") || host_only) && (!name.starts_with("__Host-Http-") || cookie.http_only);
        if !prefix_holds || name.len() + value.len() > 4096 {
            return;
        }
        let key = (url.host_str().unwrap().to_owned(), name.to_owned());
        if cookie.max_age.is_some_and(|age| age <= 0) {
            self.0.remove(&key);
        } else {
            self.0.insert(key, cookie);
        }
    }

    pub(crate) fn header(&self, url: &Url, same_site: bool) -> Option<String> {
        let host = url.host_str().unwrap();
        let sent = |cookie: &Cookie| same_site || cookie.same_site.as_deref() != Some("Strict");
        let pairs: Vec<String> = self
            .0
            .iter()
            .filter(|((of, _), cookie)| of == host && sent(cookie))
            .map(|((_, name), cookie)| format!("{name}={}", cookie.value))
            .collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }
}

/// Who starts a navigation.
#[derive(Clone, Debug)]
enum Initiator {
    /// The address bar, a bookmark.
    User,
    /// A page.
    Page(Url),
}

impl Browser {
    pub(crate) fn new(home: &str) -> Self {
        let home = Url::parse(home).unwrap();
        Self { home, cookies: Jar::default(), history: Vec::new(), user_agent: None, shared: None, http: client() }
    }

    /// The same person's browser, with the same cookies: a second tab that acts at the same time.
    pub(crate) fn tab(&self) -> Self {
        let (home, cookies, http) = (self.home.clone(), self.cookies.clone(), self.http.clone());
        Self { home, cookies, history: Vec::new(), user_agent: self.user_agent, shared: None, http }
    }

    /// Uses one jar with other tabs.
    pub(crate) fn share(&mut self, jar: Arc<Mutex<Jar>>) {
        self.shared = Some(jar);
    }

    /// An absolute URL on the home site.
    pub(crate) fn at(&self, path: &str) -> Url {
        if path.starts_with("http") {
            Url::parse(path).unwrap()
        } else {
            Url::parse(&format!("{}{path}", self.origin())).unwrap()
        }
    }

    fn origin(&self) -> String {
        self.home.origin().ascii_serialization()
    }

    /// Types an address.
    pub(crate) async fn open(&mut self, path: &str) -> Page {
        let url = self.at(path);
        self.navigate(Initiator::User, Method::GET, url, None, Follow::All).await
    }

    /// Follows a link on a page of the home site.
    pub(crate) async fn click(&mut self, path: &str) -> Page {
        let (from, url) = (self.home.clone(), self.at(path));
        self.navigate(Initiator::Page(from), Method::GET, url, None, Follow::All).await
    }

    /// Follows a link on somebody else's page.
    pub(crate) async fn click_from(&mut self, from: &str, path: &str) -> Page {
        let url = self.at(path);
        self.navigate(Initiator::Page(Url::parse(from).unwrap()), Method::GET, url, None, Follow::All).await
    }

    /// One step of a navigation from the home site: the answer itself, whatever it is.
    pub(crate) async fn step(&mut self, path: &str) -> Page {
        let (from, url) = (self.home.clone(), self.at(path));
        self.navigate(Initiator::Page(from), Method::GET, url, None, Follow::Nothing).await
    }

    /// The same from somebody else's page.
    pub(crate) async fn step_from(&mut self, from: &str, path: &str) -> Page {
        let url = self.at(path);
        self.navigate(Initiator::Page(Url::parse(from).unwrap()), Method::GET, url, None, Follow::Nothing).await
    }

    /// Goes to `/bff/login` and signs in at the provider; the page it comes to rest on.
    pub(crate) async fn log_in(&mut self, return_to: &str, username: &str) -> Page {
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("return_to", return_to).finish();
        let page = self.click(&format!("/bff/login?{query}")).await;
        self.sign_in(&page, username).await
    }

    /// Fills the provider's form, if there is one to fill.
    pub(crate) async fn sign_in(&mut self, page: &Page, username: &str) -> Page {
        if !page.text().contains("name=\"password\"") {
            return page.clone();
        }
        self.submit(page, &[("username", username), ("password", username)]).await
    }

    /// Signs in, and stops at the callback URL the provider sends the browser to.
    pub(crate) async fn callback_url(&mut self, return_to: &str, username: &str) -> String {
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("return_to", return_to).finish();
        self.callback_url_of(&format!("/bff/login?{query}"), username).await
    }

    /// The same for any login link, with a second factor if the provider asks for one.
    pub(crate) async fn callback_url_of(&mut self, login: &str, username: &str) -> String {
        let mut page = self.click_until_callback(login).await;
        for field in ["name=\"password\"", "/second-factor"] {
            if !page.text().contains(field) {
                continue;
            }
            let (action, form) = form_of(&page, &[("username", username), ("password", username)]);
            let from = Initiator::Page(page.url.clone());
            page = self.navigate(from, Method::POST, action, Some(form), Follow::UntilCallback).await;
        }
        assert_eq!(page.url.path(), "/bff/callback", "{}", page.text());
        page.url.into()
    }

    async fn click_until_callback(&mut self, path: &str) -> Page {
        let (from, url) = (self.home.clone(), self.at(path));
        self.navigate(Initiator::Page(from), Method::GET, url, None, Follow::UntilCallback).await
    }

    /// Submits the first form of a page.
    pub(crate) async fn submit(&mut self, page: &Page, fields: &[(&str, &str)]) -> Page {
        let (action, form) = form_of(page, fields);
        self.navigate(Initiator::Page(page.url.clone()), Method::POST, action, Some(form), Follow::All).await
    }

    /// Posts a form from a page of the home site.
    pub(crate) async fn post_form(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        let (from, url) = (self.home.clone(), self.at(path));
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.navigate(Initiator::Page(from), Method::POST, url, Some(form), Follow::Nothing).await
    }

    /// `fetch` from a page of the home site, with the CSRF header.
    pub(crate) async fn fetch(&mut self, method: Method, path: &str) -> Page {
        self.fetch_with(method, path, &[("x-csrf", "1")], Vec::new()).await
    }

    /// `fetch` with exactly these headers beside what browsers add.
    pub(crate) async fn fetch_with(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Page {
        let url = self.at(path);
        let mut sent = HeaderMap::new();
        sent.insert("sec-fetch-site", HeaderValue::from_static("same-origin"));
        sent.insert("sec-fetch-mode", HeaderValue::from_static("cors"));
        sent.insert("sec-fetch-dest", HeaderValue::from_static("empty"));
        sent.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        if method != Method::GET && method != Method::HEAD {
            sent.insert(header::ORIGIN, HeaderValue::try_from(self.origin()).unwrap());
        }
        for (name, value) in headers {
            let name = HeaderName::try_from(*name).unwrap();
            if value.is_empty() {
                sent.remove(name);
            } else {
                sent.insert(name, HeaderValue::try_from(*value).unwrap());
            }
        }
        self.ask(method, url, sent, body, true).await
    }

    /// What `/bff/user` says.
    pub(crate) async fn user(&mut self) -> serde_json::Value {
        let page = self.fetch(Method::GET, "/bff/user").await;
        assert_eq!(page.status, StatusCode::OK, "{}", page.text());
        page.json()
    }

    pub(crate) async fn is_logged_in(&mut self) -> bool {
        self.user().await["authenticated"] == true
    }

    /// The session cookie, if the jar has one.
    pub(crate) fn session(&self) -> Option<&Cookie> {
        let name = format!("cloakroom-{}", self.home.port().unwrap());
        self.cookies.of("localhost", &name)
    }

    async fn navigate(
        &mut self,
        initiator: Initiator,
        method: Method,
        url: Url,
        form: Option<String>,
        follow: Follow,
    ) -> Page {
        let (mut initiator, mut method, mut url, mut form) = (initiator, method, url, form);
        // Fetch Metadata looks at the whole chain; SameSite in Chromium only at who started it.
        let (mut chain_is_same_origin, mut by_hand) = (true, true);
        for _ in 0..40 {
            if follow == Follow::UntilCallback && url.path() == "/bff/callback" {
                return Page { url, status: StatusCode::OK, headers: HeaderMap::new(), body: Vec::new() };
            }
            let same_site = match &initiator {
                Initiator::User => true,
                Initiator::Page(page) => page.host() == url.host(),
            };
            let mut headers = navigation_headers(&initiator, &method, &url, &mut chain_is_same_origin);
            if by_hand {
                headers.insert("sec-fetch-user", HeaderValue::from_static("?1"));
            }
            let body = form.take().unwrap_or_default().into_bytes();
            let page = self.ask(method, url.clone(), headers, body, same_site).await;
            if follow == Follow::Nothing {
                return page;
            }
            method = Method::GET;
            if page.status.is_redirection() {
                let location = page.header("location").unwrap_or_else(|| panic!("{} without Location", page.status));
                let fragment = url.fragment().map(str::to_owned);
                url = url.join(location).unwrap();
                if url.fragment().is_none() {
                    url.set_fragment(fragment.as_deref());
                }
            } else if let Some((delay, target)) =
                page.header("refresh").and_then(|refresh| refresh.split_once("; url="))
            {
                // A tenth of the time: tests are in a hurry.
                tokio::time::sleep(Duration::from_secs(delay.parse().unwrap()) / 10).await;
                initiator = Initiator::Page(url.clone());
                url = url.join(target).unwrap();
                (chain_is_same_origin, by_hand) = (true, false);
            } else if page.text().contains(".submit()") {
                let (action, fields) = form_of(&page, &[]);
                initiator = Initiator::Page(page.url.clone());
                (method, url, form) = (Method::POST, action, Some(fields));
                (chain_is_same_origin, by_hand) = (true, false);
            } else {
                return page;
            }
        }
        panic!("a redirect loop at {url}")
    }

    async fn ask(&mut self, method: Method, url: Url, mut headers: HeaderMap, body: Vec<u8>, same_site: bool) -> Page {
        if let Some(shared) = &self.shared {
            self.cookies = shared.lock().unwrap().clone();
        }
        if let Some(cookies) = self.cookies.header(&url, same_site) {
            headers.insert(header::COOKIE, HeaderValue::try_from(cookies).unwrap());
        }
        if let Some(user_agent) = self.user_agent {
            headers.insert(header::USER_AGENT, HeaderValue::from_static(user_agent));
        }
        if method == Method::POST
            && !headers.contains_key(header::CONTENT_TYPE)
            && headers["sec-fetch-mode"] == "navigate"
        {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        }
        let asked = self.http.request(method.clone(), url.clone()).headers(headers.clone()).body(body).send().await;
        let answer = asked.unwrap_or_else(|error| panic!("{method} {url}: {error}"));
        let (status, answered) = (answer.status(), answer.headers().clone());
        for cookie in answered.get_all(header::SET_COOKIE) {
            let cookie = cookie.to_str().unwrap();
            self.cookies.store(&url, cookie);
            if let Some(shared) = &self.shared {
                shared.lock().unwrap().store(&url, cookie);
            }
        }
        self.history.push(Asked { method, url: url.clone(), headers });
        Page { url, status, headers: answered, body: answer.bytes().await.unwrap_or_default().to_vec() }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let ours = self.cookies.0.iter().filter(|((host, _), _)| host == "localhost");
            logs::assert_holds_none_of(
                ours.map(|((_, name), cookie)| (format!("the cookie {name}"), cookie.value.clone())),
            );
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Follow {
    All,
    Nothing,
    UntilCallback,
}

fn navigation_headers(initiator: &Initiator, method: &Method, url: &Url, chain_is_same_origin: &mut bool) -> HeaderMap {
    let site = match initiator {
        Initiator::User => "none",
        Initiator::Page(page) => {
            *chain_is_same_origin &= page.origin() == url.origin();
            if *chain_is_same_origin { "same-origin" } else { "cross-site" }
        }
    };
    let mut headers = HeaderMap::new();
    headers.insert("sec-fetch-site", HeaderValue::from_static(site));
    headers.insert("sec-fetch-mode", HeaderValue::from_static("navigate"));
    headers.insert("sec-fetch-dest", HeaderValue::from_static("document"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("text/html,application/xhtml+xml,*/*;q=0.8"));
    if let (Initiator::Page(page), true) = (initiator, *method == Method::POST) {
        headers.insert(header::ORIGIN, HeaderValue::try_from(page.origin().ascii_serialization()).unwrap());
    }
    headers
}

/// Posts a body as a program does: no cookie, and nothing that only browsers send.
pub(crate) async fn post(url: &str, content_type: Option<&str>, body: String) -> Page {
    let url = Url::parse(url).unwrap();
    let mut request = client().post(url.clone()).body(body);
    if let Some(content_type) = content_type {
        request = request.header(header::CONTENT_TYPE, content_type);
    }
    let answer = request.send().await.unwrap_or_else(|error| panic!("POST {url}: {error}"));
    let (status, headers) = (answer.status(), answer.headers().clone());
    Page { url, status, headers, body: answer.bytes().await.unwrap_or_default().to_vec() }
}

/// A client that follows nothing.
pub(crate) fn client() -> reqwest::Client {
    let builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    builder.tls_backend_preconfigured(no_tls()).build().unwrap()
}

/// Tests talk plain HTTP; without this every client would read the system's root certificates first.
fn no_tls() -> rustls::ClientConfig {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth()
}

/// The first form of a page, filled: where it goes and what it says.
fn form_of(page: &Page, fields: &[(&str, &str)]) -> (Url, String) {
    let text = page.text();
    let form = text.split("<form").nth(1).unwrap_or_else(|| panic!("no form in {text}"));
    let form = form.split("</form>").next().unwrap();
    let action = attribute(form, "action").map_or_else(|| page.url.clone(), |action| page.url.join(&action).unwrap());
    let mut pairs: Vec<(String, String)> = form
        .split("<input")
        .skip(1)
        .filter(|input| input.split('>').next().unwrap().contains("type=\"hidden\""))
        .map(|input| (attribute(input, "name").unwrap(), attribute(input, "value").unwrap_or_default()))
        .collect();
    pairs.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    (action, form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish())
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let tag = tag.split('>').next()?;
    let value = tag.split(&format!(" {name}=\"")).nth(1)?.split('"').next()?;
    Some(
        value
            .replace("&#38;", "&")
            .replace("&amp;", "&")
            .replace("&#61;", "=")
            .replace("&#34;", "\"")
            .replace("&#39;", "'"),
    )
}
