//! `[[frontends.NAME.routes]]`: the allow-list of API calls.

use std::num::NonZeroU32;
use std::time::Duration;

use http::Method;
use http::uri::Authority;
use url::Url;

use super::frontend::is_below;
use super::raw::{self, Leaf};
use super::reader::{Section, duplicates};
use super::upstream;
use super::values::{is_cleartext, plain_path, plain_url, quoted, shown};
use crate::frontend;
use crate::proxy::{CsrfPolicy, MAX_CONNECTIONS, RouteOptions, is_host_and_port};
use crate::tokens::TokenPolicy;

pub(super) fn read_all(raw: &[raw::Route], frontend: &Section<'_>, cookie_name: &str) -> Vec<RouteOptions> {
    let one = |(index, raw): (usize, &raw::Route)| read(raw, &frontend.entry("routes", index), cookie_name);
    raw.iter().enumerate().map(one).collect()
}

fn read(raw: &raw::Route, at: &Section<'_>, cookie_name: &str) -> RouteOptions {
    for (key, leaf, what) in [("path", &raw.path, "the path"), ("upstream", &raw.upstream, "the URL of the API")] {
        if leaf.0.is_none() {
            at.missing(key, what);
        }
    }
    // What is missing has its finding; the route keeps its index all the same.
    let nowhere = || Url::parse("https://upstream.invalid/").expect("a constant URL");
    let token = at.parse("token", &raw.token, token).unwrap_or(TokenPolicy::Required);
    let min_acr = at.parse("min_acr", &raw.min_acr, acr);
    let max_auth_age = at.optional_duration("max_auth_age", &raw.max_auth_age);
    let session_required = session(&raw.session, at, token);
    for (key, given) in [("min_acr", min_acr.is_some()), ("max_auth_age", max_auth_age.is_some())] {
        if given {
            check_has_session(key, token, session_required, at);
        }
    }
    let upstream = at.parse("upstream", &raw.upstream, plain_url).unwrap_or_else(nowhere);
    let options = RouteOptions {
        path: at.parse("path", &raw.path, plain_path).unwrap_or_default(),
        upstream_tls: upstream::tls(raw, &upstream, at),
        http_version: upstream::http_version(raw, at),
        upstream,
        addresses: addresses(&raw.addresses, at),
        max_connections: max_connections(&raw.max_connections, at),
        methods: methods(&raw.methods, at),
        token,
        session_required,
        min_acr,
        max_auth_age,
        csrf: csrf(raw, at),
        shared_cache: at.flag("shared_cache", &raw.shared_cache, false),
        forward_cookies: cookies("forward_cookies", &raw.forward_cookies, at, cookie_name),
        response_cookies: cookies("response_cookies", &raw.response_cookies, at, cookie_name),
        timeout: at.duration("timeout", &raw.timeout, Duration::from_secs(30)),
        idle_timeout: at.duration("idle_timeout", &raw.idle_timeout, Duration::from_mins(5)),
        max_body: at.size("max_body", &raw.max_body, 10 * 1024 * 1024),
    };
    note_weak(&options, at);
    options
}

/// Checks what a route's place says about the others, the endpoints and the assets.
pub(super) fn check_places(frontend: &frontend::Options, at: &Section<'_>) {
    let paths =
        || frontend.routes.iter().map(|route| route.path.as_str()).enumerate().filter(|(_, path)| !path.is_empty());
    for (index, path) in paths() {
        let route = at.entry("routes", index);
        if !is_below(path, frontend.url.path()) {
            route.complain("path", format!("\"{path}\" is not below this frontend's {}", frontend.url.path()));
        } else if is_below(path, &frontend.base_path) {
            route.complain("path", format!("\"{path}\" is where our own endpoints are ({})", frontend.base_path));
        } else if is_below(frontend.url.path(), path) && frontend.assets.is_some() {
            route.complain("path", format!("\"{path}\" leaves nothing for the assets; give the API a path of its own"));
        }
    }
    for path in duplicates(paths().map(|(_, path)| path)) {
        at.complain("routes", format!("two routes for \"{path}\"; the longest path wins, so each can be there once"));
    }
}

fn token(text: &str) -> Result<TokenPolicy, String> {
    if text == "client" {
        return Err("\"client\" is not supported by this version yet".to_owned());
    }
    let choices =
        [("required", TokenPolicy::Required), ("optional", TokenPolicy::Optional), ("none", TokenPolicy::None)];
    super::reader::choose(text, &choices)
}

fn session(leaf: &Leaf, at: &Section<'_>, token: TokenPolicy) -> bool {
    let required = at.choice("session", leaf, &[("required", true)]).unwrap_or(false);
    if required && token == TokenPolicy::Optional {
        at.complain("session", "contradicts token = \"optional\", which lets calls without a session pass");
    }
    required
}

/// A login can be judged only where there has to be one.
fn check_has_session(key: &str, token: TokenPolicy, session_required: bool, at: &Section<'_>) {
    match token {
        TokenPolicy::Optional => {
            at.complain(key, "contradicts token = \"optional\", which lets calls without a session pass");
        }
        TokenPolicy::None if !session_required => {
            at.complain(key, "says how a session's login has to be; set session = \"required\", too");
        }
        TokenPolicy::Required | TokenPolicy::None => {}
    }
}

/// Checks that the provider's order says what is as strong as a route wants it.
pub(super) fn check_min_acr(frontend: &frontend::Options, at: &Section<'_>) {
    let provider = &frontend.provider;
    let order = format!("providers.{}.acr_order", provider.name);
    for (index, route) in frontend.routes.iter().enumerate() {
        if let Some(min_acr) = route.min_acr.as_deref().filter(|min_acr| provider.rank(min_acr).is_none()) {
            let known = quoted(provider.acr_order.iter().map(String::as_str));
            let message = match known.as_str() {
                "" => format!("{} needs {order}, which says what is stronger", shown(min_acr)),
                known => format!("{} is not in {order}, which says what is stronger; there is {known}", shown(min_acr)),
            };
            at.entry("routes", index).complain("min_acr", message);
        }
    }
}

/// One value of `acr`: a login is asked for several with blanks between.
fn acr(text: &str) -> Result<String, String> {
    let is_one = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_one { Ok(text.to_owned()) } else { Err(format!("{} is not one acr", shown(text))) }
}

fn addresses(leaf: &Leaf, at: &Section<'_>) -> Vec<Authority> {
    let addresses = at.list("addresses", leaf, address);
    if addresses.as_ref().is_some_and(Vec::is_empty) {
        at.complain("addresses", "names no address at all; leave it out to connect to the host of upstream");
    }
    let addresses = addresses.unwrap_or_default();
    for address in duplicates(addresses.iter().map(|address| address.as_str().to_ascii_lowercase())) {
        at.complain("addresses", format!("\"{address}\" is there twice"));
    }
    addresses
}

fn address(text: &str) -> Result<Authority, String> {
    let address = text.parse().ok().filter(is_host_and_port);
    address.ok_or_else(|| format!("{} is not host and port, as in \"10.0.0.5:8443\"", shown(text)))
}

fn max_connections(leaf: &Leaf, at: &Section<'_>) -> NonZeroU32 {
    let number = at.number("max_connections", leaf);
    if number == Some(0) {
        at.complain("max_connections", "no call could be made; leave it out for the default");
    }
    number.and_then(NonZeroU32::new).unwrap_or(MAX_CONNECTIONS)
}

fn methods(leaf: &Leaf, at: &Section<'_>) -> Vec<Method> {
    let methods = at.list("methods", leaf, method);
    if methods.as_ref().is_some_and(Vec::is_empty) {
        at.complain("methods", "allows no method at all; leave it out to allow all");
    }
    methods.unwrap_or_default()
}

fn method(text: &str) -> Result<Method, String> {
    let upper = text.to_ascii_uppercase();
    match Method::from_bytes(text.as_bytes()) {
        Ok(Method::CONNECT | Method::TRACE) => Err(format!("\"{text}\" is never passed on")),
        Ok(method) if text == upper => Ok(method),
        Ok(_) => Err(format!("{} is not a method; did you mean \"{upper}\"?", shown(text))),
        Err(_) => Err(format!("{} is not a method", shown(text))),
    }
}

fn csrf(raw: &raw::Route, at: &Section<'_>) -> CsrfPolicy {
    let reason = at.text("csrf_reason", &raw.csrf_reason);
    let documents = at.flag("documents", &raw.documents, false);
    let origin = at.choice("csrf", &raw.csrf, &[("header", false), ("origin", true)]);
    if origin != Some(true) {
        for (key, given) in [("csrf_reason", reason.is_some()), ("documents", documents)] {
            if given && origin.is_some() | raw.csrf.0.is_none() {
                at.complain(key, "means nothing without csrf = \"origin\"; leave it out");
            }
        }
        return CsrfPolicy::Header;
    }
    let reason = reason.map(str::trim).filter(|reason| !reason.is_empty() && !reason.contains(char::is_control));
    if reason.is_none() {
        at.complain(
            "csrf_reason",
            "csrf = \"origin\" needs a reason, in one line: why can these calls not send the header?",
        );
    }
    CsrfPolicy::Origin { reason: reason.unwrap_or_default().to_owned(), documents }
}

/// Names of cookies that pass. Ours never do: not to an upstream, and not from one.
fn cookies(key: &str, leaf: &Leaf, at: &Section<'_>, cookie_name: &str) -> Vec<String> {
    let name = |text: &str| {
        if is_ours(text, cookie_name) {
            return Err(format!("{} is a cookie of ours, which never passes", shown(text)));
        }
        // A cookie name is a token (RFC 6265 §4.1.1), like a method.
        Method::from_bytes(text.as_bytes())
            .map(|_| text.to_owned())
            .map_err(|_| format!("{} is not a cookie name", shown(text)))
    };
    at.list(key, leaf, name).unwrap_or_default()
}

fn is_ours(name: &str, cookie_name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let prefixes = ["__host-http-", "__host-", "__http-", "__secure-"];
    let bare = prefixes.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(&name);
    let rest = bare.strip_prefix(&cookie_name.to_ascii_lowercase());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '.']))
}

fn note_weak(options: &RouteOptions, at: &Section<'_>) {
    if options.token != TokenPolicy::None && can_be_read_on_the_way(options) {
        at.weaken("upstream", format!("access tokens go to {} in cleartext; use https", origin(&options.upstream)));
    }
    if options.shared_cache {
        at.weaken(
            "shared_cache",
            "what this API calls public may be kept by caches between people; leave it out unless it is",
        );
    }
    if let CsrfPolicy::Origin { reason, documents } = &options.csrf {
        at.weaken("csrf", format!("\"origin\": calls are taken without our header, because: {reason}"));
        if *documents {
            at.weaken(
                "documents",
                "pages of this API run as our origin and may call everything the app may; leave it out",
            );
        }
    }
}

fn can_be_read_on_the_way(options: &RouteOptions) -> bool {
    let RouteOptions { upstream, addresses, .. } = options;
    let is_elsewhere =
        |address: &Authority| Url::parse(&format!("http://{address}/")).is_ok_and(|url| is_cleartext(&url));
    if addresses.is_empty() {
        is_cleartext(upstream)
    } else {
        upstream.scheme() == "http" && addresses.iter().any(is_elsewhere)
    }
}

fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}
