//! A connection on loan from its origin.

use std::sync::Arc;

use http::Request;

use super::answer::Answer;
use super::link::{Link, SendError};
use super::origin::{Again, Origin, Outcome, origin_form};
use super::outline::Outline;
use super::queue::Wish;
use super::stage::{At, Stage};
use crate::proxy::body::RequestBody;

/// See the module. Dropped, it closes.
#[derive(Debug)]
pub(super) struct Lent {
    pub(super) link: Box<Link>,
    pub(super) origin: Arc<Origin>,
    /// Of the origin's connector when it was opened.
    pub(super) generation: u64,
    /// The index of the address at the other end.
    pub(super) address: usize,
    /// Whether it has been idle.
    pub(super) reused: bool,
}

impl Lent {
    /// Sends a request, and waits for the answer's head.
    pub(super) async fn send(mut self, mut request: Request<RequestBody>, stage: &Stage) -> Outcome {
        stage.reached(At::Sent);
        let outline = Outline::of(&request);
        *request.uri_mut() = origin_form(outline.target());
        match self.link.send(request).await {
            Ok(answer) => {
                self.origin.answered(self.address);
                Outcome::Answered(answer.map(|incoming| Answer::by(self, incoming)))
            }
            Err(error) => self.unanswered(error, outline),
        }
    }

    /// A server may close an idle connection while a request is on its way, and tells nobody (RFC 9112 §9.3.1).
    fn unanswered(self, mut error: SendError, outline: Outline) -> Outcome {
        if let Some(mut request) = error.take_message() {
            *request.uri_mut() = outline.into_target();
            return Outcome::Unsent(Box::new(request));
        }
        let error = error.into_error();
        if !self.reused {
            self.origin.broke(&outline, &error);
            return Outcome::Broken { error, again: None };
        }
        let request = outline.twice(self.link.unanswered());
        Outcome::Broken { error, again: request.map(|request| Again { request, wish: Wish::New }) }
    }

    /// Gives it back, if it can take another call.
    pub(super) fn give_back(mut self) {
        if self.link.is_idle() {
            Origin::take_back(self);
        }
    }
}
