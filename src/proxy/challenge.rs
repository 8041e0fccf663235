//! Reads `WWW-Authenticate` (RFC 9110 §11.6.1) and what an API says by it of the token it was given (RFC 6750 §3, RFC 9470 §3).

use std::time::Duration;

use http::header::{self, HeaderValue};
use http::{Response, StatusCode};

use crate::oidc::Demand;

/// Why an API does not take the token it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// `invalid_token`: another one may do.
    Token,
    /// `insufficient_user_authentication`: the person has to log in like this. Something is demanded.
    Authentication(Demand),
}

/// What an API says of the token, if it refuses it in a way that can be understood.
pub(crate) fn refusal<B>(answer: &Response<B>) -> Option<Refusal> {
    if answer.status() != StatusCode::UNAUTHORIZED {
        return None;
    }
    let lines = answer.headers().get_all(header::WWW_AUTHENTICATE).iter();
    lines.flat_map(|line| read(line).unwrap_or_default()).find_map(|challenge| challenge.refusal())
}

/// One challenge: its scheme, and its parameters by lower-case name, each once.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Challenge {
    scheme: String,
    parameters: Vec<(String, String)>,
}

impl Challenge {
    /// Whether it asks for an access token (RFC 6750, RFC 9449).
    pub(super) fn is_for_a_token(&self) -> bool {
        ["bearer", "dpop"].iter().any(|scheme| self.scheme.eq_ignore_ascii_case(scheme))
    }

    fn refusal(&self) -> Option<Refusal> {
        if !self.is_for_a_token() {
            return None;
        }
        match self.parameter("error")? {
            "invalid_token" => Some(Refusal::Token),
            "insufficient_user_authentication" => self.demand().map(Refusal::Authentication),
            _ => None,
        }
    }

    /// What RFC 9470 §3 has a client ask for. Nothing if that is not well-formed, or if nothing is said: no login would help.
    fn demand(&self) -> Option<Demand> {
        let acr_values = self.parameter("acr_values").map_or(Some(Vec::new()), read_acr_values)?;
        let max_age = self.parameter("max_age").map(read_max_age);
        let demand = Demand { acr_values, max_age: max_age.map_or(Some(None), |read| read.map(Some))? };
        (!demand.is_empty()).then_some(demand)
    }

    /// Nothing if it has one of this name: two values could mean one thing to us and another to somebody else (§11.2). Nor if it has
    /// very many.
    fn add(&mut self, name: &str, value: String) -> Option<()> {
        let name = name.to_ascii_lowercase();
        let fits = self.parameters.len() < MOST_PARAMETERS && self.parameter(&name).is_none();
        fits.then(|| self.parameters.push((name, value)))
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// The challenges of one header line. Nothing if any part of it breaks the grammar, a parameter comes twice in a challenge, the line
/// is longer than 8 KiB, or there are more than 16 challenges in it or 32 parameters in one of them.
pub(super) fn read(line: &HeaderValue) -> Option<Vec<Challenge>> {
    let mut rest = Reader(line.as_bytes());
    if rest.0.len() > LONGEST_LINE {
        return None;
    }
    let mut challenges: Vec<Challenge> = Vec::new();
    while rest.skip_to_element() {
        let name = rest.token()?;
        if rest.skip_equals() {
            challenges.last_mut()?.add(&name, rest.value()?)?;
        } else {
            let mut challenge = Challenge { scheme: name, parameters: Vec::new() };
            rest.first_parameter(&mut challenge)?;
            if challenges.len() == MOST_CHALLENGES {
                return None;
            }
            challenges.push(challenge);
        }
        rest.end_of_element()?;
    }
    Some(challenges)
}

/// What is left of a line.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    /// Goes over blanks and empty list elements (§5.6.1). Whether there is anything more.
    fn skip_to_element(&mut self) -> bool {
        self.skip(|byte| is_blank(byte) || byte == b',');
        !self.0.is_empty()
    }

    /// What may follow a scheme in its element: nothing, a `token68`, or the first parameter.
    fn first_parameter(&mut self, challenge: &mut Challenge) -> Option<()> {
        let before = self.0;
        self.skip(is_blank);
        if self.0.is_empty() || self.0[0] == b',' {
            return Some(());
        }
        if self.0.len() == before.len() {
            return None;
        }
        let here = self.0;
        if let Some(name) = self.token()
            && self.skip_equals()
            && let Some(value) = self.value()
        {
            return challenge.add(&name, value);
        }
        self.0 = here;
        self.token68()
    }

    /// `token68` (§11.2). No scheme for tokens has one, so what it says is passed over.
    fn token68(&mut self) -> Option<()> {
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
        (self.take(is_part) > 0).then(|| self.skip(|byte| byte == b'='))
    }

    fn token(&mut self) -> Option<String> {
        let all = self.0;
        let length = self.take(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
        (length > 0).then(|| text(&all[..length]))
    }

    fn skip_equals(&mut self) -> bool {
        let before = self.0;
        self.skip(is_blank);
        if let [b'=', rest @ ..] = self.0 {
            self.0 = rest;
            self.skip(is_blank);
            return true;
        }
        self.0 = before;
        false
    }

    /// A token or a quoted string (§5.6.4).
    fn value(&mut self) -> Option<String> {
        let [b'"', rest @ ..] = self.0 else { return self.token() };
        let (mut bytes, mut value) = (rest.iter(), Vec::new());
        loop {
            match *bytes.next()? {
                b'"' => break,
                b'\\' => value.push(*bytes.next()?),
                byte => value.push(byte),
            }
        }
        self.0 = bytes.as_slice();
        Some(text(&value))
    }

    fn end_of_element(&mut self) -> Option<()> {
        self.skip(is_blank);
        (self.0.is_empty() || self.0[0] == b',').then_some(())
    }

    fn skip(&mut self, is_skipped: impl Fn(u8) -> bool) {
        self.take(is_skipped);
    }

    fn take(&mut self, is_taken: impl Fn(u8) -> bool) -> usize {
        let length = self.0.iter().take_while(|byte| is_taken(**byte)).count();
        self.0 = &self.0[length..];
        length
    }
}

/// `acr_values`: what a login asks for by them goes through the browser's address, so they are few, short and plain.
fn read_acr_values(text: &str) -> Option<Vec<String>> {
    // RFC 6749, appendix A: NQCHAR.
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    let fits = text.len() <= LONGEST_ACR_VALUES && text.bytes().all(|byte| byte == b' ' || is_plain(byte));
    let values: Vec<String> = text.split(' ').filter(|value| !value.is_empty()).map(str::to_owned).collect();
    (fits && !values.is_empty()).then_some(values)
}

/// `max_age`: a non-negative number of seconds.
fn read_max_age(text: &str) -> Option<Duration> {
    let seconds: u32 = text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    Some(Duration::from_secs(seconds.into()))
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// Bytes beyond ASCII stay recognisable and are never taken for anything.
fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

const LONGEST_LINE: usize = 8 * 1024;
const MOST_CHALLENGES: usize = 16;
/// Each new one is compared with those before.
const MOST_PARAMETERS: usize = 32;
const LONGEST_ACR_VALUES: usize = 256;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::properties;
    use super::*;

    fn challenges(line: &str) -> Option<Vec<Challenge>> {
        read(&HeaderValue::from_bytes(line.as_bytes()).unwrap())
    }

    fn of(scheme: &str, parameters: &[(&str, &str)]) -> Challenge {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        Challenge { scheme: scheme.to_owned(), parameters: parameters.iter().map(owned).collect() }
    }

    fn refused(lines: &[&str]) -> Option<Refusal> {
        let mut answer = Response::new(());
        *answer.status_mut() = StatusCode::UNAUTHORIZED;
        for line in lines {
            let line = HeaderValue::from_bytes(line.as_bytes()).unwrap();
            answer.headers_mut().append(header::WWW_AUTHENTICATE, line);
        }
        refusal(&answer)
    }

    fn demanded(rest: &str) -> Option<(Vec<String>, Option<u64>)> {
        match refused(&[&format!("Bearer error=\"insufficient_user_authentication\"{rest}")])? {
            Refusal::Authentication(demand) => Some((demand.acr_values, demand.max_age.map(|age| age.as_secs()))),
            Refusal::Token => panic!("{rest} is no invalid_token"),
        }
    }

    #[test]
    fn challenges_are_read_as_the_grammar_has_them() {
        for (line, read) in [
            ("", vec![]),
            (" , ,", vec![]),
            ("Bearer", vec![of("Bearer", &[])]),
            ("Bearer ,Basic", vec![of("Bearer", &[]), of("Basic", &[])]),
            ("Negotiate abc/+==, Bearer", vec![of("Negotiate", &[]), of("Bearer", &[])]),
            ("Negotiate abc", vec![of("Negotiate", &[])]),
            // RFC 9110 §11.6.1
            (
                "Basic realm=\"simple\", Newauth realm=\"apps\", type=1, title=\"Login to \\\"apps\\\"\"",
                vec![
                    of("Basic", &[("realm", "simple")]),
                    of("Newauth", &[("realm", "apps"), ("type", "1"), ("title", "Login to \"apps\"")]),
                ],
            ),
            ("bearer  A = b , , C=\t\"d, e\\\\\"", vec![of("bearer", &[("a", "b"), ("c", "d, e\\")])]),
            ("Bearer a=\"\"", vec![of("Bearer", &[("a", "")])]),
        ] {
            assert_eq!(challenges(line), Some(read), "{line}");
        }
    }

    #[test]
    fn what_breaks_the_grammar_is_not_read_at_all() {
        for line in [
            "=",
            "a=b",
            "\"Bearer\"",
            "Bearer a=\"b",
            "Bearer a=\"b\\",
            "Bearer a=\"b\" c=\"d\"",
            "Bearer a=\"b\"c",
            "Bearer a=b, a=c",
            "Bearer a=b, A=c",
            "Bearer abc, d=\"e",
            "Bearer@",
            "Bearer a b",
            "Bearer a=b=c",
            "Bearer é",
        ] {
            assert_eq!(challenges(line), None, "{line}");
        }
        assert_eq!(challenges(&format!("Bearer a=\"{}\"", "b".repeat(8 * 1024))), None);
    }

    #[test]
    fn a_line_of_very_many_parts_is_not_read() {
        let parameters = |count: usize| {
            let each: Vec<_> = (0..count).map(|n| format!("p{n}=v")).collect();
            challenges(&format!("Bearer {}", each.join(", "))).map(|read| read[0].parameters.len())
        };
        assert_eq!((parameters(32), parameters(33)), (Some(32), None));
        let schemes = |count: usize| challenges(&vec!["Bearer"; count].join(", ")).map(|read| read.len());
        assert_eq!((schemes(16), schemes(17)), (Some(16), None));
    }

    #[test]
    fn a_refused_token_is_told_from_everything_else() {
        assert_eq!(refused(&["Bearer error=\"invalid_token\""]), Some(Refusal::Token));
        assert_eq!(refused(&["Bearer realm=\"a, b\", error=invalid_token"]), Some(Refusal::Token));
        assert_eq!(
            refused(&["Basic realm=\"x\"", "DPoP algs=\"ES256\", error=\"invalid_token\""]),
            Some(Refusal::Token)
        );
        assert_eq!(refused(&["@", "Bearer error=\"invalid_token\""]), Some(Refusal::Token), "each line for itself");
        for line in [
            "Bearer",
            "Basic error=\"invalid_token\"",
            "Bearer realm=\"error=\\\"invalid_token\\\"\"",
            "Bearer error=\"insufficient_scope\"",
            "Bearer error=\"INVALID_TOKEN\"",
        ] {
            assert_eq!(refused(&[line]), None, "{line}");
        }
        assert_eq!(refusal(&Response::new(())), None);
    }

    #[test]
    fn a_demand_for_a_stronger_login_is_read() {
        let both = (vec!["a".to_owned(), "urn:b".to_owned()], Some(300));
        assert_eq!(demanded(", acr_values=\"a urn:b\", max_age=\"300\""), Some(both.clone()));
        assert_eq!(
            demanded(",max_age=300,error_description=\"no, \\\"you\\\"\", ACR_VALUES=\" a  urn:b \""),
            Some(both)
        );
        assert_eq!(demanded(", acr_values=a"), Some((vec!["a".to_owned()], None)));
        assert_eq!(demanded(", max_age=\"0\""), Some((Vec::new(), Some(0))));
    }

    #[test]
    fn a_demand_that_nobody_could_ask_for_is_none() {
        for rest in [
            String::new(),
            ", acr_values=\"\"".to_owned(),
            ", acr_values=\" \", max_age=1".to_owned(),
            ", acr_values=\"a\\\"b\"".to_owned(),
            ", acr_values=\"a\\\\b\"".to_owned(),
            ", acr_values=\"a\tb\"".to_owned(),
            ", acr_values=\"é\"".to_owned(),
            ", max_age=\"\"".to_owned(),
            ", max_age=\"-1\"".to_owned(),
            ", max_age=\"+1\"".to_owned(),
            ", max_age=\"1.5\"".to_owned(),
            ", max_age=\"99999999999\"".to_owned(),
            ", acr_values=\"a\", max_age=\"soon\"".to_owned(),
            ", acr_values=\"a\", acr_values=\"b\"".to_owned(),
            format!(", acr_values=\"{}\"", "a".repeat(257)),
        ] {
            assert_eq!(demanded(&rest), None, "{rest}");
        }
    }

    proptest! {
        #[test]
        fn what_is_demanded_is_bounded_and_what_passes_is_for_tokens(line in "(Bearer |error=|acr_values=|max_age=|insufficient_user_authentication|[\"\\\\,= a-z0-9\tÿ]){0,60}") {
            properties::challenge(line.as_bytes());
            properties::challenge(format!("Bearer error=\"insufficient_user_authentication\", {line}").as_bytes());
        }

        #[test]
        fn any_bytes_are_read_or_not(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            properties::challenge(&bytes);
        }

        #[test]
        fn what_was_written_is_read(values in proptest::collection::vec("[ -~]{0,20}", 0..5)) {
            let escaped = values.iter().map(|value| value.replace('\\', "\\\\").replace('"', "\\\""));
            let line: Vec<String> = escaped.enumerate().map(|(n, value)| format!("p{n}=\"{value}\"")).collect();
            let parameters = values.iter().enumerate().map(|(n, value)| (format!("p{n}"), value.clone())).collect();
            prop_assert_eq!(challenges(&format!("Bearer {}", line.join(", "))), Some(vec![Challenge { scheme: "Bearer".to_owned(), parameters }]));
        }
    }
}
