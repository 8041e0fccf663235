//! How many requests are answered at once.
//!
//! A request has its [`Place`] until its answer has ended or is given up, whichever way; a WebSocket counts as long as it is open.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::Error;
use crate::proxy::Upgrades;

/// See the module.
#[derive(Debug)]
pub(crate) struct InFlight {
    /// Held once here and once by every place, so that its own count is the one that is asked for.
    places: Arc<()>,
    upgrades: Upgrades,
    max: usize,
}

impl InFlight {
    pub(crate) fn new(max: usize, upgrades: Upgrades) -> Self {
        Self { places: Arc::new(()), upgrades, max }
    }

    /// A place for one request more.
    ///
    /// # Errors
    /// `TooBusy`. Many who come at the same moment may all be told so while one place is left.
    pub(crate) fn enter(&self) -> Result<Place, Error> {
        let place = Place(Arc::clone(&self.places));
        if self.now() > self.max { Err(Error::TooBusy) } else { Ok(place) }
    }

    /// Requests and WebSockets at this moment.
    pub(crate) fn now(&self) -> usize {
        Arc::strong_count(&self.places) - 1 + self.upgrades.open()
    }
}

/// Counts until it is dropped.
#[derive(Debug)]
pub(crate) struct Place(#[expect(dead_code, reason = "it counts by being there")] Arc<()>);

impl Place {
    /// Keeps the place as long as the body is there.
    pub(crate) fn until_end_of<B>(self, body: B) -> Held<B> {
        Held { body, _place: self }
    }
}

/// A body that has a place.
#[derive(Debug)]
pub(crate) struct Held<B> {
    body: B,
    _place: Place,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Held<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_there_until_the_body_is_gone() {
        let in_flight = InFlight::new(2, Upgrades::default());
        let first = in_flight.enter().unwrap().until_end_of(axum::body::Body::empty());
        let second = in_flight.enter().unwrap();
        assert!(matches!(in_flight.enter(), Err(Error::TooBusy)));
        assert_eq!(in_flight.now(), 2, "who was refused does not count");
        drop(second);
        assert!(in_flight.enter().is_ok());
        drop(first);
        assert_eq!(in_flight.now(), 0);
    }
}
