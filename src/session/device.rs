//! What a session is called in the list of one's own: a browser and a system, in our words.
//!
//! The raw `User-Agent` is kept nowhere: it identifies people far better than it names devices. Every browser claims to be several
//! others, so the first name of a table that is found is the one.

use http::{HeaderMap, header};
use serde::{Deserialize, Serialize};

/// A label like `Firefox on Linux`, made of the words of the tables below and no others; of one of them if only one is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Device(String);

impl Device {
    /// What the request's `User-Agent` (RFC 9110 §10.1.5) says, if it says anything known.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let user_agent = headers.get(header::USER_AGENT)?.as_bytes();
        Self::named_in(&user_agent[..user_agent.len().min(LONGEST)])
    }

    /// In words.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    fn named_in(user_agent: &[u8]) -> Option<Self> {
        let user_agent = String::from_utf8_lossy(user_agent);
        let first = |names: &[(&str, &'static str)]| {
            names.iter().find(|(sign, _)| user_agent.contains(sign)).map(|(_, name)| *name)
        };
        Some(Self(match (first(&BROWSERS), first(&SYSTEMS)) {
            (Some(browser), Some(system)) => format!("{browser} on {system}"),
            (Some(name), None) | (None, Some(name)) => name.to_owned(),
            (None, None) => return None,
        }))
    }
}

/// Those that claim to be Chrome, then Chrome, which claims to be Safari. On iOS all claim to be Safari alone.
const BROWSERS: [(&str, &str); 14] = [
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("OPT/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Vivaldi/", "Vivaldi"),
    ("YaBrowser/", "Yandex Browser"),
    ("DuckDuckGo/", "DuckDuckGo"),
    ("Ddg/", "DuckDuckGo"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Chromium/", "Chrome"),
    ("Safari/", "Safari"),
];

/// Phones before the systems that they are like: Android names Linux, and iPhones name Mac OS X.
const SYSTEMS: [(&str, &str); 8] = [
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("CrOS", "ChromeOS"),
    ("Macintosh", "macOS"),
    ("Linux", "Linux"),
    ("FreeBSD", "FreeBSD"),
];

/// Browsers say it in half of this.
const LONGEST: usize = 512;

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn label(user_agent: &[u8]) -> Option<String> {
        let user_agent = HeaderValue::from_bytes(user_agent).ok()?;
        Device::of(&HeaderMap::from_iter([(header::USER_AGENT, user_agent)])).map(|device| device.as_str().to_owned())
    }

    #[test]
    fn browsers_are_known_by_what_they_send() {
        for (expected, user_agent) in [
            ("Firefox on Linux", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
            ("Firefox on Windows", "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:140.0) Gecko/20100101 Firefox/140.0"),
            ("Firefox on Android", "Mozilla/5.0 (Android 15; Mobile; rv:140.0) Gecko/140.0 Firefox/140.0"),
            (
                "Firefox on iPhone",
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) FxiOS/140.0 Mobile/15E148 Safari/605.1.15",
            ),
            (
                "Chrome on Windows",
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36",
            ),
            (
                "Chrome on macOS",
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36",
            ),
            (
                "Chrome on Android",
                "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Mobile Safari/537.36",
            ),
            (
                "Chrome on ChromeOS",
                "Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36",
            ),
            (
                "Chrome on iPad",
                "Mozilla/5.0 (iPad; CPU OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/138.0.7204.53 Mobile/15E148 Safari/604.1",
            ),
            (
                "Chrome on Linux",
                "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/138.0.0.0 Safari/537.36",
            ),
            (
                "Safari on iPhone",
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1",
            ),
            (
                "Safari on macOS",
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15",
            ),
            (
                "Edge on Windows",
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36 Edg/138.0.0.0",
            ),
            (
                "Edge on Android",
                "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Mobile Safari/537.36 EdgA/138.0.0.0",
            ),
            (
                "Edge on iPhone",
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 EdgiOS/138.0.3351.65 Mobile/15E148 Safari/605.1.15",
            ),
            (
                "Opera on Linux",
                "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/137.0.0.0 Safari/537.36 OPR/121.0.0.0",
            ),
            (
                "Samsung Internet on Android",
                "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) SamsungBrowser/28.0 Chrome/130.0.0.0 Mobile Safari/537.36",
            ),
        ] {
            assert_eq!(label(user_agent.as_bytes()).as_deref(), Some(expected), "{user_agent}");
        }
    }

    #[test]
    fn half_of_it_is_better_than_nothing() {
        assert_eq!(label(b"Mozilla/5.0 (X11; Linux x86_64)").as_deref(), Some("Linux"));
        assert_eq!(label(b"Mozilla/5.0 Firefox/140.0").as_deref(), Some("Firefox"));
    }

    #[test]
    fn programs_and_silence_have_no_name() {
        for user_agent in ["", "curl/8.14.1", "python-requests/2.32", "-", "\u{fb01}refox"] {
            assert_eq!(label(user_agent.as_bytes()), None, "{user_agent}");
        }
        assert_eq!(Device::of(&HeaderMap::new()), None);
    }

    #[test]
    fn what_stands_far_behind_is_not_looked_at() {
        assert_eq!(label(format!("{} Firefox/140.0", "x".repeat(LONGEST)).as_bytes()), None);
        assert_eq!(label("é".repeat(LONGEST).as_bytes()), None, "cut within a letter");
    }

    proptest! {
        #[test]
        fn a_label_has_words_of_ours_only(user_agent in prop::collection::vec(0x20_u8.., 0..600)) {
            if let Some(label) = label(&user_agent) {
                let known = |word: &str| BROWSERS.iter().chain(&SYSTEMS).any(|(_, name)| *name == word);
                prop_assert!(label.split(" on ").all(known), "{}", label);
            }
        }
    }
}
