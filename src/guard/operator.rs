//! Who may look after everybody's sessions: whoever has the admin token, or may open our Unix socket. Never a page in a browser.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, header};

use crate::Error;
use crate::metric::{self, Intruder};
use crate::proxy::Peer;
use crate::secret::{Secret, same};

/// The request came over our Unix socket, which its owner alone may open. Only the listener puts it into the extensions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OverSocket;

/// The token in use, if there is one; exchanged while everything runs. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct AdminToken(Arc<ArcSwapOption<Secret<String>>>);

impl AdminToken {
    pub(crate) fn new(token: Option<Secret<String>>) -> Self {
        Self(Arc::new(ArcSwapOption::from_pointee(token)))
    }

    /// From the next request on. Says whether it is another one.
    pub(crate) fn exchange(&self, token: Option<Secret<String>>) -> bool {
        let token = token.map(Arc::new);
        self.0.swap(token.clone()) != token
    }
}

/// Lets operators through. What they can do does not exist for TCP without a token.
pub(crate) async fn only(State(token): State<AdminToken>, request: Request, next: Next) -> Result<Response, Error> {
    let token = token.0.load_full();
    let over_socket = request.extensions().get::<OverSocket>().is_some();
    if token.is_none() && !over_socket {
        return Err(Error::RouteNotFound);
    }
    let headers = request.headers();
    let refused = match token {
        _ if is_browser(headers) => Some((Intruder::Browser, Error::CrossSiteRequest)),
        Some(token) if !over_socket => judge(&token, headers).map(|who| (who, Error::AdminTokenNeeded)),
        _ => None,
    };
    let Some((who, error)) = refused else { return Ok(next.run(request).await) };
    metric::admin_refused(who);
    tracing::warn!(why = who.as_str(), peer = peer_of(&request), "an admin request was refused");
    Err(error)
}

/// Browsers say one of these with everything that a page may make them send here unseen. No tool of an operator does.
fn is_browser(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site")
}

fn judge(token: &Secret<String>, headers: &HeaderMap) -> Option<Intruder> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(given), None) = (given.next(), given.next()) else { return Some(Intruder::NoToken) };
    match bearer(given.as_bytes()) {
        Some(given) if same(given, token.expose().as_bytes()) => None,
        Some(_) => Some(Intruder::WrongToken),
        None => Some(Intruder::NoToken),
    }
}

/// RFC 6750 §2.1; the scheme's case does not count (RFC 9110 §11.1).
fn bearer(credentials: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = credentials.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

fn peer_of(request: &Request) -> String {
    let extensions = request.extensions();
    let of_embedder = || extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0);
    let address = extensions.get::<Peer>().map(|peer| peer.address).or_else(of_embedder);
    address.map_or_else(|| "-".to_owned(), |address| address.to_string())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn the_token_comes_once_and_as_a_bearer_token() {
        let token = Secret::from("0123456789abcdef0123456789abcdef");
        let judged = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::AUTHORIZATION, HeaderValue::from_static(value));
            }
            judge(&token, &headers)
        };
        let right = "Bearer 0123456789abcdef0123456789abcdef";
        assert_eq!(judged(&[right]), None);
        assert_eq!(judged(&["bearer  0123456789abcdef0123456789abcdef"]), None);
        for values in [&[][..], &[right, right], &["Basic MDEyMzQ1Njc4OWFiY2RlZg=="], &["Bearer"], &[""]] {
            assert_eq!(judged(values), Some(Intruder::NoToken), "{values:?}");
        }
        for value in ["Bearer ", "Bearer 0123456789abcdef0123456789abcde", "Bearer 0123456789abcdef0123456789abcdeff"] {
            assert_eq!(judged(&[value]), Some(Intruder::WrongToken), "{value}");
        }
    }
}
