//! Sessions that the provider ends: found by what they carry, without a cookie, whichever replica opened them.

use std::time::Duration;

use super::{Sessions, UserSession};
use crate::clock::Timestamp;
use crate::oidc::{LoggedOut, LogoutToken};
use crate::store::{self, Reason, Term, TermEnding, TermTarget};

impl Sessions {
    /// Ends what the provider says it has ended, and keeps logins that are still under way from coming to life. Answers how many
    /// sessions there were.
    ///
    /// A `sid` names one session at the provider. Ours that carry it end whatever their age, if the subject agrees; those of the same
    /// subject whose login brought no `sid` may belong to it and end too. A subject alone means all its sessions. Those found by
    /// subject, and logins under way, end only if their ID token is not younger than the logout token: who logged in again
    /// afterwards stays. So nothing has to be remembered of tokens that came before.
    ///
    /// # Errors
    /// `Unavailable`: nobody knows what has ended; the same token may come again.
    pub(crate) async fn end_by_provider(&self, token: &LogoutToken) -> Result<u64, store::Error> {
        let until = token.issued_at + LOGOUT_SLACK;
        let at_any_age = |all_of| TermTarget { all_of, issued_not_after: None };
        let not_younger = |all_of| TermTarget { all_of, issued_not_after: Some(until) };
        match &token.whom {
            LoggedOut::Session { sid, subject: Some(subject) } => {
                let both = [Term::Sid(sid), Term::Subject(subject)];
                let without_sid = [Term::SubjectWithoutSid(subject)];
                let late = [(Term::Sid(sid), until), (Term::SubjectWithoutSid(subject), until)];
                self.end_for_provider(&[at_any_age(&both), not_younger(&without_sid)], &late).await
            }
            LoggedOut::Session { sid, subject: None } => {
                let sid = Term::Sid(sid);
                self.end_for_provider(&[at_any_age(&[sid])], &[(sid, until)]).await
            }
            LoggedOut::Subject(subject) => {
                let subject = Term::Subject(subject);
                self.end_for_provider(&[not_younger(&[subject])], &[(subject, until)]).await
            }
        }
    }

    /// Ends what took the place of a retired session: the browser that ends the one would lose the other's cookie, and nobody could end
    /// it any more. Nothing leads from a session to its successor but the `sid` of both; without one it goes on until its limit.
    ///
    /// # Errors
    /// `Unavailable`.
    pub(super) async fn end_successors(&self, retired: &UserSession, reason: Reason) -> Result<(), store::Error> {
        let Some(sid) = retired.sid() else { return Ok(()) };
        let both = [Term::Sid(sid), Term::Subject(retired.subject())];
        let targets = [TermTarget { all_of: &both, issued_not_after: None }];
        self.store.end_matching(&TermEnding { targets: &targets, tombstones: &[], reason }).await.map(drop)
    }

    /// Ends the sessions that carry this `sid`, because a page of the provider's says so in somebody's browser. That proves nothing but
    /// that somebody knows the `sid`: logins under way come to life, and no token is revoked. Answers how many sessions there were.
    ///
    /// # Errors
    /// `Unavailable`: nobody knows what has ended.
    pub(crate) async fn end_by_frontchannel(&self, sid: &str) -> Result<u64, store::Error> {
        self.end_for_provider(&[TermTarget { all_of: &[Term::Sid(sid)], issued_not_after: None }], &[]).await
    }

    async fn end_for_provider(
        &self,
        targets: &[TermTarget<'_>],
        tombstones: &[(Term<'_>, Timestamp)],
    ) -> Result<u64, store::Error> {
        self.store.end_matching(&TermEnding { targets, tombstones, reason: Reason::ProviderLogout }).await
    }
}

/// The provider's machines that signed the login's and the logout's token may differ in time.
const LOGOUT_SLACK: Duration = Duration::from_secs(5);
