//! Which request paths may reach an upstream.
//!
//! A path is passed on byte for byte, so it must mean one thing to everybody who reads it: to the route table here, and to an
//! upstream that may decode twice, resolve dot segments, treat `\` as `/`, or cut parameters at `;`. What could be read in two ways
//! is refused instead of repaired.

use std::borrow::Cow;

use percent_encoding::percent_decode;

/// A path that starts with `/` and cannot climb, however often it is decoded (RFC 3986 §3.3, §5.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SafePath<'a>(&'a str);

/// The path may be read in two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PathRejected;

impl<'a> SafePath<'a> {
    /// Checks a raw path as it stands in the request target, without query.
    ///
    /// Refused, in clear or under up to [`MAX_DECODINGS`] layers of percent-encoding: dot segments (also with
    /// blanks behind the dots, or with `;`, `?` or `#`, where some readers end the segment), `\`, control characters, text that is
    /// not UTF-8 (overlong forms of `.` and `/` hide there); `%2f`; empty segments but the last; raw bytes outside ASCII; a `%`
    /// without two hex digits; anything encoded more often.
    pub(super) fn parse(path: &'a str) -> Result<Self, PathRejected> {
        if path.starts_with('/') && is_plain(path.as_bytes()) {
            return Ok(Self(path));
        }
        if !path.starts_with('/') || !path.is_ascii() || path.contains("//") || path.contains(['?', '#', ' ']) {
            return Err(PathRejected);
        }
        check_layer(path.as_bytes())?;
        if !path.contains('%') {
            return Ok(Self(path));
        }
        let mut layer = Cow::Borrowed(path.as_bytes());
        for depth in 0.. {
            if depth == 0 && !escapes_are_whole(&layer) {
                return Err(PathRejected);
            }
            let decoded: Vec<u8> = percent_decode(&layer).collect();
            if decoded == *layer {
                break;
            }
            if depth == MAX_DECODINGS || adds_slashes(&layer, &decoded) || std::str::from_utf8(&decoded).is_err() {
                return Err(PathRejected);
            }
            check_layer(&decoded)?;
            layer = Cow::Owned(decoded);
        }
        Ok(Self(path))
    }

    /// The path itself.
    pub(super) fn as_str(self) -> &'a str {
        self.0
    }
}

/// Whether there is nothing to look at closely, as in most paths.
fn is_plain(path: &[u8]) -> bool {
    let mut before = 0;
    path.iter().all(|&byte| {
        let doubled = byte == b'/' && before == b'/';
        before = byte;
        !doubled && (byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'~'))
    })
}

fn check_layer(path: &[u8]) -> Result<(), PathRejected> {
    let unsafe_byte = path.iter().any(|&byte| byte == b'\\' || byte.is_ascii_control());
    if unsafe_byte || path.split(|&byte| byte == b'/').any(is_dot_segment) { Err(PathRejected) } else { Ok(()) }
}

/// `.` and `..`, also as servlet containers (`..;x`), Windows (`.. `) and readers that decode too early (`..%3F`) see them.
fn is_dot_segment(segment: &[u8]) -> bool {
    if !segment.starts_with(b".") {
        return false;
    }
    let name = segment.split(|byte| b";?#".contains(byte)).next().unwrap_or_default();
    // With any blank of Unicode behind: some readers trim all of them.
    str::from_utf8(name).is_ok_and(|name| matches!(name.trim_end(), "." | ".."))
}

fn adds_slashes(path: &[u8], decoded: &[u8]) -> bool {
    let segments = |path: &[u8]| path.split(|&byte| byte == b'/').count();
    segments(decoded) > segments(path)
}

fn escapes_are_whole(path: &[u8]) -> bool {
    path.iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'%')
        .all(|(at, _)| path.get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)))
}

/// How a lenient upstream might see the path: decoded to the end, without what may be read as the end of a segment, without segments
/// that are empty then (Tomcat takes `/a/;x/b` for `/a/b`), in lower case. `None` if that is what it is.
pub(super) fn folded(path: &str) -> Option<String> {
    if !path.bytes().any(|byte| byte == b'%' || byte == b';' || byte.is_ascii_uppercase()) {
        return None;
    }
    let mut decoded = Cow::Borrowed(path);
    for _ in 0..MAX_DECODINGS {
        if !decoded.contains('%') {
            break;
        }
        decoded = Cow::Owned(percent_decode(decoded.as_bytes()).decode_utf8_lossy().into_owned());
    }
    let mut folded = String::with_capacity(decoded.len());
    for segment in decoded.split('/') {
        let name = segment.split([';', '?', '#']).next().unwrap_or_default().trim_end();
        if !name.is_empty() {
            folded.push('/');
            folded.extend(name.chars().map(|character| character.to_ascii_lowercase()));
        }
    }
    Some(folded)
}

/// Nothing honest is encoded more often, and each layer costs a pass.
const MAX_DECODINGS: usize = 3;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::properties;
    use super::*;

    #[test]
    fn ordinary_paths_pass() {
        for path in [
            "/",
            "/api",
            "/api/",
            "/api/orders/7",
            "/api/a.b/..c/...",
            "/api/.well-known",
            "/api/100%25",
            "/api/%20",
            "/api/caf%C3%A9",
            "/api/a%3Fb%23c",
            "/api/x;v=1/y",
            "/api/a:b@c,d='e'(f)*",
            "/api/%2525",
            "/api/a..b",
            "/api/~x",
        ] {
            assert_eq!(SafePath::parse(path), Ok(SafePath(path)), "{path}");
        }
    }

    #[test]
    fn paths_with_two_meanings_are_refused() {
        for path in [
            "",
            "*",
            "api",
            "/api/..",
            "/api/../x",
            "/../x",
            "/.",
            "/./x",
            "/api/%2e%2e/x",
            "/api/%2E%2e/x",
            "/api/.%2e/x",
            "/api/%2e./x",
            "/api/%2e/x",
            "/api/%252e%252e/x",
            "/api/%252e%2e/x",
            "/api/%25252E./x",
            "/api/%25%32%65./x",
            "/api/..;/x",
            "/api/..;a=b/x",
            "/api/..%3b/x",
            "/api/%2e%2e%3Bx/y",
            "/api/..%20/x",
            "/api/..%e2%80%af/x",
            "/api/..%3fx",
            "/api/..%23x",
            "/api/..?x",
            "/api/a?x",
            "/api/a#x",
            "/api/a b",
            "/api/..%09/x",
            "/api/a%2fb",
            "/api/a%2Fb",
            "/api/a%252fb",
            "/api/a%25%32%46b",
            "/api/a%5cb",
            "/api/a%255Cb",
            "/api/a\\b",
            "/api/%00",
            "/api/%2500",
            "/api/%0d%0a",
            "/api/%7f",
            "/api//x",
            "//evil.example",
            "/api/caf\u{e9}",
            "/api/%c0%ae%c0%ae/x",
            "/api/%e0%80%af",
            "/api/%ff",
            "/api/%u002e",
            "/api/%",
            "/api/%2",
            "/api/%zz",
            "/api/%25252525",
            "/api/\u{7f}",
        ] {
            assert_eq!(SafePath::parse(path), Err(PathRejected), "{path}");
        }
    }

    proptest! {
        #[test]
        fn what_passes_is_read_one_way(path in "(/|[ -~]|%[0-9a-fA-F]{2}|\\PC){0,60}") {
            properties::path(path.as_bytes());
        }
    }

    #[test]
    fn a_long_chain_of_encodings_is_refused_early() {
        let path = format!("/api/%{}", "25".repeat(30_000));
        assert_eq!(SafePath::parse(&path), Err(PathRejected));
    }

    #[test]
    fn folding_shows_what_a_lenient_reader_sees() {
        assert_eq!(folded("/api/admin"), None);
        assert_eq!(folded("/api/%61dmin/x").as_deref(), Some("/api/admin/x"));
        assert_eq!(folded("/Api/admin;v=1/x").as_deref(), Some("/api/admin/x"));
        assert_eq!(folded("/api/%2561dmin").as_deref(), Some("/api/admin"));
        assert_eq!(folded("/api/admin%3Fx/y").as_deref(), Some("/api/admin/y"));
        assert_eq!(folded("/api/;x/admin%20/").as_deref(), Some("/api/admin"));
    }
}
