//! From text to typed values: durations, sizes, URLs. Messages say what was read, what is wrong and what to write instead.

use std::time::Duration;

use url::{Host, Url};

/// A whole number with a unit: `500ms`, `30s`, `30m`, `12h`, `30d`. Zero is a duration here; who needs more says so.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = number_and_unit(text);
    let millis = match unit {
        "ms" => 1,
        "s" => SECOND,
        "m" => 60 * SECOND,
        "h" => 60 * 60 * SECOND,
        "d" => DAY,
        "" if number.is_some() => return Err(format!("{text} has no unit; write \"{text}s\" if seconds are meant")),
        _ => return Err(not_a_duration(text)),
    };
    let number = number.ok_or_else(|| not_a_duration(text))?;
    let millis = number.checked_mul(millis).filter(|millis| *millis <= MAX_DAYS * DAY);
    millis.map(Duration::from_millis).ok_or_else(|| format!("{text} is too long; the limit is {MAX_DAYS}d"))
}

/// A whole number with a unit: `512B`, `64KiB`, `10MiB`, `1GiB`; `kB`, `MB` and `GB` are powers of ten.
pub(super) fn size(text: &str) -> Result<u64, String> {
    const KIB: u64 = 1024;
    const KB: u64 = 1000;
    let (number, unit) = number_and_unit(text);
    let bytes = match unit {
        "B" => 1,
        "KiB" => KIB,
        "MiB" => KIB * KIB,
        "GiB" => KIB * KIB * KIB,
        "kB" => KB,
        "MB" => KB * KB,
        "GB" => KB * KB * KB,
        "" if number.is_some() => return Err(format!("{text} has no unit; write \"{text}B\" if bytes are meant")),
        _ => return Err(not_a_size(text)),
    };
    let number = number.ok_or_else(|| not_a_size(text))?;
    number.checked_mul(bytes).ok_or_else(|| format!("{text} is too large"))
}

/// A duration in the largest unit that shows it whole.
pub(super) fn show_duration(duration: Duration) -> String {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let units = [(DAY, "d"), (60 * 60 * SECOND, "h"), (60 * SECOND, "m"), (SECOND, "s")];
    let whole = units.into_iter().find(|(unit, _)| millis > 0 && millis.is_multiple_of(*unit));
    // "30d" reads better than "720h", but "24h" better than "1d".
    match whole {
        Some((DAY, _)) if millis <= DAY => "24h".to_owned(),
        Some((unit, name)) => format!("{}{name}", millis / unit),
        None => format!("{millis}ms"),
    }
}

/// An absolute `http` or `https` URL with nothing but origin and path.
pub(super) fn plain_url(text: &str) -> Result<Url, String> {
    let url = http_url(text)?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(format!("{} has a query or fragment; write {}", shown(text), without_extras(&url)));
    }
    Ok(url)
}

/// An absolute `http` or `https` URL without user or password.
pub(super) fn http_url(text: &str) -> Result<Url, String> {
    let not_a_url = || format!("{} is not a URL{}", shown(text), guess_url(text));
    // The parser would drop or turn these silently, and the text would no longer be the URL.
    if text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '\\') {
        return Err(format!("{} has a blank, line end or backslash in it", shown(text)));
    }
    let url = Url::parse(text).map_err(|_| not_a_url())?;
    match url.scheme() {
        "https" | "http" => {}
        _ if !text.contains("://") => return Err(not_a_url()),
        _ => return Err(format!("{} is neither https nor http", shown(text))),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!("{} holds a user or password; write it without", shown(text)));
    }
    Ok(url)
}

/// Whether the host is this machine under one of the three names for which browsers and we make an exception.
pub(super) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address == std::net::Ipv4Addr::LOCALHOST,
        Some(Host::Ipv6(address)) => address == std::net::Ipv6Addr::LOCALHOST,
        None => false,
    }
}

/// Whether what is sent there can be read on the way.
pub(super) fn is_cleartext(url: &Url) -> bool {
    url.scheme() == "http" && !is_loopback(url)
}

/// A path that a request can be compared with: `/`, or segments of unreserved characters without an end slash.
pub(super) fn plain_path(text: &str) -> Result<String, String> {
    if !text.starts_with('/') {
        return Err(format!("{} does not start with \"/\"", shown(text)));
    }
    if text == "/" {
        return Ok(text.to_owned());
    }
    if let Some(short) = text.strip_suffix('/').filter(|short| !short.ends_with('/')) {
        return Err(format!("{} ends in \"/\"; write \"{short}\", which matches whole segments", shown(text)));
    }
    let plain = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~!$&'()+,;=:@".contains(&byte))
    };
    if !text[1..].split('/').all(plain) {
        return Err(format!(
            "{} is not a plain path; a prefix of whole segments without \"..\", \"*\", \"%\" or a query is needed",
            shown(text)
        ));
    }
    Ok(text.to_owned())
}

/// A value as a finding may show it: quoted, without user, password and query, and not at any length.
pub(super) fn shown(text: &str) -> String {
    let (head, query) = match text.split_once(['?', '#']) {
        // A password with a "?" in it, perhaps.
        Some((head, rest)) if rest.contains('@') => (head.split_once("://").map_or("", |(scheme, _)| scheme), "…"),
        Some((head, _)) => (head, "?…"),
        None => (text, ""),
    };
    let head = match head.rsplit_once('@') {
        Some((credentials, rest)) => {
            let scheme = credentials.split_once("://").map(|(scheme, _)| format!("{scheme}://")).unwrap_or_default();
            format!("{scheme}***@{rest}")
        }
        None => head.to_owned(),
    };
    let short: String = head.chars().flat_map(char::escape_debug).take(SHOWN).collect();
    let more = if head.chars().count() > SHOWN { "…" } else { "" };
    format!("\"{short}{more}{query}\"")
}

/// The name that is most like this one, if any is.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = |candidate: &str| strsim::jaro_winkler(&name.to_ascii_lowercase(), &candidate.to_ascii_lowercase());
    known
        .into_iter()
        .map(|candidate| (likeness(candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, candidate)| candidate)
}

/// Names in a sentence: `"a", "b"`.
pub(super) fn quoted<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().map(|name| format!("\"{name}\"")).collect::<Vec<_>>().join(", ")
}

fn number_and_unit(text: &str) -> (Option<u64>, &str) {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    (number.parse().ok(), unit)
}

fn not_a_duration(text: &str) -> String {
    format!("{} is not a duration; write a whole number with ms, s, m, h or d, such as \"30m\"", shown(text))
}

fn not_a_size(text: &str) -> String {
    format!("{} is not a size; write a whole number with B, KiB, MiB or GiB, such as \"64KiB\"", shown(text))
}

fn guess_url(text: &str) -> String {
    let likely = |scheme: &str| Url::parse(&format!("{scheme}://{text}")).ok().filter(|url| url.username().is_empty());
    let guess = likely("https").and_then(|url| {
        if is_loopback(&url) {
            return likely("http");
        }
        url.host_str().is_some_and(|host| host.contains('.')).then_some(url)
    });
    match guess {
        Some(url) if !text.contains("://") => format!("; did you mean {}?", without_extras(&url)),
        _ => "; write it with https:// and a host".to_owned(),
    }
}

/// The URL's origin and path, quoted.
fn without_extras(url: &Url) -> String {
    let origin = url.origin().ascii_serialization();
    format!("\"{origin}{}\"", url.path())
}

const SECOND: u64 = 1000;
const DAY: u64 = 24 * 60 * 60 * SECOND;
/// Longer limits are mistakes, and would not survive the arithmetic of stores.
const MAX_DAYS: u64 = 3650;
/// How many characters of a wrong value are shown.
const SHOWN: usize = 120;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_whole_numbers_with_a_unit() {
        let millis = |text| duration(text).map(|duration| duration.as_millis());
        for (text, expected) in [
            ("0s", 0),
            ("500ms", 500),
            ("30s", 30_000),
            ("30m", 1_800_000),
            ("12h", 43_200_000),
            ("30d", 2_592_000_000),
        ] {
            assert_eq!(millis(text), Ok(expected), "{text}");
        }
        for text in ["", "30", "m", "30 m", "-30m", "1.5h", "30M", "1h30m", "30min", "99999999999999999999s", "9999d"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_whole_numbers_with_a_unit() {
        for (text, expected) in [
            ("0B", 0),
            ("512B", 512),
            ("64KiB", 65_536),
            ("10MiB", 10_485_760),
            ("1GiB", 1 << 30),
            ("10MB", 10_000_000),
        ] {
            assert_eq!(size(text), Ok(expected), "{text}");
        }
        for text in ["", "64", "KiB", "64K", "64kib", "64 KiB", "-1B", "1.5MiB", "99999999999GiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_number_without_a_unit_says_what_to_write() {
        assert_eq!(duration("30").unwrap_err(), "30 has no unit; write \"30s\" if seconds are meant");
        assert_eq!(size("64").unwrap_err(), "64 has no unit; write \"64B\" if bytes are meant");
    }

    #[test]
    fn durations_are_shown_as_people_write_them() {
        for text in ["500ms", "90s", "30m", "12h", "24h", "30d"] {
            assert_eq!(show_duration(duration(text).unwrap()), text);
        }
    }

    #[test]
    fn a_url_without_scheme_gets_a_guess() {
        let guess = |text| plain_url(text).unwrap_err();
        assert_eq!(
            guess("shop.example.com"),
            "\"shop.example.com\" is not a URL; did you mean \"https://shop.example.com/\"?"
        );
        assert_eq!(
            guess("localhost:8080"),
            "\"localhost:8080\" is not a URL; did you mean \"http://localhost:8080/\"?"
        );
        assert_eq!(guess("shop"), "\"shop\" is not a URL; write it with https:// and a host");
        assert_eq!(guess("ftp://shop.example"), "\"ftp://shop.example\" is neither https nor http");
    }

    #[test]
    fn a_url_is_what_is_written() {
        for text in [
            "https://id.example.com\n",
            " https://id.example.com",
            "https://id.example.com\\x",
            "https://id\t.example.com",
        ] {
            assert!(plain_url(text).unwrap_err().ends_with("in it"), "{text:?}");
        }
    }

    #[test]
    fn credentials_and_queries_are_never_shown() {
        for text in [
            "https://user:hunter2@shop.example/",
            "https://user:p@ss/hunter2@shop.example/",
            "https://user:hunter2?x@shop.example/",
            "user:hunter2@shop.example",
            "https://shop.example/?key=hunter2",
            "https://shop.example/#hunter2",
        ] {
            assert!(!shown(text).contains("hunter2"), "{}", shown(text));
            assert!(!plain_url(text).unwrap_err().contains("hunter2"), "{}", plain_url(text).unwrap_err());
        }
    }

    #[test]
    fn loopback_is_three_names() {
        for (text, expected) in [
            ("http://localhost/", true),
            ("http://127.0.0.1:1/", true),
            ("http://[::1]/", true),
            ("http://127.0.0.2/", false),
            ("http://localhost.example/", false),
            ("http://0.0.0.0/", false),
        ] {
            assert_eq!(is_loopback(&Url::parse(text).unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn paths_are_prefixes_of_whole_segments() {
        for text in ["/", "/api", "/api/v1.0/orders", "/@me", "/a-b_c~d"] {
            assert_eq!(plain_path(text).as_deref(), Ok(text));
        }
        for text in
            ["", "api", "/api/", "//", "/a//b", "/..", "/a/./b", "/a/*", "/%61", "/a?b", "/a#b", "/a b", "/a\\b", "/ä"]
        {
            assert!(plain_path(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_nearest_name_is_near() {
        assert_eq!(nearest("uri", ["url", "timeout", "lease"]), Some("url"));
        assert_eq!(nearest("crop", ["corp"]), Some("corp"));
        assert_eq!(nearest("xyz", ["url", "timeout", "lease"]), None);
    }
}
