//! How strong and how recent an authentication has to be: `acr_values` and `max_age` (OIDC Core §3.1.2.1, RFC 9470 §3).
//!
//! A login asks for it, an API or a route demands it, and the answer is judged by the same rule everywhere.

use std::time::Duration;

use super::error::IdTokenReason;
use super::options::ProviderOptions;
use crate::clock::Timestamp;

/// See the module. Nothing is demanded by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Demand {
    /// `acr_values`, in order of preference: one of them, or a stronger one. Any `acr` will do if empty.
    pub(crate) acr_values: Vec<String>,
    /// `max_age`: the person authenticated no longer ago than this.
    pub(crate) max_age: Option<Duration>,
}

impl Demand {
    /// Nothing is demanded.
    pub(crate) fn is_empty(&self) -> bool {
        self.acr_values.is_empty() && self.max_age.is_none()
    }

    /// Holds what is known of an authentication against it. A provider's clock may be off by its `clock_skew`.
    ///
    /// # Errors
    /// `Acr`: neither one of `acr_values`, nor in the provider's `acr_order` as strong as the weakest of them. `NoAuthTime`,
    /// `AuthTime`: not known when, or too long ago, or still to come.
    pub(crate) fn check(
        &self,
        acr: Option<&str>,
        auth_time: Option<Timestamp>,
        now: Timestamp,
        provider: &ProviderOptions,
    ) -> Result<(), IdTokenReason> {
        if !acr_suffices(acr, &self.acr_values, provider) {
            return Err(IdTokenReason::Acr);
        }
        let Some(max_age) = self.max_age else { return Ok(()) };
        let auth_time = auth_time.ok_or(IdTokenReason::NoAuthTime)?;
        // Milliseconds for seconds, say: somebody who authenticates in a thousand years would never have to do it again.
        let is_to_come = auth_time > now + provider.clock_skew;
        if is_to_come || now > auth_time + max_age + provider.clock_skew {
            return Err(IdTokenReason::AuthTime);
        }
        Ok(())
    }
}

/// Whether an `acr` satisfies what was asked for: one of `asked`, or in the provider's order not below the weakest of them.
fn acr_suffices(acr: Option<&str>, asked: &[String], provider: &ProviderOptions) -> bool {
    if asked.is_empty() {
        return true;
    }
    let Some(acr) = acr else { return false };
    asked.iter().any(|wanted| wanted == acr)
        || provider
            .rank(acr)
            .is_some_and(|have| asked.iter().filter_map(|wanted| provider.rank(wanted)).any(|least| have >= least))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        Timestamp::from_unix_seconds(1_000)
    }

    fn provider(order: &[&str]) -> ProviderOptions {
        let mut provider = ProviderOptions::new("corp", "https://id.example");
        provider.acr_order = order.iter().map(|&acr| acr.to_owned()).collect();
        provider
    }

    fn acr(order: &[&str], asked: &[&str], acr: Option<&str>) -> bool {
        let acr_values = asked.iter().map(|&acr| acr.to_owned()).collect();
        Demand { acr_values, max_age: None }.check(acr, None, now(), &provider(order)).is_ok()
    }

    #[test]
    fn acr_is_one_of_those_asked_for_or_stronger() {
        let order = ["low", "mid", "high"];
        assert!(acr(&order, &[], None));
        assert!(!acr(&order, &["mid"], None));
        assert!(acr(&[], &["mid"], Some("mid")));
        assert!(!acr(&[], &["mid"], Some("high")));
        assert!(acr(&order, &["mid"], Some("high")));
        assert!(!acr(&order, &["mid"], Some("low")));
        assert!(!acr(&order, &["unknown"], Some("high")), "nobody knows whether it is stronger");
        assert!(acr(&order, &["high", "mid"], Some("mid")));
    }

    #[test]
    fn an_authentication_ages_and_a_clock_may_be_off() {
        let five_minutes = Demand { acr_values: Vec::new(), max_age: Some(Duration::from_mins(5)) };
        let at = |seconds| {
            let auth_time = Some(Timestamp::from_unix_seconds(seconds));
            five_minutes.check(None, auth_time, now(), &provider(&[])).err()
        };
        assert_eq!(at(640), None, "five minutes and a minute's leeway");
        assert_eq!(at(639), Some(IdTokenReason::AuthTime));
        assert_eq!(at(1_060), None, "the provider's clock is ahead");
        assert_eq!(at(1_061), Some(IdTokenReason::AuthTime), "nobody authenticates tomorrow");
        assert_eq!(at(1_000_000), Some(IdTokenReason::AuthTime), "milliseconds are no seconds");
        assert_eq!(at(i64::MAX), Some(IdTokenReason::AuthTime));
        assert_eq!(at(i64::MIN), Some(IdTokenReason::AuthTime));
        assert_eq!(five_minutes.check(None, None, now(), &provider(&[])), Err(IdTokenReason::NoAuthTime));
    }
}
