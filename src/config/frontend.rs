//! `[frontends.NAME]`: one SPA with its provider, registration and routes.

use std::sync::Arc;

use http::HeaderName;
use url::Url;

use super::provider::Providers;
use super::raw::{self, Leaf};
use super::reader::{Section, choose};
use super::values::{is_loopback, nearest, plain_path, plain_url, quoted, shown};
use super::{client, route};
use crate::frontend::{AssetsOptions, LoginParameter, Options};
use crate::oidc::ProviderOptions;

/// Reads one frontend; nothing if it cannot be told where it is or who logs people in.
pub(super) fn read(
    id: &str,
    raw: &raw::Frontend,
    at: &Section<'_>,
    providers: &Providers,
    cookie_name: &str,
) -> Option<Options> {
    at.check_name(id);
    for (key, leaf, what) in [("url", &raw.url, "the URL browsers use"), ("client_id", &raw.client_id, "the client id")]
    {
        if leaf.0.is_none() {
            at.missing(key, what);
        }
    }
    let provider = provider(&raw.provider, at, providers);
    let url = at.parse("url", &raw.url, frontend_url);
    // Everything else is read without a URL, too, so that all its findings show at once.
    let place = url.clone().unwrap_or_else(anywhere);
    let base_path =
        below(&place, &at.parse("base_path", &raw.base_path, base_path).unwrap_or_else(|| "/bff".to_owned()));
    let options = Options {
        id: id.to_owned(),
        csrf_header: at
            .parse("csrf_header", &raw.csrf_header, csrf_header)
            .unwrap_or(HeaderName::from_static("x-csrf")),
        provider: provider.clone().unwrap_or_else(|| Arc::new(ProviderOptions::new("", ""))),
        client: client::read(raw, at, &place, &base_path),
        allowed_login_parameters: at
            .list("allowed_login_parameters", &raw.allowed_login_parameters, login_parameter)
            .unwrap_or_default(),
        frontchannel_logout: frontchannel_logout(&raw.frontchannel_logout, at),
        assets: assets(&raw.assets, &at.section("assets")),
        after_logout: at.text("after_logout", &raw.after_logout).unwrap_or(place.path()).to_owned(),
        routes: route::read_all(&raw.routes, at, cookie_name),
        url: place,
        base_path,
    };
    if url.is_some() {
        route::check_places(&options, at);
        check_after_logout(&options, at);
    }
    if provider.is_some() {
        route::check_min_acr(&options, at);
    }
    url.and(provider).map(|_| options)
}

/// `/` stays `/bff`; a frontend at `/shop/` has `/shop/bff`.
fn below(url: &Url, base_path: &str) -> String {
    format!("{}{base_path}", url.path().trim_end_matches('/'))
}

/// Whether a path is `prefix` or below it, by whole segments.
pub(super) fn is_below(path: &str, prefix: &str) -> bool {
    let prefix = prefix.trim_end_matches('/');
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn provider(leaf: &Leaf, at: &Section<'_>, providers: &Providers) -> Option<Arc<ProviderOptions>> {
    let names = || providers.keys().map(String::as_str);
    let Some(name) = at.text("provider", leaf) else {
        if leaf.0.is_none() {
            return the_only_provider(at, providers);
        }
        return None;
    };
    let provider = providers.get(name).cloned();
    if provider.is_none() {
        at.complain(
            "provider",
            match nearest(name, names()) {
                Some(near) => format!("no provider {}; there is \"{near}\"", shown(name)),
                None if providers.is_empty() => {
                    format!("no provider {}; write a section [providers.NAME]", shown(name))
                }
                None => format!("no provider {}; there is {}", shown(name), quoted(names())),
            },
        );
    }
    provider
}

/// Without a name there must be nothing to choose from.
fn the_only_provider(at: &Section<'_>, providers: &Providers) -> Option<Arc<ProviderOptions>> {
    let mut all = providers.values();
    match (all.next(), all.next()) {
        (Some(provider), None) => Some(provider.clone()),
        (Some(_), Some(_)) => {
            let names = quoted(providers.keys().map(String::as_str));
            at.complain("provider", format!("the provider is missing; there is {names}"));
            None
        }
        (None, _) => {
            at.complain("provider", "there is no provider; set CLOAKROOM_ISSUER, or write a section [providers.NAME]");
            None
        }
    }
}

fn frontend_url(text: &str) -> Result<Url, String> {
    let mut url = plain_url(text)?;
    if url.scheme() == "http" && !is_loopback(&url) {
        return Err(format!(
            "{} is cleartext, which is for localhost, 127.0.0.1 and [::1] only: cookies would lose their protection; use https",
            shown(text)
        ));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    if !path.is_empty() {
        plain_path(&path)?;
    }
    url.set_path(&format!("{path}/"));
    Ok(url)
}

fn anywhere() -> Url {
    Url::parse("https://frontend.invalid/").expect("a constant URL")
}

fn base_path(text: &str) -> Result<String, String> {
    let path = plain_path(text)?;
    if path == "/" {
        return Err("\"/\" would leave no room for the app; write a segment, such as \"/bff\"".to_owned());
    }
    Ok(path)
}

/// A header proves something only if a foreign page cannot send it without asking (Fetch: CORS-safelisted and forbidden names).
fn csrf_header(text: &str) -> Result<HeaderName, String> {
    let name = HeaderName::from_bytes(text.as_bytes()).map_err(|_| format!("{} is not a header name", shown(text)))?;
    if NO_PROOF.contains(&name.as_str()) || ["sec-", "proxy-"].iter().any(|prefix| name.as_str().starts_with(prefix)) {
        return Err(format!(
            "{} is sent by browsers anyway or by foreign pages freely; choose one like \"X-CSRF\"",
            shown(text)
        ));
    }
    Ok(name)
}

fn frontchannel_logout(leaf: &Leaf, at: &Section<'_>) -> bool {
    let is_on = at.flag("frontchannel_logout", leaf, false);
    if is_on {
        let what = "whoever knows the sid of a session at the provider can end it here; use back-channel logout if the provider has it";
        at.weaken("frontchannel_logout", what);
    }
    is_on
}

fn login_parameter(text: &str) -> Result<LoginParameter, String> {
    choose(text, &LoginParameter::ALL.map(|parameter| (parameter.name(), parameter)))
}

fn assets(raw: &raw::Assets, at: &Section<'_>) -> Option<AssetsOptions> {
    if raw.dir.0.is_some() && raw.proxy.0.is_some() {
        at.complain("proxy", "there is \"dir\", too; leave one of them out");
    }
    let dir = at.parse("dir", &raw.dir, |text| {
        let dir = at.reader.file_path(text);
        if dir.is_dir() { Ok(AssetsOptions::Dir(dir)) } else { Err(format!("{} is not a directory", shown(text))) }
    });
    dir.or_else(|| at.parse("proxy", &raw.proxy, plain_url).map(AssetsOptions::Proxy))
}

/// Logout must not end on a path that does something.
fn check_after_logout(options: &Options, at: &Section<'_>) {
    let target = &options.after_logout;
    let printable = target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    let resolved = Some(target).filter(|target| printable && target.starts_with('/') && !target.starts_with("//"));
    let resolved = resolved.and_then(|target| options.url.join(target).ok());
    let Some(resolved) = resolved.filter(|url| url.origin() == options.url.origin() && !url.path().starts_with("//"))
    else {
        let message =
            format!("{} is not a path of printable ASCII on this frontend, such as \"/goodbye\"", shown(target));
        return at.complain("after_logout", message);
    };
    if !is_below(resolved.path(), options.url.path()) {
        at.complain("after_logout", format!("{} is not below this frontend's {}", shown(target), options.url.path()));
    } else if is_below(resolved.path(), &options.base_path)
        || options.routes.iter().any(|route| !route.path.is_empty() && is_below(resolved.path(), &route.path))
    {
        at.complain("after_logout", format!("{} is an endpoint or a route; name a page of the app", shown(target)));
    }
}

const NO_PROOF: [&str; 29] = [
    "accept",
    "accept-charset",
    "accept-encoding",
    "accept-language",
    "access-control-request-headers",
    "access-control-request-method",
    "authorization",
    "connection",
    "content-language",
    "content-length",
    "content-type",
    "cookie",
    "cookie2",
    "date",
    "dnt",
    "expect",
    "host",
    "keep-alive",
    "origin",
    "range",
    "referer",
    "set-cookie",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
    "purpose",
];
