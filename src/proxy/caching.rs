//! Who may keep an upstream's answer.
//!
//! Caches know that an answer to a request with `Authorization` is not for everybody (RFC 9111 §3.5). Here a cookie replaced that
//! header, so the rule has to be written into the answer.

use http::header::{CACHE_CONTROL, ETAG, EXPIRES, HeaderMap, HeaderValue, LAST_MODIFIED, VARY};

/// Whether `public` and `s-maxage` of an upstream are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SharedCache {
    /// The route says so.
    Believe,
    /// The default.
    Refuse,
}

/// Keeps an answer that a session or token decided away from shared caches and from other sessions of one browser.
pub(super) fn protect(headers: &mut HeaderMap, shared: SharedCache) {
    vary_by_cookie(headers);
    if !headers.contains_key(CACHE_CONTROL) && !headers.contains_key(EXPIRES) {
        let has_validator = headers.contains_key(ETAG) || headers.contains_key(LAST_MODIFIED);
        let rule = if has_validator { "private, no-cache" } else { "no-store" };
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(rule));
    } else if let Some(rule) = private(headers, shared) {
        headers.insert(CACHE_CONTROL, rule);
    }
}

/// The upstream's rule made private; `None` if it may stay as it is.
fn private(headers: &HeaderMap, shared: SharedCache) -> Option<HeaderValue> {
    let Some(directives) = directives(headers) else { return Some(HeaderValue::from_static("no-store")) };
    let has = |name: &str| directives.iter().any(|directive| directive.eq_ignore_ascii_case(name));
    let is_shared = |directive: &&str| {
        let name = directive.split('=').next().unwrap_or_default().trim_ascii();
        name.eq_ignore_ascii_case("public") || name.eq_ignore_ascii_case("s-maxage")
    };
    let says_shared = directives.iter().any(is_shared);
    if has("no-store") || (shared == SharedCache::Believe && says_shared) || (has("private") && !says_shared) {
        return None;
    }
    // `private="field"` protects that field only (RFC 9111 §5.2.2.7), so it does not count, and goes.
    let is_private = |directive: &&str| directive.get(..7).is_some_and(|name| name.eq_ignore_ascii_case("private"));
    let mut rule = "private".to_owned();
    for directive in directives.iter().filter(|directive| !is_shared(directive) && !is_private(directive)) {
        rule.push_str(", ");
        rule.push_str(directive);
    }
    Some(HeaderValue::try_from(rule).unwrap_or(HeaderValue::from_static("no-store")))
}

/// All directives of all lines; `None` if they cannot be told apart.
fn directives(headers: &HeaderMap) -> Option<Vec<&str>> {
    let mut directives = Vec::new();
    for value in headers.get_all(CACHE_CONTROL) {
        let value = value.to_str().ok()?;
        let (mut quoted, mut escaped, mut start) = (false, false, 0);
        for (at, byte) in value.bytes().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if quoted => escaped = true,
                b'"' => quoted = !quoted,
                b',' if !quoted => {
                    directives.push(value[start..at].trim_ascii());
                    start = at + 1;
                }
                _ => {}
            }
        }
        if quoted {
            return None;
        }
        directives.push(value[start..].trim_ascii());
    }
    directives.retain(|directive| !directive.is_empty());
    Some(directives)
}

fn vary_by_cookie(headers: &mut HeaderMap) {
    let covers_cookie = |value: &HeaderValue| {
        value.to_str().is_ok_and(|names| {
            names.split(',').map(str::trim_ascii).any(|name| name == "*" || name.eq_ignore_ascii_case("cookie"))
        })
    };
    if !headers.get_all(VARY).iter().any(covers_cookie) {
        headers.append(VARY, HeaderValue::from_static("Cookie"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn protected(said: &[(&'static str, &'static str)], shared: SharedCache) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in said {
            headers.append(*name, HeaderValue::from_static(value));
        }
        protect(&mut headers, shared);
        let values: Vec<_> = headers.get_all(CACHE_CONTROL).iter().map(|value| value.to_str().unwrap()).collect();
        values.join(" | ")
    }

    #[test]
    fn an_answer_for_one_session_is_private() {
        for (said, rule) in [
            (&[][..], "no-store"),
            (&[("etag", "\"1\"")], "private, no-cache"),
            (&[("last-modified", "Thu, 01 Jan 1970 00:00:00 GMT")], "private, no-cache"),
            (&[("expires", "Thu, 01 Jan 2099 00:00:00 GMT")], "private"),
            (&[("cache-control", "")], "private"),
            (&[("cache-control", "max-age=60")], "private, max-age=60"),
            (&[("cache-control", "Public, max-age=60")], "private, max-age=60"),
            (&[("cache-control", "max-age=60, S-MaxAge=600, must-revalidate")], "private, max-age=60, must-revalidate"),
            (&[("cache-control", "max-age=1"), ("cache-control", "public")], "private, max-age=1"),
            (&[("cache-control", "private, max-age=60")], "private, max-age=60"),
            (&[("cache-control", "private, public")], "private"),
            (&[("cache-control", "private=\"set-cookie, public\", max-age=1")], "private, max-age=1"),
            (&[("cache-control", "no-cache=\"a, public\"")], "private, no-cache=\"a, public\""),
            (&[("cache-control", "no-store")], "no-store"),
            (&[("cache-control", "no-cache")], "private, no-cache"),
            (&[("cache-control", "x=\"private")], "no-store"),
            (&[("cache-control", "x=\"a\\\", private\", max-age=1")], "private, x=\"a\\\", private\", max-age=1"),
        ] {
            assert_eq!(protected(said, SharedCache::Refuse), rule, "{said:?}");
        }
    }

    #[test]
    fn a_route_with_shared_cache_believes_public_only_if_it_is_said() {
        for (said, rule) in [
            ("public, max-age=60", "public, max-age=60"),
            ("s-maxage=60", "s-maxage=60"),
            ("max-age=60", "private, max-age=60"),
        ] {
            assert_eq!(protected(&[("cache-control", said)], SharedCache::Believe), rule);
        }
    }

    #[test]
    fn answers_vary_by_cookie_once() {
        for (said, vary) in [
            (&[][..], "Cookie"),
            (&["Accept"], "Accept | Cookie"),
            (&["Accept, cookie"], "Accept, cookie"),
            (&["*"], "*"),
            (&["Accept", "Cookie"], "Accept | Cookie"),
            (&["X-Cookie"], "X-Cookie | Cookie"),
        ] {
            let mut headers = HeaderMap::new();
            for value in said {
                headers.append(VARY, HeaderValue::from_static(value));
            }
            protect(&mut headers, SharedCache::Refuse);
            let values: Vec<_> = headers.get_all(VARY).iter().map(|value| value.to_str().unwrap()).collect();
            assert_eq!(values.join(" | "), vary);
        }
    }
}
