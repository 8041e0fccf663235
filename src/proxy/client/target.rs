//! What connections are opened to, and how.

use http::Uri;

/// Calls to equal targets share their connections; everything that makes one connection differ from another is in here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::proxy) struct Target {
    /// Scheme and authority, with the path `/`.
    pub(in crate::proxy) origin: Uri,
}
