//! What must hold for whatever a login link says: run by proptest, by the fuzzer and over its corpus (`fuzz/`).

use percent_encoding::percent_decode_str;
use url::{Url, form_urlencoded};

use super::{Place, ReturnTo};

/// Where a link wants to return to. What is accepted leads a browser to a page of ours and nowhere else, from wherever it comes, also
/// if it is decoded once more on the way; it comes back byte for byte; and a parameter can be added without another change.
///
/// # Panics
/// If that does not hold.
pub fn return_to(input: &[u8]) {
    let Ok(input) = str::from_utf8(input) else { return };
    for (frontend, base_path, route) in
        [("https://shop.example/", "/bff", "/api"), ("http://localhost:8080/shop/", "/shop/bff", "/shop/api")]
    {
        let frontend = Url::parse(frontend).expect("a URL");
        let is_taken = |path: &str| is_below(path, route);
        let place = Place { frontend: &frontend, base_path, is_taken: &is_taken };
        if let Some(accepted) = ReturnTo::parse(input, place) {
            assert_eq!(accepted.as_str(), input);
            assert!(input.len() <= 2048);
            is_a_page(&accepted, place, route);
        }
    }
}

fn is_a_page(accepted: &ReturnTo, place: Place<'_>, route: &str) {
    let frontend = place.frontend;
    let absolute = accepted.absolute(frontend);
    let added = accepted.absolute_with(frontend, "login_error", "access_denied");
    let callback = frontend.join(&format!("{}/callback?code=x", place.base_path)).expect("a URL");
    for followed in [accepted.as_str(), &absolute, &added] {
        let seen = callback.join(followed).expect("it can be followed");
        assert_eq!(seen.origin(), frontend.origin(), "{followed}");
        assert!(seen.username().is_empty() && seen.password().is_none(), "{followed}");
        let decoded = percent_decode_str(seen.path()).decode_utf8().expect("it is text");
        let decoded = frontend.join(&decoded).expect("it can be followed");
        assert_eq!(decoded.origin(), frontend.origin(), "{followed}, decoded");
        for path in [seen.path(), decoded.path()] {
            assert!(path.starts_with(frontend.path()) && !path.starts_with("//"), "{followed}");
            assert!(!is_below(path, place.base_path) && !is_below(path, route), "{followed} is no page");
        }
    }
    let (before, after) = (Url::parse(&absolute).expect("a URL"), Url::parse(&added).expect("a URL"));
    assert_eq!((before.path(), before.fragment()), (after.path(), after.fragment()));
    let errors = form_urlencoded::parse(after.query().unwrap_or_default().as_bytes());
    let errors: Vec<_> =
        errors.filter(|(name, _)| name == "login_error").map(|(_, value)| value.into_owned()).collect();
    assert_eq!(errors, ["access_denied"], "{added}");
}

fn is_below(path: &str, base: &str) -> bool {
    path.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
