//! Which headers pass, each way.
//!
//! Towards the upstream: nothing that is the browser's proof to *us* (cookies, the CSRF header, `Authorization`), nothing an
//! upstream could take for our word (addresses, identities, rewritten URLs), nothing that belongs to one connection. Back to the
//! browser: nothing that acts on our whole origin, that grants others access to it, or that runs as it.

use http::Uri;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::caching::{self, SharedCache};
use super::challenge::{self, Challenge};
use super::forward::ForwardContext;
use super::route::Route;
use super::{cookies, location};

/// Makes a browser's headers those of the outgoing call, all but `Authorization` (see `Grant::attach`) and `Content-Length`.
pub(super) fn outgoing(headers: &mut HeaderMap, route: &Route, context: &ForwardContext<'_>) {
    let takes_trailers = has_token(headers, &header::TE, "trailers");
    remove_named_by_connection(headers);
    let options = &route.options;
    remove(headers, |name| {
        never_sent(name.as_str())
            || name == context.csrf_header
            || (is_method_override(name.as_str()) && !options.methods.is_empty())
    });
    cookies::keep_request_cookies(headers, &options.forward_cookies, context.own_cookies);
    if takes_trailers {
        // gRPC servers insist on it. Without `Connection: TE`, which HTTP/2 does not know; HTTP/1.1 servers do not mind.
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    context.hops.announce(headers);
    headers.insert(header::HOST, route.upstream.host.clone());
}

/// Makes an upstream's headers those of our answer. `asked` is the address that was called.
pub(super) fn returning(headers: &mut HeaderMap, route: &Route, own_cookies: &[String], asked: &Uri) {
    let options = &route.options;
    let shared = if options.shared_cache { SharedCache::Believe } else { SharedCache::Refuse };
    let private = route.answers_depend_on_the_session();
    keep_one_length(headers);
    remove_named_by_connection(headers);
    let announced = announced_trailers(headers);
    remove(headers, |name| {
        let name = name.as_str();
        never_returned(name) || (private && shared == SharedCache::Refuse && is_targeted_cache_control(name))
    });
    if let Some(announced) = announced {
        headers.insert(header::TRAILER, announced);
    }
    cookies::keep_response_cookies(headers, &options.response_cookies, own_cookies);
    keep_token_challenges(headers);
    for name in [header::LOCATION, header::CONTENT_LOCATION] {
        if let Some(value) = headers.get(&name)
            && let Some(public) = location::public(&route.upstream, &options.path, asked, value)
        {
            headers.insert(name, public);
        }
    }
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if !route.serves_documents() {
        // On `csrf = "origin"` routes a link can open the answer as a page. On the others only a script can ask, but what it got
        // may be in the browser's cache, and a link is answered from there. Policies add up, so the upstream's own may stay.
        headers.append(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    }
    if private {
        caching::protect(headers, shared);
    }
}

/// What may pass of an answer's trailers; `None` if that is nothing.
///
/// Whoever reads them may merge them into the head, long after it has acted on that. So what frames, authenticates, routes, caches or
/// describes the body (RFC 9110 §6.5.1) is left out, and with it all that [`returning`] would have removed or changed.
pub(super) fn trailing(mut trailers: HeaderMap) -> Option<HeaderMap> {
    remove(&mut trailers, |name| never_trails(name.as_str()));
    (!trailers.is_empty()).then_some(trailers)
}

/// The names of `Trailer` that may follow: over HTTP/1.1 hyper sends no others. `None` if there are none, or if the answer has a
/// length and thus no trailers there.
fn announced_trailers(headers: &HeaderMap) -> Option<HeaderValue> {
    if headers.contains_key(header::CONTENT_LENGTH) {
        return None;
    }
    let lines = headers.get_all(header::TRAILER).iter().filter_map(|line| line.to_str().ok());
    let names = lines.flat_map(|line| line.split(',')).filter_map(|name| HeaderName::try_from(name.trim_ascii()).ok());
    let names: Vec<_> = names.filter(|name| !never_trails(name.as_str())).map(|name| name.to_string()).collect();
    HeaderValue::try_from(names.join(", ")).ok().filter(|names| !names.is_empty())
}

/// Headers of a request that never reach an upstream, whatever the route says.
fn never_sent(name: &str) -> bool {
    let fixed = matches!(
        name,
        // The browser's own proof, and the proof of possession that belongs to it (RFC 9449).
        "authorization" | "dpop"
            // hyper answers `100 Continue` itself; the length is that of the body as it was read.
            | "expect" | "content-length" | "host"
            // Who called is said by us alone.
            | "forwarded" | "x-real-ip" | "x-client-ip" | "x-cluster-client-ip" | "true-client-ip" | "cf-connecting-ip"
            | "fastly-client-ip"
            // Frameworks that believe these would serve another path than the one that was checked.
            | "x-rewrite-url"
    );
    fixed
        || is_hop_by_hop(name)
        || name.starts_with("x-forwarded-")
        || name.starts_with("x-original-")
        // CGI and its heirs read `X_Forwarded_For` as `X-Forwarded-For`.
        || name.contains('_')
}

/// Frameworks that believe these would take a call for a method that the route's list may not have.
fn is_method_override(name: &str) -> bool {
    matches!(name, "x-http-method-override" | "x-http-method" | "x-method-override")
}

/// Headers of an answer that never reach a browser, whatever the route says.
fn never_returned(name: &str) -> bool {
    let fixed = matches!(
        name,
        // They act on all of our origin, long after this answer.
        "clear-site-data" | "service-worker-allowed" | "strict-transport-security" | "public-key-pins" | "alt-svc"
            | "nel" | "report-to" | "accept-ch" | "critical-ch" | "set-login" | "origin-agent-cluster"
            // It navigates, and `javascript:` is only one of the places.
            | "refresh"
            // They send reports about our pages, or let other origins look.
            | "reporting-endpoints" | "timing-allow-origin"
            // A server in front of us would send a file of its own instead.
            | "x-sendfile" | "x-lighttpd-send-file" | "x-reproxy-url"
    );
    fixed
        || is_hop_by_hop(name)
        || name.starts_with("access-control-")
        || name.starts_with("x-accel-")
        // Device-bound sessions: the upstream would take over the browser's session with us.
        || name.starts_with("sec-session-")
        || name.starts_with("secure-session-")
}

/// Trailers that would speak for the head.
fn never_trails(name: &str) -> bool {
    let fixed = matches!(
        name,
        "set-cookie"
            | "www-authenticate"
            | "authentication-info"
            | "authorization"
            | "host"
            | "location"
            | "retry-after"
            | "age"
            | "date"
            | "expires"
            | "vary"
            | "warning"
            | "pragma"
            | "cache-control"
    );
    fixed
        || never_returned(name)
        || is_targeted_cache_control(name)
        // Of all that describes or guards the content, its digest alone is known only at its end (RFC 9530 §2).
        || (name.starts_with("content-") && name != "content-digest")
        || name.starts_with("cross-origin-")
        || matches!(name, "x-content-type-options" | "x-frame-options" | "referrer-policy" | "permissions-policy")
}

/// Cache rules that outrank `Cache-Control` for some shared caches (RFC 9213).
fn is_targeted_cache_control(name: &str) -> bool {
    name.ends_with("cdn-cache-control") || matches!(name, "surrogate-control" | "edge-control")
}

/// Headers that belong to one connection (RFC 9110 §7.6.1); `Trailer` with them, which is written anew.
fn is_hop_by_hop(name: &str) -> bool {
    matches!(name, "connection" | "keep-alive" | "te" | "trailer" | "transfer-encoding" | "upgrade" | "http2-settings")
        || name.starts_with("proxy-")
}

/// Removes what `Connection` names. Must come before anything of ours is added, or a browser could take it away again.
fn remove_named_by_connection(headers: &mut HeaderMap) {
    if !headers.contains_key(header::CONNECTION) {
        return;
    }
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|&byte| byte == b','))
        .map(<[u8]>::trim_ascii)
        // These go anyway; without them the list is usually empty, and costs nothing.
        .filter(|name| !matches!(*name, b"keep-alive" | b"close" | b"Upgrade" | b"upgrade"))
        .filter_map(|name| HeaderName::from_bytes(name).ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
}

/// Whether the transfer coding is `chunked` alone, or none. hyper takes off the last coding and leaves the others in the body, which
/// would then pass without a word about them (RFC 9112 §6.1).
pub(crate) fn knows_the_coding(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    codings.next().is_none_or(|coding| coding.as_bytes().eq_ignore_ascii_case(b"chunked")) && codings.next().is_none()
}

/// Leaves one length, the one that was believed: none beside a transfer coding, one of those that agree (RFC 9112 §6.3(3), (5)).
/// hyper refuses lengths that differ, and hands on all others.
fn keep_one_length(headers: &mut HeaderMap) {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        headers.remove(header::CONTENT_LENGTH);
        return;
    }
    let Some(length) = headers.get(header::CONTENT_LENGTH) else { return };
    if length.as_bytes().iter().all(u8::is_ascii_digit)
        && headers.get_all(header::CONTENT_LENGTH).iter().nth(1).is_none()
    {
        return;
    }
    let one = length.as_bytes().split(|&byte| byte == b',').next().unwrap_or_default().trim_ascii();
    match HeaderValue::from_bytes(one) {
        Ok(one) => drop(headers.insert(header::CONTENT_LENGTH, one)),
        Err(_) => drop(headers.remove(header::CONTENT_LENGTH)),
    }
}

/// Keeps `WWW-Authenticate` for tokens (RFC 6750, RFC 9449, RFC 9470) only. Any other scheme makes the browser ask the person for
/// a password, or prove itself by Kerberos, in our name.
fn keep_token_challenges(headers: &mut HeaderMap) {
    if !headers.contains_key(header::WWW_AUTHENTICATE) {
        return;
    }
    let kept: Vec<HeaderValue> =
        headers.get_all(header::WWW_AUTHENTICATE).iter().filter(|value| is_token_challenge(value)).cloned().collect();
    headers.remove(header::WWW_AUTHENTICATE);
    for value in kept {
        headers.append(header::WWW_AUTHENTICATE, value);
    }
}

/// Whether all challenges of a line are for tokens. What we cannot read a browser may read as anything.
fn is_token_challenge(line: &HeaderValue) -> bool {
    challenge::read(line).is_some_and(|challenges| challenges.iter().all(Challenge::is_for_a_token))
}

/// Whether a comma-separated header names `token`, in any case.
pub(super) fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let names = |value: &HeaderValue| {
        value.as_bytes().split(|&byte| byte == b',').any(|part| {
            let word = part.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
            word.eq_ignore_ascii_case(token.as_bytes())
        })
    };
    headers.get_all(name).iter().any(names)
}

/// Removes what is unwanted, some at a time: rarely are there more, and nothing is allocated.
fn remove(headers: &mut HeaderMap, unwanted: impl Fn(&HeaderName) -> bool) {
    loop {
        let mut found = [const { None }; 8];
        let mut names = headers.keys().filter(|name| unwanted(name));
        for place in &mut found {
            *place = names.next().cloned();
        }
        let rest = names.next().is_some();
        for name in found.into_iter().flatten() {
            headers.remove(name);
        }
        if !rest {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
