use http::{Method, Uri};
use percent_encoding::percent_decode_str;
use url::Url;

use super::super::path::{SafePath, folded};
use super::super::route::Route;
use super::{ROUTES, Routes};

/// A request target. Wherever it is let through, it stays below the base path of the route it is for, for the strictest reader and
/// for the most lenient, passes byte for byte, and is on no other route for anybody.
///
/// # Panics
/// If that does not hold.
pub fn path(target: &[u8]) {
    let Ok(text) = str::from_utf8(target) else { return };
    let _ = folded(text);
    if let Ok(safe) = SafePath::parse(text) {
        assert_eq!(safe.as_str(), text);
    }
    let Ok(uri) = Uri::try_from(text) else { return };
    let Routes { several, all } = &*ROUTES;
    for table in [several, all] {
        let owned = table.owns(uri.path());
        if let Ok(route) = table.find(uri.path(), &Method::GET) {
            assert!(owned, "{target:?} is on a route, and could be an asset");
            stays_on(route, uri.path(), uri.query());
        }
    }
    if let Ok(route) = several.find(uri.path(), &Method::GET) {
        is_on_no_other(route, uri.path());
    }
}

fn stays_on(route: &Route, path: &str, query: Option<&str>) {
    let Ok(called) = route.upstream.join(&route.options.path, path, query) else { return };
    let base = route.options.upstream.path().trim_end_matches('/');
    let origin = &route.options.upstream;
    assert_eq!(called.authority().map(ToString::to_string).as_deref(), Some(origin.authority()), "{called}");
    assert_eq!(called.query(), query, "{called}");
    let rest = called.path().strip_prefix(base).expect("it begins with the base path");
    assert!(rest.is_empty() || rest.starts_with('/'), "{called} is beside the base path");
    let asked = path.strip_prefix(route.options.path.trim_end_matches('/')).expect("it is below the route");
    assert!(rest == asked || (asked.is_empty() && rest == "/"), "{called} is not what was asked: {path}");
    assert!(resolved(&lenient(called.path())).starts_with(&resolved(base)), "{called} leaves the base path");
    let browser = Url::parse(&called.to_string()).expect("what is called is a URL");
    assert!(browser.path().starts_with(base), "{browser} leaves the base path");
}

/// Whoever decodes to the end, and takes `;`, `?` or `#` for the end of a segment or of the path, sees the same route.
fn is_on_no_other(route: &Route, path: &str) {
    if route.upstream.join(&route.options.path, path, None).is_err() {
        return;
    }
    let lenient = lenient(path).to_ascii_lowercase();
    let until = |ends: &[char]| lenient.split(ends).next().unwrap_or_default().to_owned();
    for seen in [resolved(&lenient), resolved(&until(&['?', '#'])), resolved(&until(&[';', '?', '#']))] {
        let routes = ROUTES.several.routes().iter();
        let below = routes.filter(|route| seen.starts_with(&resolved(&route.options.path)));
        let longest = below.max_by_key(|route| route.options.path.len()).map(|route| &route.options.path);
        assert_eq!(longest, Some(&route.options.path), "{path} could be read as /{}", seen.join("/"));
    }
}

/// Decodes to the end and takes `\` for `/`.
fn lenient(path: &str) -> String {
    let mut text = path.to_owned();
    loop {
        let decoded = percent_decode_str(&text).decode_utf8_lossy().into_owned();
        if decoded == text {
            return text.replace('\\', "/");
        }
        text = decoded;
    }
}

/// Cuts parameters off, and resolves dots.
fn resolved(path: &str) -> Vec<String> {
    let mut resolved = Vec::new();
    for segment in path.split('/') {
        match segment.split([';', '?', '#']).next().unwrap_or_default().trim_end() {
            ".." => drop(resolved.pop()),
            "." | "" => {}
            segment => resolved.push(segment.to_owned()),
        }
    }
    resolved
}
