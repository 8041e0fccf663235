//! The tokens of one session. They are sealed wherever they rest.

use std::time::Duration;

use http::HeaderValue;
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::secret::{Secret, exposed};

/// Access token, refresh token and ID token of one session.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TokenSet {
    pub(crate) access: AccessToken,
    /// The newest one. Some providers give none.
    #[serde(with = "exposed::option", default, skip_serializing_if = "Option::is_none")]
    pub(crate) refresh: Option<Secret<String>>,
    /// The newest ID token, kept for `id_token_hint` alone.
    #[serde(with = "exposed::option", default, skip_serializing_if = "Option::is_none")]
    pub(crate) id_token: Option<Secret<String>>,
    /// The refresh token was sent, and the answer was lost: it may have been exchanged.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) suspect: bool,
    /// The version of the row at which these tokens were asked for; none for those of the login.
    #[serde(default)]
    pub(crate) asked_at: u64,
}

/// An access token and how long it lives.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct AccessToken {
    #[serde(with = "exposed")]
    pub(crate) value: Secret<String>,
    /// When it was received.
    pub(crate) received_at: Timestamp,
    /// When it runs out; unknown if the provider does not say.
    pub(crate) expires_at: Option<Timestamp>,
}

impl AccessToken {
    /// Whether it should be renewed: less than min(60 s, a fifth of its life) is left. One without a known end is never due.
    pub(crate) fn is_due(&self, now: Timestamp) -> bool {
        let Some(expires_at) = self.expires_at else { return false };
        let margin = (expires_at.since(self.received_at) / 5).min(Duration::from_mins(1));
        now + margin >= expires_at
    }

    /// As the value of `Authorization` (RFC 6750 §2.1), marked sensitive.
    pub(crate) fn bearer(&self) -> HeaderValue {
        let mut value = HeaderValue::try_from(format!("Bearer {}", self.value.expose()))
            .expect("a token response with other characters is refused");
        value.set_sensitive(true);
        value
    }

    /// Whether it has run out.
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|expires_at| now >= expires_at)
    }
}

impl TokenSet {
    /// What this set becomes after a refresh: what the answer did not renew stays (RFC 6749 §6).
    pub(crate) fn renewed(&self, answer: Self) -> Self {
        Self {
            access: answer.access,
            refresh: answer.refresh.or_else(|| self.refresh.clone()),
            id_token: answer.id_token.or_else(|| self.id_token.clone()),
            suspect: false,
            asked_at: self.asked_at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(lifetime: Option<u64>) -> AccessToken {
        let received_at = Timestamp::from_unix_seconds(1000);
        AccessToken {
            value: "t".into(),
            received_at,
            expires_at: lifetime.map(|seconds| received_at + Duration::from_secs(seconds)),
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_unix_seconds(1000 + seconds)
    }

    #[test]
    fn a_long_token_is_due_a_minute_before_its_end() {
        assert!(!token(Some(3600)).is_due(at(3539)));
        assert!(token(Some(3600)).is_due(at(3540)));
    }

    #[test]
    fn a_short_token_is_due_in_its_last_fifth() {
        assert!(!token(Some(75)).is_due(at(59)));
        assert!(token(Some(75)).is_due(at(60)));
        assert!(!token(Some(75)).is_over(at(74)));
        assert!(token(Some(75)).is_over(at(75)));
    }

    #[test]
    fn a_token_without_an_end_is_never_due() {
        assert!(!token(None).is_due(at(1_000_000)));
        assert!(!token(None).is_over(at(1_000_000)));
    }

    #[test]
    fn what_an_answer_does_not_renew_stays() {
        let old = TokenSet {
            access: token(None),
            refresh: Some("r1".into()),
            id_token: Some("i1".into()),
            suspect: true,
            asked_at: 0,
        };
        let kept =
            old.renewed(TokenSet { access: token(None), refresh: None, id_token: None, suspect: false, asked_at: 0 });
        assert!(!kept.suspect);
        assert_eq!(kept.refresh, Some("r1".into()));
        assert_eq!(kept.id_token, Some("i1".into()));
        let new = old.renewed(TokenSet {
            access: token(None),
            refresh: Some("r2".into()),
            id_token: None,
            suspect: false,
            asked_at: 0,
        });
        assert_eq!(new.refresh, Some("r2".into()));
    }
}
