//! Logins under way, each in a small sealed cookie. Strangers cost the server nothing.
//!
//! There are twenty slots. A login link from elsewhere does not see the cookies (they are Strict), so it takes a slot at random and
//! may take one that is in use; the checked destination therefore also travels, sealed, with the `state`, and a login whose attempt
//! was overwritten still finds its way back once any other of the browser's logins has succeeded.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, header};
use serde::{Deserialize, Serialize};

use super::Limits;
use super::cookies::{CookiePolicy, Life, SLOTS, Slotted};
use crate::clock::Timestamp;
use crate::oidc::{AuthorizationResponse, LoginAttempt};
use crate::secret::{self, Secret};
use crate::store::{Digest, SealedStore, SessionKey};

/// What is kept of a login under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Attempt {
    #[serde(flatten)]
    pub(crate) oidc: LoginAttempt,
    /// Where to go, checked when it came in.
    #[serde(rename = "r")]
    pub(crate) return_to: String,
    /// `remember=true` was asked for.
    #[serde(rename = "k", default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) remember: bool,
    /// It began with a `step_up`: the session it takes the place of goes on in it.
    #[serde(rename = "u", default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) step_up: bool,
}

impl Attempt {
    /// What the limits of its session are to be.
    pub(crate) fn limits(&self) -> Limits {
        if self.step_up { Limits::Kept } else { Limits::Anew { remember: self.remember } }
    }
}

/// The attempts that came with a request.
#[derive(Debug)]
pub(crate) struct LoginAttempts<'a> {
    cookies: &'a CookiePolicy,
    store: &'a SealedStore,
    seen: Vec<Seen>,
}

#[derive(Debug)]
struct Seen {
    slot: u8,
    attempt: Option<Attempt>,
}

impl<'a> LoginAttempts<'a> {
    /// Opens what the request brought. A cookie that does not open, or is older than an hour by its own clock, frees its slot.
    pub(crate) fn of(headers: &HeaderMap, cookies: &'a CookiePolicy, store: &'a SealedStore, now: Timestamp) -> Self {
        let seen = cookies
            .slotted(Slotted::Login, headers)
            .map(|(slot, value)| {
                let name = cookies.slotted_name(Slotted::Login, slot);
                let attempt =
                    open::<Attempt>(store, &name, value).filter(|attempt| now.since(attempt.oidc.issued_at) < LIFE);
                Seen { slot, attempt }
            })
            .collect();
        Self { cookies, store, seen }
    }

    /// The attempt with this state.
    pub(crate) fn find(&self, state: &Secret<String>) -> Option<(u8, &Attempt)> {
        self.live().find(|(_, attempt)| attempt.oidc.state() == *state)
    }

    /// Whether any login is under way in this browser.
    pub(crate) fn any(&self) -> bool {
        self.live().next().is_some()
    }

    /// A name that callbacks of this browser which arrive together agree on: that of the oldest attempt and of the session it has.
    /// Such callbacks elect one of them by claiming it.
    pub(crate) fn election(&self, session: Option<SessionKey>) -> Option<Digest> {
        let (_, oldest) = self.live().min_by_key(|(slot, attempt)| (attempt.oidc.issued_at, *slot))?;
        let session = session.map(|key| key.tag()).unwrap_or_default();
        Some(Digest::of(&format!("election {} {session}", oldest.oidc.state().expose())))
    }

    /// The cookie that keeps `attempt`: in a free slot, else in the oldest one; in a random one if no cookies were seen.
    pub(crate) fn add(&self, attempt: &Attempt) -> HeaderValue {
        let plain = serde_json::to_vec(attempt).expect("an attempt is plain data");
        let slot = match self.seen.as_slice() {
            [] => secret::random::<1>()[0] % slots_for(plain.len()),
            seen => (0..SLOTS)
                .find(|slot| !seen.iter().any(|seen| seen.slot == *slot && seen.attempt.is_some()))
                .or_else(|| self.oldest())
                .unwrap_or(0),
        };
        let name = self.cookies.slotted_name(Slotted::Login, slot);
        self.cookies.set(&name, &self.store.seal_cookie(&name, &plain), Life::For(LIFE))
    }

    /// Removes the attempt in `slot`.
    pub(crate) fn remove(&self, slot: u8) -> HeaderValue {
        self.cookies.remove(&self.cookies.slotted_name(Slotted::Login, slot))
    }

    /// If attempts take more than 8 KiB of the request, the removal of the oldest one. Nothing is opened if they do not.
    pub(crate) fn trim(
        headers: &HeaderMap,
        cookies: &CookiePolicy,
        store: &SealedStore,
        now: impl FnOnce() -> Timestamp,
    ) -> Option<HeaderValue> {
        // Nearly every request has fewer cookies in all.
        if headers.get_all(header::COOKIE).iter().map(HeaderValue::len).sum::<usize>() <= BUDGET {
            return None;
        }
        let bytes = cookies
            .slotted(Slotted::Login, headers)
            .map(|(slot, value)| cookies.slotted_name(Slotted::Login, slot).len() + value.len() + "=; ".len());
        if bytes.sum::<usize>() <= BUDGET {
            return None;
        }
        let slot = LoginAttempts::of(headers, cookies, store, now()).oldest()?;
        Some(cookies.remove(&cookies.slotted_name(Slotted::Login, slot)))
    }

    fn oldest(&self) -> Option<u8> {
        let age = |seen: &&Seen| seen.attempt.as_ref().map(|attempt| attempt.oidc.issued_at);
        self.seen.iter().min_by_key(age).map(|seen| seen.slot)
    }

    fn live(&self) -> impl Iterator<Item = (u8, &Attempt)> {
        self.seen.iter().filter_map(|seen| Some((seen.slot, seen.attempt.as_ref()?)))
    }
}

/// An authorization response that came by form: it waits in a cookie until the request that is ours comes back for it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct ParkedResponse {
    /// The form without its `state`, which the hop brings along and the cookie is sealed to: base64 leaves no room for it.
    #[serde(rename = "f")]
    form: String,
    #[serde(rename = "t")]
    parked_at: Timestamp,
}

impl ParkedResponse {
    /// The cookie that parks `form`, a response to `state`. The slot follows from the state, since the attempt's cookie is not seen
    /// on a cross-site post. `None` if the form is larger than 3 KiB, or the cookie than browsers keep.
    pub(crate) fn park(
        form: &str,
        state: &str,
        cookies: &CookiePolicy,
        store: &SealedStore,
        now: Timestamp,
    ) -> Option<HeaderValue> {
        let parked = Self { form: AuthorizationResponse::without_state(form), parked_at: now };
        let plain = serde_json::to_vec(&parked).expect("a parked response is plain data");
        let slot = Digest::of(state).as_bytes()[0] % slots_for(plain.len());
        let name = cookies.slotted_name(Slotted::Response, slot);
        let sealed = store.seal_cookie(&Self::place(&name, state), &plain);
        let fits = form.len() <= LARGEST_RESPONSE && name.len() + sealed.expose().len() <= LARGEST_COOKIE;
        fits.then(|| cookies.set(&name, &sealed, Life::For(PARKED)))
    }

    /// The parked response to `state`, and the removal of its cookie.
    pub(crate) fn find(
        headers: &HeaderMap,
        state: &str,
        cookies: &CookiePolicy,
        store: &SealedStore,
        now: Timestamp,
    ) -> Option<(AuthorizationResponse, HeaderValue)> {
        cookies.slotted(Slotted::Response, headers).find_map(|(slot, value)| {
            let name = cookies.slotted_name(Slotted::Response, slot);
            let parked = open::<Self>(store, &Self::place(&name, state), value)?;
            let form = (now.since(parked.parked_at) < PARKED).then_some(parked.form)?;
            Some((AuthorizationResponse::with_state(&form, state)?, cookies.remove(&name)))
        })
    }

    /// What the cookie is sealed to.
    fn place(name: &str, state: &str) -> String {
        format!("{name} {state}")
    }
}

fn open<T: for<'de> Deserialize<'de>>(store: &SealedStore, place: &str, value: &str) -> Option<T> {
    serde_json::from_slice(store.open_cookie(place, value)?.expose()).ok()
}

/// How many slots a blind cookie of `bytes` (not yet sealed) may choose from. Another site can have a browser open login links and post
/// forms without end; large cookies share few slots, so that what piles up stays far below what servers take as a head.
fn slots_for(bytes: usize) -> u8 {
    let sealed = bytes * 4 / 3 + SEAL;
    u8::try_from(BUDGET / sealed).unwrap_or(SLOTS).clamp(1, SLOTS)
}

/// How long a login may take.
pub(crate) const LIFE: Duration = Duration::from_hours(1);
const PARKED: Duration = Duration::from_mins(1);
const BUDGET: usize = 8 * 1024;
/// About what sealing and the name add.
const SEAL: usize = 90;
const LARGEST_RESPONSE: usize = 3 * 1024;
/// RFC 6265bis §5.6: browsers drop a cookie whose name and value take more.
const LARGEST_COOKIE: usize = 4096;
