//! As much of a browser as a login needs: cookies by host and path, `SameSite=Strict` by who started the navigation,
//! redirects, `Refresh`, and the one form on a page.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde_json::Value;
use tokio::task::JoinHandle;
use url::{Url, form_urlencoded};

mod cookie;
mod wire;

use self::cookie::Cookie;
use self::wire::Wire;
pub(crate) use self::wire::{Balancer, Fetch};
use crate::upstream::Upstream;

/// One browser at one frontend.
pub(crate) struct Browser {
    wire: Wire,
    cookies: Vec<Cookie>,
    page: Option<Page>,
    secrets: Vec<String>,
}

/// What a navigation ended on, or what a call got.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) url: Url,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Browser {
    pub(crate) fn new(frontend: &str) -> Self {
        let wire = Wire::new(Url::parse(frontend).expect("the frontend has a URL"));
        Self { wire, cookies: Vec::new(), page: None, secrets: Vec::new() }
    }

    /// Sends what is for the frontend this way from now on.
    pub(crate) fn go_through(&mut self, balancer: impl Into<Balancer>) {
        self.wire.go_through(balancer.into());
    }

    /// Logs in as `user` and ends where the login ends, well or not.
    pub(crate) async fn log_in(&mut self, user: &str, return_to: &str) -> Page {
        self.try_log_in(user, return_to).await.expect("the servers answer")
    }

    /// The same where servers may be killed.
    pub(crate) async fn try_log_in(&mut self, user: &str, return_to: &str) -> reqwest::Result<Page> {
        let return_to: String = form_urlencoded::byte_serialize(return_to.as_bytes()).collect();
        let page = self.try_open(&format!("/bff/login?return_to={return_to}")).await?;
        // One provider asks for `login` and takes any password, the other for `username` and takes that as password.
        self.answer_forms(page, &[("login", user), ("username", user), ("password", user)]).await
    }

    /// Logs out by the page's `fetch` and follows the handle to the provider, which asks, and back.
    pub(crate) async fn log_out(&mut self) -> Page {
        self.try_log_out().await.expect("the servers answer")
    }

    /// The same where servers may be killed.
    pub(crate) async fn try_log_out(&mut self) -> reqwest::Result<Page> {
        let answer = self.fetcher().send("POST", "/bff/logout").await?;
        let told: Value = serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("not JSON: {}", answer.body));
        let target = told["redirect_to"].as_str().expect("the answer says where to go").to_owned();
        let page = self.follow(&target).await?;
        self.answer_forms(page, &[("logout", "yes")]).await
    }

    /// Sends the provider's forms until it leads back.
    async fn answer_forms(&mut self, mut page: Page, filled: &[(&str, &str)]) -> reqwest::Result<Page> {
        for _ in 0..FORMS {
            if page.url.host() == self.frontend().host() {
                return Ok(page);
            }
            page = self.submit(filled).await?;
        }
        panic!("the provider asks on and on, last by {}", page.body);
    }

    /// Logs out at the provider's own page, which asks. The frontend takes no part in it.
    pub(crate) async fn log_out_at(&mut self, end_session: &str) -> Page {
        self.open(end_session).await;
        self.submit(&[("logout", "yes")]).await.expect("the provider answers")
    }

    /// What the page would learn from `/bff/user`.
    pub(crate) async fn user(&self) -> Value {
        let answer = self.fetch("GET", "/bff/user").await;
        serde_json::from_str(&answer.body).unwrap_or_else(|_| panic!("not JSON: {} {}", answer.status, answer.body))
    }

    /// Calls the API and says which token reached it.
    pub(crate) async fn token_at(&self, upstream: &Upstream) -> String {
        let answer = self.fetch("GET", "/api/orders").await;
        assert_eq!(answer.status, StatusCode::OK, "{}", answer.body);
        upstream.last_call().bearer()
    }

    /// `fetch()` of the frontend's own page.
    pub(crate) async fn fetch(&self, method: &str, path: &str) -> Page {
        self.spawn_fetch(method, path).await.expect("the call ends")
    }

    /// The same, while the test goes on.
    pub(crate) fn spawn_fetch(&self, method: &str, path: &str) -> JoinHandle<Page> {
        let (fetch, method, path) = (self.fetcher(), method.to_owned(), path.to_owned());
        tokio::spawn(async move { fetch.send(&method, &path).await.expect("the frontend answers") })
    }

    /// What the page's scripts could do now.
    pub(crate) fn fetcher(&self) -> Fetch {
        Fetch { wire: self.wire.clone(), cookie: self.cookie_header(self.frontend(), true) }
    }

    /// Types an address.
    pub(crate) async fn open(&mut self, path: &str) -> Page {
        self.try_open(path).await.expect("the servers answer")
    }

    async fn try_open(&mut self, path: &str) -> reqwest::Result<Page> {
        let url = self.frontend().join(path).expect("a path on the frontend");
        self.navigate(Method::GET, url, None, None).await
    }

    /// Clicks a link on the page.
    async fn follow(&mut self, href: &str) -> reqwest::Result<Page> {
        let from = self.page.as_ref().map_or(self.frontend(), |page| &page.url).clone();
        let url = from.join(href).expect("a link");
        self.navigate(Method::GET, url, None, Some(from)).await
    }

    /// Fills the form on the page and sends it.
    async fn submit(&mut self, filled: &[(&str, &str)]) -> reqwest::Result<Page> {
        let page = self.page.clone().expect("a page is open");
        let form = Form::on(&page);
        let fields =
            form.hidden.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain(filled.iter().copied());
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.navigate(Method::POST, form.action, Some(body), Some(page.url)).await
    }

    async fn navigate(
        &mut self,
        method: Method,
        url: Url,
        form: Option<String>,
        initiator: Option<Url>,
    ) -> reqwest::Result<Page> {
        let (mut method, mut url, mut form, mut initiator) = (method, url, form, initiator);
        for _ in 0..HOPS {
            let page = self.load(method.clone(), &url, form.take(), initiator.as_ref()).await?;
            method = Method::GET;
            let next = if let Some(target) = page.redirect() {
                target
            } else if let Some((delay, target)) = page.refresh() {
                tokio::time::sleep(delay).await;
                initiator = Some(page.url.clone());
                target
            } else {
                self.page = Some(page.clone());
                return Ok(page);
            };
            url = next;
        }
        panic!("the navigation does not end, last at {}", url.path());
    }

    async fn load(
        &mut self,
        method: Method,
        url: &Url,
        form: Option<String>,
        initiator: Option<&Url>,
    ) -> reqwest::Result<Page> {
        let same_site = initiator.is_none_or(|from| from.host() == url.host());
        let site = match initiator {
            None => "none",
            Some(from) if from.origin() == url.origin() => "same-origin",
            Some(_) if same_site => "same-site",
            Some(_) => "cross-site",
        };
        let mut request = self
            .wire
            .request(method, url)
            .headers(fetch_metadata("navigate", "document", site))
            .header(header::ACCEPT, "text/html,application/xhtml+xml,*/*;q=0.8")
            .header(header::COOKIE, self.cookie_header(url, same_site));
        if let Some(form) = form {
            request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(form);
        }
        self.note_secrets(url);
        let page = self.wire.send(url.clone(), request).await?;
        self.keep_cookies(&page);
        Ok(page)
    }

    fn cookie_header(&self, url: &Url, same_site: bool) -> HeaderValue {
        let fitting = self.cookies.iter().filter(|cookie| cookie.fits(url) && (same_site || !cookie.strict));
        let pairs: Vec<_> = fitting.map(|cookie| format!("{}={}", cookie.name, cookie.value)).collect();
        HeaderValue::from_str(&pairs.join("; ")).expect("cookies are ASCII")
    }

    fn keep_cookies(&mut self, page: &Page) {
        for value in page.headers.get_all(header::SET_COOKIE) {
            let (cookie, removal) = Cookie::parse(value.to_str().expect("cookies are ASCII"), &page.url);
            self.cookies.retain(|kept| !kept.is_same_as(&cookie));
            if !removal {
                if page.url.host() == self.frontend().host() {
                    self.secrets.push(cookie.value.clone());
                }
                self.cookies.push(cookie);
            }
        }
    }

    fn note_secrets(&mut self, url: &Url) {
        let secret = url.query_pairs().filter(|(name, _)| name == "code" || name == "state" || name == "go");
        self.secrets.extend(secret.map(|(_, value)| value.into_owned()));
    }

    fn frontend(&self) -> &Url {
        self.wire.frontend()
    }

    /// Every cookie value, code, state and handle that passed through this browser.
    pub(crate) fn secrets_seen(&self) -> &[String] {
        &self.secrets
    }

    /// Every cookie that the frontend gets.
    pub(crate) fn cookies(&self) -> String {
        self.cookie_header(self.frontend(), true).to_str().expect("cookies are ASCII").to_owned()
    }

    /// The cookie that holds our session.
    pub(crate) fn session_cookie(&self) -> Cookie {
        let name = format!("cloakroom-{}", self.frontend().port().expect("the frontend has a port"));
        self.cookies.iter().find(|cookie| cookie.name == name).cloned().expect("there is a session cookie")
    }

    /// Puts a cookie back that the browser no longer has.
    pub(crate) fn put_back(&mut self, cookie: Cookie) {
        self.cookies.push(cookie);
    }
}

impl Page {
    async fn read(url: Url, answer: reqwest::Response) -> reqwest::Result<Self> {
        let (status, headers) = (answer.status(), answer.headers().clone());
        Ok(Self { url, status, headers, body: answer.text().await? })
    }

    /// Where a redirect points. A fragment of the page before is kept, as browsers do.
    fn redirect(&self) -> Option<Url> {
        if !self.status.is_redirection() {
            return None;
        }
        let location = self.headers.get(header::LOCATION).expect("a redirect has a target");
        Some(self.url.join(location.to_str().expect("targets are ASCII")).expect("a target is a URL"))
    }

    fn refresh(&self) -> Option<(Duration, Url)> {
        let value = self.headers.get(header::REFRESH)?.to_str().expect("targets are ASCII");
        let (seconds, target) = value.split_once("; url=").expect("a refresh names a URL");
        let delay = Duration::from_secs(seconds.parse().expect("a refresh counts seconds"));
        Some((delay, self.url.join(target).expect("a target is a URL")))
    }
}

/// The form of the provider's development pages.
struct Form {
    action: Url,
    hidden: Vec<(String, String)>,
}

impl Form {
    fn on(page: &Page) -> Self {
        let form = page.body.split("<form").nth(1).unwrap_or_else(|| panic!("no form on {}: {}", page.url, page.body));
        let form = form.split("</form>").next().expect("split gives a first part");
        let action = attribute(form, "action").expect("a form has an action");
        let inputs = form.split("<input").skip(1).filter(|input| attribute(input, "type") == Some("hidden"));
        let hidden =
            inputs.filter_map(|input| Some((attribute(input, "name")?.into(), attribute(input, "value")?.into())));
        Self { action: page.url.join(action).expect("an action is a URL"), hidden: hidden.collect() }
    }
}

/// The value of an attribute of the first tag in `html`.
fn attribute<'a>(html: &'a str, name: &str) -> Option<&'a str> {
    let tag = html.split('>').next()?;
    tag.split_once(&format!("{name}=\""))?.1.split('"').next()
}

fn fetch_metadata(mode: &'static str, dest: &'static str, site: &'static str) -> HeaderMap {
    let named = [("sec-fetch-mode", mode), ("sec-fetch-dest", dest), ("sec-fetch-site", site)];
    named.into_iter().map(|(name, value)| (name.parse().expect("a header"), HeaderValue::from_static(value))).collect()
}

fn without_fragment(url: &Url) -> Url {
    let mut url = url.clone();
    url.set_fragment(None);
    url
}

/// A client that follows nothing and keeps nothing.
pub(crate) fn client() -> reqwest::Client {
    // Another test may have been first.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let builder = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    builder.timeout(crate::LIMIT).build().expect("a client can be made")
}

const HOPS: usize = 20;
/// A provider asks who it is, and what the client may do.
const FORMS: usize = 5;
