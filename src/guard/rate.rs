//! How often one client may do something that anybody can: a leaky bucket per client address (GCRA), in memory that does not grow.
//!
//! Nothing is kept per client, so nothing has to be thrown out, and nobody can have their own count forgotten by filling a table. Each
//! address falls on one cell in each of two rows, by digests that only this process knows, and has the better of the two. Strangers can
//! only make it stricter for each other, and only by being very many.

use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::Error;
use crate::clock::Timestamp;
use crate::metric::{self, Limit};
use crate::proxy::ClientHops;

/// How much is allowed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Allowance {
    /// This often at once; at least 1.
    pub(crate) at_once: u32,
    /// Once more after each of these.
    pub(crate) then_every: Duration,
}

/// What one client may ask of some endpoints together. Clones count together.
#[derive(Clone, Debug)]
pub(crate) struct Limited {
    /// None: as often as it likes.
    limiter: Option<Arc<RateLimiter>>,
    limit: Limit,
}

impl Limited {
    pub(crate) fn new(limit: Limit, allowance: Option<Allowance>) -> Self {
        Self { limiter: allowance.map(|allowance| Arc::new(RateLimiter::new(allowance))), limit }
    }
}

/// A client, before an endpoint that is [`Limited`].
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    limited: Limited,
    address: IpAddr,
}

impl Caller {
    /// Counts a request.
    ///
    /// # Errors
    /// As [`RateLimiter::check`]; that is counted, too.
    pub(crate) fn check(&self, now: Timestamp) -> Result<(), Error> {
        let Some(limiter) = &self.limited.limiter else { return Ok(()) };
        limiter.check(self.address, now).inspect_err(|_| metric::limited(self.limited.limit))
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Error> {
        let found = parts.extensions.get::<Limited>().zip(parts.extensions.get::<ClientHops>());
        let (limited, hops) = found.ok_or(Error::Internal("an endpoint stands outside its limit"))?;
        Ok(Self { limited: limited.clone(), address: hops.client })
    }
}

/// See the module. About 256 KiB, whatever comes. Each process counts for itself.
#[derive(Debug)]
pub(crate) struct RateLimiter {
    allowance: Allowance,
    digests: [RandomState; ROWS],
    /// When the bucket of each cell is empty.
    empty_at: Mutex<[Vec<Timestamp>; ROWS]>,
}

impl RateLimiter {
    pub(crate) fn new(allowance: Allowance) -> Self {
        let digests = std::array::from_fn(|_| RandomState::new());
        let empty_at = Mutex::new(std::array::from_fn(|_| vec![Timestamp::UNIX_EPOCH; CELLS]));
        Self { allowance, digests, empty_at }
    }

    /// Counts something that `client` does at `now`: an IPv4 address, or the 64 bits of an IPv6 address that name a network, of which
    /// one customer has at least one. What is refused does not count, so that who goes on trying is not shut out for longer.
    ///
    /// # Errors
    /// `TooManyRequests`, and when the next one would be allowed.
    pub(crate) fn check(&self, client: IpAddr, now: Timestamp) -> Result<(), Error> {
        let Allowance { at_once, then_every } = self.allowance;
        let full = then_every * at_once;
        let places = self.places(client);
        let mut rows = self.empty_at.lock().unwrap_or_else(PoisonError::into_inner);
        // A bucket cannot be more than full: a clock that was set back must not shut anybody out for as long.
        let level = |empty_at: Timestamp| empty_at.since(now).min(full);
        let lowest = rows.iter().zip(places).map(|(row, place)| level(row[place])).min().unwrap_or_default();
        let then = lowest + then_every;
        let retry_after = then.saturating_sub(full);
        if !retry_after.is_zero() {
            return Err(Error::TooManyRequests { retry_after });
        }
        for (row, place) in rows.iter_mut().zip(places) {
            row[place] = now + level(row[place]).max(then);
        }
        Ok(())
    }

    fn places(&self, client: IpAddr) -> [usize; ROWS] {
        let network = network(client);
        std::array::from_fn(|row| {
            usize::try_from(self.digests[row].hash_one(network) % CELLS as u64)
                .expect("it is below the number of cells")
        })
    }
}

/// Who counts as one client.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        address @ IpAddr::V4(_) => address,
    }
}

const ROWS: usize = 2;
const CELLS: usize = 1 << 14;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Timestamp = Timestamp::UNIX_EPOCH;

    fn limiter() -> RateLimiter {
        RateLimiter::new(Allowance { at_once: 3, then_every: Duration::from_secs(10) })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Whole seconds to wait, or none.
    fn wait(limiter: &RateLimiter, client: &str, seconds: i64) -> Option<u64> {
        let now = START + Duration::from_hours(1) + Duration::from_secs(seconds.unsigned_abs());
        match limiter.check(ip(client), now) {
            Ok(()) => None,
            Err(Error::TooManyRequests { retry_after }) => Some(retry_after.as_secs()),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn some_at_once_and_then_one_by_one() {
        let limiter = limiter();
        let waits: Vec<_> = [0, 0, 0, 0, 4, 10, 10, 40, 40, 40, 40]
            .into_iter()
            .map(|second| wait(&limiter, "203.0.113.7", second))
            .collect();
        assert_eq!(
            waits,
            [None, None, None, Some(10), Some(6), None, Some(10), None, None, None, Some(10)],
            "what was refused did not count"
        );
    }

    #[test]
    fn an_ipv4_address_is_one_client_and_so_is_an_ipv6_network() {
        let limiter = limiter();
        for client in [
            "203.0.113.7",
            "::ffff:203.0.113.7",
            "203.0.113.7",
            "2001:db8:0:1::1",
            "2001:db8:0:1:ff::",
            "2001:db8:0:1::3",
        ] {
            assert_eq!(wait(&limiter, client, 0), None, "{client}");
        }
        for client in ["203.0.113.7", "2001:db8:0:1:2:3:4:5"] {
            assert_eq!(wait(&limiter, client, 0), Some(10), "{client}");
        }
        for other in ["203.0.113.8", "2001:db8:0:2::1"] {
            assert_eq!(wait(&limiter, other, 0), None, "{other}");
        }
    }

    #[test]
    fn who_comes_from_very_many_addresses_does_not_get_its_own_count_back() {
        let limiter = limiter();
        for _ in 0..3 {
            assert_eq!(wait(&limiter, "203.0.113.7", 0), None);
        }
        for network in 0..100_000_u32 {
            let _ =
                limiter.check(Ipv6Addr::from_bits(u128::from(network) << 64).into(), START + Duration::from_hours(1));
        }
        assert_eq!(wait(&limiter, "203.0.113.7", 0), Some(10));
    }

    #[test]
    fn a_thousand_busy_strangers_take_nothing_from_anybody() {
        let limiter = limiter();
        for network in 0..4_000_u32 {
            let _ = limiter
                .check(Ipv6Addr::from_bits(u128::from(network / 4) << 64).into(), START + Duration::from_hours(1));
        }
        let served = (0..250).filter(|&last| wait(&limiter, &format!("203.0.113.{last}"), 0).is_none()).count();
        assert!(served > 240, "{served}");
    }

    #[test]
    fn a_clock_that_is_set_back_costs_no_more_than_an_empty_bucket() {
        let limiter = limiter();
        for _ in 0..3 {
            limiter.check(ip("203.0.113.7"), START + Duration::from_hours(9)).unwrap();
        }
        assert_eq!(wait(&limiter, "203.0.113.7", 0), Some(10));
    }

    proptest! {
        #[test]
        fn nobody_does_more_than_is_allowed(steps in proptest::collection::vec(0_u64..15, 1..200)) {
            let (limiter, mut now, mut done) = (limiter(), START + Duration::from_hours(1), 0);
            let began = now;
            for seconds in steps {
                now = now + Duration::from_secs(seconds);
                done += u64::from(limiter.check(ip("203.0.113.7"), now).is_ok());
                prop_assert!(done <= 3 + now.since(began).as_secs() / 10);
            }
        }
    }
}
