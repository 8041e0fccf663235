use http::header::{COOKIE, HeaderMap, HeaderName, HeaderValue, SET_COOKIE};
use url::Url;

use super::super::cookies::{keep_request_cookies, keep_response_cookies};
use super::names;
use crate::session::{CookiePolicy, Slotted};

/// Lines of `Cookie`, or of `Set-Cookie`. What we would read as a cookie of ours passes neither way, even if a route names it; the
/// cookies that a route names pass as they are; and reading ours finds what is there.
///
/// # Panics
/// If that does not hold.
pub fn cookies(lines: &[u8]) {
    for url in ["https://shop.example/", "http://localhost:8080/"] {
        let policy = CookiePolicy::new("cloakroom", &Url::parse(url).expect("a URL"), None);
        let own = [policy.session_name(), &policy.slotted_name(Slotted::Login, 3)].map(str::to_owned);
        let mut named = names(&["theme", "a"]);
        named.extend(own);
        reads_its_own(&policy, &headers(&COOKIE, lines));
        requests(&policy, &named, &headers(&COOKIE, lines));
        responses(&policy, &named, &headers(&SET_COOKIE, lines));
    }
}

fn headers(name: &HeaderName, lines: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for value in lines.split(|byte| *byte == b'\n').filter_map(|line| HeaderValue::from_bytes(line).ok()) {
        let _ = headers.try_append(name, value);
    }
    headers
}

fn reads_its_own(policy: &CookiePolicy, headers: &HeaderMap) {
    let first = |name: &str| {
        let mut values = pairs(headers).into_iter().filter_map(|pair| pair.strip_prefix(format!("{name}=").as_bytes()));
        values.find_map(|value| str::from_utf8(value).ok())
    };
    assert_eq!(policy.session(headers), first(policy.session_name()));
    for kind in [Slotted::Login, Slotted::Response] {
        for (slot, value) in policy.slotted(kind, headers) {
            assert!(slot < 20, "there is no slot {slot}");
            assert!(!value.contains(';'), "{value:?} is more than one cookie");
        }
    }
}

fn requests(policy: &CookiePolicy, named: &[String], given: &HeaderMap) {
    let mut kept = given.clone();
    keep_request_cookies(&mut kept, named, policy.own_prefixes());
    assert!(kept.get_all(COOKIE).iter().count() <= 1, "{kept:?}");
    assert_eq!(policy.session(&kept), None, "our session goes to the upstream: {kept:?}");
    for kind in [Slotted::Login, Slotted::Response] {
        assert_eq!(policy.slotted(kind, &kept).count(), 0, "a login of ours goes to the upstream: {kept:?}");
    }
    let wanted = pairs(given).into_iter().filter(|pair| is_named(pair, &["theme", "a"])).collect::<Vec<_>>();
    assert_eq!(pairs(&kept), wanted, "of {given:?}");
}

fn responses(policy: &CookiePolicy, named: &[String], given: &HeaderMap) {
    let mut kept = given.clone();
    keep_response_cookies(&mut kept, named, policy.own_prefixes());
    let first = |line: &HeaderValue| line.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().to_vec();
    let wanted = given.get_all(SET_COOKIE).iter().filter(|line| is_named(&first(line), &["theme", "a"]));
    assert!(kept.get_all(SET_COOKIE).iter().eq(wanted), "{kept:?} of {given:?}");
    for line in kept.get_all(SET_COOKIE) {
        // What a browser sends back when it has taken the line.
        let mut back = HeaderMap::new();
        back.insert(COOKIE, HeaderValue::from_bytes(&first(line)).expect("a part of a value is a value"));
        assert_eq!(policy.session(&back), None, "the upstream sets our session: {line:?}");
    }
}

/// The pairs of all lines, without blanks around them; none is empty.
fn pairs(headers: &HeaderMap) -> Vec<&[u8]> {
    let lines = headers.get_all(COOKIE).into_iter();
    let pairs = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b';')).map(<[u8]>::trim_ascii);
    pairs.filter(|pair| !pair.is_empty()).collect()
}

fn is_named(pair: &[u8], names: &[&str]) -> bool {
    let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii();
    pair.contains(&b'=') && names.iter().any(|known| known.as_bytes() == name)
}
