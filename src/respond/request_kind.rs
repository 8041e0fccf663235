//! Whether a person or a program asked.

use http::{HeaderMap, HeaderName, Method, Request, header};

/// Who reads the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RequestKind {
    /// A person, in a window.
    Navigation,
    /// A program: `fetch`, an API client.
    Call,
}

impl RequestKind {
    /// `Sec-Fetch-Mode: navigate` says it; without that header a GET that prefers HTML counts as a navigation.
    pub(crate) fn of<B>(request: &Request<B>) -> Self {
        let headers = request.headers();
        let is_navigation = match headers.get(SEC_FETCH_MODE) {
            Some(mode) => mode == "navigate",
            None => request.method() == Method::GET && prefers_html(headers),
        };
        if is_navigation { Self::Navigation } else { Self::Call }
    }
}

/// Whether `text/html` is asked for by name with the highest weight (RFC 9110 §12.5.1).
fn prefers_html(headers: &HeaderMap) -> bool {
    let Some(accept) = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()) else { return false };
    let weight = |range: &str| -> f32 {
        let quality = range.split(';').skip(1).find_map(|parameter| parameter.trim().strip_prefix("q="));
        quality.map_or(1.0, |quality| quality.trim().parse().unwrap_or(0.0))
    };
    let best = |wanted: fn(&str) -> bool| {
        accept
            .split(',')
            .filter(|range| range.split(';').next().is_some_and(|name| wanted(name.trim())))
            .map(weight)
            .fold(0.0, f32::max)
    };
    let html = best(|name| name.eq_ignore_ascii_case("text/html"));
    html > 0.0 && html >= best(|name| name.to_ascii_lowercase().ends_with("json"))
}

const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(method: Method, name: &str, value: &str) -> RequestKind {
        RequestKind::of(&Request::builder().method(method).header(name, value).body(()).expect("a request"))
    }

    #[test]
    fn fetch_metadata_decides() {
        assert_eq!(kind(Method::GET, "sec-fetch-mode", "navigate"), RequestKind::Navigation);
        assert_eq!(kind(Method::POST, "sec-fetch-mode", "navigate"), RequestKind::Navigation);
        assert_eq!(kind(Method::GET, "sec-fetch-mode", "cors"), RequestKind::Call);
    }

    #[test]
    fn without_it_a_get_that_prefers_html_is_a_navigation() {
        assert_eq!(
            kind(Method::GET, "accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"),
            RequestKind::Navigation
        );
        assert_eq!(kind(Method::POST, "accept", "text/html"), RequestKind::Call);
        assert_eq!(kind(Method::GET, "accept", "*/*"), RequestKind::Call);
        assert_eq!(kind(Method::GET, "accept", "application/json, text/html;q=0.5"), RequestKind::Call);
        assert_eq!(kind(Method::GET, "accept", "text/html;q=0"), RequestKind::Call);
    }
}
