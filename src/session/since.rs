//! What a session has become while its browser was at the provider, and we asked the provider.

use super::{Loaded, Sessions};
use crate::oidc::Identity;
use crate::store;

/// What became of a session since it was read.
#[derive(Debug)]
pub(crate) enum Since {
    /// It lives: this is how it reads now.
    Lives(Box<Loaded>),
    /// Another login of the same person took its place, and its cookie is on its way.
    Replaced,
    /// It has ended.
    Ended,
}

impl Sessions {
    /// Reads a session again before a login of `whom` takes its place. One that had retired before, or is of somebody else, lives or has
    /// ended.
    ///
    /// # Errors
    /// `Unavailable`.
    pub(crate) async fn again(&self, before: &Loaded, whom: &Identity) -> Result<Since, store::Error> {
        let may_lose = !before.is_retired() && before.user.is_of(whom);
        Ok(match self.load(before.id).await? {
            Some(now) if may_lose && now.is_retired() => Since::Replaced,
            Some(now) => Since::Lives(Box::new(now)),
            // A retired row does not stay for long; what took its place does.
            None if may_lose && self.own(before).await?.iter().any(|own| own.is_current) => Since::Replaced,
            None => Since::Ended,
        })
    }
}
