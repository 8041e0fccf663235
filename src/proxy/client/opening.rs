//! A connection that is opened once, however many calls wait for it.

use std::error::Error as StdError;
use std::sync::{Arc, Weak};

use hyper::client::conn::http2::SendRequest;
use tokio::sync::watch;

use super::origin::CallError;
use crate::proxy::body::RequestBody;

/// The opening under way, if there is one. A task does it, so it goes on if the call that began it is given up.
#[derive(Debug, Default)]
pub(super) struct Opening(Weak<watch::Sender<Outcome>>);

/// What a call waits for.
pub(super) struct Opened(watch::Receiver<Outcome>);

/// None until it is known.
type Outcome = Option<Result<SendRequest<RequestBody>, Arc<dyn StdError + Send + Sync>>>;

impl Opening {
    /// Joins the opening under way, or begins with `open`.
    pub(super) fn join<F>(&mut self, open: impl FnOnce() -> F) -> Opened
    where
        F: Future<Output = Result<SendRequest<RequestBody>, CallError>> + Send + 'static,
    {
        if let Some(under_way) = self.0.upgrade() {
            return Opened(under_way.subscribe());
        }
        let (outcome, opened) = watch::channel(None);
        let outcome = Arc::new(outcome);
        self.0 = Arc::downgrade(&outcome);
        let opening = open();
        tokio::spawn(async move {
            let opened = opening.await.map_err(|error| match error {
                CallError::Connect(source) => source.into(),
                CallError::Broken(error) => Arc::new(error) as Arc<_>,
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
    pub(super) async fn wait(mut self) -> Result<SendRequest<RequestBody>, CallError> {
        match self.0.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(Ok(sender))) => Ok(sender.clone()),
            Ok(Some(Err(source))) => Err(CallError::Connect(Box::new(source.clone()))),
            Ok(None) | Err(_) => Err(CallError::Connect("opening it was given up".into())),
        }
    }
}
