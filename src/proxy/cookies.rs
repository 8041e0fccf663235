//! Which cookies pass between browser and upstream: those a route names, and never one of ours.

use http::header::{COOKIE, HeaderMap, HeaderValue, SET_COOKIE};

/// Keeps the cookies with these names (RFC 6265 §4.2.1), joined into one header; without any the header is gone.
pub(super) fn keep_request_cookies(headers: &mut HeaderMap, names: &[String], own: &[String]) {
    if names.is_empty() || !headers.contains_key(COOKIE) {
        headers.remove(COOKIE);
        return;
    }
    let mut kept: Vec<u8> = Vec::new();
    for pair in headers.get_all(COOKIE).iter().flat_map(|value| value.as_bytes().split(|&byte| byte == b';')) {
        let pair = pair.trim_ascii();
        if passes(pair, names, own) {
            if !kept.is_empty() {
                kept.extend_from_slice(b"; ");
            }
            kept.extend_from_slice(pair);
        }
    }
    headers.remove(COOKIE);
    if let Ok(value) = HeaderValue::from_bytes(&kept)
        && !kept.is_empty()
    {
        headers.insert(COOKIE, value);
    }
}

/// Keeps the `Set-Cookie` lines for these names (RFC 6265 §5.2).
pub(super) fn keep_response_cookies(headers: &mut HeaderMap, names: &[String], own: &[String]) {
    if !headers.contains_key(SET_COOKIE) {
        return;
    }
    let kept: Vec<HeaderValue> = headers
        .get_all(SET_COOKIE)
        .iter()
        .filter(|line| passes(line.as_bytes().split(|&byte| byte == b';').next().unwrap_or_default(), names, own))
        .cloned()
        .collect();
    headers.remove(SET_COOKIE);
    for line in kept {
        headers.append(SET_COOKIE, line);
    }
}

/// Whether a `name=value` may pass. A pair without `=` has an empty name for browsers, and so never passes.
fn passes(pair: &[u8], names: &[String], own: &[String]) -> bool {
    let Some(end) = pair.iter().position(|&byte| byte == b'=') else { return false };
    let name = pair[..end].trim_ascii();
    names.iter().any(|allowed| allowed.as_bytes() == name) && !is_own(name, own)
}

/// Whether a cookie's name starts like one of ours. Prefixes such as `__Host-` are compared by browsers without regard to case.
fn is_own(name: &[u8], own: &[String]) -> bool {
    own.iter().any(|prefix| name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::properties;
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    fn own() -> Vec<String> {
        names(&["__Host-Http-cloakroom"])
    }

    fn sent(cookies: &[&str], allowed: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for cookie in cookies {
            headers.append(COOKIE, cookie.parse().unwrap());
        }
        keep_request_cookies(&mut headers, &names(allowed), &own());
        assert!(headers.get_all(COOKIE).iter().count() <= 1);
        headers.get(COOKIE).map(|value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn only_named_cookies_reach_the_upstream() {
        for (cookies, allowed, passed) in [
            (&["a=1; b=2"][..], &[][..], None),
            (&["a=1; b=2"], &["a"], Some("a=1")),
            (&["a=1; b=2", "c=3"], &["a", "c"], Some("a=1; c=3")),
            (&["a=1;b=2;a=3"], &["a"], Some("a=1; a=3")),
            (&["A=1; aa=2; =a; a"], &["a"], None),
            (&[" a = 1"], &["a"], Some("a = 1")),
            (&["a=x=y"], &["a"], Some("a=x=y")),
            (&["__Host-Http-cloakroom=s; a=1"], &["a"], Some("a=1")),
            (&["__Host-Http-cloakroom=s"], &["__Host-Http-cloakroom"], None),
            (&["__Host-Http-cloakroom-login.3=s"], &["__Host-Http-cloakroom-login.3"], None),
            (&["__HOST-HTTP-CLOAKROOM=s"], &["__HOST-HTTP-CLOAKROOM"], None),
            (&["a=\"x; __Host-Http-cloakroom=s\""], &["a"], Some("a=\"x")),
        ] {
            assert_eq!(sent(cookies, allowed).as_deref(), passed, "{cookies:?}");
        }
    }

    #[test]
    fn only_named_cookies_come_back() {
        for (line, allowed, passes) in [
            ("a=1; Path=/", &["a"][..], true),
            ("a=1; Path=/", &[], false),
            ("b=1", &["a"], false),
            (" a =1", &["a"], true),
            ("a", &["a"], false),
            ("=a", &["a", ""], true),
            ("__Host-Http-cloakroom=x; Path=/; Secure", &["__Host-Http-cloakroom"], false),
            ("=__Host-Http-cloakroom=x", &["a"], false),
            ("__host-http-CLOAKROOM.x=x", &["__host-http-CLOAKROOM.x"], false),
        ] {
            let mut headers = HeaderMap::new();
            headers.append(SET_COOKIE, line.parse().unwrap());
            keep_response_cookies(&mut headers, &names(allowed), &own());
            assert_eq!(headers.contains_key(SET_COOKIE), passes, "{line}");
        }
    }

    proptest! {
        #[test]
        fn none_of_our_cookies_ever_passes(
            cookies in prop::collection::vec("(__Host-Http-cloakroom(-login\\.[0-9])?|a|b)? ?=? ?[ -~]{0,12}", 0..6),
            separator in prop::sample::select(vec!["; ", ";", " ; ", ", "]),
        ) {
            properties::cookies(cookies.join(separator).as_bytes());
        }
    }
}
