use http::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use http::{Response, StatusCode};

use super::super::challenge::{Refusal, refusal};
use super::super::headers::returning;
use super::{ROUTES, lower};

/// A line of `WWW-Authenticate`. What it demands of a login is little and plain; and if it passes to the browser, it names no scheme
/// but those for tokens, also for a reader who knows of quotes and commas and nothing else of the grammar.
///
/// # Panics
/// If that does not hold.
pub fn challenge(line: &[u8]) {
    let Ok(line) = HeaderValue::from_bytes(line) else { return };
    let mut answer = Response::new(());
    *answer.status_mut() = StatusCode::UNAUTHORIZED;
    answer.headers_mut().insert(WWW_AUTHENTICATE, line.clone());
    if let Some(Refusal::Authentication(demand)) = refusal(&answer) {
        assert!(!demand.is_empty());
        assert!(demand.acr_values.join(" ").len() <= 256, "{demand:?}");
        let is_plain = |value: &String| !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic());
        assert!(demand.acr_values.iter().all(is_plain), "{demand:?}");
    }
    let asked = http::Uri::from_static("https://o.internal/base/v1/7");
    let mut headers = HeaderMap::new();
    headers.insert(WWW_AUTHENTICATE, line);
    let route = ROUTES.several.routes().first().expect("there are routes");
    returning(&mut headers, route, &[], &asked);
    for line in headers.get_all(WWW_AUTHENTICATE) {
        names_tokens_alone(line);
    }
}

/// Every element outside quotes either gives a parameter or begins with a scheme for tokens.
fn names_tokens_alone(line: &HeaderValue) {
    let plain = without_quoted(line.as_bytes());
    for element in plain.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty()) {
        let word = element.split(|byte| b" \t=".contains(byte)).next().unwrap_or_default();
        let rest = element[word.len()..].trim_ascii_start();
        let scheme = lower(word);
        assert!(rest.starts_with(b"=") || scheme == b"bearer" || scheme == b"dpop", "{line:?} passes");
    }
}

fn without_quoted(line: &[u8]) -> Vec<u8> {
    let (mut plain, mut bytes) = (Vec::new(), line.iter());
    while let Some(byte) = bytes.next() {
        plain.push(*byte);
        if *byte == b'"' {
            while let Some(byte) = bytes.next() {
                match byte {
                    b'"' => break,
                    b'\\' => drop(bytes.next()),
                    _ => {}
                }
            }
        }
    }
    plain
}
