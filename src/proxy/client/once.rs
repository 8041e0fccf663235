//! A connection that is opened once, however many calls wait for it.

use std::error::Error as StdError;
use std::sync::{Arc, Weak};

use tokio::sync::watch;

use super::origin::CallError;
use super::shared::Sender;

/// The opening under way, if there is one. A task does it, so it goes on if the call that began it is given up.
#[derive(Debug, Default)]
pub(super) struct Opening(Weak<watch::Sender<Outcome>>);

/// What a call waits for.
#[derive(Debug)]
pub(super) struct Opened(watch::Receiver<Outcome>);

/// None until it is known.
type Outcome = Option<Result<Sender, Arc<dyn StdError + Send + Sync>>>;

impl Opening {
    /// The opening under way.
    pub(super) fn under_way(&self) -> Option<Opened> {
        self.0.upgrade().map(|under_way| Opened(under_way.subscribe()))
    }

    /// Joins the opening under way, or begins with `open`.
    pub(super) fn join<F>(&mut self, open: impl FnOnce() -> F) -> Opened
    where
        F: Future<Output = Result<Sender, CallError>> + Send + 'static,
    {
        if let Some(under_way) = self.under_way() {
            return under_way;
        }
        let (outcome, opened) = watch::channel(None);
        let outcome = Arc::new(outcome);
        self.0 = Arc::downgrade(&outcome);
        let opening = open();
        tokio::spawn(async move {
            let opened = opening.await.map_err(|error| match error {
                CallError::Connect(source) => source.into(),
                error => Arc::new(error) as Arc<_>,
            });
            outcome.send_replace(Some(opened));
        });
        Opened(opened)
    }
}

impl Opened {
    /// Waits for the connection.
    ///
    /// # Errors
    /// `Connect`, the same for all who wait: nothing of theirs was sent.
    pub(super) async fn wait(mut self) -> Result<Sender, CallError> {
        match self.0.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(Ok(sender))) => Ok(sender.clone()),
            Ok(Some(Err(source))) => Err(CallError::Connect(Box::new(source.clone()))),
            Ok(None) | Err(_) => Err(CallError::Connect("opening it was given up".into())),
        }
    }
}
