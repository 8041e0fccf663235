//! Which hosts a listener answers to.

use std::net::IpAddr;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header;

use crate::Error;

/// Names an inner listener answers to beside IP literals and `localhost`.
pub(crate) type Hosts = std::sync::Arc<[String]>;

/// Refuses what was sent to a name that is none of this listener's: a page whose name was pointed at us (DNS rebinding) must not
/// read what only operators may.
pub(crate) async fn inner_listener(State(hosts): State<Hosts>, request: Request, next: Next) -> Response {
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    let named = authority.or_else(|| {
        let mut values = request.headers().get_all(header::HOST).iter();
        values.next().filter(|_| values.next().is_none()).and_then(|host| host.to_str().ok())
    });
    if named.is_some_and(|name| is_local(name, &hosts)) {
        next.run(request).await
    } else {
        Error::MisdirectedRequest.into_response()
    }
}

fn is_local(authority: &str, hosts: &[String]) -> bool {
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    literal.parse::<IpAddr>().is_ok()
        || host.eq_ignore_ascii_case("localhost")
        || hosts.iter().any(|known| known.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_localhost_and_configured_names_are_answered() {
        let hosts = ["probe.internal".to_owned()];
        for name in
            ["127.0.0.1:9090", "[::1]:9090", "[::1]", "localhost", "LOCALHOST:1", "10.1.2.3", "probe.internal:9090"]
        {
            assert!(is_local(name, &hosts), "{name}");
        }
        for name in [
            "evil.example",
            "localhost.evil.example:9090",
            "127.0.0.1.evil.example",
            "",
            ":9090",
            "probe.internal.evil.example",
        ] {
            assert!(!is_local(name, &hosts), "{name}");
        }
    }
}
