//! Where an answer points: addresses on the route's own upstream become addresses on the route.

use http::{HeaderValue, Uri};
use url::Url;

use super::upstream::Upstream;

/// The public form of a `Location` or `Content-Location`. `None` if it is not below the upstream's base path (or unreadable),
/// and so is to be relayed as it is. Query and fragment stay.
pub(super) fn public(
    upstream: &Upstream,
    route_path: &str,
    asked: &Uri,
    location: &HeaderValue,
) -> Option<HeaderValue> {
    // Relative references count from the address that was asked (RFC 9110 §10.2.2).
    let target = Url::parse(&asked.to_string()).ok()?.join(location.to_str().ok()?).ok()?;
    if target.origin() != upstream.origin {
        return None;
    }
    let rest = target.path().strip_prefix(upstream.base())?;
    if !rest.is_empty() && !rest.starts_with('/') {
        return None;
    }
    let mut public = format!("{}{rest}", route_path.trim_end_matches('/'));
    if public.is_empty() {
        public.push('/');
    }
    // `//host/…` would be another site.
    if public.starts_with("//") {
        return None;
    }
    if let Some(query) = target.query() {
        public.push('?');
        public.push_str(query);
    }
    if let Some(fragment) = target.fragment() {
        public.push('#');
        public.push_str(fragment);
    }
    HeaderValue::try_from(public).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::client::Client;
    use super::super::properties;
    use super::super::route::RouteOptions;
    use super::*;

    fn public_of(base: &str, route: &str, location: &str) -> Option<String> {
        let upstream = Upstream::new(&RouteOptions::new("/", base.parse().unwrap()), &Client::for_tests()).unwrap();
        let asked = upstream.join(route, &format!("{route}/a/b").replace("//", "/"), None).unwrap();
        let location = HeaderValue::from_str(location).unwrap();
        public(&upstream, route, &asked, &location).map(|value| value.to_str().unwrap().to_owned())
    }

    proptest! {
        #[test]
        fn what_is_rewritten_stays_on_the_route(rest in "[/\\\\.a-z%2f:@?#]{0,20}") {
            for location in [rest.clone(), format!("/base/v1{rest}"), format!("https://o.internal/base/v1{rest}")] {
                properties::response_headers(format!("Location: {location}").as_bytes());
            }
        }
    }

    #[test]
    fn addresses_on_the_routes_own_upstream_become_the_routes() {
        for (base, route, location, expected) in [
            ("https://o.internal/v1", "/api/orders", "https://o.internal/v1/7?x=1#y", Some("/api/orders/7?x=1#y")),
            ("https://o.internal/v1", "/api/orders", "https://o.internal:443/v1/7", Some("/api/orders/7")),
            ("https://o.internal/v1", "/api/orders", "https://o.internal/v1", Some("/api/orders")),
            ("https://o.internal/v1", "/api/orders", "/v1/7", Some("/api/orders/7")),
            ("https://o.internal/v1", "/api/orders", "c", Some("/api/orders/a/c")),
            ("https://o.internal/v1", "/api/orders", "../c", Some("/api/orders/c")),
            ("https://o.internal/v1", "/api/orders", "?page=2", Some("/api/orders/a/b?page=2")),
            ("https://o.internal", "/", "https://o.internal/", Some("/")),
            ("https://o.internal", "/", "/x", Some("/x")),
            ("https://o.internal/v1", "/api/orders", "https://o.internal/v10/7", None),
            ("https://o.internal/v1", "/api/orders", "https://o.internal/v1/../x", None),
            ("https://o.internal/v1", "/api/orders", "https://o.internal:444/v1/7", None),
            ("https://o.internal/v1", "/api/orders", "http://o.internal/v1/7", None),
            ("https://o.internal/v1", "/api/orders", "https://elsewhere.example/v1/7", None),
            ("https://o.internal/v1", "/api/orders", "//elsewhere.example/v1/7", None),
            ("https://o.internal/v1", "/", "https://o.internal/v1//elsewhere.example", None),
            ("https://o.internal/v1", "/api/orders", "javascript:alert(1)", None),
            ("https://o.internal/v1", "/api/orders", "https://[", None),
        ] {
            assert_eq!(public_of(base, route, location).as_deref(), expected, "{location}");
        }
    }
}
