//! Proof that a request comes from our own page. Every endpoint and route has one class; what the client sends does not choose it.
//!
//! What browsers send was tried: `fetch` GET has no `Origin`; `EventSource`, images and downloads have neither header nor `Origin` but
//! `Sec-Fetch-Site: same-origin`; a WebSocket handshake has `Origin` and no Fetch Metadata, and one from a sibling subdomain carries the
//! Strict cookie; a form post has no custom header and `Origin` ours or `null`.

use http::{HeaderMap, HeaderName, Method, header};

use crate::Error;
use crate::proxy::CsrfPolicy;

/// What a request must show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// The custom header, and nothing that says another site.
    Data,
    /// A GET or HEAD that cannot carry the header: Fetch Metadata, or `Origin` where browsers send none.
    Headerless,
    /// An unsafe method that cannot carry the header: a form.
    HeaderlessUnsafe,
    /// A handshake: `Origin`, which browsers always send with it.
    WebSocket,
}

/// What proof is held against.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Proof<'a> {
    /// Our origin, as browsers write it.
    pub(crate) origin: &'a str,
    /// The custom header.
    pub(crate) header: &'a HeaderName,
}

impl Class {
    /// The class of a call on a proxied route.
    pub(crate) fn of_route(policy: &CsrfPolicy, method: &Method, headers: &HeaderMap) -> Self {
        match policy {
            _ if is_websocket(headers) => Self::WebSocket,
            CsrfPolicy::Header => Self::Data,
            CsrfPolicy::Origin { .. } if *method == Method::GET || *method == Method::HEAD => Self::Headerless,
            CsrfPolicy::Origin { .. } => Self::HeaderlessUnsafe,
        }
    }

    /// # Errors
    /// `CrossSiteRequest`, `CsrfHeaderMissing`.
    pub(crate) fn check(self, headers: &HeaderMap, proof: Proof<'_>) -> Result<(), Error> {
        let site = Site::of(headers);
        let origin = Origin::of(headers, proof.origin);
        let is_ours = match self {
            Self::Data => site != Site::Other && matches!(origin, Origin::Absent | Origin::Ours),
            Self::Headerless => site == Site::Same || (site == Site::Unsaid && origin == Origin::Ours),
            Self::HeaderlessUnsafe => match site {
                Site::Same => matches!(origin, Origin::Ours | Origin::Null),
                Site::Unsaid => origin == Origin::Ours,
                Site::Other => false,
            },
            Self::WebSocket => site != Site::Other && origin == Origin::Ours,
        };
        if !is_ours {
            return Err(Error::CrossSiteRequest);
        }
        if self == Self::Data && !headers.contains_key(proof.header) {
            return Err(Error::CsrfHeaderMissing { header: proof.header.as_str().to_owned() });
        }
        Ok(())
    }
}

/// Whether a request asks to become a WebSocket.
pub(crate) fn is_websocket(headers: &HeaderMap) -> bool {
    headers.get(header::UPGRADE).is_some_and(|upgrade| upgrade.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// What `Sec-Fetch-Site` says. `none` (the address bar) and `same-site` are not our page either.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Site {
    Unsaid,
    Same,
    Other,
}

impl Site {
    fn of(headers: &HeaderMap) -> Self {
        let mut values = headers.get_all(SEC_FETCH_SITE).iter();
        match (values.next(), values.next()) {
            (None, _) => Self::Unsaid,
            (Some(site), None) if site == "same-origin" => Self::Same,
            _ => Self::Other,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    Absent,
    Ours,
    /// A page that hides its origin; our own forms under `no-referrer` among them.
    Null,
    Other,
}

impl Origin {
    fn of(headers: &HeaderMap, ours: &str) -> Self {
        let mut values = headers.get_all(header::ORIGIN).iter();
        match (values.next(), values.next()) {
            (None, _) => Self::Absent,
            (Some(origin), None) if origin == ours => Self::Ours,
            (Some(origin), None) if origin == "null" => Self::Null,
            _ => Self::Other,
        }
    }
}

/// Whether a window, and no script, reads the answer. Browsers without Fetch Metadata do not say.
pub(crate) fn is_navigation(headers: &HeaderMap) -> bool {
    headers.get_all(SEC_FETCH_MODE).iter().all(|mode| mode == "navigate")
}

/// Checks an open GET that changes something: it must be a navigation that somebody makes now, not a prefetch, a prerender or a
/// fetch. `Sec-Fetch-Dest` is not asked for `document`: behind a service worker it is `empty`.
///
/// # Errors
/// `LoginNeedsNavigation`.
pub(crate) fn check_navigation(headers: &HeaderMap) -> Result<(), Error> {
    let announces_prefetch = ["sec-purpose", "purpose"].iter().any(|name| {
        headers
            .get_all(*name)
            .iter()
            .any(|value| String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase().contains("prefetch"))
    });
    if announces_prefetch || !is_navigation(headers) { Err(Error::LoginNeedsNavigation) } else { Ok(()) }
}

/// The same for a link that must not work in a frame.
///
/// # Errors
/// `LoginNeedsNavigation`.
pub(crate) fn check_unframed_navigation(headers: &HeaderMap) -> Result<(), Error> {
    const FRAMES: [&str; 5] = ["iframe", "frame", "embed", "object", "fencedframe"];
    let framed = headers.get("sec-fetch-dest").is_some_and(|dest| FRAMES.iter().any(|frame| dest == frame));
    if framed { Err(Error::LoginNeedsNavigation) } else { check_navigation(headers) }
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const SEC_FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const OURS: &str = "https://shop.example";

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    fn passes(class: Class, pairs: &[(&'static str, &'static str)]) -> bool {
        let header = HeaderName::from_static("x-csrf");
        class.check(&headers(pairs), Proof { origin: OURS, header: &header }).is_ok()
    }

    #[test]
    fn data_needs_the_header_and_no_word_of_another_site() {
        let class = Class::Data;
        assert!(passes(class, &[("x-csrf", "")]));
        assert!(passes(class, &[("x-csrf", "1"), ("sec-fetch-site", "same-origin"), ("origin", OURS)]));
        assert!(!passes(class, &[("sec-fetch-site", "same-origin"), ("origin", OURS)]));
        for (name, value) in [
            ("sec-fetch-site", "same-site"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "none"),
            ("origin", "null"),
            ("origin", "https://evil.example"),
            ("origin", "https://shop.example.evil.example"),
            ("origin", "http://shop.example"),
            ("origin", "https://shop.example:444"),
        ] {
            assert!(!passes(class, &[("x-csrf", "1"), (name, value)]), "{name}: {value}");
        }
    }

    #[test]
    fn a_get_without_header_needs_fetch_metadata_or_origin() {
        let class = Class::Headerless;
        assert!(passes(class, &[("sec-fetch-site", "same-origin")]));
        assert!(passes(class, &[("origin", OURS)]));
        assert!(!passes(class, &[]));
        assert!(!passes(class, &[("sec-fetch-site", "same-site"), ("origin", OURS)]));
        assert!(!passes(class, &[("sec-fetch-site", "none")]));
        assert!(!passes(class, &[("origin", "null")]));
    }

    #[test]
    fn a_form_needs_both_to_agree() {
        let class = Class::HeaderlessUnsafe;
        assert!(passes(class, &[("sec-fetch-site", "same-origin"), ("origin", OURS)]));
        assert!(passes(class, &[("sec-fetch-site", "same-origin"), ("origin", "null")]));
        assert!(passes(class, &[("origin", OURS)]));
        assert!(!passes(class, &[("sec-fetch-site", "same-origin")]));
        assert!(!passes(class, &[("origin", "null")]));
        assert!(!passes(class, &[("sec-fetch-site", "cross-site"), ("origin", "null")]));
        assert!(!passes(class, &[]));
    }

    #[test]
    fn a_websocket_needs_our_origin() {
        let class = Class::WebSocket;
        assert!(passes(class, &[("origin", OURS)]));
        assert!(!passes(class, &[]));
        assert!(!passes(class, &[("origin", "https://sibling.shop.example")]));
        assert!(!passes(class, &[("origin", OURS), ("sec-fetch-site", "same-site")]));
    }

    #[test]
    fn a_header_sent_twice_proves_nothing() {
        let mut twice = headers(&[("x-csrf", "1"), ("origin", OURS)]);
        twice.append(header::ORIGIN, HeaderValue::from_static("https://evil.example"));
        let header = HeaderName::from_static("x-csrf");
        assert!(Class::Data.check(&twice, Proof { origin: OURS, header: &header }).is_err());
    }

    #[test]
    fn a_prefetch_or_prerender_is_no_navigation() {
        assert!(check_navigation(&headers(&[])).is_ok());
        assert!(check_navigation(&headers(&[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "empty")])).is_ok());
        for pair in [
            ("sec-purpose", "prefetch"),
            ("sec-purpose", "prefetch;prerender"),
            ("purpose", "prefetch"),
            ("sec-fetch-mode", "cors"),
            ("sec-fetch-mode", "no-cors"),
        ] {
            assert!(check_navigation(&headers(&[pair])).is_err(), "{pair:?}");
        }
        assert!(
            check_unframed_navigation(&headers(&[("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")]))
                .is_err()
        );
    }
}
