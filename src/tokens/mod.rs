//! What the browser may do: from a session to the token that one call needs.
use http::HeaderValue;

/// Which token a call needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenPolicy {
    /// A live session and its access token, or 401.
    Required,
    /// The access token if there is a session; anonymous without one. A dead session is 401 all the same.
    Optional,
    /// No token is sent.
    None,
}

/// What goes on the outgoing request.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Grant {
    /// No token.
    None,
    /// `Authorization: Bearer …`, ready to send and marked sensitive.
    Bearer(HeaderValue),
}

impl Grant {
    /// Puts the token on a request. What stood there before is gone either way.
    pub(crate) fn attach(&self, headers: &mut http::HeaderMap) {
        headers.remove(http::header::AUTHORIZATION);
        if let Self::Bearer(value) = self {
            headers.insert(http::header::AUTHORIZATION, value.clone());
        }
    }
}
