//! As much of a browser as a login and a call need, and as little time as possible spent on it.

use std::net::{Ipv4Addr, SocketAddr};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, COOKIE, HOST, LOCATION, REFRESH, SET_COOKIE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use url::{Url, form_urlencoded};

use crate::Done;

/// Browsers without cookies: callers keep those. They share connections, as many as are in use at the same time.
#[derive(Clone)]
pub(crate) struct Browsers {
    http: Client<HttpConnector, Full<Bytes>>,
    frontend: Url,
    /// The provider's cookie of somebody who has signed in there.
    signed_on: Option<HeaderValue>,
}

/// The cookies of somebody who is logged in.
pub(crate) type Session = HeaderValue;

impl Browsers {
    /// Browsers at this frontend.
    pub(crate) fn new(frontend: &str) -> Done<Self> {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        let http = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { http, frontend: Url::parse(frontend)?, signed_on: None })
    }

    /// Signs in at the provider, by its form. Logins after that are single sign-on.
    pub(crate) async fn sign_on(&mut self) -> Done<()> {
        let page = self.get(&self.frontend.join("bff/login")?, None).await?;
        let page = self.get(&location(&page)?, None).await?;
        let (provider, page) = (page.url, String::from_utf8(page.body.into())?);
        let handle = page.split("name=\"request\" value=\"").nth(1).and_then(|rest| rest.split('"').next());
        let handle = handle.ok_or("the provider shows no form")?;
        let form = form_urlencoded::Serializer::new(String::new())
            .extend_pairs([("request", handle), ("username", "alice"), ("password", "alice")])
            .finish();
        let request = Request::builder()
            .method(Method::POST)
            .uri(provider.join("/login")?.as_str())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        let answer = self.http.request(request.body(form.into())?).await?;
        self.signed_on = cookies(&answer, None);
        self.signed_on.as_ref().map(drop).ok_or_else(|| "the provider lets nobody in".into())
    }

    /// The whole dance: login, authorization, callback, its hop.
    pub(crate) async fn log_in(&self) -> Done<Session> {
        let login = self.get(&self.frontend.join("bff/login")?, None).await?;
        let authorization = self.get(&location(&login)?, self.signed_on.as_ref()).await?;
        let hop = self.get(&location(&authorization)?, login.cookies.as_ref()).await?;
        let next = hop.refresh.as_deref().and_then(|refresh| refresh.split_once("; url=")).ok_or("no hop")?;
        let end = self.get(&self.frontend.join(next.1)?, login.cookies.as_ref()).await?;
        end.cookies.ok_or_else(|| format!("a login ended with {}", end.status).into())
    }

    /// A call of the API.
    pub(crate) async fn call(&self, session: &Session) -> Done<()> {
        let answer = self.get(&self.frontend.join("api/orders")?, Some(session)).await?;
        if answer.status == StatusCode::OK {
            Ok(())
        } else {
            Err(format!("a call ended with {}", answer.status).into())
        }
    }

    async fn get(&self, url: &Url, cookies_sent: Option<&HeaderValue>) -> Done<Page> {
        let mut dialled = url.clone();
        // Otherwise each connection would begin by asking what `localhost` is.
        dialled.set_ip_host(Ipv4Addr::LOCALHOST.into()).map_err(|()| "no host")?;
        let mut request = Request::get(dialled.as_str()).header(HOST, url.authority()).header("x-csrf", "1");
        request = cookies_sent.into_iter().fold(request, |request, cookies| request.header(COOKIE, cookies));
        let answer = self.http.request(request.body(Full::default())?).await?;
        let (status, cookies) =
            (answer.status(), cookies(&answer, cookies_sent.filter(|_| url.host() == self.frontend.host())));
        let text = |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let (location, refresh) = (text(LOCATION), text(REFRESH));
        let body = answer.into_body().collect().await?.to_bytes();
        Ok(Page { url: url.clone(), status, cookies, location, refresh, body })
    }
}

/// Where the frontend listens.
pub(crate) fn address(frontend: &str) -> Done<SocketAddr> {
    let port = Url::parse(frontend)?.port().ok_or("no port")?;
    Ok((Ipv4Addr::LOCALHOST, port).into())
}

struct Page {
    url: Url,
    status: StatusCode,
    /// What to send to the same host from now on, if the answer changed it.
    cookies: Option<HeaderValue>,
    location: Option<String>,
    refresh: Option<String>,
    body: Bytes,
}

fn location(page: &Page) -> Done<Url> {
    let location = page.location.as_deref().ok_or_else(|| format!("{} leads nowhere: {}", page.url, page.status))?;
    Ok(page.url.join(location)?)
}

/// The cookies an answer sets, beside those that were sent and that it does not name.
fn cookies<B>(answer: &Response<B>, sent: Option<&HeaderValue>) -> Option<HeaderValue> {
    let headers = answer.headers().get_all(SET_COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let new: Vec<&str> = headers.filter_map(|text| text.split(';').next()).collect();
    if new.is_empty() {
        return None;
    }
    let name = |pair: &str| pair.split('=').next().unwrap_or_default().to_owned();
    let old = sent.and_then(|value| value.to_str().ok()).into_iter().flat_map(|text| text.split("; "));
    let kept = old.filter(|pair| new.iter().all(|other| name(other) != name(pair)));
    // One that is set to nothing is taken away.
    let pairs: Vec<&str> = kept.chain(new.iter().copied()).filter(|pair| !pair.ends_with('=')).collect();
    HeaderValue::try_from(pairs.join("; ")).ok()
}
