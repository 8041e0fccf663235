//! The authorization response: RFC 6749 §4.1.2 with `iss` (RFC 9207), in a query or in a form that the browser posts.

use axum::response::{IntoResponse as _, Redirect, Response};
use url::Url;

use super::authorize::Recipient;
use super::discovery::OTHER_ISSUER;
use super::{Inner, pages};
use crate::demo::faults::Fault;

/// How the parameters travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ResponseMode {
    Query,
    FormPost,
}

/// Parameters on their way to a registered redirect URI.
pub(super) struct AuthorizationResponse {
    redirect_uri: String,
    parameters: Vec<(&'static str, String)>,
}

impl AuthorizationResponse {
    pub(super) fn code(inner: &Inner, to: &Recipient, code: &str) -> Self {
        let without_code = inner.faults.is(Fault::ResponseWithoutCode);
        let answer = (!without_code).then(|| ("code", code.to_owned()));
        Self::new(inner, to, answer)
    }

    pub(super) fn error(inner: &Inner, to: &Recipient, error: &str) -> Self {
        Self::new(inner, to, Some(("error", error.to_owned())))
    }

    fn new(inner: &Inner, to: &Recipient, answer: Option<(&'static str, String)>) -> Self {
        let mut parameters: Vec<_> = answer.into_iter().collect();
        parameters.extend(to.state.clone().map(|state| ("state", state)));
        parameters.push(("iss", inner.issuer.clone()));
        misbehave(inner, &mut parameters);
        Self { redirect_uri: to.redirect_uri.clone(), parameters }
    }

    pub(super) fn send(self, mode: ResponseMode) -> Response {
        match mode {
            ResponseMode::FormPost => pages::form_post(&self.redirect_uri, &self.parameters),
            ResponseMode::Query => Redirect::to(&self.into_url()).into_response(),
        }
    }

    fn into_url(self) -> String {
        // A redirect URI may have a query of its own (RFC 6749 §3.1.2). It was registered, so it is a URL; if not, it stays as it is.
        let Ok(mut url) = Url::parse(&self.redirect_uri) else { return self.redirect_uri };
        url.query_pairs_mut().extend_pairs(&self.parameters);
        url.into()
    }
}

fn misbehave(inner: &Inner, parameters: &mut Vec<(&'static str, String)>) {
    let mut change = |fault, name: &str, value: Option<&str>| {
        if inner.faults.is(fault) {
            parameters.retain_mut(|(n, v)| {
                if let (true, Some(value)) = (*n == name, value) {
                    value.clone_into(v);
                }
                *n != name || value.is_some()
            });
        }
    };
    change(Fault::ResponseWrongIssuer, "iss", Some(OTHER_ISSUER));
    change(Fault::ResponseWithoutIssuer, "iss", None);
    change(Fault::ResponseWrongState, "state", Some("not-the-state-that-was-sent"));
    change(Fault::ResponseWithoutState, "state", None);
    for (fault, name) in [
        (Fault::ResponseRepeatedIssuer, "iss"),
        (Fault::ResponseRepeatedState, "state"),
        (Fault::ResponseRepeatedCode, "code"),
    ] {
        if inner.faults.is(fault) {
            let again: Vec<_> = parameters.iter().filter(|(n, _)| *n == name).cloned().collect();
            parameters.extend(again);
        }
    }
}
