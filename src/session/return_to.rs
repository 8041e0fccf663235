//! Where to go after a login: a place among this frontend's assets, or nothing.
//!
//! A login link may come from anybody, and the request that follows it is same-origin and carries the session cookie. So it must
//! lead to a page, never to an endpoint of ours or an API.

use percent_encoding::percent_decode_str;
use url::{Url, form_urlencoded};

/// A checked destination. It comes back byte for byte, query and fragment included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReturnTo(String);

/// What a destination is held against.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The frontend's URL; its path ends in `/`.
    pub(crate) frontend: &'a Url,
    /// The path of our own endpoints.
    pub(crate) base_path: &'a str,
    /// Whether a path is a proxied route, or another frontend's.
    pub(crate) is_taken: &'a dyn Fn(&str) -> bool,
}

impl ReturnTo {
    /// Accepts a path on this frontend (`/cart?x=1#y`) or an absolute URL with its origin. `None` for everything else: other origins,
    /// anything below the base path or on a route, `\`, characters outside 0x21–0x7E, more than 2 048 bytes.
    pub(crate) fn parse(input: &str, place: Place<'_>) -> Option<Self> {
        let plain = input.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
        if !plain || input.len() > LONGEST {
            return None;
        }
        let origin = origin(place.frontend);
        // `https:/shop.example/x` parses as ours, but is a relative reference to a browser that comes from us.
        let is_absolute = input.get(..origin.len()).is_some_and(|start| start.eq_ignore_ascii_case(&origin));
        if !is_absolute && !input.starts_with('/') {
            return None;
        }
        let url = followed(input, place.frontend)?;
        // What a server further in may decode must not be another place.
        let decoded = percent_decode_str(url.path()).decode_utf8().ok()?;
        let decoded = followed(&decoded, place.frontend)?;
        [url, decoded].iter().all(|url| is_ours(url, place)).then(|| Self(input.to_owned()))
    }

    /// The frontend's start page.
    pub(crate) fn start(frontend: &Url) -> Self {
        Self(frontend.path().to_owned())
    }

    /// As it came in.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// As an absolute URL on the frontend: nothing a browser could read as another host.
    pub(crate) fn absolute(&self, frontend: &Url) -> String {
        if self.0.starts_with('/') { format!("{}{}", origin(frontend), self.0) } else { self.0.clone() }
    }

    /// The absolute URL with a parameter in its query, in place of any of this name that it had. Everything else stays byte for byte.
    pub(crate) fn absolute_with(&self, frontend: &Url, name: &str, value: &str) -> String {
        let absolute = self.absolute(frontend);
        let (before, fragment) = absolute.split_at(absolute.find('#').unwrap_or(absolute.len()));
        let (page, query) = before.split_once('?').unwrap_or((before, ""));
        let is_other =
            |pair: &&str| form_urlencoded::parse(pair.as_bytes()).next().is_none_or(|(found, _)| found != name);
        let mut pairs: Vec<&str> = query.split('&').filter(is_other).collect();
        if query.is_empty() {
            pairs.clear();
        }
        let ours = format!("{name}={value}");
        pairs.push(&ours);
        format!("{page}?{}{fragment}", pairs.join("&"))
    }
}

/// The origin as a browser writes it, without a slash.
pub(crate) fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// Where it leads. Nowhere, if it is not the same alone and behind our origin: alone, `//../x` is another host.
fn followed(reference: &str, frontend: &Url) -> Option<Url> {
    let alone = frontend.join(reference).ok()?;
    if !reference.starts_with('/') {
        return Some(alone);
    }
    let behind = Url::parse(&format!("{}{reference}", origin(frontend))).ok()?;
    (alone == behind).then_some(alone)
}

fn is_ours(url: &Url, place: Place<'_>) -> bool {
    url.origin() == place.frontend.origin()
        && url.username().is_empty()
        && url.password().is_none()
        && is_asset(url.path(), place)
}

fn is_asset(path: &str, place: Place<'_>) -> bool {
    let below = |base: &str| path == base || path.strip_prefix(base).is_some_and(|rest| rest.starts_with('/'));
    path.starts_with(place.frontend.path())
        // `/..//evil.example` is normalised to `//evil.example`.
        && !path.contains("//")
        && !below(place.base_path)
        && !(place.is_taken)(path)
}

const LONGEST: usize = 2048;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::properties;
    use super::*;

    fn parse(input: &str) -> Option<ReturnTo> {
        let frontend = Url::parse("https://shop.example/").expect("a URL");
        let is_taken = |path: &str| path == "/api" || path.starts_with("/api/");
        ReturnTo::parse(input, Place { frontend: &frontend, base_path: "/bff", is_taken: &is_taken })
    }

    #[test]
    fn pages_come_back_byte_for_byte() {
        let frontend = Url::parse("https://shop.example/").expect("a URL");
        for page in [
            "/",
            "/cart",
            "/cart?x=1&y=%2F#/a?b=%2F",
            "/?q=a+b",
            "/a;b=c/d",
            "/bffx",
            "/apix",
            "/%C3%BC",
            "/a/../b?c#d#e",
            "/#//evil.example",
            "/cart?next=https://evil.example/",
            "/@evil.example",
            "/a:b@c",
        ] {
            let parsed = parse(page).unwrap_or_else(|| panic!("{page} is a page"));
            assert_eq!(parsed.absolute(&frontend), format!("https://shop.example{page}"));
        }
        let absolute = "https://shop.example/cart#x";
        assert_eq!(parse(absolute).map(|page| page.absolute(&frontend)).as_deref(), Some(absolute));
    }

    #[test]
    fn everything_else_is_refused() {
        for input in [
            // another origin
            "//evil.example",
            "///evil.example",
            "//../evil.example",
            "https://evil.example/",
            "https://shop.example.evil.example/",
            "http://shop.example/",
            "https://shop.example:444/",
            "https://shop.example@evil.example/",
            "https://user@shop.example/",
            "https:evil.example",
            "https:/shop.example/x",
            "https:shop.example/x",
            "https:///shop.example/x",
            "javascript:alert(1)",
            "data:text/html,x",
            "/..//evil.example",
            "/.//evil.example",
            "/a/..//evil.example",
            "/%2e%2e//evil.example",
            // what a lax reader would take for another origin
            "/\\evil.example",
            "\\\\evil.example",
            "/\t/evil.example",
            "/\n/evil.example",
            " //evil.example",
            "/\u{ff0f}evil.example",
            "/%2fevil.example/..//",
            "//shop.example/x",
            "/%2f../x",
            "/%0d%2f../x",
            // not a page
            "/bff",
            "/bff/logout",
            "/bff/logout?sid=1",
            "/x/../bff/logout",
            "/%62ff/logout",
            "/./bff/login",
            "/api",
            "/api/x",
            "/x/%2e%2e/api/x",
            "/%61pi/x",
            "/a//b",
            // not a place at all
            "",
            "cart",
            "?x=1",
            "#x",
            ".",
            "..",
            "/ü",
            "/a b",
        ] {
            assert_eq!(parse(input), None, "{input:?}");
        }
        assert_eq!(parse(&format!("/{}", "a".repeat(2048))), None);
        assert!(parse(&format!("/{}", "a".repeat(2047))).is_some());
    }

    #[test]
    fn a_frontend_below_a_path_keeps_to_it() {
        let frontend = Url::parse("https://host.example/shop/").expect("a URL");
        let place = Place { frontend: &frontend, base_path: "/shop/bff", is_taken: &|_| false };
        assert!(ReturnTo::parse("/shop/cart", place).is_some());
        assert!(ReturnTo::parse("/other/", place).is_none());
        assert!(ReturnTo::parse("/shop/../other/", place).is_none());
        assert!(ReturnTo::parse("/shop/bff/logout", place).is_none());
    }

    #[test]
    fn a_parameter_is_added_before_the_fragment() {
        let frontend = Url::parse("https://shop.example/").expect("a URL");
        let with = |page: &str| parse(page).expect("a page").absolute_with(&frontend, "login_error", "login_required");
        assert_eq!(with("/a#b?c"), "https://shop.example/a?login_error=login_required#b?c");
        assert_eq!(with("/a?x=1"), "https://shop.example/a?x=1&login_error=login_required");
        assert_eq!(with("/a?"), "https://shop.example/a?login_error=login_required");
    }

    #[test]
    fn a_parameter_takes_the_place_of_the_last_one_and_the_rest_stays_byte_for_byte() {
        let frontend = Url::parse("https://shop.example/").expect("a URL");
        let with = |page: &str| parse(page).expect("a page").absolute_with(&frontend, "login_error", "new");
        for page in ["/a?login_error=old", "/a?login%5Ferror=old&login_error=older", "/a?login_error"] {
            assert_eq!(with(page), "https://shop.example/a?login_error=new", "{page}");
        }
        assert_eq!(
            with("/a?b=%2F&login_error=old&&c=d+e?#login_error=old"),
            "https://shop.example/a?b=%2F&&c=d+e?&login_error=new#login_error=old"
        );
        assert_eq!(with("/a?xlogin_error=old"), "https://shop.example/a?xlogin_error=old&login_error=new");
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_ours_and_a_page(input in "[/\\\\.:@?#%a-f0-9_ \t-]{0,40}") {
            properties::return_to(input.as_bytes());
        }
    }
}
