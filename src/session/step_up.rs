//! Step-ups: a login that is to be stronger or more recent than the one that opened the session (RFC 9470).
//!
//! What is demanded travels sealed in the login link, so that a link to a step-up needs no parameter that anybody's link may set. It
//! says what to ask for and nothing else: the session that goes on is the one whose cookie comes back with the login, so a link that
//! was made for one person is, in the browser of another, a login that asks for more.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::login_attempts::LIFE;
use super::{Sessions, UserSession};
use crate::clock::Timestamp;
use crate::oidc::Demand;
use crate::secret::Secret;

/// A demand on its way through the browser.
#[derive(Serialize, Deserialize)]
struct StepUp {
    #[serde(rename = "a", default, skip_serializing_if = "Vec::is_empty")]
    acr_values: Vec<String>,
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    max_age_seconds: Option<u64>,
    #[serde(rename = "t")]
    made_at: Timestamp,
}

impl Sessions {
    /// Whether the login of this session meets `demand` now.
    pub(crate) fn meets(&self, user: &UserSession, demand: &Demand) -> bool {
        demand.check(user.acr(), user.auth_time(), self.now(), &self.provider).is_ok()
    }

    /// Whether another login could bring nothing new: this session's meets `demand` even if the provider's clock is off, or meets it and
    /// is only just done.
    pub(crate) fn meets_for_sure(&self, user: &UserSession, demand: &Demand) -> bool {
        let now = self.now();
        let meets_at = |time| demand.check(user.acr(), user.auth_time(), time, &self.provider).is_ok();
        // Once the leeway has passed it is used up.
        meets_at(now + self.provider.clock_skew) || (meets_at(now) && now.since(user.logged_in_at()) < JUST_DONE)
    }

    /// The value of `step_up` in a login link that leads this session to where it meets `demand`: base64url, good for an hour.
    pub(crate) fn step_up(&self, user: &UserSession, mut demand: Demand) -> Secret<String> {
        // A session never becomes weaker, so a login that would leave it weaker is not worth asking for.
        if let Some(acr) = user.acr()
            && let Some(rank) = self.provider.rank(acr)
        {
            demand.acr_values.retain(|wanted| self.provider.rank(wanted).is_none_or(|wanted| wanted >= rank));
            if demand.acr_values.is_empty() {
                demand.acr_values.push(acr.to_owned());
            }
        }
        let max_age_seconds = demand.max_age.map(|age| age.as_secs());
        let step_up = StepUp { acr_values: demand.acr_values, max_age_seconds, made_at: self.now() };
        let plain = serde_json::to_vec(&step_up).expect("a demand is plain data");
        self.store.seal_cookie(PLACE, &plain)
    }

    /// What a login link with this `step_up` asks for. Nothing for a value that was not made here, or is older than an hour.
    pub(crate) fn read_step_up(&self, value: &str) -> Option<Demand> {
        let plain = self.store.open_cookie(PLACE, value)?;
        let StepUp { acr_values, max_age_seconds, made_at } = serde_json::from_slice(plain.expose()).ok()?;
        let max_age = max_age_seconds.map(Duration::from_secs);
        (self.now().since(made_at) < LIFE).then_some(Demand { acr_values, max_age })
    }
}

/// How long it takes a page that comes back from a login to make its calls again.
const JUST_DONE: Duration = Duration::from_secs(10);
/// What the value is sealed to, beside the frontend: no cookie is called like this.
const PLACE: &str = "step_up";
