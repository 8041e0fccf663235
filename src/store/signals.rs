//! Signals within one process, for stores that have no channel of their own.

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

use super::Signal;

/// Tells every watcher what happened. A watcher that falls behind sees [`Signal::Lost`] once for what it missed.
#[derive(Clone, Debug)]
pub(super) struct Signals(broadcast::Sender<Signal>);

impl Signals {
    pub(super) fn new() -> Self {
        Self(broadcast::Sender::new(BACKLOG))
    }

    /// Tells a signal. Without watchers it is lost, which is fine.
    pub(super) fn send(&self, signal: Signal) {
        let _ = self.0.send(signal);
    }

    /// Signals from now on.
    pub(super) fn watch(&self) -> BoxStream<'static, Signal> {
        BroadcastStream::new(self.0.subscribe()).map(|signal| signal.unwrap_or(Signal::Lost)).boxed()
    }
}

/// How many signals a watcher may fall behind.
const BACKLOG: usize = 1024;
