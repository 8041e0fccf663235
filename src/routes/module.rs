//! `GET /bff/cloakroom.js`: the page's side of Cloakroom as an ES module, and `GET /bff/cloakroom.d.ts`: its types.
//!
//! The module finds its endpoints by its own address. The one thing it cannot find out is the name of the header that proves a call
//! is ours, so that is written into it here. Anybody may read both.

use axum::body::Body;
use axum::routing::{MethodRouter, get};
use http::{HeaderMap, HeaderName, Method};

use super::only;
use crate::frontend::{Frontend, InMemory};

/// The module, for pages whose calls carry `csrf_header`.
pub(super) fn script(csrf_header: &HeaderName) -> MethodRouter<Frontend> {
    file("cloakroom.js", MODULE.replacen(DEFAULT_HEADER, &constant(csrf_header.as_str()), 1))
}

/// Its types, to copy beside an app's own sources.
pub(super) fn types() -> MethodRouter<Frontend> {
    file("cloakroom.d.ts", TYPES.to_owned())
}

/// Browsers keep it, and ask each time whether it is still the same.
fn file(name: &'static str, content: String) -> MethodRouter<Frontend> {
    let file = InMemory::new(content.into());
    only(
        "GET, HEAD",
        get(async move |method: Method, headers: HeaderMap| file.answer(name, &method, &headers).map(Body::new)),
    )
}

/// A header's name is a token (RFC 9110 §5.6.2): it holds neither quotation mark nor backslash.
fn constant(header: &str) -> String {
    format!("const HEADER = \"{header}\";")
}

const MODULE: &str = include_str!("../../static/cloakroom.js");
const TYPES: &str = include_str!("../../static/cloakroom.d.ts");
const DEFAULT_HEADER: &str = "const HEADER = \"x-csrf\";";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_has_one_place_for_the_header() {
        assert_eq!(MODULE.matches(DEFAULT_HEADER).count(), 1);
        assert_eq!(MODULE.matches("x-csrf").count(), 1);
    }
}
