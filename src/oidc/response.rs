//! The authorization response (RFC 6749 §4.1.2): read strictly, judged before any call leaves.

use std::collections::HashSet;

use url::form_urlencoded;

use super::error::{Error, ErrorCode, ResponseReason};
use crate::secret::Secret;

/// A response as it came in. Nothing about it is believed yet but its shape.
#[derive(Debug)]
pub(crate) struct AuthorizationResponse {
    /// The part of `state` that an attempt is found by.
    pub(crate) state: Secret<String>,
    /// What travelled with the state.
    pub(crate) note: Option<String>,
    issuer: Option<String>,
    outcome: Result<Secret<String>, ErrorCode>,
}

impl AuthorizationResponse {
    /// Reads the parameters of a query or form body. Unknown ones are passed over, `error_description` and tokens among them.
    ///
    /// # Errors
    /// `Repeated`: any parameter comes twice (RFC 6749 §3.1), known or not. `NoState`, `NoCode`.
    pub(crate) fn parse(parameters: &str) -> Result<Self, ResponseReason> {
        let (mut seen, mut state, mut code, mut error, mut issuer) = (HashSet::new(), None, None, None, None);
        for (name, value) in form_urlencoded::parse(parameters.as_bytes()) {
            match &*name {
                "state" => state = Some(value.into_owned()),
                "code" => code = Some(Secret::new(value.into_owned())),
                "error" => error = Some(ErrorCode::new(&value)),
                "iss" => issuer = Some(value.into_owned()),
                _ => {}
            }
            if !seen.insert(name) {
                return Err(ResponseReason::Repeated);
            }
        }
        let state = state.filter(|state| !state.is_empty()).ok_or(ResponseReason::NoState)?;
        let (state, note) = match state.split_once('.') {
            Some((state, note)) => (state.to_owned(), Some(note.to_owned())),
            None => (state, None),
        };
        let outcome = match (error, code) {
            (Some(error), _) => Err(error),
            (None, Some(code)) if !code.expose().is_empty() => Ok(code),
            (None, _) => return Err(ResponseReason::NoCode),
        };
        Ok(Self { state: Secret::new(state), note, issuer, outcome })
    }

    /// What [`parse`](Self::parse) reads of a form, without `state`: all that has to be kept of a response whose state is known.
    pub(crate) fn without_state(form: &str) -> String {
        let read =
            form_urlencoded::parse(form.as_bytes()).filter(|(name, _)| ["code", "error", "iss"].contains(&&**name));
        form_urlencoded::Serializer::new(String::new()).extend_pairs(read).finish()
    }

    /// The response again, from what [`without_state`](Self::without_state) kept and the state it had.
    pub(crate) fn with_state(kept: &str, state: &str) -> Option<Self> {
        let state = form_urlencoded::Serializer::new(String::new()).append_pair("state", state).finish();
        Self::parse(&format!("{kept}&{state}")).ok()
    }

    /// The code, if the response comes from `issuer` and brings one. Call this before anything leaves.
    ///
    /// # Errors
    /// `Response(Issuer | NoIssuer)`: RFC 9207 §2.4, with `promised` as the provider's metadata say. `Refused`: the provider
    /// answered with an error.
    pub(super) fn code(self, issuer: &str, promised: bool) -> Result<Secret<String>, Error> {
        match &self.issuer {
            Some(found) if found != issuer => Err(Error::Response(ResponseReason::Issuer)),
            None if promised => Err(Error::Response(ResponseReason::NoIssuer)),
            _ => self.outcome.map_err(Error::Refused),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reason(parameters: &str) -> Option<ResponseReason> {
        AuthorizationResponse::parse(parameters).err()
    }

    #[test]
    fn any_repeated_parameter_is_refused() {
        assert_eq!(reason("state=s&code=c&state=s"), Some(ResponseReason::Repeated));
        assert_eq!(reason("state=s&code=c&code=d"), Some(ResponseReason::Repeated));
        assert_eq!(reason("state=s&code=c&x=1&x=2"), Some(ResponseReason::Repeated));
        assert_eq!(reason("state=s&code=c&st%61te=t"), Some(ResponseReason::Repeated));
    }

    #[test]
    fn state_and_code_are_needed() {
        assert_eq!(reason("code=c"), Some(ResponseReason::NoState));
        assert_eq!(reason("state=&code=c"), Some(ResponseReason::NoState));
        assert_eq!(reason("state=s"), Some(ResponseReason::NoCode));
        assert_eq!(reason("state=s&code="), Some(ResponseReason::NoCode));
        assert_eq!(reason("state=s&access_token=t&id_token=i"), Some(ResponseReason::NoCode));
    }

    #[test]
    fn a_response_is_whole_again_with_its_state() {
        let kept = AuthorizationResponse::without_state("state=s.n%2B&code=c%26d&iss=https://id.example&x=1");
        assert_eq!(kept, "code=c%26d&iss=https%3A%2F%2Fid.example");
        let whole = AuthorizationResponse::with_state(&kept, "s.n+").expect("well-formed");
        assert_eq!((whole.state.expose().as_str(), whole.note.as_deref()), ("s", Some("n+")));
        assert_eq!(whole.code("https://id.example", true), Ok("c&d".into()));
    }

    #[test]
    fn a_response_of_another_issuer_has_no_code() {
        let code = |parameters: &str, promised| {
            AuthorizationResponse::parse(parameters).expect("well-formed").code("https://id.example", promised)
        };
        assert!(code("state=s&code=c&iss=https://id.example", true).is_ok());
        assert!(code("state=s&code=c", false).is_ok());
        let refused = code("state=s&code=c&iss=https://evil.example", false).err();
        assert_eq!(refused, Some(Error::Response(ResponseReason::Issuer)));
        assert_eq!(code("state=s&code=c", true).err(), Some(Error::Response(ResponseReason::NoIssuer)));
    }

    #[test]
    fn an_error_code_is_shown_only_if_it_is_plain() {
        let outcome =
            |parameters: &str| AuthorizationResponse::parse(parameters).expect("well-formed").code("i", false).err();
        assert_eq!(outcome("state=s&error=access_denied"), Some(Error::Refused(ErrorCode::new("access_denied"))));
        assert_eq!(outcome("state=s&error=%3Cscript%3E"), Some(Error::Refused(ErrorCode::new("invalid_error_code"))));
        assert_eq!(outcome("state=s&error=x&code=c"), Some(Error::Refused(ErrorCode::new("x"))));
    }

    proptest! {
        #[test]
        fn reading_never_panics(text in "[ -~é]{0,200}") {
            let _ = AuthorizationResponse::parse(&text);
        }
    }
}
